// Prefixes (CIDR blocks) as canonical text: `10.244.0.0/16`, host bits zero. Equal prefixes are equal strings.

import {
  addressBytes,
  addressFromValue,
  addressValue,
  familyOf,
  parseAddress,
  type Address,
  type Family,
} from "./address.ts";

/** A prefix in canonical text, such as `10.244.1.0/24` or `fd00::/64`; its host bits are zero. */
export type Prefix = string;

/** The canonical form of a prefix; host bits are cleared. Undefined where the text is no prefix. */
export function parsePrefix(text: string): Prefix | undefined {
  const interfaceAddress = parseInterfaceAddress(text);
  if (interfaceAddress === undefined) return undefined;
  return prefixOf(interfaceAddress.address, interfaceAddress.bits);
}

/** An address with its prefix length, host bits kept: `10.244.1.1/24` as a link carries it. Undefined where the text is none. */
export function parseInterfaceAddress(text: string): { address: Address; bits: number } | undefined {
  const match = /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(text);
  const address = match?.[1] === undefined ? undefined : parseAddress(match[1]);
  if (address === undefined || match?.[2] === undefined) return undefined;
  if (match[2].length > 1 && match[2].startsWith("0")) return undefined;
  const bits = Number(match[2]);
  return bits > addressBits(familyOf(address)) ? undefined : { address, bits };
}

/** 32 or 128. */
export function addressBits(family: Family): number {
  return family === 4 ? 32 : 128;
}

/** The prefix of that length around an address. */
export function prefixOf(address: Address, bits: number): Prefix {
  const family = familyOf(address);
  const shift = BigInt(addressBits(family) - bits);
  return `${addressFromValue(family, (addressValue(address) >> shift) << shift)}/${bits}`;
}

/** The prefix that holds just this address: /32 or /128. */
export function hostPrefix(address: Address): Prefix {
  return `${address}/${addressBits(familyOf(address))}`;
}

/** The first address of a prefix (its network address). */
export function prefixAddress(prefix: Prefix): Address {
  return prefix.slice(0, prefix.lastIndexOf("/"));
}

/** The length of a prefix in bits. */
export function prefixBits(prefix: Prefix): number {
  return Number(prefix.slice(prefix.lastIndexOf("/") + 1));
}

/** First and last address of a prefix as numbers, both inclusive. */
export function prefixRange(prefix: Prefix): { family: Family; first: bigint; last: bigint } {
  const family = familyOf(prefix);
  const first = addressValue(prefixAddress(prefix));
  return { family, first, last: first + (1n << BigInt(addressBits(family) - prefixBits(prefix))) - 1n };
}

/** The address at an offset from the start of the prefix. Throws RangeError where it lies outside. */
export function addressAt(prefix: Prefix, offset: bigint | number): Address {
  const { family, first, last } = prefixRange(prefix);
  const value = first + BigInt(offset);
  if (value < first || value > last) throw new RangeError(`offset ${offset} lies outside ${prefix}`);
  return addressFromValue(family, value);
}

/** Does the prefix hold this address? False across families. */
export function contains(prefix: Prefix, address: Address): boolean {
  return startAlike(addressBytes(prefixAddress(prefix)), addressBytes(address), prefixBits(prefix));
}

/** Do two prefixes share an address? False across families. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  // One of them holds all of the other, or they have nothing in common.
  const bits = Math.min(prefixBits(a), prefixBits(b));
  return startAlike(addressBytes(prefixAddress(a)), addressBytes(prefixAddress(b)), bits);
}

function startAlike(a: Uint8Array, b: Uint8Array, bits: number): boolean {
  if (a.length !== b.length) return false;
  const whole = bits >> 3;
  for (let at = 0; at < whole; at++) if (a[at] !== b[at]) return false;
  const rest = bits & 7;
  return rest === 0 || (a[whole]! ^ b[whole]!) >> (8 - rest) === 0;
}

/** The n-th subnet of a given length, counted from 0: `subnet("10.244.0.0/16", 24, 1)` is `10.244.1.0/24`. */
export function subnet(prefix: Prefix, bits: number, index: number): Prefix {
  const { family, first, last } = prefixRange(prefix);
  const value = first + (BigInt(index) << BigInt(addressBits(family) - bits));
  if (bits < prefixBits(prefix) || index < 0 || value > last)
    throw new RangeError(`${prefix} has no /${bits} number ${index}`);
  return `${addressFromValue(family, value)}/${bits}`;
}

/**
 * The addresses that a person means by a prefix, `first-last` or a single address, as the fewest prefixes that hold exactly these:
 * `192.0.2.1-192.0.2.4` is 192.0.2.1/32, 192.0.2.2/31 and 192.0.2.4/32. Undefined where the text is none of the three.
 */
export function parseRanges(text: string): readonly Prefix[] | undefined {
  const prefix = parsePrefix(text);
  if (prefix !== undefined) return [prefix];
  const [first = "", last = first, ...more] = text.split("-").map((part) => parseAddress(part.trim()) ?? "");
  if (first === "" || last === "" || more.length > 0 || familyOf(first) !== familyOf(last)) return undefined;
  const family = familyOf(first);
  const end = addressValue(last);
  if (addressValue(first) > end) return undefined;
  const prefixes: Prefix[] = [];
  for (let value = addressValue(first); value <= end;) {
    let hostBits = 0;
    while (hostBits < addressBits(family)) {
      const size = 1n << BigInt(hostBits + 1);
      if (value % size !== 0n || value + size - 1n > end) break;
      hostBits++;
    }
    prefixes.push(`${addressFromValue(family, value)}/${addressBits(family) - hostBits}`);
    value += 1n << BigInt(hostBits);
  }
  return prefixes;
}

/** Each range once, in order, without those that lie inside of another one. */
export function outermost(ranges: readonly Prefix[]): readonly Prefix[] {
  const all = [...new Set(ranges)].sort();
  const isInside = (range: Prefix, other: Prefix): boolean => {
    const [inner, outer] = [prefixRange(range), prefixRange(other)];
    return range !== other && inner.family === outer.family && inner.first >= outer.first && inner.last <= outer.last;
  };
  return all.filter((range) => !all.some((other) => isInside(range, other)));
}
