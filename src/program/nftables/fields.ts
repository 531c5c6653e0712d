// The fields rules can ask for: type, nft's syntax, and where the kernel finds them.
// One row a field; format.ts, parse.ts and encode-rule.ts read the same table.

import type { Field } from "./ruleset.ts";
import { types, type ValueType } from "./values.ts";

/** A protocol that must be there for a header field to mean anything. */
export type NetworkProtocol = "ip" | "ip6" | "arp";
export type TransportProtocol = "tcp" | "icmp" | "icmpv6";

export interface FieldInfo {
  readonly type: ValueType;
  /** nft's syntax, where it is not the field's own name. */
  readonly text?: string;
  readonly load: FieldLoad;
  /** Where nft has it: its numbers of the protocol and of the field in it (enum proto_desc_id, the protocols' templates). */
  readonly template?: { readonly protocol: number; readonly field: number };
  readonly network?: NetworkProtocol;
  readonly transport?: TransportProtocol;
}

/** The kernel expression that loads it. Numbers are the kernel's. */
export type FieldLoad =
  | { readonly kind: "meta"; readonly key: number }
  | { readonly kind: "ct"; readonly key: number; readonly direction?: number }
  /** Bases: 0 link, 1 network, 2 transport header. */
  | { readonly kind: "payload"; readonly base: 0 | 1 | 2; readonly offset: number }
  | { readonly kind: "fib"; readonly result: number; readonly flags: number };

/** linux/netfilter/nf_tables.h: enum nft_meta_keys, the ones in use. */
export const metaKey = {
  protocol: 1,
  priority: 2,
  mark: 3,
  iifname: 6,
  oifname: 7,
  iiftype: 8,
  nftrace: 12,
  nfproto: 15,
  l4proto: 16,
  pkttype: 19,
} as const;

/** linux/netfilter/nf_tables.h: enum nft_ct_keys, the ones in use. */
export const ctKey = {
  state: 0,
  direction: 1,
  status: 2,
  mark: 3,
  protocolDestination: 12,
  sourceIp: 19,
  destinationIp: 20,
  sourceIp6: 21,
  destinationIp6: 22,
} as const;

// enum nft_fib_result: NFT_FIB_RESULT_OIF 1, _ADDRTYPE 3; enum nft_fib_flags: NFTA_FIB_F_SADDR 1, _DADDR 2, _IIF 8, _PRESENT 32.
const fib = { oif: 1, addressType: 3, source: 1, destination: 2, inputLink: 8, present: 32 } as const;

// nft's enum proto_desc_id.
const proto = { icmp: 4, th: 11, ip: 12, ip6: 13, icmpv6: 14, arp: 15, ether: 17 } as const;

/** Offsets: RFC 791 3.1, RFC 8200 3, RFC 9293 3.1 (ports are in the same place in UDP, SCTP), RFC 826, RFC 4861 4.3, IEEE 802.3. */
export const fields: Readonly<Record<Field, FieldInfo>> = {
  "ip saddr": { type: "ipv4_addr", load: network(12), template: { protocol: proto.ip, field: 11 }, network: "ip" },
  "ip daddr": { type: "ipv4_addr", load: network(16), template: { protocol: proto.ip, field: 12 }, network: "ip" },
  "ip protocol": { type: "inet_proto", load: network(9), template: { protocol: proto.ip, field: 9 }, network: "ip" },
  "ip6 saddr": { type: "ipv6_addr", load: network(8), template: { protocol: proto.ip6, field: 8 }, network: "ip6" },
  "ip6 daddr": { type: "ipv6_addr", load: network(24), template: { protocol: proto.ip6, field: 9 }, network: "ip6" },
  "ip6 nexthdr": { type: "inet_proto", load: network(6), template: { protocol: proto.ip6, field: 6 }, network: "ip6" },
  "meta nfproto": { type: "nfproto", load: meta(metaKey.nfproto) },
  "meta l4proto": { type: "inet_proto", load: meta(metaKey.l4proto) },
  "meta protocol": { type: "ether_type", load: meta(metaKey.protocol) },
  "meta mark": { type: "mark", load: meta(metaKey.mark) },
  "meta priority": { type: "classid", load: meta(metaKey.priority) },
  "meta iifname": { type: "ifname", text: "iifname", load: meta(metaKey.iifname) },
  "meta oifname": { type: "ifname", text: "oifname", load: meta(metaKey.oifname) },
  "meta pkttype": { type: "pkt_type", load: meta(metaKey.pkttype) },
  "th sport": { type: "inet_service", load: transport(0), template: { protocol: proto.th, field: 1 } },
  "th dport": { type: "inet_service", load: transport(2), template: { protocol: proto.th, field: 2 } },
  "tcp flags": { type: "tcp_flag", load: transport(13), transport: "tcp" },
  "icmp type": {
    type: "icmp_type",
    load: transport(0),
    template: { protocol: proto.icmp, field: 1 },
    network: "ip",
    transport: "icmp",
  },
  "icmpv6 type": {
    type: "icmpv6_type",
    load: transport(0),
    template: { protocol: proto.icmpv6, field: 1 },
    network: "ip6",
    transport: "icmpv6",
  },
  "icmpv6 target": { type: "nd_target", text: "@th,64,128", load: transport(8) },
  "ether saddr": { type: "ether_addr", load: link(6), template: { protocol: proto.ether, field: 2 } },
  "ether daddr": { type: "ether_addr", load: link(0), template: { protocol: proto.ether, field: 1 } },
  "ether type": { type: "ether_type", load: link(12), template: { protocol: proto.ether, field: 3 } },
  "arp operation": { type: "arp_op", load: network(6), template: { protocol: proto.arp, field: 5 }, network: "arp" },
  "arp saddr ip": { type: "ipv4_addr", load: network(14), template: { protocol: proto.arp, field: 7 }, network: "arp" },
  "arp daddr ip": { type: "ipv4_addr", load: network(24), template: { protocol: proto.arp, field: 9 }, network: "arp" },
  "arp saddr ether": {
    type: "ether_addr",
    load: network(8),
    template: { protocol: proto.arp, field: 6 },
    network: "arp",
  },
  "ct state": { type: "ct_state", load: ct(ctKey.state) },
  "ct status": { type: "ct_status", load: ct(ctKey.status) },
  "ct direction": { type: "ct_dir", load: ct(ctKey.direction) },
  "ct mark": { type: "mark", load: ct(ctKey.mark) },
  "ct original ip saddr": { type: "ipv4_addr", load: ctOriginal(ctKey.sourceIp) },
  "ct original ip daddr": { type: "ipv4_addr", load: ctOriginal(ctKey.destinationIp) },
  "ct original ip6 saddr": { type: "ipv6_addr", load: ctOriginal(ctKey.sourceIp6) },
  "ct original ip6 daddr": { type: "ipv6_addr", load: ctOriginal(ctKey.destinationIp6) },
  "ct original proto-dst": { type: "inet_service", load: ctOriginal(ctKey.protocolDestination) },
  "fib daddr type": { type: "fib_addrtype", load: addressType(fib.destination) },
  "fib saddr type": { type: "fib_addrtype", load: addressType(fib.source) },
  "fib daddr . iif type": { type: "fib_addrtype", load: addressType(fib.destination | fib.inputLink) },
  "fib saddr . iif oif": {
    type: "fib_exists",
    load: { kind: "fib", result: fib.oif, flags: fib.source | fib.inputLink | fib.present },
  },
};

/** How the field's number lies in a register: single bytes from elsewhere than a header count as host order with nft. */
export function fieldOrder(field: Field): "network" | "host" | "text" {
  const { type, load } = fields[field];
  return types[type].bytes === 1 && load.kind !== "payload" ? "host" : types[type].order;
}

/** nft's syntax for a field. */
export function fieldText(field: Field): string {
  return fields[field].text ?? field;
}

function meta(key: number): FieldLoad {
  return { kind: "meta", key };
}
function ct(key: number): FieldLoad {
  return { kind: "ct", key };
}
function ctOriginal(key: number): FieldLoad {
  return { kind: "ct", key, direction: 0 };
}
function link(offset: number): FieldLoad {
  return { kind: "payload", base: 0, offset };
}
function network(offset: number): FieldLoad {
  return { kind: "payload", base: 1, offset };
}
function transport(offset: number): FieldLoad {
  return { kind: "payload", base: 2, offset };
}
function addressType(flags: number): FieldLoad {
  return { kind: "fib", result: fib.addressType, flags };
}
