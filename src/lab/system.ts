// The objects a cluster has before its user brings any: namespaces, the API's own Service, cluster DNS, the node agents.
// They stand where people look for them: kube-system, deployment/coredns with label k8s-app: kube-dns, Service kube-dns on the tenth address.

import { addressAt, type Prefix } from "../ip/prefix.ts";
import { familyOf } from "../ip/address.ts";
import type { LoadBalancerPool } from "../kube/load-balancer-pool.ts";
import type { KubeObject } from "../kube/object.ts";
import { resourceOf } from "../kube/resources.ts";
import type { ClusterConfig } from "../model/network.ts";
import { defaultCorefileText } from "../serve/dns/default-corefile.ts";
import type { ObjectApi } from "./api/api.ts";

/** Images of the parts that run inside the daemon; the lab's image table knows them (lab.ts). */
export const systemImages = {
  dns: "fairlead.dev/dns:0.1.0",
  agent: "fairlead.dev/agent:0.1.0",
} as const;

/** Creates what is missing, brings what is there up to this version; the Corefile is its user's once it is there. Idempotent. */
export function ensureSystemObjects(api: ObjectApi, cluster: ClusterConfig): void {
  // The pool is its user's from the start: who deletes or changes it does not find it again after the next `up`.
  const isNew = api.get({ group: "", resource: "namespaces", name: "kube-system" }) === undefined;
  for (const object of systemObjects(cluster)) if (!isUsersOwn(api, object)) api.apply(object);
  const { loadBalancerCidrs = [] } = cluster;
  if (isNew && loadBalancerCidrs.length > 0) api.apply(defaultPool(loadBalancerCidrs));
}

/** Creates again what somebody deleted, and leaves alone what is there. Gives what it made, as `Service kube-system/kube-dns`. */
export function restoreSystemObjects(api: ObjectApi, cluster: ClusterConfig): readonly string[] {
  const missing = systemObjects(cluster).filter(({ apiVersion, kind, metadata: { namespace = "", name } }) => {
    const { group, resource } = resourceOf(apiVersion, kind) ?? { group: "", resource: "" };
    return api.get({ group, resource, namespace, name }) === undefined;
  });
  for (const object of missing) api.apply(object);
  return missing.map(({ kind, metadata: { namespace, name } }) =>
    namespace === undefined ? `${kind} ${name}` : `${kind} ${namespace}/${name}`,
  );
}

function defaultPool(addresses: readonly Prefix[]): LoadBalancerPool {
  return {
    apiVersion: "fairlead.dev/v1alpha1",
    kind: "LoadBalancerPool",
    metadata: { name: "default" },
    spec: { addresses },
  };
}

function isUsersOwn(api: ObjectApi, { kind, metadata: { namespace = "", name } }: KubeObject): boolean {
  return kind === "ConfigMap" && api.get({ group: "", resource: "configmaps", namespace, name }) !== undefined;
}

/** The system's objects in the order in which they must be created. */
export function systemObjects(cluster: ClusterConfig): readonly KubeObject[] {
  return [
    ...["default", "kube-system", "kube-public", "kube-node-lease"].map((name) => ({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name },
    })),
    kubernetesService(cluster),
    dnsServiceAccount,
    dnsConfigMap(cluster),
    dnsDeployment,
    dnsService(cluster),
    agentDaemonSet,
  ];
}

const system = { namespace: "kube-system" };

function families(cluster: ClusterConfig): object {
  return {
    ipFamilies: cluster.serviceCidrs.map((prefix) => `IPv${familyOf(prefix)}`),
    ipFamilyPolicy: cluster.serviceCidrs.length > 1 ? "RequireDualStack" : "SingleStack",
  };
}

// The API server's Service takes the first address of the (first) service range, as everywhere.
function kubernetesService(cluster: ClusterConfig): KubeObject {
  const [range = ""] = cluster.serviceCidrs;
  const address = addressAt(range, 1);
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name: "kubernetes",
      namespace: "default",
      labels: { component: "apiserver", provider: "kubernetes" },
    },
    spec: {
      clusterIP: address,
      clusterIPs: [address],
      ipFamilies: [`IPv${familyOf(range)}`],
      ipFamilyPolicy: "SingleStack",
      ports: [{ name: "https", port: 443, protocol: "TCP", targetPort: 6443 }],
    },
  };
}

const dnsServiceAccount: KubeObject = {
  apiVersion: "v1",
  kind: "ServiceAccount",
  metadata: { ...system, name: "coredns" },
};

function dnsConfigMap(cluster: ClusterConfig): KubeObject {
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { ...system, name: "coredns" },
    data: { Corefile: defaultCorefileText(cluster.domain) },
  };
}

const dnsDeployment: KubeObject = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: {
    ...system,
    name: "coredns",
    labels: { "k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS" },
  },
  spec: {
    replicas: 2,
    strategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 1 } },
    selector: { matchLabels: { "k8s-app": "kube-dns" } },
    template: {
      metadata: { labels: { "k8s-app": "kube-dns" } },
      spec: {
        serviceAccountName: "coredns",
        dnsPolicy: "Default",
        tolerations: [{ key: "CriticalAddonsOnly", operator: "Exists" }],
        affinity: {
          podAntiAffinity: {
            preferredDuringSchedulingIgnoredDuringExecution: [
              {
                weight: 100,
                podAffinityTerm: {
                  topologyKey: "kubernetes.io/hostname",
                  labelSelector: { matchLabels: { "k8s-app": "kube-dns" } },
                },
              },
            ],
          },
        },
        containers: [
          {
            name: "coredns",
            image: systemImages.dns,
            args: ["-conf", "/etc/coredns/Corefile"],
            ports: [
              { name: "dns", containerPort: 53, protocol: "UDP" },
              { name: "dns-tcp", containerPort: 53, protocol: "TCP" },
              { name: "metrics", containerPort: 9153, protocol: "TCP" },
            ],
            livenessProbe: { httpGet: { path: "/health", port: 8080 }, failureThreshold: 5, timeoutSeconds: 5 },
            readinessProbe: { httpGet: { path: "/ready", port: 8181 } },
            volumeMounts: [{ name: "config-volume", mountPath: "/etc/coredns", readOnly: true }],
          },
        ],
        volumes: [
          { name: "config-volume", configMap: { name: "coredns", items: [{ key: "Corefile", path: "Corefile" }] } },
        ],
      },
    },
  },
};

function dnsService(cluster: ClusterConfig): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      ...system,
      name: "kube-dns",
      labels: { "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS" },
      annotations: { "prometheus.io/port": "9153", "prometheus.io/scrape": "true" },
    },
    spec: {
      ...families(cluster),
      clusterIP: cluster.dnsAddresses[0],
      clusterIPs: cluster.dnsAddresses,
      selector: { "k8s-app": "kube-dns" },
      ports: [
        { name: "dns", port: 53, protocol: "UDP", targetPort: 53 },
        { name: "dns-tcp", port: 53, protocol: "TCP", targetPort: 53 },
        { name: "metrics", port: 9153, protocol: "TCP", targetPort: 9153 },
      ],
    },
  };
}

// The node agents do kube-proxy's work, so they stand under its name: `kubectl logs -n kube-system ds/kube-proxy` tells what they did.
const agentDaemonSet: KubeObject = {
  apiVersion: "apps/v1",
  kind: "DaemonSet",
  metadata: { ...system, name: "kube-proxy", labels: { "k8s-app": "kube-proxy" } },
  spec: {
    selector: { matchLabels: { "k8s-app": "kube-proxy" } },
    template: {
      metadata: { labels: { "k8s-app": "kube-proxy" } },
      spec: {
        hostNetwork: true,
        tolerations: [{ operator: "Exists" }],
        // As kube-proxy's everywhere: who execs into it may look at the node's rules, and spoil them.
        containers: [{ name: "kube-proxy", image: systemImages.agent, securityContext: { privileged: true } }],
      },
    },
  },
};
