// How long `fairlead up` takes: the shop on three nodes, ten nodes with 300 pods in all, and with 300 pods each; and the memory of each.
// Every round starts from nothing and ends with `down`.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

const home = mkdtempSync(join(tmpdir(), "fairlead-bench-"));
process.env["FAIRLEAD_HOME"] = home;
const rounds = Number(process.env["ROUNDS"] ?? 5);

try {
  const shop = series(rounds, () => up(["-f", "examples/shop"]));
  console.log(
    `up with 3 nodes and the shop, ready and checked (${rounds} rounds): ${summary(
      shop.map((round) => round.seconds),
      "s",
    )}`,
  );
  console.log(
    `  processes of the lab: ${summary(
      shop.map((round) => round.memoryMiB),
      "MiB",
    )} (proportional set size, daemon and helper, built-in pods included)`,
  );
  for (const pods of [300, 3000]) {
    const big = join(home, "big.yaml");
    writeFileSync(big, manyPods(pods));
    const large = up(["-f", big, "--nodes", "10", "--timeout", "300"]);
    console.log(
      `up with 10 nodes and ${pods} pods: ${large.seconds.toFixed(2)} s, of which the lab's processes computed ${large.processorSeconds.toFixed(1)} s, ${large.memoryMiB.toFixed(0)} MiB`,
    );
  }
} finally {
  fairlead("down", "--all");
  rmSync(home, { recursive: true, force: true });
}

/** `processorSeconds`: what a machine with other work on it can still tell. */
function up(words: readonly string[]): { seconds: number; processorSeconds: number; memoryMiB: number } {
  const started = performance.now();
  const result = fairlead("up", ...words);
  const seconds = (performance.now() - started) / 1000;
  if (result.status !== 0) throw new Error(`${result.stdout}${result.stderr}`);
  const cost = costOfLab();
  fairlead("down");
  return { seconds, ...cost };
}

function fairlead(...words: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync("bin/fairlead", words, { encoding: "utf8" });
}

/** Proportional set size and processor time of every process that was started with this benchmark's FAIRLEAD_HOME. */
function costOfLab(): { memoryMiB: number; processorSeconds: number } {
  let kib = 0;
  let ticks = 0;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      if (Number(pid) === process.pid || !readFileSync(`/proc/${pid}/environ`, "utf8").includes(home)) continue;
      // proc(5): utime and stime are the 14th and 15th field, in hundredths of a second; the 2nd may hold spaces.
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
        .replace(/^.*\) /s, "")
        .split(" ");
      ticks += Number(fields[11]) + Number(fields[12]);
      kib += Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1] ?? 0);
    } catch {
      // It has ended meanwhile.
    }
  }
  return { memoryMiB: kib / 1024, processorSeconds: ticks / 100 };
}

function manyPods(pods: number): string {
  return `apiVersion: v1
kind: Namespace
metadata: {name: many}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: many, namespace: many}
spec:
  replicas: ${pods}
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec:
      containers: [{name: pause, image: registry.k8s.io/pause:3.10}]
`;
}

function series<T>(count: number, run: () => T): readonly T[] {
  run();
  return Array.from({ length: count }, run);
}

function summary(values: readonly number[], unit: string): string {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): string =>
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0).toFixed(2);
  return `median ${at(0.5)} ${unit}, min ${at(0)} ${unit}, max ${at(0.999)} ${unit}`;
}
