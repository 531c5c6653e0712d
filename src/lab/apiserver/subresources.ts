// Subresources: parts of an object with a door of their own (status, scale, ephemeral containers, …), and things one asks of it
// (binding, eviction, token). A subresource is a row.
//
// Not here: those that are streams (hooks.ts Streams).

import { withoutNullFields } from "../../kube/defaults.ts";
import type { Namespace, Pod } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import { badRequest } from "../api/errors.ts";
import { bindPod } from "./binding.ts";
import { objectOfKind, readRequiredBody, readObjectBody } from "./body.ts";
import { evictPod } from "./eviction.ts";
import { sendJson, type Exchange } from "./exchange.ts";
import { patchRequest } from "./patch.ts";
import { readObject } from "./read.ts";
import { showObject, type View } from "./represent.ts";
import { answer, answerWritten, writingOf, type ResourceOptions } from "./resource-answer.ts";
import { scaleRequest } from "./scale.ts";
import { methodNotAllowed, noSuchResource } from "./status.ts";
import { asksDryRun } from "./options.ts";
import { replaceObject, written, type Scope } from "./write.ts";

type Handler = (exchange: Exchange, view: View, options: ResourceOptions) => Promise<void>;

/** Answers a request about a subresource. Throws StatusError. */
export async function subresourceRequest(exchange: Exchange, view: View, options: ResourceOptions): Promise<void> {
  const { target } = exchange;
  const row = view.kind.subresources.find(({ name }) => name === target.subresource);
  if (row === undefined || target.rest.length > 0) throw noSuchResource();
  if (!row.verbs.includes(target.verb)) throw methodNotAllowed();
  const part = parts[row.name];
  if (part !== undefined) return partRequest(exchange, view, options, part);
  const handler = requests[row.name];
  if (handler === undefined) throw noSuchResource();
  return handler(exchange, view, options);
}

/** Subresources that are a part of the object: what of it they take over from what is given. */
const parts: { readonly [subresource: string]: Scope } = {
  status: (given, previous) => statusOnly(given, previous),
  approval: (given, previous) => statusOnly(given, previous),
  finalize: (given, previous) => ({
    ...identified(given, previous),
    spec: { ...(previous as Namespace).spec, finalizers: (given as Namespace).spec.finalizers ?? [] },
  }),
  ephemeralcontainers: (given, previous) => {
    const { ephemeralContainers } = (given as Pod).spec;
    const { ephemeralContainers: _, ...spec } = (previous as Pod).spec;
    return {
      ...identified(given, previous),
      spec: { ...spec, ...(ephemeralContainers === undefined ? {} : { ephemeralContainers }) },
    };
  },
  resize: (given, previous) => {
    const { spec } = previous as Pod;
    const resources = new Map((given as Pod).spec.containers.map((each) => [each.name, each.resources]));
    const containers = spec.containers.map((each) => {
      const wanted = resources.get(each.name);
      return wanted === undefined ? each : { ...each, resources: wanted };
    });
    return { ...identified(given, previous), spec: { ...spec, containers } };
  },
};

/** The previous object, with the resourceVersion and uid that were given: they are preconditions. */
function identified({ metadata }: KubeObject, previous: KubeObject): KubeObject {
  const { resourceVersion: _, ...kept } = previous.metadata;
  const { resourceVersion, uid } = metadata;
  return {
    ...previous,
    metadata: {
      ...kept,
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
      ...(uid === undefined ? {} : { uid }),
    },
  };
}

function statusOnly(given: KubeObject, previous: KubeObject): KubeObject {
  const { status: _, ...rest } = previous;
  const { status } = given;
  return { ...rest, metadata: given.metadata, ...(status === undefined ? {} : { status }) };
}

async function partRequest(exchange: Exchange, view: View, options: ResourceOptions, scope: Scope): Promise<void> {
  const { target } = exchange;
  const { kind } = view;
  switch (target.verb) {
    case "get":
      return answer(exchange, 200, showObject(readObject(options.api, kind, target), view), view);
    case "patch":
      return patchRequest(exchange, view, options, scope);
    case "update": {
      const body = await readRequiredBody(exchange, kind);
      const writing = writingOf(exchange, kind, options);
      const isRehearsal = asksDryRun(exchange);
      const { object } = await written(writing, isRehearsal, () => replaceObject(writing, body, scope));
      return answerWritten(exchange, 200, object, view, options.api);
    }
  }
  throw methodNotAllowed();
}

const tokenRequest = { apiVersion: "authentication.k8s.io/v1", version: "v1", kind: "TokenRequest" };

/** Subresources that are questions or orders. */
const requests: { readonly [subresource: string]: Handler } = {
  scale: scaleRequest,
  binding: bindPod,
  eviction: evictPod,
  token: async (exchange, view, options) => {
    const { api, answers } = options;
    const { target, user } = exchange;
    const parent = readObject(api, view.kind, target);
    const special = answers["serviceaccounts/token"];
    if (special === undefined) throw badRequest("this server issues no tokens");
    const body = (await readObjectBody(exchange, tokenRequest)) ?? {};
    const object = withoutNullFields(objectOfKind(body, tokenRequest, writingOf(exchange, view.kind, options)));
    sendJson(exchange, 201, await special({ user, target, object, parent }));
  },
};
