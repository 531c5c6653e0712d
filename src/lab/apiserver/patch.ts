// Patches, by their content type: JSON patch, merge patch, strategic merge patch, and apply (server-side).
//
// Not here: what each does to a value (patch/), who owns which field (managed/).

import type { KubeObject } from "../../kube/object.ts";
import { schemaOf } from "../../kube/schema.ts";
import { forbidden, invalid, required } from "../../kube/problem.ts";
import { badRequest, conflict, invalidObject, notFound } from "../api/errors.ts";
import { StatusError } from "../api/store.ts";
import { configurationOfKind, objectOfKind, parseYaml, type Fields } from "./body.ts";
import { fromStored, toStored } from "./conversions.ts";
import { readBody, type Exchange } from "./exchange.ts";
import { applyConfiguration } from "./managed/managers.ts";
import { parseRange } from "./negotiate.ts";
import { checkedNesting } from "./nesting.ts";
import { asksDryRun, invalidOptions } from "./options.ts";
import { applyJsonPatch, applyMergePatch, isFields, PatchError } from "./patch/json-patch.ts";
import { applyStrategicMerge } from "./patch/strategic-merge.ts";
import type { View } from "./represent.ts";
import { answerWritten, writingOf, type ResourceOptions } from "./resource-answer.ts";
import { unsupportedMedia } from "./status.ts";
import {
  createObject,
  keyOf,
  managerOf,
  placed,
  storeReplacement,
  written,
  type Replaced,
  type Scope,
  type Writing,
} from "./write.ts";

/** A patch as it was sent. */
export type Patch =
  | { readonly kind: "json"; readonly operations: unknown }
  | { readonly kind: "merge"; readonly value: unknown }
  | { readonly kind: "strategic"; readonly value: unknown }
  | { readonly kind: "apply"; readonly configuration: Fields; readonly isForced: boolean };

/** Answers PATCH on a resource or, with a scope, on a part of it. Throws StatusError. */
export async function patchRequest(
  exchange: Exchange,
  view: View,
  options: ResourceOptions,
  scope?: Scope,
): Promise<void> {
  const patch = await readPatch(exchange, view);
  const writing = writingOf(exchange, view.kind, options);
  const isRehearsal = asksDryRun(exchange);
  const { object, isNew } = await written(writing, isRehearsal, () => patchObject(writing, patch, scope));
  await answerWritten(exchange, isNew ? 201 : 200, object, view, options.api);
}

const patchTypes = {
  json: "application/json-patch+json",
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
  apply: "application/apply-patch+yaml",
} as const;

/** Reads the body as what its content type says. Throws StatusError 400, 413, 415, 422. */
export async function readPatch({ request, target }: Exchange, { kind }: Pick<View, "kind">): Promise<Patch> {
  const { type } = parseRange(request.headers["content-type"] ?? "");
  const { query } = target;
  const text = (await readBody(request)).toString();
  if (type !== patchTypes.apply && query.has("force"))
    throw invalidOptions("PatchOptions", forbidden("force", "may not be specified for non-apply patch"));
  switch (type) {
    case patchTypes.json:
      return { kind: "json", operations: parsed(text) };
    case patchTypes.merge:
      return { kind: "merge", value: parsed(text) };
    case patchTypes.strategic:
      if (kind.custom === undefined) return { kind: "strategic", value: fieldsIn(parsed(text)) };
      break;
    case patchTypes.apply: {
      if ((query.get("fieldManager") ?? "") === "")
        throw invalidOptions("PatchOptions", required("fieldManager", "is required for apply patch"));
      const configuration = await parseYaml(text);
      if (!isFields(configuration)) throw badRequest("an apply configuration is an object");
      return { kind: "apply", configuration, isForced: ["", "true", "1"].includes(query.get("force") ?? "false") };
    }
  }
  const supported = Object.values(patchTypes).filter(
    (each) => each !== patchTypes.strategic || kind.custom === undefined,
  );
  throw unsupportedMedia(type, supported);
}

function fieldsIn(value: unknown): Fields {
  if (isFields(value)) return value;
  throw badRequest("error decoding patch: a strategic merge patch is an object");
}

function parsed(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw badRequest(`error decoding patch: ${error instanceof Error ? error.message : String(error)}`);
  }
  return checkedNesting(value);
}

/** Patches what a path names. Throws StatusError. */
export function patchObject(writing: Writing, patch: Patch, scope?: Scope): Replaced {
  const { api, kind, target } = writing;
  const live = api.get(keyOf(writing));
  if (patch.kind === "apply") return applyObject(writing, patch, live, scope);
  if (live === undefined) throw notFound({ group: kind.group, resource: kind.resource, name: target.name ?? "" });
  const result = patchedFields(fromStored(live, kind), patch, schemaOf(kind.apiVersion, kind.kind));
  const object = placed(patchedObject(result, writing), writing);
  return { object: storeReplacement(writing, object, live, scope === undefined ? {} : { scope }), isNew: false };
}

/** What a patch has made, as an object. Throws StatusError 422 where it is none: the patch is to blame. */
function patchedObject(fields: Fields, writing: Writing): KubeObject {
  try {
    return objectOfKind(fields, writing.kind, writing);
  } catch (error) {
    if (!(error instanceof StatusError) || error.code !== 400) throw error;
    const message = `Invalid value: ${JSON.stringify(JSON.stringify(fields))}: ${error.message}`;
    throw new StatusError(422, "Invalid", ` "" is invalid: patch: ${message}`, {
      causes: [{ reason: "FieldValueInvalid", message, field: "patch" }],
    });
  }
}

/** A document with a patch other than an apply. Throws StatusError 422 where it does not fit. */
export function patchedFields(
  document: unknown,
  patch: Exclude<Patch, { kind: "apply" }>,
  type: ReturnType<typeof schemaOf>,
): Fields {
  const result = fitted(() => {
    switch (patch.kind) {
      case "json":
        return applyJsonPatch(document, patch.operations);
      case "merge":
        return applyMergePatch(document, patch.value);
      case "strategic":
        return type === undefined
          ? applyMergePatch(document, patch.value)
          : applyStrategicMerge(document, patch.value, type);
    }
  });
  if (!isFields(result)) throw badRequest("a patch cannot make anything but an object of an object");
  return checkedNesting(result);
}

function fitted<T>(apply: () => T): T {
  try {
    return apply();
  } catch (error) {
    if (!(error instanceof PatchError)) throw error;
    const message = `the server rejected our request due to an error in our request: ${error.message}`;
    throw new StatusError(422, "Invalid", message, {});
  }
}

function textOfType(value: unknown): string {
  return typeof value === "string" ? value : "";
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";

function applyObject(
  writing: Writing,
  { configuration, isForced }: Extract<Patch, { kind: "apply" }>,
  live: KubeObject | undefined,
  scope: Scope | undefined,
): Replaced {
  const { api, kind, manager, target } = writing;
  // apimachinery managedfields/fieldmanager.go: it says what it is.
  const { apiVersion, kind: name } = configuration;
  if (typeof apiVersion !== "string" || apiVersion === "" || typeof name !== "string" || name === "")
    throw badRequest(`invalid object type: ${textOfType(apiVersion)}, Kind=${textOfType(name)}`);
  const given = placed(configurationOfKind(configuration, kind), writing);
  const said = isFields(configuration["metadata"]) ? configuration["metadata"]["managedFields"] : undefined;
  if (said !== undefined && said !== null) throw badRequest("metadata.managedFields must be nil");
  const key = { group: kind.group, resource: kind.resource, name: target.name ?? "" };
  if (live === undefined && (target.subresource !== undefined || (given.metadata.uid ?? "") !== ""))
    throw notFound(key);
  const { resourceVersion } = given.metadata;
  const isOther = live !== undefined && resourceVersion !== live.metadata.resourceVersion;
  if ((resourceVersion ?? "") !== "" && isOther) throw conflict(key);
  const { uid } = given.metadata;
  if (live !== undefined && (uid ?? "") !== "" && uid !== live.metadata.uid)
    throw invalidObject(kind, key.name, [invalid("metadata.uid", uid, "field is immutable")]);
  const wanted = toStored(given, kind);
  const { object, managedFields } = applyConfiguration(wanted, live, { manager: managerOf(writing), isForced });
  if (live === undefined) {
    // Nothing is there that it could be another version of.
    const { resourceVersion: _, ...metadata } = given.metadata;
    const first = { ...given, metadata };
    const created = createObject({ ...writing, target: { ...target, name: undefined } }, first, managedFields);
    return { object: created, isNew: true };
  }
  const isKubectl = manager === "kubectl" && live.metadata.annotations?.[lastApplied] !== undefined;
  const annotated = isKubectl ? withLastApplied(object, configuration) : object;
  const next = { ...annotated, metadata: { ...annotated.metadata, managedFields } };
  return {
    object: storeReplacement({ ...writing, api }, fromStored(next, kind), live, {
      managed: true,
      ...(scope === undefined ? {} : { scope }),
    }),
    isNew: false,
  };
}

// fieldmanager/lastappliedupdater.go: so that a client-side apply after this one knows what was applied.
function withLastApplied(object: KubeObject, configuration: Fields): KubeObject {
  const text = `${JSON.stringify(configuration)}\n`;
  return {
    ...object,
    metadata: { ...object.metadata, annotations: { ...object.metadata.annotations, [lastApplied]: text } },
  };
}
