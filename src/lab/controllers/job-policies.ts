// What a Job says of pods that fail (podFailurePolicy), of its success (successPolicy) and of limits per index.
// Upstream: pkg/controller/job/pod_failure_policy.go, success_policy.go, backoff_utils.go; KEP-3329, KEP-3998, KEP-3850.
//
// Not here: what follows from it for pods and status (jobs.ts).

import type { Job, Pod, PodFailurePolicyRule } from "../../kube/kinds.ts";
import { indexOf, parseIndexes } from "./job-indexes.ts";
import { isTerminating } from "./pod-state.ts";

/** What a failed pod means for its Job: the action of the first rule that fits; without one it counts. */
export type FailureMeaning =
  | { readonly action: "Count" | "Ignore" | "FailIndex" }
  | { readonly action: "FailJob"; readonly message: string };

/** Has it ended badly? A pod that is being deleted will not end well (isPodFailed). */
export function isFailure({ spec }: Job, pod: Pod): boolean {
  if (pod.status?.phase === "Failed") return true;
  if (spec.podReplacementPolicy === "Failed" || spec.podFailurePolicy !== undefined) return false;
  return isTerminating(pod) && pod.status?.phase !== "Succeeded";
}

/** Of a pod that has failed (matchPodFailurePolicy). */
export function meaningOf({ spec }: Job, pod: Pod): FailureMeaning {
  for (const [index, rule] of (spec.podFailurePolicy?.rules ?? []).entries()) {
    const found = matched(rule, pod);
    if (found === undefined) continue;
    switch (rule.action) {
      case "FailJob":
        return { action: "FailJob", message: `${found} matching ${rule.action} rule at index ${index}` };
      case "Count":
      case "Ignore":
      case "FailIndex":
        return { action: rule.action };
    }
  }
  return { action: "Count" };
}

/** What fits the rule, in words. */
function matched(
  { onExitCodes, onPodConditions }: PodFailurePolicyRule,
  { metadata, status }: Pod,
): string | undefined {
  const pod = `${metadata.namespace}/${metadata.name}`;
  if (onExitCodes !== undefined) {
    const { containerName, operator, values } = onExitCodes;
    for (const container of [...(status?.containerStatuses ?? []), ...(status?.initContainerStatuses ?? [])]) {
      const exitCode = container.state?.terminated?.exitCode ?? 0;
      if (exitCode === 0 || (containerName ?? container.name) !== container.name) continue;
      if (values.includes(exitCode) === (operator === "In"))
        return `Container ${container.name} for pod ${pod} failed with exit code ${exitCode}`;
    }
    return undefined;
  }
  const condition = status?.conditions?.find((each) =>
    onPodConditions?.some((pattern) => pattern.type === each.type && (pattern.status ?? "True") === each.status),
  );
  return condition === undefined ? undefined : `Pod ${pod} has condition ${condition.type}`;
}

/** The rule of successPolicy that is kept by what has succeeded, in words (matchSuccessPolicy). */
export function successOf({ spec }: Job, succeeded: ReadonlySet<number>): string | undefined {
  const index = (spec.successPolicy?.rules ?? []).findIndex(({ succeededIndexes, succeededCount }) => {
    if (succeededIndexes === undefined) return succeededCount !== undefined && succeeded.size >= succeededCount;
    const wanted = [...parseIndexes(succeededIndexes)].filter((each) => each < (spec.completions ?? 0));
    const count = wanted.filter((each) => succeeded.has(each)).length;
    return count >= (succeededCount ?? wanted.length);
  });
  return index < 0 ? undefined : `Matched rules at index ${index}`;
}

/** On pods of Jobs with backoffLimitPerIndex: how many pods of the index failed before. */
const countMark = "batch.kubernetes.io/job-index-failure-count";
/** Those that podFailurePolicy ignores. */
const ignoredMark = "batch.kubernetes.io/job-index-ignored-failure-count";

function numberIn(pod: Pod, mark: string): number {
  const text = pod.metadata.annotations?.[mark] ?? "";
  return /^\d+$/.test(text) ? Number(text) : 0;
}

/** All failures of an index before this pod. */
export function failuresBefore(pod: Pod): number {
  return numberIn(pod, countMark) + numberIn(pod, ignoredMark);
}

/** The annotations of the pod that takes a failed one's place; of the first one of an index where there is none. */
export function failureMarks(job: Job, failed: Pod | undefined): { readonly [name: string]: string } {
  if (failed === undefined) return { [countMark]: "0" };
  const isIgnored = meaningOf(job, failed).action === "Ignore";
  const ignored = numberIn(failed, ignoredMark) + Number(isIgnored);
  return {
    [countMark]: String(numberIn(failed, countMark) + Number(!isIgnored)),
    ...(ignored === 0 ? {} : { [ignoredMark]: String(ignored) }),
  };
}

/** Does this failed pod end its index (isIndexFailed)? */
export function endsIndex(job: Job, pod: Pod): boolean {
  const { action } = meaningOf(job, pod);
  if (action === "FailIndex") return true;
  return action !== "Ignore" && numberIn(pod, countMark) >= (job.spec.backoffLimitPerIndex ?? 0);
}

/** Of each index the failed pod with the most failures: the next one is told of them by it. */
export function lastFailures(job: Job, members: readonly Pod[]): ReadonlyMap<number, Pod> {
  const last = new Map<number, Pod>();
  for (const pod of members) {
    const index = indexOf(pod);
    if (index === undefined || !isFailure(job, pod)) continue;
    const known = last.get(index);
    if (known === undefined || failuresBefore(known) < failuresBefore(pod)) last.set(index, pod);
  }
  return last;
}
