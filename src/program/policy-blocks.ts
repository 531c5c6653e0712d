// Address blocks with their ports as boxes that do not overlap: interval sets of nftables take no others (some overlapping ones are refused,
// some are not, by the order they come in). Pure and independent of order but for the origin, which is the first one's.

import { addressFromValue, type Family } from "../ip/address.ts";
import { addressBits, prefixRange, type Prefix } from "../ip/prefix.ts";
import type { Origin } from "../kube/object.ts";
import type { Policy, Protocol } from "../model/network.ts";

/** First and last address as numbers, both included. */
export interface AddressRange {
  readonly first: bigint;
  readonly last: bigint;
}

/** Ports of one protocol, first and last included. */
export interface PortRange {
  readonly protocol: Protocol;
  readonly first: number;
  readonly last: number;
  /** Who opens them. */
  readonly by: readonly Policy[];
  readonly origin: Origin;
}

/** Addresses that get the same ports. */
export interface Block {
  readonly range: AddressRange;
  readonly ports: readonly PortRange[];
}

/** What is left of a block without its exceptions, in order. */
export function rangesWithout(cidr: Prefix, except: readonly Prefix[]): readonly AddressRange[] {
  const { family, first, last } = prefixRange(cidr);
  let left: readonly AddressRange[] = [{ first, last }];
  for (const prefix of except) {
    const hole = prefixRange(prefix);
    if (hole.family !== family) continue;
    left = left.flatMap((range) => [
      ...(range.first < hole.first
        ? [{ first: range.first, last: range.last < hole.first ? range.last : hole.first - 1n }]
        : []),
      ...(range.last > hole.last
        ? [{ first: range.first > hole.last ? range.first : hole.last + 1n, last: range.last }]
        : []),
    ]);
  }
  return left;
}

/** The same addresses and ports as blocks that do not overlap, each with ports that do not overlap. */
export function disjointBlocks(blocks: readonly Block[]): readonly Block[] {
  const starts = new Map<bigint, Block[]>();
  const ends = new Map<bigint, Block[]>();
  const put = (map: Map<bigint, Block[]>, at: bigint, block: Block): void => {
    const list = map.get(at);
    if (list === undefined) map.set(at, [block]);
    else list.push(block);
  };
  for (const block of blocks) {
    put(starts, block.range.first, block);
    put(ends, block.range.last + 1n, block);
  }
  const edges = [...new Set([...starts.keys(), ...ends.keys()])].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const place = new Map(blocks.map((block, index) => [block, index]));
  const active = new Set<Block>();
  const result: { range: AddressRange; ports: readonly PortRange[] }[] = [];
  for (const [index, edge] of edges.entries()) {
    for (const block of ends.get(edge) ?? []) active.delete(block);
    for (const block of starts.get(edge) ?? []) active.add(block);
    const next = edges[index + 1];
    if (next === undefined || active.size === 0) continue;
    const covering = [...active].sort((a, b) => (place.get(a) ?? 0) - (place.get(b) ?? 0));
    const ports = disjointPorts(covering.flatMap((block) => block.ports));
    const before = result.at(-1);
    if (before !== undefined && before.range.last === edge - 1n && isSamePorts(before.ports, ports))
      before.range = { first: before.range.first, last: next - 1n };
    else result.push({ range: { first: edge, last: next - 1n }, ports });
  }
  return result;
}

/** The same ports as ranges that do not overlap, by protocol and first port. Neighbours with the same openers become one. */
export function disjointPorts(ports: readonly PortRange[]): readonly PortRange[] {
  if (ports.length === 1) return ports;
  const result: PortRange[] = [];
  for (const protocol of ["sctp", "tcp", "udp"] as const) {
    const own = ports.filter((range) => range.protocol === protocol);
    const edges = [...new Set(own.flatMap(({ first, last }) => [first, last + 1]))].sort((a, b) => a - b);
    for (const [index, first] of edges.entries()) {
      const next = edges[index + 1];
      const covering = next === undefined ? [] : own.filter((range) => range.first <= first && range.last >= first);
      const [some] = covering;
      if (some === undefined || next === undefined) continue;
      const by = together(covering.map((range) => range.by));
      const before = result.at(-1);
      if (before?.protocol === protocol && before.last + 1 === first && isSameList(before.by, by))
        result[result.length - 1] = { ...before, last: next - 1 };
      else result.push({ protocol, first, last: next - 1, by, origin: some.origin });
    }
  }
  return result;
}

/** Each policy once, by namespace and name. */
export function together(lists: readonly (readonly Policy[])[]): readonly Policy[] {
  const [first = []] = lists;
  if (lists.every((list) => isSameList(list, first))) return first;
  const key = ({ namespace, name }: Policy): string => `${namespace}/${name}`;
  return [...new Set(lists.flat())].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

function isSameList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a === b || (a.length === b.length && a.every((value, index) => value === b[index]));
}

/** As nft writes it: an address, a prefix where it is one, else a range. */
export function rangeText(family: Family, { first, last }: AddressRange): string {
  const start = addressFromValue(family, first);
  if (first === last) return start;
  const size = last - first + 1n;
  const isPrefix = (size & (size - 1n)) === 0n && first % size === 0n;
  if (!isPrefix) return `${start}-${addressFromValue(family, last)}`;
  return `${start}/${addressBits(family) - (size.toString(2).length - 1)}`;
}

/** `80`, `80-90` */
export function portText({ first, last }: Pick<PortRange, "first" | "last">): string {
  return first === last ? String(first) : `${first}-${last}`;
}

function isSamePorts(a: readonly PortRange[], b: readonly PortRange[]): boolean {
  return (
    a.length === b.length &&
    a.every((range, index) => {
      const other = b[index];
      return (
        range.protocol === other?.protocol &&
        range.first === other.first &&
        range.last === other.last &&
        isSameList(range.by, other.by)
      );
    })
  );
}
