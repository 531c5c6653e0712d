// Binding: a scheduler's word on which node a pod runs (pods/binding, and the older POST of bindings).

import type { Pod } from "../../kube/kinds.ts";
import { createSession, whenSettled } from "../api/admission/pending.ts";
import { badRequest, conflict, notFound } from "../api/errors.ts";
import { readObjectBody, type Fields } from "./body.ts";
import { sendJson, type Exchange } from "./exchange.ts";
import type { View } from "./represent.ts";
import { actorOf, type ResourceOptions } from "./resource-answer.ts";
import { asksDryRun } from "./options.ts";

/** Answers POST of a binding. Throws StatusError. */
export async function bindPod(exchange: Exchange, _: View, { api }: ResourceOptions): Promise<void> {
  const { target } = exchange;
  const body = (await readObjectBody(exchange, { apiVersion: "v1", kind: "Binding" })) ?? {};
  const metadata = (body["metadata"] ?? {}) as { readonly name?: string; readonly annotations?: object };
  const name = target.name ?? metadata.name ?? "";
  if (target.name !== undefined && (metadata.name ?? "") !== target.name)
    throw badRequest("name in URL does not match name in Binding object");
  const node = nodeOf(body);
  const key = { group: "", resource: "pods", name, namespace: target.namespace ?? "" };
  const shown = { ...key, resource: "pods/binding" };
  const bind = (): void => {
    const pod = api.get(key) as Pod | undefined;
    if (pod === undefined) throw notFound(key);
    if (pod.metadata.deletionTimestamp !== undefined)
      throw conflict(shown, `pod ${name} is being deleted, cannot be assigned to a host`);
    if ((pod.spec.nodeName ?? "") !== "")
      throw conflict(shown, `pod ${name} is already assigned to node ${JSON.stringify(pod.spec.nodeName)}`);
    const annotations = { ...pod.metadata.annotations, ...metadata.annotations };
    const hasAny = Object.keys(annotations).length > 0;
    api.update({
      ...pod,
      metadata: { ...pod.metadata, ...(hasAny ? { annotations } : {}) },
      spec: { ...pod.spec, nodeName: node },
    });
  };
  const dryRun = asksDryRun(exchange);
  const session = createSession(true);
  const who = { ...actorOf(exchange), dryRun, session };
  await whenSettled(session, () => api.within(who, () => (dryRun ? api.rehearse(bind) : bind())));
  await api.flushed();
  sendJson(exchange, 201, { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 });
}

function nodeOf(body: Fields): string {
  const { kind = "Node", name } = (body["target"] ?? {}) as { readonly kind?: unknown; readonly name?: unknown };
  if (typeof name !== "string" || name === "") throw badRequest("target.name: Required value");
  if (kind !== "Node" && kind !== "") throw badRequest('target.kind: Unsupported value: supported values: "Node"');
  return name;
}
