// What is kept and not acted upon: said in an Event on the object, so that nothing is silently ignored.
// Kinds as a whole are in the table of api/unhandled.ts, which `apply` warns from; here are the rows for what only some objects ask for.
// When a part learns to act on one of them, its row goes.

import type { CertificateSigningRequest } from "../../kube/certificate-request.ts";
import { sameJson } from "../../kube/equal.ts";
import type { KubeObject } from "../../kube/object.ts";
import { resourceOf } from "../../kube/resources.ts";
import type { ServedApi } from "../api/api.ts";
import { unhandled } from "../api/unhandled.ts";
import { loadBalancerClass } from "../../model/load-balancer-pools.ts";
import { signerRules } from "./certificate-signers.ts";
import type { Change } from "./objects.ts";
import type { TypedResource } from "./resources.ts";
import type { Cluster, Controller, Enqueue } from "./runtime.ts";

/** The reason of the Events. */
export const notImplementedReason = "NotImplemented";

/** What is not acted upon: a kind as a whole, or an object for what it asks (`found` says what). */
export interface NotImplemented {
  /** `Ingress.networking.k8s.io`, `Service.` (core). */
  readonly kind: string;
  /** What does not happen, as a sentence. */
  readonly message: string;
  readonly found?: (object: KubeObject) => boolean;
}

/** What is not acted upon today, besides the kinds of api/unhandled.ts. */
export const notImplemented: readonly NotImplemented[] = [
  part(
    "Service.",
    `nobody here acts on this spec.loadBalancerClass (the lab's own is ${loadBalancerClass}): the Service waits for an address`,
    (object) => {
      const { status } = object as { status?: { loadBalancer?: { ingress?: unknown[] } } };
      const { type, loadBalancerClass: wanted } = specOf(object);
      return (
        type === "LoadBalancer" &&
        wanted !== undefined &&
        wanted !== loadBalancerClass &&
        (status?.loadBalancer?.ingress ?? []).length === 0
      );
    },
  ),
  part(
    "CertificateSigningRequest.certificates.k8s.io",
    "nobody here signs for this spec.signerName: the request waits for a signer of its own",
    (object) => {
      const { status } = object as CertificateSigningRequest;
      return signerRules[String(specOf(object)["signerName"])] === undefined && (status?.certificate ?? "") === "";
    },
  ),
  part("Pod.", "there is no such scheduler (spec.schedulerName): the pod stays pending", (object) => {
    const { schedulerName, nodeName } = specOf(object);
    return nodeName === undefined && schedulerName !== undefined && schedulerName !== "default-scheduler";
  }),
  part("StatefulSet.apps", "spec.persistentVolumeClaimRetentionPolicy is not acted upon: claims are kept", (object) => {
    const policy = specOf(object)["persistentVolumeClaimRetentionPolicy"] as
      | { whenDeleted?: string; whenScaled?: string }
      | undefined;
    return policy?.whenDeleted === "Delete" || policy?.whenScaled === "Delete";
  }),
];

/** Reports the rows' objects, once each and again when what they ask for changes. */
export function notImplementedController(rows: readonly NotImplemented[]): (cluster: Cluster) => Controller {
  return ({ objects, ...cluster }) => {
    const events = cluster.events("fairlead");
    const messagesFor = messagesBy(rows);
    const changed = ({ object, previous }: Change, enqueue: Enqueue): void => {
      if (object === undefined) return;
      const messages = messagesFor(object);
      if (messages.length === 0) return;
      const before = previous === undefined ? [] : messagesFor(previous);
      const isNew = previous === undefined || previous.metadata.generation !== object.metadata.generation;
      if (isNew || !sameJson(messages, before)) enqueue(keyFor(object));
    };
    return {
      name: "not-implemented",
      watches: [{ resource: undefined, changed }],
      reconcile(key) {
        const [apiVersion = "", kind = "", namespace = "", name = ""] = key.split("|");
        const row = resourceOf(apiVersion, kind);
        if (row === undefined) return;
        const resource: TypedResource = row;
        const object = objects.get(resource, namespace === "" ? undefined : namespace, name);
        if (object === undefined) return;
        for (const message of messagesFor(object)) events.record(object, "Warning", notImplementedReason, message);
      },
    };
  };
}

/** What is kept and not acted upon, of all objects there are: what `fairlead status` names. */
export function keptObjects(
  api: Pick<ServedApi, "list" | "kinds">,
): readonly { readonly object: KubeObject; readonly message: string }[] {
  const messagesFor = messagesBy(notImplemented);
  const stored = new Map(api.kinds.all().map((row) => [`${row.stored.resource}.${row.stored.group}`, row.stored]));
  return [...stored.values()].flatMap((resource) =>
    api.list(resource).items.flatMap((object) => messagesFor(object).map((message) => ({ object, message }))),
  );
}

function messagesBy(rows: readonly NotImplemented[]): (object: KubeObject) => readonly string[] {
  const byKind = Map.groupBy(rows, ({ kind }) => kind);
  return (object) => {
    const kind = unhandled(object);
    const found = (byKind.get(kindOf(object)) ?? []).filter((row) => row.found?.(object) !== false);
    return [...(kind === undefined ? [] : [kind]), ...found.map(({ message }) => message)];
  };
}

function kindOf({ apiVersion, kind }: KubeObject): string {
  return `${kind}.${apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "") : ""}`;
}

function keyFor({ apiVersion, kind, metadata }: KubeObject): string {
  return [apiVersion, kind, metadata.namespace ?? "", metadata.name].join("|");
}

function part(kind: string, message: string, found: (object: KubeObject) => boolean): NotImplemented {
  return { kind, message, found };
}

/** An object's spec, with the fields a row asks for. */
function specOf(object: KubeObject): Readonly<Record<string, unknown>> {
  return (object["spec"] ?? {}) as Readonly<Record<string, unknown>>;
}
