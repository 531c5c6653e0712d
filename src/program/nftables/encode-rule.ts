// Rules: from typed statements to kernel expressions over registers, the way nft 1.0.6 would compile the same text.
// That is why matches of header fields are preceded by matches of the protocols they need, and registers are taken as nft takes them:
// nft recognises its own patterns and lists the rule as it was written.
//
// Not here: sets (encode-set.ts), bytes (wire/netlink/nftables-expressions.ts).

import type {
  NftAnonymousSet,
  NftElementState,
  NftExpression,
  NftRuleState,
  NftSetState,
} from "../../wire/netlink/nftables.ts";
import { setFlag } from "../../wire/netlink/nftables.ts";
import { addressBytes, familyOf } from "../../ip/address.ts";
import { anonymousElements, encodeVerdict, keyLength, typeId } from "./encode-set.ts";
import {
  ctKey,
  fieldOrder,
  fields,
  metaKey,
  type FieldInfo,
  type NetworkProtocol,
  type TransportProtocol,
} from "./fields.ts";
import type { ElementValue, Field, KeyPart, NftRule, NftSet, NftTable, Scratch, Statement } from "./ruleset.ts";
import { typeofField } from "./typeof.ts";
import { commentUserdata, record, records, u32 } from "./userdata.ts";
import { bitsOf, numberOf, splitRange, types, valueBytes, type ValueType } from "./values.ts";

/** The rule as the kernel keeps it. Throws RangeError, naming the chain, where no nft syntax could say it. */
export function encodeRule(table: NftTable, chain: string, rule: NftRule): NftRuleState {
  const encoder = new RuleEncoder(table);
  try {
    for (const statement of rule.statements) encoder.statement(statement);
    // libnftnl/udata.h: NFTNL_UDATA_RULE_COMMENT 0.
    return encoder.finish(rule.comment === undefined ? undefined : commentUserdata(0, rule.comment));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RangeError(`rule of nftables chain ${table.name} ${chain}: ${error.message}`, { cause: error });
  }
}

// linux/netfilter/nf_tables.h: enum nft_cmp_ops.
const cmp = { equal: 0, notEqual: 1, lessOrEqual: 3, greaterOrEqual: 5 } as const;
// linux/netfilter.h: NFPROTO_IPV4, NFPROTO_IPV6.
const nfproto = { ip: 2, ip6: 10 } as const;
// linux/netfilter/nf_nat.h: NF_NAT_RANGE_PROTO_RANDOM_FULLY.
const fullyRandom = 16;

/** The register that starts at a byte offset: those at a multiple of 16 have the old numbers 1 to 4 (nf_tables.h, enum nft_registers). */
function register(offset: number): number {
  return offset % 16 === 0 ? 1 + offset / 16 : 8 + offset / 4;
}
const first = register(0);

class RuleEncoder {
  readonly #table: NftTable;
  readonly #expressions: NftExpression[] = [];
  readonly #anonymousSets: NftAnonymousSet[] = [];
  /** What matches so far have made certain. */
  #network: NetworkProtocol | undefined;
  #transport: string | undefined;
  #ethernet = false;

  constructor(table: NftTable) {
    this.#table = table;
    if (table.family === "ip" || table.family === "ip6") this.#network = table.family;
  }

  finish(userdata: Uint8Array | undefined): NftRuleState {
    return {
      expressions: this.#expressions,
      ...(this.#anonymousSets.length === 0 ? {} : { anonymousSets: this.#anonymousSets }),
      ...(userdata === undefined ? {} : { userdata }),
    };
  }

  statement(it: Statement): void {
    switch (it.kind) {
      case "match":
        this.#match(it);
        return;
      case "lookup":
        this.#key(it.key, this.#set(it.set, "set"));
        this.#add({ kind: "lookup", set: it.set, sreg: first, inverted: it.op === "!=" });
        return;
      case "vmap":
        this.#key(it.key, this.#set(it.map, "verdict map"));
        this.#add({ kind: "lookup", set: it.map, sreg: first, dreg: 0, inverted: false });
        return;
      case "dnat":
        this.#dnatMap(it);
        return;
      case "dnat-to":
        this.#natTo(1, it.address, it.port);
        return;
      case "snat-to":
        this.#natTo(0, it.address, undefined);
        return;
      case "redirect":
        this.#needPort();
        this.#add({ kind: "immediate", dreg: first, data: valueBytes("inet_service", String(it.port)) });
        this.#add({ kind: "redirect", portRegister: first, flags: 0 });
        return;
      case "masquerade":
        this.#add({ kind: "masquerade", flags: it.fullyRandom ? fullyRandom : 0 });
        return;
      case "set-mark":
        this.#setMark(it);
        return;
      case "set-mark-from":
        this.#key(it.key, this.#set(it.map, "map"));
        this.#add({ kind: "lookup", set: it.map, sreg: first, dreg: first, inverted: false });
        this.#store(it.target);
        return;
      case "set-mark-random":
        this.#random(first, it.below);
        this.#store(it.target);
        return;
      case "set-mark-copy":
        this.#load(it.from, 0);
        this.#store(it.target);
        return;
      case "update":
        this.#update(it);
        return;
      case "counter":
        this.#add({ kind: "counter" });
        return;
      case "limit":
        this.#add({ kind: "limit", rate: BigInt(it.perSecond), unitSeconds: 1n, burst: it.burst });
        return;
      case "log":
        this.#log(it);
        return;
      case "reject":
        this.#reject(it.with);
        return;
      case "notrack":
        this.#add({ kind: "notrack" });
        return;
      case "nftrace":
        this.#add({ kind: "immediate", dreg: first, data: Uint8Array.of(1) });
        this.#add({ kind: "meta-set", key: metaKey.nftrace, sreg: first });
        return;
      case "verdict":
        this.#add({ kind: "verdict", verdict: encodeVerdict(it.verdict) });
        return;
    }
  }

  #add(expression: NftExpression): void {
    this.#expressions.push(expression);
  }

  #match(it: Statement & { kind: "match" }): void {
    const info = fields[it.field];
    const [value, ...more] = it.values;
    if (value === undefined) throw new RangeError(`a match of ${it.field} without values`);
    this.#need(info);
    if (it.mask !== undefined) this.#matchMasked(it, info, it.mask);
    else if (types[info.type].bits) this.#matchBits(it, info);
    else if (more.length > 0) this.#matchAny(it, info);
    else this.#matchOne(it.field, info, it.op, value);
    if (it.op === "==" && more.length === 0 && it.mask === undefined) this.#learn(it.field, value);
  }

  #matchOne(field: Field, info: FieldInfo, op: "==" | "!=", value: ElementValue): void {
    if (info.type === "ifname" && value.endsWith("*")) return this.#matchPrefixName(field, op, value);
    const ends = splitRange(info.type, value);
    if (ends.prefixBits !== undefined) return this.#matchPrefix(field, info, op, ends.first, ends.prefixBits);
    this.#load(field, 0);
    if (ends.first === ends.last) {
      this.#compare(op, valueBytes(info.type, ends.first));
      return;
    }
    if (types[info.type].order === "host") throw new RangeError(`${field} has no ranges in nft's syntax of a match`);
    const from = valueBytes(info.type, ends.first);
    const to = valueBytes(info.type, ends.last);
    if (op === "==") {
      this.#add({ kind: "cmp", sreg: first, op: cmp.greaterOrEqual, data: from });
      this.#add({ kind: "cmp", sreg: first, op: cmp.lessOrEqual, data: to });
    } else this.#add({ kind: "range", sreg: first, op: 1, from, to });
  }

  /** `flp*`: the first bytes are compared, without the NUL byte. */
  #matchPrefixName(field: Field, op: "==" | "!=", value: string): void {
    const name = value.slice(0, -1);
    this.#load(field, 0);
    this.#compare(op, valueBytes("ifname", name).slice(0, new TextEncoder().encode(name).length));
  }

  #matchPrefix(field: Field, info: FieldInfo, op: "==" | "!=", address: string, bits: number): void {
    const bytes = valueBytes(info.type, address);
    if (bits === 0) throw new RangeError(`a match of ${field} with every address: leave it out`);
    if (bits % 8 === 0) {
      // Whole bytes: that many are loaded and compared.
      this.#load(field, 0, bits / 8);
      this.#compare(op, bytes.slice(0, bits / 8));
      return;
    }
    const mask = bytes.map((_, i) => (0xff00 >> Math.max(0, Math.min(8, bits - 8 * i))) & 0xff);
    this.#load(field, 0);
    this.#add({ kind: "bitwise", sreg: first, dreg: first, mask, xor: new Uint8Array(bytes.length) });
    this.#compare(op, bytes);
  }

  #matchMasked(it: Statement & { kind: "match" }, info: FieldInfo, mask: string): void {
    const { bits, bytes, order } = types[info.type];
    if (!bits && info.type !== "mark") throw new RangeError(`${it.field} is not matched with a mask`);
    if (!bits && it.values.length !== 1) throw new RangeError(`a match of ${it.field} with a mask takes one value`);
    const number = (texts: readonly string[]): Uint8Array => numberBytes(bitsOf(info.type, texts), bytes, order);
    this.#load(it.field, 0);
    this.#add({
      kind: "bitwise",
      sreg: first,
      dreg: first,
      mask: number(bits ? mask.split(",") : [mask]),
      xor: new Uint8Array(bytes),
    });
    this.#compare(it.op, number(it.values));
  }

  /** Any of the bits is set; != : none is. */
  #matchBits(it: Statement & { kind: "match" }, info: FieldInfo): void {
    const { bytes, order } = types[info.type];
    const mask = numberBytes(bitsOf(info.type, it.values), bytes, order);
    this.#load(it.field, 0);
    this.#add({ kind: "bitwise", sreg: first, dreg: first, mask, xor: new Uint8Array(bytes) });
    this.#compare(it.op === "==" ? "!=" : "==", new Uint8Array(bytes));
  }

  #matchAny(it: Statement & { kind: "match" }, info: FieldInfo): void {
    const interval = it.values.some((value) => {
      const ends = splitRange(info.type, value);
      return ends.first !== ends.last || ends.prefixBits !== undefined;
    });
    if (interval && types[info.type].order !== "network")
      throw new RangeError(`${it.field} has no ranges among several values`);
    const type = info.type;
    const elements = anonymousElements(type, it.values, interval);
    const set: NftSetState = {
      name: "",
      flags: setFlag.anonymous | setFlag.constant | (interval ? setFlag.interval : 0),
      keyType: typeId([type]),
      keyLength: keyLength([type]),
      size: interval ? intervalMarks(elements) : elements.length,
      // libnftnl/udata.h: NFTNL_UDATA_SET_KEYBYTEORDER 0 (host-endian 1, big-endian 2), _MERGE_ELEMENTS 2, _KEY_TYPEOF 3.
      userdata: records([
        record(0, u32(fieldOrder(it.field) === "network" ? 2 : 1)),
        ...(interval ? [record(2, u32(1))] : []),
        record(3, typeofField(it.field)),
      ]),
    };
    this.#load(it.field, 0);
    this.#add({ kind: "lookup", set: this.#anonymousSets.length, sreg: first, inverted: it.op === "!=" });
    this.#anonymousSets.push({ set, elements });
  }

  #compare(op: "==" | "!=", data: Uint8Array): void {
    this.#add({ kind: "cmp", sreg: first, op: op === "==" ? cmp.equal : cmp.notEqual, data });
  }

  #dnatMap(it: Statement & { kind: "dnat" }): void {
    const set = this.#set(it.map, "map");
    const data = set.data === undefined || set.data === "verdict" ? [] : set.data;
    const [address, port, ...more] = data;
    const family = address === "ipv4_addr" ? nfproto.ip : address === "ipv6_addr" ? nfproto.ip6 : undefined;
    if (family === undefined || more.length > 0 || (port !== undefined && port !== "inet_service"))
      throw new RangeError(`dnat needs a map to an address, or an address and a port; ${set.name} is none`);
    if (port !== undefined && !it.key.some(isTransportPart)) this.#needPort();
    this.#needFamily(family === nfproto.ip ? "ip" : "ip6");
    this.#key(it.key, set);
    this.#add({ kind: "lookup", set: it.map, sreg: first, dreg: first, inverted: false });
    const addressLength = types[address!].bytes;
    this.#add({
      kind: "nat",
      type: 1,
      family,
      addressRegister: first,
      ...(port === undefined ? {} : { portRegister: register(addressLength) }),
      flags: 0,
    });
  }

  #natTo(type: 0 | 1, address: string, port: number | undefined): void {
    const ip = familyOf(address) === 4 ? "ip" : "ip6";
    if (port !== undefined) this.#needPort();
    this.#needFamily(ip);
    this.#add({ kind: "immediate", dreg: first, data: addressBytes(address) });
    const portRegister = register(16);
    if (port !== undefined)
      this.#add({ kind: "immediate", dreg: portRegister, data: valueBytes("inet_service", String(port)) });
    this.#add({
      kind: "nat",
      type,
      family: nfproto[ip],
      addressRegister: first,
      ...(port === undefined ? {} : { portRegister }),
      flags: 0,
    });
  }

  /** nft refuses the other family's addresses where the rule or the table is of one family. */
  #needFamily(ip: "ip" | "ip6"): void {
    if (this.#network !== undefined && this.#network !== ip)
      throw new RangeError(`translation to ${ip} where the rule has matched ${this.#network}`);
  }

  #needPort(): void {
    if (this.#transport === undefined)
      throw new RangeError(
        "translation of ports needs a match of meta l4proto before it, or a transport field in its key",
      );
  }

  #setMark(it: Statement & { kind: "set-mark" }): void {
    const target = it.target ?? "meta mark";
    const value = valueBytes(scratchType(target), it.value);
    if (it.keep === undefined) {
      this.#add({ kind: "immediate", dreg: first, data: value });
    } else {
      const keep = numberOf(scratchType(target), it.keep);
      const set = numberOf(scratchType(target), it.value);
      this.#load(target, 0);
      // (x & keep) | value is (x & (keep & ~value)) ^ value.
      const mask = numberBytes((keep & ~set) >>> 0, 4, "host");
      this.#add({ kind: "bitwise", sreg: first, dreg: first, mask, xor: value });
    }
    this.#store(target);
  }

  #store(target: Scratch = "meta mark"): void {
    if (target === "ct mark") this.#add({ kind: "ct-set", key: ctKey.mark, sreg: first });
    else this.#add({ kind: "meta-set", key: target === "meta mark" ? metaKey.mark : metaKey.priority, sreg: first });
  }

  #update(it: Statement & { kind: "update" }): void {
    const set = this.#set(it.set, it.data === undefined ? "set" : "map");
    // nft 1.0.6 aborts when it reads such a rule (netlink_gen_expr: Assertion `dreg < ctx->reg_low').
    if (it.data !== undefined && keyLength(set.key) > 16)
      throw new RangeError(
        `${set.name} has a key of ${keyLength(set.key)} bytes; nft 1.0.6 reads updates of maps with at most 16`,
      );
    this.#key(it.key, set);
    // nft gives out registers of 16 bytes: the data follows in the next one.
    const dataOffset = (keyLength(set.key) + 15) & ~15;
    if (it.data !== undefined) this.#load(it.data, dataOffset);
    this.#add({
      kind: "dynset",
      set: it.set,
      operation: { add: 0, update: 1, delete: 2 }[it.operation ?? "update"],
      keyRegister: first,
      ...(it.data === undefined ? {} : { dataRegister: register(dataOffset) }),
      ...(it.timeoutSeconds === undefined ? {} : { timeoutMs: BigInt(it.timeoutSeconds) * 1000n }),
    });
  }

  #log(it: Statement & { kind: "log" }): void {
    // nf_log.h: NF_LOG_PREFIXLEN 128 with the NUL byte; nft prints it between double quotes.
    if (new TextEncoder().encode(it.prefix).length > 127 || /["\n\\\0]/.test(it.prefix) || it.prefix === "")
      throw new RangeError(
        `log prefix ${JSON.stringify(it.prefix)}: 1 to 127 bytes, no quotes, backslashes or line ends`,
      );
    this.#add({ kind: "log", group: it.group, prefix: it.prefix, snapLength: it.bytesMax ?? 0 });
  }

  /** enum nft_reject_types: NFT_REJECT_ICMP_UNREACH 0, _TCP_RST 1, _ICMPX_UNREACH 2. */
  #reject(reason: "tcp-reset" | "port-unreachable" | "admin-prohibited"): void {
    const { family } = this.#table;
    if (reason === "tcp-reset") {
      if (this.#transport !== "tcp") this.#needTransport("tcp");
      this.#add({ kind: "reject", type: 1, code: 0 });
      return;
    }
    // Family of one protocol: RFC 792 and RFC 1812 5.2.7.1 (3 port, 13 administratively), RFC 4443 3.1 (4 port, 1 administratively).
    if (family === "ip") this.#add({ kind: "reject", type: 0, code: reason === "port-unreachable" ? 3 : 13 });
    else if (family === "ip6") this.#add({ kind: "reject", type: 0, code: reason === "port-unreachable" ? 4 : 1 });
    // enum nft_reject_inet_code: NFT_REJECT_ICMPX_PORT_UNREACH 1, _ADMIN_PROHIBITED 3.
    else this.#add({ kind: "reject", type: 2, code: reason === "port-unreachable" ? 1 : 3 });
  }

  #set(name: string, kind: "set" | "map" | "verdict map"): NftSet {
    const set = this.#table.sets.find((set) => set.name === name);
    if (set === undefined) throw new RangeError(`table ${this.#table.name} has no set or map ${name}`);
    const actual = set.data === undefined ? "set" : set.data === "verdict" ? "verdict map" : "map";
    if (actual !== kind) throw new RangeError(`${name} is a ${actual}, not a ${kind}`);
    return set;
  }

  /** Loads the parts of a key one after another from the first register on. */
  #key(key: readonly KeyPart[], set: NftSet): void {
    const partTypes = key.map((part): ValueType => (part.kind === "random" ? "index" : fields[part.field].type));
    if (partTypes.join(" . ") !== set.key.join(" . "))
      throw new RangeError(`a key of ${partTypes.join(" . ")} for ${set.name}, whose key is ${set.key.join(" . ")}`);
    for (const part of key) if (part.kind === "field") this.#need(fields[part.field]);
    let offset = 0;
    for (const part of key) {
      const type = part.kind === "random" ? "index" : fields[part.field].type;
      if (part.kind === "random") this.#random(register(offset), part.below);
      else this.#load(part.field, offset);
      const order = part.kind === "random" ? "host" : fieldOrder(part.field);
      if (set.flags.includes("interval") && order === "host") {
        const { bytes } = types[type];
        // NFT_BYTEORDER_HTON 1: intervals are compared as bytes.
        this.#add({
          kind: "byteorder",
          sreg: register(offset),
          dreg: register(offset),
          operation: 1,
          length: bytes,
          // Single bytes are "turned" too, as nft does it.
          size: bytes % 4 === 0 ? 4 : 2,
        });
      }
      offset += (types[type].bytes + 3) & ~3;
    }
  }

  // enum nft_ng_types: NFT_NG_RANDOM 1.
  #random(dreg: number, below: number): void {
    if (!Number.isInteger(below) || below < 1) throw new RangeError(`a random number below ${below}`);
    this.#add({ kind: "numgen", dreg, modulus: below, type: 1 });
  }

  #load(field: Field, offset: number, bytes: number = types[fields[field].type].bytes): void {
    const { load } = fields[field];
    const dreg = register(offset);
    switch (load.kind) {
      case "meta":
        this.#add({ kind: "meta-load", key: load.key, dreg });
        return;
      case "ct":
        this.#add({
          kind: "ct-load",
          key: load.key,
          dreg,
          ...(load.direction === undefined ? {} : { direction: load.direction }),
        });
        return;
      case "payload":
        this.#add({ kind: "payload", dreg, base: load.base, offset: load.offset, length: bytes });
        return;
      case "fib":
        this.#add({ kind: "fib", dreg, result: load.result, flags: load.flags });
        return;
    }
  }

  /** Matches of the protocols a field belongs to, unless the rule has made them certain. */
  #need(info: FieldInfo): void {
    if (info.load.kind === "payload" && info.load.base === 0 && this.#table.family !== "bridge") this.#needEthernet();
    if (info.transport !== undefined) {
      // A rule that has matched the transport protocol alone is taken at its word, as nft takes it.
      if (this.#transport === info.transport) return;
      if (this.#transport !== undefined)
        throw new RangeError(`a field of ${info.transport} after a match of ${this.#transport}`);
    }
    if (info.network !== undefined) this.#needNetwork(info.network, info.transport);
    if (info.transport !== undefined) this.#needTransport(info.transport);
  }

  /** linux/if_arp.h: ARPHRD_ETHER 1. Bridges have nothing else. */
  #needEthernet(): void {
    if (this.#ethernet) return;
    this.#add({ kind: "meta-load", key: metaKey.iiftype, dreg: first });
    this.#compare("==", Uint8Array.of(1, 0));
    this.#ethernet = true;
  }

  #needNetwork(network: NetworkProtocol, transport: TransportProtocol | undefined): void {
    if (this.#network === network) return;
    if (this.#network !== undefined) throw new RangeError(`a field of ${network} after a match of ${this.#network}`);
    const { family } = this.#table;
    if (family === "inet") {
      if (network === "arp") throw new RangeError("family inet sees no ARP");
      this.#load("meta nfproto", 0);
      this.#compare("==", Uint8Array.of(nfproto[network]));
    } else if (family === "bridge" && (network === "arp" || transport !== undefined)) {
      this.#load("ether type", 0);
      this.#compare("==", valueBytes("ether_type", network));
    } else {
      this.#load("meta protocol", 0);
      this.#compare("==", valueBytes("ether_type", network));
    }
    this.#network = network;
  }

  #needTransport(transport: TransportProtocol): void {
    this.#load("meta l4proto", 0);
    this.#compare("==", valueBytes("inet_proto", transport));
    this.#transport = transport;
  }

  #learn(field: Field, value: ElementValue): void {
    if (field === "meta l4proto" || field === "ip protocol" || field === "ip6 nexthdr") this.#transport = value;
    if (field === "meta nfproto") this.#network = value === "ipv4" ? "ip" : "ip6";
    if (field === "meta protocol" || field === "ether type")
      if (value === "ip" || value === "ip6" || value === "arp") this.#network = value;
  }
}

/** How many entries the kernel has of intervals: starts and ends, and where nothing starts at zero an end there, which nft adds. */
function intervalMarks(elements: readonly NftElementState[]): number {
  const open = elements.filter((element) => element.lastKey?.every((byte) => byte === 0xff)).length;
  const zero = elements.some((element) => element.key.every((byte) => byte === 0));
  return 2 * elements.length - open + (zero ? 0 : 1);
}

function scratchType(target: Scratch): "mark" | "classid" {
  return target === "meta priority" ? "classid" : "mark";
}

function isTransportPart(part: KeyPart): boolean {
  return (
    part.kind === "field" && ["meta l4proto", "th sport", "th dport", "ip protocol", "ip6 nexthdr"].includes(part.field)
  );
}

function numberBytes(value: number, bytes: number, order: "network" | "host" | "text"): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (value >>> (8 * (order === "host" ? i : bytes - 1 - i))) & 0xff);
}
