// The versions of a kind: objects are stored in one of them and shown in the one that was asked for.
// For nearly all kinds only the apiVersion differs; the rest are rows below.

import { sameJson } from "../../kube/equal.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { Kind } from "../api/kinds.ts";

type Fields = { readonly [field: string]: unknown };

interface Conversion {
  readonly toStored: (fields: Fields) => Fields;
  readonly fromStored: (fields: Fields) => Fields;
}

/** A stored object in the version of a kind; the same object where it is that already. */
export function fromStored(object: KubeObject, kind: Kind): KubeObject {
  if (object.apiVersion === kind.apiVersion && object.kind === kind.kind) return object;
  const { apiVersion: _, kind: __, metadata, ...rest } = object;
  const fields = conversions[kind.apiVersion + kind.kind]?.fromStored(rest) ?? rest;
  return { apiVersion: kind.apiVersion, kind: kind.kind, metadata, ...fields };
}

/** An object in the version it is stored in. */
export function toStored(object: KubeObject, kind: Kind): KubeObject {
  const { stored } = kind;
  if (object.apiVersion === stored.apiVersion && object.kind === stored.kind) return object;
  const { apiVersion: _, kind: __, metadata, ...rest } = object;
  const fields = conversions[kind.apiVersion + kind.kind]?.toStored(rest) ?? rest;
  return { apiVersion: stored.apiVersion, kind: stored.kind, metadata, ...fields };
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

const autoscalerV1: Conversion = {
  fromStored({ spec, ...rest }) {
    const { metrics = [], behavior: _, ...others } = (spec ?? {}) as Fields & { metrics?: readonly Metric[] };
    const target = cpuTarget(metrics);
    return {
      ...rest,
      spec: { ...others, ...(target === undefined ? {} : { targetCPUUtilizationPercentage: target }) },
    };
  },
  toStored({ spec, ...rest }) {
    const { targetCPUUtilizationPercentage: target, ...others } = (spec ?? {}) as Fields;
    if (target === undefined) return { ...rest, spec: others };
    const resource = { name: "cpu", target: { type: "Utilization", averageUtilization: target } };
    return { ...rest, spec: { ...others, metrics: [{ type: "Resource", resource }] } };
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
