// What is true of a policy today, for its owner to know: whom it isolates and where it is in force, what of it is not enforced, what is odd.
// ClusterNetworkPolicies have conditions for it (network-policy-api: Accepted; ours: Enforced); NetworkPolicy lost its status with Kubernetes
// 1.28, so that Events tell.
//
// Not here: what is odd (policy-problems.ts), and who writes Events and conditions (agent/policy-status.ts).

import type { ClusterNetworkPolicy } from "../kube/policy-kinds.ts";
import type { Condition, NetworkPolicy } from "../kube/kinds.ts";
import { keyOf, type KubeObject } from "../kube/object.ts";
import type { Network } from "./network.ts";
import { isolates, isSubject } from "./policy-match.ts";
import { policyWarnings } from "./policy-problems.ts";

/** Something that is true of a policy now. Told once for as long as it stays true. */
export interface Statement {
  readonly id: string;
  readonly type: "Normal" | "Warning";
  readonly reason: "Enforced" | "NotEnforced" | "PolicyWarning";
  readonly message: string;
  /** It may well be otherwise in a moment, as while pods start. */
  readonly isPassing?: true;
  /** The statement that was true before, where pods that come one after the other made this of it. */
  readonly follows?: string;
}

/** Nodes whose kernel holds what is known, of all there are; none where packets are off. */
export interface Force {
  readonly inForce: number;
  readonly nodes: number;
}

/** Of a NetworkPolicy or a ClusterNetworkPolicy; by the same `id` the same statement. */
export function policyStatements(network: Network, object: KubeObject, force: Force): readonly Statement[] {
  const enforced =
    object.kind === "NetworkPolicy"
      ? enforcement(network, object as NetworkPolicy, force)
      : clusterEnforcement(network, object as ClusterNetworkPolicy, force);
  return [...enforced, ...findingsFor(network, object)];
}

/** What a ClusterNetworkPolicy's status says. */
export function clusterPolicyConditions(
  network: Network,
  object: ClusterNetworkPolicy,
  force: Force,
): readonly Omit<Condition, "lastTransitionTime">[] {
  const problems = findingsFor(network, object)
    .filter(({ reason }) => reason === "NotEnforced")
    .map(({ message }) => message);
  const isOff = network.cluster.policy === "off";
  const observedGeneration = object.metadata.generation ?? 0;
  const accepted =
    problems.length === 0 || isOff
      ? ({ status: "True", reason: "Accepted", message: "everything it says is understood" } as const)
      : ({ status: "False", reason: "NotSupported", message: problems.join("; ") } as const);
  const enforced = isOff
    ? ({ status: "False", reason: "PoliciesAreOff", message: problems.join("; ") } as const)
    : force.nodes === 0
      ? ({ status: "False", reason: "PacketsAreOff", message: forceText(force) } as const)
      : force.inForce < force.nodes
        ? ({ status: "False", reason: "NotOnAllNodes", message: forceText(force) } as const)
        : ({ status: "True", reason: "InForce", message: forceText(force) } as const);
  return [
    { type: "Accepted", observedGeneration, ...accepted },
    { type: "Enforced", observedGeneration, ...enforced },
  ];
}

/** Ours put among the conditions there are; others' stay, and so does the time where the status is the same. `time` is RFC 3339. */
export function withConditions(
  before: readonly Condition[],
  wanted: readonly Omit<Condition, "lastTransitionTime">[],
  time: string,
): readonly Condition[] {
  const own = wanted.map((condition): Condition => {
    const old = before.find(({ type }) => type === condition.type);
    return {
      ...condition,
      lastTransitionTime: old?.status === condition.status ? (old.lastTransitionTime ?? time) : time,
    };
  });
  return [...before.filter(({ type }) => !own.some((each) => each.type === type)), ...own];
}

function enforcement(network: Network, { metadata }: NetworkPolicy, force: Force): readonly Statement[] {
  const policy = network.policies.find((each) => each.namespace === metadata.namespace && each.name === metadata.name);
  if (policy === undefined) return [];
  const counts = (["ingress", "egress"] as const)
    .filter((direction) => policy[direction] !== undefined)
    .map((direction) => ({ direction, count: network.pods.filter((pod) => isolates(policy, direction, pod)).length }));
  const what = counts.map(({ direction, count }) => `${count} ${count === 1 ? "pod" : "pods"} for ${direction}`);
  const isFor = Math.max(...counts.map(({ count }) => count));
  return [enforced(metadata.generation, force, isFor, `isolates ${what.join(" and ")}`)];
}

/** How many pods they are is worth no Event each time, but none or some. */
function enforced(generation: number | undefined, force: Force, pods: number, what: string): Statement {
  const id = `enforced ${generation ?? 0} ${force.inForce}/${force.nodes}`;
  return {
    ...(pods > 0 ? { id: `${id} somebody`, follows: `${id} nobody` } : { id: `${id} nobody`, isPassing: true }),
    type: force.inForce === force.nodes ? "Normal" : "Warning",
    reason: "Enforced",
    message: `${what}; ${forceText(force)}`,
  };
}

function forceText({ inForce, nodes }: Force): string {
  return nodes === 0 ? "packets are off: nothing is sent" : `in force on ${inForce} of ${nodes} nodes`;
}

function clusterEnforcement(network: Network, { metadata }: ClusterNetworkPolicy, force: Force): readonly Statement[] {
  const policy = network.clusterPolicies.find(({ name }) => name === metadata.name);
  if (policy === undefined) return [];
  const count = network.pods.filter((pod) => isSubject(network, policy, pod)).length;
  return [enforced(metadata.generation, force, count, `is for ${count} ${count === 1 ? "pod" : "pods"}`)];
}

function findingsFor(network: Network, object: KubeObject): readonly Statement[] {
  let findings = found.get(network);
  if (findings === undefined) found.set(network, (findings = find(network)));
  return findings.get(`${object.kind} ${keyOf(object)}`) ?? [];
}

/** By kind, namespace and name of the policy. */
const found = new WeakMap<Network, ReadonlyMap<string, readonly Statement[]>>();

function find(network: Network): ReadonlyMap<string, readonly Statement[]> {
  const findings = new Map<string, Statement[]>();
  const own = network.problems.filter(({ origin }) => ["NetworkPolicy", "ClusterNetworkPolicy"].includes(origin.kind));
  for (const { origin, message, severity } of [...own, ...policyWarnings(network)]) {
    const key = `${origin.kind} ${keyOf({ metadata: origin })}`;
    const text = `${origin.field ?? "spec"}: ${message}`;
    const reason = severity === "error" ? "NotEnforced" : "PolicyWarning";
    const list = findings.get(key);
    const passing = severity === "error" ? {} : { isPassing: true as const };
    const statement: Statement = { id: text, type: "Warning", reason, message: text, ...passing };
    if (list === undefined) findings.set(key, [statement]);
    else list.push(statement);
  }
  return findings;
}
