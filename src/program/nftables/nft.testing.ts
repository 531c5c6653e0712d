// Debian's nft beside us, for tests: whether it is there, running it, and what it sends.
//
// To capture again what it sends (encode.golden.txt): UPDATE=1 with nft and strace installed, which runs nft in a namespace of its own:
//   UPDATE=1 node --test src/program/nftables/encode.golden.net.test.ts

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";

/** The nft program: from PATH, or where Debian puts it, which is not in every user's PATH. */
export function findNft(): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(path.delimiter), "/usr/sbin", "/sbin"];
  return folders.map((folder) => path.join(folder, "nft")).find((file) => existsSync(file));
}

/** What node:test takes as `skip`: false with nft, else the reason. Under CI=true a missing nft is a failure. */
export function nftMissing(): string | false {
  if (findNft() !== undefined) return false;
  const reason = "nft is not installed (Debian: apt install nftables)";
  if (process.env["CI"] === "true") throw new Error(reason);
  return reason;
}

/** Runs nft in the namespace the process is in; its output. Throws with nft's words. */
export function nft(commands: readonly string[], input: string = ""): string {
  const result = spawnSync(findNft() ?? "nft", commands, { input, encoding: "utf8" });
  if (result.error !== undefined) throw result.error;
  if (result.status !== 0) throw new Error(`nft ${commands.join(" ")}: ${result.stderr || String(result.signal)}`);
  return result.stdout;
}

/** The bytes of the transaction nft sends for a text, loaded in a throwaway namespace. Needs strace and user namespaces. */
export function captureNft(text: string): Uint8Array {
  const folder = mkdtempSync(path.join(os.tmpdir(), "nft-capture-"));
  try {
    const trace = path.join(folder, "trace");
    // -e write=3 dumps what is written to the netlink socket, which is the first file nft opens.
    const options = ["-f", "-e", "trace=sendmsg", "-e", "write=3", "-s", "1", "-o", trace];
    // In a network namespace of its own: what is captured must not come into force anywhere.
    const command = ["-Urn", "--", "strace", ...options, findNft() ?? "nft", "-f", "-"];
    const result = spawnSync("unshare", command, { input: text, encoding: "utf8" });
    if (result.error !== undefined) throw result.error;
    if (result.status !== 0) throw new Error(`nft -f: ${result.stderr}`);
    return firstSent(readFileSync(trace, "utf8"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The bytes of the first sendmsg in strace's output. */
function firstSent(trace: string): Uint8Array {
  const lines = trace.split("\n");
  const start = lines.findIndex((line) => line.includes("sendmsg("));
  let hex = "";
  for (const line of lines.slice(start + 1)) {
    if (line.includes("sendmsg(")) break;
    hex += /\| [0-9a-f]+  (.{48})/.exec(line)?.[1]?.replaceAll(" ", "") ?? "";
  }
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
