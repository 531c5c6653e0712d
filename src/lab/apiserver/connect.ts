// Admission of streams: whether exec, attach, portforward or a proxy may be opened (CONNECT), by ValidatingAdmissionPolicies and webhooks
// (apiserver endpoints/handlers/rest.go ConnectResource). Logs are read, not connected to.

import type { KubeObject } from "../../kube/object.ts";
import { createSession, whenSettled } from "../api/admission/pending.ts";
import type { Actor, ServedApi } from "../api/api.ts";
import type { Kind } from "../api/kinds.ts";
import type { StreamRequest } from "./hooks.ts";
import { isTrue, type Target } from "./target.ts";

/** Resolves when the stream may be opened. Throws the StatusError of whoever refuses it. */
export async function admitStream(
  api: ServedApi,
  kind: Kind,
  { user, target, object }: StreamRequest,
  warn: (text: string) => void,
): Promise<void> {
  const { subresource = "" } = target;
  const options = optionsOf[subresource]?.(kind, target);
  if (options === undefined) return;
  const { name, namespace } = object.metadata;
  const asked: KubeObject = {
    apiVersion: "v1",
    ...options,
    metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
  };
  const session = createSession(false);
  const actor: Actor = { ...user, subresource, session, warn };
  await whenSettled(session, () => api.within(actor, () => api.connect(kind, asked)));
}

type Options = { readonly kind: string } & Readonly<Record<string, unknown>>;

/** core/v1 PodExecOptions and its like, from a request's path and query. */
const optionsOf: { readonly [subresource: string]: (kind: Kind, target: Target) => Options } = {
  exec: (_, { query }) => ({ kind: "PodExecOptions", ...terminal(query), command: query.getAll("command") }),
  attach: (_, { query }) => ({ kind: "PodAttachOptions", ...terminal(query) }),
  portforward: (_, { query }) => {
    const ports = query.getAll("ports").flatMap((text) => text.split(",").map(Number));
    return { kind: "PodPortForwardOptions", ...(ports.length > 0 && { ports }) };
  },
  proxy: ({ kind }, { rest }) => ({ kind: `${kind}ProxyOptions`, path: `/${rest.join("/")}` }),
};

function terminal(query: URLSearchParams): Readonly<Record<string, unknown>> {
  const container = query.get("container");
  const switches = ["stdin", "stdout", "stderr", "tty"].filter((name) => isTrue(query.get(name)));
  return { ...Object.fromEntries(switches.map((name) => [name, true])), ...(container !== null && { container }) };
}
