// Does this machine's nft still send what encode.golden.txt says? UPDATE=1 writes it anew.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { spawnSync } from "node:child_process";

import { formatTable } from "./format.ts";
import { goldenFile, messageLines, readGolden } from "./golden.testing.ts";
import { captureNft, nftMissing } from "./nft.testing.ts";
import { samples } from "./samples.testing.ts";

const version = "v1.0.6";

void test("nft sends what the golden file says", { skip: cannotCapture() }, () => {
  const captured = new Map(samples.map((table) => [table.family, messageLines(captureNft(formatTable(table)))]));
  if (process.env["UPDATE"] === "1") {
    const tables = [...captured].map(([family, lines]) => `table ${family}\n${lines.join("\n")}\n`);
    writeFileSync(
      goldenFile,
      `# What nft ${version} sends for samples.testing.ts; nft.testing.ts says how it was captured.\n${tables.join("")}`,
    );
  }
  const golden = readGolden();
  for (const [family, lines] of captured) assert.deepEqual(lines, golden.get(family), family);
});

/** The bytes are one version's: another nft may rightly send others. */
function cannotCapture(): string | false {
  const missing = nftMissing();
  if (missing !== false) return missing;
  const has = spawnSync("nft", ["--version"], {
    encoding: "utf8",
    env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin` },
  }).stdout;
  if (!has.includes(version)) return `the golden bytes are of nft ${version}, this is ${has.trim()}`;
  return spawnSync("strace", ["-V"]).status === 0 ? false : "strace is not installed (Debian: apt install strace)";
}
