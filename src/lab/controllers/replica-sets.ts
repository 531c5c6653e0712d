// ReplicaSets, and ReplicationControllers before them: as many pods as asked for.
// Upstream: pkg/controller/replicaset/replica_set.go; which pods go first when there are too many: controller_utils.go ActivePodsWithRanks.

import type { LabelSelector, Pod, ReplicaSet, ReplicaSetStatus, ReplicationController } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { selects } from "../../kube/selector.ts";
import { StatusError } from "../api/store.ts";
import { timeMs } from "../../watch/clock.ts";
import { conditionOf, withCondition, withoutCondition } from "./conditions.ts";
import { isNamespaceTerminating, messageOf } from "./errors.ts";
import type { EventRecorder } from "./events.ts";
import { sameJson } from "../../kube/equal.ts";
import type { Change } from "./objects.ts";
import { claim } from "./ownership.ts";
import {
  availableInMs,
  controllerOf,
  isActive,
  isFinished,
  isReady,
  isTerminating,
  podFromTemplate,
} from "./pod-state.ts";
import { pods, replicaSets, replicationControllers, type TypedResource } from "./resources.ts";
import { on, type Cluster, type Controller, type Enqueue } from "./runtime.ts";

/** Upstream's BurstReplicas: how many pods one reconcile makes or deletes. */
const burst = 500;

export function replicaSetController(cluster: Cluster): Controller {
  return replicaController(cluster, "replicaset-controller", replicaSets);
}

/** As upstream's, it is the ReplicaSets' with another selector. */
export function replicationController(cluster: Cluster): Controller {
  return replicaController(cluster, "replication-controller", replicationControllers);
}

type Replicated = ReplicaSet | ReplicationController;

function selectorOf(set: Replicated): LabelSelector {
  if (set.kind === "ReplicaSet") return set.spec.selector;
  const labels = Object.entries(set.spec.selector ?? {});
  // A selector of labels without any would mean all pods; an empty map means none.
  return labels.length === 0
    ? { matchExpressions: [{ key: "never", operator: "In", values: [] }] }
    : { matchLabels: set.spec.selector ?? {} };
}

function resourceOf(set: Replicated): TypedResource<Replicated> {
  return set.kind === "ReplicaSet" ? replicaSets : replicationControllers;
}

function replicaController(cluster: Cluster, name: string, resource: TypedResource<Replicated>): Controller {
  const { objects, clock } = cluster;
  const events = cluster.events(name);

  const podChanged = ({ object, previous }: Change<Pod>, enqueue: Enqueue): void => {
    for (const pod of [object, previous]) {
      const owner = pod && controllerOf(pod);
      if (owner?.kind !== resource.kind) continue;
      const key = `${pod?.metadata.namespace}/${owner.name}`;
      // What is written of a set is counted over all of its pods: a large one gathers their news.
      const isNews = object !== undefined && previous !== undefined;
      enqueue(key, isNews ? gatherMs(objects.byKey(resource, key)) : 0);
    }
    if (object === undefined || controllerOf(object) !== undefined || isTerminating(object)) return;
    for (const set of objects.inNamespace(resource, object.metadata.namespace ?? "")) {
      if (selects(selectorOf(set), object.metadata.labels)) enqueue(keyOf(set));
    }
  };

  return {
    name,
    watches: [on(resource, ({ object }, enqueue) => object && enqueue(keyOf(object))), on(pods, podChanged)],
    reconcile(key, requeue) {
      const set = objects.byKey(resource, key);
      if (set === undefined) return;
      const candidates = objects.podsLabelled(set.metadata.namespace ?? "", selectorOf(set).matchLabels ?? {});
      const claimed = claim({
        objects,
        owner: set,
        ownerResource: resource,
        selector: selectorOf(set),
        resource: pods,
        candidates: candidates.filter((pod) => !isFinished(pod)),
      });
      const active = claimed.filter(isActive);
      const terminating = claimed.filter((pod) => isTerminating(pod) && !isFinished(pod)).length;
      const trouble =
        set.metadata.deletionTimestamp === undefined ? manageReplicas(cluster, events, set, active) : undefined;
      const now = clock.now();
      const left = objects.controlledBy(pods, set.metadata.uid ?? "").filter(isActive);
      writeStatus(cluster, set, statusOf(set, left, terminating, trouble, now));
      const wait = left
        .map((pod) => availableInMs(pod, set.spec.minReadySeconds ?? 0, now) ?? 0)
        .filter((ms) => ms > 0);
      if (wait.length > 0) requeue(Math.min(...wait));
      if (trouble !== undefined) throw trouble.error;
    },
  };
}

/** A reconcile costs about 2 µs a pod: at most a tenth of the time goes there. */
function gatherMs(set: Replicated | undefined): number {
  const replicas = set?.spec.replicas ?? 1;
  return replicas < 100 ? 0 : Math.min(100, replicas / 20);
}

interface Trouble {
  readonly reason: "FailedCreate" | "FailedDelete";
  readonly error: unknown;
}

/** Makes or deletes pods; gives what went wrong. */
function manageReplicas(
  cluster: Cluster,
  events: EventRecorder,
  set: Replicated,
  active: readonly Pod[],
): Trouble | undefined {
  const wanted = set.spec.replicas ?? 1;
  const missing = wanted - active.length;
  if (missing > 0) return createPods(cluster, events, set, Math.min(missing, burst));
  if (missing < 0)
    return deletePods(cluster, events, set, podsToDelete(cluster, set, active, Math.min(-missing, burst)));
  return undefined;
}

function createPods(cluster: Cluster, events: EventRecorder, set: Replicated, count: number): Trouble | undefined {
  const { objects, random } = cluster;
  const { template } = set.spec;
  if (template === undefined) return undefined;
  for (let i = 0; i < count; i++) {
    const pod = podFromTemplate({ template, owner: set, resource: resourceOf(set), name: { random } });
    try {
      objects.create(pods, pod);
      events.record(set, "Normal", "SuccessfulCreate", `Created pod: ${pod.metadata.name}`);
    } catch (error) {
      // The namespace is being emptied: this ReplicaSet goes with it.
      if (isNamespaceTerminating(error)) return undefined;
      events.record(set, "Warning", "FailedCreate", `Error creating: ${messageOf(error)}`);
      return { reason: "FailedCreate", error };
    }
  }
  return undefined;
}

function deletePods(
  cluster: Cluster,
  events: EventRecorder,
  set: Replicated,
  victims: readonly Pod[],
): Trouble | undefined {
  for (const pod of victims) {
    try {
      cluster.objects.delete(pods, pod);
      events.record(set, "Normal", "SuccessfulDelete", `Deleted pod: ${pod.metadata.name}`);
    } catch (error) {
      if (error instanceof StatusError && error.code === 404) continue;
      events.record(set, "Warning", "FailedDelete", `Error deleting: ${messageOf(error)}`);
      return { reason: "FailedDelete", error };
    }
  }
  return undefined;
}

/** The pods that go first: upstream getPodsToDelete, with ranks by how many related pods share the node. */
function podsToDelete(cluster: Cluster, set: Replicated, active: readonly Pod[], count: number): readonly Pod[] {
  if (count >= active.length) return active;
  const now = cluster.clock.now();
  const ranks = nodeRanks(cluster, set);
  const rankOf = (pod: Pod): number => ranks.get(pod.spec.nodeName ?? "") ?? 0;
  return [...active].sort((a, b) => compareForDeletion(a, b, rankOf, now)).slice(0, count);
}

/** Active pods by node of all ReplicaSets that have the same controller as this one. */
function nodeRanks({ objects }: Cluster, set: Replicated): ReadonlyMap<string, number> {
  const owner = controllerOf(set);
  const related: readonly Replicated[] = owner === undefined ? [set] : objects.controlledBy(replicaSets, owner.uid);
  const ranks = new Map<string, number>();
  for (const { metadata } of related) {
    for (const pod of objects.controlledBy(pods, metadata.uid ?? "").filter(isActive)) {
      const node = pod.spec.nodeName ?? "";
      ranks.set(node, (ranks.get(node) ?? 0) + 1);
    }
  }
  return ranks;
}

const phaseOrder: Readonly<Record<string, number>> = { Pending: 0, Unknown: 1, Running: 2 };

/**
 * Upstream's eight criteria (ActivePodsWithRanks.Less): unassigned, pending, not ready, lower deletion cost, fuller node, ready for a
 * shorter time (on a logarithmic scale), more restarts, younger (likewise); then by name instead of by chance.
 */
function compareForDeletion(a: Pod, b: Pod, rankOf: (pod: Pod) => number, nowMs: number): number {
  const yes = (value: boolean): number => (value ? 1 : 0);
  return (
    yes(a.spec.nodeName !== undefined) - yes(b.spec.nodeName !== undefined) ||
    (phaseOrder[a.status?.phase ?? "Pending"] ?? 0) - (phaseOrder[b.status?.phase ?? "Pending"] ?? 0) ||
    yes(isReady(a)) - yes(isReady(b)) ||
    deletionCost(a) - deletionCost(b) ||
    rankOf(b) - rankOf(a) ||
    ageScale(readySince(a), nowMs) - ageScale(readySince(b), nowMs) ||
    restarts(b) - restarts(a) ||
    ageScale(timeMs(a.metadata.creationTimestamp), nowMs) - ageScale(timeMs(b.metadata.creationTimestamp), nowMs) ||
    (a.metadata.name < b.metadata.name ? -1 : 1)
  );
}

function deletionCost(pod: Pod): number {
  return Number.parseInt(pod.metadata.annotations?.["controller.kubernetes.io/pod-deletion-cost"] ?? "0", 10) || 0;
}

function readySince(pod: Pod): number | undefined {
  return isReady(pod)
    ? timeMs(pod.status?.conditions?.find(({ type }) => type === "Ready")?.lastTransitionTime)
    : undefined;
}

/** LogarithmicScaleDown (KEP-2185): ages of the same order of magnitude are equal. */
function ageScale(sinceMs: number | undefined, nowMs: number): number {
  return sinceMs === undefined ? 0 : Math.floor(Math.log10(Math.max(1, nowMs - sinceMs)));
}

function restarts(pod: Pod): number {
  return Math.max(0, ...(pod.status?.containerStatuses ?? []).map(({ restartCount }) => restartCount));
}

function statusOf(
  set: Replicated,
  active: readonly Pod[],
  terminating: number,
  trouble: Trouble | undefined,
  nowMs: number,
): ReplicaSetStatus {
  const templateLabels = Object.entries(set.spec.template?.metadata?.labels ?? {});
  const has = (pod: Pod): boolean => templateLabels.every(([key, value]) => pod.metadata.labels?.[key] === value);
  const before = set.status?.conditions;
  const known = conditionOf(before, "ReplicaFailure");
  const conditions =
    trouble === undefined
      ? withoutCondition(before, "ReplicaFailure")
      : // The message names another pod each time: what is known for the same reason stays, or the status would never rest.
        known?.status === "True" && known.reason === trouble.reason
        ? (before ?? [])
        : withCondition(
            before,
            { type: "ReplicaFailure", status: "True", reason: trouble.reason, message: messageOf(trouble.error) },
            nowMs,
          );
  return {
    replicas: active.length,
    fullyLabeledReplicas: active.filter(has).length,
    readyReplicas: active.filter(isReady).length,
    availableReplicas: active.filter((pod) => availableInMs(pod, set.spec.minReadySeconds ?? 0, nowMs) === 0).length,
    ...(set.kind === "ReplicaSet" ? { terminatingReplicas: terminating } : {}),
    observedGeneration: set.metadata.generation ?? 0,
    ...(conditions.length === 0 ? {} : { conditions }),
  };
}

function writeStatus({ objects }: Cluster, set: Replicated, status: ReplicaSetStatus): void {
  const resource = resourceOf(set);
  const current = objects.get(resource, set.metadata.namespace, set.metadata.name);
  if (current === undefined || current.metadata.uid !== set.metadata.uid || sameJson(current.status, status)) return;
  objects.updateStatus(resource, { ...current, status });
}
