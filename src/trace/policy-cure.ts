// What edit would let a packet through that a policy drops. Each cure is a small change of one object, and is told only after the
// same packet passed the Programs compiled from the changed Network.
//
// Not here: whether the packet should pass. That is for people to say.

import { compile } from "../program/compile.ts";
import type { Labels } from "../kube/object.ts";
import type { Requirement } from "../kube/selector.ts";
import { matches } from "../kube/selector.ts";
import type {
  ClusterPeer,
  ClusterPolicy,
  ClusterRule,
  Network,
  NetworkPod,
  Policy,
  PolicyPeer,
  PolicyRule,
} from "../model/network.ts";
import { meansPort, namespaceLabels, type PolicyDirection, type PolicyEnd } from "../model/policy-match.ts";
import { clusterRuleAt, isolatingPolicies } from "./policy.ts";
import type { Packet, Step, TracePath } from "./trace.ts";
import { walkAll, type Start } from "./walk.ts";
import { podAt, type World } from "./world.ts";

/** At most so many are told. */
const curesMax = 3;

/** Edits in words, as commands where there is one. None where no policy dropped the packet. */
export function policyCures(world: World, start: Start, packet: Packet, path: TracePath): readonly string[] {
  const denied = deniedStep(path);
  if (denied === undefined) return [];
  const judged = judgedPacket(packet, path);
  const nodes = new Set(path.hops.flatMap(({ place }) => (place.kind === "node" ? [place.name] : [])));
  const destination = podAt(world, judged.destination);
  if (destination !== undefined) nodes.add(destination.node);
  const found: string[] = [];
  for (const { text, network } of candidates(world, denied, judged)) {
    if (found.length === curesMax) break;
    if (!found.includes(text) && passes(withNetwork(world, network, nodes), start, packet)) found.push(text);
  }
  return found;
}

interface Candidate {
  readonly text: string;
  readonly network: Network;
}

function deniedStep(path: TracePath): (Step & { readonly kind: "policy" }) | undefined {
  const last = path.hops.at(-1)?.steps.at(-1);
  return last?.kind === "policy" && last.verdict === "denied" ? last : undefined;
}

/** The same world with another Network, compiled anew for the nodes that the packet passes. */
function withNetwork(world: World, network: Network, nodes: ReadonlySet<string>): World {
  const programs = new Map(world.programs);
  for (const name of nodes) programs.set(name, compile(network, name, world.attachments.get(name) ?? []));
  return { ...world, network, programs };
}

/** Does the packet pass policies on its first way? */
function passes(world: World, start: Start, packet: Packet): boolean {
  const [path] = walkAll(world, startIn(world.network, start), packet);
  return path !== undefined && deniedStep(path) === undefined;
}

function startIn(network: Network, start: Start): Start {
  if (start.kind !== "pod") return start;
  const { namespace, name } = start.pod;
  const pod = network.pods.find((each) => each.namespace === namespace && each.name === name);
  return pod === undefined ? start : { kind: "pod", pod };
}

function* candidates(world: World, denied: Step & { readonly kind: "policy" }, packet: Packet): Iterable<Candidate> {
  const { direction } = denied;
  // Programs remember what they made of a node: what is only imagined is made for nodes of its own.
  const network: Network = { ...world.network, nodes: world.network.nodes.map((node) => ({ ...node })) };
  const seen = { address: packet.destination, pod: podAt(world, packet.destination), port: packet.destinationPort };
  const address = direction === "ingress" ? packet.source : seen.address;
  const other: PolicyEnd = { address, pod: podAt(world, address) };
  const rule = denied.origin && clusterRuleAt(network, denied.origin);
  if (rule !== undefined) {
    // From outside no rule of ingress can let anybody in.
    if (direction === "egress" || other.pod !== undefined)
      yield withClusterRule(network, rule, direction, { packet, seen, other });
    return;
  }
  for (const policy of isolatingPolicies(network, direction, denied.pod)) {
    const rules = (policy[direction] ?? []).filter((rule) => rule.peers !== "anyone" && opens(rule, packet, seen));
    for (const rule of rules) {
      if (other.pod !== undefined) yield* relabelled(network, policy, rule, other.pod);
      yield widened(network, policy, direction, { rule, other });
    }
    if (rules.length === 0) yield withRule(network, policy, direction, { packet, seen, other });
  }
}

/** The packet as the policy saw it: translated to a Service's endpoint, perhaps with the address of a node. */
function judgedPacket(packet: Packet, path: TracePath): Packet {
  let seen = packet;
  for (const step of path.hops.flatMap((hop) => hop.steps)) {
    if (step.kind === "snat") seen = { ...seen, source: step.to };
    const [choice] = step.kind === "service" ? step.choices : [];
    if (choice !== undefined) seen = { ...seen, destination: choice.address, destinationPort: choice.port };
  }
  return seen;
}

function opens({ ports }: PolicyRule, packet: Packet, seen: PolicyEnd & { readonly port: number }): boolean {
  return (
    ports === "all" || ports.some((port) => meansPort(port, { protocol: packet.protocol, port: seen.port }, seen.pod))
  );
}

/** The other pod gets the labels that a peer asks for. */
function* relabelled(network: Network, policy: Policy, rule: PolicyRule, pod: NetworkPod): Iterable<Candidate> {
  if (rule.peers === "anyone") return;
  for (const peer of rule.peers) {
    if (peer.kind !== "pods") continue;
    const isThere =
      peer.namespaces === "own"
        ? pod.namespace === policy.namespace
        : matches(peer.namespaces, namespaceLabels(network, pod.namespace));
    const wanted = labelsFor(peer.pods);
    if (!isThere || wanted === undefined) continue;
    const labels = { ...pod.labels, ...wanted };
    const words = Object.entries(wanted).map(([key, value]) => `${key}=${value}`);
    yield {
      text: `kubectl label pod -n ${pod.namespace} ${pod.name} ${words.join(" ")} --overwrite`,
      network: { ...network, pods: network.pods.map((each) => (each === pod ? { ...each, labels } : each)) },
    };
  }
}

/** Labels that meet the requirements where each asks for a value; undefined where one forbids something. */
function labelsFor(requirements: readonly Requirement[]): Labels | undefined {
  if (requirements.length === 0) return undefined;
  const labels: Record<string, string> = {};
  for (const { key, operator, values } of requirements) {
    const [value] = values;
    if (operator !== "In" || value === undefined) return undefined;
    labels[key] = value;
  }
  return labels;
}

/** One more peer in a rule that opens the port already. */
function widened(
  network: Network,
  policy: Policy,
  direction: PolicyDirection,
  { rule, other }: { readonly rule: PolicyRule; readonly other: PolicyEnd },
): Candidate {
  const { peer, text } = peerFor(policy, other);
  const peers = rule.peers === "anyone" ? rule.peers : [...rule.peers, peer];
  const rules = (policy[direction] ?? []).map((each) => (each === rule ? { ...each, peers } : each));
  const field = `${rule.origin.field ?? ""}.${direction === "ingress" ? "from" : "to"}`;
  return {
    text: `add to ${field} of NetworkPolicy ${policy.namespace}/${policy.name}:  - ${text}`,
    network: withPolicy(network, policy, { ...policy, [direction]: rules }),
  };
}

/** One more rule, for this port and this peer. */
function withRule(
  network: Network,
  policy: Policy,
  direction: PolicyDirection,
  {
    packet,
    seen,
    other,
  }: { readonly packet: Packet; readonly seen: { readonly port: number }; readonly other: PolicyEnd },
): Candidate {
  const { peer, text } = peerFor(policy, other);
  const { protocol } = packet;
  const word = direction === "ingress" ? "from" : "to";
  const ports =
    protocol === "icmp"
      ? ""
      : `, ports: [{port: ${seen.port}${protocol === "tcp" ? "" : `, protocol: ${protocol.toUpperCase()}`}}]`;
  const rule: PolicyRule = {
    peers: [peer],
    ports:
      protocol === "icmp"
        ? "all"
        : [{ kind: "range", protocol, first: seen.port, last: seen.port, origin: policy.origin }],
    origin: policy.origin,
  };
  return {
    text: `add to spec.${direction} of NetworkPolicy ${policy.namespace}/${policy.name}:  - {${word}: [${text}]${ports}}`,
    network: withPolicy(network, policy, { ...policy, [direction]: [...(policy[direction] ?? []), rule] }),
  };
}

/** A rule that accepts it, before the one of a ClusterNetworkPolicy that denies it. */
function withClusterRule(
  network: Network,
  { policy, rule }: { readonly policy: ClusterPolicy; readonly rule: ClusterRule },
  direction: PolicyDirection,
  {
    packet,
    seen,
    other,
  }: { readonly packet: Packet; readonly seen: { readonly port: number }; readonly other: PolicyEnd },
): Candidate {
  const { protocol } = packet;
  const { peer, text } = clusterPeerFor(network, policy.origin, other);
  const word = direction === "ingress" ? "from" : "to";
  const protocols =
    protocol === "icmp" ? "" : `, protocols: [{${protocol}: {destinationPort: {number: ${seen.port}}}}]`;
  const accept: ClusterRule = {
    action: "accept",
    peers: [peer],
    ports:
      protocol === "icmp"
        ? "all"
        : [{ kind: "range", protocol, first: seen.port, last: seen.port, origin: policy.origin }],
    origin: policy.origin,
  };
  const at = policy[direction].indexOf(rule);
  const changed = { ...policy, [direction]: policy[direction].toSpliced(at, 0, accept) };
  return {
    text: `add before ${rule.origin.field ?? ""} of ClusterNetworkPolicy ${policy.name}:  - {action: Accept, ${word}: [${text}]${protocols}}`,
    network: {
      ...network,
      clusterPolicies: network.clusterPolicies.map((each) => (each === policy ? changed : each)),
    },
  };
}

function clusterPeerFor(
  network: Network,
  origin: ClusterPolicy["origin"],
  { address, pod }: PolicyEnd,
): { readonly peer: ClusterPeer; readonly text: string } {
  if (pod !== undefined && !pod.hostNetwork) {
    const labels = tellingLabels(pod);
    const own = { "kubernetes.io/metadata.name": pod.namespace };
    return {
      peer: { kind: "pods", namespaces: requirementsFor(own), pods: requirementsFor(labels), origin },
      text: `{pods: {namespaceSelector: {matchLabels: {${labelText(own)}}}, podSelector: {matchLabels: {${labelText(labels)}}}}}`,
    };
  }
  const node = network.nodes.find(({ addresses }) => addresses.includes(address));
  const hostname = node?.labels["kubernetes.io/hostname"];
  if (hostname !== undefined) {
    const labels = { "kubernetes.io/hostname": hostname };
    return {
      peer: { kind: "nodes", nodes: requirementsFor(labels), origin },
      text: `{nodes: {matchLabels: {${labelText(labels)}}}}`,
    };
  }
  const cidr = `${address}/${address.includes(":") ? 128 : 32}`;
  return { peer: { kind: "block", cidr, except: [], origin }, text: `{networks: ["${cidr}"]}` };
}

function withPolicy(network: Network, before: Policy, after: Policy): Network {
  return { ...network, policies: network.policies.map((each) => (each === before ? after : each)) };
}

/** The labels people select by, best first; all of them where there is none of these. */
const telling = ["app", "app.kubernetes.io/name", "k8s-app", "name"];

function peerFor(policy: Policy, { address, pod }: PolicyEnd): { readonly peer: PolicyPeer; readonly text: string } {
  const { origin } = policy;
  if (pod === undefined) {
    const cidr = `${address}/${address.includes(":") ? 128 : 32}`;
    return { peer: { kind: "block", cidr, except: [], origin }, text: `{ipBlock: {cidr: "${cidr}"}}` };
  }
  const labels = tellingLabels(pod);
  const requirements = requirementsFor(labels);
  const selector = `podSelector: {matchLabels: {${labelText(labels)}}}`;
  if (pod.namespace === policy.namespace)
    return { peer: { kind: "pods", namespaces: "own", pods: requirements, origin }, text: `{${selector}}` };
  const own = { "kubernetes.io/metadata.name": pod.namespace };
  return {
    peer: { kind: "pods", namespaces: requirementsFor(own), pods: requirements, origin },
    text: `{namespaceSelector: {matchLabels: {${labelText(own)}}}, ${selector}}`,
  };
}

function tellingLabels(pod: NetworkPod): Labels {
  const key = telling.find((each) => pod.labels[each] !== undefined);
  return key === undefined ? pod.labels : { [key]: pod.labels[key] ?? "" };
}

function requirementsFor(labels: Labels): readonly Requirement[] {
  return Object.entries(labels).map(([key, value]) => ({ key, operator: "In", values: [value] }));
}

function labelText(labels: Labels): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}: ${/^[A-Za-z][-\w.]*$/.test(value) ? value : JSON.stringify(value)}`)
    .join(", ");
}
