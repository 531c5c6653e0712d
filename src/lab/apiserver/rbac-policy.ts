// The default roles and bindings as objects, and how they get into a store: what is missing is created, what they have lost is given back.
// Upstream: pkg/registry/rbac/rest/storage_rbac.go and component-helpers auth/rbac/reconciliation.

import { sameJson } from "../../kube/equal.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { ObjectApi } from "../api/api.ts";
import { markComplete } from "../api/marks.ts";
import { collectedRules } from "./rbac-aggregation.ts";
import { policyTable } from "./rbac-policy-table.ts";
import { coversAll, type PolicyRule, type Role, type RoleBinding, type Subject } from "./rbac-rules.ts";

const group = "rbac.authorization.k8s.io";
const apiVersion = `${group}/v1`;
/** Someone who wants to keep a change sets it to "false". */
const autoUpdate = "rbac.authorization.kubernetes.io/autoupdate";

/** Brings the default roles and bindings into the store. Idempotent; rules that somebody added stay. */
export function ensureDefaultPolicy(api: Pick<ObjectApi, "get" | "create" | "update">): void {
  for (const object of defaultPolicy()) {
    const resource = resourceNames[object.kind] ?? "";
    const { name, namespace } = object.metadata;
    const there = api.get({ group, resource, name, ...(namespace !== undefined && { namespace }) });
    if (there === undefined) api.create(markComplete(object, { group, resource }));
    else if (there.metadata.annotations?.[autoUpdate] !== "false") {
      const wanted =
        "roleRef" in object
          ? withSubjects(there as RoleBinding, object as RoleBinding)
          : withRules(there as Role, object);
      if (!sameJson(wanted, there)) api.update(wanted);
    }
  }
}

const resourceNames: { readonly [kind: string]: string } = {
  ClusterRole: "clusterroles",
  ClusterRoleBinding: "clusterrolebindings",
  Role: "roles",
  RoleBinding: "rolebindings",
};

/** All of them; aggregated roles have the rules they collect. */
export function defaultPolicy(): readonly (Role | RoleBinding)[] {
  const objects = parsePolicy(policyTable);
  const roles = objects.filter((object): object is Role => object.kind === "ClusterRole");
  // admin collects edit, edit collects view: the last ones of the table first, and again until nobody has collected more.
  const byName = new Map(roles.map((role) => [role.metadata.name, role]));
  const collecting = roles.filter((role) => role.aggregationRule !== undefined).reverse();
  for (let isMore = true; isMore;) {
    isMore = false;
    for (const role of collecting) {
      const { name } = role.metadata;
      const rules = collectedRules(role, [...byName.values()]);
      isMore ||= rules.length > (byName.get(name)?.rules ?? []).length;
      byName.set(name, { ...role, rules });
    }
  }
  return objects.map((object) =>
    object.kind === "ClusterRole" ? (byName.get(object.metadata.name) ?? object) : object,
  );
}

const verbSets: { readonly [word: string]: readonly string[] } = {
  READ: ["get", "list", "watch"],
  WRITE: ["create", "delete", "deletecollection", "patch", "update"],
  ALL: ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
};

function parsePolicy(text: string): readonly (Role | RoleBinding)[] {
  const objects: (Role | RoleBinding)[] = [];
  let rules: PolicyRule[] = [];
  for (const line of text.trim().split("\n")) {
    const words = line.trim().split(" ");
    if (line.startsWith("  ")) {
      rules.push(parseRule(words));
      continue;
    }
    const [kind, ...rest] = words;
    rules = [];
    if (kind === "clusterrole") objects.push(clusterRole(rest, rules));
    else if (kind === "role") objects.push({ ...head("Role", rest[1] ?? "", rest[0]), rules });
    else if (kind === "clusterrolebinding")
      objects.push(binding(head("ClusterRoleBinding", rest[0] ?? ""), rest.slice(1)));
    else objects.push(binding(head("RoleBinding", rest[1] ?? "", rest[0]), rest.slice(2)));
  }
  return objects;
}

function head<Kind extends string>(
  kind: Kind,
  name: string,
  namespace?: string,
  labels: readonly string[] = [],
): KubeObject & { readonly kind: Kind } {
  return {
    apiVersion,
    kind,
    metadata: {
      name,
      ...(namespace !== undefined && { namespace }),
      labels: {
        "kubernetes.io/bootstrapping": "rbac-defaults",
        ...Object.fromEntries(labels.map((label) => [`${group}/${label}`, "true"])),
      },
      annotations: { [autoUpdate]: "true" },
    },
  };
}

function clusterRole([name = "", ...options]: readonly string[], rules: readonly PolicyRule[]): Role {
  const of = (option: string): readonly string[] =>
    options.filter((each) => each.startsWith(`${option}=`)).map((each) => each.slice(option.length + 1));
  const collects = of("collects");
  return {
    ...head("ClusterRole", name, undefined, of("label")),
    ...(collects.length > 0 && {
      aggregationRule: {
        clusterRoleSelectors: collects.map((label) => ({ matchLabels: { [`${group}/${label}`]: "true" } })),
      },
    }),
    rules,
  };
}

function parseRule([verbs = "", groups = "", things = "", names]: readonly string[]): PolicyRule {
  const list = (text: string): readonly string[] => text.split(",").map((word) => (word === "core" ? "" : word));
  const verbList = verbSets[verbs] ?? verbs.split(",").flatMap((verb) => verbSets[verb] ?? [verb]);
  if (groups === "paths") return { verbs: verbList, nonResourceURLs: list(things) };
  return {
    verbs: verbList,
    apiGroups: list(groups),
    resources: things.split(","),
    ...(names !== undefined && { resourceNames: names.split(",") }),
  };
}

function binding(
  start: KubeObject & { readonly kind: "ClusterRoleBinding" | "RoleBinding" },
  [role = "", ...subjects]: readonly string[],
): RoleBinding {
  const colon = role.indexOf(":");
  const kind = role.slice(0, colon) === "role" ? "Role" : "ClusterRole";
  return {
    ...start,
    roleRef: { apiGroup: group, kind, name: role.slice(colon + 1) },
    ...(subjects.length > 0 && { subjects: subjects.map(parseSubject) }),
  };
}

function parseSubject(text: string): Subject {
  const colon = text.indexOf(":");
  const name = text.slice(colon + 1);
  switch (text.slice(0, colon)) {
    case "account": {
      const [namespace = "", account = ""] = name.split("/");
      return { kind: "ServiceAccount", namespace, name: account };
    }
    case "user":
      return { apiGroup: group, kind: "User", name };
    default:
      return { apiGroup: group, kind: "Group", name };
  }
}

/** The role with the rules it lacks. An aggregated role's rules are its collector's business. */
function withRules(there: Role, wanted: Role): Role {
  if (wanted.aggregationRule !== undefined || sameJson(there.rules, wanted.rules)) return there;
  const missing = (wanted.rules ?? []).filter((rule) => !coversAll(there.rules ?? [], [rule]));
  return missing.length === 0 ? there : { ...there, rules: [...(there.rules ?? []), ...missing] };
}

function withSubjects(there: RoleBinding, wanted: RoleBinding): RoleBinding {
  const missing = (wanted.subjects ?? []).filter(
    (subject) => !(there.subjects ?? []).some((each) => sameJson(each, subject)),
  );
  return missing.length === 0 ? there : { ...there, subjects: [...(there.subjects ?? []), ...missing] };
}
