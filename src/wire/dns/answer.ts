// Finished answers: everything of a response that does not depend on who asked, as bytes made once.
// Sending one is copying: the id and the question (its case kept) from the query, the finished rest behind it, an OPT record where EDNS was used.
// It works because compression pointers count from the message's start and a name's case does not change its length.
//
// Not here: what the answer is (program/zone-answer.ts, serve/dns/cache.ts).

import { DnsFormatError } from "./format-error.ts";
import { headerFlags, putQuestion, putRecord, rcodes } from "./message.ts";
import { skipName, type DnsName } from "./name.ts";
import type { Query } from "./query.ts";
import { classIn, recordTypeName, recordTypes, type DnsRecord } from "./record.ts";
import { createWriter, type MessageWriter } from "./writer.ts";

/** The part of a response that stays the same whoever asks. */
export interface FinishedAnswer {
  /** Bits of the header's second word besides what the query decides: AA, AD, rcode. */
  readonly flags: number;
  readonly counts: SectionCounts;
  /** Everything behind the question. */
  readonly bytes: Uint8Array;
  /** Where each record ends in `bytes`, in order of the sections. */
  readonly ends: readonly number[];
  /** Neighbouring address records of one name: they are sent in turns, so that clients spread. */
  readonly rotation?: { readonly start: number; readonly recordBytes: number; readonly count: number };
}

interface SectionCounts {
  readonly answers: number;
  readonly authority: number;
  readonly additional: number;
}

/** Makes an answer for the question name and type. Throws DnsFormatError where a record cannot be written. */
export function finishAnswer(answer: {
  readonly name: DnsName;
  readonly type: number;
  readonly rcode: number;
  readonly authoritative: boolean;
  readonly answers: readonly DnsRecord[];
  readonly authority?: readonly DnsRecord[];
  readonly additional?: readonly DnsRecord[];
}): FinishedAnswer {
  const { answers, authority = [], additional = [] } = answer;
  const writer = scratch;
  writer.names.clear();
  // The header's place: pointers count from the message's start.
  writer.length = 12;
  putQuestion(writer, { name: answer.name, type: recordTypeName(answer.type), class: classIn });
  const start = writer.length;
  const ends = [...answers, ...authority, ...additional].map((record) => {
    putRecord(writer, record);
    return writer.length - start;
  });
  const rotation = rotationOf(answers, ends);
  return {
    flags: (answer.authoritative ? headerFlags.authoritative : 0) | answer.rcode,
    counts: { answers: answers.length, authority: authority.length, additional: additional.length },
    bytes: bytesFrom(writer, start),
    ends,
    ...(rotation === undefined ? {} : { rotation }),
  };
}

// One for all: what is kept of it is a copy.
const scratch = createWriter();

/** How a response is to be sent. */
export interface SendOptions {
  /** The most bytes the response may have: by UDP what client and we can take, by TCP 65535. */
  readonly limit: number;
  /** Which address comes first, any number. */
  readonly turn: number;
  /** Seconds to take off every TTL (answers from a cache). */
  readonly age?: number;
}

/** What we tell EDNS clients we can take (DNS Flag Day 2020: no fragments on any usual path). */
export const ednsUdpBytes = 1232;

/** The most bytes a UDP response to this query may have. */
export function udpLimit(query: Query): number {
  // RFC 6891 6.2.3: values under 512 count as 512.
  return query.edns === undefined ? 512 : Math.min(Math.max(query.edns.udpBytes, 512), ednsUdpBytes);
}

/**
 * Writes the response to `query` (its bytes in `asked`) at the start of `out`; gives its length.
 * What does not fit is left out record by record: additional records silently (RFC 2181 9), others with TC set, and the client asks by TCP.
 */
export function writeAnswer(
  out: Uint8Array,
  asked: Uint8Array,
  query: Query,
  answer: FinishedAnswer,
  options: SendOptions,
): number {
  const head = query.questionEnd;
  const room = Math.min(options.limit, out.length) - head - (query.edns === undefined ? 0 : optBytes);
  let { bytes, counts } = answer;
  let size = bytes.length;
  let truncated = 0;
  if (size > room) {
    const kept = keptRecords(answer, room);
    size = kept.size;
    counts = kept.counts;
    truncated = kept.truncated ? headerFlags.truncated : 0;
  }
  out.set(asked.subarray(0, head));
  setUint16(out, 2, responseFlags(query.flags) | answer.flags | truncated);
  setUint16(out, 6, counts.answers);
  setUint16(out, 8, counts.authority);
  setUint16(out, 10, counts.additional + (query.edns === undefined ? 0 : 1));
  copyRecords(out, head, bytes, size, answer.rotation, options.turn);
  const { age = 0 } = options;
  if (age > 0) changeTtls(out, head, counts, (ttl) => Math.max(ttl - age, 0));
  return query.edns === undefined ? head + size : writeOpt(out, head + size, query.edns.dnssecOk, 0);
}

/** Writes a response without records: the query's question and an rcode. Gives its length. */
export function writeRcode(out: Uint8Array, asked: Uint8Array, query: Query, rcode: number): number {
  const head = query.questionEnd;
  out.set(asked.subarray(0, head));
  setUint16(out, 2, responseFlags(query.flags) | (rcode & 0xf));
  setUint16(out, 6, 0);
  setUint16(out, 8, 0);
  setUint16(out, 10, query.edns === undefined ? 0 : 1);
  return query.edns === undefined ? head : writeOpt(out, head, query.edns.dnssecOk, rcode >>> 4);
}

/** Writes the twelve bytes that answer what is no proper query. Gives their number. */
export function writeRefusal(out: Uint8Array, refusal: { id: number; flags: number; rcode: number }): number {
  out.fill(0, 0, 12);
  setUint16(out, 0, refusal.id);
  // The opcode comes back (RFC 1035 4.1.1).
  setUint16(out, 2, headerFlags.response | (refusal.flags & (0x7800 | headerFlags.recursionDesired)) | refusal.rcode);
  return 12;
}

/**
 * A finished answer from a whole response (an upstream's): its OPT record left out, everything else kept.
 * Also how long it may be kept, in seconds: the smallest TTL, for negative answers the SOA's (RFC 2308 5), undefined where it may not be.
 * Throws DnsFormatError.
 */
export function finishResponse(response: Uint8Array): {
  readonly answer: FinishedAnswer;
  readonly seconds: number | undefined;
} {
  const start = skipName(response, 12) + 4;
  const sections = [uint16At(response, 6), uint16At(response, 8), uint16At(response, 10)] as const;
  const counts = [0, 0, 0];
  const ends: number[] = [];
  let seconds: number | undefined;
  let soaSeconds: number | undefined;
  let extendedRcode = 0;
  let at = start;
  let optAt = -1;
  for (const [section, count] of sections.entries()) {
    for (let i = 0; i < count; i++) {
      const fixed = skipName(response, at);
      const end = fixed + 10 + uint16At(response, fixed + 8);
      if (fixed + 10 > response.length || end > response.length)
        throw new DnsFormatError("a record reaches past the end", at);
      // Pointers behind it would lead to the wrong place without it; only TSIG and SIG(0) follow it in practice.
      if (optAt >= 0) throw new DnsFormatError("a record follows the OPT record", at);
      const type = uint16At(response, fixed);
      if (type === recordTypes.OPT) {
        optAt = at;
        extendedRcode = response[fixed + 4] ?? 0;
      } else {
        const ttl = uint32At(response, fixed + 4);
        seconds = Math.min(seconds ?? ttl, ttl);
        if (section === 1 && type === recordTypes.SOA) soaSeconds = Math.min(ttl, uint32At(response, end - 4));
        counts[section] = (counts[section] ?? 0) + 1;
        ends.push(end - start);
      }
      at = end;
    }
  }
  if (at !== response.length) throw new DnsFormatError("bytes follow the message", at);
  const flags = uint16At(response, 2);
  const rcode = flags & 0xf;
  const cacheable =
    extendedRcode === 0 &&
    (flags & headerFlags.truncated) === 0 &&
    (rcode === rcodes.NOERROR || rcode === rcodes.NXDOMAIN);
  const [answers = 0, authority = 0, additional = 0] = counts;
  const bytes = response.slice(start, optAt >= 0 ? optAt : at);
  const rotation = rotationOfBytes(bytes, ends.slice(0, answers));
  const negative = rcode === rcodes.NXDOMAIN || answers === 0;
  return {
    answer: {
      flags: flags & (headerFlags.authenticData | 0xf),
      counts: { answers, authority, additional },
      bytes,
      ends,
      ...(rotation === undefined ? {} : { rotation }),
    },
    seconds: cacheable ? (negative ? soaSeconds : seconds) : undefined,
  };
}

/** The same with no TTL below `min` or above `max` seconds; what may be kept for so long is told to clients so too. */
export function boundTtls(
  answer: FinishedAnswer,
  { min, max }: { readonly min: number; readonly max: number },
): FinishedAnswer {
  const bytes = answer.bytes.slice();
  changeTtls(bytes, 0, answer.counts, (ttl) => Math.min(Math.max(ttl, min), max));
  return { ...answer, bytes };
}

const optBytes = 11;

function responseFlags(queryFlags: number): number {
  return (
    headerFlags.response |
    headerFlags.recursionAvailable |
    (queryFlags & (headerFlags.recursionDesired | headerFlags.checkingDisabled))
  );
}

function rotationOf(answers: readonly DnsRecord[], ends: readonly number[]): FinishedAnswer["rotation"] {
  const first = answers.findIndex((record) => record.data.kind === "A" || record.data.kind === "AAAA");
  const count = first < 0 ? 0 : answers.length - first;
  if (count < 2) return undefined;
  const start = first === 0 ? 0 : (ends[first - 1] ?? 0);
  const recordBytes = (ends[first] ?? 0) - start;
  // Only where they are all alike: same name (a pointer of the same size), same type.
  for (let i = first; i < answers.length; i++) {
    const sameSize = (ends[i] ?? 0) === start + (i - first + 1) * recordBytes;
    if (!sameSize || answers[i]?.data.kind !== answers[first]?.data.kind || answers[i]?.name !== answers[first]?.name)
      return undefined;
  }
  return { start, recordBytes, count };
}

/** The same for records as bytes: the addresses that end the answers, all with the same name's bytes. */
function rotationOfBytes(bytes: Uint8Array, ends: readonly number[]): FinishedAnswer["rotation"] {
  const startOf = (index: number): number => (index === 0 ? 0 : (ends[index - 1] ?? 0));
  const headOf = (index: number): string => bytes.subarray(startOf(index), skipName(bytes, startOf(index)) + 2).join();
  const last = ends.length - 1;
  const recordBytes = (ends[last] ?? 0) - startOf(last);
  const type = last < 1 ? 0 : uint16At(bytes, skipName(bytes, startOf(last)));
  if (type !== recordTypes.A && type !== recordTypes.AAAA) return undefined;
  const head = headOf(last);
  let first = last;
  while (first > 0 && (ends[first - 1] ?? 0) - startOf(first - 1) === recordBytes && headOf(first - 1) === head)
    first--;
  return first === last ? undefined : { start: startOf(first), recordBytes, count: last - first + 1 };
}

function copyRecords(
  out: Uint8Array,
  head: number,
  bytes: Uint8Array,
  size: number,
  rotation: FinishedAnswer["rotation"],
  turn: number,
): void {
  const shift = rotation === undefined ? 0 : (turn % rotation.count) * rotation.recordBytes;
  if (rotation === undefined || shift === 0) {
    out.set(size === bytes.length ? bytes : bytes.subarray(0, size), head);
    return;
  }
  const { start } = rotation;
  const length = rotation.count * rotation.recordBytes;
  out.set(bytes.subarray(0, start), head);
  // What was left out by size is left out of the rotated list, so that every address gets its turn.
  const listEnd = Math.min(size, start + length);
  const firstPart = Math.min(length - shift, listEnd - start);
  out.set(bytes.subarray(start + shift, start + shift + firstPart), head + start);
  out.set(bytes.subarray(start, listEnd - firstPart), head + start + firstPart);
  out.set(bytes.subarray(listEnd, size), head + listEnd);
}

function keptRecords(
  answer: FinishedAnswer,
  room: number,
): { readonly size: number; readonly counts: SectionCounts; readonly truncated: boolean } {
  const { ends, counts } = answer;
  let kept = 0;
  while (kept < ends.length && (ends[kept] ?? 0) <= room) kept++;
  const needed = counts.answers + counts.authority;
  return {
    size: kept === 0 ? 0 : (ends[kept - 1] ?? 0),
    counts: {
      answers: Math.min(kept, counts.answers),
      authority: Math.min(Math.max(kept - counts.answers, 0), counts.authority),
      additional: Math.max(kept - needed, 0),
    },
    truncated: kept < needed,
  };
}

function changeTtls(out: Uint8Array, head: number, counts: SectionCounts, change: (ttl: number) => number): void {
  let at = head;
  for (let i = counts.answers + counts.authority + counts.additional; i > 0; i--) {
    const fixed = skipName(out, at);
    const ttl = change(uint32At(out, fixed + 4));
    setUint16(out, fixed + 4, ttl >>> 16);
    setUint16(out, fixed + 6, ttl & 0xffff);
    at = fixed + 10 + uint16At(out, fixed + 8);
  }
}

// RFC 6891 6.1.2: root, type, UDP size, extended rcode, version 0, flags with the DO bit given back (RFC 3225 3), no data.
function writeOpt(out: Uint8Array, at: number, dnssecOk: boolean, extendedRcode: number): number {
  out[at] = 0;
  setUint16(out, at + 1, recordTypes.OPT);
  setUint16(out, at + 3, ednsUdpBytes);
  setUint16(out, at + 5, extendedRcode << 8);
  setUint16(out, at + 7, dnssecOk ? 0x8000 : 0);
  setUint16(out, at + 9, 0);
  return at + optBytes;
}

function bytesFrom(writer: MessageWriter, start: number): Uint8Array {
  return writer.bytes.slice(start, writer.length);
}

function uint16At(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function uint32At(bytes: Uint8Array, at: number): number {
  return uint16At(bytes, at) * 0x10000 + uint16At(bytes, at + 2);
}

function setUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}
