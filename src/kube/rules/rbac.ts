// Rules for Roles and bindings. Wording: upstream's pkg/apis/rbac/validation.

import { sameJson } from "../equal.ts";
import { dnsSubdomain, pathSegment } from "../formats.ts";
import type { KubeObject } from "../object.ts";
import { at, child, invalid, notSupported, required, type FieldProblem } from "../problem.ts";
import type { LabelSelector } from "../pod.ts";
import type { Rules, UpdateRule } from "./rule.ts";
import { isMalformed } from "./workloads.ts";

export const accessRules: Rules = {
  "rbac.v1.PolicyRule": policyRule,
  "rbac.v1.ClusterRole": clusterRole,
  "rbac.v1.RoleBinding": binding,
  "rbac.v1.ClusterRoleBinding": binding,
};

export const accessUpdateRules: { readonly [type: string]: UpdateRule } = {
  "rbac.v1.RoleBinding": sameRole,
  "rbac.v1.ClusterRoleBinding": sameRole,
};

interface PolicyRule {
  readonly verbs?: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
}

function* policyRule(rule: PolicyRule, path: string, whole: KubeObject): Iterable<FieldProblem> {
  const { verbs = [], apiGroups = [], resources = [], resourceNames = [], nonResourceURLs: urls = [] } = rule;
  const place = child(path, "nonResourceURLs");
  if (verbs.length === 0) yield required(child(path, "verbs"), "verbs must contain at least one value");
  if (urls.length > 0) {
    if (whole.kind === "Role") yield invalid(place, urls, "namespaced rules cannot apply to non-resource URLs");
    if (apiGroups.length + resources.length + resourceNames.length > 0)
      yield invalid(place, urls, "rules cannot apply to both regular resources and non-resource URLs");
    return;
  }
  if (apiGroups.length === 0)
    yield required(child(path, "apiGroups"), "resource rules must supply at least one api group");
  if (resources.length === 0)
    yield required(child(path, "resources"), "resource rules must supply at least one resource");
}

interface Aggregation {
  readonly aggregationRule?: { readonly clusterRoleSelectors?: readonly LabelSelector[] };
}

function* clusterRole({ aggregationRule }: Aggregation): Iterable<FieldProblem> {
  if (aggregationRule !== undefined && (aggregationRule.clusterRoleSelectors ?? []).length === 0)
    yield required(
      "aggregationRule.clusterRoleSelectors",
      "at least one clusterRoleSelector required if aggregationRule is non-nil",
    );
  for (const [index, selector] of (aggregationRule?.clusterRoleSelectors ?? []).entries())
    if (isMalformed(selector))
      yield invalid(at("aggregationRule.clusterRoleSelectors", index), selector, "invalid label selector");
}

const group = "rbac.authorization.k8s.io";
const groups: readonly string[] = [group];

interface Binding extends KubeObject {
  readonly roleRef?: { readonly apiGroup?: string; readonly kind?: string; readonly name?: string };
  readonly subjects?: readonly Subject[];
}

interface Subject {
  readonly apiGroup?: string;
  readonly kind?: string;
  readonly name?: string;
  readonly namespace?: string;
}

function* binding({ kind, roleRef = {}, subjects = [] }: Binding): Iterable<FieldProblem> {
  const { kind: role = "", name = "" } = roleRef;
  // Left out it is this one.
  const apiGroup = (roleRef.apiGroup ?? "") === "" ? group : (roleRef.apiGroup ?? "");
  const kinds = kind === "RoleBinding" ? ["ClusterRole", "Role"] : ["ClusterRole"];
  if (apiGroup !== group) yield notSupported("roleRef.apiGroup", apiGroup, groups);
  if (!kinds.includes(role)) yield notSupported("roleRef.kind", role, kinds);
  if (name === "") yield required("roleRef.name");
  for (const problem of pathSegment(name)) yield invalid("roleRef.name", name, problem);
  for (const [index, subject] of subjects.entries())
    yield* subjectProblems(subject, kind === "RoleBinding", at("subjects", index));
}

function* subjectProblems(subject: Subject, isNamespaced: boolean, path: string): Iterable<FieldProblem> {
  const { apiGroup = "", kind = "", name = "", namespace = "" } = subject;
  if (name === "") yield required(child(path, "name"));
  switch (kind) {
    case "ServiceAccount":
      for (const problem of name === "" ? [] : dnsSubdomain(name)) yield invalid(child(path, "name"), name, problem);
      if (apiGroup !== "") yield notSupported(child(path, "apiGroup"), apiGroup, [""]);
      if (!isNamespaced && namespace === "") yield required(child(path, "namespace"));
      return;
    case "User":
    case "Group":
      if (apiGroup !== group) yield notSupported(child(path, "apiGroup"), apiGroup, groups);
      return;
    default:
      yield notSupported(child(path, "kind"), kind, ["Group", "ServiceAccount", "User"]);
  }
}

function* sameRole({ roleRef }: Binding, { roleRef: before }: Binding): Iterable<FieldProblem> {
  if (!sameJson(roleRef, before)) yield invalid("roleRef", roleRef, "cannot change roleRef");
}
