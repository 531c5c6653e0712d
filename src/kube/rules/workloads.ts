// Rules for the kinds that make pods. Wording: upstream's pkg/apis/apps/validation and pkg/apis/batch/validation.

import { sameJson } from "../equal.ts";
import { dnsLabel, labelValue, qualifiedName } from "../formats.ts";
import type {
  ControllerRevision,
  DaemonSet,
  DaemonSetSpec,
  Deployment,
  DeploymentSpec,
  LabelSelector,
  PodTemplateSpec,
  ReplicaSet,
  ReplicaSetSpec,
  RollingUpdateDaemonSet,
  RollingUpdateDeployment,
  StatefulSet,
  StatefulSetSpec,
} from "../kinds.ts";
import { at, child, forbidden, invalid, notSupported, required, type FieldProblem } from "../problem.ts";
import { selects } from "../selector.ts";
import { intOrPercent, negativeProblems, type Rules, type UpdateRule } from "./rule.ts";

export const workloadRules: Rules = {
  "apps.v1.Deployment": needsSpec,
  "apps.v1.DeploymentSpec": deploymentSpec,
  "apps.v1.RollingUpdateDeployment": rollingDeployment,
  "apps.v1.ReplicaSet": needsSpec,
  "apps.v1.ReplicaSetSpec": replicaSetSpec,
  "apps.v1.StatefulSet": function* ({ metadata, spec }: StatefulSet) {
    // A label of its pods holds the name.
    for (const problem of metadata.name === "" ? [] : dnsLabel(metadata.name))
      yield invalid("metadata.name", metadata.name, problem);
    yield* needsSpec({ spec });
  },
  "apps.v1.StatefulSetSpec": statefulSetSpec,
  "apps.v1.DaemonSet": needsSpec,
  "apps.v1.DaemonSetSpec": daemonSetSpec,
  "apps.v1.RollingUpdateDaemonSet": rollingDaemonSet,
  "apps.v1.ControllerRevision": function* ({ data, revision = 0 }: Partial<ControllerRevision>) {
    if (data === undefined || data === null) yield required("data");
    yield* negativeProblems(revision, "revision");
  },
  "core.v1.ReplicationControllerSpec": controllerSpec,
  "core.v1.PodTemplate": function* ({ template }: { readonly template?: PodTemplateSpec }) {
    if (template === undefined) yield required("template.spec.containers");
  },
};

export const workloadUpdateRules: { readonly [type: string]: UpdateRule } = {
  "apps.v1.Deployment": sameSelector,
  "apps.v1.ReplicaSet": sameSelector,
  "apps.v1.DaemonSet": sameSelector,
  "apps.v1.StatefulSet": statefulSetUpdate,
  "apps.v1.ControllerRevision": function* (object: ControllerRevision, previous: ControllerRevision) {
    if (!sameJson(object.data, previous.data)) yield invalid("data", object.data, "field is immutable");
  },
};

/** A workload without specification is none. */
export function* needsSpec({ spec }: { readonly spec?: unknown }): Iterable<FieldProblem> {
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
  const { restartPolicy = "Always", activeDeadlineSeconds } = (template.spec ?? {}) as Partial<PodTemplateSpec["spec"]>;
  if (restartPolicy !== "Always")
    yield notSupported(child(path, "template.spec.restartPolicy"), restartPolicy, ["Always"]);
  if (activeDeadlineSeconds !== undefined)
    yield forbidden(
      child(path, "template.spec.activeDeadlineSeconds"),
      `activeDeadlineSeconds in ${kind} is not Supported`,
    );
}

/** Is it none at all? Its own rules say how. */
export function isMalformed({ matchLabels = {}, matchExpressions = [] }: LabelSelector): boolean {
  return (
    Object.entries(matchLabels).some(([key, value]) => qualifiedName(key).length + labelValue(value).length > 0) ||
    matchExpressions.some(({ key, operator }) => qualifiedName(key).length > 0 || !operators.has(operator))
  );
}

const operators = new Set(["In", "NotIn", "Exists", "DoesNotExist"]);

function isEmpty({ matchLabels = {}, matchExpressions = [] }: LabelSelector): boolean {
  return Object.keys(matchLabels).length === 0 && matchExpressions.length === 0;
}

/** No selector matches nothing, and an empty one everything. */
export function* templateMatches(
  selector: LabelSelector | undefined,
  template: PodTemplateSpec,
  path: string,
): Iterable<FieldProblem> {
  const labels = template.metadata?.labels;
  if (selector !== undefined && isEmpty(selector)) return;
  if (selector !== undefined && isMalformed(selector)) {
    yield invalid(child(path, "selector"), selector, "invalid label selector");
    return;
  }
  if (selector === undefined || !selects(selector, labels))
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
  if (strategy?.type !== undefined && !strategies.includes(strategy.type))
    yield notSupported(child(path, "strategy"), strategy.type, strategies);
  if (strategy?.type === "Recreate" && strategy.rollingUpdate !== undefined)
    yield forbidden(child(path, "strategy.rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'");
}

const strategies: readonly string[] = ["Recreate", "RollingUpdate"];
const updateStrategies: readonly string[] = ["OnDelete", "RollingUpdate"];

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

interface ControllerSpec {
  readonly replicas?: number;
  readonly minReadySeconds?: number;
  readonly selector?: { readonly [label: string]: string };
  readonly template?: PodTemplateSpec;
}

function* controllerSpec(spec: ControllerSpec, path: string): Iterable<FieldProblem> {
  const { selector = {}, template } = spec;
  yield* counts(spec, ["replicas", "minReadySeconds"], path);
  if (Object.keys(selector).length === 0) yield required(child(path, "selector"));
  if (template === undefined) {
    yield required(child(path, "template"));
    return;
  }
  yield* templateMatches({ matchLabels: selector }, template, path);
  const { restartPolicy = "Always" } = template.spec as Partial<PodTemplateSpec["spec"]>;
  if (restartPolicy !== "Always")
    yield notSupported(child(path, "template.spec.restartPolicy"), restartPolicy, ["Always"]);
}

function* statefulSetSpec(spec: StatefulSetSpec, path: string): Iterable<FieldProblem> {
  yield* keeper(spec, "StatefulSet", path);
  yield* counts(spec, ["replicas", "minReadySeconds"], path);
  const { podManagementPolicy: policy, serviceName = "" } = spec;
  if (policy !== undefined && policy !== "OrderedReady" && policy !== "Parallel")
    yield invalid(child(path, "podManagementPolicy"), policy, "must be 'OrderedReady' or 'Parallel'");
  for (const problem of serviceName === "" ? [] : dnsLabel(serviceName))
    yield invalid(child(path, "serviceName"), serviceName, problem);
  const { persistentVolumeClaimRetentionPolicy: retention = {}, volumeClaimTemplates = [] } = spec as {
    readonly persistentVolumeClaimRetentionPolicy?: { readonly [when: string]: string };
    readonly volumeClaimTemplates?: readonly { readonly metadata?: { readonly name?: string } }[];
  };
  // Claims become volumes of the pods.
  for (const [index, { metadata: { name = "" } = {} }] of volumeClaimTemplates.entries())
    for (const problem of name === "" ? [] : dnsLabel(name))
      yield invalid(`${at(child(path, "template.spec.volumes"), index)}.name`, name, problem);
  for (const [when, what] of Object.entries(retention))
    if (what !== "Retain" && what !== "Delete")
      yield notSupported(child(path, `persistentVolumeClaimRetentionPolicy.${when}`), what, ["Delete", "Retain"]);
  yield* negativeProblems(spec.ordinals?.start, child(path, "ordinals.start"));
  const { type, rollingUpdate } = spec.updateStrategy ?? {};
  if (type !== undefined && !updateStrategies.includes(type))
    yield invalid(child(path, "updateStrategy"), spec.updateStrategy, "must be 'RollingUpdate' or 'OnDelete'");
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
  const { type } = spec.updateStrategy ?? {};
  if (type !== undefined && !updateStrategies.includes(type))
    yield notSupported(child(path, "updateStrategy"), type, updateStrategies);
}

function* rollingDaemonSet({ maxUnavailable, maxSurge }: RollingUpdateDaemonSet, path: string): Iterable<FieldProblem> {
  yield* intOrPercent(maxUnavailable, child(path, "maxUnavailable"));
  yield* intOrPercent(maxSurge, child(path, "maxSurge"));
  if (!isZero(maxUnavailable) && !isZero(maxSurge))
    yield invalid(child(path, "maxSurge"), maxSurge, "may not be set when maxUnavailable is non-zero");
  if (isZero(maxUnavailable) && isZero(maxSurge))
    yield required(child(path, "maxUnavailable"), "cannot be 0 when maxSurge is 0");
}

function isZero(value: number | string | undefined): boolean {
  return value === undefined || Number.parseInt(String(value), 10) === 0;
}

/** Numbers that are not negative. */
export function* counts<T>(spec: T, fields: readonly (keyof T & string)[], path: string): Iterable<FieldProblem> {
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
