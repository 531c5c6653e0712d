// IP addresses as canonical text: equal addresses are equal strings, so they serve as map keys, print as they are and go into JSON.
// IPv4 is dotted decimal without leading zeros (Kubernetes KEP-4858), IPv6 is RFC 5952. Text of any other form enters through parseAddress.
//
// Not here: prefixes (prefix.ts), hardware addresses (mac.ts).

/** An IP address in canonical text, such as `10.244.1.5` or `fd00:10:244:1::5`. */
export type Address = string;
/** The IP family of an address or prefix. */
export type Family = 4 | 6;

/** The canonical form of an address, or undefined where the text is none. IPv4-mapped IPv6 stays IPv6. No zone ids, no leading zeros. */
export function parseAddress(text: string): Address | undefined {
  const bytes = parseBytes(text);
  return bytes === undefined ? undefined : formatBytes(bytes);
}

/** The family of a canonical address or prefix. */
export function familyOf(address: Address): Family {
  return address.includes(":") ? 6 : 4;
}

/** The address as 4 or 16 bytes in network order. Throws RangeError where the text is no address. */
export function addressBytes(address: Address): Uint8Array {
  const bytes = parseBytes(address);
  if (bytes === undefined) throw new RangeError(`not an IP address: ${JSON.stringify(address)}`);
  return bytes;
}

/** The canonical address of 4 or 16 bytes in network order. */
export function addressFromBytes(bytes: Uint8Array): Address {
  if (bytes.length !== 4 && bytes.length !== 16)
    throw new RangeError(`an address has 4 or 16 bytes, not ${bytes.length}`);
  return formatBytes(bytes);
}

/** The address as a number of 32 or 128 bits, for arithmetic. */
export function addressValue(address: Address): bigint {
  const bytes = addressBytes(address);
  let value = 0n;
  for (let at = 0; at < bytes.length; at += 4) value = (value << 32n) | BigInt(word(bytes, at));
  return value;
}

/** The canonical address of a number. Throws RangeError outside the family's range. */
export function addressFromValue(family: Family, value: bigint): Address {
  if (value < 0n || value >> BigInt(family === 4 ? 32 : 128) !== 0n)
    throw new RangeError(`${value} is no IPv${family} address`);
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  let rest = value;
  for (let at = bytes.length - 1; at >= 0; at--) {
    bytes[at] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return formatBytes(bytes);
}

/** Orders by family, then by number: the order people expect in tables. */
export function compareAddresses(a: Address, b: Address): number {
  const left = addressBytes(a);
  const right = addressBytes(b);
  if (left.length !== right.length) return left.length === 4 ? -2 : 2;
  const differing = left.findIndex((byte, at) => byte !== right[at]);
  return differing < 0 ? 0 : left[differing]! < right[differing]! ? -1 : 1;
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

// Thousands of nodes are thousands of addresses at once: what follows looks at each character once, and makes nothing but the bytes.

function parseBytes(text: string): Uint8Array | undefined {
  if (text.includes(":")) return parse6(text);
  const bytes = new Uint8Array(4);
  return parse4(text, 0, bytes, 0) ? bytes : undefined;
}

/** Four numbers up to 255 without leading zeros, from `start` to the end of the text; written to `bytes` from `at` on. */
function parse4(text: string, start: number, bytes: Uint8Array, at: number): boolean {
  let part = 0;
  let digits = 0;
  let value = 0;
  for (let index = start; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === dot) {
      if (digits === 0 || part === 3) return false;
      bytes[at + part++] = value;
      digits = value = 0;
      continue;
    }
    if (code < zero || code > zero + 9 || (digits > 0 && value === 0)) return false;
    value = value * 10 + code - zero;
    digits++;
    if (value > 255) return false;
  }
  if (digits === 0 || part !== 3) return false;
  bytes[at + 3] = value;
  return true;
}

// RFC 4291 2.2: eight groups of hexadecimal digits, one run of zero groups as "::", the last two groups perhaps as IPv4.
function parse6(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(16);
  /** How many bytes are there, and how many of them stand before "::". */
  let length = 0;
  let gap = -1;
  let at = 0;
  if (text.startsWith("::")) {
    gap = 0;
    at = 2;
  }
  while (at < text.length) {
    const start = at;
    let value = 0;
    for (; at < text.length; at++) {
      const digit = hexDigit(text.charCodeAt(at));
      if (digit < 0) break;
      value = (value << 4) | digit;
    }
    if (text.charCodeAt(at) === dot) {
      if (length > 12 || !parse4(text, start, bytes, length)) return undefined;
      length += 4;
      at = text.length;
      break;
    }
    if (at === start || at - start > 4 || length === 16) return undefined;
    bytes[length++] = value >> 8;
    bytes[length++] = value & 0xff;
    if (at === text.length) break;
    // One colon and more, or two.
    if (text.charCodeAt(at) !== colon || ++at === text.length) return undefined;
    if (text.charCodeAt(at) !== colon) continue;
    if (gap >= 0) return undefined;
    gap = length;
    at++;
  }
  if (gap < 0) return length === 16 ? bytes : undefined;
  if (length === 16) return undefined;
  bytes.copyWithin(16 - (length - gap), gap, length);
  return bytes.fill(0, gap, 16 - (length - gap));
}

const zero = 0x30;
const dot = 0x2e;
const colon = 0x3a;

/** -1 where it is none. */
function hexDigit(code: number): number {
  if (code >= zero && code <= zero + 9) return code - zero;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : -1;
}

function formatBytes(bytes: Uint8Array): Address {
  if (bytes.length === 4) return format4(bytes, 0);
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!);
  // RFC 5952 4.2: the longest run of two or more zero groups becomes "::", the first of equals.
  let best = { start: -1, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  // RFC 5952 5: IPv4-mapped addresses are written in mixed notation.
  if (best.start === 0 && best.length === 5 && groups[5] === 0xffff) return `::ffff:${format4(bytes, 12)}`;
  const hex = (part: number[]): string => part.map((group) => group.toString(16)).join(":");
  if (best.start < 0) return hex(groups);
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`;
}

function format4(bytes: Uint8Array, at: number): Address {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}
