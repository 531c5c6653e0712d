// `fairlead agent --only services` alone, at any number of Services: the real process against a server of generated objects with all that
// real ones carry (managedFields, labels, annotations). Cold start, memory, one change at a time from the watch's event to the kernel.
//
//   node bench/services/alone.ts [SERVICES] [ENDPOINTS]      44,000 Services of three endpoints
//
// It runs itself again in namespaces of its own. `PROXY=kube-proxy`: the real one (nftables mode) instead, its first sync and four changes;
// it is looked for in $PEERS/bin (~/.cache/fairlead-peers). `FAIRLEAD`: another program than bin/fairlead.

import { type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";

import { openKernel } from "../../src/kernel/linux.ts";
import { currentNetworkNamespace } from "../../src/kernel/namespaces.ts";
import { serviceObject, sliceObject, startGeneratedServer } from "./generated.ts";
import { enterOwnNamespaces, spawnAgent, spawnKubeProxy } from "./place.ts";

enterOwnNamespaces(import.meta.url);

const servicesCount = Number(process.argv[2] ?? 44_000);
const endpointsCount = Number(process.argv[3] ?? 3);
const changes = Number(process.env.CHANGES ?? 200);
const firstChanges = 40;
const restMs = 40;

const folder = mkdtempSync(join(tmpdir(), "fairlead-alone-"));
const kernel = openKernel("bench", currentNetworkNamespace());
kernel.change([
  { kind: "set-link", name: "lo", up: true },
  { kind: "set-address", link: "lo", address: "192.0.2.1", bits: 32 },
]);
const server = await startGeneratedServer(servicesCount, endpointsCount);
const kubeconfig = join(folder, "kubeconfig");
writeFileSync(kubeconfig, JSON.stringify(server.kubeconfig));

const isKubeProxy = process.env.PROXY === "kube-proxy";
const started = performance.now();
const child = isKubeProxy ? startKubeProxy() : startFairlead();
try {
  await (isKubeProxy ? measureKubeProxy() : measure());
} finally {
  child.kill("SIGKILL");
  server.close();
  kernel.close();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);

async function measure(): Promise<void> {
  const [, inHand = "", processorMs = ""] = await said(
    child,
    /programmed \d+ changes (\d+) ms.* processor's time (\d+) and/,
  );
  tell("process start to programmed, ms", performance.now() - started);
  tell("objects in hand to kernel, ms", Number(inHand));
  tell("objects in hand to kernel, ms of processors", Number(processorMs));
  tell("processor time since the start, ms", processorSeconds(child) * 1000);
  tellMemory("programmed");

  let written: (() => void) | undefined;
  const monitor = kernel.monitor(({ kind }) => void (kind === "nftables" && written?.()));
  const late = async (event: () => void): Promise<number> => {
    const change = new Promise<number>((resolve) => (written = () => resolve(performance.now())));
    const sentAt = performance.now();
    event();
    return (await change) - sentAt;
  };
  // As soon as it says that it is there.
  await fetch("http://127.0.0.1:10256/healthz");
  tell("process start to healthy, ms", performance.now() - started);
  const first: number[] = [];
  for (let change = 0; change < firstChanges; change++) {
    const endpoints = [1, 2, 3].map((n) => ({ addresses: [`10.250.${n}.${change}`], conditions: { ready: true } }));
    first.push(await late(() => server.send("MODIFIED", sliceObject(1, 3, "service-1", 0, endpoints))));
    await delay(restMs);
  }
  tellQuantiles(`the first ${firstChanges} changes of an endpoint`, first);
  await delay(5000);
  tellMemory("5 s later");
  const processorBefore = processorSeconds(child);
  const counts: number[] = [];
  for (let change = 0; change < changes; change++) {
    const index = (change * 7919) % servicesCount;
    const count = endpointsCount - (change >= servicesCount ? 0 : 1);
    counts.push(await late(() => server.send("MODIFIED", sliceObject(index, count, `service-${index}`))));
    await delay(restMs);
  }
  tellQuantiles("a Service loses an endpoint", counts);
  tell("processor time of such a change, ms", ((processorSeconds(child) - processorBefore) * 1000) / changes);
  const added: number[] = [];
  for (let change = 0; change < changes; change++) {
    const index = servicesCount + change;
    added.push(
      await late(() => {
        server.send("ADDED", serviceObject(index, `service-${index}`));
        server.send("ADDED", sliceObject(index, endpointsCount, `service-${index}`));
      }),
    );
    await delay(restMs);
  }
  tellQuantiles("a Service added", added);
  const bigs: number[] = [];
  const big = servicesCount + changes;
  await late(() => {
    server.send("ADDED", serviceObject(big, "big"));
    for (let part = 0; part < 10; part++) server.send("ADDED", sliceObject(big + part, 100, "big", part));
  });
  await delay(500);
  for (let part = 0; part < 10; part++) {
    bigs.push(await late(() => server.send("MODIFIED", sliceObject(big + part, 99, "big", part))));
    await delay(200);
  }
  tellQuantiles("a Service of 1,000 endpoints loses one", bigs);
  tellMemory("after these changes");
  monitor.close();
}

function startFairlead(): ChildProcess {
  return spawnAgent({ kubeconfig, node: "n1", folder, stdio: ["ignore", "pipe", "inherit"] });
}

function startKubeProxy(): ChildProcess {
  const stdio = ["ignore", "ignore", "pipe"] as const;
  return spawnKubeProxy({ kubeconfig, node: "n1", clusterCidr: "10.128.0.0/9", folder, stdio: [...stdio], json: true });
}

async function measureKubeProxy(): Promise<void> {
  await said(child, /"SyncProxyRules complete" ipFamily="IPv4"/);
  tell("process start to programmed, ms", performance.now() - started);
  await delay(3000);
  let written: (() => void) | undefined;
  const monitor = kernel.monitor(({ kind }) => void (kind === "nftables" && written?.()));
  const counts: number[] = [];
  for (let change = 0; change < 4; change++) {
    const index = (change * 7919) % servicesCount;
    const changed = new Promise<number>((resolve) => (written = () => resolve(performance.now())));
    const sentAt = performance.now();
    server.send("MODIFIED", sliceObject(index, endpointsCount - 1, `service-${index}`));
    counts.push((await changed) - sentAt);
    await delay(2500);
  }
  tellQuantiles("a Service loses an endpoint", counts);
  monitor.close();
}

function tell(what: string, value: number): void {
  console.log(`${`${servicesCount} x ${endpointsCount}: ${what}`.padEnd(70)} ${value.toFixed(value < 100 ? 1 : 0)}`);
}

function tellQuantiles(what: string, all: readonly number[]): void {
  const sorted = all.toSorted((a, b) => a - b);
  const at = (part: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
  tell(`${what}, event to kernel, p50 ms`, at(0.5));
  tell(`${what}, event to kernel, p99 ms`, at(0.99));
}

function tellMemory(when: string): void {
  const text = readFileSync(`/proc/${child.pid}/status`, "utf8");
  const field = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)?.[1] ?? 0) / 1024;
  tell(`memory, ${when}, resident MB`, field("VmRSS"));
  tell(`memory, ${when}, of it anonymous (RssAnon) MB`, field("RssAnon"));
  tell(`memory, ${when}, the most so far (VmHWM) MB`, field("VmHWM"));
}

/** proc(5): utime 14, stime 15. */
function processorSeconds({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function said(process: ChildProcess, pattern: RegExp): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    let text = "";
    (process.stdout ?? process.stderr)?.on("data", (chunk: Buffer) => {
      text = (text + chunk.toString()).slice(-100_000);
      const match = pattern.exec(text);
      if (match !== null) resolve(match);
    });
    process.once("exit", (code) => reject(new Error(`ended with ${code}: ${text.slice(-2000)}`)));
  });
}
