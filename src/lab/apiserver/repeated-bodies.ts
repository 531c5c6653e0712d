// JSON texts of objects whose specification has come before: programs make many objects that are alike but for their name. Such a
// specification is read, checked and completed once (kube/repeated.ts), and kept once.
//
// Not here: whether the rest of the text is JSON; a text that is not as expected is read as any other.

import { markRepeated } from "../../kube/repeated.ts";

/** Reads JSON text; `kind` tells specifications apart that mean different things. Throws SyntaxError as JSON.parse does. */
export type ParseJson = (text: string, kind: string) => unknown;

/** Shorter ones cost little; longer ones are rarely made in numbers. */
const charactersMin = 200;
const charactersMax = 16_384;

const key = "spec";

/** `specsMax`: how many specifications are remembered at least; twice as many at most. */
export function createRepeatedBodies(specsMax = 128): ParseJson {
  // Two generations: what is not seen for a while goes with the older one.
  let [young, old] = [new Map<string, Seen>(), new Map<string, Seen>()];

  const remember = (name: string, seen: Seen): void => {
    if (young.size >= specsMax) [young, old] = [new Map(), young];
    young.set(name, seen);
  };

  /** The specification itself where it has come before; undefined the first time, as it may be the only one. */
  const known = (specText: string, kind: string): object | undefined => {
    const name = `${kind} ${specText}`;
    const seen = young.get(name) ?? old.get(name);
    if (typeof seen === "object") {
      if (!young.has(name)) remember(name, seen);
      return seen;
    }
    if (seen === undefined) {
      remember(name, "once");
      return undefined;
    }
    const spec = JSON.parse(specText) as object;
    markRepeated(spec);
    remember(name, spec);
    return spec;
  };

  return (text, kind) => {
    const range = text.length < charactersMin || text.length > charactersMax ? undefined : specOf(text);
    if (range === undefined) return JSON.parse(text);
    const [from, to] = range;
    try {
      const spec = known(text.slice(from, to), kind);
      if (spec === undefined) return JSON.parse(text);
      // What stands around it is read in any case, and refused where it is not JSON.
      const value = JSON.parse(`${text.slice(0, from)}0${text.slice(to)}`) as { [key]: unknown };
      // Its name may be there a second time, written otherwise.
      if (value[key] !== 0) return JSON.parse(text);
      value[key] = spec;
      return value;
    } catch {
      // Said in terms of the whole text.
      return JSON.parse(text);
    }
  };
}

/** A specification, or that one was there. */
type Seen = object | "once";

/** More than any kind has; what is deeper is refused elsewhere. */
const depthMax = 100;

const [quote, backslash, openBrace, closeBrace, openBracket, closeBracket, colon] = [
  0x22, 0x5c, 0x7b, 0x7d, 0x5b, 0x5d, 0x3a,
];

/** Where the value of the outermost object's field `spec` begins and ends, if it is an object and the field is there once. */
function specOf(text: string): readonly [from: number, to: number] | undefined {
  let depth = 0;
  let from = 0;
  let found: readonly [number, number] | undefined;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      const end = endOfString(text, at);
      if (end < 0) return undefined;
      if (depth === 1 && from === 0 && end - at === key.length + 1 && text.startsWith(key, at + 1)) {
        const colonAt = afterSpace(text, end + 1);
        const valueAt = afterSpace(text, colonAt + 1);
        if (text.charCodeAt(colonAt) === colon) {
          if (found !== undefined || text.charCodeAt(valueAt) !== openBrace) return undefined;
          from = valueAt;
          at = valueAt - 1;
          continue;
        }
      }
      at = end;
    } else if (code === openBrace || code === openBracket) {
      if (++depth > depthMax) return undefined;
    } else if (code === closeBrace || code === closeBracket) {
      depth--;
      if (depth === 1 && from > 0) {
        found = [from, at + 1];
        from = 0;
      }
    }
  }
  return depth === 0 ? found : undefined;
}

/** The place of the quote that ends the string that begins at a place; -1 where there is none. */
function endOfString(text: string, begin: number): number {
  let end = text.indexOf('"', begin + 1);
  while (end > 0 && text.charCodeAt(end - 1) === backslash && isEscaped(text, end)) end = text.indexOf('"', end + 1);
  return end;
}

function isEscaped(text: string, at: number): boolean {
  let before = at;
  while (text.charCodeAt(before - 1) === backslash) before--;
  return (at - before) % 2 === 1;
}

function afterSpace(text: string, at: number): number {
  let next = at;
  while (text.charCodeAt(next) <= 0x20) next++;
  return next;
}
