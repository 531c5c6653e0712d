// What a Deployment's status says: counts over its ReplicaSets, and the conditions Available, Progressing and ReplicaFailure.
// Upstream: pkg/controller/deployment/progress.go, sync.go calculateStatus, util/deployment_util.go.

import type { Condition, Deployment, DeploymentStatus, ReplicaSet } from "../../kube/kinds.ts";
import { timeMs, timeText } from "../../watch/clock.ts";
import { conditionOf, withoutCondition } from "./conditions.ts";
import { replicasOf } from "./deployment-revisions.ts";
import { maxUnavailableOf } from "./rolling-update.ts";

/** Upstream's "no deadline". */
const noDeadline = 0x7fff_ffff;

/** Counts, and the condition Available. */
export function plainStatus(
  deployment: Deployment,
  sets: readonly ReplicaSet[],
  current: ReplicaSet | undefined,
  nowMs: number,
): DeploymentStatus {
  const total = (count: (set: ReplicaSet) => number): number => sets.reduce((sum, set) => sum + count(set), 0);
  const replicas = total((set) => set.status?.replicas ?? 0);
  const available = total((set) => set.status?.availableReplicas ?? 0);
  const want = replicasOf(deployment);
  const enough = available >= want - maxUnavailableOf(deployment.spec.strategy, want);
  const conditions = withDeploymentCondition(
    withPause(deployment, deployment.status?.conditions ?? [], nowMs),
    enough
      ? condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
      : condition("Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
    nowMs,
  );
  return {
    observedGeneration: deployment.metadata.generation ?? 0,
    replicas,
    updatedReplicas: current?.status?.replicas ?? 0,
    readyReplicas: total((set) => set.status?.readyReplicas ?? 0),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, total(replicasOf) - available),
    terminatingReplicas: total((set) => set.status?.terminatingReplicas ?? 0),
    ...(deployment.status?.collisionCount === undefined ? {} : { collisionCount: deployment.status.collisionCount }),
    conditions,
  };
}

/** `plainStatus` with the rollout's own conditions: is it complete, does it move, has it been stuck for too long? */
export function rolloutStatus(
  deployment: Deployment,
  sets: readonly ReplicaSet[],
  current: ReplicaSet | undefined,
  nowMs: number,
): DeploymentStatus {
  const status = plainStatus(deployment, sets, current, nowMs);
  const failure = replicaFailure(sets, current);
  const progressed = withProgress(deployment, status, current, nowMs);
  return {
    ...status,
    conditions:
      failure === undefined
        ? withoutCondition(progressed, "ReplicaFailure")
        : withDeploymentCondition(progressed, failure, nowMs),
  };
}

function withProgress(
  deployment: Deployment,
  status: DeploymentStatus,
  current: ReplicaSet | undefined,
  nowMs: number,
): readonly Condition[] {
  const conditions = status.conditions ?? [];
  if (!hasDeadline(deployment)) return withoutCondition(conditions, "Progressing");
  const before = conditionOf(conditions, "Progressing");
  const wasComplete = status.replicas === status.updatedReplicas && before?.reason === "NewReplicaSetAvailable";
  if (wasComplete) return conditions;
  const what =
    current === undefined ? `Deployment "${deployment.metadata.name}"` : `ReplicaSet "${current.metadata.name}"`;
  const set = (next: Condition): readonly Condition[] => withDeploymentCondition(conditions, next, nowMs);
  if (isComplete(deployment, status)) {
    return set(condition("Progressing", "True", "NewReplicaSetAvailable", `${what} has successfully progressed.`));
  }
  if (before === undefined || hasProgressed(deployment.status, status)) {
    const next = condition("Progressing", "True", "ReplicaSetUpdated", `${what} is progressing.`);
    // Progress restarts the deadline, so the condition is written anew even where it says the same.
    return set({ ...next, lastUpdateTime: timeText(nowMs) });
  }
  if (isTimedOut(deployment, before, nowMs)) {
    return set(condition("Progressing", "False", "ProgressDeadlineExceeded", `${what} has timed out progressing.`));
  }
  return conditions;
}

/** All pods are of the new version, and available (DeploymentComplete). */
export function isComplete(deployment: Deployment, status: DeploymentStatus): boolean {
  const want = replicasOf(deployment);
  return (
    status.updatedReplicas === want &&
    status.replicas === want &&
    status.availableReplicas === want &&
    (status.observedGeneration ?? 0) >= (deployment.metadata.generation ?? 0)
  );
}

function hasProgressed(before: DeploymentStatus | undefined, after: DeploymentStatus): boolean {
  const old = (status: DeploymentStatus | undefined): number =>
    (status?.replicas ?? 0) - (status?.updatedReplicas ?? 0);
  return (
    (after.updatedReplicas ?? 0) > (before?.updatedReplicas ?? 0) ||
    old(after) < old(before) ||
    (after.readyReplicas ?? 0) > (before?.readyReplicas ?? 0) ||
    (after.availableReplicas ?? 0) > (before?.availableReplicas ?? 0)
  );
}

function hasDeadline(deployment: Deployment): boolean {
  return (deployment.spec.progressDeadlineSeconds ?? 600) !== noDeadline;
}

function isTimedOut(deployment: Deployment, progressing: Condition, nowMs: number): boolean {
  if (progressing.reason === "NewReplicaSetAvailable") return false;
  if (progressing.reason === "ProgressDeadlineExceeded") return true;
  return deadlineMs(deployment, progressing) <= nowMs;
}

function deadlineMs(deployment: Deployment, progressing: Condition): number {
  const from = timeMs(progressing.lastUpdateTime ?? progressing.lastTransitionTime) ?? 0;
  return from + (deployment.spec.progressDeadlineSeconds ?? 600) * 1000;
}

/** How long until the rollout counts as stuck unless something happens; undefined where that cannot be (requeueStuckDeployment). */
export function stuckInMs(deployment: Deployment, nowMs: number): number | undefined {
  const progressing = conditionOf(deployment.status?.conditions, "Progressing");
  if (progressing === undefined || !hasDeadline(deployment) || deployment.spec.paused === true) return undefined;
  if (progressing.reason === "NewReplicaSetAvailable" || progressing.reason === "ProgressDeadlineExceeded")
    return undefined;
  if (deployment.status !== undefined && isComplete(deployment, deployment.status)) return undefined;
  return Math.max(1, deadlineMs(deployment, progressing) - nowMs);
}

/** A paused Deployment says so, and a resumed one that it was (checkPausedConditions). */
function withPause(deployment: Deployment, list: readonly Condition[], nowMs: number): readonly Condition[] {
  const before = conditionOf(list, "Progressing");
  if (!hasDeadline(deployment) || before?.reason === "ProgressDeadlineExceeded") return list;
  const wasPaused = before?.reason === "DeploymentPaused";
  const isPaused = deployment.spec.paused === true;
  if (isPaused === wasPaused) return list;
  const next = isPaused
    ? condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
    : condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed");
  return withDeploymentCondition(list, next, nowMs);
}

/** The ReplicaFailure of the new version, else of any old one. */
function replicaFailure(sets: readonly ReplicaSet[], current: ReplicaSet | undefined): Condition | undefined {
  const of = (set: ReplicaSet | undefined): Condition | undefined =>
    conditionOf(set?.status?.conditions, "ReplicaFailure");
  const found = of(current) ?? sets.map(of).find((each) => each !== undefined);
  return found && condition("ReplicaFailure", found.status, found.reason ?? "", found.message ?? "");
}

function condition(type: string, status: string, reason: string, message: string): Condition {
  return { type, status, reason, message };
}

/** Deployments' conditions also carry lastUpdateTime; status and reason decide whether anything changed (SetDeploymentCondition). */
function withDeploymentCondition(list: readonly Condition[], next: Condition, nowMs: number): readonly Condition[] {
  const before = conditionOf(list, next.type);
  const touched = next.lastUpdateTime !== undefined && next.lastUpdateTime !== before?.lastUpdateTime;
  if (before?.status === next.status && before.reason === next.reason && !touched) return list;
  const now = timeText(nowMs);
  const after: Condition = {
    ...next,
    lastUpdateTime: now,
    lastTransitionTime: before?.status === next.status ? (before.lastTransitionTime ?? now) : now,
  };
  return before === undefined ? [...list, after] : list.map((each) => (each === before ? after : each));
}
