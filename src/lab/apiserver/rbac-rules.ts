// RBAC's rules as values: does a rule allow a request, and do some rules cover others. Pure.
// Upstream: pkg/apis/rbac/v1/evaluation_helpers.go, component-helpers/auth/rbac/validation/policy_comparator.go.

import type { LabelSelector } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { Target } from "./target.ts";

/** rbac/v1 PolicyRule. */
export interface PolicyRule {
  readonly verbs: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
}

/** rbac/v1 Role or ClusterRole. */
export interface Role extends KubeObject {
  readonly kind: "Role" | "ClusterRole";
  readonly rules?: readonly PolicyRule[];
  readonly aggregationRule?: { readonly clusterRoleSelectors?: readonly LabelSelector[] };
}

/** rbac/v1 RoleBinding or ClusterRoleBinding. */
export interface RoleBinding extends KubeObject {
  readonly kind: "RoleBinding" | "ClusterRoleBinding";
  readonly roleRef: { readonly apiGroup?: string; readonly kind: string; readonly name: string };
  readonly subjects?: readonly Subject[];
}

export interface Subject {
  readonly apiGroup?: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

/** Does the rule allow the request? */
export function allows(rule: PolicyRule, target: Target): boolean {
  if (!hasOrAll(rule.verbs, target.verb)) return false;
  if (!target.isResource) return (rule.nonResourceURLs ?? []).some((pattern) => pathMatches(pattern, target.path));
  return (
    hasOrAll(rule.apiGroups, target.group) &&
    resourceMatches(rule.resources ?? [], target.resource, target.subresource) &&
    ((rule.resourceNames ?? []).length === 0 || rule.resourceNames?.includes(target.name ?? "") === true)
  );
}

function hasOrAll(list: readonly string[] | undefined, word: string): boolean {
  return list?.includes("*") === true || list?.includes(word) === true;
}

function resourceMatches(list: readonly string[], resource: string, subresource: string | undefined): boolean {
  if (list.includes("*")) return true;
  if (subresource === undefined) return list.includes(resource);
  return list.includes(`${resource}/${subresource}`) || list.includes(`*/${subresource}`);
}

function pathMatches(pattern: string, path: string): boolean {
  return pattern === "*" || pattern === path || (pattern.endsWith("*") && path.startsWith(pattern.slice(0, -1)));
}

/** Do the rules held allow everything that the wanted ones do? */
export function coversAll(held: readonly PolicyRule[], wanted: readonly PolicyRule[]): boolean {
  return uncovered(held, wanted).length === 0;
}

/** The single permissions of the wanted rules that the held ones do not give. */
export function uncovered(held: readonly PolicyRule[], wanted: readonly PolicyRule[]): readonly PolicyRule[] {
  return wanted.flatMap(single).filter((rule) => !held.some((owner) => covers(owner, rule)));
}

/** A rule taken apart: one verb, one group, one resource, at most one name; or one verb and one path. */
function single(rule: PolicyRule): readonly PolicyRule[] {
  const { verbs, apiGroups = [], resources = [], resourceNames = [], nonResourceURLs = [] } = rule;
  const names = resourceNames.length === 0 ? [undefined] : resourceNames;
  const forResources = verbs.flatMap((verb) =>
    apiGroups.flatMap((apiGroup) =>
      resources.flatMap((resource) =>
        names.map((name) => ({
          verbs: [verb],
          apiGroups: [apiGroup],
          resources: [resource],
          ...(name !== undefined && { resourceNames: [name] }),
        })),
      ),
    ),
  );
  const forPaths = verbs.flatMap((verb) => nonResourceURLs.map((path) => ({ verbs: [verb], nonResourceURLs: [path] })));
  return [...forResources, ...forPaths];
}

/** `wanted` is a single permission. */
function covers(owner: PolicyRule, wanted: PolicyRule): boolean {
  const [verb = ""] = wanted.verbs;
  if (!hasOrAll(owner.verbs, verb)) return false;
  const [path] = wanted.nonResourceURLs ?? [];
  if (path !== undefined) return (owner.nonResourceURLs ?? []).some((pattern) => pathMatches(pattern, path));
  const [apiGroup = ""] = wanted.apiGroups ?? [];
  const [resource = ""] = wanted.resources ?? [];
  const [name] = wanted.resourceNames ?? [];
  const [main = "", subresource] = resource.split("/");
  const ownerNames = owner.resourceNames ?? [];
  return (
    hasOrAll(owner.apiGroups, apiGroup) &&
    resourceMatches(owner.resources ?? [], main, subresource) &&
    (ownerNames.length === 0 || (name !== undefined && ownerNames.includes(name)))
  );
}

/** `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`, as upstream's refusals have it. */
export function ruleText(rule: PolicyRule): string {
  const list = (name: string, values: readonly string[] | undefined): string[] =>
    values === undefined || values.length === 0
      ? []
      : [`${name}:[${values.map((value) => JSON.stringify(value)).join(" ")}]`];
  return `{${[
    ...list("APIGroups", rule.apiGroups),
    ...list("Resources", rule.resources),
    ...list("ResourceNames", rule.resourceNames),
    ...list("NonResourceURLs", rule.nonResourceURLs),
    ...list("Verbs", rule.verbs),
  ].join(", ")}}`;
}
