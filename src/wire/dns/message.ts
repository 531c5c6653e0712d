// DNS messages (RFC 1035 4) between bytes and values, EDNS (RFC 6891) included: the OPT pseudo-record is the message's field `edns`.
// `parseMessage(buildMessage(m))` equals m; any bytes give a value or a DnsFormatError.
//
// Not here: the server's fast way from a query's bytes to an answer's (query.ts, answer.ts), which builds no values.

import { DnsFormatError } from "./format-error.ts";
import { readName, type DnsName } from "./name.ts";
import {
  classIn,
  putRecordData,
  readRecordData,
  recordTypeName,
  recordTypeNumber,
  recordTypes,
  typeOfData,
  type DnsRecord,
  type RecordType,
} from "./record.ts";
import { createWriter, putBytes, putName, putSized, putUint16, putUint32, putUint8, writtenBytes } from "./writer.ts";
import type { MessageWriter } from "./writer.ts";

/** A DNS message. */
export interface DnsMessage {
  readonly id: number;
  readonly response: boolean;
  /** 0 is a standard query. */
  readonly opcode: number;
  readonly authoritative: boolean;
  readonly truncated: boolean;
  readonly recursionDesired: boolean;
  readonly recursionAvailable: boolean;
  readonly authenticData: boolean;
  readonly checkingDisabled: boolean;
  /** 12 bits: the high eight come from EDNS. */
  readonly rcode: number;
  readonly questions: readonly Question[];
  readonly answers: readonly DnsRecord[];
  readonly authority: readonly DnsRecord[];
  readonly additional: readonly DnsRecord[];
  readonly edns?: Edns;
}

export interface Question {
  readonly name: DnsName;
  readonly type: RecordType;
  readonly class: number;
}

/** RFC 6891 6.1: what the OPT record says. */
interface Edns {
  /** The largest UDP payload the sender can take. */
  readonly udpBytes: number;
  readonly version: number;
  readonly dnssecOk: boolean;
  readonly options: readonly { readonly code: number; readonly bytes: Uint8Array }[];
}

/** Response codes (RFC 1035 4.1.1, RFC 6891 9). */
export const rcodes = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

const rcodeNames = new Map<number, string>(Object.entries(rcodes).map(([name, number]) => [number, name]));

/** `NXDOMAIN`, or `RCODE9` where it has no name here. */
export function rcodeName(rcode: number): string {
  return rcodeNames.get(rcode) ?? `RCODE${rcode}`;
}

/** Bits of the header's second word (RFC 1035 4.1.1, RFC 4035 3.1.6). */
export const headerFlags = {
  response: 0x8000,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionDesired: 0x0100,
  recursionAvailable: 0x0080,
  authenticData: 0x0020,
  checkingDisabled: 0x0010,
} as const;

/** A query for one name, recursion desired. Throws DnsFormatError where the name is none. */
export function buildQuery(options: {
  readonly id: number;
  readonly name: DnsName;
  readonly type: RecordType;
  /** What the answer may have by UDP; without it no EDNS is sent and 512 bytes hold. */
  readonly udpBytes?: number;
}): Uint8Array {
  const { id, name, type, udpBytes } = options;
  return buildMessage({
    ...emptyMessage,
    id,
    recursionDesired: true,
    questions: [{ name, type, class: classIn }],
    ...(udpBytes === undefined ? {} : { edns: { udpBytes, version: 0, dnssecOk: false, options: [] } }),
  });
}

/** A message without anything, to be spread. */
export const emptyMessage: DnsMessage = {
  id: 0,
  response: false,
  opcode: 0,
  authoritative: false,
  truncated: false,
  recursionDesired: false,
  recursionAvailable: false,
  authenticData: false,
  checkingDisabled: false,
  rcode: rcodes.NOERROR,
  questions: [],
  answers: [],
  authority: [],
  additional: [],
};

/** The message in these bytes, which it must fill. Throws DnsFormatError. */
export function parseMessage(bytes: Uint8Array): DnsMessage {
  if (bytes.length < 12) throw new DnsFormatError(`a message has at least 12 bytes, this has ${bytes.length}`, 0);
  const flags = uint16At(bytes, 2);
  const cursor = { bytes, at: 12 };
  const questions = times(uint16At(bytes, 4), () => readQuestion(cursor));
  const [answerCount, authorityCount, additionalCount] = [uint16At(bytes, 6), uint16At(bytes, 8), uint16At(bytes, 10)];
  const found: { edns?: Edns; extendedRcode: number } = { extendedRcode: 0 };
  const answers = readRecords(cursor, answerCount, undefined);
  const authority = readRecords(cursor, authorityCount, undefined);
  const additional = readRecords(cursor, additionalCount, found);
  if (cursor.at !== bytes.length) throw new DnsFormatError("bytes follow the message", cursor.at);
  return {
    id: uint16At(bytes, 0),
    response: (flags & headerFlags.response) !== 0,
    opcode: (flags >>> 11) & 0xf,
    authoritative: (flags & headerFlags.authoritative) !== 0,
    truncated: (flags & headerFlags.truncated) !== 0,
    recursionDesired: (flags & headerFlags.recursionDesired) !== 0,
    recursionAvailable: (flags & headerFlags.recursionAvailable) !== 0,
    authenticData: (flags & headerFlags.authenticData) !== 0,
    checkingDisabled: (flags & headerFlags.checkingDisabled) !== 0,
    rcode: (found.extendedRcode << 4) | (flags & 0xf),
    questions,
    answers,
    authority,
    additional,
    ...(found.edns === undefined ? {} : { edns: found.edns }),
  };
}

/** The bytes of a message, names compressed. Throws DnsFormatError where a value does not fit, also an rcode over 15 without EDNS. */
export function buildMessage(message: DnsMessage): Uint8Array {
  if (message.rcode > 15 && message.edns === undefined)
    throw new DnsFormatError(`rcode ${message.rcode} needs EDNS`, 2);
  const writer = createWriter();
  putUint16(writer, message.id);
  putUint16(writer, flagsOf(message));
  putUint16(writer, message.questions.length);
  putUint16(writer, message.answers.length);
  putUint16(writer, message.authority.length);
  putUint16(writer, message.additional.length + (message.edns === undefined ? 0 : 1));
  for (const question of message.questions) putQuestion(writer, question);
  for (const record of message.answers) putRecord(writer, record);
  for (const record of message.authority) putRecord(writer, record);
  for (const record of message.additional) putRecord(writer, record);
  if (message.edns !== undefined) putEdns(writer, message.edns, message.rcode >>> 4);
  return writtenBytes(writer);
}

export function putQuestion(writer: MessageWriter, question: Question): void {
  const type = recordTypeNumber(question.type);
  if (type === undefined) throw new DnsFormatError(`no such record type: ${question.type}`, writer.length);
  putName(writer, question.name);
  putUint16(writer, type);
  putUint16(writer, question.class);
}

export function putRecord(writer: MessageWriter, record: DnsRecord): void {
  putName(writer, record.name);
  putUint16(writer, typeOfData(record.data));
  putUint16(writer, record.class);
  putUint32(writer, record.ttl);
  putSized(writer, () => putRecordData(writer, record.data));
}

function flagsOf(message: DnsMessage): number {
  return (
    (message.response ? headerFlags.response : 0) |
    ((message.opcode & 0xf) << 11) |
    (message.authoritative ? headerFlags.authoritative : 0) |
    (message.truncated ? headerFlags.truncated : 0) |
    (message.recursionDesired ? headerFlags.recursionDesired : 0) |
    (message.recursionAvailable ? headerFlags.recursionAvailable : 0) |
    (message.authenticData ? headerFlags.authenticData : 0) |
    (message.checkingDisabled ? headerFlags.checkingDisabled : 0) |
    (message.rcode & 0xf)
  );
}

// RFC 6891 6.1.2: root name, type 41, class = UDP size, TTL = extended rcode, version, DO bit.
function putEdns(writer: MessageWriter, edns: Edns, extendedRcode: number): void {
  putUint8(writer, 0);
  putUint16(writer, recordTypes.OPT);
  putUint16(writer, edns.udpBytes);
  putUint8(writer, extendedRcode);
  putUint8(writer, edns.version);
  putUint16(writer, edns.dnssecOk ? 0x8000 : 0);
  putSized(writer, () => {
    for (const option of edns.options) {
      putUint16(writer, option.code);
      putUint16(writer, option.bytes.length);
      putBytes(writer, option.bytes);
    }
  });
}

interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
}

function readQuestion(cursor: Cursor): Question {
  const { name, end } = readName(cursor.bytes, cursor.at);
  need(cursor.bytes, end, 4);
  cursor.at = end + 4;
  return { name, type: recordTypeName(uint16At(cursor.bytes, end)), class: uint16At(cursor.bytes, end + 2) };
}

// An OPT record goes to `found` where one is allowed (the additional section).
function readRecords(
  cursor: Cursor,
  count: number,
  found: { edns?: Edns; extendedRcode: number } | undefined,
): DnsRecord[] {
  const records: DnsRecord[] = [];
  for (let i = 0; i < count; i++) {
    const start = cursor.at;
    const { name, end } = readName(cursor.bytes, start);
    need(cursor.bytes, end, 10);
    const type = uint16At(cursor.bytes, end);
    const dataStart = end + 10;
    const dataEnd = dataStart + uint16At(cursor.bytes, end + 8);
    need(cursor.bytes, dataStart, dataEnd - dataStart);
    cursor.at = dataEnd;
    if (type === recordTypes.OPT) {
      // RFC 6891 6.1.1: one at most, at the root name, in the additional section.
      if (found === undefined || found.edns !== undefined || name !== ".")
        throw new DnsFormatError("an OPT record where none is allowed", start);
      found.extendedRcode = cursor.bytes[end + 4] ?? 0;
      found.edns = readEdns(cursor.bytes, end, dataStart, dataEnd);
      continue;
    }
    const ttl = uint16At(cursor.bytes, end + 4) * 0x10000 + uint16At(cursor.bytes, end + 6);
    const data = readRecordData(cursor.bytes, type, dataStart, dataEnd);
    records.push({ name, class: uint16At(cursor.bytes, end + 2), ttl, data });
  }
  return records;
}

function readEdns(bytes: Uint8Array, end: number, dataStart: number, dataEnd: number): Edns {
  const options: { code: number; bytes: Uint8Array }[] = [];
  for (let at = dataStart; at < dataEnd;) {
    if (at + 4 > dataEnd) throw new DnsFormatError("an EDNS option is cut off", at);
    const next = at + 4 + uint16At(bytes, at + 2);
    if (next > dataEnd) throw new DnsFormatError("an EDNS option reaches past its record", at);
    options.push({ code: uint16At(bytes, at), bytes: bytes.slice(at + 4, next) });
    at = next;
  }
  return {
    udpBytes: uint16At(bytes, end + 2),
    version: bytes[end + 5] ?? 0,
    dnssecOk: (uint16At(bytes, end + 6) & 0x8000) !== 0,
    options,
  };
}

function times<T>(count: number, make: () => T): T[] {
  const list: T[] = [];
  for (let i = 0; i < count; i++) list.push(make());
  return list;
}

function uint16At(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function need(bytes: Uint8Array, at: number, size: number): void {
  if (at + size > bytes.length) throw new DnsFormatError("a record reaches past the end", at);
}
