// How long the pure part takes: objects -> Network -> Program for 10,000 Services with three endpoints each, from nothing and for one
// changed EndpointSlice. Run: node bench/program/scale.ts
import { performance } from "node:perf_hooks";

import type { EndpointSlice, Service } from "../../src/kube/kinds.ts";
import { createNetworkBuilder, type ClusterObjects } from "../../src/model/build.ts";
import { clusterConfig } from "../../src/model/cluster.ts";
import { node, objects, service, slice } from "../../src/model/objects.testing.ts";
import { compile } from "../../src/program/compile.ts";

const servicesCount = 10_000;
const changes = 200;

const cluster = clusterConfig({ podCidrs: ["10.128.0.0/10", "fd00:10:128::/48"], serviceCidrs: ["10.96.0.0/12"] });
const all = manyServices(servicesCount);
const build = createNetworkBuilder(cluster);

const fromNothing = milliseconds(() => void compile(build(all), "node-1", []));
const each: number[] = [];
let current = all;
for (let change = 0; change < changes; change++) {
  current = withOneSliceChanged(current, (change * 7919) % servicesCount);
  each.push(milliseconds(() => void compile(build(current), "node-1", [])));
}
each.sort((a, b) => a - b);
console.log(`${servicesCount} services x 3 endpoints, build + compile from nothing  ${fromNothing.toFixed(0)} ms`);
console.log(
  `one changed EndpointSlice, median of ${changes}  ${each[changes / 2]?.toFixed(2)} ms, worst ${each.at(-1)?.toFixed(2)} ms`,
);

function manyServices(count: number): ClusterObjects {
  const services: Service[] = [];
  const endpointSlices: EndpointSlice[] = [];
  for (let index = 0; index < count; index++) {
    const name = `service-${index}`;
    services.push(service(name, { clusterIPs: [`10.96.${index >> 8}.${index & 255}`], selector: undefined as never }));
    endpointSlices.push(slice(name, endpointsOf(index, 3)));
  }
  return objects({ nodes: [node(1), node(2), node(3)], services, endpointSlices });
}

function endpointsOf(index: number, count: number): EndpointSlice["endpoints"] {
  return Array.from({ length: count }, (_, n) => ({
    addresses: [`10.${128 + n}.${(index >> 8) & 255}.${index & 255}`],
    nodeName: `node-${n + 1}`,
    targetRef: { kind: "Pod", namespace: "default", name: `service-${index}-${n}` },
    conditions: { ready: true, serving: true, terminating: false },
  }));
}

function withOneSliceChanged(before: ClusterObjects, index: number): ClusterObjects {
  const endpointSlices = [...before.endpointSlices];
  const old = endpointSlices[index] as EndpointSlice;
  endpointSlices[index] = { ...old, endpoints: endpointsOf(index, old.endpoints?.length === 3 ? 2 : 3) ?? [] };
  return { ...before, endpointSlices };
}

function milliseconds(work: () => void): number {
  const started = performance.now();
  work();
  return performance.now() - started;
}
