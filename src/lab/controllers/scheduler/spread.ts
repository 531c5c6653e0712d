// topologySpreadConstraints: pods of a kind in even numbers over the values of a node label.
// Upstream: pkg/scheduler/framework/plugins/podtopologyspread.

import type { Node, Pod, TopologySpreadConstraint } from "../../../kube/kinds.ts";
import { matches, requirementsOf, type Requirement } from "../../../kube/selector.ts";
import { matchesRequiredNodeAffinity } from "../node-affinity.ts";
import type { Objects } from "../objects.ts";
import { isFinished, isTerminating } from "../pod-state.ts";
import { nodes } from "../resources.ts";
import { untolerated } from "../taints.ts";
import { exactLabels, keyRequirements } from "./inter-pod.ts";

const spreadReasons = {
  skew: "node(s) didn't match pod topology spread constraints",
  label: "node(s) didn't match pod topology spread constraints (missing required label)",
} as const;

type Kind = TopologySpreadConstraint["whenUnsatisfiable"];

interface Counted {
  readonly constraint: TopologySpreadConstraint;
  /** Matching pods by the value of the topology key, for every value that an eligible node has. */
  readonly byValue: ReadonlyMap<string, number>;
  readonly matchesSelf: boolean;
}

/** Says of a node why the DoNotSchedule constraints forbid it. Undefined where the pod has none. */
export function spreadFilter(pod: Pod, objects: Objects): ((node: Node) => string | undefined) | undefined {
  const counted = countAll(pod, objects, "DoNotSchedule");
  if (counted.length === 0) return undefined;
  const lowest = counted.map(({ constraint, byValue }) => {
    // With fewer domains than minDomains the global minimum counts as zero.
    if (byValue.size < (constraint.minDomains ?? 1)) return 0;
    return Math.min(...byValue.values());
  });
  return (node) => {
    for (const [i, { constraint, byValue, matchesSelf }] of counted.entries()) {
      const value = node.metadata.labels?.[constraint.topologyKey];
      if (value === undefined) return spreadReasons.label;
      const skew = (byValue.get(value) ?? 0) + (matchesSelf ? 1 : 0) - (lowest[i] ?? 0);
      if (skew > constraint.maxSkew) return spreadReasons.skew;
    }
    return undefined;
  };
}

/** Matching pods around a node over all ScheduleAnyway constraints: fewer is better. Undefined where the pod has none. */
export function spreadCost(pod: Pod, objects: Objects): ((node: Node) => number) | undefined {
  const counted = countAll(pod, objects, "ScheduleAnyway");
  if (counted.length === 0) return undefined;
  return (node) =>
    counted.reduce((sum, { constraint, byValue }) => {
      const value = node.metadata.labels?.[constraint.topologyKey];
      // A node without the key is as bad as the fullest domain.
      const here = value === undefined ? Math.max(0, ...byValue.values()) + 1 : (byValue.get(value) ?? 0);
      // Upstream's topologyNormalizingWeight: keys with many values (hostname) count more than those with few (zone).
      return sum + here * Math.log(byValue.size + 2);
    }, 0);
}

function countAll(pod: Pod, objects: Objects, kind: Kind): readonly Counted[] {
  const constraints = (pod.spec.topologySpreadConstraints ?? []).filter((each) => each.whenUnsatisfiable === kind);
  if (constraints.length === 0) return [];
  const all = objects.all(nodes);
  return constraints.map((constraint) => count(pod, constraint, constraints, all, objects));
}

function count(
  pod: Pod,
  constraint: TopologySpreadConstraint,
  constraints: readonly TopologySpreadConstraint[],
  all: readonly Node[],
  objects: Objects,
): Counted {
  const requirements = requirementsFor(pod, constraint);
  const byValue = new Map<string, number>();
  const valueOf = new Map<string, string>();
  for (const node of all) {
    const value = node.metadata.labels?.[constraint.topologyKey];
    const hasKeys = constraints.every(({ topologyKey }) => node.metadata.labels?.[topologyKey] !== undefined);
    if (value === undefined || !hasKeys || !isEligible(pod, constraint, node)) continue;
    valueOf.set(node.metadata.name, value);
    if (!byValue.has(value)) byValue.set(value, 0);
  }
  const labels = exactLabels(constraint.labelSelector);
  for (const other of objects.podsLabelled(pod.metadata.namespace ?? "", labels)) {
    const value = valueOf.get(other.spec.nodeName ?? "");
    if (value === undefined || isTerminating(other) || isFinished(other)) continue;
    if (matches(requirements, other.metadata.labels)) byValue.set(value, (byValue.get(value) ?? 0) + 1);
  }
  return { constraint, byValue, matchesSelf: matches(requirements, pod.metadata.labels) };
}

function requirementsFor(pod: Pod, constraint: TopologySpreadConstraint): readonly Requirement[] {
  // A constraint without selector matches no pod.
  if (constraint.labelSelector === undefined) return [{ key: "\n", operator: "Exists", values: [] }];
  return [
    ...requirementsOf(constraint.labelSelector),
    ...keyRequirements(constraint.matchLabelKeys, pod.metadata.labels ?? {}, "In"),
  ];
}

/** Does a node count as a domain (KEP-3094)? By default only where node affinity lets the pod go; taints do not matter. */
function isEligible(pod: Pod, constraint: TopologySpreadConstraint, node: Node): boolean {
  if ((constraint.nodeAffinityPolicy ?? "Honor") === "Honor" && !matchesRequiredNodeAffinity(pod, node)) return false;
  return (
    (constraint.nodeTaintsPolicy ?? "Ignore") === "Ignore" ||
    untolerated(pod.spec.tolerations, node, ["NoSchedule", "NoExecute"]) === undefined
  );
}
