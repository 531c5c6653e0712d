// Why a node does not take a pod that was given to it, mostly past the scheduler (spec.nodeName): rules and words are upstream's
// (pkg/kubelet/lifecycle/predicate.go). Pure.

import { isFinished } from "../controllers/pod-state.ts";
import { hostPortsClash, hostPortsOf } from "../controllers/scheduler/placements.ts";
import type { Pod } from "../../kube/kinds.ts";

export interface Rejection {
  readonly reason: string;
  readonly message: string;
}

const osLabel = "kubernetes.io/os";

/** Nothing where the node takes it. `others`: the pods that are there. */
export function rejectionOf(pod: Pod, others: () => readonly Pod[]): Rejection | undefined {
  const rejected = (reason: string, why: string): Rejection => ({ reason, message: `Pod was rejected: ${why}` });
  if ((pod.metadata.labels?.[osLabel] ?? "linux") !== "linux")
    return rejected(
      "PodOSSelectorNodeLabelDoesNotMatch",
      `Failed to admit pod as the \`${osLabel}\` label doesn't match node label`,
    );
  if ((pod.spec.os?.name ?? "linux") !== "linux")
    return rejected("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS");
  if (hostPortsOf(pod).length === 0) return undefined;
  if (!others().some((other) => !isFinished(other) && hostPortsClash(pod, other))) return undefined;
  const why = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
  return rejected("NodePorts", why);
}
