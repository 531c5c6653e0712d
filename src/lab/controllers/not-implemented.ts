// What is kept and not acted upon: said in an Event on the object, so that nothing is silently ignored. A row a kind or field.
// When a part learns to act on one of them, its row goes.

import { sameJson } from "../../kube/equal.ts";
import type { KubeObject } from "../../kube/object.ts";
import { resourceOf } from "../../kube/resources.ts";
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

/** Everything that is not acted upon today. */
export const notImplemented: readonly NotImplemented[] = [
  whole("Ingress.networking.k8s.io", "there is no ingress controller yet: no traffic is accepted for it"),
  whole("NetworkPolicy.networking.k8s.io", "network policies are not enforced yet: all traffic stays allowed"),
  whole("Gateway.gateway.networking.k8s.io", "there is no gateway controller yet: no traffic is accepted for it"),
  whole("GatewayClass.gateway.networking.k8s.io", "there is no gateway controller yet: the class is not accepted"),
  ...["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"].map((kind) =>
    whole(`${kind}.gateway.networking.k8s.io`, "there is no gateway controller yet: nothing is routed by it"),
  ),
  whole("HorizontalPodAutoscaler.autoscaling", "there is no autoscaler: the number of replicas stays as it is"),
  whole(
    "PersistentVolumeClaim.",
    "there is no volume provisioner: the claim stays as it is, and pods get no such storage",
  ),
  whole("PersistentVolume.", "there is no volume controller: nothing is bound or mounted"),
  whole("PodDisruptionBudget.policy", "evictions do not look at disruption budgets: nothing is held back"),
  whole("ResourceQuota.", "quotas are not enforced"),
  whole("LimitRange.", "limits are not enforced"),
  whole("ReplicationController.", "there is no controller for it: no pods are made; use a Deployment"),
  part(
    "Service.",
    "there is no load balancer: no external address is assigned; its cluster address and node ports work",
    (object) => {
      const { spec, status } = object as {
        spec?: { type?: string };
        status?: { loadBalancer?: { ingress?: unknown[] } };
      };
      return spec?.type === "LoadBalancer" && (status?.loadBalancer?.ingress ?? []).length === 0;
    },
  ),
  part(
    "Service.",
    "topology-aware hints are not computed: traffic goes to all zones; use spec.trafficDistribution",
    (object) =>
      ["Auto", "auto"].includes(
        object.metadata.annotations?.["service.kubernetes.io/topology-mode"] ??
          object.metadata.annotations?.["service.kubernetes.io/topology-aware-hints"] ??
          "",
      ),
  ),
  part("Pod.", "there is no such scheduler (spec.schedulerName): the pod stays pending", (object) => {
    const { schedulerName, nodeName } = specOf(object);
    return nodeName === undefined && schedulerName !== undefined && schedulerName !== "default-scheduler";
  }),
  part(
    "Job.batch",
    "spec.podFailurePolicy is not acted upon: every failure counts against backoffLimit",
    has("podFailurePolicy"),
  ),
  part("Job.batch", "spec.successPolicy is not acted upon: all completions are needed", has("successPolicy")),
  part(
    "Job.batch",
    "spec.backoffLimitPerIndex is not acted upon: failures count for the whole Job",
    has("backoffLimitPerIndex"),
  ),
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
    const byKind = Map.groupBy(rows, ({ kind }) => kind);
    const rowsFor = (object: KubeObject): readonly NotImplemented[] => {
      return (byKind.get(kindOf(object)) ?? []).filter(({ found }) => found === undefined || found(object));
    };
    const changed = ({ object, previous }: Change, enqueue: Enqueue): void => {
      if (object === undefined || !byKind.has(kindOf(object))) return;
      const messages = rowsFor(object).map(({ message }) => message);
      if (messages.length === 0) return;
      const before = previous === undefined ? [] : rowsFor(previous).map(({ message }) => message);
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
        for (const { message } of rowsFor(object)) {
          events.record(object, "Warning", notImplementedReason, `${kind} ${name}: ${message}`);
        }
      },
    };
  };
}

function kindOf({ apiVersion, kind }: KubeObject): string {
  return `${kind}.${apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "") : ""}`;
}

function keyFor({ apiVersion, kind, metadata }: KubeObject): string {
  return [apiVersion, kind, metadata.namespace ?? "", metadata.name].join("|");
}

function whole(kind: string, message: string): NotImplemented {
  return { kind, message };
}

function part(kind: string, message: string, found: (object: KubeObject) => boolean): NotImplemented {
  return { kind, message, found };
}

/** An object's spec, with the fields a row asks for. */
function specOf(object: KubeObject): Readonly<Record<string, unknown>> {
  return (object["spec"] ?? {}) as Readonly<Record<string, unknown>>;
}

function has(field: string): (object: KubeObject) => boolean {
  return (object) => specOf(object)[field] !== undefined;
}
