// The versions of a kind: objects are stored in one of them and shown in the one that was asked for.
// For nearly all kinds only the apiVersion differs; the rest are rows below.

import { sameJson } from "../../kube/equal.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { Kind } from "../api/kinds.ts";
import { checkedNesting } from "./nesting.ts";

type Fields = { readonly [field: string]: unknown };

type Metadata = KubeObject["metadata"];

/** From all fields but apiVersion and kind to those of the other version. */
interface Conversion {
  readonly toStored: (fields: Fields) => Fields;
  readonly fromStored: (fields: Fields) => Fields;
}

/** A stored object in the version of a kind; the same object where it is that already. */
export function fromStored(object: KubeObject, kind: Kind): KubeObject {
  if (object.apiVersion === kind.apiVersion && object.kind === kind.kind) return object;
  const { apiVersion: _, kind: __, ...rest } = object;
  const fields = conversions[kind.apiVersion + kind.kind]?.fromStored(rest) ?? rest;
  return { apiVersion: kind.apiVersion, kind: kind.kind, ...fields } as KubeObject;
}

/** An object in the version it is stored in. */
export function toStored(object: KubeObject, kind: Kind): KubeObject {
  const { stored } = kind;
  if (object.apiVersion === stored.apiVersion && object.kind === stored.kind) return object;
  const { apiVersion: _, kind: __, ...rest } = object;
  const fields = conversions[kind.apiVersion + kind.kind]?.toStored(rest) ?? rest;
  return { apiVersion: stored.apiVersion, kind: stored.kind, ...fields } as KubeObject;
}

/** Renames fields one way and the other. */
function renaming(names: { readonly [shown: string]: string }): Conversion {
  const back = Object.fromEntries(Object.entries(names).map(([shown, stored]) => [stored, shown]));
  const renamed = (fields: Fields, by: { readonly [from: string]: string }): Fields =>
    Object.fromEntries(Object.entries(fields).map(([name, value]) => [by[name] ?? name, value]));
  return { toStored: (fields) => renamed(fields, names), fromStored: (fields) => renamed(fields, back) };
}

interface Metric {
  readonly type: string;
  readonly resource?: {
    readonly name: string;
    readonly target?: { readonly type: string; readonly averageUtilization?: number };
  };
}

// autoscaling/v1: one target of CPU utilisation; what it cannot say is kept from before.

function cpuTarget(metrics: readonly Metric[]): number | undefined {
  const cpu = metrics.find(({ type, resource }) => type === "Resource" && resource?.name === "cpu");
  return cpu?.resource?.target?.averageUtilization;
}

interface AutoscalerStatus extends Fields {
  readonly currentMetrics?: readonly CurrentMetric[];
  readonly conditions?: readonly unknown[];
}

interface CurrentMetric {
  readonly type: string;
  readonly resource?: {
    readonly name: string;
    readonly current?: { readonly averageUtilization?: number; readonly averageValue?: string };
  };
}

const metricsAnnotation = "autoscaling.alpha.kubernetes.io/current-metrics";
const conditionsAnnotation = "autoscaling.alpha.kubernetes.io/conditions";

/** What v1 says of a status (pkg/apis/autoscaling/v1/conversion.go); conditions are an annotation there. */
function statusV1(status: AutoscalerStatus): Fields {
  const { currentMetrics = [], conditions: _, ...others } = status;
  const cpu = currentMetrics.find(({ type, resource }) => type === "Resource" && resource?.name === "cpu");
  const current = cpu?.resource?.current?.averageUtilization;
  return { ...others, ...(current === undefined ? {} : { currentCPUUtilizationPercentage: current }) };
}

function statusV2(
  { currentCPUUtilizationPercentage: current, ...others }: Fields,
  conditions: readonly unknown[],
): Fields {
  const cpu = { type: "Resource", resource: { name: "cpu", current: { averageUtilization: current } } };
  return {
    ...others,
    ...(current === undefined ? {} : { currentMetrics: [cpu] }),
    ...(conditions.length === 0 ? {} : { conditions }),
  };
}

/** A list that an annotation holds; none where somebody wrote something else. */
function parsedList(text: string | undefined): readonly unknown[] {
  try {
    const value: unknown = checkedNesting(JSON.parse(text ?? "[]"));
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}

/** What v1 has no fields for stands in annotations there. */
function withAnnotationsOf(metadata: Metadata, { conditions = [], currentMetrics = [] }: AutoscalerStatus): Metadata {
  const { annotations = {}, ...rest } = metadata;
  const { [conditionsAnnotation]: _, [metricsAnnotation]: __, ...others } = annotations;
  const metrics = currentMetrics.flatMap(({ type, resource }) => {
    if (type !== "Resource" || resource === undefined) return [];
    const { averageUtilization, averageValue } = resource.current ?? {};
    const current = { currentAverageUtilization: averageUtilization, currentAverageValue: averageValue ?? "0" };
    return [{ type, resource: { name: resource.name, ...current } }];
  });
  const all = {
    ...others,
    ...(conditions.length === 0 ? {} : { [conditionsAnnotation]: JSON.stringify(conditions.map(inOrder)) }),
    ...(metrics.length === 0 ? {} : { [metricsAnnotation]: JSON.stringify(metrics) }),
  };
  return Object.keys(all).length === 0 ? rest : { ...rest, annotations: all };
}

/** As Go's encoder writes a condition. */
function inOrder(condition: unknown): unknown {
  const { type, status, lastTransitionTime, reason, message } = (condition ?? {}) as Fields;
  return { type, status, lastTransitionTime, reason, message };
}

const autoscalerV1: Conversion = {
  fromStored({ metadata, spec, status, ...rest }) {
    const { metrics = [], behavior: _, ...others } = (spec ?? {}) as Fields & { metrics?: readonly Metric[] };
    const target = cpuTarget(metrics);
    return {
      metadata: withAnnotationsOf(metadata as Metadata, (status ?? {}) as AutoscalerStatus),
      ...rest,
      spec: { ...others, ...(target === undefined ? {} : { targetCPUUtilizationPercentage: target }) },
      ...(status === undefined ? {} : { status: statusV1(status as AutoscalerStatus) }),
    };
  },
  toStored({ metadata = {}, spec, status, ...rest }) {
    const { targetCPUUtilizationPercentage: target, ...others } = (spec ?? {}) as Fields;
    const { annotations = {} } = metadata as Partial<Metadata>;
    const resource = { name: "cpu", target: { type: "Utilization", averageUtilization: target } };
    return {
      metadata: withAnnotationsOf(metadata as Metadata, {}),
      ...rest,
      spec: { ...others, ...(target === undefined ? {} : { metrics: [{ type: "Resource", resource }] }) },
      ...(status === undefined
        ? {}
        : { status: statusV2(status as Fields, parsedList(annotations[conditionsAnnotation])) }),
    };
  },
};

const conversions: { readonly [kind: string]: Conversion } = {
  "events.k8s.io/v1Event": renaming({
    regarding: "involvedObject",
    note: "message",
    reportingController: "reportingComponent",
    deprecatedSource: "source",
    deprecatedFirstTimestamp: "firstTimestamp",
    deprecatedLastTimestamp: "lastTimestamp",
    deprecatedCount: "count",
  }),
  "autoscaling/v1HorizontalPodAutoscaler": autoscalerV1,
};

/** What an update through a version that cannot say everything keeps from the object before. */
export function keptByConversion(next: KubeObject, previous: KubeObject, kind: Kind): KubeObject {
  if (kind.apiVersion !== "autoscaling/v1" || kind.kind !== "HorizontalPodAutoscaler") return next;
  const spec = next["spec"] as Fields;
  const before = previous["spec"] as Fields | undefined;
  const [target, targetBefore] = [spec, before ?? {}].map(({ metrics }) => cpuTarget((metrics ?? []) as Metric[]));
  const kept = {
    ...(before?.["behavior"] === undefined ? {} : { behavior: before["behavior"] }),
    ...(sameJson(target, targetBefore) && before?.["metrics"] !== undefined ? { metrics: before["metrics"] } : {}),
  };
  return { ...next, spec: { ...spec, ...kept } };
}
