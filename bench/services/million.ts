// A million endpoints by the model alone: objects as an agent keeps them -> Network -> Program -> bytes for the kernel, without a kernel.
// Time of each, what each leaves in memory after a collection, one change, and how large what goes to the kernel is.
//
//   node bench/services/million.ts [SERVICES] [ENDPOINTS]      333,334 Services of three endpoints

import { performance } from "node:perf_hooks";
import process from "node:process";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import type { EndpointSlice, Service } from "../../src/kube/kinds.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { createNetworkBuilder, type ClusterObjects } from "../../src/model/build.ts";
import { clusterConfig } from "../../src/model/cluster.ts";
import { node, objects } from "../../src/model/objects.testing.ts";
import { compile } from "../../src/program/compile.ts";
import { batchesOf, diffTables } from "../../src/program/nftables/diff.ts";
import { leanObject } from "../../src/watch/cluster/lean.ts";
import { encodeBatch } from "../../src/wire/netlink/nftables-batch.ts";
import { serviceObject, sliceObject } from "./generated.ts";

const servicesCount = Number(process.argv[2] ?? 333_334);
const endpointsCount = Number(process.argv[3] ?? 3);
const transactionBytes = 16 * 1024 * 1024 - 4096;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const cluster = {
  ...clusterConfig({ families: [4], podCidrs: ["10.128.0.0/9"], serviceCidrs: ["10.96.0.0/12"] }),
  podNetwork: { kind: "others", local: { kind: "cluster-ranges" } },
  policy: "off",
} as const;
const build = createNetworkBuilder(cluster);
let used = heap();

const all = stage("objects, as an agent keeps them", manyObjects);
const network = stage("Network", () => build(all));
const program = stage("Program", () => compile(network, "node-1", []));
const sent = stage("bytes for the kernel", () => {
  let [bytes, largest, transactions, elements] = [0, 0, 0, 0];
  for (const table of program.tables)
    for (const batch of batchesOf(diffTables(undefined, table), transactionBytes)) {
      const size = encodeBatch(batch).requests.reduce((sum, { body }) => sum + 16 + body.length, 0);
      [bytes, largest, transactions] = [bytes + size, Math.max(largest, size), transactions + 1];
      for (const item of batch) if ("elements" in item) elements += item.elements.length;
    }
  return { bytes, largest, transactions, elements };
});
console.log(
  `${sent.elements} elements, ${(sent.bytes / 1e6).toFixed(0)} MB in ${sent.transactions} transactions, the largest ${(sent.largest / 1e6).toFixed(1)} MB`,
);
const times: number[] = [];
let [last, before] = [all, program];
for (let change = 0; change < 20; change++) {
  last = withOneLess(last, (change * 7919) % servicesCount);
  const started = performance.now();
  const next = compile(build(last), "node-1", []);
  const items = next.tables.flatMap((table, index) => diffTables(before.tables[index], table)).flat().length;
  times.push(performance.now() - started);
  before = next;
  if (items === 0) throw new Error("a change that changes nothing");
}
times.sort((a, b) => a - b);
console.log(
  `one endpoint less: median ${times[10]?.toFixed(1)} ms, worst ${times.at(-1)?.toFixed(1)} ms, without the kernel`,
);
console.log(`resident ${(process.memoryUsage().rss / 1e6).toFixed(0)} MB`);

function stage<T>(name: string, make: () => T): T {
  const started = performance.now();
  const cpu = process.cpuUsage();
  const value = make();
  const { user, system } = process.cpuUsage(cpu);
  const tookS = (performance.now() - started) / 1000;
  collect();
  const now = heap();
  console.log(
    `${name.padEnd(34)} ${tookS.toFixed(1)} s (${((user + system) / 1e6).toFixed(1)} s of processors), ${((now - used) / 1e6).toFixed(0)} MB more, ${(now / 1e6).toFixed(0)} MB in all`,
  );
  used = now;
  return value;
}

function heap(): number {
  return process.memoryUsage().heapUsed;
}

function manyObjects(): ClusterObjects {
  const services: Service[] = [];
  const endpointSlices: EndpointSlice[] = [];
  for (let index = 0; index < servicesCount; index++) {
    const name = `service-${index}`;
    services.push(kept(serviceObject(index, name)) as Service);
    endpointSlices.push(kept(sliceObject(index, endpointsCount, name)) as EndpointSlice);
  }
  return objects({ nodes: [node(1)], services, endpointSlices });
}

/** By way of bytes, as it comes in. */
function kept(object: object): KubeObject {
  return leanObject(JSON.parse(JSON.stringify(object)) as KubeObject);
}

function withOneLess(objects: ClusterObjects, index: number): ClusterObjects {
  const slice = kept(sliceObject(index, endpointsCount - 1, `service-${index}`)) as EndpointSlice;
  return { ...objects, endpointSlices: objects.endpointSlices.with(index, slice) };
}
