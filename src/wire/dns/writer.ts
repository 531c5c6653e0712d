// A growing DNS message: bytes appended in order, names compressed against those already there (RFC 1035 4.1.4).

import { DnsFormatError } from "./format-error.ts";
import { nameLabels, type DnsName } from "./name.ts";

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
  const labels = nameLabels(name);
  const suffixes = labels.map((_, index) => suffixKey(labels, index));
  for (const [index, label] of labels.entries()) {
    const key = suffixes[index] ?? "";
    const known = writer.names.get(key);
    if (known !== undefined && form === "compressed") {
      putUint16(writer, 0xc000 | known);
      return;
    }
    // RFC 1035 4.1.4: a pointer has 14 bits.
    if (known === undefined && writer.length < 0x4000) writer.names.set(key, writer.length);
    putUint8(writer, label.length);
    putBytes(writer, label);
  }
  putUint8(writer, 0);
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

function suffixKey(labels: readonly Uint8Array[], from: number): string {
  let key = "";
  for (let i = from; i < labels.length; i++) {
    const label = labels[i] ?? new Uint8Array();
    key += String.fromCharCode(label.length, ...label);
  }
  return key;
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
