// Values of nftables' data types: text to bytes and back, as registers and set keys hold them.
// Texts are canonical (ruleset.ts, ElementValue): equal values are equal texts.
//
// Not here: which field has which type (fields.ts), and how keys are joined (encode-set.ts).

import { addressBytes, addressFromBytes } from "../../ip/address.ts";
import { macBytes, macFromBytes } from "../../ip/mac.ts";
import { parsePrefix, prefixBits } from "../../ip/prefix.ts";
import type { ElementValue, KeyType } from "./ruleset.ts";

/** Types of values that are matched or looked up; those beyond KeyType cannot be part of a set's key. */
export type ValueType =
  | KeyType
  | "nfproto"
  | "pkt_type"
  | "tcp_flag"
  | "arp_op"
  | "ct_state"
  | "ct_status"
  | "ct_dir"
  | "fib_addrtype"
  | "fib_exists";

export interface TypeInfo {
  /** nft's number (enum datatypes in its datatype.h); the kernel only keeps it. */
  readonly id: number;
  /** Width in bytes. */
  readonly bytes: number;
  /** How numbers lie in registers. Text is padded with zeros. */
  readonly order: "network" | "host" | "text";
  /** Names of numbers; other numbers are decimal. */
  readonly names?: Readonly<Record<string, number>>;
  /** Numbers of which several can be set at once. */
  readonly bits?: true;
  /** Only `typeof` declares sets of it. */
  readonly nameless?: true;
}

/** What is known of each type. */
export const types: Readonly<Record<ValueType, TypeInfo>> = {
  nfproto: { id: 2, bytes: 1, order: "network", names: { ipv4: 2, ipv6: 10 } },
  ipv4_addr: { id: 7, bytes: 4, order: "network" },
  ipv6_addr: { id: 8, bytes: 16, order: "network" },
  ether_addr: { id: 9, bytes: 6, order: "network" },
  ether_type: { id: 10, bytes: 2, order: "network", names: { ip: 0x0800, arp: 0x0806, ip6: 0x86dd, vlan: 0x8100 } },
  arp_op: { id: 11, bytes: 2, order: "network", names: { request: 1, reply: 2 } },
  // IANA's protocol numbers, under the names nft gives them.
  inet_proto: {
    id: 12,
    bytes: 1,
    order: "network",
    names: { icmp: 1, igmp: 2, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 },
  },
  inet_service: { id: 13, bytes: 2, order: "network" },
  // RFC 792, RFC 1256
  icmp_type: {
    id: 14,
    bytes: 1,
    order: "network",
    names: {
      "echo-reply": 0,
      "destination-unreachable": 3,
      "source-quench": 4,
      redirect: 5,
      "echo-request": 8,
      "router-advertisement": 9,
      "router-solicitation": 10,
      "time-exceeded": 11,
      "parameter-problem": 12,
    },
  },
  // RFC 9293 3.1
  tcp_flag: {
    id: 15,
    bytes: 1,
    order: "network",
    bits: true,
    names: { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32, ecn: 64, cwr: 128 },
  },
  mark: { id: 19, bytes: 4, order: "host" },
  classid: { id: 23, bytes: 4, order: "host" },
  // linux/netfilter/nf_tables.h and nf_conntrack_common.h: NF_CT_STATE_BIT
  ct_state: {
    id: 26,
    bytes: 4,
    order: "host",
    bits: true,
    names: { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 },
  },
  ct_dir: { id: 27, bytes: 1, order: "network", names: { original: 0, reply: 1 } },
  // linux/netfilter/nf_conntrack_common.h: enum ip_conntrack_status
  ct_status: {
    id: 28,
    bytes: 4,
    order: "host",
    bits: true,
    names: { expected: 1, "seen-reply": 2, assured: 4, confirmed: 8, snat: 16, dnat: 32, dying: 512 },
  },
  // RFC 4443, RFC 4861, RFC 2710, RFC 3810
  icmpv6_type: {
    id: 29,
    bytes: 1,
    order: "network",
    names: {
      "destination-unreachable": 1,
      "packet-too-big": 2,
      "time-exceeded": 3,
      "parameter-problem": 4,
      "echo-request": 128,
      "echo-reply": 129,
      "mld-listener-query": 130,
      "mld-listener-report": 131,
      "mld-listener-done": 132,
      "nd-router-solicit": 133,
      "nd-router-advert": 134,
      "nd-neighbor-solicit": 135,
      "nd-neighbor-advert": 136,
      "nd-redirect": 137,
      "mld2-listener-report": 143,
    },
  },
  // linux/if_packet.h: PACKET_*
  pkt_type: { id: 31, bytes: 1, order: "network", names: { host: 0, broadcast: 1, multicast: 2, other: 3 } },
  // linux/rtnetlink.h: RTN_*
  fib_addrtype: {
    id: 38,
    bytes: 4,
    order: "host",
    names: {
      unspec: 0,
      unicast: 1,
      local: 2,
      broadcast: 3,
      anycast: 4,
      multicast: 5,
      blackhole: 6,
      unreachable: 7,
      prohibit: 8,
    },
  },
  // A number in the register of a boolean.
  fib_exists: { id: 39, bytes: 4, order: "host", names: { missing: 0, exists: 1 } },
  // linux/if.h: IFNAMSIZ 16
  ifname: { id: 41, bytes: 16, order: "text" },
  index: { id: 4, bytes: 4, order: "host", nameless: true },
  nd_target: { id: 4, bytes: 16, order: "network", nameless: true },
};

/** The first and last value of what a text says; both the same unless it is a prefix or a range. Texts of single values. */
export function splitRange(type: ValueType, text: ElementValue): { first: string; last: string; prefixBits?: number } {
  if (type === "ipv4_addr" || type === "ipv6_addr") {
    if (text.includes("/")) return prefixEnds(type, text);
    const dash = text.indexOf("-");
    if (dash > 0) return { first: text.slice(0, dash), last: text.slice(dash + 1) };
  } else if (type === "inet_service" || type === "mark" || type === "index") {
    const dash = text.indexOf("-");
    if (dash > 0) return { first: text.slice(0, dash), last: text.slice(dash + 1) };
  }
  return { first: text, last: text };
}

/** The bytes of a value that is no range. Throws RangeError where the text is no value of the type. */
export function valueBytes(type: ValueType, text: ElementValue): Uint8Array {
  const bytes = new Uint8Array(types[type].bytes);
  putValue(type, text, bytes, 0, types[type].order === "host");
  return bytes;
}

/** Writes a value's bytes at an offset; numbers of host order little-endian only where asked (interval sets hold them big-endian). */
export function putValue(
  type: ValueType,
  text: ElementValue,
  target: Uint8Array,
  at: number,
  littleEndian: boolean,
): void {
  switch (type) {
    case "ipv4_addr":
      putIpv4(text, target, at);
      return;
    case "ipv6_addr":
    case "nd_target":
      if (!text.includes(":")) throw invalid(type, text);
      target.set(addressBytes(text), at);
      return;
    case "ether_addr":
      if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(text)) throw invalid(type, text);
      target.set(macBytes(text), at);
      return;
    case "ifname":
      putName(text, target, at);
      return;
    case "ether_type":
    case "inet_proto":
    case "inet_service":
    case "mark":
    case "classid":
    case "icmp_type":
    case "icmpv6_type":
    case "index":
    case "nfproto":
    case "pkt_type":
    case "tcp_flag":
    case "arp_op":
    case "ct_state":
    case "ct_status":
    case "ct_dir":
    case "fib_addrtype":
    case "fib_exists":
      putNumber(numberOf(type, text), types[type].bytes, target, at, littleEndian);
      return;
  }
}

/** The canonical text of a value's bytes, for showing what the kernel holds. */
export function valueText(type: ValueType, bytes: Uint8Array, littleEndian: boolean): ElementValue {
  switch (type) {
    case "ipv4_addr":
    case "ipv6_addr":
    case "nd_target":
      return addressFromBytes(bytes);
    case "ether_addr":
      return macFromBytes(bytes);
    case "ifname": {
      const end = bytes.indexOf(0);
      return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
    }
    case "ether_type":
    case "inet_proto":
    case "inet_service":
    case "mark":
    case "classid":
    case "icmp_type":
    case "icmpv6_type":
    case "index":
    case "nfproto":
    case "pkt_type":
    case "tcp_flag":
    case "arp_op":
    case "ct_state":
    case "ct_status":
    case "ct_dir":
    case "fib_addrtype":
    case "fib_exists":
      return numberText(type, getNumber(bytes, littleEndian));
  }
}

/** The number a text of a numeric type stands for. Throws RangeError. */
export function numberOf(type: ValueType, text: ElementValue): number {
  const { names, bytes } = types[type];
  if (names !== undefined && Object.hasOwn(names, text)) return names[text]!;
  const value = type === "classid" ? classidNumber(text) : plainNumber(text);
  if (value === undefined || value >= 2 ** (8 * bytes)) throw invalid(type, text);
  return value;
}

/** The canonical text of a number: a name where there is one. */
export function numberText(type: ValueType, value: number): ElementValue {
  for (const [name, number] of Object.entries(types[type].names ?? {})) if (number === value) return name;
  if (type === "mark") return `0x${value.toString(16)}`;
  if (type === "classid") return classidText(value);
  return String(value);
}

/** The bits that the texts of a type with bits stand for together. Throws RangeError. */
export function bitsOf(type: ValueType, values: readonly ElementValue[]): number {
  let bits = 0;
  for (const value of values) bits |= numberOf(type, value);
  return bits >>> 0;
}

function prefixEnds(type: ValueType, text: string): { first: string; last: string; prefixBits: number } {
  const prefix = parsePrefix(text);
  if (prefix !== text) throw invalid(type, text);
  const bits = prefixBits(prefix);
  const first = addressBytes(prefix.slice(0, prefix.indexOf("/")));
  if (first.length !== types[type].bytes) throw invalid(type, text);
  const last = first.slice();
  for (let bit = bits; bit < last.length * 8; bit++) last[bit >> 3] = last[bit >> 3]! | (0x80 >> (bit & 7));
  return { first: addressFromBytes(first), last: addressFromBytes(last), prefixBits: bits };
}

function putIpv4(text: string, target: Uint8Array, at: number): void {
  let part = 0;
  let digits = 0;
  let index = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x2e) {
      if (digits === 0 || index === 3) throw invalid("ipv4_addr", text);
      target[at + index++] = part;
      part = 0;
      digits = 0;
    } else {
      const leadingZero = digits > 0 && part === 0;
      part = part * 10 + code - 0x30;
      if (code < 0x30 || code > 0x39 || part > 255 || leadingZero) throw invalid("ipv4_addr", text);
      digits++;
    }
  }
  if (digits === 0 || index !== 3) throw invalid("ipv4_addr", text);
  target[at + 3] = part;
}

const encoder = new TextEncoder();

function putName(text: string, target: Uint8Array, at: number): void {
  const name = encoder.encode(text);
  // linux/if.h: IFNAMSIZ with the NUL byte; net/core/dev.c dev_valid_name.
  if (name.length === 0 || name.length > 15 || /[\s/":*]/.test(text)) throw invalid("ifname", text);
  target.set(name, at);
}

function putNumber(value: number, bytes: number, target: Uint8Array, at: number, littleEndian: boolean): void {
  for (let i = 0; i < bytes; i++) {
    const shift = 8 * (littleEndian ? i : bytes - 1 - i);
    target[at + i] = (value >>> shift) & 0xff;
  }
}

function getNumber(bytes: Uint8Array, littleEndian: boolean): number {
  let value = 0;
  for (let i = 0; i < bytes.length; i++) value = value * 256 + bytes[littleEndian ? bytes.length - 1 - i : i]!;
  return value;
}

function plainNumber(text: string): number | undefined {
  if (/^(0|[1-9]\d{0,9})$/.test(text)) return Number(text);
  return /^0x[0-9a-f]{1,8}$/.test(text) ? Number(text) : undefined;
}

// linux/pkt_sched.h: TC_H_MAJ, TC_H_MIN, TC_H_UNSPEC, TC_H_ROOT, under the names nft gives them.
function classidNumber(text: string): number | undefined {
  if (text === "none") return 0;
  if (text === "root") return 0xffffffff;
  const match = /^([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(text);
  if (match === null) return undefined;
  return Number.parseInt(match[1]!, 16) * 65536 + Number.parseInt(match[2]!, 16);
}

function classidText(value: number): string {
  if (value === 0) return "none";
  if (value === 0xffffffff) return "root";
  return `${(value >>> 16).toString(16)}:${(value & 0xffff).toString(16)}`;
}

function invalid(type: ValueType, text: string): RangeError {
  return new RangeError(`${JSON.stringify(text)} is no value of nftables type ${type}`);
}
