// StatefulSets: pods with a name, a place in a row and a life of their own, made and replaced one after the other (or all at once).
// Upstream: pkg/controller/statefulset (stateful_set_control.go updateStatefulSet).
//
// Not here: what such a pod looks like (stateful-pods.ts) and the numbering of versions (controller-revisions.ts).

import { sameJson } from "../../kube/equal.ts";
import type { ControllerRevision, Pod, StatefulSet, StatefulSetStatus } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { selects } from "../../kube/selector.ts";
import { StatusError } from "../api/store.ts";
import {
  dropRevisions,
  hashLabel,
  revisionFor,
  revisionLabel,
  revisionsOf,
  templateOf,
} from "./controller-revisions.ts";
import type { EventRecorder } from "./events.ts";
import type { Change } from "./objects.ts";
import { claim } from "./ownership.ts";
import { availableInMs, controllerOf, isFinished, isReady, isTerminating } from "./pod-state.ts";
import { isNamespaceTerminating, messageOf } from "./errors.ts";
import { persistentVolumeClaims, pods, statefulSets } from "./resources.ts";
import { scaledValue } from "./rolling-update.ts";
import { on, type Cluster, type Controller, type Enqueue } from "./runtime.ts";
import { claimsFor, ordinalOf, statefulPod } from "./stateful-pods.ts";

/**
 * A pod of the same name comes this long after the one before it has gone. `kubectl delete pod` looks at the name twice, some dozen milliseconds
 * apart, to see that it is gone, and then waits for whatever it saw: where a pod ends and starts within milliseconds it would wait for ever.
 */
const namesakeMs = 300;

export function statefulSetController(cluster: Cluster): Controller {
  const { objects, clock } = cluster;
  const gone = new Map<string, number>();
  const events = cluster.events("statefulset-controller");
  const noteGone = (pod: Pod): void => {
    const now = clock.now();
    for (const [key, time] of gone) if (time + namesakeMs <= now) gone.delete(key);
    gone.set(keyOf(pod), now);
  };
  const podChanged = ({ object, previous }: Change<Pod>, enqueue: Enqueue): void => {
    if (object === undefined && previous !== undefined && controllerOf(previous)?.kind === "StatefulSet")
      noteGone(previous);
    for (const pod of [object, previous]) {
      const owner = pod && controllerOf(pod);
      if (owner?.kind === "StatefulSet") enqueue(`${pod?.metadata.namespace}/${owner.name}`);
    }
    if (object === undefined || controllerOf(object) !== undefined) return;
    for (const set of objects.inNamespace(statefulSets, object.metadata.namespace ?? "")) {
      if (selects(set.spec.selector, object.metadata.labels)) enqueue(keyOf(set));
    }
  };
  return {
    name: "statefulset-controller",
    watches: [on(statefulSets, ({ object }, enqueue) => object && enqueue(keyOf(object))), on(pods, podChanged)],
    reconcile(key, requeue) {
      const set = objects.byKey(statefulSets, key);
      if (set === undefined || set.metadata.deletionTimestamp !== undefined) return;
      const versions = versionsOf(cluster, set);
      if (versions === undefined) return;
      const members = claim({
        objects,
        owner: set,
        ownerResource: statefulSets,
        selector: set.spec.selector,
        resource: pods,
        candidates: objects
          .podsLabelled(set.metadata.namespace ?? "", set.spec.selector.matchLabels ?? {})
          .filter((pod) => ordinalOf(set, pod) !== undefined),
      });
      const waitFor = (pod: string): number => {
        const left = (gone.get(`${set.metadata.namespace}/${pod}`) ?? -Infinity) + namesakeMs - clock.now();
        if (left > 0) requeue(left);
        return left;
      };
      const work: Work = { cluster, events, set, versions, members, waitFor };
      let trouble: unknown;
      try {
        step(work);
      } catch (error) {
        trouble = error;
      }
      const after = objects.controlledBy(pods, set.metadata.uid ?? "");
      writeStatus(work, after);
      const used = after.flatMap(({ metadata }) => metadata.labels?.[revisionLabel] ?? []);
      const kept = new Set([...used, versions.current.metadata.name, versions.update.metadata.name]);
      dropRevisions({ cluster, owner: set }, kept, set.spec.revisionHistoryLimit ?? 10);
      const waits = after.map((pod) => availableInMs(pod, set.spec.minReadySeconds ?? 0, clock.now()) ?? 0);
      const wait = waits.filter((ms) => ms > 0);
      if (wait.length > 0) requeue(Math.min(...wait));
      if (trouble !== undefined && !isNamespaceTerminating(trouble)) throw trouble;
    },
  };
}

interface Versions {
  /** The version before the update in progress; the same as `update` where there is none. */
  readonly current: ControllerRevision;
  readonly update: ControllerRevision;
}

interface Work {
  readonly cluster: Cluster;
  readonly events: EventRecorder;
  readonly set: StatefulSet;
  readonly versions: Versions;
  readonly members: readonly Pod[];
  /** Milliseconds until a pod of that name may come; where there are any, the next step is then. */
  readonly waitFor: (pod: string) => number;
}

function versionsOf(cluster: Cluster, set: StatefulSet): Versions | undefined {
  const collisionCount = set.status?.collisionCount ?? 0;
  const of = {
    cluster,
    owner: set,
    resource: statefulSets,
    labels: set.spec.selector.matchLabels ?? {},
    hashLabel,
    collisionCount,
  };
  const update = revisionFor(of, set.spec.template);
  if (update === undefined) {
    const status = { replicas: 0, ...set.status, collisionCount: collisionCount + 1 };
    cluster.objects.updateStatus(statefulSets, { ...set, status });
    return undefined;
  }
  const current = revisionsOf(of).find(({ metadata }) => metadata.name === set.status?.currentRevision) ?? update;
  return { current, update };
}

function isOrdered(set: StatefulSet): boolean {
  return set.spec.podManagementPolicy !== "Parallel";
}

function isHealthy(set: StatefulSet, pod: Pod | undefined, nowMs: number): boolean {
  return (
    pod !== undefined &&
    pod.status?.phase === "Running" &&
    !isTerminating(pod) &&
    availableInMs(pod, set.spec.minReadySeconds ?? 0, nowMs) === 0
  );
}

/** One step: make what is missing, then remove what is too much, then replace what is old. In order, each waits for the one before. */
function step(work: Work): void {
  const { set, members } = work;
  const start = set.spec.ordinals?.start ?? 0;
  const end = start + (set.spec.replicas ?? 1);
  const byOrdinal = new Map(members.map((pod) => [ordinalOf(set, pod) ?? -1, pod]));
  const condemned = [...byOrdinal]
    .filter(([ordinal]) => ordinal < start || ordinal >= end)
    .sort(([a], [b]) => b - a)
    .map(([, pod]) => pod);
  const wanted = Array.from({ length: end - start }, (_, i) => start + i);
  if (!fillRow(work, wanted, byOrdinal)) return;
  if (!removeCondemned(work, condemned, byOrdinal)) return;
  if (set.spec.updateStrategy?.type === "OnDelete") return;
  replaceOld(work, wanted, byOrdinal);
}

/** Makes the pods of the row; false where the next step has to wait. */
function fillRow(work: Work, wanted: readonly number[], byOrdinal: ReadonlyMap<number, Pod>): boolean {
  const { cluster, set } = work;
  let complete = true;
  for (const ordinal of wanted) {
    const pod = byOrdinal.get(ordinal);
    if (pod !== undefined && isFinished(pod)) {
      if (!isTerminating(pod)) deletePod(work, pod);
      return false;
    }
    if (pod === undefined) {
      if (work.waitFor(`${set.metadata.name}-${ordinal}`) <= 0) createPod(work, ordinal);
      complete = false;
    }
    if (isOrdered(set) && !isHealthy(set, pod, cluster.clock.now())) return false;
  }
  return complete;
}

function removeCondemned(work: Work, condemned: readonly Pod[], byOrdinal: ReadonlyMap<number, Pod>): boolean {
  const { cluster, set } = work;
  const now = cluster.clock.now();
  // The first unhealthy of the whole row may go although it is unhealthy; others wait for it.
  const firstSick = [...byOrdinal].sort(([a], [b]) => a - b).find(([, pod]) => !isHealthy(set, pod, now))?.[1];
  for (const pod of condemned) {
    if (isTerminating(pod)) {
      if (isOrdered(set)) return false;
      continue;
    }
    if (isOrdered(set) && !(pod.status?.phase === "Running" && isReady(pod)) && pod !== firstSick) return false;
    deletePod(work, pod);
    if (isOrdered(set)) return false;
  }
  return condemned.length === 0;
}

/**
 * From the last to the partition: old pods go (fillRow makes them anew), and so does the wait for each to be well again; maxUnavailable
 * of them at a time. Sick pods further down do not hold it up: the update may be what heals them.
 */
function replaceOld(work: Work, wanted: readonly number[], byOrdinal: ReadonlyMap<number, Pod>): void {
  const { cluster, set, versions } = work;
  const { partition = 0, maxUnavailable } = set.spec.updateStrategy?.rollingUpdate ?? {};
  const first = (wanted[0] ?? 0) + partition;
  let budget = Math.max(1, scaledValue(maxUnavailable, wanted.length, "up", 1));
  for (const ordinal of wanted.toReversed()) {
    const pod = byOrdinal.get(ordinal);
    if (ordinal < first || pod === undefined || budget === 0) return;
    const isOld = pod.metadata.labels?.[revisionLabel] !== versions.update.metadata.name;
    if (isOld && !isTerminating(pod)) {
      deletePod(work, pod);
      budget--;
    } else if (!isHealthy(set, pod, cluster.clock.now())) budget--;
  }
}

function createPod({ cluster, events, set, versions }: Work, ordinal: number): void {
  const { objects } = cluster;
  const { partition = 0 } = set.spec.updateStrategy?.rollingUpdate ?? {};
  const start = set.spec.ordinals?.start ?? 0;
  // Below the partition a pod comes back as it was.
  const keeps = ordinal < start + partition;
  const version = keeps ? versions.current : versions.update;
  const pod = statefulPod({ set, template: templateOf(version), version: version.metadata.name, ordinal });
  const what = `Pod ${pod.metadata.name} in StatefulSet ${set.metadata.name}`;
  try {
    for (const volume of claimsFor(set, pod)) {
      const { namespace, name } = volume.metadata;
      if (objects.get(persistentVolumeClaims, namespace, name) !== undefined) continue;
      objects.create(persistentVolumeClaims, volume);
      const claimText = `create Claim ${name} ${what} success`;
      events.record(set, "Normal", "SuccessfulCreate", claimText);
    }
    objects.create(pods, pod);
    events.record(set, "Normal", "SuccessfulCreate", `create ${what} successful`);
  } catch (error) {
    if (!isNamespaceTerminating(error)) {
      events.record(set, "Warning", "FailedCreate", `create ${what} failed error: ${messageOf(error)}`);
    }
    throw error;
  }
}

function deletePod({ cluster, events, set }: Work, pod: Pod): void {
  try {
    cluster.objects.delete(pods, pod);
  } catch (error) {
    if (!(error instanceof StatusError) || error.code !== 404) throw error;
    return;
  }
  const what = `Pod ${pod.metadata.name} in StatefulSet ${set.metadata.name}`;
  events.record(set, "Normal", "SuccessfulDelete", `delete ${what} successful`);
}

function writeStatus({ cluster, set, versions }: Work, members: readonly Pod[]): void {
  const { objects, clock } = cluster;
  const latest = objects.get(statefulSets, set.metadata.namespace, set.metadata.name);
  if (latest === undefined || latest.metadata.uid !== set.metadata.uid) return;
  const alive = members.filter((pod) => !isFinished(pod));
  const of = (version: ControllerRevision): number =>
    alive.filter((pod) => !isTerminating(pod) && pod.metadata.labels?.[revisionLabel] === version.metadata.name).length;
  const ready = alive.filter((pod) => pod.status?.phase === "Running" && isReady(pod));
  const now = clock.now();
  const counts = {
    replicas: alive.length,
    readyReplicas: ready.length,
    availableReplicas: ready.filter((pod) => availableInMs(pod, set.spec.minReadySeconds ?? 0, now) === 0).length,
    updatedReplicas: of(versions.update),
  };
  const isDone =
    set.spec.updateStrategy?.type !== "OnDelete" &&
    counts.updatedReplicas === counts.replicas &&
    counts.readyReplicas === counts.replicas &&
    counts.replicas === (set.spec.replicas ?? 1);
  const current = isDone ? versions.update : versions.current;
  const status: StatefulSetStatus = {
    ...counts,
    currentReplicas: of(current),
    currentRevision: current.metadata.name,
    updateRevision: versions.update.metadata.name,
    observedGeneration: set.metadata.generation ?? 0,
    collisionCount: latest.status?.collisionCount ?? 0,
    ...(latest.status?.conditions === undefined ? {} : { conditions: latest.status.conditions }),
  };
  if (!sameJson(status, latest.status)) objects.updateStatus(statefulSets, { ...latest, status });
}
