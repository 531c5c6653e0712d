// Kinds that are stored and that nothing acts upon yet: `apply` warns of them (check.ts), and a controller says so in an Event
// (controllers/not-implemented.ts). A kind leaves this table when its controller comes.

import { resourceOf } from "../../kube/resources.ts";

const route = "the object is kept, no gateway routes traffic by it yet";
const scaling = "the object is kept, nothing scales by it yet";
const storage = "the object is kept, no storage is provisioned yet; use emptyDir, configMap, secret or hostPath";

/** What does not happen, by resource. */
const reasons: { readonly [resource: string]: string } = {
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
};

/** Kinds of others' definitions that nobody here will act upon, by version and kind. */
const replaced: { readonly [kind: string]: string } = {
  "policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy":
    "is NOT enforced: AdminNetworkPolicy was replaced; write a ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) with tier: Admin, where Allow is called Accept and ports are protocols",
  "policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy":
    "is NOT enforced: BaselineAdminNetworkPolicy was replaced; write a ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) with tier: Baseline, where Allow is called Accept and ports are protocols",
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
  if (row === undefined) return replaced[`${apiVersion} ${kind}`];
  return reasons[row.group === "" ? row.resource : `${row.resource}.${row.group}`];
}
