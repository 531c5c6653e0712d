// The programs of others that tests hold as evidence beside our own: nft, ip, bridge, dig, kdig, openssl, CNI's plugins. The product needs none of them.
// A fresh machine may lack them. In CI, as root, they are installed by apt-get; otherwise their packages are unpacked below the user's cache,
// and nothing of the machine is changed.
//
// Not here: which test needs what. A test file that cannot run at all without a tool says so in a line of its own: `// Needs: ip`.

import { spawnSync } from "node:child_process";
import { accessSync, chmodSync, constants, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";

/** Each tool's package, as Debian and Ubuntu call it. */
const packages = {
  nft: "nftables",
  ip: "iproute2",
  bridge: "iproute2",
  dig: "bind9-dnsutils",
  delv: "bind9-dnsutils",
  kdig: "knot-dnsutils",
  "unbound-host": "unbound-host",
  openssl: "openssl",
  loopback: "containernetworking-plugins",
  tuning: "containernetworking-plugins",
  bandwidth: "containernetworking-plugins",
  portmap: "containernetworking-plugins",
  iptables: "iptables",
} as const;

export type Tool = keyof typeof packages;

export interface Tools {
  /** PATH with which every tool is found that is there. */
  readonly path: string;
  /** Tools that are not to be had, each with the reason and what to type. */
  readonly missing: ReadonlyMap<Tool, string>;
}

/** Finds the tools, gets those that are missing where that is possible, and says what is still missing. Throws nothing. */
export function provideTools(): Tools {
  const unpacked = path.join(process.env["XDG_CACHE_HOME"] ?? path.join(os.homedir(), ".cache"), "fairlead", "tools");
  const folders = [
    ...(process.env["PATH"] ?? "").split(path.delimiter),
    "/usr/sbin",
    "/sbin",
    "/usr/lib/cni",
    path.join(unpacked, "bin"),
  ];
  const absent = (): Tool[] => (Object.keys(packages) as Tool[]).filter((tool) => !isThere(tool, folders));
  let said = "";
  if (absent().length > 0) {
    const wanted = [...new Set(absent().map((tool) => packages[tool]))];
    console.log(`tests use ${absent().join(", ")} as evidence; getting ${wanted.join(", ")} …`);
    said = process.env["CI"] === "true" && process.getuid?.() === 0 ? install(wanted) : unpack(wanted, unpacked);
  }
  const missing = absent().map((tool): [Tool, string] => [
    tool,
    `${tool} is not here: type \`apt install ${packages[tool]}\`${said === "" ? "" : ` (${said})`}`,
  ]);
  return { path: folders.join(path.delimiter), missing: new Map(missing) };
}

function isThere(tool: Tool, folders: readonly string[]): boolean {
  return folders.some((folder) => {
    try {
      accessSync(path.join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Installs packages on this machine; gives what went wrong, or "". */
function install(names: readonly string[]): string {
  const attempt = (): Result => run("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...names]);
  const first = attempt();
  if (first.ok || first.absent) return first.words;
  const lists = run("apt-get", ["update", "-qq"]);
  return lists.ok ? attempt().words : lists.words;
}

/** Unpacks packages and what they depend on below a folder, with a starter for each tool; gives what went wrong, or "". */
function unpack(names: readonly string[], folder: string): string {
  mkdirSync(path.join(folder, "lists", "partial"), { recursive: true });
  mkdirSync(path.join(folder, "packages"), { recursive: true });
  let options: readonly string[] = [];
  let plan = simulate(names, options);
  if (!plan.ok && !plan.absent) {
    // The machine's lists of packages may be empty, as in images of containers: ours are a folder of our own.
    options = ["-o", `Dir::State::Lists=${path.join(folder, "lists")}`, "-o", `Dir::Cache=${folder}`];
    const lists = run("apt-get", [...options, "update", "-qq"]);
    if (!lists.ok) return lists.words;
    plan = simulate(names, options);
  }
  if (!plan.ok) return plan.words;
  // `Inst libnftables1 (1.0.6-2 …)`: a package that is not on this machine yet, dependencies included.
  const needed = new Set([...names, ...[...plan.output.matchAll(/^Inst (\S+)/gm)].flatMap(([, name]) => name ?? [])]);
  const packagesFolder = path.join(folder, "packages");
  const download = run("apt-get", [...options, "download", "-qq", ...needed], packagesFolder);
  if (!download.ok) return download.words;
  const root = path.join(folder, "root");
  for (const file of readdirSync(packagesFolder).filter((name) => name.endsWith(".deb"))) {
    const extract = run("dpkg-deb", ["--extract", path.join(packagesFolder, file), root]);
    if (!extract.ok) return extract.words;
  }
  writeStarters(folder, root);
  return "";
}

/** A tool unpacked elsewhere finds its libraries only when it is told where they are. */
function writeStarters(folder: string, root: string): void {
  const bin = path.join(folder, "bin");
  mkdirSync(bin, { recursive: true });
  const usrLib = path.join(root, "usr", "lib");
  // Where all libraries are on the machine already, no package brought any.
  const libraries = (existsSync(usrLib) ? readdirSync(usrLib, { withFileTypes: true }) : [])
    .filter((entry) => entry.isDirectory() && entry.name.includes("-linux-"))
    .map((entry) => path.join(usrLib, entry.name));
  const programs = ["usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/cni"].map((place) => path.join(root, place));
  for (const tool of Object.keys(packages) as Tool[]) {
    const program = programs.find((place) => isThere(tool, [place]));
    if (program === undefined) continue;
    const starter = path.join(bin, tool);
    writeFileSync(
      starter,
      `#!/bin/sh\nLD_LIBRARY_PATH='${libraries.join(":")}' exec '${path.join(program, tool)}' "$@"\n`,
    );
    chmodSync(starter, 0o755);
  }
}

interface Result {
  readonly ok: boolean;
  /** The program itself is not there. */
  readonly absent: boolean;
  readonly output: string;
  /** What went wrong, in its own words; "" when nothing did. */
  readonly words: string;
}

function simulate(names: readonly string[], options: readonly string[]): Result {
  return run("apt-get", [...options, "install", "--simulate", "-qq", "--no-install-recommends", ...names]);
}

function run(command: string, words: readonly string[], cwd: string = process.cwd()): Result {
  const { status, stdout, stderr, error } = spawnSync(command, words, {
    cwd,
    encoding: "utf8",
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 120_000,
  });
  const ok = status === 0;
  const absent = error !== undefined && "code" in error && error.code === "ENOENT";
  const lines = (stderr ?? "").split("\n").filter((line) => !line.startsWith("W:") && line.trim() !== "");
  const why = absent ? `there is no ${command} here` : (error?.message ?? lines[0] ?? `exit status ${status}`);
  return { ok, absent, output: stdout ?? "", words: ok ? "" : `${command} ${words.join(" ")}: ${why}` };
}
