// Classic BPF (Documentation/networking/filter.rst): which frames of a link wake a packet socket, decided in the kernel.
//
// Not here: sockets (kernel/packet-socket.ts).

import { addressBytes, familyOf } from "../../ip/address.ts";
import { prefixAddress, prefixBits, type Prefix } from "../../ip/prefix.ts";
import { frameHeaderBytes } from "./ethernet.ts";

/** struct sock_filter. */
export interface FilterInstruction {
  readonly code: number;
  /** How many instructions are left out where a comparison holds, and where it does not. */
  readonly ifTrue: number;
  readonly ifFalse: number;
  readonly value: number;
}

/** What a socket listens for. */
export type Wanted =
  /** Questions about addresses, of whomever. */
  | { readonly kind: "asked"; readonly protocol: "arp" | "ipv6"; readonly about: readonly Prefix[] }
  /** Answers of these. */
  | { readonly kind: "answered"; readonly protocol: "arp" | "ipv6"; readonly about: readonly Prefix[] }
  /** Whatever these say, answers and announcements, in the order in which they came. */
  | { readonly kind: "said"; readonly protocol: "arp" | "ipv6"; readonly about: readonly Prefix[] };

/** Prefixes that a filter holds: more make it longer than the kernel's 4096 instructions (BPF_MAXINSNS). */
export const filterPrefixesMax = { arp: 1000, ipv6: 300 } as const;

/** Of frames that this station gets, those that are wanted, whole. Throws RangeError with more prefixes than a filter holds. */
export function packetFilter({ kind, protocol, about }: Wanted): readonly FilterInstruction[] {
  if (about.length > filterPrefixesMax[protocol])
    throw new RangeError(`a packet filter for ${about.length} prefixes; ${filterPrefixesMax[protocol]} fit`);
  const at = places[protocol];
  const type = at[kind];
  const start = [
    load(word, PACKET_TYPE),
    // Other stations' frames come with a promiscuous card.
    ...unless({ code: JGT, value: PACKET_MULTICAST, wanted: false }),
    ...(protocol === "ipv6" ? [load(byte, at.nextHeader), ...unless({ code: JEQ, value: ICMPV6, wanted: true })] : []),
    ...(type === undefined ? [] : [load(at.typeWidth, at.type), ...unless({ code: JEQ, value: type, wanted: true })]),
  ];
  return [...start, ...about.flatMap((prefix) => matches(prefix, kind === "asked" ? at.target : at.answerer)), ret(0)];
}

/** struct sock_filter[] in the machine's byte order. */
export function encodeFilter(program: readonly FilterInstruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [index, { code, ifTrue, ifFalse, value }] of program.entries()) {
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, ifTrue);
    view.setUint8(index * 8 + 3, ifFalse);
    view.setUint32(index * 8 + 4, value, true);
  }
  return bytes;
}

// linux/bpf_common.h: BPF_LD | BPF_ABS with BPF_W, BPF_H, BPF_B; BPF_ALU | BPF_AND; BPF_JMP with BPF_JEQ, BPF_JGT; BPF_RET.
const word = 0x20;
const half = 0x28;
const byte = 0x30;
const AND = 0x54;
const JEQ = 0x15;
const JGT = 0x25;
const RET = 0x06;
// linux/filter.h: SKF_AD_OFF + SKF_AD_PKTTYPE; linux/if_packet.h: 0 host, 1 broadcast, 2 multicast, 3 another host's, 4 outgoing.
const PACKET_TYPE = 0xffff_f000 + 4;
const PACKET_MULTICAST = 2;
const ICMPV6 = 58;
const all = 0xffff_ffff;

/** Where things are in a frame, and what marks question and answer. */
const places = {
  arp: {
    nextHeader: 0,
    type: frameHeaderBytes + 6,
    typeWidth: half,
    asked: 1,
    answered: 2,
    // Announcements are requests.
    said: undefined,
    target: frameHeaderBytes + 24,
    answerer: frameHeaderBytes + 14,
  },
  // The target is in the same place of solicitation and advertisement.
  ipv6: {
    nextHeader: frameHeaderBytes + 6,
    type: frameHeaderBytes + 40,
    typeWidth: byte,
    asked: 135,
    answered: 136,
    said: 136,
    target: frameHeaderBytes + 48,
    answerer: frameHeaderBytes + 48,
  },
} as const;

function load(width: number, value: number): FilterInstruction {
  return { code: width, ifTrue: 0, ifFalse: 0, value };
}

function ret(value: number): FilterInstruction {
  return { code: RET, ifTrue: 0, ifFalse: 0, value };
}

/** Ends with nothing unless the comparison comes out as wanted. */
function unless({ code, value, wanted }: { code: number; value: number; wanted: boolean }): FilterInstruction[] {
  return [{ code, ifTrue: wanted ? 1 : 0, ifFalse: wanted ? 0 : 1, value }, ret(0)];
}

/** Ends with the frame where the address at this place is in the prefix, and goes on behind itself where it is not. */
function matches(prefix: Prefix, at: number): FilterInstruction[] {
  const bytes = addressBytes(prefixAddress(prefix));
  const view = new DataView(bytes.buffer);
  const bits = prefixBits(prefix);
  const steps: FilterInstruction[] = [];
  const words = familyOf(prefix) === 4 ? 1 : 4;
  for (let index = 0; index < words && index * 32 < bits; index++) {
    const rest = Math.min(32, bits - index * 32);
    steps.push(load(word, at + index * 4));
    if (rest < 32) steps.push({ code: AND, ifTrue: 0, ifFalse: 0, value: (all << (32 - rest)) >>> 0 });
    steps.push({ code: JEQ, ifTrue: 0, ifFalse: 0, value: view.getUint32(index * 4) });
  }
  const length = steps.length + 1;
  return [
    ...steps.map((step, index) => (step.code === JEQ ? { ...step, ifFalse: length - index - 1 } : step)),
    ret(0x40000),
  ];
}
