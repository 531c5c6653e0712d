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
  const value = parseValue(text);
  return value === undefined ? undefined : formatValue(value.family, value.value);
}

/** The family of a canonical address or prefix. */
export function familyOf(address: Address): Family {
  return address.includes(":") ? 6 : 4;
}

/** The address as 4 or 16 bytes in network order. Throws RangeError where the text is no address. */
export function addressBytes(address: Address): Uint8Array {
  const { family, value } = must(address);
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  let rest = value;
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

/** The canonical address of 4 or 16 bytes in network order. */
export function addressFromBytes(bytes: Uint8Array): Address {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  if (bytes.length !== 16) throw new RangeError(`an address has 4 or 16 bytes, not ${bytes.length}`);
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return formatValue(6, value);
}

/** The address as a number of 32 or 128 bits, for arithmetic. */
export function addressValue(address: Address): bigint {
  return must(address).value;
}

/** The canonical address of a number. Throws RangeError outside the family's range. */
export function addressFromValue(family: Family, value: bigint): Address {
  if (value < 0n || value >> BigInt(family === 4 ? 32 : 128) !== 0n)
    throw new RangeError(`${value} is no IPv${family} address`);
  return formatValue(family, value);
}

/** Orders by family, then by number: the order people expect in tables. */
export function compareAddresses(a: Address, b: Address): number {
  const left = must(a);
  const right = must(b);
  if (left.family !== right.family) return left.family - right.family;
  return left.value < right.value ? -1 : left.value > right.value ? 1 : 0;
}

function must(address: string): { family: Family; value: bigint } {
  const value = parseValue(address);
  if (value === undefined) throw new RangeError(`not an IP address: ${JSON.stringify(address)}`);
  return value;
}

function parseValue(text: string): { family: Family; value: bigint } | undefined {
  if (!text.includes(":")) {
    const value = parse4(text);
    return value === undefined ? undefined : { family: 4, value: BigInt(value) };
  }
  const value = parse6(text);
  return value === undefined ? undefined : { family: 6, value };
}

function parse4(text: string): number | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!match) return undefined;
  let value = 0;
  for (const part of match.slice(1)) {
    if (part.length > 1 && part.startsWith("0")) return undefined;
    if (Number(part) > 255) return undefined;
    value = value * 256 + Number(part);
  }
  return value;
}

// RFC 4291 2.2: eight groups of hexadecimal digits, one run of zero groups as "::", the last two groups perhaps as IPv4.
function parse6(text: string): bigint | undefined {
  let source = text;
  const tail = source.slice(source.lastIndexOf(":") + 1);
  if (tail.includes(".")) {
    const low = parse4(tail);
    if (low === undefined) return undefined;
    source = `${source.slice(0, -tail.length)}${(low >>> 16).toString(16)}:${(low & 0xffff).toString(16)}`;
  }
  const halves = source.split("::");
  if (halves.length > 2) return undefined;
  const groupsOf = (half: string): string[] => (half === "" ? [] : half.split(":"));
  const head = groupsOf(halves[0] ?? "");
  const last = halves.length === 2 ? groupsOf(halves[1] ?? "") : [];
  const missing = 8 - head.length - last.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  let value = 0n;
  for (const group of [...head, ...Array<string>(halves.length === 2 ? missing : 0).fill("0"), ...last]) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    value = (value << 16n) | BigInt(Number.parseInt(group, 16));
  }
  return value;
}

function formatValue(family: Family, value: bigint): Address {
  if (family === 4) {
    const n = Number(value);
    return `${n >>> 24}.${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}`;
  }
  const groups = Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(112 - 16 * i)) & 0xffffn));
  // RFC 5952 4.2: the longest run of two or more zero groups becomes "::", the first of equals.
  let best = { start: -1, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  // RFC 5952 5: IPv4-mapped addresses are written in mixed notation.
  if (value >> 32n === 0xffffn) return `::ffff:${formatValue(4, value & 0xffffffffn)}`;
  const hex = (part: number[]): string => part.map((group) => group.toString(16)).join(":");
  if (best.start < 0) return hex(groups);
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`;
}
