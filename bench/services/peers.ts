// `fairlead agent --only services` beside the real kube-proxy (nftables mode), in turns, in one namespace, against one real etcd and
// kube-apiserver with the same objects: cold start, one endpoint changed, a rolling update, connecting through a Service, memory.
//
//   node bench/services/peers.ts [SERVICES] [ROUNDS]      1,000 Services of three endpoints, two rounds
//
// It runs itself again in namespaces of its own, as root where it is started as root. etcd, kube-apiserver and kube-proxy are looked for in $PEERS/bin (~/.cache/fairlead-peers).
// kube-apiserver takes about 45 Services a second: 10,000 need some minutes before anything is measured.
// With KUBECONFIG and NODE set, an API server that holds the Services already is used, from the network namespace it is started in.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";

import { openKernel } from "../../src/kernel/linux.ts";
import { currentNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { listenTcpFd, tcpSocketFd } from "../../src/kernel/sockets.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { openCluster, resourcePath, type ClusterClient } from "../../src/watch/cluster/client.ts";
import { startInformer } from "../../src/watch/cluster/informer.ts";
import { readKubeconfig } from "../../src/watch/cluster/kubeconfig.ts";
import { addVethPod, binaries, enterOwnNamespaces, fairlead, spawnAgent, spawnKubeProxy } from "./place.ts";

if (process.env.KUBECONFIG === undefined) enterOwnNamespaces(import.meta.url);

const servicesCount = Number(process.argv[2] ?? 1000);
const rounds = Number(process.argv[3] ?? 2);
const namespaceName = "load";
const services = { group: "", version: "v1", resource: "services" };
const slices = { group: "discovery.k8s.io", version: "v1", resource: "endpointslices" };

const folder = mkdtempSync(join(tmpdir(), "fairlead-peers-"));
const running: ChildProcess[] = [];
try {
  await main();
} finally {
  for (const child of running) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);

interface Place {
  readonly kubeconfig: string;
  readonly node: string;
  readonly client: ClusterClient;
}

async function main(): Promise<void> {
  for (const name of ["etcd", "kube-apiserver", "kube-proxy"])
    if (!existsSync(join(binaries, name))) throw new Error(`${binaries} has no ${name}: set PEERS to the folder above`);
  const place = await openPlace();
  const kernel = openKernel("bench", currentNetworkNamespace());
  const pod = await addPod(place, "10.244.1.5");
  const figures = new Map<string, number[]>();
  const note = (name: string, value: number): void => {
    figures.set(name, [...(figures.get(name) ?? []), value]);
    console.error(`  ${name}: ${short(value)}`);
  };

  for (let round = 0; round < rounds; round++) {
    for (const who of ["fairlead", "kube-proxy"] as const) {
      const started = performance.now();
      const proxy = who === "fairlead" ? startFairlead(place) : startKubeProxy(place);
      await proxy.programmed;
      note(`${who}: process start to programmed, ms`, performance.now() - started);
      note(`${who}: CPU until then, s`, cpuSeconds(proxy.child));
      const processorMs = proxy.syncProcessorMs();
      if (processorMs !== undefined) note("fairlead: objects in hand to kernel, ms of processors", processorMs);
      if (who === "fairlead") note("fairlead: objects in hand to kernel, ms", proxy.syncMs());
      else note("kube-proxy: first sync of IPv4, ms", proxy.syncMs());
      await pod.answers();

      const changes = who === "fairlead" ? 40 : 4;
      const late = await changeLatencies(place, kernel, changes);
      note(`${who}: endpoint changed, watch event to kernel, p50 ms`, quantile(late, 0.5));
      note(`${who}: endpoint changed, watch event to kernel, p99 ms`, quantile(late, 0.99));
      const before = cpuSeconds(proxy.child);
      await churn(place, 100, 10_000);
      await delay(who === "fairlead" ? 500 : 6000);
      note(`${who}: CPU of 100 endpoint changes within 10 s, s`, cpuSeconds(proxy.child) - before);
      note(`${who}: memory, MB (RssAnon)`, memoryMegabytes(proxy.child));
      // With the proxy at rest: what it does after its start would be part of the figure.
      const { through, directly } = await pod.connectMicroseconds();
      note(`${who}: connect through a Service, median µs`, through);
      note(`${who}: connect directly, median µs`, directly);
      await proxy.end();
    }
  }
  kernel.close();
  pod.close();
  place.client.close();
  console.log(
    `${servicesCount} Services x 3 endpoints, ${rounds} rounds in turns, load ${readFileSync("/proc/loadavg", "utf8").split(" ")[0]}`,
  );
  for (const [name, values] of figures) {
    const sorted = values.toSorted((a, b) => a - b);
    const text = [quantile(sorted, 0.5), sorted[0] ?? 0, sorted.at(-1) ?? 0].map(short);
    console.log(`${name.padEnd(62)} median ${text[0]?.padStart(8)}   from ${text[1]} to ${text[2]}`);
  }
}

// ---------------------------------------------------------------- the API server and what is in it

async function openPlace(): Promise<Place> {
  const { KUBECONFIG: given, NODE: node = "n1" } = process.env;
  if (given !== undefined) return { kubeconfig: given, node, client: openCluster(await readKubeconfig(given)) };
  const kubeconfig = await startApiServer();
  const client = openCluster(await readKubeconfig(kubeconfig));
  await client.request({ method: "POST", path: "/api/v1/namespaces", body: { metadata: { name: namespaceName } } });
  await client.request({
    method: "POST",
    path: "/api/v1/nodes",
    body: { metadata: { name: node }, spec: { podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.1.0/24"] } },
  });
  await client.request({
    method: "PATCH",
    path: `/api/v1/nodes/${node}/status`,
    contentType: "application/merge-patch+json",
    body: { status: { addresses: [{ type: "InternalIP", address: "192.0.2.1" }] } },
  });
  const started = performance.now();
  await load(client);
  console.log(
    `loaded ${servicesCount} Services and EndpointSlices in ${((performance.now() - started) / 1000).toFixed(0)} s`,
  );
  return { kubeconfig, node, client };
}

async function startApiServer(): Promise<string> {
  const kernel = openKernel("bench", currentNetworkNamespace());
  kernel.change([
    { kind: "set-link", name: "lo", up: true },
    { kind: "set-address", link: "lo", address: "192.0.2.1", bits: 32 },
  ]);
  kernel.close();
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = join(folder, "sa.key");
  writeFileSync(key, privateKey.export({ type: "pkcs8", format: "pem" }));
  const tokens = join(folder, "tokens");
  writeFileSync(tokens, "bench,bench,bench,system:masters\n");
  start("etcd", { "data-dir": join(folder, "etcd"), "unsafe-no-fsync": "true", "log-level": "error" });
  start("kube-apiserver", {
    "etcd-servers": "http://127.0.0.1:2379",
    "bind-address": "127.0.0.1",
    "advertise-address": "127.0.0.1",
    "secure-port": "6443",
    "cert-dir": folder,
    "endpoint-reconciler-type": "none",
    "service-cluster-ip-range": "10.96.0.0/12",
    "authorization-mode": "AlwaysAllow",
    "token-auth-file": tokens,
    "service-account-issuer": "https://bench",
    "service-account-key-file": key,
    "service-account-signing-key-file": key,
    "disable-admission-plugins": "ServiceAccount",
  });
  const kubeconfig = join(folder, "kubeconfig");
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      "current-context": "bench",
      contexts: [{ name: "bench", context: { cluster: "bench", user: "bench" } }],
      clusters: [{ name: "bench", cluster: { server: "https://127.0.0.1:6443", "insecure-skip-tls-verify": true } }],
      users: [{ name: "bench", user: { token: "bench" } }],
    }),
  );
  const client = openCluster(await readKubeconfig(kubeconfig));
  for (let tries = 0; ; tries++) {
    try {
      await client.request({ path: "/api/v1/namespaces/default" });
      client.close();
      return kubeconfig;
    } catch (error) {
      if (tries > 300) throw error;
      await delay(200);
    }
  }
}

function start(name: string, flags: Readonly<Record<string, string>>): void {
  const given = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
  running.push(spawn(join(binaries, name), given, { stdio: "ignore" }));
}

async function load(client: ClusterClient): Promise<void> {
  let next = 0;
  const work = async (): Promise<void> => {
    for (let index = next++; index < servicesCount; index = next++) {
      const name = `svc-${index}`;
      await create(client, services, serviceObject(name));
      const host = (offset: number): string => `10.244.${2 + ((index >> 6) % 200)}.${((index * 3 + offset) % 250) + 1}`;
      await create(client, slices, sliceObject(name, [host(0), host(1), host(2)]));
    }
  };
  await Promise.all(Array.from({ length: 12 }, work));
}

async function create(client: ClusterClient, resource: typeof services, body: object): Promise<void> {
  await client.request({ method: "POST", path: resourcePath(resource, { namespace: namespaceName }), body });
}

function serviceObject(name: string): object {
  return { metadata: { name }, spec: { ports: [{ name: "http", port: 80, targetPort: 8080 }] } };
}

function sliceObject(name: string, addresses: readonly string[]): object {
  return {
    metadata: { name, labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ name: "http", port: 8080, protocol: "TCP" }],
    endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
  };
}

// ---------------------------------------------------------------- the two

interface Proxy {
  readonly child: ChildProcess;
  readonly programmed: Promise<void>;
  /** What it says that its first time took. */
  syncMs(): number;
  /** Of that, what it says about the processor's time. */
  syncProcessorMs(): number | undefined;
  /** Ends it, and takes what it made away. */
  end(): Promise<void>;
}

function startFairlead({ kubeconfig, node }: Place): Proxy {
  const child = spawnAgent({ kubeconfig, node, folder, stdio: "pipe" });
  running.push(child);
  const said = listen(child, /programmed \d+ changes (\d+) ms.* processor's time (\d+) and/);
  return {
    child,
    programmed: said.found,
    syncMs: () => Number(said.match()?.[1]),
    syncProcessorMs: () => Number(said.match()?.[2]),
    async end() {
      child.kill("SIGTERM");
      await once(child, "exit");
      spawnSync(fairlead, ["agent", "cleanup"]);
    },
  };
}

function startKubeProxy({ kubeconfig, node }: Place): Proxy {
  const child = spawnKubeProxy({ kubeconfig, node, clusterCidr: "10.244.0.0/16", folder, stdio: "pipe" });
  running.push(child);
  const said = listen(child, /"SyncProxyRules complete" ipFamily="IPv4" elapsed="([^"]+)"/);
  return {
    child,
    programmed: said.found,
    syncMs: () => goDurationMs(said.match()?.[1] ?? ""),
    syncProcessorMs: () => undefined,
    async end() {
      child.kill("SIGKILL");
      await once(child, "exit");
      for (const family of ["ip", "ip6"]) spawnSync("nft", ["delete", "table", family, "kube-proxy"]);
    },
  };
}

function listen(
  child: ChildProcess,
  pattern: RegExp,
): { readonly found: Promise<void>; match(): RegExpExecArray | undefined } {
  let match: RegExpExecArray | undefined;
  let text = "";
  const found = new Promise<void>((resolve, reject) => {
    const hear = (chunk: Buffer): void => {
      if (match !== undefined) return;
      text = (text + chunk.toString()).slice(-100_000);
      match = pattern.exec(text) ?? undefined;
      if (match !== undefined) resolve();
    };
    child.stdout?.on("data", hear);
    child.stderr?.on("data", hear);
    child.once("exit", (code) => reject(new Error(`ended with ${code}: ${text.slice(-2000)}`)));
  });
  return { found, match: () => match };
}

/** `1.5s`, `250ms`, `1m2s` */
function goDurationMs(text: string): number {
  const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1, µs: 0.001 };
  return text
    .matchAll(/([\d.]+)(h|ms|m|µs|s)/g)
    .reduce((sum, [, value, unit]) => sum + Number(value) * (units[unit ?? ""] ?? 0), 0);
}

/** User and system time, children that have ended included (kube-proxy runs nft). proc(5): utime 14, stime 15, cutime 16, cstime 17. */
function cpuSeconds({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

function memoryMegabytes({ pid }: ChildProcess): number {
  return Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
}

// ---------------------------------------------------------------- changes

/** From the moment a watch of our own hears of a changed endpoint to the kernel's notification that its rules are others, sorted. */
async function changeLatencies(
  { client }: Place,
  kernel: ReturnType<typeof openKernel>,
  count: number,
): Promise<readonly number[]> {
  let heard: (() => void) | undefined;
  let written: (() => void) | undefined;
  const monitor = kernel.monitor(({ kind }) => void (kind === "nftables" && written?.()));
  const watch = startInformer<KubeObject>({
    client,
    resource: slices,
    namespace: namespaceName,
    fieldSelector: "metadata.name=svc-7",
    changed: () => heard?.(),
  });
  await watch.synced;
  const late: number[] = [];
  for (let index = 0; index < count; index++) {
    const event = new Promise<number>((resolve) => (heard = () => resolve(performance.now())));
    const change = new Promise<number>((resolve) => (written = () => resolve(performance.now())));
    await changeEndpoint(client, "svc-7", `10.244.3.${(index % 250) + 1}`);
    const [eventAt, changeAt] = await Promise.all([event, change]);
    late.push(changeAt - eventAt);
    await delay(50);
  }
  watch.close();
  monitor.close();
  return late.toSorted((a, b) => a - b);
}

async function changeEndpoint(client: ClusterClient, name: string, third: string): Promise<void> {
  const addresses = ["10.244.2.1", "10.244.2.2", third];
  const path = resourcePath(slices, { namespace: namespaceName, name });
  const contentType = "application/merge-patch+json";
  const { endpoints } = sliceObject(name, addresses) as { endpoints: unknown };
  await client.request({ method: "PATCH", path, contentType, body: { endpoints } });
}

/** Changes of different Services, evenly spread, to addresses that `changeLatencies` never gives: a patch that changes nothing tells nobody. */
async function churn({ client }: Place, count: number, withinMs: number): Promise<void> {
  const started = performance.now();
  for (let index = 0; index < count; index++) {
    const third = `10.244.4.${Math.floor(Math.random() * 250) + 1}`;
    await changeEndpoint(client, `svc-${(index * 7) % Math.min(servicesCount, 700)}`, third);
    await delay(Math.max(0, started + (index * withinMs) / count - performance.now()));
  }
}

// ---------------------------------------------------------------- packets

interface BenchPod {
  /** Resolves when the Service leads to the pod. */
  answers(): Promise<void>;
  /** Medians of 1,000 each, in turns. */
  connectMicroseconds(): Promise<{ readonly through: number; readonly directly: number }>;
  close(): void;
}

/** A server in a namespace of its own, behind Service `echo`, and a client in another. */
async function addPod({ client, node }: Place, address: string): Promise<BenchPod> {
  const kernel = openKernel("bench", currentNetworkNamespace());
  const server = addVethPod(kernel, "bench-a", address);
  const caller = addVethPod(kernel, "bench-b", "10.244.1.6");
  kernel.writeSysctl("net/ipv4/ip_forward", "1");
  kernel.close();
  const listener = createServer((socket) => void socket.on("error", () => {}).destroy());
  listener.listen({ fd: listenTcpFd(server, { port: 8080 }) });
  for (const resource of [services, slices]) {
    const path = resourcePath(resource, { namespace: namespaceName, name: "echo-bench" });
    await client.request({ method: "DELETE", path }).catch(() => {});
  }
  await create(client, services, serviceObject("echo-bench"));
  const slice = sliceObject("echo-bench", [address]) as { endpoints: object[] };
  await create(client, slices, { ...slice, endpoints: slice.endpoints.map((one) => ({ ...one, nodeName: node })) });
  const { spec } = await client.request<{ spec: { clusterIP: string } }>({
    path: resourcePath(services, { namespace: namespaceName, name: "echo-bench" }),
  });
  return {
    async answers() {
      for (let tries = 0; tries < 200; tries++) {
        if ((await connectMs(caller, spec.clusterIP, 80)) !== undefined) return;
        await delay(200);
      }
      throw new Error(`${spec.clusterIP}:80 does not answer`);
    },
    async connectMicroseconds() {
      const [through, directly]: [number[], number[]] = [[], []];
      for (let index = 0; index < 1000; index++) {
        const [first, second] = [await connectMs(caller, spec.clusterIP, 80), await connectMs(caller, address, 8080)];
        if (first !== undefined) through.push(first * 1000);
        if (second !== undefined) directly.push(second * 1000);
      }
      const median = (all: readonly number[]): number =>
        quantile(
          all.toSorted((x, y) => x - y),
          0.5,
        );
      return { through: median(through), directly: median(directly) };
    },
    close() {
      listener.close();
      for (const namespace of [server, caller]) namespace.close();
    },
  };
}

function connectMs(from: NetworkNamespace, host: string, port: number): Promise<number | undefined> {
  const socket = new Socket({ fd: tcpSocketFd(from, 4) });
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      socket.destroy();
      resolve(undefined);
    }, 1000);
    const done = (value: number | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(value);
    };
    socket.once("error", () => done(undefined));
    const started = performance.now();
    socket.connect({ host, port }, () => done(performance.now() - started));
  });
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
