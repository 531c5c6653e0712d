// PodDisruptionBudgets: their status says how many of the pods they select may go (pkg/controller/disruption). Evictions ask it
// (apiserver/eviction.ts), and note there which pods they have let go.

import type { Pod, PodDisruptionBudget, PodDisruptionBudgetStatus } from "../../kube/kinds.ts";
import { sameJson } from "../../kube/equal.ts";
import { keyOf, type KubeObject } from "../../kube/object.ts";
import { selects } from "../../kube/selector.ts";
import { timeMs } from "../../watch/clock.ts";
import { observed, withCondition } from "./conditions.ts";
import type { Objects } from "./objects.ts";
import { controllerOf, isReady, isTerminating } from "./pod-state.ts";
import {
  deployments,
  pods,
  replicaSets,
  replicationControllers,
  statefulSets,
  type TypedResource,
} from "./resources.ts";
import { on, type Cluster, type Controller, type Enqueue, type Watch } from "./runtime.ts";

const budgets: TypedResource<PodDisruptionBudget> = {
  group: "policy",
  resource: "poddisruptionbudgets",
  apiVersion: "policy/v1",
  kind: "PodDisruptionBudget",
  namespaced: true,
};

/** How long a pod that was let go may take to go (DeletionTimeout); then it counts again. */
const letGoMs = 120_000;

export function disruptionController({ objects, clock }: Cluster): Controller {
  const ofNamespace = (namespace: string | undefined, enqueue: Enqueue): void => {
    if (namespace !== undefined) for (const budget of objects.inNamespace(budgets, namespace)) enqueue(keyOf(budget));
  };
  const owners: readonly Watch[] = [deployments, replicaSets, statefulSets, replicationControllers].map((resource) => ({
    resource,
    changed: ({ object, previous }, enqueue) => ofNamespace((object ?? previous)?.metadata.namespace, enqueue),
  }));
  return {
    name: "disruption-controller",
    watches: [
      on(budgets, ({ object }, enqueue) => {
        if (object !== undefined) enqueue(keyOf(object));
      }),
      on(pods, ({ object, previous }, enqueue) => ofNamespace((object ?? previous)?.metadata.namespace, enqueue)),
      ...owners,
    ],
    reconcile(key, requeue) {
      const budget = objects.byKey(budgets, key);
      if (budget === undefined || budget.metadata.deletionTimestamp !== undefined) return;
      const { status, waitsMs } = statusOf(budget, objects, clock.now());
      if (waitsMs !== undefined) requeue(waitsMs);
      if (!sameJson(status, budget.status)) objects.updateStatus(budgets, { ...budget, status });
    },
  };
}

function statusOf(
  budget: PodDisruptionBudget,
  objects: Objects,
  nowMs: number,
): { readonly status: PodDisruptionBudgetStatus; readonly waitsMs: number | undefined } {
  const { spec, status: before, metadata } = budget;
  const { namespace = "" } = metadata;
  const selected = objects.inNamespace(pods, namespace).filter((pod) => selects(spec?.selector, pod.metadata.labels));
  const { letGo, waitsMs } = stillGoing(before?.disruptedPods ?? {}, selected, nowMs);
  const healthy = selected.filter(
    (pod) => isReady(pod) && !isTerminating(pod) && !Object.hasOwn(letGo, pod.metadata.name),
  ).length;
  const { expected, desired } = wanted(spec, selected, objects);
  const allowed = expected > 0 ? Math.max(0, healthy - desired) : 0;
  const conditions = withCondition(
    before?.conditions,
    {
      type: "DisruptionAllowed",
      status: allowed > 0 ? "True" : "False",
      reason: allowed > 0 ? "SufficientPods" : "InsufficientPods",
      message: "",
      ...observed(budget),
    },
    nowMs,
  );
  const status = {
    ...(Object.keys(letGo).length === 0 ? {} : { disruptedPods: letGo }),
    ...observed(budget),
    disruptionsAllowed: allowed,
    currentHealthy: healthy,
    desiredHealthy: desired,
    expectedPods: expected,
    conditions,
  };
  return { status, waitsMs };
}

/** Of the pods that were let go those that are there yet, and when to look again. */
function stillGoing(
  noted: Readonly<Record<string, string>>,
  selected: readonly Pod[],
  nowMs: number,
): { readonly letGo: Readonly<Record<string, string>>; readonly waitsMs: number | undefined } {
  const letGo: { [name: string]: string } = {};
  let waitsMs: number | undefined;
  for (const pod of selected) {
    const { name, deletionTimestamp } = pod.metadata;
    const since = noted[name];
    if (since === undefined || deletionTimestamp !== undefined) continue;
    const leftMs = (timeMs(since) ?? 0) + letGoMs - nowMs;
    if (leftMs <= 0) continue;
    letGo[name] = since;
    waitsMs = Math.min(waitsMs ?? leftMs, leftMs);
  }
  return { letGo, waitsMs };
}

/** How many pods there should be, and how many of them must work. */
function wanted(
  spec: PodDisruptionBudget["spec"] | undefined,
  selected: readonly Pod[],
  objects: Objects,
): { readonly expected: number; readonly desired: number } {
  const { maxUnavailable, minAvailable } = spec ?? {};
  if (maxUnavailable !== undefined) {
    const expected = expectedCount(selected, objects);
    return { expected, desired: Math.max(0, expected - scaled(maxUnavailable, expected)) };
  }
  if (typeof minAvailable === "string") {
    const expected = expectedCount(selected, objects);
    return { expected, desired: scaled(minAvailable, expected) };
  }
  return { expected: selected.length, desired: minAvailable ?? 0 };
}

/** `30%` of a number, rounded up, or the number itself. */
function scaled(value: number | string, of: number): number {
  const percent = typeof value === "string" ? /^(\d+)%$/.exec(value)?.[1] : undefined;
  return percent === undefined ? Number(value) : Math.ceil((Number(percent) * of) / 100);
}

/** As many as the controllers of the pods want; a pod without one counts for itself. */
function expectedCount(selected: readonly Pod[], objects: Objects): number {
  const counts = new Map<string, number>();
  for (const pod of selected) {
    const scaler = scalerOf(pod, objects);
    counts.set(
      scaler?.metadata.uid ?? pod.metadata.uid ?? pod.metadata.name,
      scaler === undefined ? 1 : replicasOf(scaler),
    );
  }
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}

/** The Deployment behind a pod's ReplicaSet, or whatever controls it. */
function scalerOf(pod: Pod, objects: Objects): KubeObject | undefined {
  const { namespace } = pod.metadata;
  const owner = controllerOf(pod);
  const resource = [replicaSets, statefulSets, replicationControllers].find(({ kind }) => kind === owner?.kind);
  if (owner === undefined || resource === undefined) return undefined;
  const found = objects.get<KubeObject>(resource, namespace, owner.name);
  const above = found === undefined ? undefined : controllerOf(found);
  if (above?.kind !== "Deployment") return found;
  return objects.get(deployments, namespace, above.name) ?? found;
}

function replicasOf({ spec }: KubeObject): number {
  return (spec as { readonly replicas?: number } | undefined)?.replicas ?? 1;
}
