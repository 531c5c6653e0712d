// Scale: the number of replicas of anything that has one (autoscaling/v1 Scale), read and written in one shape.

import type { KubeObject } from "../../kube/object.ts";
import { formatSelector, requirementsOf } from "../../kube/selector.ts";
import type { LabelSelector } from "../../kube/pod.ts";
import { badRequest, conflict, invalidObject } from "../api/errors.ts";
import type { Kind } from "../api/kinds.ts";
import { readObjectBody, type Fields } from "./body.ts";
import { fromStored } from "./conversions.ts";
import { sendJson, type Exchange } from "./exchange.ts";
import { fieldsOf, valuesAt } from "./json-path.ts";
import { patchedFields, readPatch } from "./patch.ts";
import { applyMergePatch } from "./patch/json-patch.ts";
import { readObject } from "./read.ts";
import type { View } from "./represent.ts";
import { writingOf, type ResourceOptions } from "./resource-answer.ts";
import { methodNotAllowed } from "./status.ts";
import { asksDryRun } from "./options.ts";
import { storeReplacement, written } from "./write.ts";

const scaleKind = { apiVersion: "autoscaling/v1", kind: "Scale" };

interface ScalePaths {
  readonly replicas: string;
  readonly statusReplicas: string;
  readonly selector: string | undefined;
}

const builtinPaths: ScalePaths = {
  replicas: ".spec.replicas",
  statusReplicas: ".status.replicas",
  selector: ".spec.selector",
};

function pathsOf({ custom }: Kind): ScalePaths {
  const scale = custom?.subresources?.scale;
  if (scale === undefined) return builtinPaths;
  return {
    replicas: scale.specReplicasPath,
    statusReplicas: scale.statusReplicasPath,
    selector: scale.labelSelectorPath,
  };
}

/** Answers GET, PUT and PATCH of a scale. Throws StatusError. */
export async function scaleRequest(exchange: Exchange, view: View, options: ResourceOptions): Promise<void> {
  const { target } = exchange;
  const { kind } = view;
  const { api } = options;
  if (target.verb === "get") return sendJson(exchange, 200, scaleOf(readObject(api, kind, target), kind));
  const change = await readChange(exchange, view);
  const writing = writingOf(exchange, kind, options);
  const scaled = await written(writing, asksDryRun(exchange), () => {
    const previous = readObject(api, kind, target);
    const before = scaleOf(previous, kind);
    const replicas = replicasOf(change(before), before, kind);
    return storeReplacement(writing, withReplicas(fromStored(previous, kind), replicas, kind), previous);
  });
  await api.flushed();
  sendJson(exchange, 200, scaleOf(scaled, kind));
}

async function readChange(exchange: Exchange, view: View): Promise<(before: Fields) => Fields> {
  if (exchange.target.verb === "update") {
    const body = (await readObjectBody(exchange, scaleKind)) ?? {};
    for (const field of ["kind", "apiVersion"])
      if ((body[field] ?? "") === "")
        throw badRequest(`Object '${field}' is missing: say that it is a Scale of autoscaling/v1`);
    return () => body;
  }
  if (exchange.target.verb !== "patch") throw methodNotAllowed();
  const patch = await readPatch(exchange, view);
  return (before) =>
    patch.kind === "apply"
      ? (applyMergePatch(before, patch.configuration) as Fields)
      : patchedFields(before, patch, undefined);
}

function replicasOf(scale: Fields, before: Fields, kind: Kind): number {
  const metadata = (scale["metadata"] ?? {}) as { readonly name?: string; readonly resourceVersion?: string };
  const known = before["metadata"] as { readonly name: string; readonly resourceVersion: string };
  if ((metadata.resourceVersion ?? "") !== "" && metadata.resourceVersion !== known.resourceVersion)
    throw conflict({ group: kind.group, resource: kind.resource, name: known.name });
  const spec = (scale["spec"] ?? {}) as { readonly replicas?: unknown };
  const { replicas = 0 } = spec;
  if (typeof replicas !== "number" || !Number.isInteger(replicas))
    throw badRequest(`Scale in version "v1" cannot be handled as a Scale: spec.replicas must be an integer`);
  if (replicas < 0)
    throw invalidObject({ ...kind, group: "autoscaling", kind: "Scale" }, known.name, [
      {
        field: "spec.replicas",
        reason: "FieldValueInvalid",
        message: `Invalid value: ${replicas}: must be greater than or equal to 0`,
      },
    ]);
  return replicas;
}

function withReplicas(object: KubeObject, replicas: number, kind: Kind): KubeObject {
  const path = fieldsOf(pathsOf(kind).replicas) ?? ["spec", "replicas"];
  const { resourceVersion: _, ...metadata } = object.metadata;
  return { ...(withValue(object, path, replicas) as KubeObject), metadata };
}

function withValue(value: unknown, [name = "", ...rest]: readonly string[], to: unknown): unknown {
  const fields = typeof value === "object" && value !== null ? (value as Fields) : {};
  return { ...fields, [name]: rest.length === 0 ? to : withValue(fields[name], rest, to) };
}

function scaleOf(stored: KubeObject, kind: Kind): Fields {
  const object = fromStored(stored, kind);
  const paths = pathsOf(kind);
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const [replicas] = valuesAt(object, paths.replicas);
  const [statusReplicas] = valuesAt(object, paths.statusReplicas);
  const selector = paths.selector === undefined ? undefined : selectorText(valuesAt(object, paths.selector)[0]);
  return {
    ...scaleKind,
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: typeof replicas === "number" && replicas !== 0 ? { replicas } : {},
    status: {
      replicas: typeof statusReplicas === "number" ? statusReplicas : 0,
      ...(selector === undefined ? {} : { selector }),
    },
  };
}

/** A selector as text: custom resources have it so, others as an object; ReplicationControllers as a map. */
function selectorText(selector: unknown): string | undefined {
  if (typeof selector === "string") return selector;
  if (typeof selector !== "object" || selector === null) return undefined;
  const isMap = !("matchLabels" in selector) && !("matchExpressions" in selector);
  return formatSelector(
    requirementsOf(isMap ? ({ matchLabels: selector } as LabelSelector) : (selector as LabelSelector)),
  );
}
