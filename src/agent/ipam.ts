// Addresses for a node's pods: one bitmap per range, an address per range for each pod.
// The lowest free address after the last one given is next, so that an address rests as long as possible before it means another pod.
//
// Invariant: what is in use is exactly what the attachments say; nothing else is stored but where to go on.
// Not here: which range a node has (Node.spec.podCIDRs), and persistence (attachments.ts).

import { addressValue, familyOf, type Address } from "../ip/address.ts";
import { addressAt, contains, prefixRange, type Prefix } from "../ip/prefix.ts";
import type { AttachmentStore } from "./attachments.ts";
import { CniError } from "../serve/cni/cni.ts";

export interface Ipam {
  readonly ranges: readonly Prefix[];
  /** One address from each range. Throws CniError 11 (try again later) naming the range that is full; nothing is then taken. */
  allocate(): readonly Address[];
  /** Gives addresses back; those of no range, or free already, are ignored. */
  release(addresses: readonly Address[]): void;
  /** How full each range is. */
  usage(): readonly { readonly range: Prefix; readonly used: number; readonly size: number }[];
}

/** Addresses that are not given to pods: the network address names the node's tunnel end, the next one is the pods' gateway. */
export const reservedOffsets = { tunnel: 0, gateway: 1 } as const;

/**
 * Address management over a node's ranges (at most one per family), going on from what the store knows.
 * Throws RangeError for a range too small for a single pod.
 */
export function createIpam(ranges: readonly Prefix[], store: AttachmentStore): Ipam {
  const pools = ranges.map((range) => createPool(range, store.cursor(range)));
  for (const attachment of store.list()) {
    for (const address of attachment.addresses) poolOf(pools, address)?.take(address);
  }
  return {
    ranges,
    allocate() {
      for (const pool of pools) {
        if (pool.used() < pool.size) continue;
        throw new CniError(
          11,
          `ipam: no free address in ${pool.range}: all ${pool.size} are in use`,
          "delete pods on this node, or give nodes larger pod ranges",
        );
      }
      const addresses = pools.map((pool) => pool.next());
      for (const pool of pools) store.setCursor(pool.range, pool.cursor());
      return addresses;
    },
    release(addresses) {
      for (const address of addresses) poolOf(pools, address)?.free(address);
    },
    usage: () => pools.map((pool) => ({ range: pool.range, used: pool.used(), size: pool.size })),
  };
}

interface Pool {
  readonly range: Prefix;
  /** How many addresses pods can have. */
  readonly size: number;
  used(): number;
  cursor(): number;
  /** Must not be full. */
  next(): Address;
  take(address: Address): void;
  free(address: Address): void;
}

/** More than 65,536 pods fit on no node: of an IPv6 /64 only its start is used. */
const offsetsMax = 65536;

function createPool(range: Prefix, start: number): Pool {
  const { family, first, last } = prefixRange(range);
  const total = Number(last - first + 1n < BigInt(offsetsMax) ? last - first + 1n : BigInt(offsetsMax));
  // RFC 919: the last address of an IPv4 network is its broadcast address.
  const end = family === 4 && BigInt(total) === last - first + 1n ? total - 1 : total;
  const begin = reservedOffsets.gateway + 1;
  if (end <= begin) throw new RangeError(`pod range ${range} has no address for a pod: choose a shorter prefix`);
  const bits = new Uint32Array(Math.ceil(total / 32));
  let used = 0;
  let cursor = start >= begin && start < end ? start : begin - 1;

  const isTaken = (offset: number): boolean => ((bits[offset >>> 5] ?? 0) & (1 << (offset & 31))) !== 0;
  const flip = (offset: number): void => {
    bits[offset >>> 5] = (bits[offset >>> 5] ?? 0) ^ (1 << (offset & 31));
  };
  const offsetOf = (address: Address): number => Number(addressValue(address) - first);
  const usable = (offset: number): boolean => offset >= begin && offset < end;
  return {
    range,
    size: end - begin,
    used: () => used,
    cursor: () => cursor,
    next() {
      do cursor = cursor + 1 < end ? cursor + 1 : begin;
      while (isTaken(cursor));
      flip(cursor);
      used++;
      return addressAt(range, cursor);
    },
    take(address) {
      const offset = offsetOf(address);
      if (!usable(offset) || isTaken(offset)) return;
      flip(offset);
      used++;
    },
    free(address) {
      const offset = offsetOf(address);
      if (!usable(offset) || !isTaken(offset)) return;
      flip(offset);
      used--;
    },
  };
}

function poolOf(pools: readonly Pool[], address: Address): Pool | undefined {
  return pools.find((pool) => familyOf(pool.range) === familyOf(address) && contains(pool.range, address));
}
