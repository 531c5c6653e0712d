// When is what was applied ready? Looks at each workload as its controller reports it, the way `kubectl rollout status` does.

import type { KubeObject } from "../kube/object.ts";
import type { DaemonSet, Deployment, Job, StatefulSet } from "../kube/kinds.ts";
import type { Pod } from "../kube/pod.ts";
import type { ObjectApi } from "./api/api.ts";

/** What is still missing, in words: empty when all is ready. */
export interface Readiness {
  readonly podsReady: number;
  readonly pods: number;
  /** `deployment production/frontend: 1 of 2 ready`. */
  readonly missing: readonly string[];
  /** All that is missing has failed for good: waiting does not help. */
  readonly isHopeless: boolean;
}

const workloads = [
  { group: "apps", resource: "deployments" },
  { group: "apps", resource: "statefulsets" },
  { group: "apps", resource: "daemonsets" },
  { group: "batch", resource: "jobs" },
] as const;

/** How far all workloads and pods of the cluster are. */
export function readiness(api: ObjectApi): Readiness {
  const objects = workloads.flatMap((resource) => api.list(resource).items);
  const missing = objects.map(missingOf).filter((words) => words !== undefined);
  const pods = api.list({ group: "", resource: "pods" }).items as unknown as readonly Pod[];
  const bare = pods.filter((pod) => pod.metadata.ownerReferences === undefined && !podDone(pod));
  const failed = objects.filter(hasFailed).length + bare.filter(({ status }) => status?.phase === "Failed").length;
  const count = missing.length + bare.length;
  return {
    isHopeless: count > 0 && failed === count,
    pods: pods.length,
    podsReady: pods.filter(podDone).length,
    missing: [...missing, ...bare.map((pod) => `pod ${nameOf(pod as unknown as KubeObject)}: ${podReason(pod)}`)],
  };
}

function missingOf(object: KubeObject): string | undefined {
  switch (object.kind) {
    case "Deployment": {
      const { spec, status } = object as unknown as Deployment;
      const wanted = spec.replicas ?? 1;
      return share(
        object,
        Math.min(status?.updatedReplicas ?? 0, status?.availableReplicas ?? 0),
        wanted,
        status?.observedGeneration,
      );
    }
    case "StatefulSet": {
      const { spec, status } = object as unknown as StatefulSet;
      return share(object, status?.readyReplicas ?? 0, spec.replicas ?? 1, status?.observedGeneration);
    }
    case "DaemonSet": {
      const { status } = object as unknown as DaemonSet;
      return share(object, status?.numberReady ?? 0, status?.desiredNumberScheduled ?? 0, status?.observedGeneration);
    }
    case "Job": {
      const { spec, status } = object as unknown as Job;
      const failed = failureOf(status);
      if (failed) return `job ${nameOf(object)}: failed: ${failed.message ?? failed.reason ?? ""}`;
      return share(object, status?.succeeded ?? 0, spec.completions ?? 1, object.metadata.generation);
    }
    default:
      return undefined;
  }
}

function failureOf(status: Job["status"]): { readonly reason?: string; readonly message?: string } | undefined {
  return status?.conditions?.find((condition) => condition.type === "Failed" && condition.status === "True");
}

function hasFailed(object: KubeObject): boolean {
  return object.kind === "Job" && failureOf((object as unknown as Job).status) !== undefined;
}

function share(object: KubeObject, ready: number, wanted: number, observed: number | undefined): string | undefined {
  if ((observed ?? 0) < (object.metadata.generation ?? 1))
    return `${object.kind.toLowerCase()} ${nameOf(object)}: not looked at yet`;
  return ready >= wanted ? undefined : `${object.kind.toLowerCase()} ${nameOf(object)}: ${ready} of ${wanted} ready`;
}

function podDone(pod: Pod): boolean {
  if (pod.status?.phase === "Succeeded") return true;
  return (
    pod.status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") ?? false
  );
}

/** Why a pod is not ready, in the words of its status. */
export function podReason(pod: Pod): string {
  for (const container of [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])]) {
    const waiting = container.state?.waiting;
    if (waiting?.reason !== undefined)
      return waiting.message === undefined ? waiting.reason : `${waiting.reason}: ${waiting.message}`;
  }
  const unmet = pod.status?.conditions?.find((condition) => condition.status === "False" && condition.message);
  return unmet?.message ?? pod.status?.phase ?? "Pending";
}

function nameOf(object: KubeObject): string {
  return `${object.metadata.namespace}/${object.metadata.name}`;
}
