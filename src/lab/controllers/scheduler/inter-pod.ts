// Pod affinity and anti-affinity: near to, or away from, pods with certain labels, "near" being the same value of a node label.
// Upstream: pkg/scheduler/framework/plugins/interpodaffinity.

import type { LabelSelector, Namespace, Node, Pod, PodAffinityTerm } from "../../../kube/kinds.ts";
import type { Labels } from "../../../kube/object.ts";
import { matches, requirementsOf, selects, type Requirement } from "../../../kube/selector.ts";
import type { Objects } from "../objects.ts";
import { isFinished } from "../pod-state.ts";
import { namespaces, nodes } from "../resources.ts";
import { preferredTerms, requiredTerms, type Placements } from "./placements.ts";

/** Says of a node why a pod's or its neighbours' terms forbid it; undefined where nothing does. */
export type InterPodFilter = (node: Node) => string | undefined;

const interPodReasons = {
  affinity: "node(s) didn't match pod affinity rules",
  antiAffinity: "node(s) didn't match pod anti-affinity rules",
  existing: "node(s) didn't satisfy existing pods anti-affinity rules",
} as const;

/** The required terms of this pod and of the pods that are there. Undefined where there are none to look at. */
export function interPodFilter(pod: Pod, objects: Objects, placements: Placements): InterPodFilter | undefined {
  const affinity = requiredTerms(pod, "podAffinity");
  const anti = requiredTerms(pod, "podAntiAffinity");
  const forbidden = forbiddenByOthers(pod, objects, placements);
  if (affinity.length === 0 && anti.length === 0 && forbidden.length === 0) return undefined;

  // All terms must be met by the same pods (upstream podMatchesAllAffinityTerms): a pod counts where it matches every term.
  const near = affinity.map((term) => ({
    key: term.topologyKey,
    values: domainsWith(pod, affinity, objects, term),
  }));
  const far = anti.map((term) => ({ key: term.topologyKey, values: domainsWith(pod, [term], objects, term) }));
  // The first of a group that wants to be together has nobody to be near to.
  const isFirst =
    near.length > 0 &&
    near.every(({ values }) => values.size === 0) &&
    affinity.every((term) => matchesPod(term, pod, pod, objects));

  return (node) => {
    const value = (key: string): string | undefined => node.metadata.labels?.[key];
    if (forbidden.some(({ key, is }) => value(key) === is)) return interPodReasons.existing;
    if (far.some(({ key, values }) => values.has(value(key) ?? ""))) return interPodReasons.antiAffinity;
    const isNear = isFirst
      ? near.every(({ key }) => value(key) !== undefined)
      : near.every(({ key, values }) => values.has(value(key) ?? ""));
    return isNear ? undefined : interPodReasons.affinity;
  };
}

/** Where the required anti-affinity of others keeps this pod away: label key and value of nodes. */
function forbiddenByOthers(
  pod: Pod,
  objects: Objects,
  placements: Placements,
): readonly { readonly key: string; readonly is: string }[] {
  const found: { key: string; is: string }[] = [];
  for (const other of placements.withAffinity.values()) {
    for (const term of requiredTerms(other, "podAntiAffinity")) {
      const is = nodeLabel(objects, other, term.topologyKey);
      if (is !== undefined && matchesPod(term, other, pod, objects)) found.push({ key: term.topologyKey, is });
    }
  }
  return found;
}

/** The values of one term's topology key on nodes that hold a pod which all of `terms` match. */
function domainsWith(
  pod: Pod,
  terms: readonly PodAffinityTerm[],
  objects: Objects,
  of: PodAffinityTerm,
): ReadonlySet<string> {
  const values = new Set<string>();
  for (const other of candidates(of, pod, objects)) {
    const value = nodeLabel(objects, other, of.topologyKey);
    if (value !== undefined && terms.every((term) => matchesPod(term, pod, other, objects))) values.add(value);
  }
  return values;
}

/** Points for each node from preferred terms: this pod's about others, and others' about this pod. */
export function interPodScore(
  pod: Pod,
  objects: Objects,
  placements: Placements,
): ((node: Node) => number) | undefined {
  const points = new Map<string, Map<string, number>>();
  const add = (other: Pod, key: string, weight: number): void => {
    const value = nodeLabel(objects, other, key);
    if (value === undefined) return;
    let byValue = points.get(key);
    if (byValue === undefined) points.set(key, (byValue = new Map()));
    byValue.set(value, (byValue.get(value) ?? 0) + weight);
  };
  for (const { term, weight } of preferredTerms(pod)) {
    for (const other of candidates(term, pod, objects)) {
      if (matchesPod(term, pod, other, objects)) add(other, term.topologyKey, weight);
    }
  }
  for (const other of placements.withAffinity.values()) {
    // HardPodAffinityWeight is 1: somebody who must be near this pod is a small reason to be there.
    const hard = requiredTerms(other, "podAffinity").map((term) => ({ term, weight: 1 }));
    for (const { term, weight } of [...preferredTerms(other), ...hard]) {
      if (matchesPod(term, other, pod, objects)) add(other, term.topologyKey, weight);
    }
  }
  if (points.size === 0) return undefined;
  return (node) => {
    let sum = 0;
    for (const [key, byValue] of points) sum += byValue.get(node.metadata.labels?.[key] ?? "") ?? 0;
    return sum;
  };
}

/** Assigned, unfinished pods that a term could match. */
function candidates(term: PodAffinityTerm, owner: Pod, objects: Objects): readonly Pod[] {
  return namespacesOf(term, owner, objects)
    .flatMap((namespace) => objects.podsLabelled(namespace, term.labelSelector?.matchLabels ?? {}))
    .filter((other) => (other.spec.nodeName ?? "") !== "" && !isFinished(other));
}

function namespacesOf(term: PodAffinityTerm, owner: Pod, objects: Objects): readonly string[] {
  const own = owner.metadata.namespace ?? "";
  if ((term.namespaces ?? []).length === 0 && term.namespaceSelector === undefined) return [own];
  const selected = objects
    .all(namespaces)
    .filter((namespace: Namespace) => selects(term.namespaceSelector, namespace.metadata.labels ?? {}))
    .map(({ metadata }) => metadata.name);
  return [...new Set([...(term.namespaces ?? []), ...selected])];
}

/** Does `owner`'s term mean `other`? */
function matchesPod(term: PodAffinityTerm, owner: Pod, other: Pod, objects: Objects): boolean {
  return (
    namespacesOf(term, owner, objects).includes(other.metadata.namespace ?? "") &&
    matchesWithKeys(term, owner.metadata.labels ?? {}, other.metadata.labels ?? {})
  );
}

function matchesWithKeys(term: PodAffinityTerm, own: Labels, other: Labels): boolean {
  if (term.labelSelector === undefined) return false;
  return matches(
    [
      ...requirementsOf(term.labelSelector),
      ...keyRequirements(term.matchLabelKeys, own, "In"),
      ...keyRequirements(term.mismatchLabelKeys, own, "NotIn"),
    ],
    other,
  );
}

/** KEP-3633: requirements that take their values from the pod's own labels; keys it does not have are left out. */
export function keyRequirements(
  keys: readonly string[] | undefined,
  own: Labels,
  operator: "In" | "NotIn",
): readonly Requirement[] {
  return (keys ?? []).flatMap((key) => {
    const value = own[key];
    return value === undefined ? [] : [{ key, operator, values: [value] }];
  });
}

/** A selector's matchLabels, with which candidates are found quickly. */
export function exactLabels(selector: LabelSelector | undefined): Labels {
  return selector?.matchLabels ?? {};
}

function nodeLabel(objects: Objects, pod: Pod, key: string): string | undefined {
  return objects.get(nodes, undefined, pod.spec.nodeName ?? "")?.metadata.labels?.[key];
}
