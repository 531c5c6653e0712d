// The lines of a zone file (RFC 1035 5.1) as words: comments left out, what parentheses join is one line, what is quoted is one word.
//
// Not here: what the words mean (zone-file.ts, record-data-text.ts).

/** A word as it stands, escapes (`\.`, `\065`) not yet resolved; quotes are not part of it. */
export interface Word {
  readonly text: string;
  readonly quoted: boolean;
}

export interface ZoneLine {
  /** Where it begins, from 1. */
  readonly line: number;
  /** Does it begin with a blank? Then it is of the owner before. */
  readonly indented: boolean;
  readonly words: readonly Word[];
}

/** What is no zone file, with the line. */
export class ZoneTextError extends Error {
  override readonly name = "ZoneTextError";
  readonly line: number;

  constructor(message: string, line: number) {
    super(message);
    this.line = line;
  }
}

/** The lines that have words. Throws ZoneTextError. */
export function* zoneLines(text: string): Generator<ZoneLine, undefined, undefined> {
  let words: Word[] = [];
  let line = 1;
  let first = 1;
  let indented = false;
  let depth = 0;
  let lineStart = 0;
  for (let at = 0; at < text.length;) {
    const character = text[at] ?? "";
    if (words.length === 0 && depth === 0) first = line;
    switch (character) {
      case "\n":
        at++;
        line++;
        if (depth === 0) {
          if (words.length > 0) yield { line: first, indented, words };
          words = [];
          indented = false;
          lineStart = at;
        }
        break;
      case ";":
        while (at < text.length && text[at] !== "\n") at++;
        break;
      case " ":
      case "\t":
      case "\r":
        if (at === lineStart && depth === 0) indented = true;
        at++;
        break;
      case "(":
        depth++;
        at++;
        break;
      case ")":
        if (--depth < 0) throw new ZoneTextError("a `)` without its `(`", line);
        at++;
        break;
      case '"': {
        const end = quoteEnd(text, at + 1);
        if (end === undefined) throw new ZoneTextError('a `"` without its end', line);
        const quoted = text.slice(at + 1, end);
        words.push({ text: quoted, quoted: true });
        line += quoted.split("\n").length - 1;
        at = end + 1;
        break;
      }
      default: {
        const end = wordEnd(text, at);
        words.push({ text: text.slice(at, end), quoted: false });
        at = end;
      }
    }
  }
  if (depth > 0) throw new ZoneTextError("a `(` without its `)`", first);
  if (words.length > 0) yield { line: first, indented, words };
}

function quoteEnd(text: string, from: number): number | undefined {
  for (let at = from; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at;
  }
  return undefined;
}

const ends = new Set(' \t\r\n();"');

function wordEnd(text: string, from: number): number {
  let at = from;
  while (at < text.length && !ends.has(text[at] ?? "")) {
    if (text[at] === "\\" && text[at + 1] !== "\n") at++;
    at++;
  }
  return Math.min(at, text.length);
}
