// Who may reach whom: every kind of pod against every port that pods declare, each cell a packet walked through the Programs.
// Pods that no policy could tell apart are one row (all replicas of a Deployment), asked through one of them.

import { familyOf } from "../ip/address.ts";
import type { ClusterRule, ContainerPort, NetworkPod } from "../model/network.ts";
import type { Step, TracePath } from "./trace.ts";
import { walkAll, type Start } from "./walk.ts";
import type { World } from "./world.ts";

export interface Matrix {
  readonly sources: readonly string[];
  readonly targets: readonly string[];
  /** By source, then by target. */
  readonly cells: readonly (readonly Cell[])[];
}

/** `by`: the policies that isolate the pod, or the one that let it through; empty where no policy had a say. */
export interface Cell {
  readonly verdict: "allowed" | "denied" | "unreachable";
  readonly by: readonly string[];
}

/** Pods of these namespaces (all unless given), and the outside as a source. */
export function reachability(world: World, options: { readonly namespaces?: readonly string[] } = {}): Matrix {
  const groups = groupsOf(world, options.namespaces);
  const sources: readonly { readonly name: string; readonly start: Start; readonly pod?: NetworkPod }[] = groups.map(
    ({ name, pod }) => ({ name, start: { kind: "pod", pod } as const, pod }),
  );
  const targets = groups.flatMap(({ name, pod, others }) =>
    portsOf(pod).map((port) => ({
      name: `${name}:${port.port}${port.protocol === "tcp" ? "" : `/${port.protocol}`}`,
      pod,
      others,
      port,
    })),
  );
  return {
    sources: sources.map(({ name }) => name),
    targets: targets.map(({ name }) => name),
    cells: sources.map(({ start, pod: from }) =>
      targets.map(({ pod, others, port }): Cell => {
        // A pod to itself always passes: replicas ask each other.
        const to = pod === from ? (others[0] ?? pod) : pod;
        return cellOf(world, start, from, to, port);
      }),
    ),
  };
}

/** A table for people: `+` allowed, `-` denied, `?` cannot arrive for another reason; below it who denies. */
export function renderMatrix(matrix: Matrix): string {
  const { sources, targets, cells } = matrix;
  if (targets.length === 0) return "no pod declares a port: nothing to ask for\n";
  const width = Math.max(...sources.map((name) => name.length), "FROM".length);
  const heads = targets.map((name, index) => `${String(index + 1).padStart(2)}  ${name}`);
  const mark = { allowed: "+", denied: "-", unreachable: "?" } as const;
  const rows = sources.map((name, row) => {
    const marks = (cells[row] ?? []).map(({ verdict }) => mark[verdict].padStart(3)).join("");
    return `${name.padEnd(width)} ${marks}`;
  });
  const numbers = targets.map((_, index) => String(index + 1).padStart(3)).join("");
  const reasons = targets.flatMap((target, column) => {
    const by = new Set(cells.flatMap((row) => (row[column]?.verdict === "denied" ? row[column].by : [])));
    return by.size === 0 ? [] : [`  ${target}: denied by ${[...by].sort().join(", ")}`];
  });
  return [
    "TO",
    ...heads.map((head) => `  ${head}`),
    "",
    `${"FROM".padEnd(width)} ${numbers}`,
    ...rows,
    "",
    "+ allowed   - denied by a policy   ? does not arrive for another reason (trace it)",
    ...reasons,
    "",
  ].join("\n");
}

interface Group {
  readonly name: string;
  readonly pod: NetworkPod;
  readonly others: readonly NetworkPod[];
}

// What a controller adds to tell its pods apart; policies hardly ever select by these, and where one does the groups are apart anyway.
const ownLabels = new Set([
  "pod-template-hash",
  "controller-revision-hash",
  "statefulset.kubernetes.io/pod-name",
  "apps.kubernetes.io/pod-index",
]);

function groupsOf(world: World, namespaces: readonly string[] | undefined): readonly Group[] {
  const { pods, policies, clusterPolicies } = world.network;
  const rules = [...policies, ...clusterPolicies].flatMap(
    ({
      ingress = [],
      egress = [],
    }): readonly {
      readonly peers: ClusterRule["peers"];
    }[] => [...ingress, ...egress],
  );
  const used = new Set(
    [
      ...policies.flatMap((policy) => policy.pods),
      ...clusterPolicies.flatMap(({ subject }) => subject.pods),
      ...rules.flatMap(({ peers }) =>
        peers === "anyone" ? [] : peers.flatMap((peer) => (peer.kind === "pods" ? peer.pods : [])),
      ),
    ].map(({ key }) => key),
  );
  const groups = new Map<string, NetworkPod[]>();
  for (const pod of pods) {
    if (pod.hostNetwork || pod.addresses.length === 0) continue;
    if (namespaces !== undefined && !namespaces.includes(pod.namespace)) continue;
    const labels = Object.entries(pod.labels)
      .filter(([key]) => used.has(key) || !ownLabels.has(key))
      .map(([key, value]) => `${key}=${value}`)
      .sort();
    const ports = pod.containerPorts.map(({ name = "", port, protocol }) => `${name} ${port} ${protocol}`);
    const key = JSON.stringify([pod.namespace, labels, ports]);
    const list = groups.get(key);
    if (list === undefined) groups.set(key, [pod]);
    else list.push(pod);
  }
  return [...groups.values()].flatMap(([pod, ...others]) =>
    pod === undefined ? [] : [{ name: groupName(pod, others), pod, others }],
  );
}

/** `production/frontend` for a Deployment's pods, the pod's own name for a single one. */
function groupName(pod: NetworkPod, others: readonly NetworkPod[]): string {
  const hash = pod.labels["pod-template-hash"];
  const at = hash === undefined ? -1 : pod.name.lastIndexOf(`-${hash}-`);
  const name = at > 0 ? pod.name.slice(0, at) : pod.name;
  return `${pod.namespace}/${name}${others.length === 0 || at > 0 ? "" : ` and ${others.length} like it`}`;
}

function portsOf(pod: NetworkPod): readonly ContainerPort[] {
  return pod.containerPorts;
}

function cellOf(world: World, start: Start, from: NetworkPod | undefined, to: NetworkPod, port: ContainerPort): Cell {
  const destination = to.addresses[0] ?? "";
  const source = from?.addresses.find((address) => familyOf(address) === familyOf(destination));
  if (source === undefined) return { verdict: "unreachable", by: [] };
  const [path] = walkAll(world, start, {
    protocol: port.protocol,
    source,
    destination,
    sourcePort: 49152,
    destinationPort: port.port,
  });
  return path === undefined ? { verdict: "unreachable", by: [] } : verdictOf(path);
}

/** What policies say of a path: a socket that nobody listens on is reached all the same. */
export function verdictOf(path: TracePath): Cell {
  const steps = path.hops.flatMap((hop) => hop.steps);
  const policies = steps.filter((step): step is Step & { kind: "policy" } => step.kind === "policy");
  const denied = policies.find(({ verdict }) => verdict === "denied");
  if (denied !== undefined) return { verdict: "denied", by: isolatingNames(denied) };
  const isReached = path.disposition === "delivered" || steps.some(({ kind }) => kind === "socket");
  const by = policies.flatMap(({ verdict, origin, also = [] }) =>
    verdict === "allowed" && origin !== undefined ? [origin.name, ...also] : [],
  );
  return { verdict: isReached ? "allowed" : "unreachable", by };
}

function isolatingNames({ causes = [], origin }: Step & { readonly kind: "policy" }): readonly string[] {
  const names = causes.map((cause) => cause.origin.name);
  return names.length > 0 ? [...new Set(names)] : origin === undefined ? [] : [origin.name];
}
