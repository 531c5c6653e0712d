// Rules for the kinds that make pods. Wording: upstream's pkg/apis/apps/validation and pkg/apis/batch/validation.

import { sameJson } from "../equal.ts";
import type {
  ControllerRevision,
  CronJob,
  CronJobSpec,
  DaemonSet,
  DaemonSetSpec,
  Deployment,
  DeploymentSpec,
  Job,
  JobSpec,
  LabelSelector,
  PodTemplateSpec,
  ReplicaSet,
  ReplicaSetSpec,
  RollingUpdateDaemonSet,
  RollingUpdateDeployment,
  StatefulSet,
  StatefulSetSpec,
} from "../kinds.ts";
import { child, forbidden, invalid, notSupported, required, type FieldProblem } from "../problem.ts";
import { selects } from "../selector.ts";
import { jobPolicyProblems } from "./job-policies.ts";
import { negativeProblems, type Rules, type UpdateRule } from "./rule.ts";

export const workloadRules: Rules = {
  "apps.v1.Deployment": needsSpec,
  "apps.v1.DeploymentSpec": deploymentSpec,
  "apps.v1.RollingUpdateDeployment": rollingDeployment,
  "apps.v1.ReplicaSet": needsSpec,
  "apps.v1.ReplicaSetSpec": replicaSetSpec,
  "apps.v1.StatefulSet": needsSpec,
  "apps.v1.StatefulSetSpec": statefulSetSpec,
  "apps.v1.DaemonSet": needsSpec,
  "apps.v1.DaemonSetSpec": daemonSetSpec,
  "apps.v1.RollingUpdateDaemonSet": rollingDaemonSet,
  "batch.v1.Job": job,
  "batch.v1.JobSpec": jobSpec,
  "batch.v1.CronJob": cronJob,
  "batch.v1.CronJobSpec": cronJobSpec,
};

export const workloadUpdateRules: { readonly [type: string]: UpdateRule } = {
  "apps.v1.Deployment": sameSelector,
  "apps.v1.ReplicaSet": sameSelector,
  "apps.v1.DaemonSet": sameSelector,
  "apps.v1.StatefulSet": statefulSetUpdate,
  "apps.v1.ControllerRevision": function* (object: ControllerRevision, previous: ControllerRevision) {
    if (!sameJson(object.data, previous.data)) yield invalid("data", object.data, "field is immutable");
  },
  "batch.v1.Job": jobUpdate,
};

function* needsSpec({ spec }: { readonly spec?: unknown }): Iterable<FieldProblem> {
  if (spec === undefined) yield required("spec");
}

/** What a workload that keeps pods running must have: a selector that its template's labels match, and pods that are restarted. */
function* keeper(
  { selector, template }: { readonly selector?: LabelSelector; readonly template?: PodTemplateSpec },
  kind: "ReplicaSet" | "StatefulSet" | "DaemonSet",
  path: string,
): Iterable<FieldProblem> {
  // Deployments make ReplicaSets; upstream speaks of one for both.
  const selecting = kind === "ReplicaSet" ? "deployment" : kind.toLowerCase();
  if (selector !== undefined && isEmpty(selector))
    yield invalid(child(path, "selector"), selector, `empty selector is invalid for ${selecting}`);
  if (template === undefined) return;
  yield* templateMatches(selector, template, path);
  const { restartPolicy = "Always", activeDeadlineSeconds } = template.spec ?? {};
  if (restartPolicy !== "Always")
    yield notSupported(child(path, "template.spec.restartPolicy"), restartPolicy, ["Always"]);
  if (activeDeadlineSeconds !== undefined)
    yield forbidden(
      child(path, "template.spec.activeDeadlineSeconds"),
      `activeDeadlineSeconds in ${kind} is not Supported`,
    );
}

function isEmpty({ matchLabels = {}, matchExpressions = [] }: LabelSelector): boolean {
  return Object.keys(matchLabels).length === 0 && matchExpressions.length === 0;
}

function* templateMatches(
  selector: LabelSelector | undefined,
  template: PodTemplateSpec,
  path: string,
): Iterable<FieldProblem> {
  const labels = template.metadata?.labels;
  if (selector !== undefined && !isEmpty(selector) && !selects(selector, labels))
    yield invalid(child(path, "template.metadata.labels"), labels ?? {}, "`selector` does not match template `labels`");
}

function* deploymentSpec(spec: DeploymentSpec, path: string): Iterable<FieldProblem> {
  yield* keeper(spec, "ReplicaSet", path);
  yield* counts(spec, ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"], path);
  const { progressDeadlineSeconds, minReadySeconds = 0, strategy } = spec;
  if (progressDeadlineSeconds !== undefined && progressDeadlineSeconds <= minReadySeconds)
    yield invalid(
      child(path, "progressDeadlineSeconds"),
      progressDeadlineSeconds,
      "must be greater than minReadySeconds",
    );
  if (strategy?.type === "Recreate" && strategy.rollingUpdate !== undefined)
    yield forbidden(child(path, "strategy.rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'");
}

function* rollingDeployment(
  { maxUnavailable, maxSurge }: RollingUpdateDeployment,
  path: string,
): Iterable<FieldProblem> {
  yield* intOrPercent(maxUnavailable, child(path, "maxUnavailable"));
  yield* intOrPercent(maxSurge, child(path, "maxSurge"));
  if (isZero(maxUnavailable) && isZero(maxSurge))
    yield invalid(child(path, "maxUnavailable"), maxUnavailable, "may not be 0 when `maxSurge` is 0");
}

function* replicaSetSpec(spec: ReplicaSetSpec, path: string): Iterable<FieldProblem> {
  if (spec.template === undefined) yield required(child(path, "template"));
  yield* keeper(spec, "ReplicaSet", path);
  yield* counts(spec, ["replicas", "minReadySeconds"], path);
}

function* statefulSetSpec(spec: StatefulSetSpec, path: string): Iterable<FieldProblem> {
  yield* keeper(spec, "StatefulSet", path);
  yield* counts(spec, ["replicas", "minReadySeconds", "revisionHistoryLimit"], path);
  yield* negativeProblems(spec.ordinals?.start, child(path, "ordinals.start"));
  const { type, rollingUpdate } = spec.updateStrategy ?? {};
  if (type === "OnDelete" && rollingUpdate !== undefined)
    yield invalid(
      child(path, "updateStrategy.rollingUpdate"),
      rollingUpdate,
      "only allowed for updateStrategy 'RollingUpdate'",
    );
  yield* negativeProblems(rollingUpdate?.partition, child(path, "updateStrategy.rollingUpdate.partition"));
}

function* daemonSetSpec(spec: DaemonSetSpec, path: string): Iterable<FieldProblem> {
  yield* keeper(spec, "DaemonSet", path);
  yield* counts(spec, ["minReadySeconds", "revisionHistoryLimit"], path);
}

function* rollingDaemonSet({ maxUnavailable, maxSurge }: RollingUpdateDaemonSet, path: string): Iterable<FieldProblem> {
  yield* intOrPercent(maxUnavailable, child(path, "maxUnavailable"));
  yield* intOrPercent(maxSurge, child(path, "maxSurge"));
  if (!isZero(maxUnavailable) && !isZero(maxSurge))
    yield invalid(child(path, "maxSurge"), maxSurge, "may not be set when maxUnavailable is non-zero");
  if (isZero(maxUnavailable) && isZero(maxSurge))
    yield required(child(path, "maxUnavailable"), "cannot be 0 when maxSurge is 0");
}

/** A count, or a part of one such as `25%`. */
function* intOrPercent(value: number | string | undefined, path: string): Iterable<FieldProblem> {
  if (value === undefined) return;
  if (typeof value === "number") {
    yield* negativeProblems(value, path);
    return;
  }
  const percent = /^(\d+)%$/.exec(value);
  if (percent === null)
    yield invalid(
      path,
      value,
      "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
    );
  else if (Number(percent[1]) > 100) yield invalid(path, value, "must not be greater than 100%");
}

function isZero(value: number | string | undefined): boolean {
  return value === undefined || Number.parseInt(String(value), 10) === 0;
}

function* counts<T>(spec: T, fields: readonly (keyof T & string)[], path: string): Iterable<FieldProblem> {
  for (const field of fields) yield* negativeProblems(spec[field] as number | undefined, child(path, field));
}

function* sameSelector(
  object: Deployment | ReplicaSet | DaemonSet,
  previous: Deployment | ReplicaSet | DaemonSet,
): Iterable<FieldProblem> {
  if (!sameJson(object.spec.selector, previous.spec.selector))
    yield invalid("spec.selector", object.spec.selector, "field is immutable");
}

function* statefulSetUpdate({ spec }: StatefulSet, { spec: before }: StatefulSet): Iterable<FieldProblem> {
  const changeable = {
    replicas: undefined,
    ordinals: undefined,
    template: undefined,
    updateStrategy: undefined,
    revisionHistoryLimit: undefined,
    persistentVolumeClaimRetentionPolicy: undefined,
    minReadySeconds: undefined,
  };
  if (!sameJson({ ...spec, ...changeable }, { ...before, ...changeable }))
    yield forbidden(
      "spec",
      "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
    );
}

function* job({ spec }: Job): Iterable<FieldProblem> {
  if (spec === undefined) yield required("spec");
  // Otherwise the selector is made with the Job.
  else if (spec.manualSelector === true && spec.selector === undefined) yield required("spec.selector");
}

function* jobSpec(spec: JobSpec, path: string): Iterable<FieldProblem> {
  const { template, selector, completionMode, completions } = spec;
  yield* counts(
    spec,
    [
      "parallelism",
      "completions",
      "activeDeadlineSeconds",
      "backoffLimit",
      "ttlSecondsAfterFinished",
      "backoffLimitPerIndex",
    ],
    path,
  );
  if (completionMode === "Indexed" && completions === undefined)
    yield required(child(path, "completions"), "when completion mode is Indexed");
  if (completionMode !== "Indexed" && spec.backoffLimitPerIndex !== undefined)
    yield invalid(child(path, "backoffLimitPerIndex"), spec.backoffLimitPerIndex, "requires indexed completion mode");
  yield* jobPolicyProblems(spec, path);
  if (template === undefined) return;
  yield* templateMatches(selector, template, path);
  const restartPolicy = template.spec?.restartPolicy;
  const place = child(path, "template.spec.restartPolicy");
  if (restartPolicy === undefined || restartPolicy === "Always")
    yield required(place, 'valid values: "OnFailure", "Never"');
}

function* jobUpdate({ spec }: Job, { spec: before }: Job): Iterable<FieldProblem> {
  const kept = [
    "selector",
    "completionMode",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "managedBy",
    "successPolicy",
  ] as const;
  for (const field of kept)
    if (!sameJson(spec[field], before[field])) yield invalid(`spec.${field}`, spec[field], "field is immutable");
  if (!sameJson(spec.template, before.template) && before.suspend !== true)
    yield invalid("spec.template", spec.template, "field is immutable");
  const isScaled = spec.completionMode === "Indexed" && spec.completions === spec.parallelism;
  if (spec.completions !== before.completions && !isScaled)
    yield invalid("spec.completions", spec.completions, "field is immutable");
}

const cronNameLengthMax = 52;

function* cronJob({ metadata, spec }: CronJob): Iterable<FieldProblem> {
  if (spec === undefined) yield required("spec");
  // The time is appended to make the names of Jobs.
  if ((metadata.name ?? "").length > cronNameLengthMax)
    yield invalid("metadata.name", metadata.name, `must be no more than ${cronNameLengthMax} characters`);
}

function* cronJobSpec({ schedule, startingDeadlineSeconds }: CronJobSpec, path: string): Iterable<FieldProblem> {
  if (schedule === "") yield required(child(path, "schedule"));
  else if (!isSchedule(schedule))
    yield invalid(
      child(path, "schedule"),
      schedule,
      `expected exactly 5 fields, found ${schedule.trim().split(/\s+/).length}: [${schedule}]`,
    );
  yield* negativeProblems(startingDeadlineSeconds, child(path, "startingDeadlineSeconds"));
}

function isSchedule(text: string): boolean {
  if (/^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$/.test(text) || text.startsWith("@every ")) return true;
  return text.trim().split(/\s+/).length === 5;
}
