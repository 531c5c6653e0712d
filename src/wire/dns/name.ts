// DNS names between bytes and text. Text is RFC 1035 5.1's: labels joined by dots, no final dot, the root is ".", the case as it came;
// a dot or backslash inside a label is `\.` `\\`, bytes that do not print are `\DDD`. So any label has a text, and equal text is equal bytes.
//
// Not here: which names exist (program/zone.ts).

import { DnsFormatError } from "./format-error.ts";

/** A DNS name in text, such as `api-server.production.svc.cluster.local`. Compare after `lowerName`. */
export type DnsName = string;

/** RFC 1035 2.3.4 */
const nameBytesMax = 255;
const labelBytesMax = 63;

/** Reads the name at an offset; `end` is where the bytes after it start. Follows compression pointers. Throws DnsFormatError. */
export function readName(bytes: Uint8Array, offset: number): { readonly name: DnsName; readonly end: number } {
  let text = "";
  let at = offset;
  let end = -1;
  let length = 1;
  // Each pointer must lead before everything read so far, so a chain of them ends.
  let lowest = offset;
  for (;;) {
    const size = byteAt(bytes, at);
    // RFC 1035 4.1.4: two high bits set is a pointer; 01 and 10 are reserved.
    if ((size & 0xc0) === 0xc0) {
      const target = ((size & 0x3f) << 8) | byteAt(bytes, at + 1);
      if (end < 0) end = at + 2;
      // RFC 1035 4.1.4: a pointer leads to a *prior* occurrence of the name.
      if (target >= lowest) throw new DnsFormatError(`a compression pointer leads forward, to byte ${target}`, at);
      lowest = target;
      at = target;
      continue;
    }
    if (size > labelBytesMax) throw new DnsFormatError("a label has a reserved type", at);
    at += 1;
    if (size === 0) break;
    length += size + 1;
    if (length > nameBytesMax) throw new DnsFormatError(`a name has more than ${nameBytesMax} bytes`, at);
    if (at + size > bytes.length) throw new DnsFormatError("a label reaches past the end", at);
    if (text !== "") text += ".";
    for (const last = at + size; at < last; at++) text += escapes[bytes[at] ?? 0];
  }
  return { name: text === "" ? "." : text, end: end < 0 ? at : end };
}

/** The offset after the name at `offset`, without reading it: its pointer is not followed. Throws DnsFormatError. */
export function skipName(bytes: Uint8Array, offset: number): number {
  let at = offset;
  for (;;) {
    const size = byteAt(bytes, at);
    if ((size & 0xc0) === 0xc0) {
      byteAt(bytes, at + 1);
      return at + 2;
    }
    if (size > labelBytesMax) throw new DnsFormatError("a label has a reserved type", at);
    at += 1 + size;
    if (size === 0) return at;
    if (at - offset >= nameBytesMax) throw new DnsFormatError(`a name has more than ${nameBytesMax} bytes`, at);
  }
}

/** The labels' bytes of a name in text (a final dot is allowed). Throws DnsFormatError where a label is empty or anything is too long. */
export function nameLabels(name: DnsName): Uint8Array[] {
  if (name === "." || name === "") return [];
  const labels: Uint8Array[] = [];
  let label: number[] = [];
  let total = 1;
  const finish = (at: number): void => {
    if (label.length === 0) throw new DnsFormatError(`empty label in name ${JSON.stringify(name)}`, at);
    if (label.length > labelBytesMax)
      throw new DnsFormatError(`a label of ${JSON.stringify(name)} has more than ${labelBytesMax} bytes`, at);
    total += label.length + 1;
    labels.push(Uint8Array.from(label));
    label = [];
  };
  for (let i = 0; i < name.length; i++) {
    const character = name[i] ?? "";
    if (character === ".") {
      finish(i);
      if (i === name.length - 1) break;
    } else if (character === "\\") {
      const digits = /^\d{3}/.exec(name.slice(i + 1, i + 4))?.[0];
      const code = digits === undefined ? name.charCodeAt(i + 1) : Number(digits);
      if (!(code < 256)) throw new DnsFormatError(`bad escape in name ${JSON.stringify(name)}`, i);
      label.push(code);
      i += digits === undefined ? 1 : 3;
    } else {
      const code = name.charCodeAt(i);
      if (code > 0x7e)
        throw new DnsFormatError(`a name is ASCII, write \\DDD for other bytes: ${JSON.stringify(name)}`, i);
      label.push(code);
    }
  }
  if (label.length > 0) finish(name.length);
  if (total > nameBytesMax)
    throw new DnsFormatError(`name ${JSON.stringify(name)} has more than ${nameBytesMax} bytes`, name.length);
  return labels;
}

/** Labels as text, the same for the same bytes; none are the empty text. */
export function labelsText(labels: readonly Uint8Array[]): string {
  return labels.map((label) => Array.from(label, (byte) => escapes[byte]).join("")).join(".");
}

/** The one text of the name's bytes: no final dot, escapes only where they are needed. Throws DnsFormatError. */
export function canonicalName(name: DnsName): DnsName {
  return labelsText(nameLabels(name)) || ".";
}

/** The name above: without its first label. The root's is the root. */
export function parentName(name: DnsName): DnsName {
  for (let at = 0; at < name.length - 1; at++) {
    if (name[at] === ".") return name.slice(at + 1);
    if (name[at] === "\\") at++;
  }
  return ".";
}

/** The name as keys and comparisons want it: ASCII letters in lower case (RFC 4343), no final dot. */
export function lowerName(name: DnsName): DnsName {
  const lower = name.toLowerCase();
  return lower.length > 1 && lower.endsWith(".") && !lower.endsWith("\\.") ? lower.slice(0, -1) : lower;
}

/** Is the name the domain itself or below it? Both in lower case without a final dot. */
export function isWithin(name: DnsName, domain: DnsName): boolean {
  if (domain === ".") return true;
  return (
    name.endsWith(domain) &&
    (name.length === domain.length ||
      (name[name.length - domain.length - 1] === "." && name[name.length - domain.length - 2] !== "\\"))
  );
}

/** The text of each byte inside a label. */
export const escapes: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  if (byte <= 0x20 || byte >= 0x7f) return `\\${String(byte).padStart(3, "0")}`;
  return '."\\();@$'.includes(character) ? `\\${character}` : character;
});

function byteAt(bytes: Uint8Array, at: number): number {
  const byte = bytes[at];
  if (byte === undefined) throw new DnsFormatError("a name reaches past the end", at);
  return byte;
}
