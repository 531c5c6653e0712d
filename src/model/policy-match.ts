// Does a policy's part mean this pod, address or port? Word for word, one at a time: for explanations, matrices and warnings.
//
// Not here: the same for a whole cluster at once (program/policy-peers.ts), which packets are judged by.

import type { Address } from "../ip/address.ts";
import { contains } from "../ip/prefix.ts";
import type { Labels } from "../kube/object.ts";
import { matches } from "../kube/selector.ts";
import type {
  ClusterPeer,
  ClusterPolicy,
  ClusterRule,
  Network,
  NetworkPod,
  Policy,
  PolicyPeer,
  PolicyPort,
  PolicyTier,
  Protocol,
} from "./network.ts";

export type PolicyDirection = "ingress" | "egress";

/** One end of a connection as policies see it: a pod of its own, or an address. */
export interface PolicyEnd {
  readonly address: Address;
  /** Undefined for nodes, hostNetwork pods and the outside. */
  readonly pod?: NetworkPod | undefined;
}

/** Does the policy isolate this pod in this direction? */
export function isolates(policy: Policy, direction: PolicyDirection, pod: NetworkPod): boolean {
  return (
    policy[direction] !== undefined &&
    !pod.hostNetwork &&
    policy.namespace === pod.namespace &&
    matches(policy.pods, pod.labels)
  );
}

/** Does the peer mean this end? A node is meant by a block under its packet's address only. */
export function meansPeer(
  network: Network,
  policy: Pick<Policy, "namespace">,
  peer: PolicyPeer,
  { address, pod }: PolicyEnd,
): boolean {
  switch (peer.kind) {
    case "block":
      return contains(peer.cidr, address) && !peer.except.some((hole) => contains(hole, address));
    case "pods":
      return pod !== undefined && meansPod(network, policy, peer, pod);
  }
}

/** Does a peer of kind `pods` mean this pod? */
export function meansPod(
  network: Network,
  policy: Pick<Policy, "namespace">,
  peer: PolicyPeer & { readonly kind: "pods" },
  pod: NetworkPod,
): boolean {
  if (pod.hostNetwork || !matches(peer.pods, pod.labels)) return false;
  if (peer.namespaces === "own") return pod.namespace === policy.namespace;
  return matches(peer.namespaces, namespaceLabels(network, pod.namespace));
}

/** Does the port mean this one, at this destination? */
export function meansPort(
  port: PolicyPort,
  asked: { readonly protocol: Protocol | "icmp"; readonly port: number },
  destination: NetworkPod | undefined,
): boolean {
  if (asked.protocol !== port.protocol) return false;
  switch (port.kind) {
    case "range":
      return asked.port >= port.first && asked.port <= port.last;
    case "named":
      return (destination?.containerPorts ?? []).some(
        ({ name, protocol, port: number }) => name === port.name && protocol === port.protocol && number === asked.port,
      );
  }
}

/** The first rule's peer of the policy that lets this connection through, or undefined. */
export function letsThrough(
  network: Network,
  policy: Policy,
  direction: PolicyDirection,
  connection: Connection,
): boolean {
  const other = direction === "ingress" ? connection.from : connection.to;
  return (policy[direction] ?? []).some(
    ({ peers, ports }) =>
      (peers === "anyone" || peers.some((peer) => meansPeer(network, policy, peer, other))) &&
      (ports === "all" || ports.some((port) => meansPort(port, connection, connection.to.pod))),
  );
}

/** Is the pod one of the subject's? */
export function isSubject(network: Network, { subject }: Pick<ClusterPolicy, "subject">, pod: NetworkPod): boolean {
  return (
    !pod.hostNetwork &&
    matches(subject.namespaces, namespaceLabels(network, pod.namespace)) &&
    matches(subject.pods, pod.labels)
  );
}

/** Does a peer of a ClusterNetworkPolicy mean this end? A node is meant under the addresses of its status. */
export function meansClusterPeer(network: Network, peer: ClusterPeer, end: PolicyEnd): boolean {
  switch (peer.kind) {
    case "nodes":
      return network.nodes.some(
        ({ labels, addresses, otherAddresses = [] }) =>
          [...addresses, ...otherAddresses].includes(end.address) && matches(peer.nodes, labels),
      );
    case "block":
    case "pods":
      return meansPeer(network, noPolicy, peer, end);
  }
}

const noPolicy = { namespace: "" };

/** A connection that may begin. */
export interface Connection {
  readonly from: PolicyEnd;
  readonly to: PolicyEnd;
  readonly protocol: Protocol | "icmp";
  readonly port: number;
}

/** The rule of a tier's ClusterNetworkPolicies that decides about a connection at one end, or none. */
export function clusterRuleFor(
  network: Network,
  tier: PolicyTier,
  direction: PolicyDirection,
  connection: Connection,
): { readonly policy: ClusterPolicy; readonly rule: ClusterRule } | undefined {
  const [own, other] = direction === "ingress" ? [connection.to, connection.from] : [connection.from, connection.to];
  const { pod } = own;
  if (pod === undefined) return undefined;
  for (const policy of inOrder(network.clusterPolicies)) {
    if (policy.tier !== tier || !isSubject(network, policy, pod)) continue;
    const rule = policy[direction].find(
      ({ peers, ports }) =>
        (peers === "anyone" || peers.some((peer) => meansClusterPeer(network, peer, other))) &&
        (ports === "all" || ports.some((port) => meansPort(port, connection, connection.to.pod))),
    );
    if (rule !== undefined) return { policy, rule };
  }
  return undefined;
}

/** By priority, then by name. */
export function inOrder(policies: readonly ClusterPolicy[]): readonly ClusterPolicy[] {
  return policies.toSorted((a, b) => a.priority - b.priority || (a.name < b.name ? -1 : 1));
}

/** A namespace's labels, with the one that kube-apiserver sets on each. */
export function namespaceLabels(network: Network, name: string): Labels {
  let known = labelsByName.get(network.namespaces);
  if (known === undefined)
    labelsByName.set(network.namespaces, (known = new Map(network.namespaces.map((each) => [each.name, each.labels]))));
  return { "kubernetes.io/metadata.name": name, ...known.get(name) };
}

const labelsByName = new WeakMap<Network["namespaces"], ReadonlyMap<string, Labels>>();
