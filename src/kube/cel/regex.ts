// Regular expressions in time proportional to text times pattern, whatever the pattern: RE2's syntax as Go's regexp reads it, simulated
// as a set of threads (R. Cox, "Regular Expression Matching: the Virtual Machine Approach"). JavaScript's own backtrack, and some
// patterns would hold the server for hours.
//
// Not here: captures, and Unicode classes beyond the ones that JavaScript knows by the same names.

/** A pattern ready for use. */
export interface Regex {
  test(text: string): boolean;
  /** The leftmost match from an offset on, preferring as Perl does; offsets in UTF-16 units. */
  find(text: string, from?: number): { readonly start: number; readonly end: number } | undefined;
}

/** Thrown for what is no pattern. */
export class RegexError extends Error {
  override readonly name = "RegexError";
}

/** As Go's regexp/syntax: a program may have no more than so many steps. */
const stepsMax = 20_000;
const repeatMax = 1000;
const cachedMax = 1000;

const cache = new Map<string, Regex | RegexError>();

/** Throws RegexError. */
export function regexOf(pattern: string): Regex {
  const known = cache.get(pattern) ?? compiled(pattern);
  if (!cache.has(pattern)) {
    if (cache.size >= cachedMax) cache.clear();
    cache.set(pattern, known);
  }
  if (known instanceof RegexError) throw known;
  return known;
}

/** Can it be read as a pattern? */
export function isRegex(pattern: string): boolean {
  try {
    regexOf(pattern);
    return true;
  } catch (error) {
    if (error instanceof RegexError) return false;
    throw error;
  }
}

function compiled(pattern: string): Regex | RegexError {
  try {
    return createRegex(programOf(parse(pattern)));
  } catch (error) {
    if (error instanceof RegexError) return error;
    throw error;
  }
}

type Test = (code: number) => boolean;

type Node =
  | { readonly kind: "empty" }
  | { readonly kind: "one"; readonly test: Test }
  | { readonly kind: "assert"; readonly what: Assertion }
  | { readonly kind: "all"; readonly of: readonly Node[] }
  | { readonly kind: "any"; readonly of: readonly Node[] }
  | {
      readonly kind: "repeat";
      readonly of: Node;
      readonly min: number;
      readonly max: number;
      readonly greedy: boolean;
    };

type Assertion = "textStart" | "textEnd" | "lineStart" | "lineEnd" | "word" | "noWord";

interface Flags {
  readonly ignoreCase: boolean;
  readonly multiline: boolean;
  readonly dotAll: boolean;
  readonly ungreedy: boolean;
}

function parse(pattern: string): Node {
  const points = Array.from(pattern);
  let at = 0;
  let depth = 0;
  const fail = (message: string): never => {
    throw new RegexError(`error parsing regexp: ${message}`);
  };

  const alternatives = (given: Flags): Node => {
    if (++depth > 200) fail("expression nests too deeply");
    let flags = given;
    const branches: Node[][] = [[]];
    while (at < points.length && points[at] !== ")") {
      const current = branches.at(-1) ?? [];
      if (points[at] === "|") {
        at++;
        branches.push([]);
        continue;
      }
      const changed = inlineFlags(flags);
      if (changed !== undefined) {
        flags = changed;
        continue;
      }
      current.push(repeated(atom(flags), flags));
    }
    depth--;
    const nodes = branches.map((of): Node => (of.length === 1 && of[0] !== undefined ? of[0] : { kind: "all", of }));
    return nodes.length === 1 && nodes[0] !== undefined ? nodes[0] : { kind: "any", of: nodes };
  };

  function inlineFlags(flags: Flags): Flags | undefined {
    const match = /^\(\?([imsU]*)(?:-([imsU]+))?\)/.exec(points.slice(at, at + 16).join(""));
    if (match === null) return undefined;
    at += match[0].length;
    return withFlags(flags, match[1] ?? "", match[2] ?? "");
  }

  function repeated(node: Node, flags: Flags): Node {
    let result = node;
    for (let first = true; ; first = false) {
      const count = /^(?:[*+?]|\{\d+(?:,\d*)?\})/.exec(points.slice(at, at + 16).join(""))?.[0];
      if (count === undefined) return result;
      if (!first) fail(`invalid nested repetition operator: \`${points.slice(at - 1, at + count.length).join("")}\``);
      at += count.length;
      const isLazy = points[at] === "?";
      if (isLazy) at++;
      const [min, max] = countsOf(count);
      if (min > repeatMax || (max !== Infinity && max > repeatMax) || min > max)
        fail(`invalid repeat count: \`${count}\``);
      result = { kind: "repeat", of: result, min, max, greedy: isLazy === flags.ungreedy };
    }
  }

  function atom(flags: Flags): Node {
    const point = points[at] ?? "";
    switch (point) {
      case "(":
        return group(flags);
      case "[":
        return { kind: "one", test: bracket(flags) };
      case ".":
        at++;
        return { kind: "one", test: flags.dotAll ? () => true : (code) => code !== 10 };
      case "^":
        at++;
        return { kind: "assert", what: flags.multiline ? "lineStart" : "textStart" };
      case "$":
        at++;
        return { kind: "assert", what: flags.multiline ? "lineEnd" : "textEnd" };
      case "\\":
        return escaped(flags);
      case "*":
      case "+":
      case "?":
        return fail(`missing argument to repetition operator: \`${point}\``);
      default:
        at++;
        return literal(point, flags);
    }
  }

  function group(flags: Flags): Node {
    const rest = points.slice(at, at + 80).join("");
    const opening = /^\((?:\?(?:P?<[A-Za-z_]\w*>|[imsU]*(?:-[imsU]+)?:))?/.exec(rest)?.[0] ?? "(";
    if (opening === "(" && rest.startsWith("(?")) fail(`invalid or unsupported Perl syntax: \`${rest.slice(0, 3)}\``);
    at += Array.from(opening).length;
    const set = /^\(\?([imsU]*)(?:-([imsU]+))?:$/.exec(opening);
    const inner = alternatives(set === null ? flags : withFlags(flags, set[1] ?? "", set[2] ?? ""));
    if (points[at] !== ")") fail(`missing closing ): \`${pattern}\``);
    at++;
    return inner;
  }

  function escaped(flags: Flags): Node {
    const letter = points[at + 1];
    if (letter === undefined) return fail("trailing backslash at end of expression: ``");
    const assertion = assertions[letter];
    if (assertion !== undefined) {
      at += 2;
      return { kind: "assert", what: assertion };
    }
    if (letter === "Q") {
      const end = points.findIndex((each, index) => index > at + 1 && each === "\\" && points[index + 1] === "E");
      const text = points.slice(at + 2, end < 0 ? undefined : end);
      at = end < 0 ? points.length : end + 2;
      return { kind: "all", of: text.map((each) => literal(each, flags)) };
    }
    const known = classEscape();
    if (known !== undefined) return { kind: "one", test: known };
    return literal(String.fromCodePoint(codeEscape()), flags);
  }

  /** `\d`, `\pL`; moves on only where there is one. */
  function classEscape(): Test | undefined {
    const letter = points[at + 1] ?? "";
    const perl = perlClasses[letter.toLowerCase()];
    if (perl !== undefined && /[dswDSW]/.test(letter)) {
      at += 2;
      return letter === letter.toLowerCase() ? perl : (code) => !perl(code);
    }
    if (letter !== "p" && letter !== "P") return undefined;
    const match = /^\\[pP](?:\{(\^?)([A-Za-z_]+)\}|([A-Za-z]))/.exec(points.slice(at, at + 40).join(""));
    const name = match?.[2] ?? match?.[3];
    if (match === null || name === undefined)
      return fail(`invalid character class range: \`${points.slice(at, at + 3).join("")}\``);
    at += match[0].length;
    const test = unicodeClass(name) ?? fail(`invalid character class range: \`${match[0]}\``);
    return (letter === "P") !== (match[1] === "^") ? (code) => !test(code) : test;
  }

  function codeEscape(): number {
    const rest = points.slice(at + 1, at + 14).join("");
    const hex = /^x(?:\{([0-9A-Fa-f]{1,8})\}|([0-9A-Fa-f]{2}))/.exec(rest);
    const octal = /^(?:0[0-7]{0,2}|[1-7][0-7]{1,2})/.exec(rest);
    const letter = points[at + 1] ?? "";
    if (hex !== null) {
      at += 1 + hex[0].length;
      return parseInt(hex[1] ?? hex[2] ?? "", 16);
    }
    if (octal !== null) {
      at += 1 + octal[0].length;
      return parseInt(octal[0], 8);
    }
    at += 2;
    const control = controls[letter];
    if (control !== undefined) return control;
    if (/^[A-Za-z0-9]$/.test(letter)) fail(`invalid escape sequence: \`\\${letter}\``);
    return letter.codePointAt(0) ?? 0;
  }

  function bracket(flags: Flags): Test {
    const start = at++;
    const isNegated = points[at] === "^";
    if (isNegated) at++;
    const tests: Test[] = [];
    for (let first = true; points[at] !== "]" || first; first = false) {
      if (at >= points.length) fail(`missing closing ]: \`${points.slice(start).join("")}\``);
      const posix = /^\[:(\^?)(\w+):\]/.exec(points.slice(at, at + 14).join(""));
      if (posix !== null) {
        const source = posixClasses[posix[2] ?? ""];
        if (source === undefined) fail(`invalid character class range: \`${posix[0]}\``);
        const expression = new RegExp(`[${source}]`);
        at += posix[0].length;
        tests.push((code) => (code < 128 && expression.test(String.fromCharCode(code))) !== (posix[1] === "^"));
        continue;
      }
      if (points[at] === "\\") {
        const test = classEscape();
        if (test !== undefined) {
          tests.push(test);
          continue;
        }
      }
      const low = bracketCode();
      let high = low;
      if (points[at] === "-" && points[at + 1] !== "]" && at + 1 < points.length) {
        at++;
        high = bracketCode();
        if (high < low)
          fail(`invalid character class range: \`${String.fromCodePoint(low)}-${String.fromCodePoint(high)}\``);
      }
      tests.push((code) => code >= low && code <= high);
    }
    at++;
    const plain: Test = (code) => tests.some((test) => test(code)) !== isNegated;
    if (!flags.ignoreCase) return plain;
    return (code) => tests.some((test) => casesOf(code).some(test)) !== isNegated;
  }

  function bracketCode(): number {
    if (points[at] === "\\") return codeEscape();
    return points[at++]?.codePointAt(0) ?? 0;
  }

  const node = alternatives({ ignoreCase: false, multiline: false, dotAll: false, ungreedy: false });
  if (at < points.length) fail(`unexpected ): \`${pattern}\``);
  return node;
}

function withFlags(flags: Flags, on: string, off: string): Flags {
  const flag = (letter: string, before: boolean): boolean => (on.includes(letter) || before) && !off.includes(letter);
  return {
    ignoreCase: flag("i", flags.ignoreCase),
    multiline: flag("m", flags.multiline),
    dotAll: flag("s", flags.dotAll),
    ungreedy: flag("U", flags.ungreedy),
  };
}

function countsOf(count: string): readonly [number, number] {
  if (count === "*") return [0, Infinity];
  if (count === "+") return [1, Infinity];
  if (count === "?") return [0, 1];
  const [, min = "0", comma, max = ""] = /^\{(\d+)(,?)(\d*)\}$/.exec(count) ?? [];
  return [Number(min), comma === "" ? Number(min) : max === "" ? Infinity : Number(max)];
}

function literal(point: string, { ignoreCase }: Flags): Node {
  const wanted = point.codePointAt(0) ?? 0;
  if (!ignoreCase) return { kind: "one", test: (code) => code === wanted };
  const cases = casesOf(wanted);
  return { kind: "one", test: (code) => cases.includes(code) };
}

function casesOf(code: number): readonly number[] {
  const text = String.fromCodePoint(code);
  return [code, text.toLowerCase().codePointAt(0) ?? code, text.toUpperCase().codePointAt(0) ?? code];
}

const assertions: { readonly [letter: string]: Assertion | undefined } = {
  A: "textStart",
  z: "textEnd",
  b: "word",
  B: "noWord",
};

const controls: { readonly [letter: string]: number | undefined } = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11 };

function isWord(code: number): boolean {
  return (code >= 48 && code <= 57) || (code >= 65 && code <= 90) || code === 95 || (code >= 97 && code <= 122);
}

const perlClasses: { readonly [letter: string]: Test | undefined } = {
  d: (code) => code >= 48 && code <= 57,
  s: (code) => code === 32 || (code >= 9 && code <= 13 && code !== 11),
  w: isWord,
};

const posixClasses: { readonly [name: string]: string | undefined } = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  ascii: "\\x00-\\x7f",
  blank: "\\t ",
  cntrl: "\\x00-\\x1f\\x7f",
  digit: "0-9",
  graph: "!-~",
  lower: "a-z",
  print: " -~",
  punct: "!-\\/:-@\\[-`{-~",
  space: "\\t\\n\\v\\f\\r ",
  upper: "A-Z",
  word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f",
};

function unicodeClass(name: string): Test | undefined {
  for (const property of [name, `Script=${name}`])
    try {
      const expression = new RegExp(`^\\p{${property}}$`, "u");
      return (code) => expression.test(String.fromCodePoint(code));
    } catch {
      // Not a property of this name: perhaps a script.
    }
  return undefined;
}

type Step =
  | { readonly kind: "one"; readonly test: Test }
  | { readonly kind: "assert"; readonly what: Assertion }
  /** Goes on in both places, the first preferred. */
  | { readonly kind: "split"; first: number; second: number }
  | { readonly kind: "jump"; to: number }
  | { readonly kind: "match" };

function programOf(node: Node): readonly Step[] {
  const steps: Step[] = [];
  const put = (step: Step): number => {
    if (steps.length >= stepsMax) throw new RegexError("error parsing regexp: expression too large");
    return steps.push(step) - 1;
  };
  const emit = (each: Node): void => {
    switch (each.kind) {
      case "empty":
        return;
      case "one":
      case "assert":
        put(each);
        return;
      case "all":
        for (const part of each.of) emit(part);
        return;
      case "any": {
        const ends: { kind: "jump"; to: number }[] = [];
        for (const [index, branch] of each.of.entries()) {
          if (index === each.of.length - 1) {
            emit(branch);
            break;
          }
          const split = { kind: "split" as const, first: 0, second: 0 };
          split.first = put(split) + 1;
          emit(branch);
          const end = { kind: "jump" as const, to: 0 };
          put(end);
          ends.push(end);
          split.second = steps.length;
        }
        for (const end of ends) end.to = steps.length;
        return;
      }
      case "repeat": {
        for (let i = 0; i < each.min; i++) emit(each.of);
        const choose = (split: { first: number; second: number }, inside: number, behind: number): void => {
          split.first = each.greedy ? inside : behind;
          split.second = each.greedy ? behind : inside;
        };
        if (each.max === Infinity) {
          const split = { kind: "split" as const, first: 0, second: 0 };
          const start = put(split);
          emit(each.of);
          put({ kind: "jump", to: start });
          choose(split, start + 1, steps.length);
          return;
        }
        const splits: { split: { first: number; second: number }; inside: number }[] = [];
        for (let i = each.min; i < each.max; i++) {
          const split = { kind: "split" as const, first: 0, second: 0 };
          splits.push({ split, inside: put(split) + 1 });
          emit(each.of);
        }
        for (const { split, inside } of splits) choose(split, inside, steps.length);
      }
    }
  };
  emit(node);
  put({ kind: "match" });
  return steps;
}

function createRegex(steps: readonly Step[]): Regex {
  const find: Regex["find"] = (text, from = 0) => run(steps, text, from, false);
  return { find, test: (text) => run(steps, text, 0, true) !== undefined };
}

/** Threads in order of preference, each with where its match began. */
interface Threads {
  readonly at: Int32Array;
  readonly start: Int32Array;
  size: number;
  readonly seen: Int32Array;
  mark: number;
}

function threads(size: number): Threads {
  return { at: new Int32Array(size), start: new Int32Array(size), size: 0, seen: new Int32Array(size), mark: 0 };
}

function run(
  steps: readonly Step[],
  text: string,
  from: number,
  anyMatch: boolean,
): { readonly start: number; readonly end: number } | undefined {
  let now = threads(steps.length);
  let then = threads(steps.length);
  let found: { start: number; end: number } | undefined;
  const stack: number[] = [];
  const add = (list: Threads, step: number, start: number, position: number): void => {
    stack.push(step);
    while (stack.length > 0) {
      const each = stack.pop() ?? 0;
      if (list.seen[each] === list.mark) continue;
      list.seen[each] = list.mark;
      const what = steps[each];
      if (what?.kind === "jump") stack.push(what.to);
      else if (what?.kind === "split") stack.push(what.second, what.first);
      else if (what?.kind === "assert") {
        if (holds(what.what, text, position)) stack.push(each + 1);
      } else {
        list.at[list.size] = each;
        list.start[list.size] = start;
        list.size++;
      }
    }
  };
  now.mark = 1;
  for (let position = from; ;) {
    if (found === undefined) add(now, 0, position, position);
    if (now.size === 0 && found !== undefined) return found;
    const code = position < text.length ? (text.codePointAt(position) ?? 0) : -1;
    const next = position + (code > 0xffff ? 2 : 1);
    then.size = 0;
    then.mark++;
    for (let i = 0; i < now.size; i++) {
      const at = now.at[i] ?? 0;
      const start = now.start[i] ?? 0;
      const step = steps[at];
      if (step?.kind === "match") {
        found = { start, end: position };
        if (anyMatch) return found;
        // The threads behind are less wanted.
        break;
      }
      if (step?.kind === "one" && code >= 0 && step.test(code)) add(then, at + 1, start, next);
    }
    if (code < 0) return found;
    [now, then] = [then, now];
    position = next;
  }
}

function holds(what: Assertion, text: string, at: number): boolean {
  switch (what) {
    case "textStart":
      return at === 0;
    case "textEnd":
      return at === text.length;
    case "lineStart":
      return at === 0 || text.charCodeAt(at - 1) === 10;
    case "lineEnd":
      return at === text.length || text.charCodeAt(at) === 10;
    case "word":
    case "noWord": {
      const before = at > 0 && isWord(text.charCodeAt(at - 1));
      const behind = at < text.length && isWord(text.charCodeAt(at));
      return (before !== behind) === (what === "word");
    }
  }
}
