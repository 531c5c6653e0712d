// Which nodes a pod asks for: nodeSelector and node affinity (k8s.io/component-helpers scheduling/corev1/nodeaffinity).

import type { Node, NodeSelectorRequirement, NodeSelectorTerm, Pod } from "../../kube/kinds.ts";
import { matches, type Requirement } from "../../kube/selector.ts";

/** Does the node have what nodeSelector and the required node affinity ask for? */
export function matchesRequiredNodeAffinity(pod: Pod, node: Node): boolean {
  const labels = node.metadata.labels ?? {};
  for (const [key, value] of Object.entries(pod.spec.nodeSelector ?? {})) if (labels[key] !== value) return false;
  const required = pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return required === undefined || required.nodeSelectorTerms.some((term) => matchesTerm(term, node));
}

/** The weights of the preferred terms that the node satisfies, added up. */
export function preferredNodeAffinity(pod: Pod, node: Node): number {
  const preferred = pod.spec.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
  return preferred
    .filter(({ preference }) => matchesTerm(preference, node) || isEmpty(preference))
    .reduce((sum, { weight }) => sum + weight, 0);
}

function isEmpty(term: NodeSelectorTerm): boolean {
  return (term.matchExpressions ?? []).length === 0 && (term.matchFields ?? []).length === 0;
}

/** All expressions and fields of a term must hold; a term without any matches nothing. */
function matchesTerm(term: NodeSelectorTerm, node: Node): boolean {
  if (isEmpty(term)) return false;
  return (
    matches((term.matchExpressions ?? []).map(requirement), node.metadata.labels ?? {}) &&
    matches((term.matchFields ?? []).map(requirement), { "metadata.name": node.metadata.name })
  );
}

function requirement({ key, operator, values }: NodeSelectorRequirement): Requirement {
  return { key, operator, values: values ?? [] };
}
