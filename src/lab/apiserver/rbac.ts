// Role based access control over the store: the rules a user has, found by subject, and the first that allows a request.
// Upstream: plugin/pkg/auth/authorizer/rbac/rbac.go, pkg/registry/rbac/validation/rule.go.
//
// Not here: what a rule means (rbac-rules.ts), who skips RBAC (authz.ts).

import type { ObjectApi } from "../api/api.ts";
import type { Authorize, User } from "./hooks.ts";
import { allows, type PolicyRule, type Role, type RoleBinding, type Subject } from "./rbac-rules.ts";

export interface Rbac {
  readonly authorize: Authorize;
  /** All rules of a user in a namespace (undefined: cluster-wide ones only), and the roles that could not be found. */
  rulesOf(
    user: User,
    namespace: string | undefined,
  ): { readonly rules: readonly PolicyRule[]; readonly problems: readonly string[] };
  /** The rules of a role; undefined where there is none. */
  roleRules(reference: RoleBinding["roleRef"], namespace: string | undefined): readonly PolicyRule[] | undefined;
  close(): void;
}

const group = "rbac.authorization.k8s.io";

/** RBAC over what the store holds now; changes count from the moment their write is answered. */
export function createRbac(api: Pick<ObjectApi, "get" | "list" | "watch" | "revision">): Rbac {
  let index: Index | undefined;
  const watches = ["clusterrolebindings", "rolebindings"].map((resource) =>
    api.watch({ group, resource }, api.revision, () => (index = undefined)),
  );

  const roleRules: Rbac["roleRules"] = ({ kind, name }, namespace) => {
    const role =
      kind === "ClusterRole"
        ? api.get({ group, resource: "clusterroles", name })
        : namespace === undefined
          ? undefined
          : api.get({ group, resource: "roles", namespace, name });
    return role === undefined ? undefined : ((role as Role).rules ?? []);
  };

  /** Bindings of a user, cluster-wide ones first. */
  const bindingsOf = (user: User, namespace: string | undefined): readonly Found[] => {
    index ??= buildIndex(api);
    const names = subjectNames(user);
    const places = namespace === undefined ? [""] : ["", namespace];
    return places.flatMap((place) => {
      const here = index?.get(place);
      return here === undefined ? [] : names.flatMap((name) => here.get(name) ?? []);
    });
  };

  return {
    authorize(user, target) {
      const problems: string[] = [];
      for (const { binding, subject } of bindingsOf(user, target.isResource ? target.namespace : undefined)) {
        const rules = roleRules(binding.roleRef, binding.metadata.namespace);
        if (rules === undefined) problems.push(missing(binding));
        else if (rules.some((rule) => allows(rule, target)))
          return { allowed: true, reason: `RBAC: allowed by ${bindingText(binding, subject)}` };
      }
      return { allowed: false, ...(problems.length > 0 && { reason: `RBAC: ${[...new Set(problems)].join(", ")}` }) };
    },
    rulesOf(user, namespace) {
      const found = bindingsOf(user, namespace).map(({ binding }) => ({
        binding,
        rules: roleRules(binding.roleRef, binding.metadata.namespace),
      }));
      return {
        rules: found.flatMap(({ rules }) => rules ?? []),
        problems: found.flatMap(({ binding, rules }) => (rules === undefined ? [missing(binding)] : [])),
      };
    },
    roleRules,
    close() {
      for (const watch of watches) watch.close();
    },
  };
}

interface Found {
  readonly binding: RoleBinding;
  readonly subject: Subject;
}

/** Bindings by namespace (the empty text: cluster-wide) and by subject. */
type Index = ReadonlyMap<string, ReadonlyMap<string, readonly Found[]>>;

function buildIndex(api: Pick<ObjectApi, "list">): Index {
  const index = new Map<string, Map<string, Found[]>>();
  for (const resource of ["clusterrolebindings", "rolebindings"])
    for (const binding of api.list({ group, resource }).items as readonly RoleBinding[])
      for (const subject of binding.subjects ?? []) {
        const place = binding.metadata.namespace ?? "";
        const here = index.get(place) ?? new Map<string, Found[]>();
        index.set(place, here);
        const name = nameOf(subject, place);
        const found = here.get(name) ?? [];
        here.set(name, found);
        found.push({ binding, subject });
      }
  return index;
}

function nameOf({ kind, name, namespace }: Subject, place: string): string {
  if (kind !== "ServiceAccount") return `${kind}:${name}`;
  return `User:system:serviceaccount:${namespace ?? place}:${name}`;
}

function subjectNames({ username, groups }: User): readonly string[] {
  return [`User:${username}`, ...groups.map((name) => `Group:${name}`)];
}

function missing({ roleRef: { kind, name } }: RoleBinding): string {
  return `${kind.toLowerCase()}.${group} ${JSON.stringify(name)} not found`;
}

function bindingText({ kind, metadata, roleRef }: RoleBinding, subject: Subject): string {
  const { name, namespace } = metadata;
  const own = JSON.stringify(namespace === undefined ? name : `${name}/${namespace}`);
  const who =
    subject.kind === "ServiceAccount" ? `${subject.name}/${subject.namespace ?? namespace ?? ""}` : subject.name;
  return `${kind} ${own} of ${roleRef.kind} ${JSON.stringify(roleRef.name)} to ${subject.kind} ${JSON.stringify(who)}`;
}
