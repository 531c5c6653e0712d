// What policies say of one connection, straight from the specifications: networking.k8s.io/v1 (the comments of its types, and the page
// "Network Policies" of the Kubernetes documentation) and policy.networking.k8s.io/v1alpha2 (the comments of ClusterNetworkPolicy's types,
// and "API overview" of network-policy-api). Slow and obvious, on raw objects, and apart from everything in src/ that it is to judge: own
// selectors, own addresses, no sharing of code.
//
// Choices where a specification leaves one, as documented for the compiler: ICMP passes only where a rule opens all ports; a hostNetwork
// pod is its node; an ipBlock means a node when it holds the packet's address or the node's InternalIP; what a node sends to its own pods
// is judged by nobody; of ClusterNetworkPolicies of one priority the one whose name comes first goes first.

import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, Node, Pod } from "../../src/kube/kinds.ts";
import type {
  ClusterNetworkPolicy,
  ClusterNetworkPolicyPeer,
  ClusterNetworkPolicyProtocol,
} from "../../src/kube/policy-kinds.ts";
import type { LabelSelector } from "../../src/kube/pod.ts";

export interface OracleWorld {
  readonly namespaces: readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[];
  readonly policies: readonly NetworkPolicy[];
  readonly clusterPolicies: readonly ClusterNetworkPolicy[];
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
  /** Asked by a Service's address: then a pod may be asked by itself. */
  readonly byService?: boolean;
}

/** `trail`: the rules of ClusterNetworkPolicies that decided or passed it on, in order: `egress Admin no-db 2 Deny`. */
export type Answer =
  | { readonly kind: "allowed"; readonly trail: readonly string[] }
  | {
      readonly kind: "denied";
      readonly by: "egress" | "ingress";
      /** NetworkPolicies that isolate the pod; none where a ClusterNetworkPolicy denies it. */
      readonly isolatedBy: readonly string[];
      readonly trail: readonly string[];
    };

/** May this connection begin? */
export function judge(world: OracleWorld, question: Question): Answer {
  const { from, to } = question;
  // "A Pod connecting to its own Pod IP is not subject to CNP", nor to NetworkPolicies: it never leaves the pod.
  const isItself = from.kind === "pod" && to.kind === "pod" && isSamePod(from.pod, to.pod);
  if (isItself && question.byService !== true) return { kind: "allowed", trail: [] };
  // "For a connection from a source pod to a destination pod to be allowed, both the egress policy on the source pod and the ingress
  // policy on the destination pod need to allow the connection."
  const trail: string[] = [];
  for (const by of ["egress", "ingress"] as const) {
    const own = by === "egress" ? from : to;
    if (!isPolicySubject(own)) continue;
    // "Traffic to and from the node where a Pod is running is always allowed"; types.go: "OR if the traffic source is the pod's local node".
    if (by === "ingress" && from.kind === "node" && from.node.metadata.name === own.pod.spec.nodeName) continue;
    const verdict = judgeEnd(world, question, by, own.pod, isItself);
    trail.push(...verdict.trail);
    if (verdict.kind === "denied") return { kind: "denied", by, isolatedBy: verdict.isolatedBy, trail };
  }
  return { kind: "allowed", trail };
}

/** One end: "Policy tiers are evaluated in the following order: Admin tier, NetworkPolicy tier, Baseline tier". */
function judgeEnd(
  world: OracleWorld,
  question: Question,
  by: "egress" | "ingress",
  pod: Pod,
  isItself: boolean,
): {
  readonly kind: "allowed" | "denied";
  readonly isolatedBy: readonly string[];
  readonly trail: readonly string[];
} {
  const admin = judgeTier(world, question, by, pod, "Admin");
  if (admin?.action === "Accept") return { kind: "allowed", isolatedBy: [], trail: [admin.name] };
  if (admin?.action === "Deny") return { kind: "denied", isolatedBy: [], trail: [admin.name] };
  const trail = admin === undefined ? [] : [admin.name];
  const isolating = policiesFor(world, pod, by === "egress" ? "Egress" : "Ingress");
  if (isolating.length > 0) {
    // "v1.NetworkPolicy always makes a final decision for selected pods." "NetworkPolicies cannot block access to itself".
    const allows = by === "egress" ? allowsEgress : allowsIngress;
    if (isItself || isolating.some((policy) => allows(world, policy, question)))
      return { kind: "allowed", isolatedBy: [], trail };
    return { kind: "denied", isolatedBy: isolating.map(nameOf).sort(), trail };
  }
  const baseline = judgeTier(world, question, by, pod, "Baseline");
  const all = baseline === undefined ? trail : [...trail, baseline.name];
  // "If a given connection wasn't allowed or denied by any of the tiers, the default kubernetes policy is applied, which says that all pods
  // can communicate with each other."
  return { kind: baseline?.action === "Deny" ? "denied" : "allowed", isolatedBy: [], trail: all };
}

interface TierVerdict {
  readonly action: "Accept" | "Deny" | "Pass";
  readonly name: string;
}

/** The first rule that means the connection: "lower priority values have higher precedence", then "the order in which the rule is written". */
function judgeTier(
  world: OracleWorld,
  question: Question,
  by: "egress" | "ingress",
  pod: Pod,
  tier: "Admin" | "Baseline",
): TierVerdict | undefined {
  const inOrder = world.clusterPolicies
    .filter((policy) => policy.spec.tier === tier)
    .toSorted((a, b) => a.spec.priority - b.spec.priority || (a.metadata.name < b.metadata.name ? -1 : 1));
  for (const { metadata, spec } of inOrder) {
    if (!selectsPod(world, spec.subject, pod)) continue;
    const rules = by === "egress" ? (spec.egress ?? []) : (spec.ingress ?? []);
    for (const [index, rule] of rules.entries()) {
      const peers = "to" in rule ? rule.to : rule.from;
      const isClosed = peers.some(isUnknownPeer) || (rule.protocols ?? []).some(isUnknownProtocol);
      // "fail closed": Accept is "treated as matching no traffic", Deny and Pass as "a 'Deny all' rule".
      if (isClosed && rule.action === "Accept") continue;
      const action = isClosed ? "Deny" : rule.action;
      const other = by === "egress" ? question.to : question.from;
      const means =
        isClosed ||
        (peers.some((peer) => clusterPeerMeans(world, peer, other)) &&
          (rule.protocols === undefined || rule.protocols.some((each) => protocolMeans(each, question))));
      if (means) return { action, name: `${by} ${tier} ${metadata.name} ${index} ${action}` };
    }
  }
  return undefined;
}

function isUnknownPeer(peer: ClusterNetworkPolicyPeer): boolean {
  // Domain names are not supported, so they are as unknown as a field of a later version.
  return !["namespaces", "pods", "nodes", "networks"].some((field) => field in peer);
}

function isUnknownProtocol(item: ClusterNetworkPolicyProtocol): boolean {
  return !["tcp", "udp", "sctp", "destinationNamedPort"].some((field) => field in item);
}

/** "Note that host-networked pods are not included in this type of peer", nor in subjects. */
function selectsPod(
  world: OracleWorld,
  { namespaces, pods }: Pick<ClusterNetworkPolicyPeer, "namespaces" | "pods">,
  pod: Pod,
): boolean {
  if (pod.spec.hostNetwork === true) return false;
  const ofNamespace = namespaceLabels(world, pod.metadata.namespace ?? "");
  if (namespaces !== undefined) return selectorMatches(namespaces, ofNamespace);
  if (pods === undefined) return false;
  return (
    selectorMatches(pods.namespaceSelector ?? {}, ofNamespace) &&
    selectorMatches(pods.podSelector ?? {}, pod.metadata.labels ?? {})
  );
}

function clusterPeerMeans(world: OracleWorld, peer: ClusterNetworkPolicyPeer, end: End): boolean {
  if (peer.namespaces !== undefined || peer.pods !== undefined)
    return end.kind === "pod" && selectsPod(world, peer, end.pod);
  // "It selects the nodeIPs as the peer type by matching on the IPs present in the node.Status.Addresses field of the node."
  if (peer.nodes !== undefined)
    return end.kind === "node" && selectorMatches(peer.nodes, end.node.metadata.labels ?? {});
  // "cluster-internal traffic will be checked against the rule as well"
  return (peer.networks ?? []).some((cidr) => isIn(cidr, end.address));
}

function protocolMeans(item: ClusterNetworkPolicyProtocol, question: Question): boolean {
  if (item.destinationNamedPort !== undefined) return hasPortNamed(question, item.destinationNamedPort);
  const ports = { tcp: item.tcp, udp: item.udp, sctp: item.sctp, icmp: undefined }[question.protocol];
  const { number, range } = ports?.destinationPort ?? {};
  if (number !== undefined) return question.port === number;
  return range !== undefined && question.port >= range.start && question.port <= range.end;
}

/** "selects a destination port on a pod based on the ContainerPort name" */
function hasPortNamed({ to, port, protocol }: Question, name: string): boolean {
  if (to.kind !== "pod" || to.pod.spec.hostNetwork === true) return false;
  return to.pod.spec.containers.some((container) =>
    (container.ports ?? []).some(
      (each) =>
        each.name === name && each.containerPort === port && (each.protocol ?? "TCP").toLowerCase() === protocol,
    ),
  );
}

function namespaceLabels(world: OracleWorld, namespace: string): Readonly<Record<string, string>> {
  const labels = world.namespaces.find(({ name }) => name === namespace)?.labels ?? {};
  return { "kubernetes.io/metadata.name": namespace, ...labels };
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
  if (!selectorMatches(namespaceSelector, namespaceLabels(world, namespace))) return false;
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
