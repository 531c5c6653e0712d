// Rules for Nodes, Namespaces, ConfigMaps, Secrets, budgets and Leases. Wording: upstream's pkg/apis/*/validation.

import { familyOf } from "../../ip/address.ts";
import { decodeBase64 } from "../base64.ts";
import { sameJson } from "../equal.ts";
import { cidr, configKey, labelValue, qualifiedName } from "../formats.ts";
import type { ConfigMap, Lease, Namespace, Node, PodDisruptionBudgetSpec, Secret, Taint } from "../kinds.ts";
import {
  at,
  child,
  duplicate,
  forbidden,
  invalid,
  notSupported,
  required,
  tooLong,
  type FieldProblem,
} from "../problem.ts";
import { parseQuantity } from "../quantity.ts";
import { formProblems, intOrPercent, type Rules, type UpdateRule } from "./rule.ts";

export const clusterRules: Rules = {
  "core.v1.Node": node,
  "core.v1.Namespace": namespace,
  "core.v1.ConfigMap": configMap,
  "core.v1.Secret": secret,
  "policy.v1.PodDisruptionBudgetSpec": budget,
  "coordination.v1.Lease": lease,
};

export const clusterUpdateRules: { readonly [type: string]: UpdateRule } = {
  "core.v1.Node": nodeUpdate,
  "core.v1.ConfigMap": (object: ConfigMap, previous: ConfigMap) =>
    immutableData(object, previous, ["data", "binaryData"]),
  "core.v1.Secret": secretUpdate,
};

function* node({ metadata, spec, status }: Node): Iterable<FieldProblem> {
  const podCidrs = spec?.podCIDRs ?? [];
  const problems = podCidrs.flatMap((prefix, index) => [...formProblems(prefix, cidr, at("spec.podCIDRs", index))]);
  yield* problems;
  const [first = "", second = ""] = podCidrs;
  const isDual = podCidrs.length === 2 && familyOf(first) !== familyOf(second);
  if (problems.length === 0 && podCidrs.length > 1 && !isDual)
    yield invalid("spec.podCIDRs", podCidrs, "may specify no more than one CIDR for each IP family");
  const seen = new Set<string>();
  for (const [index, each] of (spec?.taints ?? []).entries()) {
    const { key, effect }: Partial<Taint> = each;
    // Upstream's path.
    const path = at("metadata.taints", index);
    yield* taint(each, path);
    const text = `${key} ${effect}`;
    if (seen.has(text)) yield duplicate(path, { key, effect });
    seen.add(text);
  }
  yield* nodeAnnotations(metadata.annotations ?? {});
  // Of a new one: later it has a door of its own.
  if (metadata.resourceVersion === undefined) yield* nodeAmounts(status);
}

const effects: readonly string[] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];

/** Annotations that hold JSON. */
function* nodeAnnotations(annotations: { readonly [name: string]: string }): Iterable<FieldProblem> {
  const taints = "scheduler.alpha.kubernetes.io/taints";
  const avoid = "scheduler.alpha.kubernetes.io/preferAvoidPods";
  const isJson = (text: string): boolean => text === "" || jsonProblem(text) === undefined;
  if (!isJson(annotations[taints] ?? ""))
    yield invalid("metadata.annotations", taints, jsonProblem(annotations[taints] ?? "") ?? "");
  if (!isJson(annotations[avoid] ?? ""))
    yield invalid("metadata.annotations.AvoidPods", avoid, jsonProblem(annotations[avoid] ?? "") ?? "");
}

/** What is wrong with a text as JSON, roughly as Go says it. */
function jsonProblem(text: string): string | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch {
    const isCut = /^\s*[[{"]/.test(text);
    return isCut
      ? "unexpected end of JSON input"
      : `invalid character '${text.trim().slice(0, 1)}' looking for beginning of value`;
  }
}

type NodeStatus = Node["status"];

function* nodeAmounts(status: NodeStatus): Iterable<FieldProblem> {
  for (const field of ["capacity", "allocatable"] as const)
    for (const [name, quantity] of Object.entries(status?.[field] ?? {}))
      if ((parseQuantity(quantity) ?? 0) < 0)
        yield invalid(`status.${field}.${name}`, String(quantity), "must be greater than or equal to 0");
}

/** What is wrong with what is reported of a node. */
export function* nodeStatus({ status }: Node): Iterable<FieldProblem> {
  yield* nodeAmounts(status);
  const seen = new Set<string>();
  for (const [index, address] of (status?.addresses ?? []).entries()) {
    const text = JSON.stringify([address.type, address.address]);
    if (seen.has(text)) yield duplicate(at("status.addresses", index), address);
    seen.add(text);
  }
}

/** What is wrong with what is reported of a namespace: its phase follows its deletion. */
export function* namespaceStatus({ metadata, status }: Namespace): Iterable<FieldProblem> {
  const phase = status?.phase ?? "";
  const isGoing = metadata.deletionTimestamp !== undefined;
  if (!isGoing && phase !== "Active")
    yield invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty");
  if (isGoing && phase !== "Terminating")
    yield invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
}

/** Of a namespace: what holds it must be named in full. */
function* namespace({ spec }: Namespace): Iterable<FieldProblem> {
  for (const name of spec?.finalizers ?? []) {
    for (const problem of qualifiedName(name)) yield invalid("spec.finalizers", name, problem);
    if (!name.includes("/") && name !== "kubernetes")
      yield invalid("spec.finalizers", name, "name is neither a standard finalizer name nor is it fully qualified");
  }
}

function* taint(
  { key = "", value = "", effect = "" }: { key?: string; value?: string; effect?: string },
  path: string,
): Iterable<FieldProblem> {
  for (const problem of qualifiedName(key)) yield invalid(child(path, "key"), key, problem);
  yield* formProblems(value, labelValue, child(path, "value"));
  if (effect === "") yield required(child(path, "effect"));
  else if (!effects.includes(effect)) yield notSupported(child(path, "effect"), effect, effects);
}

function* nodeUpdate({ spec }: Node, { spec: before }: Node): Iterable<FieldProblem> {
  const then = before?.podCIDRs ?? [];
  if (then.length > 0 && !sameJson(spec?.podCIDRs ?? [], then))
    yield forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid');
  const provider = before?.providerID ?? "";
  if (provider !== "" && spec?.providerID !== provider)
    yield forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid');
}

// core.MaxSecretSize
const dataBytesMax = 1024 * 1024;

function* configMap({ data = {}, binaryData = {} }: ConfigMap): Iterable<FieldProblem> {
  for (const key of Object.keys(data)) {
    for (const problem of configKey(key)) yield invalid(at("data", key), key, problem);
    if (key in binaryData) yield invalid(at("data", key), key, "duplicate of key present in binaryData");
  }
  for (const key of Object.keys(binaryData))
    for (const problem of configKey(key)) yield invalid(at("binaryData", key), key, problem);
  if (sizeOf(data) + sizeOf(binaryData) > dataBytesMax) yield tooLong("", dataBytesMax);
}

/** What a Secret of a type must hold. */
const secretKeys: { readonly [type: string]: readonly string[] } = {
  "kubernetes.io/dockercfg": [".dockercfg"],
  "kubernetes.io/dockerconfigjson": [".dockerconfigjson"],
  "kubernetes.io/ssh-auth": ["ssh-privatekey"],
  "kubernetes.io/tls": ["tls.crt", "tls.key"],
};

function* secret({ metadata, data = {}, type = "" }: Secret): Iterable<FieldProblem> {
  for (const key of Object.keys(data))
    for (const problem of configKey(key)) yield invalid(at("data", key), key, problem);
  if (sizeOf(data) > dataBytesMax) yield tooLong("data", dataBytesMax);
  for (const key of secretKeys[type] ?? []) if (!(key in data)) yield required(at("data", key));
  const user = "kubernetes.io/basic-auth";
  if (type === user && !("username" in data) && !("password" in data)) {
    yield required(at("data", "username"));
    yield required(at("data", "password"));
  }
  const account = "kubernetes.io/service-account.name";
  if (type === "kubernetes.io/service-account-token" && (metadata.annotations?.[account] ?? "") === "")
    yield required(at("metadata.annotations", account));
  for (const key of jsonKeys[type] ?? []) {
    const problem = key in data ? jsonProblem(textOf(data[key])) : undefined;
    if (problem !== undefined) yield invalid(at("data", key), "<secret contents redacted>", problem);
  }
}

const jsonKeys: { readonly [type: string]: readonly string[] } = {
  "kubernetes.io/dockercfg": [".dockercfg"],
  "kubernetes.io/dockerconfigjson": [".dockerconfigjson"],
};

function textOf(base64: string | undefined): string {
  const bytes = decodeBase64(base64 ?? "");
  return bytes === undefined ? "" : new TextDecoder().decode(bytes);
}

function* secretUpdate(object: Secret, previous: Secret): Iterable<FieldProblem> {
  if (object.type !== previous.type) yield invalid("type", object.type, "field is immutable");
  yield* immutableData(object, previous, ["data"]);
}

function* immutableData<T extends { readonly immutable?: boolean }>(
  object: T,
  previous: T,
  fields: readonly (keyof T & string)[],
): Iterable<FieldProblem> {
  if (previous.immutable !== true) return;
  const reason = "field is immutable when `immutable` is set";
  if (object.immutable !== true) yield forbidden("immutable", reason);
  for (const field of fields) if (!sameJson(object[field], previous[field])) yield forbidden(field, reason);
}

function sizeOf(data: { readonly [key: string]: string }): number {
  return Object.entries(data).reduce((bytes, [key, value]) => bytes + key.length + value.length, 0);
}

function* budget(spec: PodDisruptionBudgetSpec, path: string): Iterable<FieldProblem> {
  if (spec.minAvailable !== undefined && spec.maxUnavailable !== undefined)
    yield invalid(path, spec, "minAvailable and maxUnavailable cannot be both set");
  for (const field of ["minAvailable", "maxUnavailable"] as const) yield* intOrPercent(spec[field], child(path, field));
}

function* lease({ spec }: Lease): Iterable<FieldProblem> {
  const seconds = spec?.leaseDurationSeconds;
  if (seconds !== undefined && seconds <= 0)
    yield invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0");
  const transitions = spec?.leaseTransitions;
  if (transitions !== undefined && transitions < 0)
    yield invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0");
}
