// The resources the controllers work on, each tied to the type of its objects.
//
// Not here: the table of all resources (kube/resources.ts); these are the ones that the code below names.

import type {
  ConfigMap,
  ControllerRevision,
  CronJob,
  DaemonSet,
  Deployment,
  EndpointSlice,
  Endpoints,
  Event,
  IPAddress,
  Job,
  Lease,
  Namespace,
  Node,
  Pod,
  ReplicaSet,
  ReplicationController,
  Service,
  ServiceAccount,
  ServiceCIDR,
  StatefulSet,
} from "../../kube/kinds.ts";
import type { CertificateSigningRequest } from "../../kube/certificate-request.ts";
import type { LoadBalancerPool } from "../../kube/load-balancer-pool.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { ResourceName } from "../api/store.ts";

/** A resource whose objects have the type T. */
export interface TypedResource<T extends KubeObject = KubeObject> extends ResourceName {
  readonly apiVersion: T["apiVersion"];
  readonly kind: T["kind"];
  readonly namespaced: boolean;
}

export interface PersistentVolumeClaim extends KubeObject {
  readonly apiVersion: "v1";
  readonly kind: "PersistentVolumeClaim";
}

export const pods: TypedResource<Pod> = core("pods", "Pod");
export const services: TypedResource<Service> = core("services", "Service");
export const endpoints: TypedResource<Endpoints> = core("endpoints", "Endpoints");
export const replicationControllers: TypedResource<ReplicationController> = core(
  "replicationcontrollers",
  "ReplicationController",
);
export const events: TypedResource<Event> = core("events", "Event");
export const configMaps: TypedResource<ConfigMap> = core("configmaps", "ConfigMap");
export const serviceAccounts: TypedResource<ServiceAccount> = core("serviceaccounts", "ServiceAccount");
export const persistentVolumeClaims: TypedResource<PersistentVolumeClaim> = core(
  "persistentvolumeclaims",
  "PersistentVolumeClaim",
);
export const namespaces: TypedResource<Namespace> = {
  ...core<Namespace>("namespaces", "Namespace"),
  namespaced: false,
};
export const nodes: TypedResource<Node> = { ...core<Node>("nodes", "Node"), namespaced: false };
export const deployments: TypedResource<Deployment> = apps("deployments", "Deployment");
export const replicaSets: TypedResource<ReplicaSet> = apps("replicasets", "ReplicaSet");
export const statefulSets: TypedResource<StatefulSet> = apps("statefulsets", "StatefulSet");
export const daemonSets: TypedResource<DaemonSet> = apps("daemonsets", "DaemonSet");
export const controllerRevisions: TypedResource<ControllerRevision> = apps("controllerrevisions", "ControllerRevision");
export const jobs: TypedResource<Job> = batch("jobs", "Job");
export const cronJobs: TypedResource<CronJob> = batch("cronjobs", "CronJob");
export const endpointSlices: TypedResource<EndpointSlice> = {
  group: "discovery.k8s.io",
  resource: "endpointslices",
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  namespaced: true,
};
export const leases: TypedResource<Lease> = {
  group: "coordination.k8s.io",
  resource: "leases",
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  namespaced: true,
};
export const ipAddresses: TypedResource<IPAddress> = {
  group: "networking.k8s.io",
  resource: "ipaddresses",
  apiVersion: "networking.k8s.io/v1",
  kind: "IPAddress",
  namespaced: false,
};
export const serviceCidrs: TypedResource<ServiceCIDR> = {
  group: "networking.k8s.io",
  resource: "servicecidrs",
  apiVersion: "networking.k8s.io/v1",
  kind: "ServiceCIDR",
  namespaced: false,
};
export const loadBalancerPools: TypedResource<LoadBalancerPool> = {
  group: "fairlead.dev",
  resource: "loadbalancerpools",
  apiVersion: "fairlead.dev/v1alpha1",
  kind: "LoadBalancerPool",
  namespaced: false,
};

export const certificateSigningRequests: TypedResource<CertificateSigningRequest> = {
  group: "certificates.k8s.io",
  resource: "certificatesigningrequests",
  apiVersion: "certificates.k8s.io/v1",
  kind: "CertificateSigningRequest",
  namespaced: false,
};

function core<T extends KubeObject & { apiVersion: "v1" }>(resource: string, kind: T["kind"]): TypedResource<T> {
  return { group: "", resource, apiVersion: "v1", kind, namespaced: true };
}

function apps<T extends KubeObject & { apiVersion: "apps/v1" }>(resource: string, kind: T["kind"]): TypedResource<T> {
  return { group: "apps", resource, apiVersion: "apps/v1", kind, namespaced: true };
}

function batch<T extends KubeObject & { apiVersion: "batch/v1" }>(resource: string, kind: T["kind"]): TypedResource<T> {
  return { group: "batch", resource, apiVersion: "batch/v1", kind, namespaced: true };
}
