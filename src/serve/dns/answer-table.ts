// Finished answers where a question's own bytes find them: no text is made, nothing is allocated, no answer is looked for twice.
// A table is one block of memory, so threads can share it: one writes, any number read. Data is only ever appended, and an entry is seen
// when all of it is there; where everything is thrown away a reader that was in the middle of an answer finds out and starts over elsewhere.
//
// An answer may have an end (an upstream's): then its TTLs are told less by the seconds since it came, and behind the end it is not here.
// An entry has an owner: a number that stands for the Service its answer is made of. `forget(owner)` takes away what one change concerns.
// What is not here, odd or too large for its client is for the responder: a table says "not here" to every question it does not understand.
//
// Not here: what an answer is (block.ts), which changed (answers.ts).

import { ednsUdpBytes, type FinishedAnswer } from "../../wire/dns/answer.ts";
import { recordTypes } from "../../wire/dns/record.ts";

/** A table's memory, its owners beside it: both zero at first. Pages that nothing was written to cost nothing. */
export interface TableMemory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
  /** A power of two. */
  readonly slots: number;
  /**
   * `ours`: answers hold for every client until they are forgotten. `others`: they have an end, and depend on what the query says with DO, AD
   * and CD.
   */
  readonly kind: "ours" | "others";
}

export function createTableMemory(size: {
  readonly slots: number;
  readonly bytes: number;
  readonly shared: boolean;
  readonly kind: TableMemory["kind"];
}): TableMemory {
  const { slots, bytes, shared, kind } = size;
  const length = headerWords * 4 + slots * 8 + bytes;
  return { buffer: shared ? new SharedArrayBuffer(length) : new ArrayBuffer(length), slots, kind };
}

export interface AnswerTable {
  /** Keeps an answer to the question whose bytes are `asked[12 … questionEnd)`. */
  keep(asked: Uint8Array, questionEnd: number, answer: FinishedAnswer, as: KeepAs): void;
  /** Takes away the answers of these owners. */
  forget(owners: ReadonlySet<number>): void;
  clear(): void;
}

export interface KeepAs {
  readonly owner: number;
  /** Its addresses are sent in turns. */
  readonly turns: boolean;
  /** Is the name of the cluster's domain? */
  readonly isCluster: boolean;
  /** The format of its line in the query log (query-log.ts); 0: none. */
  readonly logFormat: number;
  /** Of an answer of others, in milliseconds of the server's clock. */
  readonly times?: AnswerTimes;
}

/** When an answer came, and until when it holds. */
export interface AnswerTimes {
  readonly storedMs: number;
  readonly expiresMs: number;
}

export interface AnswerReader {
  /**
   * Answers a query, `bytes[at … at + length)`, into the same bytes from `room` on, where there are as many as `limit`; gives the response's
   * length, or 0 where it is not here. `limit` 0: as many as UDP and the query allow. `now`: by the server's clock.
   */
  read(bytes: Uint8Array, at: number, length: number, room: number, limit: number, now: number): number;
  /** Of the last response: its type, its rcode, whether its name is of the cluster's domain, its line in the query log, and whether it is of others. */
  type: number;
  rcode: number;
  isCluster: boolean;
  logFormat: number;
  isOthers: boolean;
}

// Words: the epoch, where the next entry goes; then the slots (an entry's word, 0 empty, -1 gone), their owners, the entries.
const epochWord = 0;
const nextWord = 1;
const headerWords = 4;
/** A longer way to an entry is not gone: nobody can make all questions slow by choosing names. */
const probesMax = 16;
/** Owners whose slots stand in one row are as many as answers by this; a power of two. */
const ownerRows = 1 << 12;
/** A larger answer is rare, and not worth its room. */
const answerBytesMax = 4096;

// An entry's words; its name in lower case and the answer follow, each from a word's start.
const entryHash = 0;
/** Bytes of the name, what the query said (`variantOf`), and the type above. */
const entryKey = 1;
/** Bits of the header besides what the query decides, and the answers above. In the place of QR, which all have: a name of the cluster. */
const entryFlags = 2;
const clusterFlag = 0x8000;
/** Authority, and additional above. */
const entryCounts = 3;
/** Bytes of the answer, and how many records take turns above. */
const entrySize = 4;
/** Where those start, and the bytes of each above. */
const entryTurns = 5;
const entryLogFormat = 6;
/** Of others' answers: when it came, in 2 ** 31 ms and what is left, and for how many milliseconds it holds. */
const entryStored = 7;
const entryLife = 9;
const entryWords = 10;
const storedUnit = 2 ** 31;

interface Views {
  /** With other threads: then reading a word in order is a call of its own. */
  readonly isShared: boolean;
  readonly kind: TableMemory["kind"];
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  readonly mask: number;
  readonly slotsAt: number;
  readonly ownersAt: number;
  readonly entriesAt: number;
}

function viewsOf({ buffer, slots, kind }: TableMemory): Views {
  return {
    isShared: buffer instanceof SharedArrayBuffer,
    kind,
    words: new Int32Array(buffer),
    bytes: new Uint8Array(buffer),
    mask: slots - 1,
    slotsAt: headerWords,
    ownersAt: headerWords + slots,
    entriesAt: headerWords + slots * 2,
  };
}

/** The table's one writer. */
export function createAnswerTable(memory: TableMemory): AnswerTable {
  const { kind, words, bytes, mask, slotsAt, ownersAt, entriesAt } = viewsOf(memory);
  let taken = 0;
  words[nextWord] = entriesAt;
  // The slots of each owner, one behind the other, a number above their own; 0 ends. A slot that is free is in no such row.
  const firstOf = new Int32Array(ownerRows);
  const behind = new Int32Array(mask + 1);
  const rowOf = (owner: number): number => owner & (ownerRows - 1);

  const clear = (): void => {
    if (words[nextWord] === entriesAt) return;
    // Readers look at the epoch before and behind: whoever began before this has nothing.
    Atomics.add(words, epochWord, 1);
    words.fill(0, slotsAt, entriesAt);
    words[nextWord] = entriesAt;
    firstOf.fill(0);
    taken = 0;
    Atomics.add(words, epochWord, 1);
  };
  return {
    keep(asked, questionEnd, answer, { owner, turns, isCluster, logFormat, times }) {
      const nameBytes = questionEnd - 4 - 12;
      const size = answer.bytes.length;
      if (size > answerBytesMax) return;
      // Of what stands behind the question only one record is looked at.
      if (kind === "others" && (asked[10] !== 0 || (asked[11] ?? 0) > 1)) return;
      const needed = entryWords + wordsFor(nameBytes) + wordsFor(size);
      if ((words[nextWord] ?? 0) + needed > words.length || taken > mask * 0.7) clear();
      const type = ((asked[questionEnd - 4] ?? 0) << 8) | (asked[questionEnd - 3] ?? 0);
      const hash = hashOf(asked, 12, nameBytes, type);
      const key = nameBytes | (kind === "others" ? variantOf(asked, 0, questionEnd) : 0) | (type << 16);
      let free = -1;
      for (let probe = 0, slot = hash & mask; probe < probesMax; probe++, slot = (slot + 1) & mask) {
        const there = words[slotsAt + slot] ?? 0;
        if (there <= 0 && free < 0) free = slot;
        if (there === 0) break;
        if (there <= 0 || words[there + entryHash] !== hash || words[there + entryKey] !== key) continue;
        // Here already, and too large for this client.
        if (kind === "ours") return;
        // Here already, and over, or told anew.
        free = slot;
        break;
      }
      if (free < 0) return;
      const entry = words[nextWord] ?? 0;
      const { rotation } = answer;
      words[entry + entryHash] = hash;
      words[entry + entryKey] = key;
      words[entry + entryFlags] = answer.flags | (isCluster ? clusterFlag : 0) | (answer.counts.answers << 16);
      words[entry + entryCounts] = answer.counts.authority | (answer.counts.additional << 16);
      words[entry + entrySize] = size | ((turns ? (rotation?.count ?? 0) : 0) << 16);
      words[entry + entryTurns] = (rotation?.start ?? 0) | ((rotation?.recordBytes ?? 0) << 16);
      words[entry + entryLogFormat] = logFormat;
      if (times !== undefined) {
        const stored = Math.floor(times.storedMs);
        words[entry + entryStored] = Math.floor(stored / storedUnit);
        words[entry + entryStored + 1] = stored % storedUnit;
        words[entry + entryLife] = Math.min(times.expiresMs - times.storedMs, storedUnit - 1);
      }
      const name = (entry + entryWords) * 4;
      for (let i = 0; i < nameBytes; i++) bytes[name + i] = lower[asked[12 + i] ?? 0] ?? 0;
      bytes.set(answer.bytes, name + wordsFor(nameBytes) * 4);
      words[nextWord] = entry + needed;
      // What has an end is nobody's.
      if (kind === "ours") {
        words[ownersAt + free] = owner;
        behind[free] = firstOf[rowOf(owner)] as number;
        firstOf[rowOf(owner)] = free + 1;
      }
      if (words[slotsAt + free] === 0) taken++;
      // Seen from here on, with all of it.
      Atomics.store(words, slotsAt + free, entry);
    },
    forget(owners) {
      if (words[nextWord] === entriesAt) return;
      for (const owner of owners) {
        const row = rowOf(owner);
        let stays = -1;
        for (let next = firstOf[row] as number; next > 0;) {
          const slot = next - 1;
          next = behind[slot] as number;
          if (words[ownersAt + slot] !== owner) stays = slot;
          else {
            Atomics.store(words, slotsAt + slot, -1);
            if (stays < 0) firstOf[row] = next;
            else behind[stays] = next;
          }
        }
      }
    },
    clear,
  };
}

/** One of any number of readers, of several tables: the first that has the answer gives it. `dice`: from 0 up to 1. */
export function readAnswers(memories: readonly TableMemory[], dice: () => number): AnswerReader {
  const tables = memories.map(viewsOf);
  const reader: AnswerReader = { read, type: 0, rcode: 0, isCluster: false, logFormat: 0, isOthers: false };
  const wanted: Wanted = { hash: 0, key: 0, most: 0, hasOpt: false, now: 0 };
  return reader;

  function read(bytes: Uint8Array, at: number, length: number, room: number, limit: number, now: number): number {
    const end = at + length;
    // A query (RFC 1035 4.1.1) with one question and at most one additional record.
    if (length < 17 || ((bytes[at + 2] as number) & 0xf8) !== 0 || bytes[at + 5] !== 1) return 0;
    for (let i = at + 6; i < at + 11; i++) if (bytes[i] !== 0) return 0;
    if (bytes[at + 4] !== 0) return 0;
    let next = at + 12;
    for (;;) {
      const size = bytes[next] as number;
      if (size > 63 || next + size + 5 > end) return 0;
      next += size + 1;
      if (size === 0) break;
    }
    const nameBytes = next - at - 12;
    if (nameBytes > 255 || bytes[next + 2] !== 0 || bytes[next + 3] !== 1) return 0;
    const type = ((bytes[next] as number) << 8) | (bytes[next + 1] as number);
    const questionEnd = next + 4;

    // RFC 6891 6.1.2: an OPT record of version 0 and nothing behind it, or nothing at all.
    const hasOpt = bytes[at + 11] === 1;
    let most = limit === 0 ? 512 : limit;
    if (hasOpt) {
      if (questionEnd + 11 > end || bytes[questionEnd] !== 0 || bytes[questionEnd + 1] !== 0) return 0;
      if (bytes[questionEnd + 2] !== recordTypes.OPT || bytes[questionEnd + 6] !== 0) return 0;
      const data = ((bytes[questionEnd + 9] as number) << 8) | (bytes[questionEnd + 10] as number);
      if (questionEnd + 11 + data !== end) return 0;
      const theirs = ((bytes[questionEnd + 3] as number) << 8) | (bytes[questionEnd + 4] as number);
      if (limit === 0) most = theirs < 512 ? 512 : theirs > ednsUdpBytes ? ednsUdpBytes : theirs;
    } else if (bytes[at + 11] !== 0 || questionEnd !== end) return 0;

    const hash = hashOf(bytes, at + 12, nameBytes, type);
    reader.type = type;
    wanted.hash = hash;
    wanted.most = most;
    wanted.hasOpt = hasOpt;
    wanted.now = now;
    for (const table of tables) {
      wanted.key = nameBytes | (table.kind === "others" ? variantOf(bytes, at, questionEnd) : 0) | (type << 16);
      const size = copyAnswer(table, bytes, at, questionEnd, room, wanted);
      if (size > 0) return size;
    }
    return 0;
  }

  function copyAnswer(
    { isShared, kind, words, bytes: table, mask, slotsAt }: Views,
    bytes: Uint8Array,
    at: number,
    questionEnd: number,
    room: number,
    { hash, key, most, hasOpt, now }: Wanted,
  ): number {
    const nameBytes = questionEnd - 4 - 12 - at;
    const epoch = isShared ? Atomics.load(words, epochWord) : (words[epochWord] as number);
    if ((epoch & 1) !== 0) return 0;
    let slot = hash & mask;
    let entry = 0;
    for (let probe = 0; ; probe++, slot = (slot + 1) & mask) {
      if (probe === probesMax) return 0;
      entry = isShared ? Atomics.load(words, slotsAt + slot) : (words[slotsAt + slot] as number);
      if (entry === 0) return 0;
      if (entry < 0 || words[entry + entryHash] !== hash || words[entry + entryKey] !== key) continue;
      const name = (entry + entryWords) * 4;
      let same = 0;
      while (same < nameBytes && table[name + same] === lower[bytes[at + 12 + same] as number]) same++;
      if (same === nameBytes) break;
    }

    let age = 0;
    if (kind === "others") {
      const stored = (words[entry + entryStored] as number) * storedUnit + (words[entry + entryStored + 1] as number);
      if (now - stored >= (words[entry + entryLife] as number)) return 0;
      age = Math.floor((now - stored) / 1000);
    }
    const sizes = words[entry + entrySize] as number;
    const size = sizes & 0xffff;
    const head = questionEnd - at;
    const whole = head + size + (hasOpt ? 11 : 0);
    if (whole > most) return 0;
    const flags = words[entry + entryFlags] as number;
    const counts = words[entry + entryCounts] as number;
    const source = (entry + entryWords + wordsFor(nameBytes)) * 4;
    const to = room + head;
    for (let i = 0; i < head; i++) bytes[room + i] = bytes[at + i] as number;
    // QR and RA are ours, RD and CD come back.
    bytes[room + 2] = 0x80 | ((bytes[at + 2] as number) & 0x01) | ((flags >>> 8) & 0x07);
    bytes[room + 3] = 0x80 | ((bytes[at + 3] as number) & 0x10) | (flags & 0x2f);
    bytes[room + 6] = (flags >>> 24) & 0xff;
    bytes[room + 7] = (flags >>> 16) & 0xff;
    bytes[room + 8] = (counts >>> 8) & 0xff;
    bytes[room + 9] = counts & 0xff;
    const additional = ((counts >>> 16) & 0xffff) + (hasOpt ? 1 : 0);
    bytes[room + 10] = additional >>> 8;
    bytes[room + 11] = additional & 0xff;
    const turns = sizes >>> 16;
    if (turns < 2) for (let i = 0; i < size; i++) bytes[to + i] = table[source + i] as number;
    else {
      const places = words[entry + entryTurns] as number;
      const start = places & 0xffff;
      const all = (places >>> 16) * turns;
      const shift = (places >>> 16) * Math.floor(dice() * turns);
      for (let i = 0; i < size; i++) bytes[to + i] = table[source + i] as number;
      for (let i = 0; i < shift; i++) bytes[to + start + all - shift + i] = table[source + start + i] as number;
      for (let i = shift; i < all; i++) bytes[to + start + i - shift] = table[source + start + i] as number;
    }
    if (age > 0) ageRecords(bytes, to, to + size, age);
    if (hasOpt) {
      const opt = to + size;
      bytes[opt] = 0;
      bytes[opt + 1] = 0;
      bytes[opt + 2] = recordTypes.OPT;
      bytes[opt + 3] = ednsUdpBytes >>> 8;
      bytes[opt + 4] = ednsUdpBytes & 0xff;
      bytes[opt + 5] = 0;
      bytes[opt + 6] = 0;
      // RFC 3225 3: the DO bit is given back.
      bytes[opt + 7] = (bytes[questionEnd + 7] as number) & 0x80;
      bytes[opt + 8] = 0;
      bytes[opt + 9] = 0;
      bytes[opt + 10] = 0;
    }
    reader.rcode = flags & 0xf;
    reader.isCluster = (flags & clusterFlag) !== 0;
    reader.logFormat = words[entry + entryLogFormat] as number;
    reader.isOthers = kind === "others";
    return !isShared || Atomics.load(words, epochWord) === epoch ? whole : 0;
  }
}

interface Wanted {
  hash: number;
  key: number;
  most: number;
  hasOpt: boolean;
  now: number;
}

/** Takes `age` seconds off the TTLs of the records `bytes[from … end)`. */
function ageRecords(bytes: Uint8Array, from: number, end: number, age: number): void {
  for (let at = from; at < end;) {
    for (;;) {
      const size = bytes[at] as number;
      // RFC 1035 4.1.4: a pointer ends a name.
      at += size >= 0xc0 ? 2 : size + 1;
      if (size === 0 || size >= 0xc0) break;
    }
    const ttl =
      (bytes[at + 4] as number) * 0x1000000 +
      (((bytes[at + 5] as number) << 16) | ((bytes[at + 6] as number) << 8) | (bytes[at + 7] as number));
    const left = ttl > age ? ttl - age : 0;
    bytes[at + 4] = left >>> 24;
    bytes[at + 5] = left >>> 16;
    bytes[at + 6] = left >>> 8;
    bytes[at + 7] = left;
    at += 10 + (((bytes[at + 8] as number) << 8) | (bytes[at + 9] as number));
  }
}

/** What a query says that others answer by: AD (RFC 6840 5.7), CD, and DO of an OPT record behind the question. Above the bytes of a name. */
function variantOf(bytes: Uint8Array, at: number, questionEnd: number): number {
  const isOpt = bytes[at + 11] !== 0 && bytes[questionEnd] === 0 && bytes[questionEnd + 2] === recordTypes.OPT;
  const dnssecOk = isOpt && ((bytes[questionEnd + 7] as number) & 0x80) !== 0 ? 1 : 0;
  return ((((bytes[at + 3] as number) & 0x30) >> 4) | (dnssecOk << 2)) << 8;
}

function wordsFor(bytes: number): number {
  return (bytes + 3) >> 2;
}

/** FNV-1a of the name in lower case and the type, its high bits mixed into the low ones. */
function hashOf(bytes: Uint8Array, at: number, length: number, type: number): number {
  let hash = 0x811c9dc5 ^ type;
  for (let i = at; i < at + length; i++) hash = Math.imul(hash ^ (lower[bytes[i] as number] as number), 0x01000193);
  return hash ^ (hash >>> 15);
}

// RFC 4343: only ASCII letters have two cases. A label's length (at most 63) is none of them.
const lower = Uint8Array.from({ length: 256 }, (_, byte) => (byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte));
