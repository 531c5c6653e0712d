// nf_tables expressions: bytes and back (linux/netfilter/nf_tables.h, enum nft_*_attributes).
// Attributes are written in libnftnl's order, so that our messages are byte for byte those of nft.
//
// Not here: which expressions a rule becomes (program/nftables/encode.ts).

import {
  AttributeWriter,
  parseAttributes,
  readBe16,
  readBe32,
  readBe64,
  readString,
  readU8,
  type Attributes,
} from "./attributes.ts";
import { need } from "./nftables-messages.ts";
import type { NftExpression, NftVerdictState } from "./nftables.ts";

/** What a rule's `lookup` of an anonymous set is sent as: the name pattern and the set's id in the transaction. */
export interface SetReference {
  readonly name: string;
  readonly id: number | undefined;
}

/** Appends NFTA_EXPR_NAME and NFTA_EXPR_DATA of one expression. `setOf` resolves the sets it mentions. */
export function encodeExpression(
  writer: AttributeWriter,
  expression: NftExpression,
  setOf: (set: string | number) => SetReference,
): void {
  // enum nft_expr_attributes: NFTA_EXPR_NAME 1, NFTA_EXPR_DATA 2.
  writer.string(1, kernelName(expression));
  if (expression.kind === "notrack") return;
  if (expression.kind === "other") {
    writer.bytes(2 | nested, expression.data);
    return;
  }
  writer.nested(2, (data) => encodeData(data, expression, setOf));
}

/** Reads one expression. `setOf` gives the index of an anonymous set by its kernel name, or the name itself. Throws NetlinkFormatError. */
export function decodeExpression(bytes: Uint8Array, setOf: (name: string) => string | number): NftExpression {
  const attributes = parseAttributes(bytes);
  const name = readString(need(attributes, 1, "an expression without a name"));
  const data = attributes.get(2) ?? new Uint8Array(0);
  return decodeData(name, data, setOf) ?? { kind: "other", name, data: data.slice() };
}

/** Appends NFTA_DATA_VERDICT: enum nft_verdict_attributes, NFTA_VERDICT_CODE 1, NFTA_VERDICT_CHAIN 2. */
export function encodeVerdict(writer: AttributeWriter, verdict: NftVerdictState): void {
  writer.nested(2, (inner) => {
    inner.be32(1, verdict.code);
    if (verdict.chain !== undefined) inner.string(2, verdict.chain);
  });
}

/** Reads the value of NFTA_DATA_VERDICT. Throws NetlinkFormatError. */
export function decodeVerdict(bytes: Uint8Array): NftVerdictState {
  const attributes = parseAttributes(bytes);
  const code = readBe32(need(attributes, 1, "a verdict without a code")) | 0;
  const chain = attributes.get(2);
  return chain === undefined ? { code } : { code, chain: readString(chain) };
}

// linux/netlink.h: NLA_F_NESTED.
const nested = 0x8000;

type ExpressionKind = NftExpression["kind"];
type Known = Exclude<NftExpression, { kind: "other" | "notrack" }>;

const kernelNames: Readonly<Record<Exclude<ExpressionKind, "other">, string>> = {
  immediate: "immediate",
  verdict: "immediate",
  "meta-load": "meta",
  "meta-set": "meta",
  "ct-load": "ct",
  "ct-set": "ct",
  payload: "payload",
  fib: "fib",
  numgen: "numgen",
  byteorder: "byteorder",
  cmp: "cmp",
  range: "range",
  bitwise: "bitwise",
  lookup: "lookup",
  dynset: "dynset",
  nat: "nat",
  masquerade: "masq",
  redirect: "redir",
  reject: "reject",
  log: "log",
  limit: "limit",
  counter: "counter",
  notrack: "notrack",
};

function kernelName(expression: NftExpression): string {
  return expression.kind === "other" ? expression.name : kernelNames[expression.kind];
}

function encodeData(writer: AttributeWriter, it: Known, setOf: (set: string | number) => SetReference): void {
  switch (it.kind) {
    case "immediate":
      // NFTA_IMMEDIATE_DREG 1, _DATA 2.
      writer.be32(1, it.dreg).nested(2, (data) => data.bytes(1, it.data));
      return;
    case "verdict":
      writer.be32(1, 0).nested(2, (data) => encodeVerdict(data, it.verdict));
      return;
    case "meta-load":
      // NFTA_META_DREG 1, _KEY 2, _SREG 3.
      writer.be32(2, it.key).be32(1, it.dreg);
      return;
    case "meta-set":
      writer.be32(2, it.key).be32(3, it.sreg);
      return;
    case "ct-load":
      // NFTA_CT_DREG 1, _KEY 2, _DIRECTION 3, _SREG 4.
      writer.be32(2, it.key).be32(1, it.dreg);
      if (it.direction !== undefined) writer.u8(3, it.direction);
      return;
    case "ct-set":
      writer.be32(2, it.key).be32(4, it.sreg);
      return;
    case "payload":
      // NFTA_PAYLOAD_DREG 1, _BASE 2, _OFFSET 3, _LEN 4.
      writer.be32(1, it.dreg).be32(2, it.base).be32(3, it.offset).be32(4, it.length);
      return;
    case "fib":
      // NFTA_FIB_DREG 1, _RESULT 2, _FLAGS 3.
      writer.be32(3, it.flags).be32(2, it.result).be32(1, it.dreg);
      return;
    case "numgen":
      // NFTA_NG_DREG 1, _MODULUS 2, _TYPE 3, _OFFSET 4.
      writer.be32(1, it.dreg).be32(2, it.modulus).be32(3, it.type).be32(4, 0);
      return;
    case "byteorder":
      // NFTA_BYTEORDER_SREG 1, _DREG 2, _OP 3, _LEN 4, _SIZE 5.
      writer.be32(1, it.sreg).be32(2, it.dreg).be32(3, it.operation).be32(4, it.length).be32(5, it.size);
      return;
    case "cmp":
      // NFTA_CMP_SREG 1, _OP 2, _DATA 3.
      writer
        .be32(1, it.sreg)
        .be32(2, it.op)
        .nested(3, (data) => data.bytes(1, it.data));
      return;
    case "range":
      // NFTA_RANGE_SREG 1, _OP 2, _FROM_DATA 3, _TO_DATA 4.
      writer
        .be32(1, it.sreg)
        .be32(2, it.op)
        .nested(3, (data) => data.bytes(1, it.from))
        .nested(4, (data) => data.bytes(1, it.to));
      return;
    case "bitwise":
      // NFTA_BITWISE_SREG 1, _DREG 2, _LEN 3, _MASK 4, _XOR 5, _OP 6 (NFT_BITWISE_MASK_XOR 0 unless given).
      writer
        .be32(1, it.sreg)
        .be32(2, it.dreg)
        .be32(3, it.mask.length)
        .nested(4, (data) => data.bytes(1, it.mask))
        .nested(5, (data) => data.bytes(1, it.xor));
      return;
    case "lookup": {
      // NFTA_LOOKUP_SET 1, _SREG 2, _DREG 3, _SET_ID 4, _FLAGS 5 (NFT_LOOKUP_F_INV 1).
      const set = setOf(it.set);
      writer.be32(2, it.sreg);
      if (it.dreg !== undefined) writer.be32(3, it.dreg);
      writer.string(1, set.name);
      if (set.id !== undefined) writer.be32(4, set.id);
      if (it.inverted) writer.be32(5, 1);
      return;
    }
    case "dynset": {
      // NFTA_DYNSET_SET_NAME 1, _SET_ID 2, _OP 3, _SREG_KEY 4, _SREG_DATA 5, _TIMEOUT 6.
      const set = setOf(it.set);
      writer.be32(4, it.keyRegister);
      if (it.dataRegister !== undefined) writer.be32(5, it.dataRegister);
      writer.be32(3, it.operation);
      if (it.timeoutMs !== undefined) writer.be64(6, it.timeoutMs);
      writer.string(1, set.name);
      if (set.id !== undefined) writer.be32(2, set.id);
      return;
    }
    case "nat":
      // NFTA_NAT_TYPE 1, _FAMILY 2, _REG_ADDR_MIN 3, _REG_ADDR_MAX 4, _REG_PROTO_MIN 5, _REG_PROTO_MAX 6, _FLAGS 7.
      writer.be32(1, it.type).be32(2, it.family).be32(3, it.addressRegister);
      if (it.portRegister !== undefined) writer.be32(5, it.portRegister);
      if (it.flags !== 0) writer.be32(7, it.flags);
      return;
    case "masquerade":
      // NFTA_MASQ_FLAGS 1.
      if (it.flags !== 0) writer.be32(1, it.flags);
      return;
    case "redirect":
      // NFTA_REDIR_REG_PROTO_MIN 1, _REG_PROTO_MAX 2, _FLAGS 3.
      writer.be32(1, it.portRegister);
      if (it.flags !== 0) writer.be32(3, it.flags);
      return;
    case "reject":
      // NFTA_REJECT_TYPE 1, _ICMP_CODE 2.
      writer.be32(1, it.type).u8(2, it.code);
      return;
    case "log":
      // NFTA_LOG_GROUP 1, _PREFIX 2, _SNAPLEN 3.
      writer.string(2, it.prefix).be16(1, it.group);
      if (it.snapLength !== 0) writer.be32(3, it.snapLength);
      return;
    case "limit":
      // NFTA_LIMIT_RATE 1, _UNIT 2, _BURST 3, _TYPE 4 (NFT_LIMIT_PKTS 0), _FLAGS 5.
      writer.be64(1, it.rate).be64(2, it.unitSeconds).be32(3, it.burst).be32(4, 0).be32(5, 0);
      return;
    case "counter":
      // From zero: NFTA_COUNTER_BYTES and _PACKETS are left out.
      return;
  }
}

/** Undefined where the expression, or a form of it, is none of ours. */
function decodeData(
  name: string,
  bytes: Uint8Array,
  setOf: (name: string) => string | number,
): NftExpression | undefined {
  if (name === "notrack") return { kind: "notrack" };
  const decode = Object.hasOwn(decoders, name) ? decoders[name] : undefined;
  return decode?.(new Data(parseAttributes(bytes), name), setOf);
}

type Decoder = (data: Data, setOf: (name: string) => string | number) => NftExpression | undefined;

const decoders: Readonly<Record<string, Decoder>> = {
  immediate: (data) => {
    const verdict = parseAttributes(data.bytes(2)).get(2);
    if (verdict !== undefined) return { kind: "verdict", verdict: decodeVerdict(verdict) };
    return { kind: "immediate", dreg: data.be32(1), data: data.value(2) };
  },
  meta: (data) =>
    data.has(3)
      ? { kind: "meta-set", key: data.be32(2), sreg: data.be32(3) }
      : { kind: "meta-load", key: data.be32(2), dreg: data.be32(1) },
  ct: (data) => {
    if (data.has(4)) return { kind: "ct-set", key: data.be32(2), sreg: data.be32(4) };
    const load = { kind: "ct-load", key: data.be32(2), dreg: data.be32(1) } as const;
    // The kernel says a direction for every key that could have one: NFT_CT_SRC … NFT_CT_DST_IP6 without one stay without.
    return data.has(3) ? { ...load, direction: readU8(data.bytes(3)) } : load;
  },
  payload: (data) =>
    data.has(5)
      ? undefined
      : { kind: "payload", dreg: data.be32(1), base: data.be32(2), offset: data.be32(3), length: data.be32(4) },
  fib: (data) => ({ kind: "fib", dreg: data.be32(1), result: data.be32(2), flags: data.be32(3) }),
  numgen: (data) =>
    data.be32(4, 0) === 0
      ? { kind: "numgen", dreg: data.be32(1), modulus: data.be32(2), type: data.be32(3) }
      : undefined,
  byteorder: (data) => ({
    kind: "byteorder",
    sreg: data.be32(1),
    dreg: data.be32(2),
    operation: data.be32(3),
    length: data.be32(4),
    size: data.be32(5),
  }),
  cmp: (data) => ({ kind: "cmp", sreg: data.be32(1), op: data.be32(2), data: data.value(3) }),
  range: (data) => ({ kind: "range", sreg: data.be32(1), op: data.be32(2), from: data.value(3), to: data.value(4) }),
  bitwise: (data) =>
    data.be32(6, 0) === 0
      ? { kind: "bitwise", sreg: data.be32(1), dreg: data.be32(2), mask: data.value(4), xor: data.value(5) }
      : undefined,
  lookup: (data, setOf) => {
    const inverted = (data.be32(5, 0) & 1) !== 0;
    const lookup = { kind: "lookup", set: setOf(data.string(1)), sreg: data.be32(2), inverted } as const;
    return data.has(3) ? { ...lookup, dreg: data.be32(3) } : lookup;
  },
  dynset: (data) => {
    // NFTA_DYNSET_EXPR 7, _FLAGS 9 (NFT_DYNSET_F_INV 1), _EXPRESSIONS 10: statements inside, which we never make.
    if (data.has(7) || data.has(10) || (data.be32(9, 0) & 1) !== 0) return undefined;
    const timeoutMs = data.has(6) ? data.be64(6) : 0n;
    return {
      kind: "dynset",
      set: data.string(1),
      operation: data.be32(3),
      keyRegister: data.be32(4),
      ...(data.has(5) ? { dataRegister: data.be32(5) } : {}),
      ...(timeoutMs > 0n ? { timeoutMs } : {}),
    };
  },
  nat: (data) => {
    const addressRegister = data.be32(3, 0);
    const portRegister = data.be32(5, 0);
    if (addressRegister === 0 || data.be32(4, addressRegister) !== addressRegister) return undefined;
    if (data.be32(6, portRegister) !== portRegister) return undefined;
    const nat = {
      kind: "nat",
      type: data.be32(1),
      family: data.be32(2),
      addressRegister,
      flags: data.be32(7, 0) & ~impliedNatFlags,
    } as const;
    return portRegister === 0 ? nat : { ...nat, portRegister };
  },
  masq: (data) => (data.has(2) || data.has(3) ? undefined : { kind: "masquerade", flags: data.be32(1, 0) }),
  redir: (data) => {
    const portRegister = data.be32(1, 0);
    if (portRegister === 0 || data.be32(2, portRegister) !== portRegister) return undefined;
    return { kind: "redirect", portRegister, flags: data.be32(3, 0) & ~impliedNatFlags };
  },
  // The kernel gives no code with a TCP reset.
  reject: (data) => ({ kind: "reject", type: data.be32(1), code: data.has(2) ? readU8(data.bytes(2)) : 0 }),
  log: (data) => {
    // NFTA_LOG_QTHRESHOLD 4, _LEVEL 5, _FLAGS 6: we always log to a group.
    if (!data.has(1) || data.has(5) || data.has(6)) return undefined;
    if (data.has(4) && readBe16(data.bytes(4)) !== 0) return undefined;
    return {
      kind: "log",
      group: readBe16(data.bytes(1)),
      prefix: data.has(2) ? data.string(2) : "",
      snapLength: data.be32(3, 0),
    };
  },
  limit: (data) =>
    data.be32(4, 0) === 0 && data.be32(5, 0) === 0
      ? { kind: "limit", rate: data.be64(1), unitSeconds: data.be64(2), burst: data.be32(3, 0) }
      : undefined,
  counter: () => ({ kind: "counter" }),
};

// linux/netfilter/nf_nat.h: NF_NAT_RANGE_MAP_IPS 1 and _PROTO_SPECIFIED 2 follow from the registers; the kernel adds them itself.
const impliedNatFlags = 3;

/** The attributes of one expression, read with the expression's name in errors. */
class Data {
  readonly #attributes: Attributes;
  readonly #name: string;
  constructor(attributes: Attributes, name: string) {
    this.#attributes = attributes;
    this.#name = name;
  }
  has(type: number): boolean {
    return this.#attributes.has(type);
  }
  bytes(type: number): Uint8Array {
    return need(this.#attributes, type, `expression ${this.#name} without attribute ${type}`);
  }
  be32(type: number, otherwise?: number): number {
    return otherwise !== undefined && !this.has(type) ? otherwise : readBe32(this.bytes(type));
  }
  be64(type: number): bigint {
    return readBe64(this.bytes(type));
  }
  string(type: number): string {
    return readString(this.bytes(type));
  }
  /** NFTA_DATA_VALUE inside a data attribute, as a copy. */
  value(type: number): Uint8Array {
    return need(
      parseAttributes(this.bytes(type)),
      1,
      `expression ${this.#name}: no value in attribute ${type}`,
    ).slice();
  }
}
