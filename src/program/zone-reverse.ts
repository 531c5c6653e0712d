// Addresses as DNS names: `7.41.96.10.in-addr.arpa` (RFC 1035 3.5), nibbles under ip6.arpa (RFC 3596 2.5), and dashed as in pod names.

import {
  addressBytes,
  addressFromBytes,
  addressFromValue,
  familyOf,
  parseAddress,
  type Address,
} from "../ip/address.ts";
import { contains, prefixBits, prefixRange, type Prefix } from "../ip/prefix.ts";
import { isWithin, type DnsName } from "../wire/dns/name.ts";

/** The name that holds an address's PTR records. */
export function reverseName(address: Address): DnsName {
  return [...unitsOf(address).reverse(), familyOf(address) === 4 ? "in-addr.arpa" : "ip6.arpa"].join(".");
}

/** The address of a reverse name in lower case; undefined where the name is another, or only part of an address. */
export function addressOfReverseName(name: DnsName): Address | undefined {
  const reverse = parseReverse(name);
  if (reverse === undefined || reverse.units.length !== (reverse.family === 4 ? 4 : 32)) return undefined;
  return addressOfUnits(reverse.family, reverse.units);
}

/**
 * The reverse zone a name lies in, where it is one of these ranges': the part of the name that every address of the range shares.
 * `10.96.0.0/12` is sixteen zones, `96.10.in-addr.arpa` and so on, for names are cut at dots.
 */
export function reverseZoneOf(name: DnsName, ranges: readonly Prefix[]): DnsName | undefined {
  const reverse = parseReverse(name);
  if (reverse === undefined) return undefined;
  const unitBits = reverse.family === 4 ? 8 : 4;
  const first = addressOfUnits(reverse.family, reverse.units);
  for (const range of ranges) {
    if (familyOf(range) !== reverse.family) continue;
    const cut = Math.max(Math.ceil(prefixBits(range) / unitBits), 1);
    if (reverse.units.length < cut || !contains(range, first)) continue;
    return name
      .split(".")
      .slice(reverse.units.length - cut)
      .join(".");
  }
  return undefined;
}

/** The reverse zones that together hold a range: `10.96.0.0/15` is `96.10.in-addr.arpa` and `97.10.in-addr.arpa`. */
export function reverseZones(range: Prefix): DnsName[] {
  const unitBits = familyOf(range) === 4 ? 8 : 4;
  const cut = Math.max(Math.ceil(prefixBits(range) / unitBits), 1);
  const { first } = prefixRange(range);
  const step = 1n << BigInt((familyOf(range) === 4 ? 32 : 128) - cut * unitBits);
  return Array.from({ length: 2 ** (cut * unitBits - prefixBits(range)) }, (_, index) =>
    reverseName(addressFromValue(familyOf(range), first + BigInt(index) * step))
      .split(".")
      .slice(-cut - 2)
      .join("."),
  );
}

/** `10-244-1-5`, `fd00-10-244-1--5`. */
export function dashedAddress(address: Address): string {
  return address.replaceAll(/[.:]/g, "-");
}

/** The address that a dashed label spells, in any spelling; undefined where it spells none. */
export function addressOfDashed(label: string): Address | undefined {
  return parseAddress(/^\d+-\d+-\d+-\d+$/.test(label) ? label.replaceAll("-", ".") : label.replaceAll("-", ":"));
}

interface ReverseName {
  readonly family: 4 | 6;
  /** Of the address, most significant first. */
  readonly units: readonly number[];
}

function parseReverse(name: DnsName): ReverseName | undefined {
  const family = isWithin(name, "in-addr.arpa") ? 4 : isWithin(name, "ip6.arpa") ? 6 : undefined;
  if (family === undefined) return undefined;
  const unitsMax = family === 4 ? 4 : 32;
  const labels = name.split(".").slice(0, -2).reverse();
  const units = labels.map((label) => parseUnit(label, family));
  if (units.length > unitsMax || units.some((unit) => unit === undefined)) return undefined;
  return { family, units: units.filter((unit) => unit !== undefined) };
}

function parseUnit(label: string, family: 4 | 6): number | undefined {
  if (family === 6) return /^[0-9a-f]$/.test(label) ? Number.parseInt(label, 16) : undefined;
  return /^(0|[1-9]\d{0,2})$/.test(label) && Number(label) < 256 ? Number(label) : undefined;
}

function unitsOf(address: Address): string[] {
  const bytes = [...addressBytes(address)];
  if (bytes.length === 4) return bytes.map(String);
  return bytes.flatMap((byte) => [(byte >>> 4).toString(16), (byte & 15).toString(16)]);
}

// Missing units are zero: the first address of what the units share.
function addressOfUnits(family: 4 | 6, units: readonly number[]): Address {
  if (family === 4) return addressFromBytes(Uint8Array.from({ length: 4 }, (_, i) => units[i] ?? 0));
  return addressFromBytes(
    Uint8Array.from({ length: 16 }, (_, i) => ((units[2 * i] ?? 0) << 4) | (units[2 * i + 1] ?? 0)),
  );
}
