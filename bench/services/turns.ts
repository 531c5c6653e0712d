// Connecting through a Service, and a rolling update under traffic: `fairlead agent --only services` and the real kube-proxy (nftables
// mode), each at a small and at a large number of Services, all of them there at the same time, asked in turns.
//
//   node bench/services/turns.ts [ROUNDS] [fairlead:10 fairlead:44000 kube-proxy:10 kube-proxy:1000 …]
//
// Each is a process in namespaces of its own, with a server of generated objects (generated.ts), a pod that answers and one that asks.
// kube-proxy is looked for in $PEERS/bin (~/.cache/fairlead-peers); beyond some hundred Services it needs real root.
// The rolling update: a Service of 1,000 endpoints, 25 at a time replaced by others, which end like pods do (terminating, then gone); all
// addresses answer all the time, so what fails is the proxy's doing.

import { spawn, spawnSync, type ChildProcess, type ChildProcessByStdio, type StdioOptions } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { openKernel } from "../../src/kernel/linux.ts";
import { currentNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { listenTcpFd, tcpSocketFd } from "../../src/kernel/sockets.ts";
import { serviceObject, sliceObject, startGeneratedServer, type GeneratedServer } from "./generated.ts";
import { addVethPod, spawnAgent, spawnKubeProxy } from "./place.ts";

const worker = process.env.FAIRLEAD_BENCH_WORKER;
const connects = 500;
const endpointsOfRoll = 1000;
const atATime = 25;
/** Of the Service of one endpoint, and of the one of 1,000. */
const [echoIndex, rollIndex] = [600_000, 600_001];
const shares: ReadonlyMap<number, string> = new Map([
  [0.5, "median"],
  [0.1, "10th percentile"],
]);
const serverAddress = "10.244.1.5";

await (worker === undefined ? conduct() : work(worker));
process.exit(0);

// ---------------------------------------------------------------- who asks

interface Figures {
  readonly [what: string]: number;
}

async function conduct(): Promise<void> {
  const rounds = Number(process.argv[2] ?? 10);
  const given = process.argv.slice(3);
  const names = given.length > 0 ? given : ["fairlead:10", "fairlead:44000", "kube-proxy:10", "kube-proxy:1000"];
  const workers: { readonly name: string; ask(what: string): Promise<Figures>; readonly child: WorkerProcess }[] = [];
  const figures = new Map<string, number[]>();
  try {
    for (const name of names) {
      const started = performance.now();
      workers.push(await startWorker(name));
      console.error(`${name}: there after ${((performance.now() - started) / 1000).toFixed(1)} s`);
    }
    for (let round = 0; round < rounds; round++)
      for (const { name, ask } of workers)
        for (const [what, value] of Object.entries(await ask("connect"))) note(figures, `${name}: ${what}`, value);
    for (const { name, ask } of workers)
      for (const [what, value] of Object.entries(await ask("roll"))) note(figures, `${name}: ${what}`, value);
  } finally {
    // With its input a worker ends, and takes its folder with it.
    for (const { child } of workers) child.stdin.end();
    for (const { child } of workers) if (child.exitCode === null) await once(child, "exit");
  }
  console.log(`${rounds} rounds in turns, load ${readFileSync("/proc/loadavg", "utf8").split(" ")[0]}`);
  for (const [what, values] of figures) {
    const sorted = values.toSorted((a, b) => a - b);
    const [median, first, last] = [quantile(sorted, 0.5), sorted[0] ?? 0, sorted.at(-1) ?? 0].map((one) =>
      one.toFixed(1),
    );
    console.log(`${what.padEnd(70)} ${median}${values.length > 1 ? `   from ${first} to ${last}` : ""}`);
  }
}

function note(figures: Map<string, number[]>, what: string, value: number): void {
  figures.set(what, [...(figures.get(what) ?? []), value]);
}

type WorkerProcess = ChildProcessByStdio<Writable, Readable, null>;

async function startWorker(
  name: string,
): Promise<{ readonly name: string; readonly child: WorkerProcess; ask(what: string): Promise<Figures> }> {
  const user = process.getuid?.() === 0 ? [] : ["-U", "--map-root-user"];
  const again = [process.execPath, fileURLToPath(import.meta.url)];
  const child = spawn("unshare", [...user, "-nmpuif", "--mount-proc", "--kill-child", "--", ...again], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, FAIRLEAD_BENCH_WORKER: name },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (): Promise<Figures> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`${name} has ended`);
    return JSON.parse(value) as Figures;
  };
  await answer();
  return {
    name,
    child,
    ask(what) {
      child.stdin.write(`${what}\n`);
      return answer();
    },
  };
}

// ---------------------------------------------------------------- one proxy with its node

async function work(name: string): Promise<void> {
  const [who = "", count = "10"] = name.split(":");
  const folder = mkdtempSync(join(tmpdir(), "fairlead-turns-"));
  const kernel = openKernel("bench", currentNetworkNamespace());
  kernel.change([
    { kind: "set-link", name: "lo", up: true },
    { kind: "set-address", link: "lo", address: "192.0.2.1", bits: 32 },
  ]);
  const server = await startGeneratedServer(Number(count), 3, [
    serviceObject(echoIndex, "echo"),
    sliceObject(echoIndex, 1, "echo", 0, [endpoint(serverAddress)]),
    serviceObject(rollIndex, "roll"),
    ...Array.from({ length: 10 }, (_, part) => rollSlice(part, 0, [])),
  ]);
  const kubeconfig = join(folder, "kubeconfig");
  writeFileSync(kubeconfig, JSON.stringify(server.kubeconfig));
  const pods = addPods(kernel);
  const child = who === "fairlead" ? startFairlead(kubeconfig, folder) : startKubeProxy(kubeconfig, folder);
  const service = clusterAddress(echoIndex);
  while ((await connectMs(pods.caller, service, 80)) === undefined) await delay(200);
  while ((await connectMs(pods.caller, clusterAddress(rollIndex), 80)) === undefined) await delay(200);
  process.stdout.write("{}\n");
  for await (const line of createInterface({ input: process.stdin })) {
    const figures = line === "connect" ? await measureConnects(pods.caller) : await roll(pods.caller, server, child);
    process.stdout.write(`${JSON.stringify(figures)}\n`);
  }
  child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}

async function measureConnects(caller: NetworkNamespace): Promise<Figures> {
  // In turns as well, one by one.
  const through: number[] = [];
  const directly: number[] = [];
  for (let index = 0; index < connects; index++) {
    const [first, second] = [
      await connectMs(caller, clusterAddress(echoIndex), 80),
      await connectMs(caller, serverAddress, 8080),
    ];
    if (first !== undefined) through.push(first * 1000);
    if (second !== undefined) directly.push(second * 1000);
  }
  const [service, direct] = [through, directly].map((all) => all.toSorted((a, b) => a - b));
  const at = (share: number): Figures => ({
    [`connect through a Service, ${shares.get(share)} µs`]: quantile(service ?? [], share),
    [`connect directly, ${shares.get(share)} µs`]: quantile(direct ?? [], share),
  });
  return { ...at(0.5), ...at(0.1) };
}

/** Endpoint `n` of 1,000 in its generation: every pod that is replaced has another address afterwards. */
function rollAddress(n: number, generation: number): string {
  return `10.245.${generation * 8 + (n >> 8)}.${n & 255}`;
}

function rollSlice(part: number, renewed: number, ending: readonly number[]): ReturnType<typeof sliceObject> {
  const own = Array.from({ length: endpointsOfRoll / 10 }, (_, index) => part * (endpointsOfRoll / 10) + index);
  const endpoints = own.flatMap((n) => [
    endpoint(rollAddress(n, n < renewed ? 1 : 0)),
    ...(ending.includes(n) ? [endpoint(rollAddress(n, 0), { ready: false, serving: true, terminating: true })] : []),
  ]);
  return sliceObject(rollIndex + part, 0, "roll", part, endpoints);
}

function endpoint(address: string, conditions: object = { ready: true, serving: true, terminating: false }): object {
  return { addresses: [address], nodeName: "n1", conditions };
}

async function roll(caller: NetworkNamespace, server: GeneratedServer, child: ChildProcess): Promise<Figures> {
  const at = clusterAddress(rollIndex);
  const standing = await Promise.all(Array.from({ length: 50 }, () => openEcho(caller, at)));
  let isOver = false;
  let [tried, refused, echoes, slowest] = [0, 0, 0, 0];
  const news = (async () => {
    while (!isOver) {
      tried++;
      const ms = await connectMs(caller, at, 80);
      if (ms === undefined) refused++;
      else slowest = Math.max(slowest, ms);
      await delay(5);
    }
  })();
  const talk = (async () => {
    while (!isOver) {
      for (const each of standing) if (await each.echo()) echoes++;
      await delay(100);
    }
  })();
  const before = await restingCpuSeconds(child.pid);
  const started = performance.now();
  for (let first = 0; first < endpointsOfRoll; first += atATime) {
    const part = Math.floor(first / (endpointsOfRoll / 10));
    const ending = Array.from({ length: atATime }, (_, index) => first + index);
    server.send("MODIFIED", rollSlice(part, first + atATime, ending));
    await delay(250);
    server.send("MODIFIED", rollSlice(part, first + atATime, []));
    await delay(250);
  }
  const tookS = (performance.now() - started) / 1000;
  const after = await restingCpuSeconds(child.pid);
  const settledS = (performance.now() - started) / 1000;
  isOver = true;
  await Promise.all([news, talk]);
  const lost = standing.filter((each) => each.isLost()).length;
  for (const each of standing) each.close();
  return {
    "rolling update of 1,000 endpoints, s": tookS,
    "rolling update, until the proxy rests, s": settledS,
    "rolling update, processor time of the proxy, s": after - before,
    "rolling update, new connections": tried,
    "rolling update, new connections that failed": refused,
    "rolling update, slowest new connection, ms": slowest,
    "rolling update, echoes on 50 connections that stood": echoes,
    "rolling update, connections lost of 50": lost,
  };
}

interface Echo {
  /** One byte there and back within two seconds. */
  echo(): Promise<boolean>;
  isLost(): boolean;
  close(): void;
}

async function openEcho(from: NetworkNamespace, host: string): Promise<Echo> {
  const socket = new Socket({ fd: tcpSocketFd(from, 4) });
  let lost = false;
  const lose = (): void => void (lost = true);
  socket.on("error", lose).on("close", lose).on("end", lose);
  socket.connect({ host, port: 80 });
  await once(socket, "connect");
  return {
    async echo() {
      if (lost) return false;
      const answer = once(socket, "data").then(
        () => true,
        () => false,
      );
      socket.write("x");
      const came = await Promise.race([answer, delay(2000, false, { ref: false })]);
      if (!came) lose();
      return came;
    },
    isLost: () => lost,
    close: () => void socket.destroy(),
  };
}

// ---------------------------------------------------------------- proxies and pods

function startFairlead(kubeconfig: string, folder: string): ChildProcess {
  return spawnAgent({ kubeconfig, node: "n1", clusterCidr: "10.244.0.0/15", folder, stdio: "ignore" });
}

function startKubeProxy(kubeconfig: string, folder: string): ChildProcess {
  const stdio: StdioOptions = process.env.VERBOSE === undefined ? "ignore" : ["ignore", 2, 2];
  return spawnKubeProxy({ kubeconfig, node: "n1", clusterCidr: "10.244.0.0/15", folder, stdio, json: true });
}

/** User and system time, that of children included (kube-proxy runs nft). proc(5): utime 14 to cstime 17. */
function cpuSeconds(pid: number | undefined): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    const own = fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
    const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean),
    );
    return children.reduce((sum, child) => sum + cpuSeconds(Number(child)), own);
  } catch {
    // It has ended meanwhile.
    return 0;
  }
}

/** Its processor time when it has done next to nothing for some seconds: a sync of kube-proxy may still be under way. */
async function restingCpuSeconds(pid: number | undefined): Promise<number> {
  for (;;) {
    const before = cpuSeconds(pid);
    await delay(6000);
    const now = cpuSeconds(pid);
    if (now - before < 0.05) return now;
  }
}

/** A pod that echoes at every address of the rolling update and at its own, and one that asks. */
function addPods(kernel: ReturnType<typeof openKernel>): { readonly caller: NetworkNamespace } {
  const server = addVethPod(kernel, "bench-a", serverAddress);
  const caller = addVethPod(kernel, "bench-b", "10.244.1.6");
  // The server's namespace takes packets for the whole range as its own.
  kernel.change([
    {
      kind: "set-route",
      to: "10.245.0.0/16",
      action: "forward",
      via: serverAddress,
      link: "bench-a",
      onlink: true,
      metric: 0,
      protocol: 4,
    },
  ]);
  server.run(() => spawnSync("ip", ["route", "add", "local", "10.245.0.0/16", "dev", "lo"]));
  kernel.writeSysctl("net/ipv4/ip_forward", "1");
  const listener = createServer(
    (socket) => void socket.on("error", () => {}).on("data", (data) => void socket.write(data)),
  );
  listener.listen({ fd: listenTcpFd(server, { port: 8080 }), backlog: 4096 });
  return { caller };
}

function clusterAddress(index: number): string {
  return `10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
}

function connectMs(from: NetworkNamespace, host: string, port: number): Promise<number | undefined> {
  const socket = new Socket({ fd: tcpSocketFd(from, 4) });
  return new Promise((resolve) => {
    const done = (value: number | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(value);
    };
    const timer = setTimeout(() => done(undefined), 2000);
    socket.once("error", () => done(undefined));
    const started = performance.now();
    socket.connect({ host, port }, () => done(performance.now() - started));
  });
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
