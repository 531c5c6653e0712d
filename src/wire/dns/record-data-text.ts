// The data of a record from the words of a zone file (RFC 1035 5, and the RFC of each type). Types that have no value of their own here
// become their bytes; any type may be written as bytes (`\# 4 0a000001`, RFC 3597 5).
//
// Not here: owners, TTLs, whole files (zone-file.ts); the other way is `formatRecordData` in record.ts.

import { addressBytes, familyOf, parseAddress } from "../../ip/address.ts";
import { nameLabels, type DnsName } from "./name.ts";
import { readRecordData, recordTypeNumber, recordTypes, type RecordData } from "./record.ts";
import { svcbFields } from "./svcb-text.ts";
import { ZoneTextError, type Word } from "./zone-lines.ts";

/** Where the words of a record's data stand, and how its names are read. */
export interface DataPlace {
  readonly line: number;
  /** The whole name that a word means. Throws where it is none. */
  readonly nameOf: (word: string) => DnsName;
}

/** The data of a record of this type. Throws ZoneTextError, which says what of it is wrong. */
export function readDataText(type: string, words: readonly Word[], place: DataPlace): RecordData {
  const number = recordTypeNumber(type);
  if (number === undefined) throw new ZoneTextError(`unknown record type "${type}"`, place.line);
  // RFC 6895 3.1: types of questions, and what only messages have.
  if (number === 0 || number === recordTypes.OPT || (number >= 128 && number <= recordTypes.ANY))
    throw new ZoneTextError(`${type} is no type of data`, place.line);
  const reader = readerOf(type, words, place);
  const [first] = words;
  if (first?.text === "\\#" && !first.quoted) return genericData(number, reader);
  const data = dataOf(type, number, reader);
  reader.end();
  return data;
}

function dataOf(type: string, number: number, reader: Reader): RecordData {
  switch (type) {
    case "A":
    case "AAAA":
      return { kind: type, address: addressWord(reader, type === "A" ? 4 : 6) };
    case "NS":
    case "CNAME":
    case "PTR":
      return { kind: type, target: reader.name() };
    case "MX":
      return { kind: "MX", preference: reader.number(0xffff), target: reader.name() };
    case "TXT":
      return { kind: "TXT", strings: strings(reader).map((bytes) => String.fromCharCode(...bytes)) };
    case "SRV": {
      const [priority, weight, port] = [reader.number(0xffff), reader.number(0xffff), reader.number(0xffff)];
      return { kind: "SRV", priority, weight, port, target: reader.name() };
    }
    case "SOA": {
      const [primary, mailbox] = [reader.name(), reader.name()];
      const serial = reader.number(0xffff_ffff);
      const [refresh, retry, expire, minimum] = [reader.time(), reader.time(), reader.time(), reader.time()];
      return { kind: "SOA", primary, mailbox, serial, refresh, retry, expire, minimum };
    }
    case "SVCB":
    case "HTTPS":
      return { kind: "unknown", type: number, bytes: svcbBytes(reader) };
  }
  const layout = layouts[type];
  if (layout === undefined) throw reader.wrong("a type that can be written only as bytes here: \\# LENGTH HEX");
  return {
    kind: "unknown",
    type: number,
    bytes: Uint8Array.from(layout.flatMap((field) => [...fields[field](reader)])),
  };
}

/** What the data of a type consists of, in order. */
const layouts: Readonly<Record<string, readonly (keyof typeof fields)[]>> = {
  // RFC 1035 3.3.2
  HINFO: ["string", "string"],
  // RFC 1183
  RP: ["name", "name"],
  AFSDB: ["uint16", "name"],
  // RFC 3403 4.1
  NAPTR: ["uint16", "uint16", "string", "string", "string", "name"],
  // RFC 6672 2.1
  DNAME: ["name"],
  // RFC 4034
  DS: ["uint16", "algorithm", "uint8", "hex"],
  RRSIG: ["type", "algorithm", "uint8", "uint32", "moment", "moment", "uint16", "name", "base64"],
  NSEC: ["name", "types"],
  DNSKEY: ["uint16", "uint8", "algorithm", "base64"],
  // RFC 7344
  CDS: ["uint16", "algorithm", "uint8", "hex"],
  CDNSKEY: ["uint16", "uint8", "algorithm", "base64"],
  // RFC 4255
  SSHFP: ["uint8", "uint8", "hex"],
  // RFC 6698, RFC 8162
  TLSA: ["uint8", "uint8", "uint8", "hex"],
  SMIMEA: ["uint8", "uint8", "uint8", "hex"],
  // RFC 7929
  OPENPGPKEY: ["base64"],
  // RFC 7208 3.1
  SPF: ["strings"],
  // RFC 7553
  URI: ["uint16", "uint16", "text"],
  // RFC 8659 4.1
  CAA: ["uint8", "string", "text"],
};

const fields = {
  uint8: (reader: Reader) => [reader.number(0xff)],
  uint16: (reader: Reader) => uint16(reader.number(0xffff)),
  uint32: (reader: Reader) => uint32(reader.time()),
  name: (reader: Reader) => nameBytes(reader.name()),
  string: (reader: Reader) => {
    const bytes = bytesOf(reader.word());
    if (bytes.length > 255) throw reader.wrong(`a string of ${bytes.length} bytes, 255 are the most`);
    return [bytes.length, ...bytes];
  },
  strings: (reader: Reader) => strings(reader).flatMap((bytes) => [bytes.length, ...bytes]),
  /** The rest of the record, without a length. */
  text: (reader: Reader) => bytesOf(reader.word()),
  type: (reader: Reader) => uint16(typeWord(reader, reader.word().text)),
  types: (reader: Reader) => typeBitmap(reader.rest().map(({ text }) => typeWord(reader, text))),
  hex: (reader: Reader) => hexBytes(reader, joined(reader)),
  base64: (reader: Reader) => base64Bytes(reader, joined(reader)),
  algorithm: (reader: Reader) => {
    const named = algorithms[reader.peek()?.text.toUpperCase() ?? ""];
    if (named !== undefined) reader.word();
    return [named ?? reader.number(0xff)];
  },
  moment: (reader: Reader) => {
    const { text } = reader.word();
    return uint32(momentOf(text) ?? fail(reader.wrong(`"${text}" is no time, such as 20300101000000`)));
  },
} satisfies Readonly<Record<string, (reader: Reader) => readonly number[] | Uint8Array>>;

/** IANA "DNS Security Algorithm Numbers". */
const algorithms: Readonly<Record<string, number>> = {
  DSA: 3,
  RSASHA1: 5,
  "RSASHA1-NSEC3-SHA1": 7,
  RSASHA256: 8,
  RSASHA512: 10,
  ECDSAP256SHA256: 13,
  ECDSAP384SHA384: 14,
  ED25519: 15,
  ED448: 16,
};

/** Takes words one by one. */
interface Reader {
  peek(): Word | undefined;
  word(): Word;
  rest(): readonly Word[];
  number(max: number): number;
  /** Seconds: `3600`, `1h30m`. */
  time(): number;
  name(): DnsName;
  wrong(what: string): ZoneTextError;
  end(): void;
}

function readerOf(type: string, words: readonly Word[], { line, nameOf }: DataPlace): Reader {
  let at = 0;
  const wrong = (what: string): ZoneTextError => new ZoneTextError(`${type} record: ${what}`, line);
  const word = (): Word => words[at++] ?? fail(wrong("its data ends too early"));
  return {
    peek: () => words[at],
    word,
    rest: () => words.slice(at, (at = words.length)),
    number(max) {
      const { text } = word();
      const value = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
      return value <= max ? value : fail(wrong(`"${text}" is no number from 0 to ${max}`));
    },
    time() {
      const { text } = word();
      return secondsOf(text) ?? fail(wrong(`"${text}" is no number of seconds, such as 3600 or 1h`));
    },
    name() {
      const { text } = word();
      try {
        return nameOf(text);
      } catch (error) {
        throw wrong(error instanceof Error ? error.message : String(error));
      }
    },
    wrong,
    end() {
      const extra = words[at];
      if (extra !== undefined) throw wrong(`what is "${extra.text}"?`);
    },
  };
}

/** Seconds as zone files write them: `3600`, or with units `1w2d3h4m5s`. Undefined where it is none that 32 bits can hold. */
export function secondsOf(text: string): number | undefined {
  if (!/^(\d{1,10}[smhdw])*(\d{1,10})?$/i.test(text) || text === "") return undefined;
  let seconds = 0;
  for (const [, number, unit = "s"] of text.matchAll(/(\d+)([smhdw])?/gi))
    seconds += Number(number) * (unitSeconds[unit.toLowerCase()] ?? 1);
  return seconds <= 0xffff_ffff ? seconds : undefined;
}

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** The bytes of a word: `\DDD` is a byte, `\X` the character itself, all else UTF-8. Throws where a `\DDD` is none. */
function bytesOf({ text }: Word): Uint8Array {
  if (!text.includes("\\")) return encoder.encode(text);
  const bytes: number[] = [];
  for (const [part, decimal, escaped] of text.matchAll(/\\(\d{3})|\\([^])|[^\\]+|\\$/gu)) {
    // More than a byte can hold is as CoreDNS reads it: what is left of it in eight bits.
    if (decimal !== undefined) bytes.push(Number(decimal) & 0xff);
    else bytes.push(...encoder.encode(escaped ?? part));
  }
  return Uint8Array.from(bytes);
}

const encoder = new TextEncoder();

/** As CoreDNS: what is longer than a string may be goes on in the next. */
function strings(reader: Reader): Uint8Array[] {
  const all = reader.rest().flatMap((word) => {
    const bytes = bytesOf(word);
    const parts = [bytes.subarray(0, 255)];
    for (let from = 255; from < bytes.length; from += 255) parts.push(bytes.subarray(from, from + 255));
    return parts;
  });
  return all.length > 0 ? all : fail(reader.wrong("it has no text"));
}

function addressWord(reader: Reader, family: 4 | 6): string {
  const { text } = reader.word();
  const address = parseAddress(text);
  if (address === undefined || familyOf(address) !== family) throw reader.wrong(`"${text}" is no IPv${family} address`);
  return address;
}

function genericData(type: number, reader: Reader): RecordData {
  reader.word();
  const length = reader.number(0xffff);
  const bytes = hexBytes(reader, joined(reader));
  if (bytes.length !== length) throw reader.wrong(`\\# announces ${length} bytes and has ${bytes.length}`);
  try {
    return readRecordData(bytes, type, 0, bytes.length);
  } catch (error) {
    throw reader.wrong(error instanceof Error ? error.message : String(error));
  }
}

function typeWord(reader: Reader, text: string): number {
  return recordTypeNumber(text) ?? fail(reader.wrong(`"${text}" is no record type`));
}

/** RFC 4034 4.1.2: windows of 256 types, each as many bytes as it needs. */
function typeBitmap(types: readonly number[]): number[] {
  const windows = new Map<number, number[]>();
  for (const type of types.toSorted((a, b) => a - b)) {
    const bits = windows.get(type >>> 8) ?? [];
    windows.set(type >>> 8, bits);
    const at = (type & 0xff) >>> 3;
    while (bits.length <= at) bits.push(0);
    bits[at] = (bits[at] ?? 0) | (0x80 >>> (type & 7));
  }
  return [...windows].flatMap(([window, bits]) => [window, bits.length, ...bits]);
}

/** RFC 4034 3.2: `YYYYMMDDHHmmSS`, or seconds since 1970. */
function momentOf(text: string): number | undefined {
  const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)$/.exec(text)?.slice(1).map(Number);
  if (parts === undefined) return /^\d{1,10}$/.test(text) ? Number(text) % 2 ** 32 : undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts;
  const seconds = Date.UTC(year, month - 1, day, hour, minute, second) / 1000;
  return seconds % 2 ** 32;
}

// RFC 9460 2.1: priority, target, parameters.
function svcbBytes(reader: Reader): Uint8Array {
  const [priority, target] = [reader.number(0xffff), reader.name()];
  const parameters = svcbFields(reader.rest(), {
    bytesOf,
    base64: (text) => base64Bytes(reader, text),
    address: (text, family) => {
      const address = parseAddress(text);
      if (address === undefined || familyOf(address) !== family)
        throw reader.wrong(`"${text}" is no IPv${family} address`);
      return addressBytes(address);
    },
    wrong: reader.wrong,
  });
  return Uint8Array.from([...uint16(priority), ...nameBytes(target), ...parameters]);
}

function joined(reader: Reader): string {
  return reader
    .rest()
    .map(({ text }) => text)
    .join("");
}

function hexBytes(reader: Reader, text: string): Uint8Array {
  if (!/^([0-9a-f]{2})*$/i.test(text)) throw reader.wrong(`"${text}" is not hexadecimal`);
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function base64Bytes(reader: Reader, text: string): Uint8Array {
  if (!/^[a-z0-9+/]*={0,2}$/i.test(text) || text.length % 4 !== 0) throw reader.wrong(`"${text}" is not base64`);
  const bytes: number[] = [];
  let bits = 0;
  let held = 0;
  for (const character of text.replace(/=+$/, "")) {
    bits = ((bits << 6) | alphabet.indexOf(character)) & 0xffff;
    held += 6;
    if (held >= 8) bytes.push((bits >>> (held -= 8)) & 0xff);
  }
  return Uint8Array.from(bytes);
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** A name without compression (RFC 3597 4: types of later RFCs have none). */
function nameBytes(name: DnsName): number[] {
  return [...nameLabels(name).flatMap((label) => [label.length, ...label]), 0];
}

function uint16(value: number): number[] {
  return [value >>> 8, value & 0xff];
}

function uint32(value: number): number[] {
  return [...uint16(value >>> 16), ...uint16(value & 0xffff)];
}

function fail(error: Error): never {
  throw error;
}
