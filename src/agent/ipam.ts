// Addresses for a node's pods: one bitmap per range, an address per range for each pod.
// The lowest free address after the last one given is next, and one that was given back rests before it is given again, so that an address
// means another pod as late as possible: connections, policies and names of the pod before have ended by then.
//
// Invariant: what is in use is exactly what the attachments say; nothing else is stored but where to go on.
// Not here: which range a node has (Node.spec.podCIDRs), and persistence (attachments.ts).

import { performance } from "node:perf_hooks";

import { addressValue, familyOf, type Address, type Family } from "../ip/address.ts";
import { addressAt, contains, prefixRange, type Prefix } from "../ip/prefix.ts";
import { CniError, cniCodes } from "../serve/cni/cni.ts";
import type { AttachmentStore } from "./attachments.ts";

export interface Ipam {
  readonly ranges: readonly Prefix[];
  /**
   * One address from each range: those that are asked for, the rest as it comes. Throws CniError, and nothing is then taken: 11 (try again
   * later) naming the range that is full, 102 saying why an address that was asked for cannot be given.
   */
  allocate(requested?: readonly Address[]): readonly Address[];
  /** Gives addresses back; those of no range, or free already, are ignored. */
  release(addresses: readonly Address[]): void;
  /** How full each range is. */
  usage(): readonly RangeUsage[];
  /** Addresses that were given back a short while ago, the longest rested first. */
  resting(): readonly { readonly address: Address; readonly forMs: number }[];
}

export interface RangeUsage {
  readonly range: Prefix;
  readonly used: number;
  /** Given back a short while ago: given again only when there are no others. */
  readonly resting: number;
  /** How many addresses pods can have. */
  readonly size: number;
  /** The address that is next, undefined where there is none. */
  readonly next: Address | undefined;
}

/** Addresses that are not given to pods: the network address names the node's tunnel end, the next one is the pods' gateway. */
export const reservedOffsets = { tunnel: 0, gateway: 1 } as const;

/** RFC 9293 3.4.2: twice the maximum segment lifetime is when a TCP connection of the pod before is surely over; Linux takes 60 s for it. */
export const restMs = 60_000;

/**
 * Address management over a node's ranges (at most one per family), going on from what the store knows. `now`: milliseconds, any origin.
 * Throws RangeError for a range too small for a single pod.
 */
export function createIpam(
  ranges: readonly Prefix[],
  store: AttachmentStore,
  now: () => number = () => performance.now(),
): Ipam {
  const pools = ranges.map((range) => createPool(range, store.cursor(range), now));
  for (const attachment of store.list()) {
    for (const address of attachment.addresses) poolOf(pools, address)?.take(address);
  }
  return {
    ranges,
    allocate(requested = []) {
      for (const address of requested) refuseRequest(pools, address);
      const byFamily = new Map(requested.map((address): [Family, Address] => [familyOf(address), address]));
      for (const pool of pools) {
        if (byFamily.has(familyOf(pool.range)) || pool.used() < pool.size) continue;
        throw new CniError(
          cniCodes.tryAgainLater,
          full(pool),
          "delete pods on this node, or give nodes larger pod ranges",
        );
      }
      const addresses = pools.map((pool) => {
        const wanted = byFamily.get(familyOf(pool.range));
        if (wanted === undefined) return pool.next();
        pool.take(wanted);
        return wanted;
      });
      for (const pool of pools) store.setCursor(pool.range, pool.cursor());
      return addresses;
    },
    release(addresses) {
      for (const address of addresses) poolOf(pools, address)?.free(address);
    },
    usage: () =>
      pools.map((pool) => ({
        range: pool.range,
        used: pool.used(),
        resting: pool.resting().length,
        size: pool.size,
        next: pool.peek(),
      })),
    resting: () => pools.flatMap((pool) => pool.resting()),
  };
}

/** Why STATUS would say that there is no address: the first range that is full, in words. */
export function exhausted(ipam: Ipam): string | undefined {
  const pool = ipam.usage().find(({ used, size }) => used >= size);
  return pool === undefined ? undefined : full(pool);
}

function full({ range, size }: { readonly range: Prefix; readonly size: number }): string {
  return `ipam: no free address in ${range}: all ${size} are in use`;
}

function refuseRequest(pools: readonly Pool[], address: Address): void {
  const pool = poolOf(pools, address);
  const reason =
    pool === undefined
      ? `it lies in none of the node's pod ranges (${pools.map(({ range }) => range).join(", ")})`
      : pool.refusal(address);
  if (reason === undefined) return;
  throw new CniError(
    cniCodes.addressRefused,
    `ipam: address ${address} was asked for and cannot be given: ${reason}`,
    "ask for another address of the node's range, or for none",
  );
}

interface Pool {
  readonly range: Prefix;
  /** How many addresses pods can have. */
  readonly size: number;
  used(): number;
  resting(): readonly { readonly address: Address; readonly forMs: number }[];
  cursor(): number;
  /** Takes the next one. Must not be full. */
  next(): Address;
  /** The next one; undefined where it is full. */
  peek(): Address | undefined;
  take(address: Address): void;
  free(address: Address): void;
  /** Why it cannot be taken. */
  refusal(address: Address): string | undefined;
}

/** More than 65,536 pods fit on no node: of an IPv6 /64 only its start is used. */
const offsetsMax = 65536;

function createPool(range: Prefix, start: number, now: () => number): Pool {
  const { family, first, last } = prefixRange(range);
  const total = Number(last - first + 1n < BigInt(offsetsMax) ? last - first + 1n : BigInt(offsetsMax));
  // RFC 919: the last address of an IPv4 network is its broadcast address.
  const end = family === 4 && BigInt(total) === last - first + 1n ? total - 1 : total;
  const begin = reservedOffsets.gateway + 1;
  if (end <= begin) throw new RangeError(`pod range ${range} has no address for a pod: choose a shorter prefix`);
  const bits = new Uint32Array(Math.ceil(total / 32));
  /** Offset -> when it was given back, oldest first. */
  const rest = new Map<number, number>();
  let used = 0;
  let cursor = start >= begin && start < end ? start : begin - 1;

  const isTaken = (offset: number): boolean => ((bits[offset >>> 5] ?? 0) & (1 << (offset & 31))) !== 0;
  const flip = (offset: number): void => {
    bits[offset >>> 5] = (bits[offset >>> 5] ?? 0) ^ (1 << (offset & 31));
  };
  const offsetOf = (address: Address): number => Number(addressValue(address) - first);
  const usable = (offset: number): boolean => offset >= begin && offset < end;
  const wake = (): void => {
    for (const [offset, since] of rest) {
      if (now() - since < restMs) return;
      rest.delete(offset);
    }
  };
  /** The next that is free and rested; else, rather than none, the one that has rested longest. */
  const find = (): number | undefined => {
    wake();
    if (used >= end - begin) return undefined;
    const [longest] = rest.keys();
    if (longest !== undefined && used + rest.size >= end - begin) return longest;
    let offset = cursor;
    do offset = offset + 1 < end ? offset + 1 : begin;
    while (isTaken(offset) || rest.has(offset));
    return offset;
  };
  const set = (offset: number): void => {
    flip(offset);
    used++;
    rest.delete(offset);
  };
  return {
    range,
    size: end - begin,
    used: () => used,
    resting() {
      wake();
      return [...rest].map(([offset, since]) => ({ address: addressAt(range, offset), forMs: now() - since }));
    },
    cursor: () => cursor,
    next() {
      const offset = find();
      if (offset === undefined) throw new RangeError(`pod range ${range} is full`);
      cursor = offset;
      set(offset);
      return addressAt(range, offset);
    },
    peek() {
      const offset = find();
      return offset === undefined ? undefined : addressAt(range, offset);
    },
    take(address) {
      const offset = offsetOf(address);
      if (usable(offset) && !isTaken(offset)) set(offset);
    },
    free(address) {
      const offset = offsetOf(address);
      if (!usable(offset) || !isTaken(offset)) return;
      flip(offset);
      used--;
      rest.set(offset, now());
    },
    refusal(address) {
      const offset = offsetOf(address);
      if (offset === reservedOffsets.tunnel) return "it is the node's end of the tunnel";
      if (offset === reservedOffsets.gateway) return "it is the pods' gateway";
      if (!usable(offset)) return `only the first ${end - begin} addresses after the gateway's are given to pods`;
      return isTaken(offset) ? "another pod has it" : undefined;
    },
  };
}

function poolOf(pools: readonly Pool[], address: Address): Pool | undefined {
  return pools.find((pool) => familyOf(pool.range) === familyOf(address) && contains(pool.range, address));
}
