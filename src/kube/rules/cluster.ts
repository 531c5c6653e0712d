// Rules for Nodes, Namespaces, ConfigMaps, Secrets, budgets and Leases. Wording: upstream's pkg/apis/*/validation.

import { familyOf } from "../../ip/address.ts";
import { sameJson } from "../equal.ts";
import { cidr, configKey, labelValue, qualifiedName } from "../formats.ts";
import type { ConfigMap, Lease, Node, PodDisruptionBudgetSpec, Secret, Taint } from "../kinds.ts";
import { at, child, duplicate, forbidden, invalid, required, tooLong, type FieldProblem } from "../problem.ts";
import { formProblems, type Rules, type UpdateRule } from "./rule.ts";

export const clusterRules: Rules = {
  "core.v1.Node": node,
  "core.v1.Taint": taint,
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

function* node({ spec }: Node): Iterable<FieldProblem> {
  const podCidrs = spec?.podCIDRs ?? [];
  const problems = podCidrs.flatMap((prefix, index) => [...formProblems(prefix, cidr, at("spec.podCIDRs", index))]);
  yield* problems;
  const [first = "", second = ""] = podCidrs;
  const isDual = podCidrs.length === 2 && familyOf(first) !== familyOf(second);
  if (problems.length === 0 && podCidrs.length > 1 && !isDual)
    yield invalid("spec.podCIDRs", podCidrs, "may specify no more than one CIDR for each IP family");
  const seen = new Set<string>();
  for (const [index, { key, effect }] of (spec?.taints ?? []).entries()) {
    const text = `${key} ${effect}`;
    if (seen.has(text)) yield duplicate(at("spec.taints", index), { key, effect });
    seen.add(text);
  }
}

function* taint({ key, value }: Taint, path: string): Iterable<FieldProblem> {
  if (key === "") yield required(child(path, "key"));
  yield* formProblems(key, qualifiedName, child(path, "key"));
  yield* formProblems(value, labelValue, child(path, "value"));
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

function* secret({ data = {}, type = "" }: Secret): Iterable<FieldProblem> {
  for (const key of Object.keys(data))
    for (const problem of configKey(key)) yield invalid(at("data", key), key, problem);
  if (sizeOf(data) > dataBytesMax) yield tooLong("data", dataBytesMax);
  for (const key of secretKeys[type] ?? []) if (!(key in data)) yield required(at("data", key));
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
}

function* lease({ spec }: Lease): Iterable<FieldProblem> {
  const seconds = spec?.leaseDurationSeconds;
  if (seconds !== undefined && seconds <= 0)
    yield invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0");
  const transitions = spec?.leaseTransitions;
  if (transitions !== undefined && transitions < 0)
    yield invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0");
}
