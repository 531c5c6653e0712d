// Deployments: a ReplicaSet for each version of the template, and pods moving from the old ones to the new one.
// Upstream: pkg/controller/deployment (deployment_controller.go, rolling.go, recreate.go, sync.go).
//
// Not here: finding and numbering the versions (deployment-revisions.ts), status and conditions (deployment-status.ts).

import type { Deployment, Pod, ReplicaSet } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { selects } from "../../kube/selector.ts";
import {
  dropHistory,
  ensureNewReplicaSet,
  findNewReplicaSet,
  olderFirst,
  replicasOf,
  withReplicaAnnotations,
} from "./deployment-revisions.ts";
import { isComplete, plainStatus, rolloutStatus, stuckInMs } from "./deployment-status.ts";
import type { EventRecorder } from "./events.ts";
import { sameJson } from "../../kube/equal.ts";
import type { Change } from "./objects.ts";
import { claim } from "./ownership.ts";
import { controllerOf, isFinished } from "./pod-state.ts";
import { maxUnavailableOf, surgeOf } from "./rolling-update.ts";
import { deployments, pods, replicaSets } from "./resources.ts";
import { on, type Cluster, type Controller, type Enqueue } from "./runtime.ts";

export function deploymentController(cluster: Cluster): Controller {
  const { objects } = cluster;
  const events = cluster.events("deployment-controller");

  const setChanged = ({ object, previous }: Change<ReplicaSet>, enqueue: Enqueue): void => {
    for (const set of [object, previous]) {
      const owner = set && controllerOf(set);
      if (owner?.kind === "Deployment") enqueue(`${set?.metadata.namespace}/${owner.name}`);
    }
    if (object === undefined || controllerOf(object) !== undefined) return;
    for (const deployment of objects.inNamespace(deployments, object.metadata.namespace ?? "")) {
      if (selects(deployment.spec.selector, object.metadata.labels)) enqueue(keyOf(deployment));
    }
  };
  // A Recreate rollout waits for the last old pod to go.
  const podChanged = ({ object, previous }: Change<Pod>, enqueue: Enqueue): void => {
    if (previous === undefined || (object !== undefined && (!isFinished(object) || isFinished(previous)))) return;
    const setName = controllerOf(previous);
    if (setName?.kind !== "ReplicaSet") return;
    const set = objects.get(replicaSets, previous.metadata.namespace, setName.name);
    const owner = set && controllerOf(set);
    if (owner?.kind !== "Deployment") return;
    const deployment = objects.get(deployments, previous.metadata.namespace, owner.name);
    if (deployment?.spec.strategy?.type === "Recreate") enqueue(keyOf(deployment));
  };

  return {
    name: "deployment-controller",
    watches: [
      on(deployments, ({ object }, enqueue) => object && enqueue(keyOf(object))),
      on(replicaSets, setChanged),
      on(pods, podChanged),
    ],
    reconcile(key, requeue) {
      const deployment = objects.byKey(deployments, key);
      if (deployment === undefined) return;
      const sets = [
        ...claim({
          objects,
          owner: deployment,
          ownerResource: deployments,
          selector: deployment.spec.selector,
          resource: replicaSets,
          candidates: objects.inNamespace(replicaSets, deployment.metadata.namespace ?? ""),
        }),
      ].sort(olderFirst);
      const after = rollOut({ cluster, events, deployment, sets });
      const wait = after && stuckInMs(after, cluster.clock.now());
      if (wait !== undefined) requeue(wait);
    },
  };
}

interface Rollout {
  readonly cluster: Cluster;
  readonly events: EventRecorder;
  readonly deployment: Deployment;
  /** Its ReplicaSets, oldest first. */
  readonly sets: readonly ReplicaSet[];
}

/** One step of a Deployment; gives the Deployment as it is then. */
function rollOut(rollout: Rollout): Deployment | undefined {
  const { deployment, sets } = rollout;
  if (deployment.metadata.deletionTimestamp !== undefined) {
    return writeStatus(rollout, plainStatus(deployment, sets, findNewReplicaSet(deployment, sets), now(rollout)));
  }
  const paused = deployment.spec.paused === true;
  if (paused || isScaling(deployment, sets)) return scaleOnly(rollout);
  return deployment.spec.strategy?.type === "Recreate" ? recreate(rollout) : rollingUpdate(rollout);
}

function now({ cluster }: Rollout): number {
  return cluster.clock.now();
}

/** Somebody changed `replicas` while more than one version may be running: the sizes follow before the rollout goes on. */
function isScaling(deployment: Deployment, sets: readonly ReplicaSet[]): boolean {
  return sets
    .filter((set) => replicasOf(set) > 0)
    .some((set) => {
      const desired = set.metadata.annotations?.["deployment.kubernetes.io/desired-replicas"];
      return desired !== undefined && Number(desired) !== replicasOf(deployment);
    });
}

/** Paused, or just scaled: no new version, but the right size. */
function scaleOnly(rollout: Rollout): Deployment | undefined {
  const { deployment } = rollout;
  const { current, sets } = ensureNewReplicaSet({ ...rollout, create: false });
  const scaled = scaleProportionally({ ...rollout, sets }, current);
  if (deployment.spec.paused === true) dropHistory(rollout.cluster, deployment, withoutCurrent(scaled, current));
  const status = plainStatus(deployment, scaled, current && refreshed(scaled, current), now(rollout));
  return writeStatus(rollout, status);
}

function recreate(rollout: Rollout): Deployment | undefined {
  const { cluster, deployment } = rollout;
  const found = ensureNewReplicaSet({ ...rollout, create: false });
  let { sets } = found;
  const old = withoutCurrent(sets, found.current).filter((set) => replicasOf(set) > 0);
  if (old.length > 0) {
    for (const set of old) sets = scaleSet({ ...rollout, sets }, set, 0);
    return finish({ ...rollout, sets }, found.current);
  }
  if (oldPodsRemain(cluster, withoutCurrent(sets, found.current))) return finish({ ...rollout, sets }, found.current);
  const made = ensureNewReplicaSet({ ...rollout, sets, create: true });
  if (made.current === undefined) return undefined;
  sets = scaleSet({ ...rollout, sets: made.sets }, made.current, replicasOf(deployment));
  return finish({ ...rollout, sets }, made.current);
}

/** Do pods of old versions still exist and have not ended? Those on their way out count. */
function oldPodsRemain({ objects }: Cluster, old: readonly ReplicaSet[]): boolean {
  return old.some((set) => objects.controlledBy(pods, set.metadata.uid ?? "").some((pod) => !isFinished(pod)));
}

function rollingUpdate(rollout: Rollout): Deployment | undefined {
  const { current, sets } = ensureNewReplicaSet({ ...rollout, create: true });
  if (current === undefined) return undefined;
  const step = { ...rollout, sets };
  const up = growNew(step, current);
  if (up !== undefined) return finish({ ...step, sets: up }, current);
  return finish({ ...step, sets: shrinkOld(step, current) ?? sets }, current);
}

/** reconcileNewReplicaSet: gives the sets after growing (or shrinking) the new one, undefined where it has its size. */
function growNew(rollout: Rollout, current: ReplicaSet): readonly ReplicaSet[] | undefined {
  const { deployment, sets } = rollout;
  const [want, have] = [replicasOf(deployment), replicasOf(current)];
  if (have === want) return undefined;
  if (have > want) return scaleSet(rollout, current, want);
  const room = want + surgeOf(deployment.spec.strategy, want) - sum(sets.map(replicasOf));
  const size = have + Math.max(0, Math.min(room, want - have));
  return size === have ? undefined : scaleSet(rollout, current, size);
}

/** reconcileOldReplicaSets: unhealthy old pods go first, then as many others as availability allows. */
function shrinkOld(rollout: Rollout, current: ReplicaSet): readonly ReplicaSet[] | undefined {
  const { deployment } = rollout;
  const minAvailable = replicasOf(deployment) - maxUnavailableOf(deployment.spec.strategy, replicasOf(deployment));
  const newUnavailable = Math.max(0, replicasOf(current) - (current.status?.availableReplicas ?? 0));
  let { sets } = rollout;
  let spare = sum(sets.map(replicasOf)) - minAvailable - newUnavailable;
  if (spare <= 0) return undefined;
  const shrink = (set: ReplicaSet, by: number): void => {
    if (by > 0) sets = scaleSet({ ...rollout, sets }, set, replicasOf(set) - by);
  };
  for (const set of withoutCurrent(sets, current)) {
    const unhealthy = Math.max(0, replicasOf(set) - (set.status?.availableReplicas ?? 0));
    const by = Math.min(spare, unhealthy);
    shrink(set, by);
    spare -= by;
  }
  let surplus = sum(sets.map((set) => set.status?.availableReplicas ?? 0)) - minAvailable;
  for (const set of withoutCurrent(sets, current)) {
    const by = Math.min(replicasOf(set), surplus);
    shrink(set, by);
    surplus -= Math.max(0, by);
  }
  return sets;
}

/** sync.go scale(): the active versions share the size in proportion to what they had. */
function scaleProportionally(rollout: Rollout, current: ReplicaSet | undefined): readonly ReplicaSet[] {
  const { deployment } = rollout;
  const want = replicasOf(deployment);
  let { sets } = rollout;
  const active = sets.filter((set) => replicasOf(set) > 0);
  const only = active.length > 1 ? undefined : (active[0] ?? current ?? sets.at(-1));
  if (active.length <= 1) return only === undefined ? sets : scaleSet(rollout, only, want);
  if (current !== undefined && isSaturated(deployment, current)) {
    for (const set of withoutCurrent(active, current)) sets = scaleSet({ ...rollout, sets }, set, 0);
    return sets;
  }
  if ((deployment.spec.strategy?.type ?? "RollingUpdate") !== "RollingUpdate") return sets;
  const total = sum(active.map(replicasOf));
  const allowed = want > 0 ? want + surgeOf(deployment.spec.strategy, want) : 0;
  const toAdd = allowed - total;
  // Larger ones first; of equals the newer first when growing, the older first when shrinking.
  const bySize = [...active].sort(
    (a, b) => replicasOf(b) - replicasOf(a) || (toAdd > 0 ? olderFirst(b, a) : olderFirst(a, b)),
  );
  let added = 0;
  const sizes = bySize.map((set) => {
    const share = toAdd === 0 ? 0 : proportion(set, deployment, toAdd, added, allowed);
    added += share;
    return replicasOf(set) + share;
  });
  // What rounding left over goes to the largest.
  if (sizes[0] !== undefined) sizes[0] = Math.max(0, sizes[0] + toAdd - added);
  bySize.forEach((set, i) => {
    sets = scaleSet({ ...rollout, sets }, set, sizes[i] ?? 0);
  });
  return sets;
}

/** deployment_util.go GetReplicaSetProportion. */
function proportion(set: ReplicaSet, deployment: Deployment, toAdd: number, added: number, allowed: number): number {
  if (replicasOf(set) === 0) return 0;
  if (replicasOf(deployment) === 0) return -replicasOf(set);
  const wasAllowed = Number(set.metadata.annotations?.["deployment.kubernetes.io/max-replicas"] ?? 0);
  const before = wasAllowed > 0 ? wasAllowed : replicasOf(deployment);
  const fraction = Math.round((replicasOf(set) * allowed) / before) - replicasOf(set);
  const left = toAdd - added;
  return toAdd > 0 ? Math.min(fraction, left) : Math.max(fraction, left);
}

/** The new version has all the pods it should have, and they are available. */
function isSaturated(deployment: Deployment, current: ReplicaSet): boolean {
  const want = replicasOf(deployment);
  return (
    replicasOf(current) === want &&
    Number(current.metadata.annotations?.["deployment.kubernetes.io/desired-replicas"]) === want &&
    current.status?.availableReplicas === want
  );
}

/** Writes a ReplicaSet's size (and the annotations that remember what the size was relative to); gives the sets after it. */
function scaleSet(rollout: Rollout, set: ReplicaSet, size: number): readonly ReplicaSet[] {
  const { cluster, deployment, events, sets } = rollout;
  const annotated = withReplicaAnnotations(deployment, set);
  if (replicasOf(set) === size && annotated === set) return sets;
  const written = cluster.objects.update(replicaSets, { ...annotated, spec: { ...set.spec, replicas: size } });
  if (replicasOf(set) !== size) {
    const direction = size > replicasOf(set) ? "up" : "down";
    const message = `Scaled ${direction} replica set ${set.metadata.name} from ${replicasOf(set)} to ${size}`;
    events.record(deployment, "Normal", "ScalingReplicaSet", message);
  }
  return sets.map((each) => (each.metadata.uid === set.metadata.uid ? written : each));
}

/** The end of a step: old versions beyond the history go once the rollout is complete, and status says where we are. */
function finish(rollout: Rollout, current: ReplicaSet | undefined): Deployment | undefined {
  const { deployment, sets } = rollout;
  const latest = current && refreshed(sets, current);
  const status = rolloutStatus(deployment, sets, latest, now(rollout));
  if (isComplete(deployment, status)) dropHistory(rollout.cluster, deployment, withoutCurrent(sets, latest));
  return writeStatus(rollout, status);
}

function refreshed(sets: readonly ReplicaSet[], set: ReplicaSet): ReplicaSet {
  return sets.find((each) => each.metadata.uid === set.metadata.uid) ?? set;
}

function withoutCurrent(sets: readonly ReplicaSet[], current: ReplicaSet | undefined): readonly ReplicaSet[] {
  return sets.filter((set) => set.metadata.uid !== current?.metadata.uid);
}

function writeStatus({ cluster, deployment }: Rollout, status: Deployment["status"]): Deployment | undefined {
  const { objects } = cluster;
  const current = objects.get(deployments, deployment.metadata.namespace, deployment.metadata.name);
  if (current === undefined || current.metadata.uid !== deployment.metadata.uid) return undefined;
  // A collision count that was raised in this very step (deployment-revisions.ts) stays.
  const collisionCount = Math.max(status?.collisionCount ?? 0, current.status?.collisionCount ?? 0);
  const wanted = { ...status, ...(collisionCount === 0 ? {} : { collisionCount }) };
  return sameJson(current.status, wanted) ? current : objects.updateStatus(deployments, { ...current, status: wanted });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
