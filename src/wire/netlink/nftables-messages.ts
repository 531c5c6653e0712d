// What transactions and dumps of nf_tables share: message types, the header nfnetlink puts before attributes, and byte strings as keys
// (linux/netfilter/nfnetlink.h, nf_tables.h).
//
// Not here: transactions (nftables-batch.ts), dumps (nftables-dump.ts), expressions (nftables-expressions.ts).

import { AttributeWriter, NetlinkFormatError, type Attributes } from "./attributes.ts";
import type { NetlinkRequest } from "./message.ts";
import type { NftElementState, NftKernelFamily } from "./nftables.ts";

// linux/netfilter.h: NFPROTO_*.
export const familyNumbers: Readonly<Record<NftKernelFamily, number>> = {
  inet: 1,
  ip: 2,
  netdev: 5,
  bridge: 7,
  ip6: 10,
};

// linux/netfilter/nfnetlink.h: NFNL_MSG_BATCH_BEGIN, _END, NFNL_SUBSYS_NFTABLES 10; nf_tables.h: enum nf_tables_msg_types.
export const message = {
  batchBegin: 0x10,
  batchEnd: 0x11,
  newTable: 0x0a00,
  getTable: 0x0a01,
  deleteTable: 0x0a02,
  newChain: 0x0a03,
  getChain: 0x0a04,
  deleteChain: 0x0a05,
  newRule: 0x0a06,
  getRule: 0x0a07,
  deleteRule: 0x0a08,
  newSet: 0x0a09,
  getSet: 0x0a0a,
  deleteSet: 0x0a0b,
  newElement: 0x0a0c,
  getElement: 0x0a0d,
  deleteElement: 0x0a0e,
  getGeneration: 0x0a10,
} as const;

// struct nfgenmsg: family, version, resource id (big-endian).
export const headerBytes = 4;

export function header(family: number, resource: number): Uint8Array {
  return Uint8Array.of(family, 0, resource >> 8, resource & 0xff);
}

const writer = new AttributeWriter();

/** A request with attributes. */
export function request(
  type: number,
  family: NftKernelFamily,
  flags: number,
  write: (writer: AttributeWriter) => void,
): NetlinkRequest {
  writer.take();
  writer.raw(header(familyNumbers[family], 0));
  write(writer);
  return { type, flags, body: writer.take() };
}

/** Elements in the order of their keys: the kernel gives them in an order of its own. */
export function sortElements(elements: readonly NftElementState[]): NftElementState[] {
  return elements.toSorted((a, b) => compareBytes(a.key, b.key));
}

/** Orders byte strings, shorter first where one is the beginning of the other. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

/** The next byte string of the same length; undefined after the last. */
export function successor(key: Uint8Array): Uint8Array | undefined {
  const next = key.slice();
  for (let i = next.length - 1; i >= 0; i--) {
    next[i] = next[i]! + 1;
    if (next[i] !== 0) return next;
  }
  return undefined;
}

/** The byte string of the same length before this one. */
export function predecessor(key: Uint8Array): Uint8Array {
  const previous = key.slice();
  for (let i = previous.length - 1; i >= 0; i--) {
    previous[i] = previous[i]! - 1;
    if (previous[i] !== 0xff) break;
  }
  return previous;
}

/** An attribute that must be there. Throws NetlinkFormatError. */
export function need(attributes: Attributes, type: number, otherwise: string): Uint8Array {
  const value = attributes.get(type);
  if (value === undefined) throw new NetlinkFormatError(otherwise);
  return value;
}
