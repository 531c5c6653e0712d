// CronJobs: Jobs at times. Upstream: pkg/controller/cronjob/cronjob_controllerv2.go.

import { sameJson } from "../../kube/equal.ts";
import type { CronJob, CronJobStatus, Job } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { StatusError } from "../api/store.ts";
import { timeMs, timeText } from "../../watch/clock.ts";
import { parseSchedule, type CronSchedule } from "../../kube/cron-schedule.ts";
import type { EventRecorder } from "./events.ts";
import { controllerOf, controllerReference } from "./pod-state.ts";
import { isNamespaceTerminating, messageOf } from "./errors.ts";
import { cronJobs, jobs } from "./resources.ts";
import { on, type Cluster, type Controller } from "./runtime.ts";

export function cronJobController(cluster: Cluster): Controller {
  const { objects } = cluster;
  const events = cluster.events("cronjob-controller");
  return {
    name: "cronjob-controller",
    watches: [
      on(cronJobs, ({ object }, enqueue) => object && enqueue(keyOf(object))),
      on(jobs, ({ object, previous }, enqueue) => {
        const job = object ?? previous;
        const owner = job && controllerOf(job);
        if (owner?.kind === "CronJob") enqueue(`${job?.metadata.namespace}/${owner.name}`);
      }),
    ],
    reconcile(key, requeue) {
      const cronJob = objects.byKey(cronJobs, key);
      if (cronJob === undefined || cronJob.metadata.deletionTimestamp !== undefined) return;
      const own = objects.controlledBy(jobs, cronJob.metadata.uid ?? "");
      dropOldJobs({ cluster, events, cronJob, own });
      run({ cluster, events, cronJob, own }, requeue);
    },
  };
}

interface Work {
  readonly cluster: Cluster;
  readonly events: EventRecorder;
  readonly cronJob: CronJob;
  readonly own: readonly Job[];
}

function isOver(job: Job, type?: "Complete" | "Failed"): boolean {
  return (
    job.status?.conditions?.some(
      (condition) =>
        condition.status === "True" &&
        (type === undefined ? condition.type === "Complete" || condition.type === "Failed" : condition.type === type),
    ) === true
  );
}

function run(work: Work, requeue: (afterMs: number) => void): void {
  const { cluster, events, cronJob, own } = work;
  const active = own.filter((job) => !isOver(job));
  const scheduled = writeStatus(work, active);
  if (scheduled.spec.suspend === true) return;
  let schedule: CronSchedule;
  try {
    schedule = parseSchedule(scheduled.spec.schedule, scheduled.spec.timeZone ?? "UTC");
  } catch (error) {
    const message = `unparseable schedule: ${JSON.stringify(scheduled.spec.schedule)} : ${messageOf(error)}`;
    events.record(cronJob, "Warning", "UnparseableSchedule", message);
    return;
  }
  const now = cluster.clock.now();
  const due = lastDue(scheduled, schedule, now);
  const next = schedule.next(now);
  if (next !== undefined) requeue(next - now);
  if (due === undefined) return;
  const deadline = scheduled.spec.startingDeadlineSeconds;
  if (deadline !== undefined && due + deadline * 1000 < now) {
    const message = `Missed scheduled time to start a job: ${timeText(due)}`;
    return events.record(cronJob, "Warning", "MissSchedule", message);
  }
  if (scheduled.spec.concurrencyPolicy === "Forbid" && active.length > 0) {
    const message = "Not starting job because prior execution is running and concurrency policy is Forbid";
    return events.record(cronJob, "Normal", "JobAlreadyActive", message);
  }
  if (scheduled.spec.concurrencyPolicy === "Replace") {
    for (const job of active) {
      cluster.objects.delete(jobs, job, { propagation: "Background" });
      events.record(cronJob, "Normal", "SuccessfulDelete", `Deleted job ${job.metadata.name}`);
    }
  }
  startJob(work, scheduled, due);
}

/** The latest time that is due and was not started yet. */
function lastDue(cronJob: CronJob, schedule: CronSchedule, nowMs: number): number | undefined {
  const from = timeMs(cronJob.status?.lastScheduleTime) ?? timeMs(cronJob.metadata.creationTimestamp) ?? nowMs;
  const { startingDeadlineSeconds: deadline } = cronJob.spec;
  let due: number | undefined;
  const earliest = deadline === undefined ? from : Math.max(from, nowMs - deadline * 1000);
  // Of very many missed times only the last hundred matter; a schedule is not walked through minute by minute for years.
  for (let at = schedule.next(earliest), steps = 0; at !== undefined && at <= nowMs; at = schedule.next(at), steps++) {
    due = at;
    if (steps === 100) at = Math.max(at, nowMs - 86_400_000);
  }
  return due;
}

function startJob({ cluster, events, cronJob }: Work, scheduled: CronJob, dueMs: number): void {
  const { objects } = cluster;
  const { jobTemplate } = scheduled.spec;
  // getJobName: the minute since 1970, so that the same time is never started twice.
  const name = `${cronJob.metadata.name.slice(0, 52)}-${Math.floor(dueMs / 60_000)}`;
  const { namespace } = cronJob.metadata;
  const job = {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(jobTemplate.metadata?.labels === undefined ? {} : { labels: jobTemplate.metadata.labels }),
      annotations: {
        ...jobTemplate.metadata?.annotations,
        "batch.kubernetes.io/cronjob-scheduled-timestamp": timeText(dueMs),
      },
      ownerReferences: [controllerReference(cronJobs, cronJob)],
    },
    spec: jobTemplate.spec,
  } as Job;
  try {
    objects.create(jobs, job);
    events.record(cronJob, "Normal", "SuccessfulCreate", `Created job ${name}`);
  } catch (error) {
    const isThere = error instanceof StatusError && error.reason === "AlreadyExists";
    if (isNamespaceTerminating(error)) return;
    if (!isThere) {
      events.record(cronJob, "Warning", "FailedCreate", `Error creating job: ${messageOf(error)}`);
      throw error;
    }
  }
  const latest = objects.get(cronJobs, namespace, cronJob.metadata.name);
  if (latest === undefined) return;
  const own = objects.controlledBy(jobs, cronJob.metadata.uid ?? "");
  const active = own.filter((each) => !isOver(each));
  const status = { ...latest.status, ...activeList(active), lastScheduleTime: timeText(dueMs) };
  objects.updateStatus(cronJobs, { ...latest, status });
}

function activeList(active: readonly Job[]): Pick<CronJobStatus, "active"> {
  if (active.length === 0) return {};
  // References go without resourceVersion here: a Job's progress is not the CronJob's.
  return {
    active: active.map(({ apiVersion, kind, metadata: { namespace = "", name, uid = "" } }) => ({
      apiVersion,
      kind,
      namespace,
      name,
      uid,
    })),
  };
}

function writeStatus(work: Work, active: readonly Job[]): CronJob {
  const { cluster, cronJob, own } = work;
  const { active: _active, ...before } = cronJob.status ?? {};
  const ends = own.filter((job) => isOver(job, "Complete")).flatMap(({ status }) => status?.completionTime ?? []);
  const last = [...ends, ...(before.lastSuccessfulTime === undefined ? [] : [before.lastSuccessfulTime])]
    .sort((a, b) => (a < b ? -1 : 1))
    .at(-1);
  const status: CronJobStatus = {
    ...before,
    ...activeList(active),
    ...(last === undefined ? {} : { lastSuccessfulTime: last }),
  };
  if (sameJson(status, cronJob.status ?? {})) return cronJob;
  const written = cluster.objects.updateStatus(cronJobs, { ...cronJob, status });
  tellEnds(work);
  return written;
}

/** Says what became of Jobs that the status called active. */
function tellEnds({ events, cronJob, own }: Work): void {
  for (const { uid, name } of cronJob.status?.active ?? []) {
    const job = own.find(({ metadata }) => metadata.uid === uid);
    if (job === undefined) events.record(cronJob, "Normal", "MissingJob", `Active job went missing: ${name}`);
    else if (isOver(job)) {
      const condition = isOver(job, "Complete") ? "Complete" : "Failed";
      events.record(cronJob, "Normal", "SawCompletedJob", `Saw completed job: ${name}, condition: ${condition}`);
    }
  }
}

/** successfulJobsHistoryLimit and failedJobsHistoryLimit. */
function dropOldJobs({ cluster, events, cronJob, own }: Work): void {
  const { successfulJobsHistoryLimit = 3, failedJobsHistoryLimit = 1 } = cronJob.spec;
  const drop = (type: "Complete" | "Failed", limit: number): void => {
    const over = own
      .filter((job) => isOver(job, type) && job.metadata.deletionTimestamp === undefined)
      .sort((a, b) => ((a.status?.startTime ?? "") < (b.status?.startTime ?? "") ? -1 : 1));
    for (const job of over.slice(0, Math.max(0, over.length - limit))) {
      cluster.objects.delete(jobs, job, { propagation: "Background" });
      events.record(cronJob, "Normal", "SuccessfulDelete", `Deleted job ${job.metadata.name}`);
    }
  };
  drop("Complete", successfulJobsHistoryLimit);
  drop("Failed", failedJobsHistoryLimit);
}
