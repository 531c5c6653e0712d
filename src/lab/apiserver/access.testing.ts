// A store with users and roles for tests: the real store in memory, the real write path, a clock that tests set.

import { generateKeyPairSync, type KeyObject } from "node:crypto";
import type { KubeObject } from "../../kube/object.ts";
import type { ServedApi } from "../api/api.ts";
import { openStore } from "../api/sqlite-store.ts";
import { StatusError } from "../api/store.ts";
import { createObjectApi } from "../api/write.ts";
import { openAccess, type Access, type RunningAccess } from "./access.ts";
import { pathTarget, resourceTarget } from "./authz-target.ts";
import type { User } from "./hooks.ts";
import type { Target } from "./target.ts";

export interface TestAccess extends RunningAccess {
  readonly api: ServedApi;
  readonly access: Access;
  readonly clock: { now: number };
  /** The verdict on `verb group/resource[/subresource] [namespace/]name`-like words; see `target`. */
  may(user: User, text: string): boolean;
  /** Creates objects; those that name no namespace and need one get `default`. */
  create(...objects: readonly KubeObject[]): void;
}

export const testKey: KeyObject = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;

export function testAccess(): TestAccess {
  const clock = { now: Date.UTC(2026, 0, 31, 12) };
  const store = openStore({ path: ":memory:", clock: () => clock.now });
  const access = openAccess({
    store,
    certificates: { authority: "AUTHORITY\n", tokenKey: testKey },
    domain: "cluster.local",
    clock: () => clock.now,
  });
  const api = createObjectApi({ store, clock: () => clock.now, admissions: [access.admission] });
  for (const name of ["default", "kube-system", "kube-public", "other"])
    api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
  for (const namespace of ["default", "other"])
    api.create({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "default", namespace } });
  const running = access.start(api);
  return {
    ...running,
    api,
    access,
    clock,
    may: (user, text) => running.authorize(user, target(text)).allowed,
    create(...objects) {
      for (const object of objects) api.create(object);
    },
  };
}

/** `list apps/deployments in default`, `get /pods/log web in default`, `get /nodes`, `get path /version`: core has an empty group. */
export function target(text: string): Target {
  const [verb = "", what = "", ...rest] = text.split(" ");
  if (what === "path") return pathTarget(verb, rest[0] ?? "");
  const [group = "", resource = "", subresource] = what.split("/");
  const at = rest.indexOf("in");
  const namespace = at < 0 ? undefined : rest[at + 1];
  const name = at === 0 ? undefined : rest[0];
  return resourceTarget({
    verb,
    group,
    resource,
    ...(subresource !== undefined && { subresource }),
    ...(namespace !== undefined && { namespace }),
    ...(name !== undefined && { name }),
  });
}

export function user(username: string, ...groups: readonly string[]): User {
  return { username, groups: [...groups, "system:authenticated"] };
}

const group = "rbac.authorization.k8s.io";

export function role(name: string, namespace: string | undefined, ...rules: readonly object[]): KubeObject {
  return {
    apiVersion: `${group}/v1`,
    kind: namespace === undefined ? "ClusterRole" : "Role",
    metadata: { name, ...(namespace !== undefined && { namespace }) },
    rules,
  };
}

/** `binding("b", "default", "Role/r", "User/jane")`; a ServiceAccount is `ServiceAccount/NAMESPACE/NAME`. */
export function binding(name: string, namespace: string | undefined, roleText: string, subject: string): KubeObject {
  const [kind = "", roleName = ""] = roleText.split("/");
  const [subjectKind = "", ...names] = subject.split("/");
  return {
    apiVersion: `${group}/v1`,
    kind: namespace === undefined ? "ClusterRoleBinding" : "RoleBinding",
    metadata: { name, ...(namespace !== undefined && { namespace }) },
    roleRef: { apiGroup: group, kind, name: roleName },
    subjects: [
      subjectKind === "ServiceAccount"
        ? { kind: subjectKind, namespace: names[0], name: names[1] }
        : { apiGroup: group, kind: subjectKind, name: names.join("/") },
    ],
  };
}

export function pod(name: string, spec: object = {}, metadata: object = {}): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", ...metadata },
    spec: { containers: [{ name: "c", image: "nginx" }], ...spec },
  };
}

/** `403 Forbidden: …`, or `taken`. */
export function refusal(action: () => unknown): string {
  try {
    action();
    return "taken";
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    return `${error.code} ${error.reason}: ${error.message}`;
  }
}
