// How many pods a PodDisruptionBudget lets go: from its status where a disruption controller keeps one, else counted from its
// specification and the pods it selects (pkg/controller/disruption).

import type { Pod, PodDisruptionBudget } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import { selects } from "../../kube/selector.ts";
import type { ServedApi } from "../api/api.ts";

export interface Disruptions {
  readonly allowed: number;
  readonly healthy: number;
  readonly desired: number;
  /** Has no controller looked at the budget as it is now? Then it is counted here, and may soon be known better. */
  readonly isProvisional: boolean;
}

/** What a budget allows at the moment. */
export function disruptionsAllowed(api: ServedApi, budget: PodDisruptionBudget): Disruptions {
  const { spec, status, metadata } = budget;
  if (status?.disruptionsAllowed !== undefined && status.observedGeneration === metadata.generation)
    return {
      allowed: status.disruptionsAllowed,
      healthy: status.currentHealthy ?? 0,
      desired: status.desiredHealthy ?? 0,
      isProvisional: false,
    };
  const { namespace = "" } = metadata;
  const pods = api
    .list({ group: "", resource: "pods" }, { namespace })
    .items.filter((pod) => selects(spec?.selector, pod.metadata.labels))
    .map((pod) => pod as Pod);
  const healthy = pods.filter(isHealthy).length;
  const expected = expectedCount(api, pods);
  const desired =
    spec?.maxUnavailable === undefined
      ? scaled(spec?.minAvailable ?? 0, expected)
      : Math.max(0, expected - scaled(spec.maxUnavailable, expected));
  return { allowed: Math.max(0, healthy - desired), healthy, desired, isProvisional: true };
}

function isHealthy({ metadata, status }: Pod): boolean {
  return (
    metadata.deletionTimestamp === undefined &&
    (status?.conditions?.some(({ type, status: value }) => type === "Ready" && value === "True") ?? false)
  );
}

/** `30%` of a number, rounded up, or the number itself. */
function scaled(value: number | string, of: number): number {
  const percent = typeof value === "string" ? /^(\d+)%$/.exec(value)?.[1] : undefined;
  return percent === undefined ? Number(value) : Math.ceil((Number(percent) * of) / 100);
}

/** As many pods as their controllers want; pods without one count for themselves. */
function expectedCount(api: ServedApi, pods: readonly Pod[]): number {
  const counts = new Map<string, number>();
  for (const { metadata } of pods) {
    const owner = metadata.ownerReferences?.find((each) => each.controller === true);
    const kind = owner === undefined ? undefined : api.kinds.of(owner.apiVersion, owner.kind);
    const found =
      kind === undefined || owner === undefined
        ? undefined
        : api.get({
            group: kind.stored.group,
            resource: kind.stored.resource,
            name: owner.name,
            ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
          });
    counts.set(found?.metadata.uid ?? metadata.uid ?? metadata.name, found === undefined ? 1 : replicasOf(found));
  }
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}

function replicasOf({ spec }: KubeObject): number {
  return (spec as { readonly replicas?: number } | undefined)?.replicas ?? 1;
}
