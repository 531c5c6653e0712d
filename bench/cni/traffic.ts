// What the pod network costs a packet: TCP throughput, request and answer, and the processor time of both, from a pod on one node to a pod on another.
// Fairlead's agents beside Flannel (flannel.ts), beside Debian's `bridge` and `host-local` plugins with a VXLAN tunnel made by hand, once as they are and once with the
// connection tracking and translation that Services need of any network, and beside a veth pair with nothing in between.
// All paths stand at once and take turns in short rounds, each round beginning with another, so that a noisy machine hurts all alike.
// Needs containernetworking-plugins, curl, iperf3, iptables and perl; Go once, for Flannel.
//
//   node bench/cni/traffic.ts      ROUNDS=15

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";

import { createObjectsSource } from "../../src/agent/network-source.ts";
import { startNode, type NodeNetwork } from "../../src/agent/node.ts";
import { mountFilesystem } from "../../src/kernel/mounts.ts";
import { createNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { unshareFlags } from "../../src/kernel/refusal.ts";
import { createTopology } from "../../src/lab/network/topology.ts";
import { clusterConfig } from "../../src/model/cluster.ts";
import { node, objects } from "../../src/model/objects.testing.ts";
import { startFlannel } from "./flannel.ts";
import { addByBridge, pathOf, sh } from "./place.ts";

const rounds = Number(process.env["ROUNDS"] ?? 15);
const plugins = ["/usr/lib/cni", "/opt/cni/bin"].find((folder) => existsSync(path.join(folder, "bridge")));
if (plugins === undefined) throw new Error("apt install containernetworking-plugins: the peer is not here");

/** Two pods that reach each other. */
interface Way {
  readonly name: string;
  readonly client: NetworkNamespace;
  readonly server: NetworkNamespace;
  readonly address: string;
}

async function main(): Promise<void> {
  // host-local and iptables keep files there.
  mountFilesystem("tmpfs", "/run");
  const [fairlead, stop] = await fairleadWay();
  const flannel = await startFlannel(plugins ?? "");
  const peers = [
    { name: "Flannel", ...flannel },
    pluginsWay(plugins ?? "", "as they are"),
    pluginsWay(plugins ?? "", "tracking connections as Services need"),
    vethWay(),
  ];
  const measured = [fairlead, ...peers].map((way) => ({ way, servers: serve(way), figures: [] as Figures[] }));
  try {
    // The servers listen a moment after they are there.
    for (const { way } of measured) while ((await tried(way)) !== 0);
    for (let round = 0; round < rounds; round++) {
      const first = round % measured.length;
      for (const one of [...measured.slice(first), ...measured.slice(0, first)])
        one.figures.push({ ...(await stream(one.way)), ...(await questions(one.way)) });
    }
    console.log(
      `pod to pod across two nodes, ${rounds} rounds of a second in turn, medians, and of each round's ratios:`,
    );
    const [ours, ...others] = measured;
    for (const what of figureNames) {
      console.log(what);
      for (const { way, figures } of measured) {
        const ratio = figures.map((each, at) => share(what, ours?.figures[at]?.[what], each[what]));
        const beside = others.some((other) => other.way === way)
          ? `  fairlead has ${(100 * median(ratio)).toFixed(1)} %`
          : "";
        console.log(
          `  ${median(figures.map((each) => each[what]))
            .toFixed(2)
            .padStart(9)}  ${way.name}${beside}`,
        );
      }
    }
    console.log(`load ${os.loadavg()[0]?.toFixed(1)}`);
  } finally {
    for (const { servers } of measured) for (const one of servers) one.kill("SIGKILL");
    await flannel.stop();
    await stop();
  }
}

// ---------------------------------------------------------------- the ways

async function fairleadWay(): Promise<[Way, () => Promise<void>]> {
  const cluster = clusterConfig({ families: [4] });
  const range = (n: number): readonly string[] => [`10.244.${n}.0/24`];
  const all = objects({ nodes: [1, 2].map((n) => node(n, { podCIDRs: range(n) })) });
  const source = createObjectsSource({ cluster: () => cluster, objects: () => all });
  const topology = createTopology({ families: [4], nodeCidrs: cluster.nodeCidrs });
  const nodes = [1, 2].map((n): NodeNetwork =>
    startNode({
      node: `node-${n}`,
      kernel: topology.addNode(`node-${n}`, [`172.18.0.${n + 1}`]).kernel,
      source,
      podCidrs: () => range(n),
      report(event) {
        if (event.kind === "compile-failed") throw event.error;
      },
    }),
  );
  const pods = await Promise.all(
    nodes.map(async ({ podNetwork }, index) => {
      const own = createNetworkNamespace();
      const { ips } = await podNetwork.add({
        containerId: `bench-${index}`,
        namespaceFd: own.fd,
        interfaceName: "eth0",
        podNamespace: "default",
        podName: `bench-${index}`,
        podUid: `bench-${index}`,
        portMappings: [],
      });
      return { own, address: ips[0]?.address ?? "" };
    }),
  );
  await Promise.all(nodes.map(({ agent }) => agent.synced()));
  const [client, server] = pods;
  if (client === undefined || server === undefined) throw new Error("no pods");
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map(({ agent }) => agent.stop()));
    topology.close();
  };
  return [{ name: "fairlead", client: client.own, server: server.own, address: server.address }, stop];
}

/** A bridge of the plugins' making on two nodes, and between them what Flannel makes: VXLAN, permanent neighbours, a route per node. */
function pluginsWay(folder: string, how: "as they are" | "tracking connections as Services need"): Way {
  const underlay = createNetworkNamespace();
  sh(underlay, "ip link add switch type bridge; ip link set switch up");
  const pods = [1, 2].map((n) => {
    const [machine, pod] = [createNetworkNamespace(), createNetworkNamespace()];
    const other = 3 - n;
    sh(
      underlay,
      `ip link add port${n} type veth peer name eth0 netns ${pathOf(machine)}; ip link set port${n} master switch up`,
    );
    sh(
      machine,
      `ip link set eth0 up; ip addr add 172.18.0.${n}/24 dev eth0; echo 1 >/proc/sys/net/ipv4/ip_forward
ip link add tunnel address 02:00:00:00:00:0${n} mtu 1450 type vxlan id 1 dstport 4789 local 172.18.0.${n} nolearning
ip link set tunnel up; ip addr add 10.88.${n}.0/32 dev tunnel
ip neigh add 10.88.${other}.0 lladdr 02:00:00:00:00:0${other} dev tunnel nud permanent
bridge fdb add 02:00:00:00:00:0${other} dev tunnel dst 172.18.0.${other}
ip route add 10.88.${other}.0/24 via 10.88.${other}.0 dev tunnel onlink`,
    );
    const config = pluginConfig(`10.88.${n}.0/24`, `/run/${how.replaceAll(" ", "-")}-${n}`);
    const address = addByBridge(machine, pod, { folder, id: `bench-${n}`, config });
    if (how !== "as they are")
      sh(
        machine,
        `iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
iptables -t nat -A PREROUTING -d 10.96.0.0/16 -j DNAT --to-destination 10.88.2.2
iptables -t nat -A POSTROUTING -s 10.88.0.0/16 ! -d 10.88.0.0/16 -j MASQUERADE`,
      );
    return { pod, address };
  });
  const [client, server] = pods;
  if (client === undefined || server === undefined) throw new Error("no pods");
  return {
    name: `bridge, host-local and VXLAN by hand, ${how}`,
    client: client.pod,
    server: server.pod,
    address: server.address,
  };
}

function pluginConfig(subnet: string, dataDir: string): unknown {
  return {
    cniVersion: "1.0.0",
    name: "peer",
    type: "bridge",
    bridge: "cni0",
    isDefaultGateway: true,
    mtu: 1450,
    ipam: { type: "host-local", dataDir, ranges: [[{ subnet }]] },
  };
}

/** No node, no tunnel, full frames: the limit of what a kernel carries between two namespaces. */
function vethWay(): Way {
  const [client, server] = [createNetworkNamespace(), createNetworkNamespace()];
  sh(
    client,
    `ip link add eth0 type veth peer name eth0 netns ${pathOf(server)}; ip addr add 10.99.0.1/24 dev eth0; ip link set eth0 up`,
  );
  sh(server, "ip addr add 10.99.0.2/24 dev eth0; ip link set eth0 up");
  return { name: "a veth pair, nothing else", client, server, address: "10.99.0.2" };
}

// ---------------------------------------------------------------- what is measured

const figureNames = [
  "TCP throughput, Gbit/s",
  "  ms of processor a Gbit, both ends",
  "TCP requests and answers of a byte a second",
  "  µs of processor each, both ends",
] as const;
type Figures = Readonly<Record<(typeof figureNames)[number], number>>;

/** Ours of theirs, so that more is better: of costs the inverse. */
function share(what: (typeof figureNames)[number], ours = Number.NaN, theirs = Number.NaN): number {
  return what.includes("processor") ? theirs / ours : ours / theirs;
}

function serve({ server }: Way): readonly ChildProcess[] {
  return [start(server, "iperf3", ["-s"]), start(server, "perl", ["-MSocket", "-e", perlServer])];
}

/** The exit code of a client that asks both servers something small. */
async function tried({ client, address }: Way): Promise<number | null> {
  const both = [
    start(client, "iperf3", ["-c", address, "-n", "1K"]),
    start(client, "perl", [...perlClient, address, "0.01"]),
  ];
  const codes = await Promise.all(both.map(async (one) => ((await once(one, "close")) as [number | null])[0]));
  return codes.find((code) => code !== 0) ?? 0;
}

async function stream({ client, address }: Way) {
  const { end } = JSON.parse(await outputOf(start(client, "iperf3", ["-c", address, "-t", "1", "-J"]))) as {
    end: {
      sum_received: { bits_per_second: number };
      cpu_utilization_percent: { host_total: number; remote_total: number };
    };
  };
  const gigabits = end.sum_received.bits_per_second / 1e9;
  const { host_total: here, remote_total: there } = end.cpu_utilization_percent;
  return { [figureNames[0]]: gigabits, [figureNames[1]]: (10 * (here + there)) / gigabits } as const;
}

async function questions({ client, address }: Way) {
  const [rate = Number.NaN, cost = Number.NaN] = (await outputOf(start(client, "perl", [...perlClient, address, "1"])))
    .split(" ")
    .map(Number);
  return { [figureNames[2]]: rate, [figureNames[3]]: cost } as const;
}

/** Answers byte with byte; at the end of a connection it says what processor time it took. */
const perlServer = `socket(S, PF_INET, SOCK_STREAM, 6); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
bind(S, sockaddr_in(8081, INADDR_ANY)) or die; listen(S, 64); while (accept(C, S)) { setsockopt(C, 6, 1, 1); my @from = times; my $b;
while (sysread(C, $b, 1)) { syswrite(C, $b) } my @to = times; syswrite(C, sprintf("%.2f", $to[0] + $to[1] - $from[0] - $from[1])); close C }`;
const perlClient = [
  "-MSocket",
  "-e",
  `use Time::HiRes "time"; socket(C, PF_INET, SOCK_STREAM, 6); setsockopt(C, 6, 1, 1);
connect(C, sockaddr_in(8081, inet_aton($ARGV[0]))) or die "connect: $!"; my ($n, $begun, $b) = (0, time);
while (time < $begun + $ARGV[1]) { syswrite(C, "x"); sysread(C, $b, 1) or die; $n++ } my $took = time - $begun;
my ($user, $system) = times; shutdown(C, 1); sysread(C, $b, 64); printf "%d %.3f", $n / $took, 1e6 * ($user + $system + $b) / $n`,
];

function start(own: NetworkNamespace, command: string, words: readonly string[]): ChildProcess {
  return own.run(() => spawn(command, words, { stdio: ["ignore", "pipe", "ignore"] }));
}

async function outputOf(child: ChildProcess): Promise<string> {
  let text = "";
  child.stdout?.on("data", (data) => (text += String(data)));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${child.spawnfile} ended with ${code}: ${text}`);
  return text;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

if (process.env["FAIRLEAD_BENCH_INSIDE"] === "1") {
  await main();
  process.exit(0);
} else {
  const { status } = spawnSync("unshare", [...unshareFlags, process.execPath, import.meta.filename], {
    stdio: "inherit",
    env: { ...process.env, FAIRLEAD_BENCH_INSIDE: "1" },
  });
  process.exit(status ?? 1);
}
