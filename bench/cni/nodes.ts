// A cluster of thousands of nodes as one node's kernel has it: routes, neighbours and forwarding entries for all of them, one node more, and what
// the agent weighs. The other nodes are pretended; this one's kernel is real, in namespaces of its own.
//
//   node bench/cni/nodes.ts      NODES=5000 ROUTING=vxlan|native

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import os from "node:os";
import process from "node:process";

import { startNode } from "../../src/agent/node.ts";
import { addressAt, subnet } from "../../src/ip/prefix.ts";
import { openKernel } from "../../src/kernel/linux.ts";
import { currentNetworkNamespace } from "../../src/kernel/namespaces.ts";
import { unshareFlags } from "../../src/kernel/refusal.ts";
import { clusterConfig } from "../../src/model/cluster.ts";
import type { Network, NetworkNode, Routing } from "../../src/model/network.ts";

const count = Number(process.env["NODES"] ?? 5000);
const routing = (process.env["ROUTING"] ?? "vxlan") as Routing;
if (process.env["FAIRLEAD_BENCH_INSIDE"] !== "1") {
  // As bin/fairlead starts an agent.
  const flags = ["--expose-gc", "--max-semi-space-size=2", "--optimize-for-size"];
  const { status } = spawnSync("unshare", [...unshareFlags, process.execPath, ...flags, import.meta.filename], {
    stdio: "inherit",
    env: { ...process.env, FAIRLEAD_BENCH_INSIDE: "1" },
  });
  process.exit(status ?? 1);
}

const cluster = clusterConfig({
  podCidrs: ["10.128.0.0/9", "fd00:10:200::/48"],
  nodeCidrs: ["172.16.0.0/16"],
  routing,
});
const node = (index: number): NetworkNode => {
  const name = `node-${String(index).padStart(5, "0")}`;
  return {
    name,
    labels: {},
    addresses: cluster.nodeCidrs.map((range) => addressAt(range, 11 + index)),
    podCidrs: cluster.podCidrs.map((range) => subnet(range, range.includes(":") ? 64 : 24, index)),
    ready: true,
    origin: { kind: "Node", name },
  };
};
const nodes = Array.from({ length: count }, (_, index) => node(index));
let network: Network = {
  cluster,
  nodes: nodes.slice(0, 1),
  pods: [],
  services: [],
  namespaces: [],
  policies: [],
  clusterPolicies: [],
  problems: [],
};
const listeners = new Set<() => void>();
const tell = (next: readonly NetworkNode[]): void => {
  network = { ...network, nodes: next };
  for (const listener of listeners) listener();
};

const kernel = openKernel("bench", currentNetworkNamespace());
kernel.change([{ kind: "set-link", name: "lo", up: true }]);
// What a native route's next hop is on.
kernel.change([
  { kind: "create-bridge", name: "uplink", mac: "02:00:00:00:00:01", mtu: 1500 },
  { kind: "set-link", name: "uplink", up: true },
  ...(nodes[0]?.addresses ?? []).map((address) => ({
    kind: "set-address" as const,
    link: "uplink",
    address,
    bits: address.includes(":") ? 64 : 16,
  })),
]);
const running = startNode({
  node: nodes[0]?.name ?? "",
  kernel,
  source: {
    current: () => network,
    subscribe(changed) {
      listeners.add(changed);
      return { close: () => void listeners.delete(changed) };
    },
  },
  podCidrs: () => nodes[0]?.podCidrs ?? [],
  report(event) {
    if (event.kind === "compile-failed") throw event.error;
    for (const { key, error } of event.report.failures.slice(0, 3)) console.log(`failure: ${key}: ${error.message}`);
  },
});
await running.agent.synced();
const before = memory();

const started = now();
tell(nodes.slice(0, -20));
await running.agent.synced();
const full = since(started);
const has = kernel.routes().filter(({ protocol }) => protocol === 0xf1).length;
const entries = kernel.forwarding().filter(({ link, static: kept }) => link === "fl.vx" && kept).length;
console.log(
  `${count} nodes, ${routing}: ${inWords(full)} until ${has} routes, ${kernel.neighbours().length} neighbours and ${entries} forwarding entries were there`,
);

const joins: Took[] = [];
for (let more = 20; more > 0; more--) {
  const from = now();
  tell(nodes.slice(0, nodes.length - more + 1));
  await running.agent.synced();
  joins.push(since(from));
}
const sorted = joins.toSorted((a, b) => a.wallMs - b.wallMs);
const [middle, worst] = [sorted[sorted.length >> 1], sorted.at(-1)];
if (middle !== undefined && worst !== undefined)
  console.log(`one node more: median ${inWords(middle)}, worst ${inWords(worst)} until it can be reached`);
const after = memory();
const live = Math.round(process.memoryUsage().heapUsed / 2 ** 20);
console.log(
  `memory: ${after} MB resident, ${before} MB before the nodes came; live objects ${live} MB; load ${os.loadavg()[0]?.toFixed(1)}`,
);
await running.agent.stop();
kernel.close();

interface Took {
  readonly wallMs: number;
  /** Of the processor, which other work on the machine does not lengthen. */
  readonly cpuMs: number;
}

function now(): { readonly at: number; readonly cpu: NodeJS.CpuUsage } {
  return { at: performance.now(), cpu: process.cpuUsage() };
}

function since({ at, cpu }: ReturnType<typeof now>): Took {
  const { user, system } = process.cpuUsage(cpu);
  return { wallMs: performance.now() - at, cpuMs: (user + system) / 1000 };
}

function inWords({ wallMs, cpuMs }: Took): string {
  return `${wallMs.toFixed(0)} ms (${cpuMs.toFixed(0)} ms of processor time)`;
}

/** Resident, in MB. */
function memory(): number {
  globalThis.gc?.();
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) / 1024);
}
