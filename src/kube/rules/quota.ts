// Rules for LimitRanges and ResourceQuotas. Wording: upstream's pkg/apis/core/validation.

import { sameJson } from "../equal.ts";
import { qualifiedName } from "../formats.ts";
import type { KubeObject } from "../object.ts";
import { at, child, duplicate, forbidden, invalid, required, type FieldProblem } from "../problem.ts";
import { parseQuantity } from "../quantity.ts";
import type { Rules, UpdateRule } from "./rule.ts";

export const quotaRules: Rules = {
  "core.v1.LimitRangeSpec": limitRange,
  "core.v1.ResourceQuotaSpec": resourceQuota,
};

type Amounts = { readonly [name: string]: string | number };

interface Limit {
  readonly type: string;
  readonly max?: Amounts;
  readonly min?: Amounts;
  readonly default?: Amounts;
  readonly defaultRequest?: Amounts;
  readonly maxLimitRequestRatio?: Amounts;
}

const compute: readonly string[] = ["cpu", "memory", "ephemeral-storage"];
const counted: readonly string[] =
  "pods services replicationcontrollers resourcequotas secrets configmaps persistentvolumeclaims services.nodeports services.loadbalancers".split(
    " ",
  );
const prefixed: readonly string[] = [...compute, "storage"].flatMap((name) => [`requests.${name}`, `limits.${name}`]);
const standard = new Set([...compute, "storage", ...counted, ...prefixed.filter((name) => name !== "limits.storage")]);
const quotaNames = new Set([...standard].filter((name) => name !== "storage"));
const limitTypes: readonly string[] = ["Pod", "Container", "PersistentVolumeClaim"];
const amountOf = (quantity: string | number): number => parseQuantity(quantity) ?? 0;

function* limitRange({ limits = [] }: { limits?: readonly Limit[] }, path: string): Iterable<FieldProblem> {
  for (const [index, limit] of limits.entries()) {
    const place = at(child(path, "limits"), index);
    const { type } = limit;
    for (const problem of qualifiedName(type)) yield invalid(child(place, "type"), type, problem);
    if (qualifiedName(type).length === 0 && !type.includes("/") && !limitTypes.includes(type))
      yield invalid(child(place, "type"), type, "must be a standard limit type or fully qualified");
    if (limits.findIndex((other) => other.type === type) < index) yield duplicate(child(place, "type"), type);
    yield* limitNames(limit, place);
    if (
      type === "PersistentVolumeClaim" &&
      limit.min?.["storage"] === undefined &&
      limit.max?.["storage"] === undefined
    )
      yield required(
        child(place, "limits"),
        "either minimum or maximum storage value is required, but neither was provided",
      );
    yield* limitAmounts(limit, place);
  }
}

const maps = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] as const;

function* limitNames(limit: Limit, place: string): Iterable<FieldProblem> {
  for (const map of maps) {
    const isDefault = map === "default" || map === "defaultRequest";
    if (limit.type === "Pod" && isDefault) {
      if (Object.keys(limit[map] ?? {}).length > 0)
        yield forbidden(child(place, map), "may not be specified when `type` is 'Pod'");
      continue;
    }
    for (const name of Object.keys(limit[map] ?? {})) yield* limitName(limit.type, name, at(child(place, map), name));
  }
}

function* limitName(type: string, name: string, path: string): Iterable<FieldProblem> {
  const malformed = qualifiedName(name);
  for (const problem of malformed) yield invalid(path, name, problem);
  const isBare = !name.includes("/");
  if (malformed.length === 0 && isBare && !standard.has(name) && !name.startsWith("hugepages-"))
    yield invalid(path, name, "must be a standard resource type or fully qualified");
  const isOfContainers = type === "Pod" || type === "Container";
  if (isOfContainers && isBare && !compute.includes(name) && !name.startsWith("hugepages-"))
    yield invalid(path, name, "must be a standard resource for containers");
}

function* limitAmounts(limit: Limit, place: string): Iterable<FieldProblem> {
  const isPod = limit.type === "Pod";
  const names = new Set(maps.flatMap((map) => Object.keys(limit[map] ?? {})));
  for (const name of names) {
    const [min, max] = [limit.min?.[name], limit.max?.[name]];
    const given = isPod ? undefined : limit.default?.[name];
    const asked = isPod ? undefined : limit.defaultRequest?.[name];
    const ratio = limit.maxLimitRequestRatio?.[name];
    const more = (a: string | number | undefined, b: string | number | undefined): boolean =>
      a !== undefined && b !== undefined && amountOf(a) > amountOf(b);
    const wrong = (map: string, value: unknown, text: string): FieldProblem =>
      invalid(at(child(place, map), name), String(value), text);
    if (more(min, max)) yield wrong("min", min, `min value ${min} is greater than max value ${max}`);
    if (more(min, asked))
      yield wrong("defaultRequest", asked, `min value ${min} is greater than default request value ${asked}`);
    if (more(asked, max))
      yield wrong("defaultRequest", asked, `default request value ${asked} is greater than max value ${max}`);
    if (more(asked, given))
      yield wrong(
        "defaultRequest",
        asked,
        `default request value ${asked} is greater than default limit value ${given}`,
      );
    if (more(min, given)) yield wrong("default", min, `min value ${min} is greater than default value ${given}`);
    if (more(given, max)) yield wrong("default", max, `default value ${given} is greater than max value ${max}`);
    if (ratio === undefined) continue;
    if (amountOf(ratio) < 1) yield wrong("maxLimitRequestRatio", ratio, `ratio ${ratio} is less than 1`);
    if (min !== undefined && max !== undefined && amountOf(ratio) > amountOf(max) / amountOf(min))
      yield wrong(
        "maxLimitRequestRatio",
        ratio,
        `ratio ${ratio} is greater than max/min = ${(amountOf(max) / amountOf(min)).toFixed(6)}`,
      );
  }
}

interface Requirement {
  readonly scopeName: string;
  readonly operator?: string;
  readonly values?: readonly string[];
}

interface QuotaSpec {
  readonly hard?: Amounts;
  readonly scopes?: readonly string[];
  readonly scopeSelector?: { readonly matchExpressions?: readonly Requirement[] };
}

function* resourceQuota(spec: QuotaSpec, path: string): Iterable<FieldProblem> {
  yield* quotaAmounts(spec.hard ?? {}, child(path, "hard"));
  yield* quotaScopes(spec, path);
}

const integers = new Set(counted);

function* quotaAmounts(amounts: Amounts, path: string): Iterable<FieldProblem> {
  for (const [name, quantity] of Object.entries(amounts)) {
    const place = at(path, name);
    const malformed = qualifiedName(name);
    for (const problem of malformed) yield invalid(place, name, problem);
    const isKnown = name.includes("/") || quotaNames.has(name) || /^(requests\.)?hugepages-/.test(name);
    if (malformed.length === 0 && !isKnown)
      yield invalid(place, name, "must be a standard resource type or fully qualified");
    if (!name.includes("/") && !isKnown) yield invalid(place, name, "must be a standard resource for quota");
    const amount = amountOf(quantity);
    if (amount < 0) yield invalid(place, String(quantity), "must be greater than or equal to 0");
    if (integers.has(name) && !Number.isInteger(amount)) yield invalid(place, String(quantity), "must be an integer");
  }
}

const scopes: readonly string[] = [
  "BestEffort",
  "CrossNamespacePodAffinity",
  "NotBestEffort",
  "NotTerminating",
  "PriorityClass",
  "Terminating",
  "VolumeAttributesClass",
];
const opposites = [
  ["BestEffort", "NotBestEffort"],
  ["Terminating", "NotTerminating"],
] as const;
const ofPods = new Set([
  "pods",
  "cpu",
  "memory",
  ...["cpu", "memory"].flatMap((name) => [`requests.${name}`, `limits.${name}`]),
]);

/** Does a scope tell apart what a resource counts? */
function isFor(scope: string, name: string): boolean {
  if (scope === "BestEffort") return name === "pods";
  if (scope === "VolumeAttributesClass") return /storage|persistentvolumeclaims/.test(name);
  return ofPods.has(name);
}

function* quotaScopes(
  { hard = {}, scopes: given = [], scopeSelector }: QuotaSpec,
  path: string,
): Iterable<FieldProblem> {
  const place = child(path, "scopes");
  const names = Object.keys(hard).filter((name) => quotaNames.has(name));
  for (const scope of given) {
    if (!scopes.includes(scope)) yield invalid(place, given, "unsupported scope");
    for (const name of names)
      if (!isFor(scope, name)) yield invalid(place, given, "unsupported scope applied to resource");
  }
  for (const pair of opposites)
    if (pair.every((scope) => given.includes(scope))) yield invalid(place, given, "conflicting scopes");
  // Upstream does not say which of them.
  const selected = child(path, "scopeSelector.matchExpressions");
  const expressions = scopeSelector?.matchExpressions ?? [];
  for (const { scopeName, operator = "", values = [] } of expressions) {
    if (!scopes.includes(scopeName)) yield invalid(child(selected, "scopeName"), scopeName, "unsupported scope");
    for (const name of names)
      if (!isFor(scopeName, name)) yield invalid(selected, expressions, "unsupported scope applied to resource");
    const isPlain = scopeName !== "PriorityClass" && scopeName !== "VolumeAttributesClass";
    if (isPlain && operator !== "Exists")
      yield invalid(
        child(selected, "operator"),
        operator,
        "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
      );
    if ((operator === "In" || operator === "NotIn") && values.length === 0)
      yield required(
        child(selected, "values"),
        "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
      );
    if ((operator === "Exists" || operator === "DoesNotExist") && values.length > 0)
      yield invalid(
        child(selected, "values"),
        values,
        "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
      );
  }
}

export const quotaUpdateRules: { readonly [type: string]: UpdateRule } = {
  "core.v1.ResourceQuota": function* (object: KubeObject, previous: KubeObject) {
    const [now, then] = [object, previous].map(({ spec }) => [...(((spec ?? {}) as QuotaSpec).scopes ?? [])].sort());
    if (!sameJson(now, then)) yield invalid("spec.scopes", now, "field is immutable");
  },
};

/** Statuses count the same things. */
export function* quotaStatus({ status }: KubeObject): Iterable<FieldProblem> {
  const { hard = {}, used = {} } = (status ?? {}) as { readonly hard?: Amounts; readonly used?: Amounts };
  yield* quotaAmounts(hard, "status.hard");
  yield* quotaAmounts(used, "status.used");
}
