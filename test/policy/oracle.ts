// What NetworkPolicy says of one connection, straight from the specification (networking.k8s.io/v1, the comments of its types, and the
// page "Network Policies" of the Kubernetes documentation). Slow and obvious, on raw objects, and apart from everything in src/ that
// it is to judge: own selectors, own addresses, no sharing of code.
//
// Choices where the specification leaves one, as documented for the compiler: ICMP passes only where a rule opens all ports; a hostNetwork
// pod is its node; a block means a node when it holds the packet's address or the node's InternalIP.

import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, Node, Pod } from "../../src/kube/kinds.ts";
import type { LabelSelector } from "../../src/kube/pod.ts";

export interface OracleWorld {
  readonly namespaces: readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[];
  readonly policies: readonly NetworkPolicy[];
}

/** One end of a connection, and the address it has in the packet that is judged. */
export type End =
  | { readonly kind: "pod"; readonly pod: Pod; readonly address: string }
  | { readonly kind: "node"; readonly node: Node; readonly address: string }
  | { readonly kind: "outside"; readonly address: string };

export interface Question {
  readonly from: End;
  readonly to: End;
  readonly protocol: "tcp" | "udp" | "sctp" | "icmp";
  readonly port: number;
}

export type Answer =
  | { readonly kind: "allowed" }
  | { readonly kind: "denied"; readonly by: "egress" | "ingress"; readonly isolatedBy: readonly string[] };

/** May this connection begin? */
export function judge(world: OracleWorld, question: Question): Answer {
  const { from, to } = question;
  // "NetworkPolicies cannot block access to itself" (a Pod cannot block access to itself).
  if (from.kind === "pod" && to.kind === "pod" && isSamePod(from.pod, to.pod)) return { kind: "allowed" };
  // "For a connection from a source pod to a destination pod to be allowed, both the egress policy on the source pod and the ingress
  // policy on the destination pod need to allow the connection."
  if (isPolicySubject(from)) {
    const isolating = policiesFor(world, from.pod, "Egress");
    if (isolating.length > 0 && !isolating.some((policy) => allowsEgress(world, policy, question)))
      return { kind: "denied", by: "egress", isolatedBy: isolating.map(nameOf).sort() };
  }
  if (isPolicySubject(to)) {
    // "Traffic to and from the node where a Pod is running is always allowed"; types.go: "OR if the traffic source is the pod's local node".
    if (from.kind === "node" && from.node.metadata.name === to.pod.spec.nodeName) return { kind: "allowed" };
    const isolating = policiesFor(world, to.pod, "Ingress");
    if (isolating.length > 0 && !isolating.some((policy) => allowsIngress(world, policy, question)))
      return { kind: "denied", by: "ingress", isolatedBy: isolating.map(nameOf).sort() };
  }
  return { kind: "allowed" };
}

function isPolicySubject(end: End): end is End & { readonly kind: "pod" } {
  return end.kind === "pod" && end.pod.spec.hostNetwork !== true;
}

/** "There are two sorts of isolation … declared independently"; the policies that select the pod and have the type. */
function policiesFor(world: OracleWorld, pod: Pod, type: "Ingress" | "Egress"): readonly NetworkPolicy[] {
  return world.policies.filter((policy) => {
    if (policy.metadata.namespace !== pod.metadata.namespace) return false;
    // "An empty podSelector selects all pods in the namespace."
    if (!selectorMatches(policy.spec.podSelector ?? {}, pod.metadata.labels ?? {})) return false;
    return typesOf(policy).includes(type);
  });
}

/** "If no policyTypes are specified … Ingress will always be set and Egress will be set if the NetworkPolicy has any egress rules." */
function typesOf({ spec }: NetworkPolicy): readonly string[] {
  if (spec.policyTypes && spec.policyTypes.length > 0) return spec.policyTypes;
  return spec.egress && spec.egress.length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
}

function allowsIngress(world: OracleWorld, policy: NetworkPolicy, question: Question): boolean {
  return (policy.spec.ingress ?? []).some(
    (rule) => peersMatch(world, policy, rule.from, question.from) && portsMatch(rule.ports, question),
  );
}

function allowsEgress(world: OracleWorld, policy: NetworkPolicy, question: Question): boolean {
  return (policy.spec.egress ?? []).some(
    (rule) => peersMatch(world, policy, rule.to, question.to) && portsMatch(rule.ports, question),
  );
}

/** "If this field is empty or missing, this rule matches all sources." Otherwise any one item. */
function peersMatch(
  world: OracleWorld,
  policy: NetworkPolicy,
  peers: readonly NetworkPolicyPeer[] | undefined,
  end: End,
): boolean {
  if (peers === undefined || peers.length === 0) return true;
  return peers.some((peer) => peerMatches(world, policy, peer, end));
}

function peerMatches(world: OracleWorld, policy: NetworkPolicy, peer: NetworkPolicyPeer, end: End): boolean {
  const { ipBlock, podSelector, namespaceSelector } = peer;
  if (ipBlock !== undefined) {
    const inBlock = (address: string): boolean =>
      isIn(ipBlock.cidr, address) && !(ipBlock.except ?? []).some((hole) => isIn(hole, address));
    if (inBlock(end.address)) return true;
    if (end.kind !== "node") return false;
    const known = (end.node.status?.addresses ?? []).filter(({ type }) => type === "InternalIP");
    return known.some(({ address }) => isSameFamily(address, end.address) && inBlock(address));
  }
  if (end.kind !== "pod" || end.pod.spec.hostNetwork === true) return false;
  const { pod } = end;
  const namespace = pod.metadata.namespace ?? "";
  // "If namespaceSelector is also set, then the rule as a whole selects the Pods matching podSelector in the Namespaces selected by
  // namespaceSelector. Otherwise it selects the Pods matching podSelector in the policy's own Namespace."
  if (namespaceSelector === undefined) {
    if (podSelector === undefined) return false;
    return namespace === policy.metadata.namespace && selectorMatches(podSelector, pod.metadata.labels ?? {});
  }
  const labels = world.namespaces.find(({ name }) => name === namespace)?.labels ?? {};
  if (!selectorMatches(namespaceSelector, { "kubernetes.io/metadata.name": namespace, ...labels })) return false;
  return podSelector === undefined || selectorMatches(podSelector, pod.metadata.labels ?? {});
}

/** "If this field is empty or missing, this rule matches all ports." */
function portsMatch(ports: readonly NetworkPolicyPort[] | undefined, question: Question): boolean {
  if (ports === undefined || ports.length === 0) return true;
  return ports.some((port) => portMatches(port, question));
}

function portMatches({ port, endPort, protocol = "TCP" }: NetworkPolicyPort, question: Question): boolean {
  if (protocol.toLowerCase() !== question.protocol) return false;
  // "If this field is not provided, this matches all port names and numbers."
  if (port === undefined) return true;
  if (typeof port === "number") return question.port >= port && question.port <= (endPort ?? port);
  // A named port is a port of the destination pod.
  if (question.to.kind !== "pod" || question.to.pod.spec.hostNetwork === true) return false;
  return question.to.pod.spec.containers.some((container) =>
    (container.ports ?? []).some(
      (each) => each.name === port && (each.protocol ?? "TCP") === protocol && each.containerPort === question.port,
    ),
  );
}

/** All of matchLabels and matchExpressions. */
export function selectorMatches(selector: LabelSelector, labels: Readonly<Record<string, string>>): boolean {
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) if (labels[key] !== value) return false;
  for (const { key, operator, values = [] } of selector.matchExpressions ?? []) {
    const has = key in labels;
    const value = labels[key] ?? "";
    if (operator === "In" && !(has && values.includes(value))) return false;
    if (operator === "NotIn" && has && values.includes(value)) return false;
    if (operator === "Exists" && !has) return false;
    if (operator === "DoesNotExist" && has) return false;
  }
  return true;
}

/** Is an address in a CIDR? By comparing the first bits, one by one. */
export function isIn(cidr: string, address: string): boolean {
  const [network = "", length = ""] = cidr.split("/");
  if (!isSameFamily(network, address)) return false;
  return bitsOf(network).slice(0, Number(length)) === bitsOf(address).slice(0, Number(length));
}

function isSameFamily(a: string, b: string): boolean {
  return a.includes(":") === b.includes(":");
}

function bitsOf(address: string): string {
  if (!address.includes(":"))
    return address
      .split(".")
      .map((byte) => Number(byte).toString(2).padStart(8, "0"))
      .join("");
  const [head = "", tail] = address.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => "0");
  return [...left, ...zeros, ...right]
    .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, "0"))
    .join("");
}

function isSamePod(a: Pod, b: Pod): boolean {
  return a.metadata.namespace === b.metadata.namespace && a.metadata.name === b.metadata.name;
}

function nameOf({ metadata }: NetworkPolicy): string {
  return metadata.name;
}
