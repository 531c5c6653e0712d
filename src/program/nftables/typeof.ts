// `typeof`: nft's way to say a type by an expression that has it. nft also leaves the expression in a set's userdata, so that its
// listing shows what was written. Descriptions are of nft 1.0.6; the kernel never looks at them.

import { fields, fieldText } from "./fields.ts";
import type { Field, KeyType } from "./ruleset.ts";
import { record, records, u32 } from "./userdata.ts";
import { types } from "./values.ts";

/** The modulus that `typeof numgen random mod …` names for type `index`: it means nothing beyond the type. */
const indexModulus = 65536;

// nft's enum expr_types, the ones in use.
const expression = { payload: 7, meta: 9, ct: 12, concatenation: 13, numgen: 23, fib: 26 } as const;

/** An expression of the type, as `typeof` takes it: `ip daddr`. */
export function typeofText(type: KeyType): string {
  return type === "index" ? `numgen random mod ${indexModulus}` : fieldText(representative[type]);
}

/** The userdata of a key's expressions. */
export function typeofKey(key: readonly KeyType[]): Uint8Array {
  const parts = key.map((type) =>
    // NFT_NG_RANDOM 1, modulus, offset.
    type === "index" ? describe(expression.numgen, [1, indexModulus, 0]) : typeofField(representative[type]),
  );
  return parts.length === 1 ? parts[0]! : concatenation(records(parts.map((part, index) => record(index, part))));
}

/** The userdata of a concatenation of which only the types are known. */
export function typeofNames(): Uint8Array {
  return concatenation(new Uint8Array(0));
}

/** The userdata of one field. */
export function typeofField(field: Field): Uint8Array {
  const { load, template, type } = fields[field];
  switch (load.kind) {
    case "meta":
      return describe(expression.meta, [load.key]);
    case "ct":
      return describe(expression.ct, [load.key, load.direction ?? 0xffffffff]);
    case "fib":
      return describe(expression.fib, [load.result, load.flags]);
    case "payload":
      if (template !== undefined) return describe(expression.payload, [template.protocol, template.field]);
      // No protocol and no field: base (counted from 1), offset and length in bits.
      return describe(expression.payload, [0, 0, load.base + 1, load.offset * 8, types[type].bytes * 8]);
  }
}

const representative: Readonly<Record<Exclude<KeyType, "index">, Field>> = {
  ipv4_addr: "ip daddr",
  ipv6_addr: "ip6 daddr",
  ether_addr: "ether saddr",
  ether_type: "ether type",
  inet_proto: "meta l4proto",
  inet_service: "th dport",
  mark: "meta mark",
  classid: "meta priority",
  ifname: "meta iifname",
  icmp_type: "icmp type",
  icmpv6_type: "icmpv6 type",
  nd_target: "icmpv6 target",
};

// libnftnl/udata.h: NFTNL_UDATA_SET_TYPEOF_EXPR 0, _DATA 1.
function describe(kind: number, description: readonly number[]): Uint8Array {
  return records([
    record(0, u32(kind)),
    record(1, records(description.map((value, index) => record(index, u32(value))))),
  ]);
}

function concatenation(parts: Uint8Array): Uint8Array {
  return records([record(0, u32(expression.concatenation)), record(1, parts)]);
}
