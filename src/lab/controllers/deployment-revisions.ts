// The versions of a Deployment: which ReplicaSet is the one of today's template, its revision number, and how many old ones are kept.
// Upstream: pkg/controller/deployment/sync.go getNewReplicaSet, util/deployment_util.go.

import { annotations as ours, type Labels } from "../../kube/object.ts";
import type { Deployment, PodTemplateSpec, ReplicaSet } from "../../kube/kinds.ts";
import { StatusError } from "../api/store.ts";
import type { EventRecorder } from "./events.ts";
import { sameJson } from "../../kube/equal.ts";
import { hashOf } from "./names.ts";
import { controllerOf, controllerReference } from "./pod-state.ts";
import { deployments, replicaSets } from "./resources.ts";
import { surgeOf } from "./rolling-update.ts";
import type { Cluster } from "./runtime.ts";

const prefix = "deployment.kubernetes.io/";
const revisionKey = `${prefix}revision`;
const historyKey = `${prefix}revision-history`;
const desiredKey = `${prefix}desired-replicas`;
const maxKey = `${prefix}max-replicas`;
const hashLabel = "pod-template-hash";
/** Annotations of a Deployment that its ReplicaSets do not take over. */
const notCopied = new Set([
  "kubectl.kubernetes.io/last-applied-configuration",
  revisionKey,
  historyKey,
  desiredKey,
  maxKey,
  "deprecated.deployment.rollback.to",
  ours.source,
]);

export function replicasOf(object: { readonly spec: { readonly replicas?: number } }): number {
  return object.spec.replicas ?? 1;
}

export function olderFirst(a: ReplicaSet, b: ReplicaSet): number {
  const [x, y] = [a.metadata.creationTimestamp ?? "", b.metadata.creationTimestamp ?? ""];
  return x === y ? (a.metadata.name < b.metadata.name ? -1 : 1) : x < y ? -1 : 1;
}

/** The ReplicaSet of the Deployment's template; of several the oldest. `sets` are oldest first. */
export function findNewReplicaSet(deployment: Deployment, sets: readonly ReplicaSet[]): ReplicaSet | undefined {
  const wanted = withoutHash(deployment.spec.template);
  return sets.find((set) => set.spec.template !== undefined && sameJson(withoutHash(set.spec.template), wanted));
}

function withoutHash(template: PodTemplateSpec): unknown {
  const { [hashLabel]: _hash, ...labels } = template.metadata?.labels ?? {};
  return { annotations: template.metadata?.annotations ?? {}, labels, spec: template.spec };
}

/**
 * The ReplicaSet of today's template with its annotations in order, and all sets. It is made where `create` says so; then `current` is
 * undefined only after a name collision, which raises status.collisionCount so that the next try has another name.
 */
export function ensureNewReplicaSet(options: {
  readonly cluster: Cluster;
  readonly events: EventRecorder;
  readonly deployment: Deployment;
  readonly sets: readonly ReplicaSet[];
  readonly create: boolean;
}): { readonly current: ReplicaSet | undefined; readonly sets: readonly ReplicaSet[] } {
  const { cluster, deployment, sets } = options;
  const found = findNewReplicaSet(deployment, sets);
  const others = sets.filter((set) => set !== found).map(revisionOf);
  const revision = 1n + others.reduce((most, each) => (each > most ? each : most), 0n);
  if (found === undefined) {
    if (!options.create) return { current: undefined, sets };
    const made = createReplicaSet(options, revision);
    return { current: made, sets: made === undefined ? sets : [...sets, made] };
  }
  const wanted = withMinReady(deployment, withRevision(deployment, found, revision));
  const current = wanted === found ? found : cluster.objects.update(replicaSets, wanted);
  noteRevision(cluster, deployment, current);
  return { current, sets: sets.map((set) => (set === found ? current : set)) };
}

function createReplicaSet(
  { cluster, events, deployment, sets }: Parameters<typeof ensureNewReplicaSet>[0],
  revision: bigint,
): ReplicaSet | undefined {
  const collisions = deployment.status?.collisionCount ?? 0;
  const { template } = deployment.spec;
  const hash = hashOf(collisions === 0 ? template : [template, collisions]);
  const labels = { ...template.metadata?.labels, [hashLabel]: hash };
  const want = replicasOf(deployment);
  const room = want + surgeOf(deployment.spec.strategy, want) - sets.reduce((sum, set) => sum + replicasOf(set), 0);
  const isRolling = (deployment.spec.strategy?.type ?? "RollingUpdate") === "RollingUpdate";
  const size = isRolling ? Math.max(0, Math.min(want, room)) : want;
  const set: ReplicaSet = {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    metadata: {
      name: `${deployment.metadata.name}-${hash}`,
      ...(deployment.metadata.namespace === undefined ? {} : { namespace: deployment.metadata.namespace }),
      labels,
      annotations: {
        ...copiedAnnotations(deployment),
        ...replicaAnnotations(deployment),
        [revisionKey]: String(revision),
      },
      ownerReferences: [controllerReference(deployments, deployment)],
    },
    spec: {
      replicas: size,
      ...(deployment.spec.minReadySeconds === undefined ? {} : { minReadySeconds: deployment.spec.minReadySeconds }),
      selector: {
        ...deployment.spec.selector,
        matchLabels: { ...deployment.spec.selector.matchLabels, [hashLabel]: hash },
      },
      template: { ...template, metadata: { ...template.metadata, labels } },
    },
  };
  try {
    const made = cluster.objects.create(replicaSets, set);
    if (size > 0) {
      const message = `Scaled up replica set ${set.metadata.name} from 0 to ${size}`;
      events.record(deployment, "Normal", "ScalingReplicaSet", message);
    }
    noteRevision(cluster, deployment, made);
    return made;
  } catch (error) {
    if (!(error instanceof StatusError) || error.reason !== "AlreadyExists") {
      events.record(
        deployment,
        "Warning",
        "ReplicaSetCreateError",
        `Failed to create new replica set "${set.metadata.name}": ${String(error)}`,
      );
      throw error;
    }
    return resolveCollision(cluster, deployment, set, collisions);
  }
}

/** The name is taken: by our own set of this very template (it will be found next time), or by another one (then a new name is tried). */
function resolveCollision(cluster: Cluster, deployment: Deployment, set: ReplicaSet, collisions: number): undefined {
  const { objects } = cluster;
  objects.refresh(replicaSets, set.metadata.namespace, set.metadata.name);
  const there = objects.get(replicaSets, set.metadata.namespace, set.metadata.name);
  const isOurs = there !== undefined && controllerOf(there)?.uid === deployment.metadata.uid;
  if (isOurs && findNewReplicaSet(deployment, [there]) !== undefined) return undefined;
  const current = objects.get(deployments, deployment.metadata.namespace, deployment.metadata.name) ?? deployment;
  objects.updateStatus(deployments, { ...current, status: { ...current.status, collisionCount: collisions + 1 } });
  return undefined;
}

/** The Deployment itself carries the revision it is at. */
function noteRevision({ objects }: Cluster, deployment: Deployment, current: ReplicaSet): void {
  const revision = current.metadata.annotations?.[revisionKey];
  const latest = objects.get(deployments, deployment.metadata.namespace, deployment.metadata.name);
  if (revision === undefined || latest === undefined || latest.metadata.annotations?.[revisionKey] === revision) return;
  objects.update(deployments, {
    ...latest,
    metadata: { ...latest.metadata, annotations: { ...latest.metadata.annotations, [revisionKey]: revision } },
  });
}

/** 64 bits, as upstream's; 0 where there is none, or no number. */
export function revisionOf(set: ReplicaSet): bigint {
  const text = set.metadata.annotations?.[revisionKey] ?? "";
  return /^\d{1,19}$/.test(text) ? BigInt(text) : 0n;
}

/** Annotations copied from the Deployment, and a revision above all others; a set that comes back remembers its earlier numbers. */
function withRevision(deployment: Deployment, set: ReplicaSet, revision: bigint): ReplicaSet {
  const before = set.metadata.annotations ?? {};
  const own = revisionOf(set);
  const history = before[historyKey];
  const numbered: Labels =
    own >= revision
      ? {}
      : {
          [revisionKey]: String(revision),
          ...(own === 0n ? {} : { [historyKey]: history === undefined ? String(own) : `${history},${own}` }),
        };
  const after = { ...before, ...copiedAnnotations(deployment), ...numbered };
  return sameJson(before, after) ? set : { ...set, metadata: { ...set.metadata, annotations: after } };
}

function withMinReady(deployment: Deployment, set: ReplicaSet): ReplicaSet {
  const minReadySeconds = deployment.spec.minReadySeconds ?? 0;
  return minReadySeconds === (set.spec.minReadySeconds ?? 0) ? set : { ...set, spec: { ...set.spec, minReadySeconds } };
}

function copiedAnnotations(deployment: Deployment): Labels {
  return Object.fromEntries(
    Object.entries(deployment.metadata.annotations ?? {}).filter(([key]) => !notCopied.has(key)),
  );
}

function replicaAnnotations(deployment: Deployment): Labels {
  const want = replicasOf(deployment);
  return { [desiredKey]: String(want), [maxKey]: String(want + surgeOf(deployment.spec.strategy, want)) };
}

/** The set with the annotations that say which size its size was a share of; the very set where they are right. */
export function withReplicaAnnotations(deployment: Deployment, set: ReplicaSet): ReplicaSet {
  const wanted = replicaAnnotations(deployment);
  const before = set.metadata.annotations ?? {};
  if (Object.entries(wanted).every(([key, value]) => before[key] === value)) return set;
  return { ...set, metadata: { ...set.metadata, annotations: { ...before, ...wanted } } };
}

/** Deletes empty old versions beyond spec.revisionHistoryLimit, lowest revision first. */
export function dropHistory({ objects }: Cluster, deployment: Deployment, old: readonly ReplicaSet[]): void {
  const kept = deployment.spec.revisionHistoryLimit ?? 10;
  const alive = old.filter((set) => set.metadata.deletionTimestamp === undefined);
  const surplus = [...alive].sort(byRevision).slice(0, Math.max(0, alive.length - kept));
  for (const set of surplus) {
    const isEmpty = replicasOf(set) === 0 && (set.status?.replicas ?? 0) === 0;
    const isSeen = (set.status?.observedGeneration ?? 0) >= (set.metadata.generation ?? 0);
    if (isEmpty && isSeen) objects.delete(replicaSets, set);
  }
}

function byRevision(a: ReplicaSet, b: ReplicaSet): number {
  const [first, second] = [revisionOf(a), revisionOf(b)];
  return first < second ? -1 : first > second ? 1 : 0;
}
