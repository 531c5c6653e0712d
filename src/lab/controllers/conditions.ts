// Status conditions: finding and setting them the way Kubernetes does.

import type { Condition } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import { timeText } from "../../watch/clock.ts";

export function conditionOf(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/**
 * The list with this condition in its place or at the end. lastTransitionTime is when the status last changed; the very list comes back
 * when nothing changes.
 */
export function withCondition(
  conditions: readonly Condition[] | undefined,
  condition: Omit<Condition, "lastTransitionTime" | "lastUpdateTime">,
  nowMs: number,
): readonly Condition[] {
  const list = conditions ?? [];
  const before = conditionOf(list, condition.type);
  if (
    before !== undefined &&
    before.status === condition.status &&
    before.reason === condition.reason &&
    before.message === condition.message &&
    before.observedGeneration === condition.observedGeneration
  )
    return list;
  const now = timeText(nowMs);
  const after: Condition = {
    ...condition,
    lastTransitionTime: before?.status === condition.status ? (before.lastTransitionTime ?? now) : now,
  };
  return before === undefined ? [...list, after] : list.map((each) => (each === before ? after : each));
}

/** What a condition says it was made of; nothing for an object without generations. */
export function observed({ metadata }: KubeObject): { readonly observedGeneration?: number } {
  return metadata.generation === undefined ? {} : { observedGeneration: metadata.generation };
}

/** The list without a condition. */
export function withoutCondition(conditions: readonly Condition[] | undefined, type: string): readonly Condition[] {
  const list = conditions ?? [];
  return conditionOf(list, type) === undefined ? list : list.filter((each) => each.type !== type);
}
