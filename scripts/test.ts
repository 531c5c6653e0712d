// Runs the tests, a process a file, as many at a time as there are processors: plain files as they are, `*.net.test.ts` each inside user,
// network, mount and process namespaces of its own. What a file says is printed when it has ended, the sum of all at the end.
// Where the machine forbids user namespaces, or lacks a tool (tools.ts), files are skipped with the reason; under CI=true that is a failure.
// A file or two that fail among all the others are tried once more, alone: real packets on a busy machine may be late. What passes then is
// listed with what went wrong first, to be looked into; what fails again, or fails in more files than that, is a failure.
//
//   npm test                      everything
//   npm test -- src/model trace   only files whose path contains one of the words
//   FAIRLEAD_LONG=1 npm test      everything, with many more random cases and rounds, for as long as it takes

import { spawn } from "node:child_process";
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";

import { probeUserNamespaces, unshareFlags } from "../src/kernel/refusal.ts";
import { provideTools, type Tool } from "./tools.ts";

const isLong = process.env["FAIRLEAD_LONG"] === "1";
/** For machines that are ten times slower, as emulated ones are (test-guest.ts); node's runner takes the time of a test for that of a file, too. */
const givenSeconds = Number(process.env["FAIRLEAD_TEST_SECONDS"] ?? 0);
/** A calm machine takes less than a sixth of it: what takes longer hangs. */
const fileSecondsMax = Math.max(givenSeconds, isLong ? 3600 : 150);
const testSecondsMax = Math.max(givenSeconds, isLong ? 1800 : 60);
const secondTriesMax = 2;

/** What node's runner counts; names as it prints them. */
const counted = ["tests", "suites", "pass", "fail", "cancelled", "skipped", "todo"] as const;
type Counts = Record<(typeof counted)[number], number>;

interface FileResult {
  readonly file: string;
  readonly seconds: number;
  readonly counts: Counts;
  /** Lines of tests that were skipped, with their reasons. */
  readonly skipped: readonly string[];
  /** What node's runner says of the failing tests, or what else went wrong; "" when all is well. */
  readonly failure: string;
}

const started = performance.now();
const tools = provideTools();
const namespaces = probeUserNamespaces();
const scratch = mkdtempSync(path.join(os.tmpdir(), "fl-"));
const results: FileResult[] = [];
const unrun: { readonly file: string; readonly reason: string }[] = [];

const queue: string[] = [];
for (const file of chosenFiles()) {
  const reason = reasonToSkip(file);
  if (reason === undefined) queue.push(file);
  else unrun.push({ file, reason });
}
await Promise.all(Array.from({ length: Math.max(2, os.availableParallelism()) }, work));
const unsteady = await tryAgain();
rmSync(scratch, { recursive: true, force: true });
process.exit(summarize() ? 0 : 1);

function chosenFiles(): readonly string[] {
  const words = process.argv.slice(2);
  // Whole stories first: they take longest, and what begins last should be short.
  return ["test/**/*.test.ts", "scripts/**/*.test.ts", "src/**/*.test.ts"].flatMap((pattern) =>
    globSync(pattern)
      .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
      .sort(),
  );
}

function reasonToSkip(file: string): string | undefined {
  if (needsNamespaces(file) && !namespaces.available) return namespaces.reason;
  const needs = /^\/\/ Needs: (.+)$/m.exec(readFileSync(file, "utf8"))?.[1]?.split(", ") ?? [];
  return needs.flatMap((tool) => tools.missing.get(tool as Tool) ?? [])[0];
}

function needsNamespaces(file: string): boolean {
  return file.endsWith(".net.test.ts");
}

async function work(): Promise<void> {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) results.push(await runFile(file));
}

/** Runs again, alone, what failed beside others; the first failures of what passed now. */
async function tryAgain(): Promise<readonly FileResult[]> {
  const failed = results.filter(({ failure }) => failure !== "");
  if (failed.length > secondTriesMax || results.length <= secondTriesMax) return [];
  const passed: FileResult[] = [];
  for (const first of failed) {
    console.log(`\n${first.file} once more, alone`);
    const second = await runFile(first.file);
    if (second.failure !== "") {
      results[results.indexOf(first)] = { ...first, failure: `${first.failure}\nonce more, alone:\n${second.failure}` };
      continue;
    }
    results[results.indexOf(first)] = second;
    passed.push(first);
  }
  return passed;
}

async function runFile(file: string): Promise<FileResult> {
  // Every process that a file starts has this folder in its environment: so what it leaves behind is found.
  const folder = mkdtempSync(scratch + path.sep);
  const began = performance.now();
  const node = [process.execPath, "--test", "--test-reporter=spec", `--test-timeout=${testSecondsMax * 1000}`, file];
  const [command = "", ...words] = needsNamespaces(file)
    ? ["unshare", ...unshareFlags, "sh", "-c", '"$0" "$@"; exit $?', ...node]
    : node;
  const child = spawn(command, words, {
    env: { ...process.env, PATH: tools.path, TMPDIR: folder },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  let isLate = false;
  const deadline = setTimeout(() => {
    isLate = true;
    // Interrupted, node's runner still says what failed and what hangs.
    const runner = node.slice(0, 3).join(" ");
    for (const pid of processesOf(folder)) if (commandOf(pid).startsWith(runner)) signal(pid, "SIGINT");
    setTimeout(() => killAll(folder), 3000).unref();
  }, fileSecondsMax * 1000);
  const exit = await new Promise<string>((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (status, signal) => resolve(status === 0 ? "" : `exit ${status ?? signal}`));
  });
  clearTimeout(deadline);
  const left = await leftBehind(folder);
  killAll(folder);
  rmSync(folder, { recursive: true, force: true });
  const problem = isLate
    ? `it had not ended after ${fileSecondsMax} s and was killed`
    : [exit, ...(left.length > 0 ? [`processes were left behind: ${left.join("; ")}`] : [])].find(
        (each) => each !== "",
      );
  const result = readResult(file, output, (performance.now() - began) / 1000, problem ?? "");
  console.log(`\n${file}  (${result.seconds.toFixed(1)} s)\n${output.split(/^ℹ tests /m)[0]?.trimEnd()}`);
  if (result.failure !== "" && result.counts.fail === 0) console.log(`✖ ${problem}`);
  return result;
}

/** Node's closing lines, read: `ℹ pass 12` and what follows `✖ failing tests:`. */
function readResult(file: string, output: string, seconds: number, problem: string): FileResult {
  const counts = Object.fromEntries(
    counted.map((name) => [name, Number(new RegExp(`^ℹ ${name} (\\d+)$`, "m").exec(output)?.[1] ?? 0)]),
  ) as Counts;
  const skipped = output.split("\n").filter((line) => /^\s*﹣ /.test(line));
  const told = output.split(/^✖ failing tests:$/m)[1]?.trim();
  const isTold = told !== undefined && counts.fail + counts.cancelled > 0;
  if (problem !== "" && !isTold) counts.fail++;
  const failure = problem === "" ? "" : `${problem}\n${isTold ? told : output.slice(-4000)}`;
  return { file, seconds, counts, skipped, failure };
}

/** Processes that still have the folder in their environment, after time to end by themselves. */
async function leftBehind(folder: string): Promise<readonly string[]> {
  const deadline = performance.now() + 5000;
  for (;;) {
    const left = processesOf(folder);
    if (left.length === 0 || performance.now() > deadline) return left.map(commandOf);
    await new Promise((resolve) => void setTimeout(resolve, 50));
  }
}

function killAll(folder: string): void {
  for (const pid of processesOf(folder)) signal(pid, "SIGKILL");
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended.
  }
}

function processesOf(folder: string): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && readProc(name, "environ").includes(`TMPDIR=${folder}\0`))
    .map(Number);
}

function commandOf(pid: number): string {
  return readProc(String(pid), "cmdline").replaceAll("\0", " ").trim().slice(0, 120);
}

function readProc(pid: string, what: "environ" | "cmdline"): string {
  try {
    return readFileSync(`/proc/${pid}/${what}`, "latin1");
  } catch {
    return "";
  }
}

/** The sum, the way node's runner prints it; whether all is well. */
function summarize(): boolean {
  const isCi = process.env["CI"] === "true";
  const total = (name: (typeof counted)[number]): number => results.reduce((sum, { counts }) => sum + counts[name], 0);
  console.log("");
  for (const name of counted) console.log(`ℹ ${name} ${total(name)}`);
  console.log(`ℹ duration_ms ${(performance.now() - started).toFixed(0)}`);
  console.log(`ℹ files ${results.length}, not run ${unrun.length}`);
  const slowest = results.toSorted((a, b) => b.seconds - a.seconds).slice(0, 5);
  console.log(`ℹ slowest ${slowest.map(({ file, seconds }) => `${file} ${seconds.toFixed(1)} s`).join(", ")}`);

  const skipped = results.flatMap((result) => result.skipped.map((line) => `${result.file}: ${line.trim().slice(2)}`));
  if (skipped.length > 0) console.log(`\n﹣ skipped tests:\n${skipped.map((line) => `  ${line}`).join("\n")}`);
  if (unrun.length > 0) {
    console.log(`\n﹣ skipped files:\n${unrun.map(({ file, reason }) => `  ${file}: ${reason}`).join("\n")}`);
  }
  for (const reason of tools.missing.values()) console.log(`${isCi ? "✖" : "﹣"} ${reason}`);
  const failures = results.filter(({ failure }) => failure !== "");
  for (const { file, failure } of unsteady) console.log(`\n⚠ ${file} passed only alone; before:\n${failure}`);
  for (const { file, failure } of failures) console.log(`\n✖ ${file}\n${failure}`);
  if (results.length === 0 && unrun.length === 0) console.log("✖ no test file's path contains those words");
  const isIncomplete = unrun.length > 0 || tools.missing.size > 0;
  return failures.length === 0 && results.length + unrun.length > 0 && !(isCi && isIncomplete);
}
