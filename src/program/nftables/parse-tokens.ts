// Words of nft's syntax, one after another: what the parsers of tables and of statements read from.

import type { Origin } from "../../kube/object.ts";

/** Text that is no table, or none that format.ts could have written. */
export class NftSyntaxError extends Error {
  override readonly name = "NftSyntaxError";
  /** Counted from 1. */
  readonly line: number;
  constructor(message: string, line: number) {
    super(`nftables text, line ${line}: ${message}`);
    this.line = line;
  }
}

interface Token {
  readonly text: string;
  readonly line: number;
  readonly quoted: boolean;
}

export const lineEnd = "\n";

// A comma ends a word, but for the raw payload's; a colon does not (addresses, ports).
const tokenPattern = /"([^"\n]*)"|#[^\n]*|@th,\d+,\d+|[{},;]|\n|[^\s{},;"#]+|"/g;

function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let line = 1;
  for (const match of text.matchAll(tokenPattern)) {
    const word = match[0];
    if (word === '"') throw new NftSyntaxError("a quotation mark without its other", line);
    if (!word.startsWith("#")) tokens.push({ text: match[1] ?? word, line, quoted: match[1] !== undefined });
    if (word === lineEnd) line++;
  }
  return tokens;
}

/** Reads tokens from left to right. What is not as expected throws NftSyntaxError. */
export class TokenReader {
  /** What every entry read is said to come from. */
  readonly origin: Origin;
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(text: string, origin: Origin) {
    this.#tokens = tokenize(text);
    this.origin = origin;
  }

  atEnd(): boolean {
    this.skipLineEnds();
    return this.#at >= this.#tokens.length;
  }

  skip(count: number): void {
    this.#at += count;
  }

  peek(ahead: number = 0): string | undefined {
    const token = this.#tokens[this.#at + ahead];
    return token === undefined || token.quoted ? undefined : token.text;
  }

  take(text: string): boolean {
    if (this.peek() !== text) return false;
    this.#at++;
    return true;
  }

  expect(text: string): void {
    if (!this.take(text)) throw this.unexpected(text);
  }

  oneOf<const T extends string>(choices: readonly T[]): T {
    const found = choices.find((choice) => this.peek() === choice);
    if (found === undefined) throw this.unexpected(choices.join(" or "));
    this.#at++;
    return found;
  }

  word(what: string): string {
    const token = this.#tokens[this.#at];
    if (token === undefined || (!token.quoted && /^[\n{},;]$/.test(token.text))) throw this.unexpected(what);
    this.#at++;
    return token.text;
  }

  quoted(): string {
    const token = this.#tokens[this.#at];
    if (token?.quoted !== true) throw this.unexpected("text in quotation marks");
    this.#at++;
    return token.text;
  }

  number(what: string): number {
    return this.natural(this.word(what), what);
  }

  natural(word: string, what: string): number {
    if (!/^\d{1,15}$/.test(word)) throw this.error(`${word} where ${what} is expected`);
    return Number(word);
  }

  integer(word: string, what: string): number {
    if (!/^-?\d{1,10}$/.test(word)) throw this.error(`${word} where ${what} is expected`);
    return Number(word);
  }

  /** `10800s`, `3h`, `1d2h3m4s`. */
  seconds(): number {
    const word = this.word("a time");
    const match = /^(?:(\d{1,6})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,12})s)?$/.exec(word);
    if (match === null || word === "") throw this.error(`no time in whole seconds: ${word}`);
    const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0));
    return days! * 86400 + hours! * 3600 + minutes! * 60 + seconds!;
  }

  list<T>(separator: string, read: () => T): T[] {
    const list = [read()];
    while (this.take(separator)) {
      this.skipLineEndsIn(separator);
      list.push(read());
    }
    return list;
  }

  skipLineEndsIn(separator: string): void {
    if (separator === ",") this.skipLineEnds();
  }

  /** `{`, entries each on lines of their own, `}`. */
  block(entry: () => void): void {
    this.expect("{");
    for (;;) {
      while (this.take(lineEnd) || this.take(";"));
      if (this.take("}")) return;
      const before = this.#at;
      entry();
      // The end of the text, or text in quotation marks, where no entry begins.
      if (this.#at === before) throw this.unexpected("}");
    }
  }

  skipLineEnds(): void {
    while (this.take(lineEnd));
  }

  unexpected(wanted: string): NftSyntaxError {
    const token = this.#tokens[this.#at];
    const found = token === undefined ? "the end" : token.text === lineEnd ? "the end of the line" : token.text;
    return this.error(`${found} where ${wanted} is expected`);
  }

  error(message: string): NftSyntaxError {
    const token = this.#tokens[this.#at] ?? this.#tokens.at(-1);
    return new NftSyntaxError(message, token?.line ?? 1);
  }
}
