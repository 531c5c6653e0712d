// The nftables part of a Program as typed data: tables, chains, rules, sets, maps and their elements.
// Readers: format.ts (nft syntax), encode.ts (kernel expressions), trace/ (executes it). A new kind breaks all three at compile time.
//
// Shape (ARCHITECTURE.md): the set of rules is constant; facts that grow with objects are elements of sets and maps.
// Everything here can be said in the syntax of nft 1.0.6, so that `nft list ruleset` shows it and `nft -f` reloads it.

import type { Origin } from "../../kube/object.ts";

export type NftFamily = "ip" | "ip6" | "inet" | "bridge" | "netdev";

/** Names of chains and of sets are unique in a table; the order of either means nothing. */
export interface NftTable {
  readonly family: NftFamily;
  readonly name: string;
  readonly chains: readonly NftChain[];
  readonly sets: readonly NftSet[];
}

export interface NftChain {
  readonly name: string;
  /** Absent for chains that are only jumped to. */
  readonly base?: {
    readonly type: "filter" | "nat" | "route";
    /** `ingress` and `egress` need `devices`: family netdev (inet has `ingress` too). */
    readonly hook: "prerouting" | "input" | "forward" | "output" | "postrouting" | "ingress" | "egress";
    readonly priority: number;
    readonly policy: "accept" | "drop";
    /** Names of the links it is hooked to. They must exist when the chain is made. */
    readonly devices?: readonly string[];
  };
  readonly rules: readonly NftRule[];
  /** Why this chain exists, for `show nft` and docs. At most 128 bytes, no double quote; `nft list` shows it. */
  readonly comment?: string;
}

export interface NftRule {
  readonly statements: readonly Statement[];
  /** At most 128 bytes, no double quote; `nft list` shows it. */
  readonly comment?: string;
  readonly origin: Origin;
}

/** A set, or a map where `data` is given. */
export interface NftSet {
  readonly name: string;
  /** At most five parts and 64 bytes, each part padded to 4. */
  readonly key: readonly KeyType[];
  /** What a key maps to: a verdict, or a concatenation of values. */
  readonly data?: "verdict" | readonly KeyType[];
  /**
   * `interval`: keys may hold prefixes and ranges; elements must not overlap (the kernel refuses them, or not, by order).
   * `dynamic`: rules add elements (`update`). `timeout`: elements may have a timeout of their own.
   */
  readonly flags: readonly ("interval" | "dynamic" | "timeout")[];
  /** Default timeout of elements in seconds; needs flag `timeout`. */
  readonly timeoutSeconds?: number;
  /** Upper bound of elements; dynamic sets only. */
  readonly size?: number;
  /** `last`: filled after rules and verdict maps before it, emptied before them, as what is found in it leads there; with the data else. */
  readonly filled?: "last";
  /** Every element counts the packets and bytes that hit it. */
  readonly counter?: boolean;
  /** Empty for dynamic sets: the kernel fills them. Unchanged elements should stay the same array: diffTables skips those by identity. */
  readonly elements: readonly NftElement[];
}

/**
 * nft's names of data types, and two of ours that nft knows only by `typeof`:
 * `index`, what a `random` key part gives (nft will not compare it with a mark: a map is keyed by one or the other),
 * and `nd_target`, what field `icmpv6 target` gives (values are IPv6 addresses here; nft shows 128-bit numbers).
 */
export type KeyType =
  | "ipv4_addr"
  | "ipv6_addr"
  | "ether_addr"
  | "ether_type"
  | "inet_proto"
  | "inet_service"
  | "mark"
  | "classid"
  | "ifname"
  | "icmp_type"
  | "icmpv6_type"
  | "index"
  | "nd_target";

/**
 * A value of a key part in nft's text, canonical: `10.96.0.1`, `fd00::1`, `tcp` (other protocols as numbers), `80`, `0x1` (marks, no
 * leading zeros), `0:1` and `none` (classid), `eth0`, `0a:58:0a:f4:01:05`, `arp`, `nd-neighbor-solicit`, `3` (index).
 * In interval sets also `10.0.0.0/8`, `10.0.0.1-10.0.0.9`, `100-200` (of marks only where the key has no other part); in a match of
 * an interface name also `flp*`.
 */
export type ElementValue = string;

export interface NftElement {
  readonly key: readonly ElementValue[];
  readonly data?: NftVerdict | readonly ElementValue[];
  /** Sets with flag `timeout` only. */
  readonly timeoutSeconds?: number;
  /** At most 128 bytes, no double quote; `nft list` shows it. */
  readonly comment?: string;
  readonly origin: Origin;
}

export type NftVerdict =
  | { readonly kind: "accept" }
  | { readonly kind: "drop" }
  | { readonly kind: "return" }
  | { readonly kind: "jump"; readonly chain: string }
  | { readonly kind: "goto"; readonly chain: string };

/** What a packet (or its connection, or its way) is asked for. Types, widths and values of each: fields.ts. */
export type Field =
  | "ip saddr"
  | "ip daddr"
  | "ip protocol"
  | "ip6 saddr"
  | "ip6 daddr"
  | "ip6 nexthdr"
  /** `ipv4`, `ipv6`; the way to tell families apart in table family inet. */
  | "meta nfproto"
  | "meta l4proto"
  /** The EtherType: `ip`, `ip6`, `arp`. */
  | "meta protocol"
  | "meta mark"
  | "meta priority"
  | "meta iifname"
  | "meta oifname"
  /** `host`, `broadcast`, `multicast`, `other`. */
  | "meta pkttype"
  | "th sport"
  | "th dport"
  /** `syn`, `ack` …; with `mask`: `tcp flags syn / fin,syn,rst,ack`. */
  | "tcp flags"
  | "icmp type"
  | "icmpv6 type"
  /** The target address of neighbour solicitation and advertisement (RFC 4861 4.3, 4.4): the 16 bytes at offset 8 of ICMPv6. */
  | "icmpv6 target"
  | "ether saddr"
  | "ether daddr"
  | "ether type"
  /** `request`, `reply`. */
  | "arp operation"
  | "arp saddr ip"
  | "arp daddr ip"
  | "arp saddr ether"
  /** `new`, `established`, `related`, `invalid`, `untracked`. */
  | "ct state"
  /** `snat`, `dnat`, `confirmed`, `seen-reply`, `assured` … */
  | "ct status"
  /** `original`, `reply`. */
  | "ct direction"
  | "ct mark"
  | "ct original ip saddr"
  | "ct original ip daddr"
  | "ct original ip6 saddr"
  | "ct original ip6 daddr"
  /** nft wants a match of `meta l4proto` before it. */
  | "ct original proto-dst"
  /** `local`, `unicast`, `broadcast`, `multicast`, `anycast` …: what the routing tables say of the address. */
  | "fib daddr type"
  | "fib saddr type"
  /** The same, asked of the input link only. */
  | "fib daddr . iif type"
  /** Whether the source is reached through the input link: `exists`, `missing` (reverse path filter). */
  | "fib saddr . iif oif";

/** One part of a key that is looked up: a field, or a random number below `below`. nft has no constants here: scratch them in a mark. */
export type KeyPart =
  | { readonly kind: "field"; readonly field: Field }
  | { readonly kind: "random"; readonly below: number };

/** Where a number can be kept for later rules: on the packet (mark, priority) or on its connection (ct mark). */
export type Scratch = "meta mark" | "meta priority" | "ct mark";

/** Statements act from left to right; a match that fails ends the rule. */
export type Statement =
  /**
   * `ip daddr 10.0.0.0/8`, `ct state established,related`, `meta iifname "flp*"`: one of the values (!= : none of them).
   * With `mask`: `meta mark & 0x4000 == 0x4000`. Several values of `ct state`, `ct status`, `tcp flags` are bits: any of them is set.
   * Several values of other fields become an anonymous set.
   */
  | {
      readonly kind: "match";
      readonly field: Field;
      readonly op: "==" | "!=";
      readonly values: readonly ElementValue[];
      /** `meta mark`, `ct mark`: a number; `tcp flags`: names joined by commas. Takes exactly one value (tcp flags: any). */
      readonly mask?: string;
    }
  /** `ip saddr . th dport @set` */
  | { readonly kind: "lookup"; readonly key: readonly KeyPart[]; readonly op: "==" | "!="; readonly set: string }
  /** `ip daddr . meta l4proto . th dport vmap @services`; falls through where the key is missing. */
  | { readonly kind: "vmap"; readonly key: readonly KeyPart[]; readonly map: string }
  /**
   * `dnat ip to <key> map @backends`, the map's data being an address or address . port; breaks (no match) where the key is missing.
   * With ports, nft wants `meta l4proto` or a transport field in the key, or a match of `meta l4proto` before it.
   */
  | { readonly kind: "dnat"; readonly key: readonly KeyPart[]; readonly map: string }
  /** `dnat ip to 10.0.0.1:80`; as above with a port. */
  | { readonly kind: "dnat-to"; readonly address: string; readonly port?: number }
  | { readonly kind: "snat-to"; readonly address: string }
  /** `redirect to :8080`: to this machine's own address; needs a match of `meta l4proto` before it. */
  | { readonly kind: "redirect"; readonly port: number }
  | { readonly kind: "masquerade"; readonly fullyRandom: boolean }
  /** `meta mark set 0x1`; with `keep`, the bits that stay: `meta mark set meta mark & 0xffff0000 | 0x1`. `target` is `meta mark` unless given. */
  | { readonly kind: "set-mark"; readonly target?: Scratch; readonly value: string; readonly keep?: string }
  /** `meta mark set ip saddr map @identity`; breaks where the key is missing. */
  | {
      readonly kind: "set-mark-from";
      readonly target?: Scratch;
      readonly key: readonly KeyPart[];
      readonly map: string;
    }
  /** `meta mark set numgen random mod 3` */
  | { readonly kind: "set-mark-random"; readonly target?: Scratch; readonly below: number }
  /** `ct mark set meta mark` */
  | { readonly kind: "set-mark-copy"; readonly target?: Scratch; readonly from: "meta mark" | "ct mark" }
  /**
   * `update @affinity { <key> timeout … : <data field> }`; `add` leaves an element's timeout as it is, `update` starts it anew.
   * With data, the key has at most 16 bytes: nft 1.0.6 aborts when it reads a rule with a longer one (IPv6 addresses go through
   * numbers: `ip6 saddr` to a mark in one map, mark . priority to a ct mark in the next).
   */
  | {
      readonly kind: "update";
      readonly operation?: "add" | "update" | "delete";
      readonly set: string;
      readonly key: readonly KeyPart[];
      /** Maps only. */
      readonly data?: Field;
      /** The set's own where absent. */
      readonly timeoutSeconds?: number;
    }
  | { readonly kind: "counter" }
  /** Goes on only that often: for `log`. */
  | { readonly kind: "limit"; readonly perSecond: number; readonly burst: number }
  /** To NFLOG; `bytesMax` of the packet (all of it where absent). The prefix has at most 127 bytes and no double quote. */
  | { readonly kind: "log"; readonly group: number; readonly prefix: string; readonly bytesMax?: number }
  /** `tcp-reset` adds `meta l4proto tcp` where the rule has not said so. */
  | { readonly kind: "reject"; readonly with: "tcp-reset" | "port-unreachable" | "admin-prohibited" }
  /** Keeps the packet out of conntrack; in a chain before it (priority below -200). */
  | { readonly kind: "notrack" }
  /** `meta nftrace set 1`: the kernel reports every rule this packet meets. */
  | { readonly kind: "nftrace" }
  | { readonly kind: "verdict"; readonly verdict: NftVerdict };
