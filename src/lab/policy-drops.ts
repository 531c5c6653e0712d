// Packets that NetworkPolicies dropped, in words: a line in the node's log and an Event on the pod that is isolated, with both ends, the port
// and the policies that isolate it. The kernel tells of at most ten a second and node (program/policy.ts); Events are joined by their sink.
//
// Not here: reading the kernel's log (kernel/packet-log.ts), why a packet that has not been sent would be dropped (trace/).

import type { Address } from "../ip/address.ts";
import { KernelError, type Closable } from "../kernel/kernel.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import { openPacketLog } from "../kernel/packet-log.ts";
import type { Network } from "../model/network.ts";
import { gatewayOf, tunnelAddressOf } from "../program/places.ts";
import { policyLogGroup } from "../program/policy-chains.ts";
import { isolatingPolicies } from "../trace/policy.ts";
import type { Direction } from "../trace/policy-words.ts";
import type { LoggedPacket } from "../wire/netlink/packet-log.ts";
import type { ObjectApi } from "./api/api.ts";
import { systemClock } from "./controllers/clock.ts";
import { createEventSink } from "./controllers/events.ts";

export interface PolicyDrops {
  /** Listens in one node. */
  add(node: string, namespace: NetworkNamespace, log: (line: string) => void): void;
  remove(node: string): void;
  close(): void;
}

/** Nobody is listened to yet. */
export function createPolicyDrops({
  api,
  network,
}: {
  readonly api: ObjectApi;
  readonly network: () => Network;
}): PolicyDrops {
  const readers = new Map<string, Closable>();
  let isClosed = false;
  const sink = createEventSink({
    api,
    clock: systemClock,
    random: Math.random,
    wake: () => void setImmediate(() => void (isClosed || sink.drain(() => true))),
  });
  const recorder = sink.recorder("fairlead-policy");

  const tell = (packet: LoggedPacket, log: (line: string) => void): void => {
    const drop = describeDrop(network(), packet);
    if (drop === undefined) return;
    log(`${now()} ${drop.text}`);
    const [namespace = "", name = ""] = drop.pod.split("/");
    const object = api.get({ group: "", resource: "pods", namespace, name });
    if (object !== undefined) recorder.record(object, "Warning", "PolicyDrop", drop.text);
  };

  return {
    add(node, namespace, log) {
      try {
        readers.set(
          node,
          openPacketLog(namespace, policyLogGroup, (what) => {
            if (what === "lost") log(`${now()} policy drops were told faster than they were read: some are not here`);
            else tell(what, log);
          }),
        );
      } catch (error) {
        // Drops are dropped all the same.
        if (!(error instanceof KernelError)) throw error;
        log(`${now()} policy drops cannot be told: ${error.message}`);
      }
    },
    remove(node) {
      readers.get(node)?.close();
      readers.delete(node);
    },
    close() {
      isClosed = true;
      for (const reader of readers.values()) reader.close();
      readers.clear();
    },
  };
}

function now(): string {
  return new Date().toISOString();
}

/** A drop in words, without what differs from one try to the next (the source port), and the isolated pod. */
export function describeDrop(
  network: Network,
  { prefix, packet }: LoggedPacket,
): { readonly pod: string; readonly text: string } | undefined {
  const direction = /^policy (ingress|egress) $/.exec(prefix)?.[1] as Direction | undefined;
  if (direction === undefined) return undefined;
  const own = direction === "ingress" ? packet.destination : packet.source;
  const pod = podAt(network, own);
  const policies = pod === undefined ? [] : isolatingPolicies(network, direction, pod);
  const names = policies.map(({ namespace, name }) => `${namespace}/${name}`);
  const port =
    packet.destinationPort === 0
      ? protocolText(packet.protocol)
      : `${packet.destinationPort}/${protocolText(packet.protocol)}`;
  const cause =
    names.length === 0
      ? "not known here yet, so isolated"
      : `isolated by NetworkPolicy ${names.join(", ")}, ${names.length === 1 ? "which does not let it" : "none of which lets it"} ${direction === "ingress" ? "in" : "out"}`;
  return {
    pod: pod ?? own,
    text: `policy drop: ${whoIs(network, packet.source)} → ${whoIs(network, packet.destination)} ${port}, ${direction} of ${pod ?? own}: ${cause}`,
  };
}

function whoIs(network: Network, address: Address): string {
  const pod = podAt(network, address);
  if (pod !== undefined) return `${pod} (${address})`;
  const node = network.nodes.find(
    ({ addresses, podCidrs }) =>
      addresses.includes(address) ||
      podCidrs.some((range) => [gatewayOf(range), tunnelAddressOf(range)].includes(address)),
  );
  return node === undefined ? address : `node ${node.name} (${address})`;
}

function podAt(network: Network, address: Address): string | undefined {
  const pod = network.pods.find((each) => !each.hostNetwork && each.addresses.includes(address));
  return pod && `${pod.namespace}/${pod.name}`;
}

// IANA's protocol numbers.
function protocolText(protocol: number): string {
  const names: Readonly<Record<number, string>> = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp" };
  return names[protocol] ?? `protocol ${protocol}`;
}
