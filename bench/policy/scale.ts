// How long NetworkPolicy takes in the pure part and in the plan of what to write: 10,000 pods in 500 namespaces, 2,000 policies, a node with
// 100 of the pods; from nothing, and for one pod and one policy that change. Run: node bench/policy/scale.ts
// In namespaces of its own it writes to a kernel too:
//   unshare -Urnmpuif --map-root-user --mount-proc --kill-child -- node bench/policy/scale.ts
import { performance } from "node:perf_hooks";
import process from "node:process";

import { createNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { createNftablesSocket, type NftablesSocket } from "../../src/kernel/nftables.ts";
import type { NetworkPolicy, Pod } from "../../src/kube/kinds.ts";
import { createNetworkBuilder, type ClusterObjects } from "../../src/model/build.ts";
import type { Attachment } from "../../src/model/network.ts";
import { compile } from "../../src/program/compile.ts";
import { diffTables, planTable, splitPlan, type NftPlan } from "../../src/program/nftables/diff.ts";
import type { Program } from "../../src/program/program.ts";
import { bigPod, bigPolicy, cluster, localPods, manyObjects, podsCount, policiesCount } from "./cluster/objects.ts";

const changes = 100;

const all = manyObjects();
const attachments = attachmentsOf(all.pods.slice(0, localPods));
const build = createNetworkBuilder(cluster);

const kernel = openKernel();

let network = build(all);
const compiled = timed(() => compile(network, "node-1", attachments));
let program = compiled.result;
report("compile from nothing", [compiled.tookMs]);
report("compile from nothing, and plan of the whole", [
  compiled.tookMs + timed(() => program.tables.map((table) => planTable(table, undefined))).tookMs,
]);
const sizes = program.tables.flatMap((table) => table.sets.map((set) => set.elements.length));
const rules = program.tables.reduce(
  (sum, table) => sum + table.chains.reduce((n, chain) => n + chain.rules.length, 0),
  0,
);
console.log(
  `  ${sizes.reduce((sum, size) => sum + size, 0)} elements, ${rules} rules, ${Math.round(process.memoryUsage().rss / 1e6)} MB`,
);

if (kernel !== undefined) {
  const plans = program.tables.map((table) => diffTables(undefined, table));
  report("install in the kernel", [timed(() => plans.forEach((plan) => write(plan))).tookMs]);
}

let current = all;
report(
  "one pod more, with labels of its own",
  measure((index) => withPod(current, index, { app: "web", fresh: `f${index}` })),
);
report(
  "one pod more, like others",
  measure((index) => withPod(current, index + changes, { app: "web" })),
);
report(
  "one policy changed",
  measure((index) => withPolicy(current, (index * 7919) % policiesCount)),
);
report(
  "one policy of a pod of this node changed",
  measure((index) => withPolicy(current, index % 5)),
);

kernel?.close();

function openKernel(): NftablesSocket | undefined {
  let namespace: NetworkNamespace;
  try {
    namespace = createNetworkNamespace();
  } catch {
    console.log("no kernel: not in namespaces of its own; plans are made and thrown away");
    return undefined;
  }
  return createNftablesSocket(namespace);
}

function write(plan: NftPlan): void {
  if (kernel === undefined) return;
  for (const batch of splitPlan(plan, kernel.batchBytesMax)) kernel.commit(batch);
}

/** Builds, compiles and plans after each change, and writes where there is a kernel. */
function measure(change: (index: number) => ClusterObjects): readonly number[] {
  const each: number[] = [];
  for (let index = 0; index < changes; index++) {
    current = change(index);
    const started = performance.now();
    network = build(current);
    const next: Program = compile(network, "node-1", attachments);
    const plans = next.tables.map((table, at) => diffTables(program.tables[at], table));
    for (const plan of plans) write(plan);
    each.push(performance.now() - started);
    program = next;
  }
  return each;
}

function report(what: string, each: readonly number[]): void {
  const sorted = [...each].sort((a, b) => a - b);
  const at = (part: number): string =>
    (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0).toFixed(1);
  console.log(sorted.length === 1 ? `${what}  ${at(0)} ms` : `${what}  median ${at(0.5)} ms, 99 of 100 ${at(0.99)} ms`);
}

function timed<T>(work: () => T): { readonly result: T; readonly tookMs: number } {
  const started = performance.now();
  const result = work();
  return { result, tookMs: performance.now() - started };
}

function withPod(before: ClusterObjects, index: number, labels: Record<string, string>): ClusterObjects {
  const made = bigPod(podsCount - 1 - index, labels);
  const podIPs = [{ ip: `10.150.${index >> 8}.${(index & 255) + 1}` }];
  const pod: Pod = {
    ...made,
    metadata: { ...made.metadata, name: `more-${index}` },
    status: { phase: "Running", podIPs },
  };
  return { ...before, pods: [...before.pods, pod] };
}

function withPolicy(before: ClusterObjects, index: number): ClusterObjects {
  const networkPolicies = [...before.networkPolicies];
  const old = networkPolicies[index] as NetworkPolicy;
  const port = old.spec.ingress?.[0]?.ports?.[0]?.port === 8080 ? 9090 : 8080;
  networkPolicies[index] = bigPolicy(index, port);
  return { ...before, networkPolicies };
}

function attachmentsOf(pods: readonly Pod[]): readonly Attachment[] {
  return pods.map((pod, index) => ({
    id: `sandbox-${index}`,
    namespace: pod.metadata.namespace ?? "",
    name: pod.metadata.name,
    uid: `uid-${index}`,
    link: `flp${index}`,
    mac: `0a:58:0a:80:01:${(index + 2).toString(16).padStart(2, "0")}`,
    addresses: pod.status?.podIPs?.map(({ ip }) => ip) ?? [],
    hostPorts: [],
  }));
}
