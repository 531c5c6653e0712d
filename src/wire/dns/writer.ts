// A growing DNS message: bytes appended in order, names compressed against those already there (RFC 1035 4.1.4).

import { DnsFormatError } from "./format-error.ts";
import { labelsText, nameLabels, type DnsName } from "./name.ts";

/** A message being written. `length` bytes are valid. */
export interface MessageWriter {
  bytes: Uint8Array;
  length: number;
  /** Where each name and each of its parents starts, for pointers; names by their text, case kept. */
  readonly names: Map<string, number>;
}

/** An empty message. */
export function createWriter(): MessageWriter {
  return { bytes: new Uint8Array(512), length: 0, names: new Map() };
}

/** A copy of what was written. */
export function writtenBytes(writer: MessageWriter): Uint8Array {
  return writer.bytes.slice(0, writer.length);
}

export function putUint8(writer: MessageWriter, value: number): void {
  const at = reserve(writer, 1);
  writer.bytes[at] = value;
}

export function putUint16(writer: MessageWriter, value: number): void {
  const at = reserve(writer, 2);
  writer.bytes[at] = value >>> 8;
  writer.bytes[at + 1] = value;
}

export function putUint32(writer: MessageWriter, value: number): void {
  putUint16(writer, (value >>> 16) & 0xffff);
  putUint16(writer, value & 0xffff);
}

export function putBytes(writer: MessageWriter, bytes: Uint8Array): void {
  const at = reserve(writer, bytes.length);
  writer.bytes.set(bytes, at);
}

/** Appends a name; `whole` writes no pointer (but later names may still point into it). Throws DnsFormatError. */
export function putName(writer: MessageWriter, name: DnsName, form: "compressed" | "whole" = "compressed"): void {
  const text = isPlain(name) ? name : labelsText(nameLabels(name));
  for (let from = 0; from < text.length;) {
    const key = from === 0 ? text : text.slice(from);
    const known = writer.names.get(key);
    if (known !== undefined && form === "compressed") {
      putUint16(writer, 0xc000 | known);
      return;
    }
    // RFC 1035 4.1.4: a pointer has 14 bits.
    if (known === undefined && writer.length < 0x4000) writer.names.set(key, writer.length);
    const end = labelEnd(text, from);
    putLabel(writer, text, from, end);
    from = end + 1;
  }
  putUint8(writer, 0);
}

function putLabel(writer: MessageWriter, text: string, from: number, end: number): void {
  const sizeAt = reserve(writer, 1 + end - from);
  let at = sizeAt + 1;
  for (let i = from; i < end; i++) {
    let code = text.charCodeAt(i);
    if (code === backslash) {
      code = text.charCodeAt(++i);
      if (code >= zero && code <= nine) {
        code = Number(text.slice(i, i + 3));
        i += 2;
      }
    }
    writer.bytes[at++] = code;
  }
  // Escapes are longer than what they stand for.
  writer.length = at;
  writer.bytes[sizeAt] = at - sizeAt - 1;
}

const [backslash, zero, nine] = [0x5c, 0x30, 0x39];

/** Is it in the one form that its bytes have, as nearly all are: letters, digits, `-`, `_` in labels that are not too long? */
function isPlain(name: DnsName): boolean {
  return name.length <= 253 && plainName.test(name);
}

const plainName = /^[\w-]{1,63}(?:\.[\w-]{1,63})*$/;

/** Where the label ends: at a dot that is none of its bytes. */
function labelEnd(text: string, from: number): number {
  for (let i = from; i < text.length; i++) {
    if (text[i] === ".") return i;
    if (text[i] === "\\") i++;
  }
  return text.length;
}

/** Writes what `body` appends behind a 16-bit length of it. */
export function putSized(writer: MessageWriter, body: () => void): void {
  const at = reserve(writer, 2);
  body();
  const size = writer.length - at - 2;
  if (size > 0xffff) throw new DnsFormatError(`a record's data has ${size} bytes, 65535 are the most`, at);
  writer.bytes[at] = size >>> 8;
  writer.bytes[at + 1] = size;
}

function reserve(writer: MessageWriter, size: number): number {
  const at = writer.length;
  if (at + size > writer.bytes.length) {
    const larger = new Uint8Array(Math.max(writer.bytes.length * 2, at + size));
    larger.set(writer.bytes.subarray(0, at));
    writer.bytes = larger;
  }
  writer.length = at + size;
  return at;
}
