// A node's Program: everything its kernel must hold for the network to work, as typed immutable data.
// Readers: format.ts (text), diff.ts, apply/ (kernel), trace/ (what happens to a packet). Each entry carries the object that caused it.
//
// Invariant: a Program is a function of today's objects and attachments only; entries are unique by key and in an order that depends on
// nothing else (by key; elements of sets and maps in the order of the objects they come from).

import type { Address, Family } from "../ip/address.ts";
import type { Mac } from "../ip/mac.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { Origin } from "../kube/object.ts";
import type { NftTable } from "./nftables/ruleset.ts";

export interface Program {
  readonly node: string;
  readonly sysctls: readonly Sysctl[];
  readonly links: readonly Link[];
  readonly addresses: readonly LinkAddress[];
  readonly routes: readonly Route[];
  readonly neighbours: readonly Neighbour[];
  readonly forwarding: readonly ForwardingEntry[];
  readonly tables: readonly NftTable[];
}

/** A value below /proc/sys, of a namespaced kind only. Key: the path. */
export interface Sysctl {
  /** `net/ipv4/ip_forward` */
  readonly path: string;
  readonly value: string;
  readonly origin: Origin;
}

/** Key: the name. Only links we make; `veth` and `loopback` entries are links others made whose settings are ours. */
export type Link = BridgeLink | VxlanLink | PodLink | UplinkLink;

interface LinkBase {
  readonly name: string;
  readonly mtu: number;
  readonly origin: Origin;
}
/** The pods' bridge. */
export interface BridgeLink extends LinkBase {
  readonly kind: "bridge";
  readonly mac: Mac;
}
export interface VxlanLink extends LinkBase {
  readonly kind: "vxlan";
  readonly mac: Mac;
  readonly vni: number;
  readonly port: number;
  readonly local: Address;
}
/**
 * The host's end of a pod's veth pair, a port of the bridge: isolated, and nothing is learned from it or flooded to it
 * (forwarding entries are static).
 */
export interface PodLink extends LinkBase {
  readonly kind: "pod";
  readonly bridge: string;
  /** Ports never talk to each other directly: every packet passes the node's IP stack. */
  readonly isolated: true;
}
/** The node's own way out, made by the lab or the machine: we only read it. Never created, changed or removed. */
export interface UplinkLink extends LinkBase {
  readonly kind: "uplink";
}

/** Key: link and address. */
export interface LinkAddress {
  readonly link: string;
  readonly address: Address;
  readonly bits: number;
  readonly origin: Origin;
}

/** Key: destination and metric, in the main table. Ours are marked by route protocol `routeProtocol`. */
export interface Route {
  readonly to: Prefix;
  readonly action: "forward" | "unreachable";
  readonly link?: string;
  readonly via?: Address;
  /** The gateway is on the link although no address of ours says so. */
  readonly onlink?: boolean;
  /** The address the node itself uses as source. */
  readonly source?: Address;
  readonly mtu?: number;
  readonly metric: number;
  readonly origin: Origin;
}

/** Permanent neighbours (NUD_PERMANENT: exempt from the global table's limit). Key: link and address. */
export interface Neighbour {
  readonly link: string;
  readonly address: Address;
  readonly mac: Mac;
  readonly origin: Origin;
}

/** A static entry of a bridge's or a VXLAN link's forwarding database. Key: link, mac and remote. */
export interface ForwardingEntry {
  /** The bridge port (host's end of a veth), or the VXLAN link itself. */
  readonly link: string;
  readonly mac: Mac;
  /** VXLAN only: the node that has it. */
  readonly remote?: Address;
  readonly origin: Origin;
}

/** Routes we own are marked with this protocol number (rtnetlink RTPROT_*: 4 to 255 are free for programs, the well-known daemons avoided). */
export const routeProtocol = 0xf1;

/** Names of what we make in a node, so that a fresh agent recognises it. */
export const names = {
  bridge: "cbr0",
  vxlan: "fl.vx",
  /** Every host's end of a pod's veth starts so. */
  podLinkPrefix: "flp",
  table: "fairlead",
} as const;

/** Bytes that VXLAN adds: Ethernet 14, VXLAN 8, UDP 8 and the outer IP header (RFC 7348). */
export function vxlanOverhead(family: Family): number {
  return family === 4 ? 50 : 70;
}
