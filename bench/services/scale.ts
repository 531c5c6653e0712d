// Services at scale on a real kernel, from objects in hand to nftables: the cold start, one change at a time, a Service of 1,000
// endpoints that loses one, and memory. One node, IPv4. `node bench/services/scale.ts [SERVICES] [ENDPOINTS]`; 10,000 and 3 unless given.
// It runs itself again in namespaces of its own.

import { performance } from "node:perf_hooks";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";

import { startNode } from "../../src/agent/node.ts";
import { openKernel } from "../../src/kernel/linux.ts";
import { createNetworkNamespace } from "../../src/kernel/namespaces.ts";
import type { EndpointSlice } from "../../src/kube/kinds.ts";
import { createNetworkBuilder, type ClusterObjects } from "../../src/model/build.ts";
import { clusterConfig } from "../../src/model/cluster.ts";
import type { Network } from "../../src/model/network.ts";
import { node, objects, service, slice } from "../../src/model/objects.testing.ts";
import { enterOwnNamespaces } from "./place.ts";

enterOwnNamespaces(import.meta.url);

const servicesCount = Number(process.argv[2] ?? 10_000);
const endpointsCount = Number(process.argv[3] ?? 3);
const changes = 200;

const cluster = clusterConfig({
  families: [4],
  podCidrs: ["10.128.0.0/9"],
  serviceCidrs: ["10.96.0.0/12"],
});
let current = manyServices();
const build = createNetworkBuilder(cluster);
let network: Network | undefined;
const listeners = new Set<() => void>();
const source = {
  current: () => (network ??= build(current)),
  subscribe(changed: () => void) {
    listeners.add(changed);
    return { close: () => void listeners.delete(changed) };
  },
};
const namespace = createNetworkNamespace();
const kernel = openKernel("node-1", namespace);
const memoryBefore = process.memoryUsage().rss;

const started = performance.now();
const { agent } = startNode({ node: "node-1", kernel, source, podCidrs: () => ["10.244.1.0/24"] });
await synced();
const label = `${servicesCount} Services x ${endpointsCount}`;
console.log(`${label}, objects in hand to kernel        ${(performance.now() - started).toFixed(0)} ms`);
console.log(`${label}, memory beside the objects        ${megabytes(process.memoryUsage().rss - memoryBefore)} MB`);
console.log(`${label}, memory of the process            ${megabytes(process.memoryUsage().rss)} MB`);

const each: number[] = [];
for (let change = 0; change < changes; change++) {
  // The agent rests after work for as long as it took (20 ms at most): changes one by one come later than that.
  await delay(25);
  each.push(await apply(withOneSliceChanged((change * 7919) % servicesCount)));
}
each.sort((a, b) => a - b);
console.log(
  `one endpoint changed, of ${changes}             p50 ${quantile(0.5)} ms  p99 ${quantile(0.99)} ms  worst ${quantile(1)} ms`,
);
const big = "big";
await apply({
  ...current,
  services: [...current.services, service(big, { clusterIPs: ["10.111.255.1"] })],
  endpointSlices: [...current.endpointSlices, slice(big, endpointsOf(0, 1000, 200))],
});
const slices = current.endpointSlices.slice(0, -1);
const lessOne = await apply({
  ...current,
  endpointSlices: [...slices, slice(big, (endpointsOf(0, 1000, 200) ?? []).toSpliced(300, 1))],
});
console.log(`a Service of 1,000 endpoints loses one     ${lessOne.toFixed(1)} ms`);
await agent.stop();
kernel.close();
namespace.close();

/** Milliseconds from the event to the kernel. */
async function apply(objects: ClusterObjects): Promise<number> {
  const before = performance.now();
  current = objects;
  network = undefined;
  for (const listener of listeners) listener();
  await synced();
  return performance.now() - before;
}

/** The report is not kept: it has the bytes of all that was sent, and an agent does not keep it either. */
function synced(): Promise<void> {
  return agent.synced().then(({ failures }) => {
    for (const { error } of failures) throw error;
  });
}

function quantile(part: number): string {
  return (each[Math.min(each.length - 1, Math.floor(each.length * part))] ?? 0).toFixed(1);
}

function megabytes(bytes: number): string {
  return (bytes / 1_000_000).toFixed(0);
}

function manyServices(): ClusterObjects {
  const indexes = Array.from({ length: servicesCount }, (_, index) => index);
  return objects({
    nodes: [node(1), node(2), node(3)],
    services: indexes.map((index) =>
      service(`service-${index}`, {
        clusterIPs: [`10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`],
        // Without one: there are no pods, and ten thousand complaints about that would be what is measured.
        selector: undefined as never,
      }),
    ),
    endpointSlices: indexes.map((index) => slice(`service-${index}`, endpointsOf(index, endpointsCount))),
  });
}

function endpointsOf(index: number, count: number, third: number = (index >> 8) & 255): EndpointSlice["endpoints"] {
  return Array.from({ length: count }, (_, n) => ({
    addresses: [`10.${128 + (n % 100)}.${third + Math.floor(n / 100)}.${index & 255}`],
    nodeName: `node-${(n % 3) + 1}`,
    conditions: { ready: true, serving: true, terminating: false },
  }));
}

function withOneSliceChanged(index: number): ClusterObjects {
  const endpointSlices = [...current.endpointSlices];
  const old = endpointSlices[index] as EndpointSlice;
  const count = old.endpoints?.length === endpointsCount ? endpointsCount - 1 : endpointsCount;
  endpointSlices[index] = { ...old, endpoints: endpointsOf(index, count) ?? [] };
  return { ...current, endpointSlices };
}
