// The flow log of policies at one node: packets that were dropped, and where that is asked for connections let through, each in words: both
// pods, node, port, direction, and the policy that decided. Which one that was is what the kernel says (the packet's mark), not a guess.
// The kernel tells at most ten drops and ten connections a second and IP family (program/policy-chains.ts); what is not told is counted.
//
// Not here: reading the kernel's log (kernel/packet-log.ts), counters (policy-counts.ts), Events (lab/policy-drops.ts).

import type { Address } from "../ip/address.ts";
import { KernelError, type Closable } from "../kernel/kernel.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import { openPacketLog } from "../kernel/packet-log.ts";
import type { Attachment, Network } from "../model/network.ts";
import { policyDecisionsAt } from "../program/compile.ts";
import { gatewayOf, linkLocalOf, tunnelAddressOf } from "../program/places.ts";
import { policyLogGroup, policyLogPrefixes } from "../program/policy-chains.ts";
import type { Decision } from "../program/policy-decisions.ts";
import { markOf } from "../program/policy-identities.ts";
import { clusterRuleAt } from "../trace/policy.ts";
import type { LoggedPacket } from "../wire/netlink/packet-log.ts";

/** One line of the flow log. */
export interface PolicyFlow {
  readonly verdict: "drop" | "accept";
  /** The pod whose policies decided; its address where nobody is known to have it. */
  readonly pod: string;
  /** Without what differs from one try to the next: the source port. */
  readonly text: string;
}

export interface PolicyFlows extends Closable {
  /** How many lines the kernel told and nobody could read in time. */
  readonly lost: number;
}

/** Listens at a node until closed. Where the kernel cannot tell, `report` says so: packets are dropped all the same. */
export function startPolicyFlows(options: {
  readonly namespace: NetworkNamespace;
  readonly node: string;
  readonly network: () => Network;
  readonly attachments: () => readonly Attachment[];
  readonly told: (flow: PolicyFlow) => void;
  readonly report?: (line: string) => void;
}): PolicyFlows {
  const { namespace, node, network, attachments, told, report = () => {} } = options;
  try {
    return openPacketLog(namespace, policyLogGroup, (packet) => {
      const flow = describeFlow(network(), packet, { node, attachments: attachments() });
      if (flow !== undefined) told(flow);
    });
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    report(`what policies drop cannot be told: ${error.message}`);
    return { lost: 0, close: () => undefined };
  }
}

/** A logged packet in words; undefined where it is none of ours. */
export function describeFlow(
  network: Network,
  { prefix, mark, packet }: LoggedPacket,
  place: { readonly node: string; readonly attachments: readonly Attachment[] },
): PolicyFlow | undefined {
  const verdict =
    prefix === policyLogPrefixes.drop ? "drop" : prefix === policyLogPrefixes.accept ? "accept" : undefined;
  if (verdict === undefined) return undefined;
  const decision = policyDecisionsAt(network, place.node, place.attachments).get(markOf(mark));
  const port =
    packet.destinationPort === 0
      ? protocolText(packet.protocol)
      : `${packet.destinationPort}/${protocolText(packet.protocol)}`;
  // A pod has its place before its status says so.
  const podAt = (address: Address): string | undefined =>
    placeAt(place.attachments, address) ?? podWith(network, address);
  const whoIs = (address: Address): string => nameOf(network, address, podAt(address));
  const ends = `${whoIs(packet.source)} → ${whoIs(packet.destination)} ${port}`;
  if (decision === undefined)
    return {
      verdict,
      pod: podAt(packet.destination) ?? packet.destination,
      text: `policy ${verdict}: ${ends} on ${place.node}: by a policy that has changed since`,
    };
  const own = decision.direction === "ingress" ? packet.destination : packet.source;
  const pod = podAt(own) ?? own;
  return {
    verdict,
    pod,
    text: `policy ${verdict}: ${ends}, ${decision.direction} of ${pod} on ${place.node}: ${reason(network, decision)}`,
  };
}

/** `isolated by NetworkPolicy production/db, which does not let it in`, `denied by ClusterNetworkPolicy no-db spec.egress[0] (tier Admin)` */
function reason(network: Network, { verdict, direction, policies }: Decision): string {
  const [first] = policies;
  const into = direction === "ingress" ? "in" : "out";
  if (first?.kind === "ClusterNetworkPolicy") {
    const found = clusterRuleAt(network, first);
    const name = found?.rule.name === undefined ? "" : ` ${JSON.stringify(found.rule.name)}`;
    const tier = found === undefined ? "" : ` (tier ${found.policy.tier === "admin" ? "Admin" : "Baseline"})`;
    const rule = first.field === undefined ? "" : ` ${first.field}`;
    return `${verdict === "drop" ? "denied" : "accepted"} by ClusterNetworkPolicy ${first.name}${rule}${name}${tier}`;
  }
  const names = policies.map(({ namespace = "", name }) => `${namespace}/${name}`).join(", ");
  if (verdict === "accept") return `let ${into} by NetworkPolicy ${names}`;
  return `isolated by NetworkPolicy ${names}, ${policies.length === 1 ? "which does not let it" : "none of which lets it"} ${into}`;
}

function nameOf(network: Network, address: Address, pod: string | undefined): string {
  if (pod !== undefined) return `${pod} (${address})`;
  const node = network.nodes.find(
    ({ addresses, otherAddresses = [], podCidrs }) =>
      addresses.includes(address) ||
      otherAddresses.includes(address) ||
      podCidrs.some((range) => [gatewayOf(range), tunnelAddressOf(range)].includes(address)),
  );
  return node === undefined ? address : `node ${node.name} (${address})`;
}

function placeAt(attachments: readonly Attachment[], address: Address): string | undefined {
  const found = attachments.find(({ addresses, mac }) => addresses.includes(address) || linkLocalOf(mac) === address);
  return found && `${found.namespace}/${found.name}`;
}

function podWith(network: Network, address: Address): string | undefined {
  const pod = network.pods.find((each) => !each.hostNetwork && each.addresses.includes(address));
  return pod && `${pod.namespace}/${pod.name}`;
}

// IANA's protocol numbers.
function protocolText(protocol: number): string {
  const names: Readonly<Record<number, string>> = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp" };
  return names[protocol] ?? `protocol ${protocol}`;
}
