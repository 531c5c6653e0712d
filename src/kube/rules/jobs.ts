// Rules for Jobs and CronJobs. Wording: upstream's pkg/apis/batch/validation.

import { parseSchedule } from "../cron-schedule.ts";
import { sameJson } from "../equal.ts";
import { dnsLabel, domainPath } from "../formats.ts";
import type { CronJob, CronJobSpec, Job, JobSpec } from "../kinds.ts";
import type { Container } from "../pod.ts";
import { child, invalid, notSupported, required, type FieldProblem } from "../problem.ts";
import { selects } from "../selector.ts";
import { jobPolicyProblems } from "./job-policies.ts";
import type { Rules, UpdateRule } from "./rule.ts";
import { counts, needsSpec, templateMatches } from "./workloads.ts";

export const jobRules: Rules = {
  "batch.v1.Job": job,
  "batch.v1.JobSpec": jobSpec,
  "batch.v1.CronJob": cronJob,
  "batch.v1.CronJobSpec": cronJobSpec,
  "batch.v1.JobTemplateSpec": jobTemplate,
};

export const jobUpdateRules: { readonly [type: string]: UpdateRule } = { "batch.v1.Job": jobUpdate };

function* job({ metadata, spec }: Job): Iterable<FieldProblem> {
  yield* needsSpec({ spec });
  if (spec === undefined) return;
  if (spec.manualSelector === true || spec.selector !== undefined)
    yield* templateMatches(spec.selector, spec.template, "spec");
  if (spec.manualSelector === true) {
    if (spec.selector === undefined) yield required("spec.selector");
    return;
  }
  // Otherwise the selector is made with the Job, which is written before it has a uid.
  const { name, uid = "" } = metadata;
  const made = {
    "batch.kubernetes.io/controller-uid": uid,
    "batch.kubernetes.io/job-name": name,
    "controller-uid": uid,
    "job-name": name,
  };
  if (spec.selector !== undefined && !selects(spec.selector, made))
    yield invalid("spec.selector", spec.selector, "`selector` not auto-generated");
  if (metadata.name.length > 63)
    for (const problem of dnsLabel(metadata.name).slice(0, 1)) yield invalid("spec.template.labels", name, problem);
}

const numbers = [
  "parallelism",
  "completions",
  "activeDeadlineSeconds",
  "backoffLimit",
  "ttlSecondsAfterFinished",
  "backoffLimitPerIndex",
] as const;

function* jobSpec(spec: JobSpec, path: string): Iterable<FieldProblem> {
  const { template, completionMode, completions, backoffLimitPerIndex } = spec;
  yield* counts(spec, numbers, path);
  for (const [part, problem] of spec.managedBy === undefined ? [] : domainPath(spec.managedBy))
    yield invalid(child(path, "managedBy"), part, problem);
  if (completionMode === "Indexed") {
    if (completions === undefined) yield required(child(path, "completions"), "when completion mode is Indexed");
  } else if (backoffLimitPerIndex !== undefined)
    yield invalid(child(path, "backoffLimitPerIndex"), backoffLimitPerIndex, "requires indexed completion mode");
  yield* jobPolicyProblems(spec, path);
  if (template === undefined) return;
  const restartPolicy = template.spec?.restartPolicy;
  if (restartPolicy === undefined || restartPolicy === "Always")
    yield required(child(path, "template.spec.restartPolicy"), 'valid values: "OnFailure", "Never"');
}

function* jobUpdate(object: Job, previous: Job): Iterable<FieldProblem> {
  const [spec, before] = [object.spec, previous.spec];
  const fixed = [
    "selector",
    "completionMode",
    "backoffLimitPerIndex",
    "managedBy",
    "podFailurePolicy",
    "successPolicy",
  ];
  const [now, then] = [spec, before] as unknown as { readonly [field: string]: unknown }[];
  for (const field of fixed)
    if (!sameJson(now?.[field], then?.[field])) yield invalid(`spec.${field}`, now?.[field], "field is immutable");
  if (before.suspend === true) {
    const isFree = previous.status?.startTime === undefined;
    if (!sameJson(fixedTemplate(spec, isFree), fixedTemplate(before, isFree)))
      yield invalid("spec.template.spec", spec.template.spec, "field is immutable");
  } else if (!sameJson(spec.template, before.template))
    yield invalid("spec.template", spec.template, "field is immutable");
  const isScaled = spec.completionMode === "Indexed" && spec.completions === spec.parallelism;
  if (spec.completions !== before.completions && !isScaled)
    yield invalid("spec.completions", spec.completions, "field is immutable");
}

/** Of a Job that waits: what its pods ask for may change, and before its first start where they go. */
function fixedTemplate({ template }: JobSpec, isFree: boolean): unknown {
  const containers = (list: readonly Container[] | undefined): unknown =>
    list?.map((each) => ({ ...each, resources: undefined }));
  const { nodeAffinity: _, ...affinity } = template.spec.affinity ?? {};
  return {
    ...(isFree ? {} : { metadata: template.metadata }),
    ...template.spec,
    containers: containers(template.spec.containers),
    initContainers: containers(template.spec.initContainers),
    ...(isFree ? { nodeSelector: undefined, tolerations: undefined, schedulingGates: undefined, affinity } : {}),
  };
}

const cronNameLengthMax = 52;

function* cronJob({ metadata, spec }: CronJob): Iterable<FieldProblem> {
  yield* needsSpec({ spec });
  // The time is appended to make the names of Jobs.
  if ((metadata.name ?? "").length > cronNameLengthMax)
    yield invalid("metadata.name", metadata.name, `must be no more than ${cronNameLengthMax} characters`);
}

function* cronJobSpec(spec: CronJobSpec, path: string): Iterable<FieldProblem> {
  const { schedule, timeZone } = spec;
  yield* scheduleProblems(schedule, timeZone, child(path, "schedule"));
  yield* zone(timeZone, child(path, "timeZone"));
  yield* counts(spec, ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"], path);
}

function* scheduleProblems(
  schedule: string | undefined,
  timeZone: string | undefined,
  path: string,
): Iterable<FieldProblem> {
  if (schedule === undefined) return;
  if (schedule === "") {
    yield required(path);
    return;
  }
  if (/^(CRON_)?TZ=/.test(schedule)) {
    const detail =
      timeZone === undefined
        ? "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        : "cannot use both timeZone field and TZ or CRON_TZ in schedule";
    yield invalid(path, schedule, detail);
    return;
  }
  try {
    parseSchedule(schedule, "UTC");
  } catch (error) {
    yield invalid(path, schedule, error instanceof Error ? error.message : String(error));
  }
}

function* zone(name: string | undefined, path: string): Iterable<FieldProblem> {
  if (name === undefined) return;
  if (name === "") yield invalid(path, name, "timeZone must be nil or non-empty string");
  else if (name.toLowerCase() === "local")
    yield invalid(path, name, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
  else if (!isZone(name)) yield invalid(path, name, `unknown time zone ${name}`);
}

function isZone(name: string): boolean {
  // An offset is none, although the language takes it for one.
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}

function* jobTemplate({ spec }: { readonly spec?: Partial<JobSpec> }, path: string): Iterable<FieldProblem> {
  const { selector, manualSelector } = spec ?? {};
  if (selector !== undefined)
    yield invalid(child(path, "spec.selector"), selector, "`selector` will be auto-generated");
  if (manualSelector === true) yield notSupported(child(path, "spec.manualSelector"), true, ["nil", "false"]);
}
