// The cluster that figures of policies speak of: 10,000 pods with names, labels and named ports in 500 namespaces on 100 nodes, 2,000 policies.

import process from "node:process";

import type { Namespace, NetworkPolicy, Node, Pod } from "../../../src/kube/kinds.ts";
import type { ClusterObjects } from "../../../src/model/build.ts";
import { clusterConfig } from "../../../src/model/cluster.ts";
import { namespace, objects } from "../../../src/model/objects.testing.ts";

export const namespacesCount = 500;
export const podsCount = 10_000;
export const policiesCount = 2_000;
/** Pods of each node. */
export const localPods = 100;
const nodesCount = podsCount / localPods;

/** POLICIES=narrow: no policy names the pods of all namespaces, for implementations that hold a list of members for each policy. */
const isNarrow = process.env["POLICIES"] === "narrow";

export const cluster = clusterConfig({ podCidrs: ["10.128.0.0/10", "fd00:10:128::/48"] });

/** 10,000 pods in 500 namespaces on 100 nodes, and 2,000 policies, four in each namespace. */
export function manyObjects(): ClusterObjects {
  const namespaces: Namespace[] = Array.from({ length: namespacesCount }, (_, index) =>
    namespace(`ns-${index}`, { "kubernetes.io/metadata.name": `ns-${index}`, team: `t${index % 20}` }),
  );
  const nodes = Array.from({ length: nodesCount }, (_, index) => bigNode(index + 1));
  const pods = Array.from({ length: podsCount }, (_, index) => bigPod(index, {}));
  const networkPolicies = Array.from({ length: policiesCount }, (_, index) => bigPolicy(index, 8080));
  return objects({ namespaces, nodes, pods, networkPolicies });
}

export function bigNode(n: number): Node {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: `node-${n}` },
    spec: { podCIDRs: [`10.${128 + (n >> 8)}.${n & 255}.0/24`, `fd00:10:128:${n.toString(16)}::/64`] },
    status: { addresses: [{ type: "InternalIP", address: `172.18.1.${n}` }] },
  };
}

export function bigPod(index: number, labels: Record<string, string>): Pod {
  const n = Math.floor(index / localPods) + 1;
  const host = (index % localPods) + 2;
  const name = `pod-${index}`;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: `ns-${(index * 7) % namespacesCount}`,
      labels: { app: `app-${index % 5}`, tier: `tier-${index % 3}`, version: `v${index % 7}`, ...labels },
    },
    spec: { nodeName: `node-${n}`, containers: [{ name: "main", ports: [{ name: "http", containerPort: 8080 }] }] },
    status: {
      phase: "Running",
      podIPs: [
        { ip: `10.${128 + (n >> 8)}.${n & 255}.${host}` },
        { ip: `fd00:10:128:${n.toString(16)}::${host.toString(16)}` },
      ],
    },
  };
}

export function bigPolicy(index: number, port: number): NetworkPolicy {
  const space = index % namespacesCount;
  const app = `app-${index % 5}`;
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: `policy-${index}`, namespace: `ns-${space}` },
    spec: {
      podSelector: index % 4 === 0 ? {} : { matchLabels: { app } },
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        { from: [{ podSelector: { matchLabels: { tier: "tier-1" } } }], ports: [{ port }, { port: "http" }] },
        {
          from: [
            { namespaceSelector: { matchLabels: { team: `t${index % 20}` } }, podSelector: { matchLabels: { app } } },
          ],
        },
      ],
      egress: [
        {
          to: [isNarrow ? { podSelector: {} } : { namespaceSelector: {} }],
          ports: [
            { port: 53, protocol: "UDP" },
            { port: 8000, endPort: 9000 },
          ],
        },
        {
          to: [{ ipBlock: { cidr: `192.168.${index % 256}.0/24`, except: [`192.168.${index % 256}.128/25`] } }],
          ports: [{ port: 443 }],
        },
      ],
    },
  };
}
