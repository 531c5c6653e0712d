// Zone files, also called master files: RFC 1035 5 with $ORIGIN and $INCLUDE, $TTL (RFC 2308 4), TTLs with units, types by number and data
// as bytes (RFC 3597 5). Everything that is no such file is an error that names its file and line.
//
// Not here: what a zone needs besides records (serve/dns/file-zone.ts).

import { canonicalName, type DnsName } from "./name.ts";
import { readDataText, secondsOf } from "./record-data-text.ts";
import { classIn, recordTypeNumber, type DnsRecord } from "./record.ts";
import { ZoneTextError, zoneLines, type Word, type ZoneLine } from "./zone-lines.ts";

/** Why a file is no zone file: `db.example.org:7: A record: "10.0.0.300" is no IPv4 address`. */
export class ZoneFileError extends Error {
  override readonly name = "ZoneFileError";
  readonly file: string;
  readonly line: number;

  constructor(message: string, file: string, line: number) {
    super(`${file}:${line}: ${message}`);
    this.file = file;
    this.line = line;
  }
}

export interface ZoneFileSources {
  /** Its name, for messages and for what it includes. */
  readonly file: string;
  /** What relative names are below, as long as no $ORIGIN says otherwise. */
  readonly origin: DnsName;
  /** The text of an included file by its path; undefined where there is none. */
  readonly read?: (path: string) => string | undefined;
}

/** The records of a zone file, in order, owners in lower case. Throws ZoneFileError. */
export function parseZoneFile(text: string, { file, origin, read }: ZoneFileSources): DnsRecord[] {
  const state: State = { owner: undefined, ttl: undefined, lastTtl: undefined, minimum: undefined };
  const records: DnsRecord[] = [];
  readFile(text, { file, origin: canonicalName(origin), read: read ?? (() => undefined), depth: 0 }, state, records);
  return records;
}

/** What a line means beyond itself; goes on into included files. */
interface State {
  owner: DnsName | undefined;
  /** $TTL's. */
  ttl: number | undefined;
  /** RFC 1035 5.1: the last that was stated. */
  lastTtl: number | undefined;
  /** Of the SOA: what the TTL is where nobody has said one. */
  minimum: number | undefined;
}

interface Source {
  readonly file: string;
  readonly origin: DnsName;
  readonly read: (path: string) => string | undefined;
  readonly depth: number;
}

const depthMax = 7;

function readFile(text: string, source: Source, state: State, records: DnsRecord[]): void {
  let { origin } = source;
  // Some editors begin a file with a byte order mark.
  const lines = zoneLines(text.startsWith("\uFEFF") ? text.slice(1) : text);
  try {
    for (const line of lines) {
      const [first] = line.words;
      if (first === undefined) continue;
      const directive = first.quoted || line.indented ? "" : first.text.toUpperCase();
      switch (directive) {
        case "$ORIGIN":
          origin = nameIn(onlyWord(line).text, origin, line.line);
          break;
        case "$TTL":
          state.ttl = ttlOf(onlyWord(line), line);
          break;
        case "$INCLUDE":
          include(line, { ...source, origin }, state, records);
          break;
        default:
          if (directive.startsWith("$"))
            throw new ZoneTextError(`unknown directive ${first.text}; known are $ORIGIN, $TTL, $INCLUDE`, line.line);
          records.push(readRecord(line, origin, state));
      }
    }
  } catch (error) {
    if (error instanceof ZoneTextError) throw new ZoneFileError(error.message, source.file, error.line);
    throw error;
  }
}

// RFC 1035 5.1: `$INCLUDE FILE [ORIGIN]`; owner and origin behind it are what they were before.
function include(line: ZoneLine, source: Source, state: State, records: DnsRecord[]): void {
  const [, path, origin, extra] = line.words;
  if (path === undefined || extra !== undefined) throw new ZoneTextError("$INCLUDE takes FILE [ORIGIN]", line.line);
  if (source.depth >= depthMax)
    throw new ZoneTextError(`$INCLUDE ${path.text}: more than ${depthMax} files inside one another`, line.line);
  const folder = source.file.slice(0, source.file.lastIndexOf("/") + 1);
  const file = path.text.startsWith("/") ? path.text : `${folder}${path.text}`;
  const text = source.read(file);
  if (text === undefined) throw new ZoneTextError(`$INCLUDE: there is no file ${file}`, line.line);
  const below = origin === undefined ? source.origin : nameIn(origin.text, source.origin, line.line);
  const inside: State = { ...state };
  readFile(text, { ...source, file, origin: below, depth: source.depth + 1 }, inside, records);
  state.minimum = inside.minimum;
}

/** `[NAME] [TTL] [CLASS] TYPE DATA`, TTL and class in either order. */
function readRecord(line: ZoneLine, origin: DnsName, state: State): DnsRecord {
  const words = [...line.words];
  const at = line.line;
  if (!line.indented) state.owner = nameIn(words.shift()?.text ?? "", origin, at).toLowerCase();
  const { owner } = state;
  if (owner === undefined) throw new ZoneTextError("a record without a name, and none before it", at);
  const { ttl, type } = takeHead(words, at);
  const data = readDataText(type, words, { line: at, nameOf: (word) => nameOf(word, origin) });
  if (ttl !== undefined) state.lastTtl = ttl;
  if (data.kind === "SOA") state.minimum ??= data.minimum;
  const used = ttl ?? state.ttl ?? state.lastTtl ?? state.minimum;
  if (used === undefined)
    throw new ZoneTextError("no TTL: write $TTL before it, or a TTL behind the record's name", at);
  return { name: owner, class: classIn, ttl: used, data };
}

/** Takes TTL, class and type from the words. */
function takeHead(words: Word[], line: number): { readonly ttl: number | undefined; readonly type: string } {
  let ttl: number | undefined;
  let hasClass = false;
  for (;;) {
    const word = words.shift();
    if (word === undefined) throw new ZoneTextError("a record without a type", line);
    const upper = word.text.toUpperCase();
    if (recordTypeNumber(upper) !== undefined) return { ttl, type: upper };
    if (!hasClass && (upper === "IN" || upper === "CLASS1")) hasClass = true;
    else if (/^(CH|CS|HS|CLASS\d+)$/.test(upper))
      throw new ZoneTextError(`class ${upper}: only records of class IN are served`, line);
    else if (ttl === undefined && /^\d/.test(upper)) ttl = ttlOf(word, { line });
    else throw new ZoneTextError(`"${word.text}" is no TTL, class or record type`, line);
  }
}

function onlyWord({ words, line }: ZoneLine): Word {
  const [directive, word, extra] = words;
  if (word === undefined || extra !== undefined)
    throw new ZoneTextError(`${directive?.text ?? ""} takes one word`, line);
  return word;
}

// RFC 2181 8
function ttlOf({ text }: Word, { line }: { readonly line: number }): number {
  const seconds = secondsOf(text);
  if (seconds === undefined || seconds >= 2 ** 31)
    throw new ZoneTextError(`"${text}" is no TTL, such as 3600 or 1h`, line);
  return seconds;
}

function nameIn(word: string, origin: DnsName, line: number): DnsName {
  try {
    return nameOf(word, origin);
  } catch (error) {
    throw new ZoneTextError(error instanceof Error ? error.message : String(error), line);
  }
}

/** A name in its one form: `@` is the origin, one without a final dot is below it. Throws DnsFormatError. */
function nameOf(word: string | Word, origin: DnsName): DnsName {
  const text = typeof word === "string" ? word : word.text;
  if (text === "@") return origin;
  if (text === ".") return ".";
  const ascii = text.replaceAll(/[^\x21-\x7E]/gu, escaped);
  const name = canonicalName(ascii);
  if (isAbsolute(ascii) || origin === ".") return name;
  return canonicalName(`${name}.${origin}`);
}

/** Does it end in a dot that is no part of a label? */
function isAbsolute(name: string): boolean {
  const [, backslashes = ""] = /(\\*)\.$/.exec(name) ?? [];
  return name.endsWith(".") && backslashes.length % 2 === 0;
}

function escaped(character: string): string {
  return Array.from(encoder.encode(character), (byte) => `\\${String(byte).padStart(3, "0")}`).join("");
}

const encoder = new TextEncoder();
