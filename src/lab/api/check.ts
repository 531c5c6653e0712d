// Checks everything that is to be applied before any of it is stored, so that nothing is half-applied: every object by itself, each
// against what it would replace, and all of them together.
//
// Not here: what allocation may still refuse (an address that is taken): admission says that when the object is stored, and `refused` puts
// file and line to it.

import { objectProblems } from "../../kube/check.ts";
import { warningsOf } from "../../kube/warnings.ts";
import { withDefaults } from "../../kube/defaults.ts";
import type { KubeObject } from "../../kube/object.ts";
import { problemText, type FieldProblem } from "../../kube/problem.ts";
import { resourceOf } from "../../kube/resources.ts";
import { sameButSource } from "../../kube/source.ts";
import { suspicions } from "../../kube/suspicions.ts";
import { validateUpdate } from "../../kube/validate.ts";
import { originOf } from "../../model/origin.ts";
import type { ObjectApi, ServedApi } from "./api.ts";
import { applied } from "./apply.ts";
import { replacement } from "./bookkeeping.ts";
import { StatusError, type ObjectKey } from "./store.ts";
import type { CustomResourceDefinition } from "./custom-definitions.ts";
import type { Kinds } from "./kinds.ts";
import { unhandled } from "./unhandled.ts";

export interface CheckResult {
  /** A line each: `shop.yaml:31: Service production/api-server: spec.ports[0].port: Invalid value: …`. */
  readonly errors: readonly string[];
  /** What is allowed and worth knowing, by the object it is about. */
  readonly warnings: ReadonlyMap<KubeObject, readonly string[]>;
}

/** Would all of these objects be taken by `apply`, in whatever order? Objects need their namespaces; nothing is written. */
export function checkAll(
  api: Pick<ObjectApi, "get" | "list"> & Partial<Pick<ServedApi, "kinds">>,
  objects: readonly KubeObject[],
): CheckResult {
  const errors: string[] = [];
  const warnings = new Map<KubeObject, string[]>();
  const warn = (object: KubeObject, field: string, text: string): void => {
    warnings.set(object, [...(warnings.get(object) ?? []), say(object, field, text)]);
  };
  const together = new Set(objects.map((object) => idOf(object)));
  const seen = new Map<string, KubeObject>();
  for (const object of objects) {
    // Custom resources are checked by their own schema, when they are stored.
    if (isCustom(api.kinds, objects, object)) {
      const missing = unhandled(object);
      if (missing !== undefined) warn(object, "", missing);
      continue;
    }
    const problems = [...problemsOf(api, object), ...placeProblems(api, object, together)];
    const before = seen.get(idOf(object));
    if (before !== undefined && !sameButSource(before, object)) problems.push(twice(object));
    seen.set(idOf(object), object);
    for (const problem of problems) errors.push(say(object, problem.field, problemText(problem)));
    if (problems.length > 0) continue;
    for (const { field, text } of warningsOf(object)) warn(object, field, text);
    const missing = unhandled(object);
    if (missing !== undefined) warn(object, "", missing);
  }
  if (errors.length === 0)
    for (const { object, field, message } of suspicions(withLive(api, objects)))
      if (objects.includes(object)) warn(object, field, `${field}: ${message}`);
  return { errors, warnings };
}

/** Is it of a kind that a definition makes, one that is there or one that comes along? */
function isCustom(kinds: Kinds | undefined, objects: readonly KubeObject[], { apiVersion, kind }: KubeObject): boolean {
  if (resourceOf(apiVersion, kind) !== undefined) return false;
  if (kinds?.of(apiVersion, kind) !== undefined) return true;
  return objects.some((object) => {
    if (object.kind !== "CustomResourceDefinition") return false;
    const { group, names, versions } = (object["spec"] ?? {}) as Partial<CustomResourceDefinition["spec"]>;
    return names?.kind === kind && (versions ?? []).some(({ name }) => `${group}/${name}` === apiVersion);
  });
}

/** What was refused when one of several objects was stored, with the file and line it comes from: `details.problems` is a line each. */
export function refused(object: KubeObject, error: StatusError): StatusError {
  const causes = (error.details["causes"] ?? []) as readonly FieldProblem[];
  const lines = causes.map((cause) => say(object, cause.field, problemText(cause)));
  const problems = lines.length > 0 ? lines : [say(object, "", error.message)];
  return new StatusError(error.code, error.reason, error.message, { ...error.details, problems });
}

function say(object: KubeObject, field: string, text: string): string {
  return `${prefixOf(object, field)}${nameOf(object)}: ${text}`;
}

function twice({ metadata: { name } }: KubeObject): FieldProblem {
  const message = `Duplicate value: ${JSON.stringify(name)}: the object is there twice, and says something else there`;
  return { field: "metadata.name", reason: "FieldValueDuplicate", message };
}

function prefixOf(object: KubeObject, field: string): string {
  const { source } = originOf(object, field);
  return source === undefined ? "" : `${source}: `;
}

function nameOf({ kind, metadata: { namespace, name } }: KubeObject): string {
  return namespace === undefined ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;
}

function idOf({ apiVersion, kind, metadata: { namespace, name } }: KubeObject): string {
  return `${resourceOf(apiVersion, kind)?.group ?? apiVersion} ${kind} ${namespace ?? ""} ${name}`;
}

function keyOf(object: KubeObject): ObjectKey | undefined {
  const row = resourceOf(object.apiVersion, object.kind);
  if (row === undefined) return undefined;
  const { name, namespace } = object.metadata;
  return {
    group: row.group,
    resource: row.resource,
    name,
    ...(row.namespaced && namespace !== undefined ? { namespace } : {}),
  };
}

/** By itself, or as what it makes of the object that is there. */
function problemsOf(api: Pick<ObjectApi, "get">, object: KubeObject): FieldProblem[] {
  const problems = objectProblems(object);
  if (problems.length > 0) return problems;
  const key = keyOf(object);
  const live = key === undefined ? undefined : api.get(key);
  return live === undefined ? [] : validateUpdate(withDefaults(replacement(applied(object, live), live)), live);
}

/** The namespace it is to live in must be there, or come along. */
function placeProblems(api: Pick<ObjectApi, "get">, object: KubeObject, together: ReadonlySet<string>): FieldProblem[] {
  const row = resourceOf(object.apiVersion, object.kind);
  const { namespace } = object.metadata;
  if (row?.namespaced !== true) return [];
  if (namespace === undefined)
    return [{ field: "metadata.namespace", reason: "FieldValueRequired", message: "Required value" }];
  const live = api.get({ group: "", resource: "namespaces", name: namespace });
  if (live === undefined && !together.has(` Namespace  ${namespace}`))
    return [problem(`Not found: there is no namespace ${namespace}: add a manifest for it, or create it first`)];
  if (live?.metadata.deletionTimestamp !== undefined)
    return [problem(`Forbidden: namespace ${namespace} is being terminated: wait until it is gone`)];
  return [];
}

function problem(message: string): FieldProblem {
  return { field: "metadata.namespace", reason: "FieldValueNotFound", message };
}

/** The objects and, besides them, the workloads that are already there: Services may select those. */
function withLive(api: Pick<ObjectApi, "list">, objects: readonly KubeObject[]): readonly KubeObject[] {
  const ids = new Set(objects.map(idOf));
  const kinds = [
    { group: "", resource: "pods" },
    { group: "apps", resource: "deployments" },
    { group: "apps", resource: "statefulsets" },
    { group: "apps", resource: "daemonsets" },
  ];
  const live = kinds.flatMap((resource) => api.list(resource).items).filter((object) => !ids.has(idOf(object)));
  return [...objects, ...live];
}
