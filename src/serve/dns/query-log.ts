// The `log` plugin: a line for each answered question, in CoreDNS's format.
//
//   [INFO] 10.244.1.5:51034 - 4711 "A IN api.production.svc.cluster.local. udp 78 false 1232" NOERROR qr,aa,rd,ra 112 0.000043s
//
// A line is written as bytes from the bytes of question and response: no text is made. Lines leave together, a few milliseconds later at most,
// because a write each costs more than an answer.
// A format has a number, which the table of answers keeps beside the answer (answer-table.ts): so whoever reads that table can write the line.
//
// Not here: other lines of the log (log.ts).

import { putSourceAddress, sourcePort } from "../../kernel/source-address.ts";
import { headerFlags, rcodeName } from "../../wire/dns/message.ts";
import { escapes, isWithin, type DnsName } from "../../wire/dns/name.ts";
import { recordTypeName } from "../../wire/dns/record.ts";
import type { LogClass, LogConfig } from "./corefile-plugins.ts";

/** What a line is about. One value may be used for all: it is read before `write` returns. */
export interface LoggedQuery {
  /** The question's message is `bytes[at … at + length)`, its answer `response[from … from + size)`. */
  bytes: Uint8Array;
  at: number;
  length: number;
  response: Uint8Array;
  from: number;
  size: number;
  protocol: "udp" | "tcp";
  rcode: number;
  /** Of the question's OPT record; -1 and false without one. */
  udpBytes: number;
  dnssecOk: boolean;
  /** Where the sender's `struct sockaddr` is in `bytes` (kernel/udp.ts); -1: `source` says it. */
  sourceAt: number;
  source: { readonly address: string; readonly port: number };
  /** Milliseconds it took. */
  took: number;
}

export interface QueryLog {
  /** The number of a format; the same for the same one. Never 0. */
  formatOf(format: string): number;
  /** Formats by their numbers less 1. */
  readonly formats: readonly string[];
  /** Takes over formats in another log's numbers. */
  learn(formats: readonly string[]): void;
  /** Writes a line; false where the number is not known. */
  write(format: number, query: LoggedQuery): boolean;
  /** Takes over lines that another log has written. */
  lines(lines: Uint8Array): void;
  /** Lets go of all lines. */
  flush(): void;
}

/** `write` takes lines with their ends; the bytes are its own only until it returns. */
export function createQueryLog(write: (lines: Uint8Array) => void): QueryLog {
  const formats: string[] = [];
  const compiled: CompiledFormat[] = [];
  let bytes = new Uint8Array(linesMax);
  let length = 0;
  let timer: NodeJS.Timeout | undefined;
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const lines = bytes.subarray(0, length);
    length = 0;
    if (lines.length > 0) write(lines);
  };
  return {
    formats,
    formatOf(format) {
      const known = formats.indexOf(format);
      if (known >= 0) return known + 1;
      compiled.push(compileFormat(format));
      return formats.push(format);
    },
    learn(others) {
      for (const format of others.slice(formats.length)) {
        compiled.push(compileFormat(format));
        formats.push(format);
      }
    },
    write(format, query) {
      const parts = compiled[format - 1];
      if (parts === undefined) return false;
      if (length + parts.bytesMax > bytes.length) {
        flush();
        if (parts.bytesMax > bytes.length) bytes = new Uint8Array(parts.bytesMax);
      }
      length = putLine(bytes, length, parts, query);
      timer ??= setTimeout(flush, waitMs);
      return true;
    },
    lines(lines) {
      flush();
      write(lines);
    },
    flush,
  };
}

/** The number of the format in which a question is logged: of the first rule whose names hold its name. 0: it is not logged. */
export function logFormatOf(
  log: QueryLog,
  rules: LogConfig | undefined,
  { name, rcode, answers }: { readonly name: DnsName; readonly rcode: number; readonly answers: number },
): number {
  const rule = rules?.find(({ scope }) => isWithin(name, scope));
  if (rule === undefined) return 0;
  const isAsked = rule.classes.includes("all") || rule.classes.includes(classOf(rcode, answers));
  return isAsked ? log.formatOf(rule.format) : 0;
}

// plugin/pkg/response: SERVFAIL, REFUSED and the like are errors, "no" is denial.
function classOf(rcode: number, answers: number): LogClass {
  if (rcode === 3) return "denial";
  if (rcode !== 0) return "error";
  return answers === 0 ? "denial" : "success";
}

const encoder = new TextEncoder();
const [udp, tcp, yes, no, dash] = ["udp", "tcp", "true", "false", "-"].map((text) => encoder.encode(text)) as [
  Uint8Array,
  Uint8Array,
  Uint8Array,
  Uint8Array,
  Uint8Array,
];

const linesMax = 1 << 16;
/** At twenty thousand questions a second a write has a hundred lines, and nobody who reads along notices. */
const waitMs = 5;

/** Writes something of a query at `to`; gives where it ends. */
type Part = (out: Uint8Array, to: number, query: LoggedQuery) => number;

interface CompiledFormat {
  /** Fields and what stands between them, in order. */
  readonly parts: readonly Part[];
  /** No line is longer. */
  readonly bytesMax: number;
}

function compileFormat(format: string): CompiledFormat {
  const texts = `[INFO] ${format}\n`.split(/(\{[^{}]*\})/).filter((text) => text !== "");
  let bytesMax = 0;
  const parts = texts.map((text): Part => {
    const field = fields[text];
    const literal = encoder.encode(text);
    bytesMax += field === undefined ? literal.length : fieldBytesMax;
    return field ?? ((out, to) => put(out, to, literal));
  });
  return { parts, bytesMax };
}

function putLine(out: Uint8Array, start: number, { parts }: CompiledFormat, query: LoggedQuery): number {
  let to = start;
  for (const part of parts) to = part(out, to, query);
  return to;
}

/** A name's bytes may all need an escape of four, and it has 255. */
const fieldBytesMax = 1100;

const fields: Readonly<Record<string, Part>> = {
  "{type}": (out, to, query) =>
    put(out, to, textOf(typeTexts, uint16At(query.bytes, questionEnd(query) - 4), recordTypeName)),
  "{name}": (out, to, { bytes, at }) => putName(out, to, bytes, at + 12),
  "{class}": (out, to, query) =>
    put(out, to, textOf(classTexts, uint16At(query.bytes, questionEnd(query) - 2), className)),
  "{proto}": (out, to, { protocol }) => put(out, to, protocol === "udp" ? udp : tcp),
  "{remote}": putAddress,
  "{local}": (out, to) => put(out, to, dash),
  "{port}": (out, to, { bytes, sourceAt, source }) =>
    putNumber(out, to, sourceAt < 0 ? source.port : sourcePort(bytes, sourceAt)),
  "{size}": (out, to, { length }) => putNumber(out, to, length),
  "{duration}": (out, to, { took }) => putSeconds(out, to, took),
  "{rcode}": (out, to, { rcode }) => put(out, to, textOf(rcodeTexts, rcode, rcodeName)),
  "{rsize}": (out, to, { size }) => putNumber(out, to, size),
  "{>rflags}": (out, to, { response, from }) =>
    put(out, to, textOf(flagsTexts, uint16At(response, from + 2) & allFlags, flagsText)),
  "{>id}": (out, to, { bytes, at }) => putNumber(out, to, uint16At(bytes, at)),
  "{>opcode}": (out, to, { bytes, at }) => putNumber(out, to, ((bytes[at + 2] as number) >> 3) & 0xf),
  "{>do}": (out, to, { dnssecOk }) => put(out, to, dnssecOk ? yes : no),
  // As CoreDNS has it: what may be sent, never less than 512.
  "{>bufsize}": (out, to, { protocol, udpBytes }) =>
    putNumber(out, to, protocol === "tcp" ? 0xffff : Math.max(udpBytes, 512)),
};

/** Behind the question; the same for type and class. */
function questionEnd({ bytes, at }: LoggedQuery): number {
  let next = at + 12;
  for (let size = bytes[next] as number; size > 0; size = bytes[next] as number) next += size + 1;
  return next + 5;
}

function put(out: Uint8Array, to: number, text: Uint8Array): number {
  // Most are a few bytes, for which a call is dear.
  for (let i = 0; i < text.length; i++) out[to + i] = text[i] as number;
  return to + text.length;
}

/** As CoreDNS: in lower case, with a final dot. */
function putName(out: Uint8Array, start: number, bytes: Uint8Array, name: number): number {
  let to = start;
  let from = name;
  for (;;) {
    const size = bytes[from++] as number;
    if (size === 0) break;
    for (const end = from + size; from < end; from++) {
      const plain = plainBytes[bytes[from] as number] as number;
      if (plain === 0) to = put(out, to, escapeTexts[bytes[from] as number] as Uint8Array);
      else out[to++] = plain;
    }
    out[to++] = dot;
  }
  if (to === start) out[to++] = dot;
  return to;
}

function putAddress(out: Uint8Array, to: number, { bytes, sourceAt, source }: LoggedQuery): number {
  if (sourceAt >= 0) return putSourceAddress(out, to, bytes, sourceAt);
  return put(out, to, encoder.encode(source.address.includes(":") ? `[${source.address}]` : source.address));
}

function putNumber(out: Uint8Array, start: number, value: number): number {
  let digits = 1;
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++;
  let rest = value;
  for (let to = start + digits - 1; to >= start; to--) {
    out[to] = zero + (rest % 10);
    rest = Math.floor(rest / 10);
  }
  return start + digits;
}

/** Go's shortest form of seconds from nanoseconds: no zeros at the end. */
function putSeconds(out: Uint8Array, start: number, milliseconds: number): number {
  const nanoseconds = Math.max(0, Math.round(milliseconds * 1e6));
  const seconds = Math.floor(nanoseconds / 1e9);
  let to = putNumber(out, start, seconds);
  let rest = nanoseconds - seconds * 1e9;
  if (rest > 0) {
    out[to++] = dot;
    let digits = 9;
    for (; rest % 10 === 0; digits--) rest /= 10;
    for (let place = to + digits - 1; place >= to; place--) {
      out[place] = zero + (rest % 10);
      rest = Math.floor(rest / 10);
    }
    to += digits;
  }
  out[to++] = 0x73;
  return to;
}

/** Texts of what there is little of, made once. Sixteen bits from outside are bounded. */
function textOf(texts: Map<number, Uint8Array>, key: number, make: (key: number) => string): Uint8Array {
  let text = texts.get(key);
  if (text === undefined) {
    if (texts.size >= textsMax) texts.clear();
    texts.set(key, (text = encoder.encode(make(key))));
  }
  return text;
}

const textsMax = 512;
const typeTexts = new Map<number, Uint8Array>();
const classTexts = new Map<number, Uint8Array>();
const rcodeTexts = new Map<number, Uint8Array>();
const flagsTexts = new Map<number, Uint8Array>();

const flagNames: readonly (readonly [number, string])[] = [
  [headerFlags.response, "qr"],
  [headerFlags.authoritative, "aa"],
  [headerFlags.truncated, "tc"],
  [headerFlags.recursionDesired, "rd"],
  [headerFlags.recursionAvailable, "ra"],
  [headerFlags.authenticData, "ad"],
  [headerFlags.checkingDisabled, "cd"],
];
const allFlags = flagNames.reduce((all, [bit]) => all | bit, 0);

function flagsText(flags: number): string {
  return flagNames.flatMap(([bit, name]) => ((flags & bit) === 0 ? [] : [name])).join(",");
}

function className(value: number): string {
  return classNames.get(value) ?? `CLASS${value}`;
}

const classNames = new Map([
  [1, "IN"],
  [3, "CH"],
  [4, "HS"],
  [254, "NONE"],
  [255, "ANY"],
]);

function uint16At(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

const dot = 0x2e;
const zero = 0x30;
const lowerEscapes = escapes.map((text) => (text.length === 1 ? text.toLowerCase() : text));
/** A byte of a label in lower case; 0: `escapeTexts` has it. */
const plainBytes = Uint8Array.from(lowerEscapes, (text) => (text.length === 1 ? text.charCodeAt(0) : 0));
const escapeTexts = lowerEscapes.map((text) => encoder.encode(text));
