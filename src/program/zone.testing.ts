// Networks for the DNS tests: pieces with everything a test does not care about filled in.

import type { Address } from "../ip/address.ts";
import type { ClusterConfig, Endpoint, Network, NetworkPod, NetworkService, ServicePort } from "../model/network.ts";

export const cluster: ClusterConfig = {
  domain: "cluster.local",
  families: [4, 6],
  podCidrs: ["10.244.0.0/16", "fd00:10:244::/56"],
  serviceCidrs: ["10.96.0.0/12", "fd00:10:96::/112"],
  nodeCidrs: ["172.18.0.0/16"],
  dnsAddresses: ["10.96.0.10", "fd00:10:96::a"],
  overlay: "vxlan",
  underlayMtu: 1500,
  nodePorts: { first: 30_000, last: 32_767 },
};

export function network(parts: Partial<Network>): Network {
  return {
    cluster,
    nodes: [],
    pods: [],
    services: [],
    namespaces: ["default", "kube-system", "production"].map((name) => ({
      name,
      labels: {},
      origin: { kind: "Namespace", name },
    })),
    policies: [],
    clusterPolicies: [],
    problems: [],
    ...parts,
  };
}

/** `service("production/api", { clusterIps: […] })`; type ClusterIP unless said otherwise. */
export function service(key: string, parts: Partial<NetworkService>): NetworkService {
  const [namespace = "", name = ""] = key.split("/");
  return {
    namespace,
    name,
    type: "ClusterIP",
    clusterIps: [],
    headless: false,
    publishNotReadyAddresses: false,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
    ports: [],
    origin: { kind: "Service", namespace, name, source: "shop.yaml:7" },
    ...parts,
  };
}

export function port(name: string, number: number, endpoints: readonly Endpoint[] = []): ServicePort {
  return {
    name,
    protocol: "tcp",
    port: number,
    endpoints,
    origin: { kind: "Service", namespace: "production", name: "any", field: "spec.ports[0]" },
  };
}

export function endpoint(address: Address, parts: Partial<Endpoint> = {}): Endpoint {
  return {
    address,
    port: 8080,
    ready: true,
    serving: true,
    terminating: false,
    origin: { kind: "EndpointSlice", namespace: "production", name: "any-x", field: "endpoints[0]" },
    ...parts,
  };
}

export function pod(key: string, addresses: readonly Address[]): NetworkPod {
  const [namespace = "", name = ""] = key.split("/");
  return {
    namespace,
    name,
    labels: {},
    node: "node-1",
    addresses,
    hostNetwork: false,
    ready: true,
    containerPorts: [],
    origin: { kind: "Pod", namespace, name },
  };
}

export const kubeDns: NetworkService = service("kube-system/kube-dns", {
  clusterIps: ["10.96.0.10", "fd00:10:96::a"],
  ports: [{ ...port("dns", 53), protocol: "udp" }, port("dns-tcp", 53), port("metrics", 9153)],
});
