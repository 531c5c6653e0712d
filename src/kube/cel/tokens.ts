// Reads an expression's text into tokens (cel-spec doc/langdef.md, section "Syntax").

import { ExpressionError, type Literal } from "./syntax.ts";

export interface Token {
  readonly kind: "name" | "literal" | "symbol" | "end";
  /** As it stands in the source; names quoted by backticks without them. */
  readonly text: string;
  readonly at: number;
  readonly value?: Literal;
}

const symbols = [..."== != <= >= && ||".split(" "), ..."< > + - * / % ! ? : . , ( ) [ ] { }".split(" ")] as const;

/** At most as long as anything that upstream takes (apiserver cel limits). */
const sourceCharactersMax = 100_000;

/** The tokens of a source, the end last. Throws ExpressionError. */
export function tokensOf(source: string): readonly Token[] {
  const points = Array.from(source);
  if (points.length > sourceCharactersMax)
    throw new ExpressionError("", [
      {
        at: 0,
        message: `expression code point size exceeds limit: size: ${points.length}, limit ${sourceCharactersMax}`,
      },
    ]);
  const tokens: Token[] = [];
  let at = 0;
  while (at < points.length) {
    const point = points[at] ?? "";
    if (/[\s]/.test(point)) at++;
    else if (point === "/" && points[at + 1] === "/") while (at < points.length && points[at] !== "\n") at++;
    else {
      const token = readToken(source, points, at);
      tokens.push(token.token);
      at = token.next;
    }
  }
  return [...tokens, { kind: "end", text: "<EOF>", at: points.length }];
}

const encoder = new TextEncoder();

interface Read {
  readonly token: Token;
  readonly next: number;
}

function readToken(source: string, points: readonly string[], at: number): Read {
  const point = points[at] ?? "";
  const text = (length: number): string => points.slice(at, at + length).join("");
  const prefix = /^(?:[rR][bB]?|[bB][rR]?)?(?:"""|'''|"|')/.exec(text(5));
  if (prefix !== null) return readString(source, points, at, prefix[0]);
  if (/[0-9]/.test(point) || (point === "." && /[0-9]/.test(points[at + 1] ?? "")))
    return readNumber(source, points, at);
  if (point === "`") {
    const end = points.indexOf("`", at + 1);
    const name = end < 0 ? "" : points.slice(at + 1, end).join("");
    if (/^[\w.\-/ ]+$/.test(name)) return { token: { kind: "name", text: name, at }, next: end + 1 };
  }
  if (/[A-Za-z_]/.test(point)) {
    let end = at + 1;
    while (/[A-Za-z0-9_]/.test(points[end] ?? "")) end++;
    const name = points.slice(at, end).join("");
    const value = words[name];
    const token: Token =
      value === undefined
        ? { kind: name === "in" ? "symbol" : "name", text: name, at }
        : { kind: "literal", text: name, at, value };
    return { token, next: end };
  }
  const symbol = symbols.find((each) => text(each.length) === each);
  if (symbol !== undefined) return { token: { kind: "symbol", text: symbol, at }, next: at + symbol.length };
  throw new ExpressionError(source, [{ at, message: `Syntax error: token recognition error at: '${point}'` }]);
}

const words: { readonly [name: string]: Literal | undefined } = Object.assign(Object.create(null), {
  true: { type: "bool", value: true },
  false: { type: "bool", value: false },
  null: { type: "null" },
});

function readNumber(source: string, points: readonly string[], at: number): Read {
  const rest = points.slice(at, at + 400).join("");
  const text =
    /^(?:0x[0-9a-fA-F]+[uU]?|(?:\d+\.\d+|\d+(?=[eE][+-]?\d)|\.\d+)(?:[eE][+-]?\d+)?|\d+[uU]?)/.exec(rest)?.[0] ?? "";
  const next = at + text.length;
  const token = (value: Literal): Read => ({ token: { kind: "literal", text, at, value }, next });
  if (text.startsWith("0x") || /^\d+[uU]?$/.test(text)) {
    const isUnsigned = /[uU]$/.test(text);
    const value = BigInt(isUnsigned ? text.slice(0, -1) : text);
    if (isUnsigned && value >= 2n ** 64n) throw new ExpressionError(source, [{ at, message: "invalid uint literal" }]);
    // 2^63 is read here: with a minus before it is the smallest integer.
    if (!isUnsigned && value > 2n ** 63n) throw new ExpressionError(source, [{ at, message: "invalid int literal" }]);
    return token({ type: isUnsigned ? "uint" : "int", value });
  }
  return token({ type: "double", value: Number(text) });
}

const simpleEscapes: { readonly [letter: string]: string } = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  "?": "?",
  '"': '"',
  "'": "'",
  "`": "`",
};

function readString(source: string, points: readonly string[], at: number, opening: string): Read {
  const isRaw = /[rR]/.test(opening);
  const isBytes = /[bB]/.test(opening);
  const quote = opening.replace(/[rRbB]/g, "");
  const bad = (message = `Syntax error: token recognition error at: '${points.slice(at).join("")}'`): ExpressionError =>
    new ExpressionError(source, [{ at, message }]);
  const bytes: number[] = [];
  let text = "";
  const put = (piece: string): void => {
    if (isBytes) bytes.push(...encoder.encode(piece));
    else text += piece;
  };
  let i = at + opening.length;
  for (;;) {
    const point = points[i];
    if (point === undefined || (quote.length === 1 && (point === "\n" || point === "\r"))) throw bad();
    if (points.slice(i, i + quote.length).join("") === quote) break;
    if (point !== "\\" || isRaw) {
      put(point);
      i++;
      continue;
    }
    const letter = points[i + 1] ?? "";
    const simple = simpleEscapes[letter];
    if (simple !== undefined) {
      put(simple);
      i += 2;
      continue;
    }
    const hexLength = letter === "x" || letter === "X" ? 2 : letter === "u" ? 4 : letter === "U" ? 8 : 0;
    const digits = points.slice(i + (hexLength > 0 ? 2 : 1), i + (hexLength > 0 ? 2 + hexLength : 4)).join("");
    const code =
      hexLength > 0
        ? /^[0-9a-fA-F]+$/.test(digits)
          ? parseInt(digits, 16)
          : NaN
        : /^[0-3][0-7]{2}$/.test(digits)
          ? parseInt(digits, 8)
          : NaN;
    if (Number.isNaN(code) || digits.length !== (hexLength > 0 ? hexLength : 3) || code > 0x10ffff) throw bad();
    if (isBytes && hexLength < 4) bytes.push(code);
    else if (code >= 0xd800 && code <= 0xdfff) throw bad();
    else put(String.fromCodePoint(code));
    i += (hexLength > 0 ? 2 : 1) + digits.length;
  }
  const next = i + quote.length;
  const value: Literal = isBytes ? { type: "bytes", value: Uint8Array.from(bytes) } : { type: "string", value: text };
  return { token: { kind: "literal", text: points.slice(at, next).join(""), at, value }, next };
}
