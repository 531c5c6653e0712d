// Runs the real command line against labs of the test's own: a folder of its own holds their state, and nothing is left of them.

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

export interface CommandResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface TestLab {
  /** FAIRLEAD_HOME of these labs. */
  readonly home: string;
  /** HOME of whoever uses them. */
  readonly userHome: string;
  fairlead(...words: string[]): CommandResult;
  /** Runs it and goes on; resolves when it ends. */
  start(...words: string[]): { readonly pid: number; readonly ended: Promise<CommandResult> };
  /** Writes a manifest, gives its path. */
  file(name: string, text: string): string;
  /** Pids of every process of these labs, on this side and inside. */
  processes(): readonly number[];
}

/** Runs `work` with labs of its own, and removes them whatever happens. */
export async function withLabs(work: (lab: TestLab) => Promise<void> | void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-test-"));
  const home = join(folder, "labs");
  const userHome = join(folder, "user");
  for (const each of [home, userHome]) mkdirSync(each);
  const env = {
    // What bin/fairlead would choose: compiling everything anew for each lab would take most of the test's time.
    NODE_COMPILE_CACHE: join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "fairlead"),
    ...process.env,
    FAIRLEAD_HOME: home,
    // The name of a lab of whoever runs the tests.
    FAIRLEAD_NAME: "default",
    HOME: userHome,
  };
  const lab: TestLab = {
    home,
    userHome,
    fairlead(...words) {
      const { status, stdout, stderr } = spawnSync("bin/fairlead", words, { encoding: "utf8", env });
      return { status, stdout, stderr };
    },
    start(...words) {
      const child = spawn("bin/fairlead", words, { env, stdio: ["ignore", "pipe", "pipe"] });
      let stdout = "";
      let stderr = "";
      child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString("utf8")));
      child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString("utf8")));
      const ended = new Promise<CommandResult>((resolve) => {
        child.on("close", (status) => resolve({ status, stdout, stderr }));
      });
      return { pid: child.pid ?? 0, ended };
    },
    file(name, text) {
      const path = join(home, name);
      writeFileSync(path, text);
      return path;
    },
    processes: () => processesNaming(home),
  };
  try {
    await work(lab);
  } finally {
    lab.fairlead("down", "--all");
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A lab's processes name its folder on their command line or in their environment. */
function processesNaming(folder: string): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return (
          readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(folder) ||
          readFileSync(`/proc/${pid}/environ`, "utf8").includes(folder)
        );
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Every network namespace that some process of this machine is in. */
export function networkNamespaces(): ReadonlySet<string> {
  const seen = new Set<string>();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      seen.add(readlinkSync(`/proc/${pid}/ns/net`));
    } catch {
      // It has ended, or is not ours to look at.
    }
  }
  return seen;
}

/** The links of the namespace we are in. */
export function hostLinks(): string {
  return readFileSync("/proc/net/dev", "utf8")
    .split("\n")
    .map((line) => line.split(":")[0]?.trim())
    .join(" ");
}
