// ClusterNetworkPolicies: objects -> Network, and what is odd about one of them by itself.
// What is not understood fails closed, rule by rule, as the types of network-policy-api say: an Accept then means nobody, any other action
// denies everything. Domain names are not understood yet: names are resolved by pods, at times of their own.
//
// Not here: whom a subject or peer means, and the order of policies (program/policy-ladders.ts).

import { parsePrefix } from "../ip/prefix.ts";
import type {
  ClusterNetworkPolicy,
  ClusterNetworkPolicyPeer,
  ClusterNetworkPolicyPorts,
  ClusterNetworkPolicyProtocol,
} from "../kube/policy-kinds.ts";
import type { Origin } from "../kube/object.ts";
import { requirementsOf } from "../kube/selector.ts";
import type {
  ClusterConfig,
  ClusterPeer,
  ClusterPolicy,
  ClusterRule,
  PolicyPort,
  Problem,
  Protocol,
} from "./network.ts";
import { logsAccepts } from "./node.ts";
import { originOf } from "./origin.ts";

/** What a ClusterNetworkPolicy says (policy.networking.k8s.io/v1alpha2). */
export function clusterPolicy(policy: ClusterNetworkPolicy): ClusterPolicy {
  const { metadata, spec } = policy;
  const origin = originOf(policy, "spec.subject");
  const [subject] = podPeer(spec.subject, origin);
  const { namespaces, pods } = subject ?? nobody;
  return {
    name: metadata.name,
    tier: spec.tier === "Admin" ? "admin" : "baseline",
    priority: spec.priority,
    subject: { namespaces, pods },
    ingress: (spec.ingress ?? []).map((rule, index) =>
      clusterRule(policy, rule, { peers: rule.from, field: `spec.ingress[${index}]`, peerField: "from" }),
    ),
    egress: (spec.egress ?? []).map((rule, index) =>
      clusterRule(policy, rule, { peers: rule.to, field: `spec.egress[${index}]`, peerField: "to" }),
    ),
    ...(logsAccepts(policy) && { logsAccepts: true as const }),
    origin,
  };
}

/** What is odd about one ClusterNetworkPolicy by itself. Errors: something it says is not done. */
export function clusterPolicyProblems(policy: ClusterNetworkPolicy, cluster: ClusterConfig): readonly Problem[] {
  if (cluster.policy === "off")
    return [
      {
        severity: "error",
        origin: originOf(policy, "spec"),
        message: "is not enforced: policies are switched off, every packet it would stop passes",
      },
    ];
  const { ingress, egress } = clusterPolicy(policy);
  const closed = [...ingress, ...egress].flatMap((rule): Problem[] => {
    if (rule.closed === undefined) return [];
    const outcome = rule.action === "accept" ? "the rule accepts nothing" : "the rule denies everything";
    return [{ severity: "error", origin: rule.origin, message: `${rule.closed}: ${outcome} (fails closed)` }];
  });
  if (ingress.length + egress.length > 0) return closed;
  return [
    ...closed,
    { severity: "warning", origin: originOf(policy, "spec"), message: "has no rules: it changes nothing" },
  ];
}

function clusterRule(
  policy: ClusterNetworkPolicy,
  rule: {
    readonly name?: string;
    readonly action: "Accept" | "Deny" | "Pass";
    readonly protocols?: readonly ClusterNetworkPolicyProtocol[];
  },
  place: { readonly peers: readonly ClusterNetworkPolicyPeer[]; readonly field: string; readonly peerField: string },
): ClusterRule {
  const origin = originOf(policy, place.field);
  const action = actions[rule.action];
  const name = rule.name === undefined || rule.name === "" ? {} : { name: rule.name };
  const peers: ClusterPeer[] = [];
  let closed: string | undefined;
  for (const [index, peer] of place.peers.entries()) {
    const field = `${place.peerField}[${index}]`;
    const means = clusterPeers(peer, originOf(policy, `${place.field}.${field}`));
    if (typeof means === "string") closed ??= `${field} ${means}`;
    else peers.push(...means);
  }
  const ports: PolicyPort[] = [];
  for (const [index, protocol] of (rule.protocols ?? []).entries()) {
    const field = `protocols[${index}]`;
    const means = clusterPorts(protocol, originOf(policy, `${place.field}.${field}`));
    if (typeof means === "string") closed ??= `${field} ${means}`;
    else ports.push(...means);
  }
  if (closed === undefined)
    return { ...name, action, peers, ports: rule.protocols === undefined ? "all" : ports, origin };
  return action === "accept"
    ? { ...name, action, peers: [], ports: [], closed, origin }
    : { ...name, action: "deny", peers: "anyone", ports: "all", closed, origin };
}

/** No label is one of no values. */
const nobody: ClusterPolicy["subject"] = { namespaces: [{ key: "", operator: "In", values: [] }], pods: [] };

const actions = { Accept: "accept", Deny: "deny", Pass: "pass" } as const;

/** Whom a peer means, or why that cannot be said. */
function clusterPeers(peer: ClusterNetworkPolicyPeer, origin: Origin): readonly ClusterPeer[] | string {
  const pods = podPeer(peer, origin);
  if (pods.length > 0) return pods;
  if (peer.nodes !== undefined) return [{ kind: "nodes", nodes: requirementsOf(peer.nodes), origin }];
  if (peer.networks !== undefined) {
    const blocks = peer.networks.map((text) => parsePrefix(text));
    const at = blocks.indexOf(undefined);
    if (at >= 0) return `has ${JSON.stringify(peer.networks[at])}, which is no CIDR`;
    return blocks.flatMap((cidr) => (cidr === undefined ? [] : [{ kind: "block", cidr, except: [], origin } as const]));
  }
  if (peer.domainNames !== undefined) return "has domainNames, which are not enforced yet";
  return "has no field that is known here";
}

type PodPeer = ClusterPeer & ClusterPolicy["subject"] & { readonly kind: "pods" };

function podPeer(
  { namespaces, pods }: Pick<ClusterNetworkPolicyPeer, "namespaces" | "pods">,
  origin: Origin,
): readonly PodPeer[] {
  if (namespaces !== undefined) return [{ kind: "pods", namespaces: requirementsOf(namespaces), pods: [], origin }];
  if (pods === undefined) return [];
  return [
    {
      kind: "pods",
      namespaces: requirementsOf(pods.namespaceSelector ?? {}),
      pods: requirementsOf(pods.podSelector ?? {}),
      origin,
    },
  ];
}

const protocols: readonly Protocol[] = ["tcp", "udp", "sctp"];

/** Which ports a protocol item means, or why that cannot be said. A name is a port of whatever protocol the pod gives it to. */
function clusterPorts(item: ClusterNetworkPolicyProtocol, origin: Origin): readonly PolicyPort[] | string {
  const name = item.destinationNamedPort;
  if (name !== undefined && name !== "")
    return protocols.map((protocol) => ({ kind: "named", protocol, name, origin }));
  const protocol = protocols.find((each) => item[each] !== undefined);
  const ports = protocol === undefined ? undefined : portsOf(item[protocol]);
  if (protocol === undefined || ports === undefined) return "has no field that is known here";
  return [{ kind: "range", protocol, ...ports, origin }];
}

function portsOf(
  ports: ClusterNetworkPolicyPorts | undefined,
): { readonly first: number; readonly last: number } | undefined {
  const { number, range } = ports?.destinationPort ?? {};
  if (number !== undefined && number !== 0) return { first: number, last: number };
  return range === undefined || range.start > range.end ? undefined : { first: range.start, last: range.end };
}
