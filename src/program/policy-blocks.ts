// Address blocks with their ports as boxes that do not overlap: interval sets of nftables take no others (some overlapping ones are refused,
// some are not, by the order they come in). Pure and independent of order but for the origin, which is the first one's.

import { addressFromValue, type Family } from "../ip/address.ts";
import { addressBits, prefixRange, type Prefix } from "../ip/prefix.ts";
import type { Origin } from "../kube/object.ts";
import type { Protocol } from "../model/network.ts";

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

/** The same ports as ranges that do not overlap, by protocol and first port. Neighbours become one. */
export function disjointPorts(ports: readonly PortRange[]): readonly PortRange[] {
  const result: PortRange[] = [];
  const sorted = ports
    .map((range, index) => ({ range, index }))
    .sort(
      ({ range: a, index: i }, { range: b, index: j }) =>
        (a.protocol < b.protocol ? -1 : a.protocol > b.protocol ? 1 : 0) || a.first - b.first || i - j,
    );
  for (const { range } of sorted) {
    const before = result.at(-1);
    if (before === undefined || before.protocol !== range.protocol || range.first > before.last + 1) {
      result.push(range);
    } else if (range.last > before.last) {
      result[result.length - 1] = { ...before, last: range.last };
    }
  }
  return result;
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
        range.origin === other.origin
      );
    })
  );
}
