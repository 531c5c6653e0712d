// What requests about resources have in common, whatever their verb: who asks, what a write needs, and the answer in the form that was asked for.
//
// Not here: the verbs (resources.ts, patch.ts, subresources.ts and theirs).

import type { KubeObject } from "../../kube/object.ts";
import type { Actor, ServedApi } from "../api/api.ts";
import type { Kind } from "../api/kinds.ts";
import { guardedApi } from "./authz-guarded-api.ts";
import { send, sendChunks, sendJson, type Exchange } from "./exchange.ts";
import type { Answer, Guard } from "./hooks.ts";
import { fieldValidationOf, managerName, optionsKindOf } from "./options.ts";
import { showObject, type View } from "./represent.ts";
import type { WatchOptions } from "./watch.ts";
import type { Writing } from "./write.ts";

/** What requests about resources need besides themselves. */
export interface ResourceOptions {
  readonly api: ServedApi;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly watch: WatchOptions;
  /** Answers to creates of what is not stored, by resource. */
  readonly answers: { readonly [resource: string]: Answer };
  /** Looks at every write before it is made. */
  readonly guard?: Guard | undefined;
}

/** What a write of this request needs. */
export function writingOf(
  exchange: Exchange,
  kind: Kind,
  { api, clock, guard }: Pick<ResourceOptions, "api" | "clock" | "guard">,
): Writing {
  const { target, warnings, request, user } = exchange;
  const optionsKind = optionsKindOf(request.method);
  return {
    api: guard === undefined ? api : guardedApi(api, { guard, kind, user, target }),
    kind,
    target,
    warnings,
    actor: actorOf(exchange),
    manager: managerName(target.query.get("fieldManager"), request.headers["user-agent"], optionsKind),
    validation: fieldValidationOf(target.query, optionsKind),
    nowMs: clock(),
  };
}

/** Who writes, as admission sees it. */
export function actorOf({ user, target, warnings }: Pick<Exchange, "user" | "target" | "warnings">): Actor {
  return {
    ...user,
    ...(target.subresource === undefined ? {} : { subresource: target.subresource }),
    warn: (text) => warnings.add(text),
  };
}

/** Answers with what has been written, once it is on disk. */
export async function answerWritten(
  exchange: Exchange,
  code: number,
  object: KubeObject,
  view: View,
  api: ServedApi,
): Promise<void> {
  await api.flushed();
  const isRehearsal = exchange.target.query.has("dryRun");
  await answer(exchange, code, showObject(isRehearsal ? unwritten(object, view, api) : object, view), view);
}

/** What was only rehearsed has no number of its own. */
function unwritten(object: KubeObject, { kind }: View, api: ServedApi): KubeObject {
  const { group, resource } = kind.stored;
  const { name, namespace } = object.metadata;
  const live = api.get({ group, resource, name, ...(namespace === undefined ? {} : { namespace }) });
  const { resourceVersion: _, ...metadata } = object.metadata;
  const resourceVersion = live?.metadata.resourceVersion;
  return { ...object, metadata: { ...metadata, ...(resourceVersion === undefined ? {} : { resourceVersion }) } };
}

/** Sends a value in the view's encoding. */
export async function answer(exchange: Exchange, code: number, value: unknown, view: View): Promise<void> {
  if (view.form.encoding === "json") sendJson(exchange, code, value);
  else await sendYaml(exchange, code, value);
}

/** Sends a value piece by piece in the view's encoding. */
export async function answerChunks(
  exchange: Exchange,
  code: number,
  chunks: Iterable<string>,
  view: View,
): Promise<void> {
  if (view.form.encoding === "json") await sendChunks(exchange, code, chunks);
  else await sendYaml(exchange, code, JSON.parse([...chunks].join("")));
}

async function sendYaml(exchange: Exchange, code: number, value: unknown): Promise<void> {
  const { stringify } = await import("yaml");
  send(exchange, code, stringify(value), { "Content-Type": "application/yaml" });
}
