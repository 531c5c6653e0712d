// Resource records: types by name and number, and the data of each type between bytes and values.
// Types this file does not know keep their bytes (RFC 3597), so nothing that passes through is lost.
//
// Not here: whole messages (message.ts), EDNS's pseudo-record OPT (message.ts makes it a field of the message).

import { addressBytes, addressFromBytes, type Address } from "../../ip/address.ts";
import { DnsFormatError } from "./format-error.ts";
import { readName, type DnsName } from "./name.ts";
import { putBytes, putName, putUint16, putUint32, type MessageWriter } from "./writer.ts";

/** A resource record of class IN (or of `class` where it is another). */
export interface DnsRecord {
  readonly name: DnsName;
  readonly class: number;
  readonly ttl: number;
  readonly data: RecordData;
}

/** The data of a record; `kind` is its type. */
export type RecordData =
  | { readonly kind: "A"; readonly address: Address }
  | { readonly kind: "AAAA"; readonly address: Address }
  | { readonly kind: "NS" | "CNAME" | "PTR"; readonly target: DnsName }
  | SoaData
  | { readonly kind: "MX"; readonly preference: number; readonly target: DnsName }
  /** One character a byte (U+0000 to U+00FF), at most 255 a string. */
  | { readonly kind: "TXT"; readonly strings: readonly string[] }
  | {
      readonly kind: "SRV";
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      readonly target: DnsName;
    }
  | { readonly kind: "unknown"; readonly type: number; readonly bytes: Uint8Array };

/** RFC 1035 3.3.13; `minimum` is the TTL of negative answers (RFC 2308 4). Times in seconds. */
interface SoaData {
  readonly kind: "SOA";
  readonly primary: DnsName;
  readonly mailbox: DnsName;
  readonly serial: number;
  readonly refresh: number;
  readonly retry: number;
  readonly expire: number;
  readonly minimum: number;
}

/** A type's name: `A`, `SRV` …, and `TYPE65` for those without a name here (RFC 3597 5). */
export type RecordType = keyof typeof recordTypes | `TYPE${number}`;

/** Numbers of the types that have a name here (IANA "Domain Name System (DNS) Parameters"). */
export const recordTypes = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  RP: 17,
  AFSDB: 18,
  AAAA: 28,
  SRV: 33,
  NAPTR: 35,
  DNAME: 39,
  OPT: 41,
  DS: 43,
  SSHFP: 44,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
  NSEC3: 50,
  NSEC3PARAM: 51,
  TLSA: 52,
  SMIMEA: 53,
  CDS: 59,
  CDNSKEY: 60,
  OPENPGPKEY: 61,
  SVCB: 64,
  HTTPS: 65,
  SPF: 99,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
  URI: 256,
  CAA: 257,
} as const;

const typeNames = new Map<number, RecordType>(
  Object.entries(recordTypes).map(([name, number]) => [number, name as RecordType]),
);

/** Class IN, the Internet. */
export const classIn = 1;
/** Class ANY of questions (RFC 1035 3.2.5). */
export const classAny = 255;

/** The name of a type's number. */
export function recordTypeName(type: number): RecordType {
  return typeNames.get(type) ?? `TYPE${type}`;
}

/** The number of a type's name in any case, or undefined where there is no such type. */
export function recordTypeNumber(name: string): number | undefined {
  const upper = name.toUpperCase();
  if (Object.hasOwn(recordTypes, upper)) return recordTypes[upper as keyof typeof recordTypes];
  const match = /^TYPE(\d{1,5})$/.exec(upper);
  return match === null || Number(match[1]) > 0xffff ? undefined : Number(match[1]);
}

/** The type's number of a record's data. */
export function typeOfData(data: RecordData): number {
  return data.kind === "unknown" ? data.type : recordTypes[data.kind];
}

/** The data of a record in the text of zone files (RFC 1035 5): `10.96.41.7`, `0 100 80 api.production.svc.cluster.local.`. */
export function formatRecordData(data: RecordData): string {
  switch (data.kind) {
    case "A":
    case "AAAA":
      return data.address;
    case "NS":
    case "CNAME":
    case "PTR":
      return absolute(data.target);
    case "SOA":
      return [
        absolute(data.primary),
        absolute(data.mailbox),
        data.serial,
        data.refresh,
        data.retry,
        data.expire,
        data.minimum,
      ].join(" ");
    case "MX":
      return `${data.preference} ${absolute(data.target)}`;
    case "TXT":
      return data.strings.map(quoted).join(" ");
    case "SRV":
      return `${data.priority} ${data.weight} ${data.port} ${absolute(data.target)}`;
    case "unknown":
      // RFC 3597 5
      return `\\# ${data.bytes.length} ${Array.from(data.bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`.trimEnd();
  }
}

/** Reads the data of a record of `type` at [start, end). Throws DnsFormatError where it does not fill the space exactly. */
export function readRecordData(bytes: Uint8Array, type: number, start: number, end: number): RecordData {
  const length = end - start;
  const uint16 = (at: number): number => {
    if (at + 2 > end) throw new DnsFormatError("a record's data is too short", at);
    return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  };
  const uint32 = (at: number): number => uint16(at) * 0x10000 + uint16(at + 2);
  const lastName = (at: number): DnsName => {
    const read = readName(bytes, at);
    if (read.end !== end) throw new DnsFormatError("a record's data does not end with its name", at);
    return read.name;
  };
  switch (type) {
    case recordTypes.A:
    case recordTypes.AAAA: {
      const kind = type === recordTypes.A ? "A" : "AAAA";
      if (length !== (kind === "A" ? 4 : 16)) throw new DnsFormatError(`an ${kind} record has ${length} bytes`, start);
      return { kind, address: addressFromBytes(bytes.subarray(start, end)) };
    }
    case recordTypes.NS:
      return { kind: "NS", target: lastName(start) };
    case recordTypes.CNAME:
      return { kind: "CNAME", target: lastName(start) };
    case recordTypes.PTR:
      return { kind: "PTR", target: lastName(start) };
    case recordTypes.SOA: {
      const primary = readName(bytes, start);
      const mailbox = readName(bytes, primary.end);
      const at = mailbox.end;
      if (at + 20 !== end) throw new DnsFormatError("an SOA record has a wrong length", at);
      return {
        kind: "SOA",
        primary: primary.name,
        mailbox: mailbox.name,
        serial: uint32(at),
        refresh: uint32(at + 4),
        retry: uint32(at + 8),
        expire: uint32(at + 12),
        minimum: uint32(at + 16),
      };
    }
    case recordTypes.MX:
      return { kind: "MX", preference: uint16(start), target: lastName(start + 2) };
    case recordTypes.TXT:
      return { kind: "TXT", strings: readStrings(bytes, start, end) };
    case recordTypes.SRV:
      return {
        kind: "SRV",
        priority: uint16(start),
        weight: uint16(start + 2),
        port: uint16(start + 4),
        target: lastName(start + 6),
      };
  }
  return { kind: "unknown", type, bytes: bytes.slice(start, end) };
}

/** Appends the data of a record (without its length). */
export function putRecordData(writer: MessageWriter, data: RecordData): void {
  switch (data.kind) {
    case "A":
    case "AAAA":
      putBytes(writer, addressBytes(data.address));
      return;
    case "NS":
    case "CNAME":
    case "PTR":
      putName(writer, data.target);
      return;
    case "SOA":
      putName(writer, data.primary);
      putName(writer, data.mailbox);
      for (const value of [data.serial, data.refresh, data.retry, data.expire, data.minimum]) putUint32(writer, value);
      return;
    case "MX":
      putUint16(writer, data.preference);
      putName(writer, data.target);
      return;
    case "TXT":
      for (const text of data.strings) putString(writer, text);
      return;
    case "SRV":
      putUint16(writer, data.priority);
      putUint16(writer, data.weight);
      putUint16(writer, data.port);
      // RFC 2782 "Target": name compression is not to be used for this field.
      putName(writer, data.target, "whole");
      return;
    case "unknown":
      putBytes(writer, data.bytes);
      return;
  }
}

// RFC 1035 3.3: a character string is a length byte and that many bytes. A TXT record has one or more.
function readStrings(bytes: Uint8Array, start: number, end: number): string[] {
  const strings: string[] = [];
  for (let at = start; at < end;) {
    const next = at + 1 + (bytes[at] ?? 0);
    if (next > end) throw new DnsFormatError("a TXT string reaches past its record", at);
    strings.push(String.fromCharCode(...bytes.subarray(at + 1, next)));
    at = next;
  }
  if (strings.length === 0) throw new DnsFormatError("a TXT record has no string", start);
  return strings;
}

function putString(writer: MessageWriter, text: string): void {
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  if (bytes.length > 255)
    throw new DnsFormatError(`a TXT string has ${bytes.length} bytes, 255 are the most`, writer.length);
  putBytes(writer, Uint8Array.of(bytes.length));
  putBytes(writer, bytes);
}

function quoted(text: string): string {
  const inner = Array.from(text, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x20 || code > 0x7e) return `\\${String(code).padStart(3, "0")}`;
    return character === '"' || character === "\\" ? `\\${character}` : character;
  });
  return `"${inner.join("")}"`;
}

function absolute(name: DnsName): string {
  return name === "." ? "." : `${name}.`;
}
