// Random clusters for property tests: small, and full of the awkward: shared addresses, endpoints in two slices, names that match nothing,
// pods that come and go. Objects of one kind have unique keys, as in a store.

import * as fc from "fast-check";

import type { EndpointSlice, NetworkPolicy, Node, Pod, Service } from "../kube/kinds.ts";
import type { ClusterNetworkPolicy } from "../kube/policy-kinds.ts";
import type { KubeObject } from "../kube/object.ts";
import type { ClusterObjects } from "./build.ts";
import type { Attachment } from "./network.ts";
import { attachment, namespace, node, objects, pod, service, slice } from "./objects.testing.ts";

const names = ["api", "db", "web"] as const;
const aName = fc.constantFrom(...names);
const aNode = fc.integer({ min: 1, max: 3 });

const nodeArbitrary: fc.Arbitrary<Node> = fc
  .record({ n: aNode, range: fc.integer({ min: 1, max: 4 }), bare: fc.integer({ min: 0, max: 9 }) })
  .map(({ n, range, bare }) => {
    // Sometimes another node's range, sometimes none at all.
    const base = node(n, range === 4 ? {} : { podCIDRs: [`10.244.${range}.0/24`, `fd00:10:244:${range}::/64`] });
    return bare === 0 ? { ...base, spec: {} } : bare === 1 ? { ...base, status: {} } : base;
  });

const podArbitrary: fc.Arbitrary<Pod> = fc
  .record({
    app: aName,
    index: fc.integer({ min: 0, max: 2 }),
    place: fc.record({ node: aNode, host: fc.integer({ min: 2, max: 6 }) }),
    kind: fc.constantFrom("running", "running", "running", "host", "completed", "unscheduled", "starting"),
    port: fc.constantFrom("http", "https"),
  })
  .map(({ app, index, place, kind, port }) => {
    const name = `${app}-${index}`;
    const spec = { containers: [{ name: "main", ports: [{ name: port, containerPort: 8080 }] }] };
    const labels = { app, index: String(index) };
    switch (kind) {
      case "running":
        return pod(name, place, { labels, spec });
      case "host":
        return pod(name, place, { labels, spec: { ...spec, hostNetwork: true }, status: { phase: "Running" } });
      case "completed":
        return pod(name, place, { labels, spec, status: { phase: "Succeeded", podIPs: [{ ip: "10.244.1.2" }] } });
      case "unscheduled":
        return pod(name, place, { labels, spec: { ...spec, nodeName: "" }, status: { phase: "Pending" } });
      case "starting":
        return pod(name, place, { labels, spec, status: { phase: "Pending" } });
    }
  });

const serviceArbitrary: fc.Arbitrary<Service> = fc
  .record({
    name: aName,
    ip: fc.integer({ min: 20, max: 24 }),
    nodePort: fc.option(fc.integer({ min: 30000, max: 30002 }), { nil: undefined }),
    kind: fc.constantFrom("cluster", "cluster", "single", "headless", "external"),
    targetPort: fc.constantFrom<string | number>("http", "https", 8080),
    affinity: fc.constantFrom("None", "None", "ClientIP"),
    policy: fc.constantFrom("Cluster", "Cluster", "Local"),
    created: fc.constantFrom("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
  })
  .map(({ name, ip, nodePort, kind, targetPort, affinity, policy, created }) => {
    const spec: Partial<Service["spec"]> = {
      type: kind === "external" ? "ExternalName" : nodePort === undefined ? "ClusterIP" : "NodePort",
      ...(kind === "external" ? { externalName: "example.org" } : {}),
      ...(kind === "headless" ? { clusterIP: "None" } : {}),
      ...(kind === "cluster" ? { clusterIPs: [`10.96.0.${ip}`, `fd00:10:96::${ip}`] } : {}),
      ...(kind === "single" ? { clusterIPs: [`10.96.0.${ip}`] } : {}),
      sessionAffinity: affinity,
      internalTrafficPolicy: policy,
      externalTrafficPolicy: policy,
      ports: [
        { name: "http", port: 80, targetPort, protocol: "TCP", ...(nodePort === undefined ? {} : { nodePort }) },
        { name: "dns", port: 53, protocol: "UDP" },
      ],
    };
    const base = service(name, spec);
    return { ...base, metadata: { ...base.metadata, creationTimestamp: created } };
  });

const sliceArbitrary: fc.Arbitrary<EndpointSlice> = fc
  .record({
    service: aName,
    index: fc.integer({ min: 1, max: 2 }),
    family: fc.constantFrom<4 | 6>(4, 4, 6),
    endpoints: fc.array(
      fc.record({
        place: fc.record({ node: aNode, host: fc.integer({ min: 2, max: 6 }) }),
        ready: fc.constantFrom(true, true, false, undefined),
        terminating: fc.constantFrom(false, undefined, true),
        hinted: fc.boolean(),
      }),
      { maxLength: 4 },
    ),
  })
  .map(({ service: name, index, family, endpoints }) =>
    slice(
      name,
      endpoints.map(({ place, ready, terminating, hinted }) => ({
        addresses: [
          family === 4 ? `10.244.${place.node}.${place.host}` : `fd00:10:244:${place.node}::${place.host}`,
          "10.244.9.9",
        ],
        conditions: {
          ...(ready === undefined ? {} : { ready }),
          ...(terminating === undefined ? {} : { terminating, serving: true }),
        },
        nodeName: `node-${place.node}`,
        ...(hinted ? { hints: { forZones: [{ name: `zone-${place.node}` }] } } : {}),
        targetRef: { kind: "Pod", name: `${name}-${place.host}` },
      })),
      {
        name: `${name}-${family}-${index}`,
        addressType: family === 4 ? "IPv4" : "IPv6",
        ports: [
          { name: "http", port: 8080, protocol: "TCP" },
          { name: "dns", port: 5353, protocol: "UDP" },
        ],
      },
    ),
  );

const selectorArbitrary = fc.constantFrom(
  {},
  { matchLabels: { app: "api" } },
  { matchExpressions: [{ key: "app", operator: "NotIn" as const, values: ["db"] }] },
);

const policyArbitrary: fc.Arbitrary<NetworkPolicy> = fc
  .record({
    name: aName,
    podSelector: selectorArbitrary,
    peer: fc.constantFrom("pods", "namespace", "everywhere", "block", "anyone", "nobody"),
    port: fc.constantFrom<string | number | undefined>("http", 8080, undefined),
    isEgress: fc.boolean(),
  })
  .map(({ name, podSelector, peer, port, isEgress }) => {
    const peers = {
      pods: [{ podSelector: { matchLabels: { app: "web" } } }],
      namespace: [{ namespaceSelector: { matchLabels: { team: "shop" } } }],
      everywhere: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: "db" } } }],
      block: [
        { ipBlock: { cidr: "10.244.0.0/16", except: ["10.244.1.0/30"] } },
        { ipBlock: { cidr: "10.244.1.0/24" } },
      ],
      anyone: [],
      nobody: undefined,
    }[peer];
    const ports = port === undefined ? {} : { ports: [{ port, protocol: "TCP" as const }] };
    const ingress = peers === undefined ? [] : [{ from: peers, ...ports }];
    const egress = peers === undefined ? [] : [{ to: peers, ...ports }];
    return {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name, namespace: "default" },
      spec: isEgress ? { podSelector, policyTypes: ["Egress"], egress } : { podSelector, ingress },
    };
  });

const clusterPolicyArbitrary: fc.Arbitrary<ClusterNetworkPolicy> = fc
  .record({
    name: aName,
    tier: fc.constantFrom("Admin" as const, "Baseline" as const),
    priority: fc.integer({ min: 0, max: 2 }),
    podSelector: selectorArbitrary,
    action: fc.constantFrom("Accept" as const, "Deny" as const, "Pass" as const),
    peer: fc.constantFrom("pods", "namespaces", "nodes", "networks", "unknown"),
    port: fc.constantFrom<string | number | undefined>("http", 8080, undefined),
    isEgress: fc.boolean(),
  })
  .map(({ name, tier, priority, podSelector, action, peer, port, isEgress }) => {
    const inside = {
      pods: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: "web" } } } },
      namespaces: { namespaces: { matchLabels: { team: "shop" } } },
    };
    const peers = {
      ...inside,
      nodes: { nodes: {} },
      networks: { networks: ["10.244.1.0/24", "0.0.0.0/0"] },
      unknown: {},
    };
    const protocols =
      typeof port === "string"
        ? { protocols: [{ destinationNamedPort: port }] }
        : port === undefined
          ? {}
          : { protocols: [{ tcp: { destinationPort: { number: port } } }] };
    const rule = { action, ...protocols };
    return {
      apiVersion: "policy.networking.k8s.io/v1alpha2",
      kind: "ClusterNetworkPolicy",
      metadata: { name },
      spec: {
        tier,
        priority,
        subject: { pods: { podSelector } },
        ...(isEgress
          ? { egress: [{ ...rule, to: [peers[peer]] }] }
          : { ingress: [{ ...rule, from: [peer === "pods" ? inside.pods : inside.namespaces] }] }),
      },
    };
  });

/** Any small cluster. */
export const clusterArbitrary: fc.Arbitrary<ClusterObjects> = fc
  .record({
    nodes: fc.uniqueArray(nodeArbitrary, { selector: keyOf, maxLength: 3 }),
    pods: fc.uniqueArray(podArbitrary, { selector: keyOf, maxLength: 6 }),
    services: fc.uniqueArray(serviceArbitrary, { selector: keyOf, maxLength: 3 }),
    endpointSlices: fc.uniqueArray(sliceArbitrary, { selector: keyOf, maxLength: 4 }),
    networkPolicies: fc.uniqueArray(policyArbitrary, { selector: keyOf, maxLength: 3 }),
    clusterNetworkPolicies: fc.uniqueArray(clusterPolicyArbitrary, { selector: keyOf, maxLength: 3 }),
    labelled: fc.boolean(),
  })
  .map(({ labelled, ...kinds }) =>
    objects({ ...kinds, namespaces: [namespace("default", labelled ? { team: "shop" } : {})] }),
  );

/** The pods that have a place on `node-1`, some with a hostPort. */
export const attachmentsArbitrary: fc.Arbitrary<readonly Attachment[]> = fc.uniqueArray(
  fc
    .record({ host: fc.integer({ min: 2, max: 6 }), hostPort: fc.constantFrom(undefined, 30000, 8080) })
    .map(({ host, hostPort }) =>
      attachment(
        `p${host}`,
        { node: 1, host },
        hostPort === undefined ? [] : [{ protocol: "tcp", hostPort, port: 8080 }],
      ),
    ),
  { selector: ({ link }) => link, maxLength: 5 },
);

/** The same objects in another order. */
export function shuffled(cluster: ClusterObjects, seed: number): ClusterObjects {
  const order = <T>(values: readonly T[]): readonly T[] =>
    values
      .map((value, index) => ({ value, rank: (Math.imul(index + 1, 2654435761) ^ Math.imul(seed, 40503)) >>> 0 }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ value }) => value);
  return {
    nodes: order(cluster.nodes),
    namespaces: order(cluster.namespaces),
    pods: order(cluster.pods),
    services: order(cluster.services),
    endpointSlices: order(cluster.endpointSlices),
    networkPolicies: order(cluster.networkPolicies),
    clusterNetworkPolicies: order(cluster.clusterNetworkPolicies),
  };
}

function keyOf({ metadata }: KubeObject): string {
  return `${metadata.namespace ?? ""}/${metadata.name}`;
}
