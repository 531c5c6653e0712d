// Is an object valid? Every type in it is checked by the schema table (required fields, enumerations, list keys, CRDs' constraints) and
// by the rules of its type (rules/), in Kubernetes' words.
//
// Not here: unknown fields and wrong types, which come before defaults (structure.ts); what only the cluster knows (admission).

import { sameJson } from "./equal.ts";
import type { EndpointSlice } from "./kinds.ts";
import type { KubeObject } from "./object.ts";
import {
  at,
  child,
  duplicate,
  invalid,
  notSupported,
  required,
  tooLong,
  tooMany,
  type FieldProblem,
} from "./problem.ts";
import { accessRules, accessUpdateRules } from "./rules/rbac.ts";
import { certificateRules } from "./rules/certificates.ts";
import { clusterRules, clusterUpdateRules } from "./rules/cluster.ts";
import { remembered } from "./repeated.ts";
import { metadataProblems, metadataUpdateProblems } from "./rules/metadata.ts";
import { eventRules } from "./rules/events.ts";
import { jobRules, jobUpdateRules } from "./rules/jobs.ts";
import { networkRules, networkUpdateRules } from "./rules/network.ts";
import { podRules, podUpdateRules } from "./rules/pod.ts";
import { quotaRules, quotaUpdateRules } from "./rules/quota.ts";
import type { Rules, UpdateRule } from "./rules/rule.ts";
import { statusRules } from "./rules/status.ts";
import { storageRules, storageUpdateRules } from "./rules/storage.ts";
import { scalingRules } from "./rules/scaling.ts";
import { serviceRules, serviceUpdateRules } from "./rules/service.ts";
import { workloadRules, workloadUpdateRules } from "./rules/workloads.ts";
import { schemaOf, typeNamed, type Constraints, type FieldSchema, type TypeSchema, type ValueType } from "./schema.ts";

const rules: Rules = {
  ...accessRules,
  ...certificateRules,
  ...clusterRules,
  ...eventRules,
  ...jobRules,
  ...networkRules,
  ...podRules,
  ...quotaRules,
  ...scalingRules,
  ...serviceRules,
  ...storageRules,
  ...workloadRules,
};

const updateRules: { readonly [type: string]: UpdateRule } = {
  ...accessUpdateRules,
  ...clusterUpdateRules,
  ...jobUpdateRules,
  ...networkUpdateRules,
  ...podUpdateRules,
  ...quotaUpdateRules,
  ...serviceUpdateRules,
  ...storageUpdateRules,
  ...workloadUpdateRules,
};

/** What is wrong with an object whose structure is right and whose defaults are filled in; empty where it is valid. Status is not looked at. */
export function validate(object: KubeObject): FieldProblem[] {
  const problems = [...metadataProblems(object)];
  const schema = schemaOf(object.apiVersion, object.kind);
  if (schema !== undefined)
    checkFields(object, schema, "", { whole: object, problems, remembers: !looksAtWhole(object) });
  return problems;
}

/** What is wrong with an object as the successor of a previous one: all of `validate`, and what may not change. */
export function validateUpdate(object: KubeObject, previous: KubeObject): FieldProblem[] {
  const name = schemaOf(object.apiVersion, object.kind)?.name ?? "";
  const update = updateRules[name]?.(object as never, previous as never) ?? [];
  const settled = kept[name]?.(object as never, previous as never);
  const whole = updatedAlone.has(name)
    ? [...metadataProblems(object)]
    : validate(object).filter(({ field }) => settled === undefined || !field.startsWith(settled));
  return [...whole, ...metadataUpdateProblems(object, previous), ...update];
}

/** Kinds that change so little that upstream looks at the changes only. */
const updatedAlone: ReadonlySet<string> = new Set(["networking.v1.IPAddress", "networking.v1.ServiceCIDR"]);

/** What was there before and has not changed is not refused in some kinds: where their paths begin. */
const kept: { readonly [type: string]: (object: never, previous: never) => string | undefined } = {
  // Nobody changes what is asked for.
  "certificates.v1.CertificateSigningRequest": () => "spec",
  "discovery.v1.EndpointSlice": (object: EndpointSlice, previous: EndpointSlice) =>
    sameJson(object.endpoints, previous.endpoints) ? "endpoints" : undefined,
};

/** What is wrong with an object whose status is written through a subresource, `status` mostly; the rest of it is as it was. */
export function validateStatus(object: KubeObject, previous: KubeObject, subresource: string): FieldProblem[] {
  const name = schemaOf(object.apiVersion, object.kind)?.name ?? "";
  return [...(statusRules[name]?.(object as never, previous as never, subresource) ?? [])];
}

const objectMeta = "meta.v1.ObjectMeta";

interface Context {
  readonly whole: KubeObject;
  readonly problems: FieldProblem[];
  /** May what was found out about repeated values be used? */
  readonly remembers: boolean;
}

/** Rules about parts of these see more than the part: the claims of a StatefulSet are volumes of its pods. */
function looksAtWhole({ kind }: KubeObject): boolean {
  return kind === "StatefulSet";
}

/** What is to be looked at of a type's fields, found out once: most fields are texts and numbers that may be anything or absent. */
interface Look {
  readonly name: string;
  /** Tells it apart from fields of other types. */
  readonly id: string;
  readonly field: FieldSchema;
  readonly isRequired: boolean;
  readonly isConstrained: boolean;
  readonly isElementConstrained: boolean;
  readonly hasKeys: boolean;
  readonly isDeep: boolean;
}

const looks = new WeakMap<TypeSchema, readonly Look[]>();

function looksOf(type: TypeSchema): readonly Look[] {
  let known = looks.get(type);
  if (known === undefined) {
    known = [...type.fields.values()]
      .map((field) => lookOf(type, field))
      .filter(({ field, ...look }) => field.values !== undefined || isAny(look));
    looks.set(type, known);
  }
  return known;
}

/** Fields whose absence or values are a rule's business: upstream says something else of them than of others, or says it later. */
const told: ReadonlySet<string> = new Set([
  "node.v1.RuntimeClass.handler",
  "storage.v1.StorageClass.provisioner",
  "apiextensions.v1.CustomResourceDefinitionNames.kind",
  "apiextensions.v1.CustomResourceDefinitionNames.plural",
  "apiextensions.v1.CustomResourceDefinitionSpec.names",
  "apps.v1.ControllerRevision.revision",
  "apps.v1.DaemonSetSpec.selector",
  "apps.v1.DaemonSetUpdateStrategy.type",
  "apps.v1.DeploymentStrategy.type",
  "apps.v1.StatefulSetSpec.podManagementPolicy",
  "apps.v1.StatefulSetUpdateStrategy.type",
  "autoscaling.v1.HorizontalPodAutoscalerSpec.maxReplicas",
  "autoscaling.v1.HorizontalPodAutoscalerSpec.scaleTargetRef",
  "autoscaling.v2.HorizontalPodAutoscalerSpec.maxReplicas",
  "autoscaling.v2.HorizontalPodAutoscalerSpec.scaleTargetRef",
  "core.v1.Event.involvedObject",
  "core.v1.PersistentVolumeClaimSpec.accessModes",
  "core.v1.PersistentVolumeSpec.accessModes",
  "core.v1.ResourceQuotaSpec.scopes",
  "core.v1.ScopedResourceSelectorRequirement.scopeName",
  "core.v1.Taint.effect",
  "core.v1.Taint.key",
  "rbac.v1.ClusterRoleBinding.roleRef",
  "rbac.v1.RoleBinding.roleRef",
  "certificates.v1.CertificateSigningRequestSpec.request",
  "core.v1.AppArmorProfile.localhostProfile",
  "core.v1.ContainerPort.containerPort",
  "core.v1.NodeSelectorRequirement.operator",
  "core.v1.Toleration.operator",
  "core.v1.VolumeMount.mountPropagation",
  "meta.v1.LabelSelectorRequirement.key",
  "networking.v1.HTTPIngressPath.pathType",
  "networking.v1.IPAddressSpec.parentRef",
  "networking.v1.NetworkPolicySpec.policyTypes",
  "rbac.v1.RoleRef.kind",
  "rbac.v1.RoleRef.name",
]);

function lookOf(type: TypeSchema, given: FieldSchema): Look {
  const isTold = told.has(`${type.name}.${given.name}`);
  const field = isTold ? { ...given, required: false, values: undefined } : given;
  return {
    id: `valid ${type.name}.${field.name}`,
    name: field.name,
    field,
    isRequired: field.required && !isCollection(field.type),
    isConstrained: hasAny(field.constraints),
    isElementConstrained: hasAny(field.elementConstraints),
    hasKeys: field.list === "set" || (field.list === "map" && !repeatable.has(field.name)),
    isDeep: isDeep(field.type),
  };
}

function isAny(look: { readonly [field: string]: unknown }): boolean {
  return Object.values(look).includes(true);
}

function isDeep(type: ValueType): boolean {
  if (type.kind === "scalar") return false;
  return type.kind === "object" ? type.type !== objectMeta : type.of.kind !== "scalar";
}

function checkFields(
  value: { readonly [field: string]: unknown },
  type: TypeSchema,
  path: string,
  context: Context,
): void {
  const { problems } = context;
  const before = problems.length;
  for (const look of looksOf(type)) {
    const { name } = look;
    // What a status says is up to its writer, and metadata has rules of its own.
    if (path === "" && (name === "status" || name === "metadata")) continue;
    const given = value[name];
    // Most fields are absent: their paths are not needed.
    if (given !== undefined) checkFieldOnce(given, look, path, context);
    else if (look.isRequired) problems.push(required(child(path, name)));
  }
  const rule = rules[type.name];
  if (rule === undefined) return;
  try {
    for (const problem of rule(value as never, path, context.whole)) problems.push(problem);
  } catch (error) {
    // Rules count on what their type requires. That it is not there has been told.
    if (problems.length === before) throw error;
  }
}

/** Go writes an empty list or map as null or not at all, so a required one may be absent; where it may not, a rule says so. */
function isCollection({ kind }: ValueType): boolean {
  return kind === "list" || kind === "map";
}

function checkField(value: unknown, look: Look, parent: string, context: Context): void {
  const { field } = look;
  const isEnum = field.values !== undefined;
  if (!isEnum && !look.hasKeys && !look.isConstrained && !look.isElementConstrained && !look.isDeep) return;
  const { problems } = context;
  const path = child(parent, look.name);
  if (isEnum) checkEnum(value, field, path, problems);
  if (look.hasKeys && Array.isArray(value)) checkListKeys(value, field, path, problems);
  if (look.isConstrained) checkConstraints(value, field.constraints, path, problems);
  if (look.isElementConstrained) checkElements(value, field.elementConstraints, path, problems);
  if (look.isDeep) checkValue(value, field.type, path, context);
}

/** As checkField, but for repeated values that are known to be valid. */
function checkFieldOnce(value: unknown, look: Look, parent: string, context: Context): void {
  if (!look.isDeep || !context.remembers) return checkField(value, look, parent, context);
  const { problems } = context;
  const before = problems.length;
  const isValid = remembered(value, look.id, () => {
    checkField(value, look, parent, context);
    return problems.length === before;
  });
  // Problems have paths: they are told anew.
  if (!isValid && problems.length === before) checkField(value, look, parent, context);
}

function checkValue(value: unknown, type: ValueType, path: string, context: Context): void {
  switch (type.kind) {
    case "scalar":
      return;
    case "object":
      if (type.type !== objectMeta)
        checkFields(value as { readonly [field: string]: unknown }, typeNamed(type.type), path, context);
      return;
    case "list":
      if (type.of.kind !== "scalar")
        (value as readonly unknown[]).forEach((element, index) =>
          checkValue(element, type.of, at(path, index), context),
        );
      return;
    case "map":
      if (type.of.kind !== "scalar")
        for (const [key, element] of Object.entries(value as object))
          checkValue(element, type.of, at(path, key), context);
      return;
  }
}

function checkEnum(
  value: unknown,
  { values = [], required: isRequired }: FieldSchema,
  path: string,
  problems: FieldProblem[],
): void {
  if (Array.isArray(value)) {
    for (const [index, element] of value.entries())
      if (!values.includes(String(element))) problems.push(notSupported(at(path, index), element, values));
  } else if (value === "" && isRequired) problems.push(required(path));
  else if (value !== "" && !values.includes(String(value))) problems.push(notSupported(path, value, values));
}

/** Lists that upstream lets repeat a key, with a warning at most: the later element wins. */
const repeatable = new Set([
  "env",
  "ports",
  "imagePullSecrets",
  "hostAliases",
  "conditions",
  "secrets",
  "addresses",
  "volumeMounts",
  "x-kubernetes-validations",
  "claims",
  "schedulingGates",
  "topologySpreadConstraints",
]);

function checkListKeys(list: readonly unknown[], field: FieldSchema, path: string, problems: FieldProblem[]): void {
  const seen = new Set<string>();
  for (let index = 0; index < list.length; index++) {
    const text = keyText(list[index], field);
    if (seen.has(text)) {
      const key = field.list === "set" ? list[index] : keyOf(list[index], field.listKeys);
      problems.push(repeated(key, field, at(path, index)));
    }
    seen.add(text);
  }
}

/** Equal for elements with the same key only. */
function keyText(element: unknown, { list, listKeys }: FieldSchema): string {
  const [only = ""] = listKeys;
  const isOne = list === "map" && listKeys.length === 1;
  const key = isOne ? (element as { readonly [field: string]: unknown })[only] : element;
  if (typeof key === "string") return `"${key}`;
  return JSON.stringify(list === "set" ? element : keyOf(element, listKeys));
}

function keyOf(element: unknown, keys: readonly string[]): unknown {
  const fields = element as { readonly [field: string]: unknown };
  return Object.fromEntries(keys.map((key) => [key, fields[key]]));
}

function repeated(key: unknown, { list, listKeys }: FieldSchema, path: string): FieldProblem {
  const [only = ""] = listKeys;
  if (list === "set" || listKeys.length > 1) return duplicate(path, key);
  return duplicate(child(path, only), (key as { readonly [field: string]: unknown })[only]);
}

function hasAny(constraints: Constraints): boolean {
  for (const _ in constraints) return true;
  return false;
}

function checkElements(value: unknown, constraints: Constraints, path: string, problems: FieldProblem[]): void {
  for (const [key, element] of Object.entries(value as object))
    checkConstraints(element, constraints, at(path, key), problems);
}

// Wording: kube-openapi's validation, as CRDs are checked with.
function checkConstraints(value: unknown, constraints: Constraints, path: string, problems: FieldProblem[]): void {
  const { min, max, minLength, maxLength, minItems, maxItems, minFields, maxFields, pattern } = constraints;
  const wrong = (detail: string): void => void problems.push(invalid(path, value, `${path} in body ${detail}`));
  if (typeof value === "number") {
    if (min !== undefined && value < min) wrong(`should be greater than or equal to ${min}`);
    if (max !== undefined && value > max) wrong(`should be less than or equal to ${max}`);
  } else if (typeof value === "string") {
    if (minLength !== undefined && value.length < minLength) wrong(`should be at least ${minLength} chars long`);
    if (maxLength !== undefined && value.length > maxLength) problems.push(tooLong(path, maxLength));
    if (pattern !== undefined && !patternOf(pattern).test(value)) wrong(`should match '${pattern}'`);
  } else if (Array.isArray(value)) {
    if (minItems !== undefined && value.length < minItems) wrong(`should have at least ${minItems} items`);
    if (maxItems !== undefined && value.length > maxItems) problems.push(tooMany(path, value.length, maxItems));
  } else if (typeof value === "object" && value !== null) {
    const count = Object.keys(value).length;
    if (minFields !== undefined && count < minFields) wrong(`should have at least ${minFields} properties`);
    if (maxFields !== undefined && count > maxFields) problems.push(tooMany(path, count, maxFields));
  }
}

const patterns = new Map<string, RegExp>();

function patternOf(pattern: string): RegExp {
  let expression = patterns.get(pattern);
  if (expression === undefined) patterns.set(pattern, (expression = new RegExp(pattern)));
  return expression;
}
