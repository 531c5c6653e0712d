// NetworkPolicy at 10,000 pods and 2,000 policies, by real packets: from a change of one object until a probe passes, or no longer does;
// what policies cost a connection and a stream; what the kernel and the process hold. Two nodes are real, with the agents a node has; 100 real
// pods on the one, the prober's on the other; the other 98 nodes and their pods are objects.
// Needs perl and iperf3.
//
//   node bench/policy/packets.ts      CHANGES=100 ROUNDS=9

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";

import { createObjectsSource } from "../../src/agent/network-source.ts";
import { startNode, type NodeNetwork } from "../../src/agent/node.ts";
import { createNetworkNamespace, openNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { unshareFlags } from "../../src/kernel/refusal.ts";
import { bindUdpFd } from "../../src/kernel/sockets.ts";
import type { NetworkPolicy, Pod } from "../../src/kube/kinds.ts";
import { createTopology } from "../../src/lab/network/topology.ts";
import type { ClusterObjects } from "../../src/model/build.ts";
import { namespace } from "../../src/model/objects.testing.ts";
import { bigPod, bigPolicy, cluster, localPods, manyObjects } from "./cluster/objects.ts";

// ---------------------------------------------------------------- two nodes of a large cluster

async function main(): Promise<void> {
  const changes = Number(process.env["CHANGES"] ?? 100);
  const rounds = Number(process.env["ROUNDS"] ?? 9);
  const folder = mkdtempSync(join(tmpdir(), "fairlead-bench-"));
  const base = manyObjects();
  const spaces = [...base.namespaces, namespace("bench", { "kubernetes.io/metadata.name": "bench" })];
  let today: ClusterObjects = {
    ...base,
    namespaces: spaces,
    pods: base.pods.slice(2 * localPods),
    networkPolicies: [],
  };
  const source = createObjectsSource({ cluster: () => cluster, objects: () => today });
  const topology = createTopology({ families: [4, 6], nodeCidrs: ["172.18.0.0/16"] });
  const nodes = [1, 2].map((n) => startBigNode(`node-${n}`, n));

  function startBigNode(name: string, n: number): NodeNetwork {
    const { kernel } = topology.addNode(name, [`172.18.1.${n}`]);
    const podCidrs = base.nodes[n - 1]?.spec?.podCIDRs ?? [];
    return startNode({
      node: name,
      kernel,
      source,
      podCidrs: () => podCidrs,
      report(event) {
        if (event.kind === "compile-failed") throw event.error;
        for (const { key, error } of event.report.failures) console.log(`${name}: ${key}: ${error.message}`);
      },
    });
  }
  const [first, second] = nodes;
  if (first === undefined || second === undefined) throw new Error("no nodes");
  const settled = async (): Promise<void> => {
    // The source tells of changes a turn later.
    await new Promise((resolve) => void setImmediate(resolve));
    await Promise.all(nodes.map(({ agent }) => agent.synced()));
  };
  const change = (next: Partial<ClusterObjects>): bigint => {
    today = { ...today, ...next };
    const at = process.hrtime.bigint();
    source.changed();
    return at;
  };

  const plain = base.pods.slice(0, localPods - 1);
  const places = await Promise.all([
    ...plain.map(({ metadata }) => place(first, metadata.namespace ?? "", metadata.name)),
    place(first, "bench", "server"),
    place(second, "bench", "client"),
  ]);
  const running = plain.map((pod, index) => withAddress(pod, "node-1", places[index]?.addresses ?? []));
  const [server, client] = places.slice(-2);
  if (server === undefined || client === undefined) throw new Error("no pods");
  const serverPod = benchPod("server", "node-1", server.addresses, { role: "server" });
  const others = [...today.pods, ...running, serverPod];
  const clientPod = (index: number): Pod =>
    benchPod("client", "node-2", client.addresses, { role: "client", fresh: `f${index}` });
  const policies = [...base.networkPolicies, benchPolicy(8080)];

  change({ pods: others });
  await settled();
  const rulesWithout = await rulesOf(topology, base.networkPolicies.slice(0, 20));
  const before = cpu();
  const started = performance.now();
  change({ networkPolicies: policies });
  await settled();
  console.log(
    `2,000 policies at once, compiled for and installed on two nodes: ${(performance.now() - started).toFixed(0)} ms, of processor ${since(before)}`,
  );
  const rulesWith = countRules(topology);
  console.log(`rules of a node: ${rulesWithout} with 20 policies, ${rulesWith} with 2,000`);

  async function rulesOf(of: typeof topology, some: readonly NetworkPolicy[]): Promise<number> {
    change({ networkPolicies: [...some, benchPolicy(8080)] });
    await settled();
    return countRules(of);
  }

  const prober = await startProber(client.namespace, server.namespace);
  const created: number[] = [];
  const gone: number[] = [];
  await settled();
  const work = cpu();
  for (let index = 0; index < changes; index++) {
    created.push(await prober.since("passes", change({ pods: [...others, clientPod(index)] })));
    gone.push(await prober.since("stops", change({ pods: others })));
  }
  console.log(`one pod created → allowed:     ${quantiles(created)}`);
  console.log(`one pod deleted → forbidden:   ${quantiles(gone)}`);
  change({ pods: [...others, clientPod(0)] });
  await settled();
  const closed: number[] = [];
  const opened: number[] = [];
  for (let index = 0; index < changes; index++) {
    closed.push(await prober.since("stops", change({ networkPolicies: [...base.networkPolicies, benchPolicy(9090)] })));
    opened.push(await prober.since("passes", change({ networkPolicies: policies })));
  }
  console.log(`one policy changed → enforced: ${quantiles(closed)}`);
  console.log(`and back → allowed:            ${quantiles(opened)}`);
  console.log(`  processor for each change, both nodes: ${(cpuMs(work) / (4 * changes)).toFixed(1)} ms`);
  prober.end();
  const other = bigPolicy(7, 9090);
  change({ networkPolicies: policies.with(7, other) });
  await settled();
  console.log(
    `memory, objects of the cluster and two agents: ${anonymousMegabytes()} MB (${Math.round(process.memoryUsage().rss / 1e6)} with shared pages)`,
  );

  // ---- what they cost
  const listening = spawnIn(server.namespace, "perl", ["-MSocket", "-e", perlServer]);
  await once(listening.stdout as NodeJS.ReadableStream, "data");
  const streams = spawnIn(server.namespace, "iperf3", ["-s", "-p", "8082"]);
  const rates = { with: [] as number[], without: [] as number[] };
  const connects = { with: [] as number[], without: [] as number[] };
  const speeds = { with: [] as number[], without: [] as number[] };
  const costs = { with: [] as number[], without: [] as number[] };
  const address = server.addresses.find((one) => !one.includes(":")) ?? "";
  for (let round = 0; round < rounds; round++) {
    for (const which of ["with", "without"] as const) {
      change({ networkPolicies: which === "with" ? policies : [] });
      await settled();
      const words = ["-MSocket", "-e", perlClient, address];
      const [rate = 0, cost = 0] = (await outputOf(spawnIn(client.namespace, "perl", words))).split(" ").map(Number);
      rates[which].push(rate);
      connects[which].push(cost);
      const report = JSON.parse(
        await outputOf(spawnIn(client.namespace, "iperf3", ["-c", address, "-p", "8082", "-t", "1", "-J"])),
      ) as IperfReport;
      const gigabits = report.end.sum_received.bits_per_second / 1e9;
      const { host_total: here, remote_total: there } = report.end.cpu_utilization_percent;
      speeds[which].push(gigabits);
      costs[which].push((here + there) / gigabits);
    }
  }
  for (const child of [listening, streams]) child.kill("SIGKILL");
  console.log(`with and without 2,000 policies, both ends isolated, ${rounds} rounds in turn, medians:`);
  const ratio = (of: { with: number[]; without: number[] }): string => {
    const each = of.with.map((value, at) => value / (of.without[at] ?? Number.NaN));
    return `${median(of.with).toFixed(2)} and ${median(of.without).toFixed(2)}: ${(100 * median(each)).toFixed(1)} %`;
  };
  console.log(`  TCP connections a second:  ${ratio(rates)}`);
  console.log(`  processor of each, µs:     ${ratio(connects)}`);
  console.log(`  TCP throughput, Gbit/s:    ${ratio(speeds)}`);
  console.log(`  processor a Gbit, 10 ms:   ${ratio(costs)}`);
  console.log(`load average ${readFileSync("/proc/loadavg", "utf8").split(" ").slice(0, 2).join(" ")}`);

  await Promise.all(nodes.map(({ agent }) => agent.stop()));
  for (const { namespace: each } of places) each.close();
  topology.close();
  rmSync(folder, { recursive: true, force: true });
}

interface Place {
  readonly namespace: NetworkNamespace;
  readonly addresses: readonly string[];
}

async function place(node: NodeNetwork, podNamespace: string, podName: string): Promise<Place> {
  const own = createNetworkNamespace();
  const { ips } = await node.podNetwork.add({
    containerId: `${podNamespace}-${podName}`,
    namespaceFd: own.fd,
    interfaceName: "eth0",
    podNamespace,
    podName,
    podUid: `${podNamespace}-${podName}`,
    portMappings: [],
  });
  return { namespace: own, addresses: ips.map(({ address }) => address) };
}

function withAddress(pod: Pod, nodeName: string, addresses: readonly string[]): Pod {
  const podIPs = addresses.map((ip) => ({ ip }));
  return { ...pod, spec: { ...pod.spec, nodeName }, status: { ...pod.status, podIPs } };
}

function benchPod(name: string, nodeName: string, addresses: readonly string[], labels: Record<string, string>): Pod {
  const made = withAddress(bigPod(0, {}), nodeName, addresses);
  return { ...made, metadata: { name, namespace: "bench", labels } };
}

/** Lets clients in by UDP at one port, and by TCP at those of the streams; isolates both ends. */
function benchPolicy(port: number): NetworkPolicy {
  const client = { podSelector: { matchLabels: { role: "client" } } };
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "bench", namespace: "bench" },
    spec: {
      podSelector: {},
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        {
          from: [client],
          ports: [
            { port, protocol: "UDP" },
            { port: 8081, endPort: 8082 },
          ],
        },
      ],
      egress: [{ to: [{ podSelector: { matchLabels: { role: "server" } } }] }],
    },
  };
}

function countRules(topology: ReturnType<typeof createTopology>): number {
  const kernel = topology.nodes.get("node-1")?.kernel;
  return (["ip", "ip6", "bridge"] as const).reduce(
    (sum, family) =>
      sum +
      (kernel
        ?.nftTable(family, "fairlead")
        ?.rules.values()
        .reduce((n, { length }) => n + length, 0) ?? 0),
    0,
  );
}

// ---------------------------------------------------------------- the prober, a process of its own

interface Prober {
  /** Milliseconds from the given time until a probe was sent that passed, or that did not. */
  since(what: "passes" | "stops", from: bigint): Promise<number>;
  end(): void;
}

async function startProber(client: NetworkNamespace, server: NetworkNamespace): Promise<Prober> {
  const child = spawn(process.execPath, [import.meta.filename], {
    stdio: ["pipe", "pipe", "inherit", client.fd, server.fd],
    env: { ...process.env, FAIRLEAD_BENCH_ROLE: "prober" },
  });
  const answers: ((line: string) => void)[] = [];
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => answers.shift()?.(line));
  await new Promise<string>((resolve) => void answers.push(resolve));
  return {
    async since(what, from) {
      const answer = new Promise<string>((resolve) => void answers.push(resolve));
      child.stdin?.write(`${what} ${from}\n`);
      return Number(BigInt(await answer) - from) / 1e6;
    },
    end: () => void child.kill("SIGKILL"),
  };
}

/** Sends a datagram a millisecond, each from another port as a connection of its own; tells when the first one passed or was lost. */
function probe(): void {
  const [client, server] = ["/proc/self/fd/3", "/proc/self/fd/4"].map(openNetworkNamespace);
  if (client === undefined || server === undefined) throw new Error("no namespaces");
  const target = addressIn(server);
  /** Silence this long is a loss: a datagram takes a fraction of a millisecond. */
  const silence = 300_000_000n;
  let asked: { readonly what: string; readonly from: bigint } | undefined;
  let open: bigint[] = [];
  let port = 10_000;
  let sends = 0;
  const tell = (at: bigint): void => {
    asked = undefined;
    process.stdout.write(`${at}\n`);
  };
  const receiver = createSocket("udp4", (message) => {
    const sent = message.readBigUInt64BE();
    open = open.filter((each) => each !== sent);
    if (asked?.what === "passes" && sent >= asked.from) tell(sent);
  });
  receiver.bind({ fd: bindUdpFd(server, { address: "0.0.0.0", port: 8080 }) });
  createInterface({ input: process.stdin }).on("line", (line) => {
    const [what = "", from = "0"] = line.split(" ");
    asked = { what, from: BigInt(from) };
  });
  setInterval(() => {
    const now = process.hrtime.bigint();
    if (port === 10_000 && sends++ === 0) process.stdout.write("sending\n");
    const socket = createSocket("udp4");
    port = port === 59_999 ? 10_000 : port + 1;
    socket.bind({ fd: bindUdpFd(client, { address: "0.0.0.0", port }) }, () => {
      const message = Buffer.alloc(8);
      const sent = process.hrtime.bigint();
      message.writeBigUInt64BE(sent);
      open.push(sent);
      socket.send(message, 8080, target, () => void socket.close());
    });
    const { what, from } = asked ?? {};
    const lost =
      what === "stops" ? open.find((sent) => from !== undefined && sent >= from && now - sent > silence) : undefined;
    if (lost !== undefined) tell(lost);
    open = open.filter((sent) => now - sent < 2n * silence);
  }, 1);
}

function addressIn(own: NetworkNamespace): string {
  const text = own.run(() => spawnSync("ip", ["-4", "-o", "addr", "show", "dev", "eth0"], { encoding: "utf8" }).stdout);
  return /inet ([\d.]+)/.exec(text)?.[1] ?? "";
}

// ---------------------------------------------------------------- connections and streams

interface IperfReport {
  readonly end: {
    readonly sum_received: { readonly bits_per_second: number };
    readonly cpu_utilization_percent: { readonly host_total: number; readonly remote_total: number };
  };
}

const perlServer = `$| = 1; socket(S, PF_INET, SOCK_STREAM, 6); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
bind(S, sockaddr_in(8081, INADDR_ANY)) or die; listen(S, 1024); print "ready\\n"; while (accept(C, S)) { close C }`;
/** Connections in a second, one after another; each ends by a reset, so that no port waits. */
const perlClient = `use Time::HiRes "time"; my $to = sockaddr_in(8081, inet_aton($ARGV[0])); my ($n, $end) = (0, time + 1);
my $begun = time; while (time < $end) { socket(C, PF_INET, SOCK_STREAM, 6); setsockopt(C, SOL_SOCKET, SO_LINGER, pack("ii", 1, 0));
connect(C, $to) or die "connect: $!"; close C; $n++ }
my ($user, $system) = times; printf "%d %.3f", $n / (time - $begun), 1e6 * ($user + $system) / $n`;

function spawnIn(own: NetworkNamespace, command: string, words: readonly string[]): ChildProcess {
  return own.run(() => spawn(command, words, { stdio: ["ignore", "pipe", "inherit"] }));
}

async function outputOf(child: ChildProcess): Promise<string> {
  let text = "";
  child.stdout?.on("data", (data) => (text += String(data)));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${child.spawnargs.slice(0, 2).join(" ")} ended with ${code}: ${text}`);
  return text;
}

// ---------------------------------------------------------------- figures

function cpu(): NodeJS.CpuUsage {
  return process.cpuUsage();
}

function cpuMs(from: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1000;
}

function since(from: NodeJS.CpuUsage): string {
  return `${cpuMs(from).toFixed(0)} ms`;
}

function quantiles(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (part: number): string =>
    (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0).toFixed(1);
  return `median ${at(0.5)} ms, p90 ${at(0.9)} ms, p99 ${at(0.99)} ms of ${sorted.length}`;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function anonymousMegabytes(): number {
  return Math.round(Number(/RssAnon:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? 0) / 1024);
}

const role = process.env["FAIRLEAD_BENCH_ROLE"];
if (role === "prober") {
  probe();
} else if (role === "inside") {
  await main();
  process.exit(0);
} else {
  const { status } = spawnSync("unshare", [...unshareFlags, process.execPath, import.meta.filename], {
    stdio: "inherit",
    env: { ...process.env, FAIRLEAD_BENCH_ROLE: "inside" },
  });
  process.exit(status ?? 1);
}
