// The nftables part of a Program as typed data: tables, chains, rules, sets, maps and their elements.
// Readers: format.ts (nft syntax), encode.ts (kernel expressions), trace/ (executes it). A new kind breaks all three at compile time.
//
// Shape (ARCHITECTURE.md): the set of rules is constant; facts that grow with objects are elements of sets and maps.

import type { Origin } from "../../kube/object.ts";

export type NftFamily = "ip" | "ip6" | "inet" | "bridge" | "netdev";

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
    readonly hook: "prerouting" | "input" | "forward" | "output" | "postrouting";
    readonly priority: number;
    readonly policy: "accept" | "drop";
  };
  readonly rules: readonly NftRule[];
  /** Why this chain exists, for `show nft` and docs. */
  readonly comment?: string;
}

export interface NftRule {
  readonly statements: readonly Statement[];
  readonly comment?: string;
  readonly origin: Origin;
}

/** A set, or a map where `data` is given. */
export interface NftSet {
  readonly name: string;
  readonly key: readonly KeyType[];
  /** What a key maps to: a verdict, or a concatenation of values. */
  readonly data?: "verdict" | readonly KeyType[];
  readonly flags: readonly ("interval" | "dynamic" | "timeout")[];
  /** Seconds; dynamic sets only. */
  readonly timeoutSeconds?: number;
  /** Upper bound of elements; dynamic sets only. */
  readonly size?: number;
  /** Empty for dynamic sets: the kernel fills them. */
  readonly elements: readonly NftElement[];
}

/** nft's names of data types. */
export type KeyType = "ipv4_addr" | "ipv6_addr" | "inet_proto" | "inet_service" | "mark" | "ether_addr" | "ifname";

/** A value of a key part in nft's text: `10.96.0.1`, `tcp`, `80`, `0x1`, `flp*`, `10.0.0.0/8`, `100-200`. Numbers are decimal except marks. */
export type ElementValue = string;

export interface NftElement {
  readonly key: readonly ElementValue[];
  readonly data?: NftVerdict | readonly ElementValue[];
  readonly origin: Origin;
}

export type NftVerdict =
  | { readonly kind: "accept" }
  | { readonly kind: "drop" }
  | { readonly kind: "return" }
  | { readonly kind: "jump"; readonly chain: string }
  | { readonly kind: "goto"; readonly chain: string };

/** What a packet (or its connection, or its way) is asked for. */
export type Field =
  | "ip saddr"
  | "ip daddr"
  | "ip6 saddr"
  | "ip6 daddr"
  | "meta l4proto"
  | "meta mark"
  | "meta iifname"
  | "meta oifname"
  | "meta protocol"
  | "th sport"
  | "th dport"
  | "tcp flags"
  | "ether saddr"
  | "ether type"
  | "arp saddr ip"
  | "arp saddr ether"
  | "icmpv6 type"
  | "ct state"
  | "ct status"
  | "ct direction"
  | "ct original daddr"
  | "fib daddr type"
  | "fib saddr type";

/** One part of a key that is looked up: a field, a constant, or a random number below `below`. */
export type KeyPart =
  | { readonly kind: "field"; readonly field: Field }
  | { readonly kind: "random"; readonly below: number };

export type Statement =
  /** `ip daddr 10.0.0.0/8`, `ct state established,related`, `meta iifname "flp*"`: one of the values (!= : none of them). */
  | {
      readonly kind: "match";
      readonly field: Field;
      readonly op: "==" | "!=";
      readonly values: readonly ElementValue[];
    }
  /** `ip saddr . th dport @set` */
  | { readonly kind: "lookup"; readonly key: readonly KeyPart[]; readonly op: "==" | "!="; readonly set: string }
  /** `ip daddr . meta l4proto . th dport vmap @services`; falls through where the key is missing. */
  | { readonly kind: "vmap"; readonly key: readonly KeyPart[]; readonly map: string }
  /** `dnat to <key> map @backends`, the map's data being address . port; breaks (no match) where the key is missing. */
  | { readonly kind: "dnat"; readonly key: readonly KeyPart[]; readonly map: string }
  | { readonly kind: "masquerade"; readonly fullyRandom: boolean }
  /** `meta mark set <value>`, from a constant or from a map. */
  | { readonly kind: "set-mark"; readonly value: string }
  | { readonly kind: "set-mark-from"; readonly key: readonly KeyPart[]; readonly map: string }
  | { readonly kind: "set-mark-random"; readonly below: number }
  /** `update @affinity { <key> timeout … : <data field> }` */
  | {
      readonly kind: "update";
      readonly set: string;
      readonly key: readonly KeyPart[];
      readonly data?: Field;
      readonly timeoutSeconds: number;
    }
  | { readonly kind: "counter" }
  | { readonly kind: "log"; readonly group: number; readonly prefix: string }
  | { readonly kind: "reject"; readonly with: "tcp-reset" | "port-unreachable" | "admin-prohibited" }
  | { readonly kind: "verdict"; readonly verdict: NftVerdict };
