// Kubernetes objects for tests of model and program: as short as what a test wants to say.

import type { EndpointSlice, Namespace, Node, Pod, Service } from "../kube/kinds.ts";
import type { Attachment } from "./network.ts";
import type { ClusterObjects } from "./build.ts";

/** Objects of the given kinds; the others are none. */
export function objects(given: Partial<ClusterObjects>): ClusterObjects {
  return {
    nodes: [],
    namespaces: [],
    pods: [],
    services: [],
    endpointSlices: [],
    networkPolicies: [],
    clusterNetworkPolicies: [],
    ...given,
  };
}

/** `node-N` with the N-th of every default range. */
export function node(n: number, overrides: Partial<Node["spec"]> = {}): Node {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: `node-${n}`, labels: { "topology.kubernetes.io/zone": `zone-${n}` } },
    spec: { podCIDRs: [`10.244.${n}.0/24`, `fd00:10:244:${n}::/64`], ...overrides },
    status: {
      addresses: [
        { type: "InternalIP", address: `172.18.0.${n + 1}` },
        { type: "InternalIP", address: `fd00:172:18::${n + 1}` },
        { type: "Hostname", address: `node-${n}` },
      ],
      conditions: [{ type: "Ready", status: "True" }],
    },
  };
}

export function namespace(name: string, labels: Record<string, string> = {}): Namespace {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels }, spec: {} };
}

/** A running, ready pod on `node-N` with the given last part of its addresses. */
export function pod(
  name: string,
  place: { readonly node: number; readonly host: number },
  overrides: {
    readonly labels?: Record<string, string>;
    readonly spec?: Partial<Pod["spec"]>;
    readonly status?: Pod["status"];
  } = {},
): Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", labels: overrides.labels ?? {} },
    spec: {
      nodeName: `node-${place.node}`,
      containers: [{ name: "main", ports: [{ name: "http", containerPort: 8080 }] }],
      ...overrides.spec,
    },
    status: overrides.status ?? {
      phase: "Running",
      conditions: [{ type: "Ready", status: "True" }],
      podIPs: podAddresses(place).map((ip) => ({ ip })),
    },
  };
}

export function podAddresses({ node, host }: { readonly node: number; readonly host: number }): string[] {
  return [`10.244.${node}.${host}`, `fd00:10:244:${node}::${host.toString(16)}`];
}

/** A Service of namespace `default` with port `http` 80 -> 8080. */
export function service(name: string, spec: Partial<Service["spec"]> = {}): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: {
      type: "ClusterIP",
      selector: { app: name },
      ports: [{ name: "http", port: 80, targetPort: "http", protocol: "TCP" }],
      ...spec,
    },
  };
}

/** An EndpointSlice of a Service with one port `http` 8080. */
export function slice(
  service: string,
  endpoints: EndpointSlice["endpoints"],
  overrides: {
    readonly name?: string;
    readonly addressType?: "IPv4" | "IPv6" | "FQDN";
    readonly ports?: EndpointSlice["ports"];
  } = {},
): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: overrides.name ?? `${service}-1`,
      namespace: "default",
      labels: { "kubernetes.io/service-name": service },
    },
    addressType: overrides.addressType ?? "IPv4",
    endpoints: endpoints ?? [],
    ports: overrides.ports ?? [{ name: "http", port: 8080, protocol: "TCP" }],
  };
}

/** The attachment of a pod made by `pod`. */
export function attachment(
  name: string,
  place: { readonly node: number; readonly host: number },
  hostPorts: Attachment["hostPorts"] = [],
): Attachment {
  const pair = (value: number): string => value.toString(16).padStart(2, "0");
  return {
    id: `sandbox-${name}`,
    namespace: "default",
    name,
    uid: `uid-${name}`,
    link: `flp${name}`,
    mac: `0a:58:0a:f4:${pair(place.node)}:${pair(place.host)}`,
    addresses: podAddresses(place),
    hostPorts,
  };
}

/** A cluster whose DNS is pod `dns`; `web` is the pod that policies are about. */
export function withDns(): Pick<ClusterObjects, "nodes" | "namespaces" | "pods" | "services" | "endpointSlices"> {
  return {
    nodes: [node(1)],
    namespaces: [namespace("default")],
    pods: [
      pod("web", { node: 1, host: 5 }, { labels: { app: "web" } }),
      pod("dns", { node: 1, host: 6 }, { labels: { app: "dns" } }),
    ],
    services: [service("dns", { clusterIPs: ["10.96.0.10"], selector: { app: "dns" } })],
    endpointSlices: [
      slice("dns", [{ addresses: ["10.244.1.6"], targetRef: { kind: "Pod", namespace: "default", name: "dns" } }]),
    ],
  };
}
