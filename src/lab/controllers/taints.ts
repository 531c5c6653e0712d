// Taints of nodes and what pods tolerate (k8s.io/component-helpers scheduling/corev1).

import type { Node, Taint, Toleration } from "../../kube/kinds.ts";

/** The taints that the system itself sets on nodes. */
export const nodeTaints = {
  notReady: "node.kubernetes.io/not-ready",
  unreachable: "node.kubernetes.io/unreachable",
  unschedulable: "node.kubernetes.io/unschedulable",
} as const;

export function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect !== undefined && toleration.effect !== taint.effect) return false;
  const key = toleration.key ?? "";
  if (key !== "" && key !== taint.key) return false;
  return toleration.operator === "Exists" || (key !== "" && (toleration.value ?? "") === (taint.value ?? ""));
}

/** The first taint of these effects that no toleration covers. */
export function untolerated(
  tolerations: readonly Toleration[] | undefined,
  node: Node,
  effects: readonly Taint["effect"][],
): Taint | undefined {
  return node.spec.taints?.find(
    (taint) => effects.includes(taint.effect) && !tolerations?.some((toleration) => tolerates(toleration, taint)),
  );
}

/** `{key: value}`, as the scheduler's messages show taints. */
export function taintText({ key, value }: Taint): string {
  return `{${key}: ${value ?? ""}}`;
}
