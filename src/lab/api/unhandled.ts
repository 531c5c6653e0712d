// Kinds that are stored and that nothing acts upon yet: an object of such a kind says so, at `apply` and as an Event.
// A kind leaves this table when its controller comes.

import type { KubeObject } from "../../kube/object.ts";
import { resourceOf } from "../../kube/resources.ts";
import type { ObjectApi } from "./api.ts";
import { timeText } from "./bookkeeping.ts";
import { StatusError } from "./store.ts";

const route = "the object is kept, no gateway routes traffic by it yet";
const scaling = "the object is kept, nothing scales by it yet";
const storage = "the object is kept, no storage is provisioned yet; use emptyDir, configMap, secret or hostPath";

/** What does not happen, by resource. */
const reasons: { readonly [resource: string]: string } = {
  "networkpolicies.networking.k8s.io": "the object is kept, policies are not enforced yet: all traffic is allowed",
  "clusternetworkpolicies.policy.networking.k8s.io":
    "the object is kept, policies are not enforced yet: all traffic is allowed",
  "ingresses.networking.k8s.io": route,
  "gateways.gateway.networking.k8s.io": route,
  "httproutes.gateway.networking.k8s.io": route,
  "grpcroutes.gateway.networking.k8s.io": route,
  "tlsroutes.gateway.networking.k8s.io": route,
  "tcproutes.gateway.networking.k8s.io": route,
  "udproutes.gateway.networking.k8s.io": route,
  "listenersets.gateway.networking.k8s.io": route,
  "backendtlspolicies.gateway.networking.k8s.io": route,
  "serviceexports.multicluster.x-k8s.io": "the object is kept, Services are not exported to other clusters yet",
  "serviceimports.multicluster.x-k8s.io": "the object is kept, Services are not imported from other clusters yet",
  replicationcontrollers: "the object is kept, no pods are made by it; use a Deployment",
  "horizontalpodautoscalers.autoscaling": scaling,
  persistentvolumeclaims: storage,
  persistentvolumes: storage,
  "customresourcedefinitions.apiextensions.k8s.io": "the object is kept, its kind is not served yet",
};

/** What does not happen to an object although somebody may expect it; undefined where something acts upon its kind. */
export function unhandled({
  apiVersion,
  kind,
}: {
  readonly apiVersion: string;
  readonly kind: string;
}): string | undefined {
  const row = resourceOf(apiVersion, kind);
  if (row === undefined) return undefined;
  return reasons[row.group === "" ? row.resource : `${row.resource}.${row.group}`];
}

/** Writes an Event about every object that nothing acts upon, now and from now on; one per object. */
export function reportUnhandled(
  api: Pick<ObjectApi, "watch" | "create">,
  clock: () => number = Date.now,
): { close(): void } {
  return api.watch("all", 0, (event) => {
    if (event.type !== "ADDED") return;
    const message = unhandled(event.object);
    if (message === undefined) return;
    try {
      api.create(eventAbout(event.object, message, timeText(clock())));
    } catch (error) {
      // It was said before, or the namespace is going: both are no news.
      if (!(error instanceof StatusError) || (error.code !== 409 && error.code !== 403 && error.code !== 404))
        throw error;
    }
  });
}

function eventAbout({ apiVersion, kind, metadata }: KubeObject, message: string, time: string): KubeObject {
  const namespace = metadata.namespace ?? "default";
  return {
    apiVersion: "v1",
    kind: "Event",
    // The uid tells an object from a later one of the same name.
    metadata: { name: `${metadata.name}.${(metadata.uid ?? "").replaceAll("-", "").slice(0, 16)}`, namespace },
    involvedObject: {
      apiVersion,
      kind,
      name: metadata.name,
      namespace: metadata.namespace,
      uid: metadata.uid,
      resourceVersion: metadata.resourceVersion,
    },
    type: "Warning",
    reason: "NotImplemented",
    message,
    source: { component: "fairlead" },
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  };
}
