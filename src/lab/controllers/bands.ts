// Ranges that numbers are taken from, in two bands: those nobody asked for come from the upper band, so that the lower one stays free for
// those who ask for a certain number. Addresses: KEP-3070; node ports: KEP-3668.

import { addressFromValue, addressValue, type Address } from "../../ip/address.ts";
import { prefixRange, type Prefix } from "../../ip/prefix.ts";

/** Numbers from `first` to `last`; dynamic ones start at `dynamic`. */
export interface Band<T> {
  readonly first: bigint;
  readonly dynamic: bigint;
  readonly last: bigint;
  readonly value: (number: bigint) => T;
}

/** The usable addresses of a range: not its first, and of IPv4 not its last. At most the first 2^64. */
export function addressBand(range: Prefix): Band<Address> {
  const { family, first: start, last: end } = prefixRange(range);
  const span = end - start > 0xffff_ffff_ffff_ffffn ? 0xffff_ffff_ffff_ffffn : end - start;
  const first = start + 1n;
  const last = start + span - (family === 4 ? 1n : 0n);
  // KEP-3070: min(max(16, size / 16), 256); none in ranges of less than 16.
  const size = last - first + 1n;
  const offset = size < 16n ? 0n : smaller(larger(16n, size / 16n), 256n);
  return { first, last, dynamic: first + offset, value: (number) => addressFromValue(family, number) };
}

/** Is an address of the range one that can be given away? */
export function isUsable(range: Prefix, address: Address): boolean {
  const { first, last } = addressBand(range);
  const value = addressValue(address);
  return value >= first && value <= last;
}

export function portBand({ first, last }: { readonly first: number; readonly last: number }): Band<number> {
  // KEP-3668: min(max(16, size / 32), 128); none in ranges of less than 16.
  const size = last - first + 1;
  const offset = size < 16 ? 0 : Math.min(Math.max(16, Math.floor(size / 32)), 128);
  return { first: BigInt(first), dynamic: BigInt(first + offset), last: BigInt(last), value: Number };
}

/** A free number of the upper band, else of the lower, from a random place onwards. `taken` bounds how many can be in the way. */
export function pick<T>(
  band: Band<T>,
  random: () => number,
  taken: number,
  isFree: (value: T) => boolean,
): T | undefined {
  return (
    pickFrom(band.dynamic, band.last, band.value, random, taken, isFree) ??
    pickFrom(band.first, band.dynamic - 1n, band.value, random, taken, isFree)
  );
}

function pickFrom<T>(
  first: bigint,
  last: bigint,
  value: (number: bigint) => T,
  random: () => number,
  taken: number,
  isFree: (value: T) => boolean,
): T | undefined {
  const size = last - first + 1n;
  if (size <= 0n) return undefined;
  // 53 random bits, of which the range takes its share.
  const start = (BigInt(Math.floor(random() * 2 ** 53)) * size) >> 53n;
  const tries = smaller(size, BigInt(taken) + 1n);
  for (let i = 0n; i < tries; i++) {
    const found = value(first + ((start + i) % size));
    if (isFree(found)) return found;
  }
  return undefined;
}

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
