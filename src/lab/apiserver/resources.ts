// Requests about resources, by verb: what is read, written or streamed, and how it is answered.
//
// Not here: who may (server.ts), and each verb's own rules (read.ts, write.ts, patch.ts, watch.ts, subresources.ts).

import { withoutNullFields } from "../../kube/defaults.ts";
import { deprecatedKinds } from "../../kube/warnings.ts";
import type { ServedApi } from "../api/api.ts";
import type { Kind } from "../api/kinds.ts";
import { badRequest } from "../api/errors.ts";
import { bindPod } from "./binding.ts";
import { objectOfKind, readRequiredBody, readObjectBody } from "./body.ts";
import { sendJson, type Exchange } from "./exchange.ts";
import { filterOf } from "./filter.ts";
import { formOf } from "./negotiate.ts";
import { asksDryRun } from "./options.ts";
import { patchRequest } from "./patch.ts";
import { numberOf, readList, readObject } from "./read.ts";
import { listChunks, showObject, type View } from "./represent.ts";
import { deletedStatus, methodNotAllowed, noSuchResource } from "./status.ts";
import { answer, answerChunks, answerWritten, writingOf, type ResourceOptions } from "./resource-answer.ts";
import { subresourceRequest } from "./subresources.ts";
import { serveWatch } from "./watch.ts";
import { createObject, deleteMatching, deleteObject, deleteOptionsOf, replaceObject, written } from "./write.ts";

/** Answers a request about a resource, but for streams. Throws StatusError. */
export async function serveResource(exchange: Exchange, kind: Kind, options: ResourceOptions): Promise<void> {
  const { target } = exchange;
  if (!kind.namespaced && target.namespace !== undefined && kind.resource !== "namespaces") throw noSuchResource();
  const view = viewOf(exchange, kind, options.clock);
  if (target.subresource !== undefined) return subresourceRequest(exchange, view, options);
  const isOfOne = target.verb === "update" || target.verb === "patch";
  if (!kind.verbs.includes(target.verb) || (isOfOne && target.name === undefined)) throw methodNotAllowed();
  const deprecation = deprecationOf(kind);
  if (deprecation !== undefined) exchange.warnings.add(deprecation);
  switch (target.verb) {
    case "get": {
      numberOf(target.query.get("resourceVersion"), "resourceVersion");
      const object = readObject(options.api, kind, target);
      await onDisk(options.api);
      return answer(exchange, 200, showObject(object, view), view);
    }
    case "list": {
      const chunks = readList(options.api, target, view);
      await onDisk(options.api);
      return answerChunks(exchange, 200, chunks, view);
    }
    case "watch":
      serveWatch(exchange, view, options.watch);
      return;
    case "create":
      return create(exchange, view, options);
    case "update":
      return update(exchange, view, options);
    case "patch":
      return patchRequest(exchange, view, options);
    case "delete":
      return remove(exchange, view, options);
    case "deletecollection":
      return removeAll(exchange, view, options);
  }
  throw methodNotAllowed();
}

function deprecationOf({ apiVersion, kind, custom }: Kind): string | undefined {
  if (custom?.deprecated === true) return custom.deprecationWarning;
  return deprecatedKinds[`${apiVersion}/${kind}`];
}

/**
 * Waits until what was read is on disk: a revision that a client has seen must never be given to another write, not even after a
 * crash. Where the disk refuses, reading goes on.
 */
async function onDisk(api: ServedApi): Promise<void> {
  await api.flushed().catch(() => undefined);
}

function viewOf(exchange: Exchange, kind: Kind, now: () => number): View {
  const { request, target } = exchange;
  const form = formOf(request.headers.accept, {
    isStored: kind.verbs.includes("get"),
    isList: target.verb === "list" ? true : target.verb === "get" ? false : undefined,
  });
  return { kind, form, rowObject: form.as === "table" ? rowObjectOf(target.query) : "Metadata", now };
}

// meta/v1 TableOptions
function rowObjectOf(query: URLSearchParams): View["rowObject"] {
  const given = query.get("includeObject") ?? "";
  if (given === "") return "Metadata";
  if (given === "None" || given === "Metadata" || given === "Object") return given;
  throw badRequest(
    `Unable to convert to Table as requested: includeObject: Invalid value: ${JSON.stringify(given)}: must be 'Metadata', 'Object', 'None', or empty`,
  );
}

async function create(exchange: Exchange, view: View, options: ResourceOptions): Promise<void> {
  const { kind } = view;
  const { target, user } = exchange;
  if (target.name !== undefined) throw methodNotAllowed();
  if (kind.kind === "Binding" && kind.group === "") return bindPod(exchange, view, options);
  const body = await readRequiredBody(exchange, kind);
  const special = options.answers[kind.group === "" ? kind.resource : `${kind.resource}.${kind.group}`];
  const writing = writingOf(exchange, kind, options);
  if (special !== undefined) {
    const object = withoutNullFields(objectOfKind(body, kind, writing));
    return answer(exchange, 201, await special({ user, target, object }), view);
  }
  // Reviews are answered or there is nothing to do with them.
  if (!kind.verbs.includes("get")) throw methodNotAllowed();
  const created = await written(writing, asksDryRun(exchange), () => createObject(writing, body));
  await answerWritten(exchange, 201, created, view, options.api);
}

async function update(exchange: Exchange, view: View, options: ResourceOptions): Promise<void> {
  const body = await readRequiredBody(exchange, view.kind);
  const writing = writingOf(exchange, view.kind, options);
  const isRehearsal = asksDryRun(exchange);
  const { object, isNew } = await written(writing, isRehearsal, () => replaceObject(writing, body));
  await answerWritten(exchange, isNew ? 201 : 200, object, view, options.api);
}

const deleteOptions = { apiVersion: "v1", kind: "DeleteOptions" };

async function remove(exchange: Exchange, view: View, options: ResourceOptions): Promise<void> {
  const { api } = options;
  const body = await readObjectBody(exchange, deleteOptions);
  const wanted = deleteOptionsOf(exchange.target.query, body);
  const writing = writingOf(exchange, view.kind, options);
  const { object, isGone } = await written(writing, wanted.isDryRun, () => deleteObject(writing, wanted));
  await api.flushed();
  const { name, uid } = object.metadata;
  if (isGone && !returnsObject.has(view.kind.resource)) sendJson(exchange, 200, deletedStatus(view.kind, name, uid));
  else await answer(exchange, 200, showObject(object, view), view);
}

/** Kinds whose deletion answers with what was deleted (pkg/registry ReturnDeletedObject). */
const returnsObject = new Set([
  "pods",
  "services",
  "serviceaccounts",
  "persistentvolumeclaims",
  "persistentvolumes",
  "podtemplates",
  "resourcequotas",
]);

async function removeAll(exchange: Exchange, view: View, options: ResourceOptions): Promise<void> {
  const { api } = options;
  const body = await readObjectBody(exchange, deleteOptions);
  const wanted = deleteOptionsOf(exchange.target.query, body);
  const filter = filterOf(view.kind, exchange.target);
  const writing = writingOf(exchange, view.kind, options);
  const deleted = await written(writing, wanted.isDryRun, () => deleteMatching(writing, filter, wanted));
  await api.flushed();
  await answerChunks(exchange, 200, listChunks(deleted, { resourceVersion: String(api.revision) }, view), view);
}
