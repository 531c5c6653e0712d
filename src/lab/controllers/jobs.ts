// Jobs: pods until enough of them have succeeded. Every pod carries a finalizer until it is counted, so none is counted twice or missed.
// Upstream: pkg/controller/job/job_controller.go, pkg/controller/ttlafterfinished.
//
// Not here: what policies of failure and success say of pods (job-policies.ts).

import { sameJson } from "../../kube/equal.ts";
import type { Condition, Job, JobStatus, Pod } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { selects } from "../../kube/selector.ts";
import { timeMs, timeText } from "../../watch/clock.ts";
import { conditionOf, withCondition } from "./conditions.ts";
import type { EventRecorder } from "./events.ts";
import { formatIndexes, indexOf, parseIndexes } from "./job-indexes.ts";
import { jobPod, trackingFinalizer } from "./job-pods.ts";
import {
  endsIndex,
  failureMarks,
  failuresBefore,
  isFailure,
  lastFailures,
  meaningOf,
  successOf,
} from "./job-policies.ts";
import type { Change } from "./objects.ts";
import { claim } from "./ownership.ts";
import { controllerOf, isFinished, isReady, isTerminating } from "./pod-state.ts";
import { isNamespaceTerminating, messageOf } from "./errors.ts";
import { jobs, pods } from "./resources.ts";
import { on, type Cluster, type Controller, type Enqueue } from "./runtime.ts";

/** DefaultJobPodFailureBackOff and MaxJobPodFailureBackOff. */
const failureBackoff = { firstMs: 10_000, lastMs: 600_000 };

type FullStatus = JobStatus & {
  readonly uncountedTerminatedPods?: { readonly succeeded?: readonly string[]; readonly failed?: readonly string[] };
};

export function jobController(cluster: Cluster): Controller {
  const { objects } = cluster;
  const events = cluster.events("job-controller");
  const podChanged = ({ object, previous }: Change<Pod>, enqueue: Enqueue): void => {
    for (const pod of [object, previous]) {
      const owner = pod && controllerOf(pod);
      if (owner?.kind === "Job") enqueue(`job|${pod?.metadata.namespace}/${owner.name}`);
    }
    if (object === undefined) return;
    // Of a Job that is gone: nobody will count it, so nothing may hold it.
    if (isTracked(object)) enqueue(`pod|${keyOf(object)}`);
    if (controllerOf(object) !== undefined) return;
    for (const job of objects.inNamespace(jobs, object.metadata.namespace ?? "")) {
      if (selects(job.spec.selector, object.metadata.labels)) enqueue(`job|${keyOf(job)}`);
    }
  };
  return {
    name: "job-controller",
    watches: [
      on(jobs, ({ object, previous }, enqueue) => {
        if (object !== undefined) return enqueue(`job|${keyOf(object)}`);
        for (const pod of objects.controlledBy(pods, previous?.metadata.uid ?? "")) enqueue(`pod|${keyOf(pod)}`);
      }),
      on(pods, podChanged),
    ],
    reconcile(key, requeue) {
      const [kind, name = ""] = key.split("|");
      if (kind === "pod") return releaseOrphan(cluster, name);
      const job = objects.byKey(jobs, name);
      if (job === undefined || job.metadata.deletionTimestamp !== undefined) return;
      if ((job.spec.managedBy ?? "kubernetes.io/job-controller") !== "kubernetes.io/job-controller") return;
      if (finishedCondition(job) !== undefined) return afterFinish(cluster, job, requeue);
      sync(cluster, events, job, requeue);
    },
  };
}

function isTracked(pod: Pod): boolean {
  return pod.metadata.finalizers?.includes(trackingFinalizer) === true;
}

function releaseOrphan({ objects }: Cluster, key: string): void {
  const pod = objects.byKey(pods, key);
  if (pod === undefined || !isTracked(pod)) return;
  const owner = controllerOf(pod);
  const job = owner && objects.get(jobs, pod.metadata.namespace, owner.name);
  if (job !== undefined && job.metadata.uid === owner?.uid && job.metadata.deletionTimestamp === undefined) return;
  untrack(objects, pod);
}

function untrack(objects: Cluster["objects"], pod: Pod): void {
  const finalizers = (pod.metadata.finalizers ?? []).filter((name) => name !== trackingFinalizer);
  objects.update(pods, { ...pod, metadata: { ...pod.metadata, finalizers } });
}

function finishedCondition(job: Job): Condition | undefined {
  return job.status?.conditions?.find(
    ({ type, status }) => (type === "Complete" || type === "Failed") && status === "True",
  );
}

/** ttlSecondsAfterFinished; and pods that ended late are let go. */
function afterFinish({ objects, clock }: Cluster, job: Job, requeue: (afterMs: number) => void): void {
  for (const pod of objects.controlledBy(pods, job.metadata.uid ?? "")) if (isTracked(pod)) untrack(objects, pod);
  const { ttlSecondsAfterFinished: ttl } = job.spec;
  const finished = timeMs(finishedCondition(job)?.lastTransitionTime);
  if (ttl === undefined || finished === undefined) return;
  const leftMs = finished + ttl * 1000 - clock.now();
  if (leftMs > 0) return requeue(leftMs);
  objects.delete(jobs, job, { propagation: "Foreground" });
}

interface Work {
  readonly cluster: Cluster;
  readonly events: EventRecorder;
  readonly job: Job;
  readonly status: FullStatus;
  readonly members: readonly Pod[];
}

function sync(cluster: Cluster, events: EventRecorder, job: Job, requeue: (afterMs: number) => void): void {
  const { objects } = cluster;
  const members = claim({
    objects,
    owner: job,
    ownerResource: jobs,
    selector: job.spec.selector ?? {},
    resource: pods,
    candidates: objects.podsLabelled(job.metadata.namespace ?? "", job.spec.selector?.matchLabels ?? {}),
  });
  const counted = count({ cluster, events, job, status: job.status ?? {}, members });
  const work = { ...counted, status: started(counted) };
  const verdict = verdictOf(work);
  let trouble: unknown;
  let status = work.status;
  // Nobody takes the place of the failed pods that are still held.
  if (verdict !== undefined) status = conclude(count(work, "all"), verdict);
  else {
    try {
      status = manage(work, requeue);
    } catch (error) {
      trouble = error;
    }
  }
  writeStatus(cluster, job, status);
  const deadlineMs = leftUntilDeadline(job, status, cluster.clock.now());
  if (deadlineMs !== undefined && deadlineMs > 0) requeue(deadlineMs);
  if (trouble !== undefined && !isNamespaceTerminating(trouble)) throw trouble;
}

function writeStatus({ objects }: Cluster, job: Job, status: FullStatus): Job {
  const latest = objects.get(jobs, job.metadata.namespace, job.metadata.name) ?? job;
  return sameJson(latest.status, status) ? latest : objects.updateStatus(jobs, { ...latest, status });
}

/**
 * trackJobStatusAndRemoveFinalizers: ended pods are first noted in status by uid, then let go, then added to the counts; a crash between
 * any two of these is made good by the next round.
 */
function count(work: Work, which: "all" | "replaced" = "replaced"): Work {
  const { cluster, job, members } = work;
  const { objects } = cluster;
  const uids = (list: readonly string[] | undefined): Set<string> => new Set(list);
  const noted = {
    succeeded: uids(work.status.uncountedTerminatedPods?.succeeded),
    failed: uids(work.status.uncountedTerminatedPods?.failed),
  };
  const isIndexed = job.spec.completionMode === "Indexed";
  const completed = new Set(parseIndexes(work.status.completedIndexes));
  const conditions = withFailureTarget(work);
  const failedIndexes = failedIndexesOf(job, work.status, members);
  const held =
    which === "all" || isEnding(conditions) ? new Set<Pod>() : heldForNext(job, members, completed, failedIndexes);
  const letGo: Pod[] = [];
  for (const pod of members) {
    const uid = pod.metadata.uid ?? "";
    if (!isTracked(pod)) continue;
    if (pod.status?.phase === "Succeeded") {
      const index = indexOf(pod);
      if (isIndexed && index !== undefined && index < (job.spec.completions ?? 0)) completed.add(index);
      else if (!isIndexed) noted.succeeded.add(uid);
      letGo.push(pod);
    } else if (isFailure(job, pod) && !held.has(pod)) {
      if (meaningOf(job, pod).action !== "Ignore") noted.failed.add(uid);
      letGo.push(pod);
    }
  }
  const withIndexes = isIndexed ? { completedIndexes: formatIndexes(completed), succeeded: completed.size } : {};
  let status: FullStatus = {
    ...work.status,
    ...withIndexes,
    ...(conditions === undefined ? {} : { conditions }),
    ...(failedIndexes === undefined ? {} : { failedIndexes: formatIndexes(failedIndexes) }),
  };
  if (letGo.length > 0) {
    const uncountedTerminatedPods = { succeeded: [...noted.succeeded], failed: [...noted.failed] };
    status = { ...status, uncountedTerminatedPods };
    writeStatus(cluster, job, status);
    for (const pod of letGo) untrack(objects, pod);
  }
  const { uncountedTerminatedPods: _noted, ...rest } = status;
  return {
    ...work,
    members: objects.controlledBy(pods, job.metadata.uid ?? ""),
    status: {
      ...rest,
      ...(isIndexed ? {} : plus("succeeded", rest.succeeded, noted.succeeded.size)),
      ...plus("failed", rest.failed, noted.failed.size),
    },
  };
}

/** A pod that fails the Job does so for good, whether it is still there later or not. */
function withFailureTarget({ cluster, job, status, members }: Work): readonly Condition[] | undefined {
  const { conditions } = status;
  if (job.spec.podFailurePolicy === undefined || isEnding(conditions)) return conditions;
  for (const pod of members) {
    const meaning = isFailure(job, pod) ? meaningOf(job, pod) : undefined;
    if (meaning?.action !== "FailJob") continue;
    const { message } = meaning;
    const target = { type: "FailureTarget", status: "True", reason: "PodFailurePolicy", message } as const;
    return withCondition(conditions, target, cluster.clock.now());
  }
  return conditions;
}

function isEnding(conditions: readonly Condition[] | undefined): boolean {
  return ["FailureTarget", "SuccessCriteriaMet"].some((type) => conditionOf(conditions, type)?.status === "True");
}

/** The indexes that are given up; undefined where the Job has no limit for each (calculateFailedIndexes). */
function failedIndexesOf(job: Job, status: JobStatus, members: readonly Pod[]): ReadonlySet<number> | undefined {
  if (job.spec.backoffLimitPerIndex === undefined) return undefined;
  const failed = new Set(parseIndexes(status.failedIndexes));
  for (const pod of members) {
    const index = indexOf(pod);
    if (index === undefined || index >= (job.spec.completions ?? 0) || !isTracked(pod)) continue;
    if (isFailure(job, pod) && endsIndex(job, pod)) failed.add(index);
  }
  return failed;
}

/** Failed pods whose successors have not been made yet, which are told by them how often the index has failed. */
function heldForNext(
  job: Job,
  members: readonly Pod[],
  completed: ReadonlySet<number>,
  failed: ReadonlySet<number> | undefined,
): ReadonlySet<Pod> {
  if (failed === undefined) return new Set();
  const going = members.filter((pod) => !isFinished(pod) && !isFailure(job, pod)).map(indexOf);
  const isDone = (index: number): boolean =>
    completed.has(index) || failed.has(index) || going.includes(index) || index >= (job.spec.completions ?? 0);
  return new Set([...lastFailures(job, members)].flatMap(([index, pod]) => (isDone(index) ? [] : [pod])));
}

function plus(field: "succeeded" | "failed", before: number | undefined, more: number): Partial<JobStatus> {
  const sum = (before ?? 0) + more;
  return sum === 0 ? {} : { [field]: sum };
}

/** startTime and the Suspended condition. */
function started({ cluster, events, job, status }: Work): FullStatus {
  const now = cluster.clock.now();
  const suspended = conditionOf(status.conditions, "Suspended");
  if (job.spec.suspend === true) {
    if (suspended?.status === "True") return status;
    events.record(job, "Normal", "Suspended", "Job suspended");
    const { startTime: _startTime, ...rest } = status;
    return {
      ...rest,
      conditions: withCondition(
        status.conditions,
        { type: "Suspended", status: "True", reason: "JobSuspended", message: "Job suspended" },
        now,
      ),
    };
  }
  if (suspended?.status === "True") {
    events.record(job, "Normal", "Resumed", "Job resumed");
    return {
      ...status,
      startTime: timeText(now),
      conditions: withCondition(
        status.conditions,
        { type: "Suspended", status: "False", reason: "JobResumed", message: "Job resumed" },
        now,
      ),
    };
  }
  return status.startTime === undefined ? { ...status, startTime: timeText(now) } : status;
}

interface Verdict {
  readonly type: "Complete" | "Failed";
  readonly reason: string;
  readonly message: string;
}

/** Is it over, and how? */
function verdictOf({ cluster, job, status, members }: Work): Verdict | undefined {
  const failing = conditionOf(status.conditions, "FailureTarget");
  if (failing?.status === "True") {
    return { type: "Failed", reason: failing.reason ?? "", message: failing.message ?? "" };
  }
  const met = conditionOf(status.conditions, "SuccessCriteriaMet");
  if (met?.status === "True") return { type: "Complete", reason: met.reason ?? "", message: met.message ?? "" };
  const { completions, backoffLimit = 6 } = job.spec;
  const restarts = members
    .filter((pod) => job.spec.template.spec.restartPolicy === "OnFailure" && !isFinished(pod))
    .flatMap((pod) => [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])])
    .reduce((sum, { restartCount }) => sum + restartCount, 0);
  const held = members.filter(
    (pod) => isTracked(pod) && isFailure(job, pod) && meaningOf(job, pod).action !== "Ignore",
  );
  const failed = (status.failed ?? 0) + held.length;
  const isRestarting = restarts > 0 && (backoffLimit === 0 || restarts >= backoffLimit);
  if (failed > backoffLimit || isRestarting) {
    return { type: "Failed", reason: "BackoffLimitExceeded", message: "Job has reached the specified backoff limit" };
  }
  if ((leftUntilDeadline(job, status, cluster.clock.now()) ?? 1) <= 0) {
    return { type: "Failed", reason: "DeadlineExceeded", message: "Job was active longer than specified deadline" };
  }
  const failedIndexes = indexVerdict(job, status);
  if (failedIndexes !== undefined) return failedIndexes;
  const succeededBy = successOf(job, parseIndexes(status.completedIndexes));
  if (succeededBy !== undefined) return { type: "Complete", reason: "SuccessPolicy", message: succeededBy };
  const active = members.filter((pod) => !isFinished(pod) && !isTerminating(pod)).length;
  const succeeded = status.succeeded ?? 0;
  const isComplete = completions === undefined ? succeeded > 0 && active === 0 : succeeded >= completions;
  if (isComplete && job.spec.suspend !== true) {
    return { type: "Complete", reason: "CompletionsReached", message: "Reached expected number of succeeded pods" };
  }
  return undefined;
}

/** Too many indexes have failed, or all others have succeeded. */
function indexVerdict({ spec }: Job, status: JobStatus): Verdict | undefined {
  if (spec.backoffLimitPerIndex === undefined) return undefined;
  const failed = parseIndexes(status.failedIndexes).size;
  if (spec.maxFailedIndexes !== undefined && failed > spec.maxFailedIndexes) {
    const message = "Job has exceeded the specified maximal number of failed indexes";
    return { type: "Failed", reason: "MaxFailedIndexesExceeded", message };
  }
  const ended = failed + parseIndexes(status.completedIndexes).size;
  return failed > 0 && ended >= (spec.completions ?? 0)
    ? { type: "Failed", reason: "FailedIndexes", message: "Job has failed indexes" }
    : undefined;
}

function leftUntilDeadline(job: Job, status: JobStatus, nowMs: number): number | undefined {
  const { activeDeadlineSeconds: seconds, suspend } = job.spec;
  const start = timeMs(status.startTime);
  return seconds === undefined || start === undefined || suspend === true ? undefined : start + seconds * 1000 - nowMs;
}

/** Stops what still runs, and says that it is over once nothing does. */
function conclude(work: Work, verdict: Verdict): FullStatus {
  const { cluster, events, job } = work;
  const now = cluster.clock.now();
  const running = work.members.filter((pod) => !isFinished(pod));
  for (const pod of running) if (!isTerminating(pod)) deletePod(work, pod);
  const left = cluster.objects.controlledBy(pods, job.metadata.uid ?? "").filter((pod) => !isFinished(pod));
  const target = verdict.type === "Complete" ? "SuccessCriteriaMet" : "FailureTarget";
  const { reason, message } = verdict;
  const aimed = withCondition(work.status.conditions, { type: target, status: "True", reason, message }, now);
  const status = { ...withCounts(work, left), conditions: aimed };
  if (left.length > 0) return status;
  const isComplete = verdict.type === "Complete";
  if (isComplete) events.record(job, "Normal", "Completed", "Job completed");
  else events.record(job, "Warning", reason, message);
  return {
    ...status,
    ...(isComplete ? { completionTime: timeText(now) } : {}),
    conditions: withCondition(aimed, { type: verdict.type, status: "True", reason, message }, now),
  };
}

/** manageJob: as many active pods as parallelism and what is missing allow. */
function manage(work: Work, requeue: (afterMs: number) => void): FullStatus {
  const { cluster, job, status, members } = work;
  const active = members.filter((pod) => !isFinished(pod) && !isTerminating(pod));
  const terminating = members.filter((pod) => !isFinished(pod) && isTerminating(pod)).length;
  const { parallelism = 1, completions, suspend } = job.spec;
  const succeeded = status.succeeded ?? 0;
  const missing = completions === undefined ? (succeeded > 0 ? active.length : parallelism) : completions - succeeded;
  const wanted = suspend === true ? 0 : Math.min(parallelism, Math.max(0, missing));
  if (active.length > wanted) {
    const surplus = [...active]
      .sort((a, b) => Number(isReady(a)) - Number(isReady(b)))
      .slice(0, active.length - wanted);
    for (const pod of surplus) deletePod(work, pod);
  } else {
    const held = job.spec.podReplacementPolicy === "Failed" ? terminating : 0;
    const count = wanted - active.length - held;
    const isPerIndex = job.spec.backoffLimitPerIndex !== undefined;
    const waitMs = count > 0 && !isPerIndex ? backoffLeft(work) : 0;
    if (waitMs > 0) requeue(waitMs);
    else createPods(work, Math.min(count, 500), requeue);
  }
  return withCounts(work, cluster.objects.controlledBy(pods, job.metadata.uid ?? ""));
}

function withCounts({ job, status }: Work, members: readonly Pod[]): FullStatus {
  const active = members.filter((pod) => !isFinished(pod) && !isTerminating(pod));
  const { active: _active, ...rest } = status;
  return {
    ...rest,
    ...(active.length === 0 ? {} : { active: active.length }),
    ready: active.filter(isReady).length,
    terminating: members.filter((pod) => !isFinished(pod) && isTerminating(pod)).length,
    ...(job.spec.completionMode === "Indexed" ? { completedIndexes: status.completedIndexes ?? "" } : {}),
    uncountedTerminatedPods: {},
  };
}

function endMs(pod: Pod): number {
  const ends = (pod.status?.containerStatuses ?? []).map(({ state }) => timeMs(state?.terminated?.finishedAt) ?? 0);
  const last = Math.max(0, ...ends, timeMs(pod.metadata.deletionTimestamp) ?? 0);
  return last || (timeMs(pod.metadata.creationTimestamp) ?? 0);
}

/** Milliseconds until the next pod may come after the last of so many failures. */
function leftAfter(failures: number, lastMs: number, nowMs: number): number {
  const delay = Math.min(failureBackoff.firstMs * 2 ** (failures - 1), failureBackoff.lastMs);
  return Math.max(0, lastMs + delay - nowMs);
}

/** After failures new pods come later and later, until one succeeds. */
function backoffLeft({ cluster, job, members }: Work): number {
  const lastSuccess = Math.max(0, ...members.filter(({ status }) => status?.phase === "Succeeded").map(endMs));
  const failures = members.filter((pod) => isFailure(job, pod) && endMs(pod) > lastSuccess).map(endMs);
  if (failures.length === 0) return 0;
  return leftAfter(failures.length, Math.max(...failures), cluster.clock.now());
}

function createPods(work: Work, count: number, requeue: (afterMs: number) => void): void {
  const { cluster, events, job, members } = work;
  const isIndexed = job.spec.completionMode === "Indexed";
  const isPerIndex = job.spec.backoffLimitPerIndex !== undefined;
  const free = isIndexed ? freeIndexes(work) : [];
  const last = isPerIndex ? lastFailures(job, members) : new Map<number, Pod>();
  const waitsMs = new Map(
    [...last].map(([index, pod]) => [index, leftAfter(failuresBefore(pod) + 1, endMs(pod), cluster.clock.now())]),
  );
  const indexes = free.slice(0, count).filter((index) => (waitsMs.get(index) ?? 0) <= 0);
  const waitMs = Math.min(...free.flatMap((index) => waitsMs.get(index) || []));
  if (Number.isFinite(waitMs)) requeue(waitMs);
  for (let i = 0; i < count; i++) {
    const index = isIndexed ? indexes[i] : undefined;
    if (isIndexed && index === undefined) return;
    const marks = isPerIndex && index !== undefined ? failureMarks(job, last.get(index)) : {};
    const pod = jobPod(job, cluster.random, index, marks);
    try {
      cluster.objects.create(pods, pod);
      events.record(job, "Normal", "SuccessfulCreate", `Created pod: ${pod.metadata.name}`);
    } catch (error) {
      if (!isNamespaceTerminating(error)) {
        events.record(job, "Warning", "FailedCreate", `Error creating: ${messageOf(error)}`);
      }
      throw error;
    }
  }
}

/** Indexes that have neither ended nor a pod at work, lowest first. */
function freeIndexes({ job, status, members }: Work): readonly number[] {
  const ended = new Set([...parseIndexes(status.completedIndexes), ...parseIndexes(status.failedIndexes)]);
  const waitsForEnd = job.spec.podReplacementPolicy === "Failed";
  const busy = new Set(members.filter((pod) => !isFinished(pod) && (waitsForEnd || !isTerminating(pod))).map(indexOf));
  return Array.from({ length: job.spec.completions ?? 0 }, (_, index) => index).filter(
    (index) => !ended.has(index) && !busy.has(index),
  );
}

function deletePod({ cluster, events, job }: Work, pod: Pod): void {
  cluster.objects.delete(pods, pod);
  events.record(job, "Normal", "SuccessfulDelete", `Deleted pod: ${pod.metadata.name}`);
}
