// Rules for HorizontalPodAutoscalers. Wording: upstream's pkg/apis/autoscaling/validation.

import { pathSegment } from "../formats.ts";
import type { KubeObject } from "../object.ts";
import { at, child, forbidden, invalid, notSupported, required, type FieldProblem } from "../problem.ts";
import { parseQuantity } from "../quantity.ts";
import { negativeProblems, type Rules } from "./rule.ts";

export const scalingRules: Rules = {
  // The first version is stored as the second.
  "autoscaling.v2.HorizontalPodAutoscaler": autoscaler,
};

interface Target {
  readonly type?: string;
  readonly value?: string | number;
  readonly averageValue?: string | number;
  readonly averageUtilization?: number;
}

interface Source {
  readonly name?: string;
  readonly container?: string;
  readonly metric?: { readonly name?: string };
  readonly target?: Target;
  readonly describedObject?: Reference;
}

interface Metric {
  readonly type?: string;
  readonly [source: string]: unknown;
}

interface Reference {
  readonly kind?: string;
  readonly name?: string;
  readonly apiVersion?: string;
}

interface Scaling {
  readonly stabilizationWindowSeconds?: number;
  readonly selectPolicy?: string;
  readonly policies?: readonly {
    readonly type?: string;
    readonly value?: number;
    readonly periodSeconds?: number;
  }[];
}

interface Autoscaler extends KubeObject {
  readonly spec?: {
    readonly minReplicas?: number;
    readonly maxReplicas?: number;
    readonly scaleTargetRef?: Reference;
    readonly metrics?: readonly Metric[];
    readonly behavior?: { readonly scaleUp?: Scaling; readonly scaleDown?: Scaling };
  };
}

function* autoscaler({ spec = {} }: Autoscaler): Iterable<FieldProblem> {
  const { minReplicas = 1, maxReplicas = 0, scaleTargetRef = {}, metrics = [], behavior = {} } = spec;
  if (minReplicas < 1) yield invalid("spec.minReplicas", minReplicas, "must be greater than or equal to 1");
  if (maxReplicas === 0) yield required("spec.maxReplicas", "must be set and greater than 0");
  else if (maxReplicas < 0) yield invalid("spec.maxReplicas", maxReplicas, "must be greater than or equal to 1");
  if (maxReplicas < minReplicas)
    yield invalid("spec.maxReplicas", maxReplicas, "must be greater than or equal to `minReplicas`");
  yield* reference(scaleTargetRef, "spec.scaleTargetRef");
  for (const [index, metric] of metrics.entries()) yield* metricProblems(metric, at("spec.metrics", index));
  if (minReplicas === 0 && !metrics.some(({ type }) => type === "Object" || type === "External"))
    yield forbidden(
      "spec.metrics",
      "must specify at least one Object or External metric to support scaling to zero replicas",
    );
  for (const [field, rules] of Object.entries(behavior)) yield* scaling(rules, `spec.behavior.${field}`);
}

function* reference({ kind = "", name = "", apiVersion = "" }: Reference, path: string): Iterable<FieldProblem> {
  for (const [field, text] of Object.entries({ kind, name })) {
    if (text === "") yield required(child(path, field));
    for (const problem of pathSegment(text)) yield invalid(child(path, field), text, problem);
  }
  const parts = apiVersion.split("/").length;
  if (parts > 2) yield invalid(child(path, "apiVersion"), apiVersion, `unexpected GroupVersion string: ${apiVersion}`);
  else if (apiVersion === "" || (parts === 1 && apiVersion !== "v1"))
    yield invalid(child(path, "apiVersion"), apiVersion, "apiVersion must specify API group");
}

/** Where each type of metric says what it is. */
const fields: { readonly [type: string]: string } = {
  ContainerResource: "containerResource",
  External: "external",
  Object: "object",
  Pods: "pods",
  Resource: "resource",
};

function* metricProblems(metric: Metric, path: string): Iterable<FieldProblem> {
  const { type = "" } = metric;
  const own = fields[type];
  if (type === "") yield required(child(path, "type"), "must specify a metric source type");
  if (own === undefined) yield notSupported(child(path, "type"), type, Object.keys(fields));
  const present = ["object", "external", "pods", "resource", "containerResource"].filter(
    (field) => metric[field] !== undefined,
  );
  const [first] = present;
  if (first !== undefined) yield* source(metric[first] as Source, first, child(path, first));
  if (own !== undefined && metric[own] === undefined)
    yield required(child(path, own), "must populate information for the given metric source");
  if (present.length === 1) return;
  for (const field of present)
    if (field !== own) yield forbidden(child(path, field), "must populate the given metric source only");
}

function* source(given: Source, field: string, path: string): Iterable<FieldProblem> {
  const { name = "", metric, target = {} } = given;
  if (field === "resource" || field === "containerResource") {
    if (name === "") yield required(child(path, "name"), "must specify a resource name");
    if (field === "containerResource" && (given.container ?? "") === "")
      yield required(child(path, "container"), "must specify a container name");
  } else {
    const metricName = metric?.name ?? "";
    if (metricName === "") yield required(child(path, "metric.name"), "must specify a metric name");
    for (const problem of pathSegment(metricName)) yield invalid(child(path, "metric.name"), metricName, problem);
  }
  if (field === "object") yield* reference(given.describedObject ?? {}, child(path, "describedObject"));
  yield* targetProblems(target, child(path, "target"));
  yield* targetKind(target, field, child(path, "target"));
}

function* targetProblems(
  { type = "", value, averageValue, averageUtilization }: Target,
  path: string,
): Iterable<FieldProblem> {
  if (type === "") yield required(child(path, "type"), "must specify a metric target type");
  if (!["Utilization", "Value", "AverageValue"].includes(type))
    yield invalid(child(path, "type"), type, "must be either Utilization, Value, or AverageValue");
  for (const [field, quantity] of Object.entries({ value, averageValue }))
    if (quantity !== undefined && (parseQuantity(quantity) ?? 0) <= 0)
      yield invalid(child(path, field), String(quantity), "must be positive");
  if (averageUtilization !== undefined && averageUtilization < 1)
    yield invalid(child(path, "averageUtilization"), averageUtilization, "must be greater than 0");
}

/** Which amounts a source can be compared with. */
function* targetKind(
  { value, averageValue, averageUtilization }: Target,
  field: string,
  path: string,
): Iterable<FieldProblem> {
  const average = child(path, "averageValue");
  if (field === "pods") {
    if (averageValue === undefined) yield required(average, "must specify a positive target averageValue");
  } else if (field === "resource" || field === "containerResource") {
    if (averageUtilization === undefined && averageValue === undefined)
      yield required(child(path, "averageUtilization"), "must set either a target raw value or a target utilization");
    if (averageUtilization !== undefined && averageValue !== undefined)
      yield forbidden(average, "may not set both a target raw value and a target utilization");
  } else {
    if (value === undefined && averageValue === undefined)
      yield required(average, "must set either a target value or averageValue");
    if (value !== undefined && averageValue !== undefined)
      yield forbidden(child(path, "value"), "may not set both a target value and averageValue");
  }
}

const secondsMax = { stabilizationWindowSeconds: 3600, periodSeconds: 1800 } as const;
const selectPolicies: readonly string[] = ["Disabled", "Max", "Min"];
const policyTypes: readonly string[] = ["Percent", "Pods"];

function* scaling(
  { stabilizationWindowSeconds: window, selectPolicy, policies = [] }: Scaling,
  path: string,
): Iterable<FieldProblem> {
  const place = child(path, "stabilizationWindowSeconds");
  const most = secondsMax.stabilizationWindowSeconds;
  if (window !== undefined && window < 0) yield invalid(place, window, "must be greater than or equal to zero");
  if (window !== undefined && window > most) yield invalid(place, window, `must be less than or equal to ${most}`);
  if (selectPolicy !== undefined && !selectPolicies.includes(selectPolicy))
    yield notSupported(child(path, "selectPolicy"), selectPolicy, selectPolicies);
  if (policies.length === 0) yield required(child(path, "policies"), "must specify at least one Policy");
  for (const [index, { type = "", value = 0, periodSeconds = 0 }] of policies.entries()) {
    const one = at(child(path, "policies"), index);
    if (!policyTypes.includes(type)) yield notSupported(child(one, "type"), type, policyTypes);
    if (value <= 0) yield invalid(child(one, "value"), value, "must be greater than zero");
    if (periodSeconds <= 0) yield invalid(child(one, "periodSeconds"), periodSeconds, "must be greater than zero");
    if (periodSeconds > secondsMax.periodSeconds)
      yield invalid(
        child(one, "periodSeconds"),
        periodSeconds,
        `must be less than or equal to ${secondsMax.periodSeconds}`,
      );
  }
}

/** What is wrong with what is reported of an autoscaler. */
export function* autoscalerStatus({ status }: KubeObject): Iterable<FieldProblem> {
  const { currentReplicas, desiredReplicas } = (status ?? {}) as {
    readonly currentReplicas?: number;
    readonly desiredReplicas?: number;
  };
  yield* negativeProblems(currentReplicas, "status.currentReplicas");
  yield* negativeProblems(desiredReplicas, "status.desiredReplicas");
}
