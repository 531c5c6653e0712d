// The functions that every expression has: conversions, sizes, texts, times, optionals (cel-spec "Standard Definitions"; cel-go
// ext/strings.go version 2, ext/lists.go version 3, ext/sets.go, cel/optional).

import { checkedInt, checkedTimestamp, checkedUint, chargeText, sortedBy } from "./evaluate.ts";
import { declare, EvaluationError, type Meter, type Overload } from "./environment.ts";
import { formatted, quoted } from "./format-text.ts";
import { parseDuration, parseTimestamp } from "./times.ts";
import { regexOf, RegexError, type Regex } from "./regex.ts";
import {
  CelMap,
  CelObject,
  Duration,
  equals,
  isList,
  Opaque,
  Optional,
  sizeOfText,
  stringOf,
  Timestamp,
  typeName,
  TypeValue,
  Uint,
  type Value,
} from "./values.ts";

const intOf = (value: number): bigint => BigInt(value);

const sizes = declare({
  "size(string): int": ([text]) => intOf(sizeOfText(text)),
  "size(bytes): int": ([bytes]) => intOf(bytes.length),
  "size(list<A>): int": ([list]) => intOf(list.length),
  "size(map<A, B>): int": ([map]) => intOf(map.size),
  "string.size(): int": ([text]) => intOf(sizeOfText(text)),
  "bytes.size(): int": ([bytes]) => intOf(bytes.length),
  "list<A>.size(): int": ([list]) => intOf(list.length),
  "map<A, B>.size(): int": ([map]) => intOf(map.size),
});

function conversionError(to: string, value: Value): EvaluationError {
  return new EvaluationError(`type conversion error from '${typeName(value)}' to '${to}'`);
}

function wholeOf(value: number): bigint {
  if (!Number.isFinite(value) || Math.abs(value) >= 2 ** 63) throw new EvaluationError("integer overflow");
  return BigInt(Math.trunc(value));
}

const conversions = declare({
  "int(int): int": ([value]) => value,
  "int(uint): int": ([value]) => checkedInt(value.value),
  "int(double): int": ([value]) => wholeOf(value),
  "int(string): int": ([text]) => {
    if (!/^[+-]?\d+$/.test(text)) throw conversionError("int", text);
    return checkedInt(BigInt(text.replace("+", "")));
  },
  "int(timestamp): int": ([{ nanos }]) =>
    (nanos - (((nanos % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n)) / 1_000_000_000n,
  "int(duration): int": ([{ nanos }]) => nanos,
  "uint(uint): uint": ([value]) => value,
  "uint(int): uint": ([value]) => checkedUint(value),
  "uint(double): uint": ([value]) => checkedUint(wholeOf(value)),
  "uint(string): uint": ([text]) => {
    if (!/^\d+$/.test(text)) throw conversionError("uint", text);
    return checkedUint(BigInt(text));
  },
  "double(double): double": ([value]) => value,
  "double(int): double": ([value]) => Number(value),
  "double(uint): double": ([value]) => Number(value.value),
  "double(string): double": ([text]) => {
    const value = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text) ? Number(text) : special(text);
    if (value === undefined) throw conversionError("double", text);
    return value;
  },
  "bool(bool): bool": ([value]) => value,
  "bool(string): bool": ([text]) => {
    if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
    if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
    throw conversionError("bool", text);
  },
  "bytes(bytes): bytes": ([value]) => value,
  "bytes(string): bytes": ([text]) => new TextEncoder().encode(text),
  ...Object.fromEntries(
    ["string", "bool", "int", "uint", "double", "bytes", "timestamp", "duration"].map((type) => [
      `string(${type}): string`,
      ([value]: readonly Value[]) => {
        const text = stringOf(value ?? null);
        if (text === undefined) throw new EvaluationError("invalid UTF-8 in bytes, cannot convert to string");
        return text;
      },
    ]),
  ),
  "timestamp(timestamp): timestamp": ([value]) => value,
  "timestamp(int): timestamp": ([seconds]) => checkedTimestamp(seconds * 1_000_000_000n),
  "timestamp(string): timestamp": ([text]) => {
    const value = parseTimestamp(text);
    if (value === undefined)
      throw new EvaluationError(`parsing time ${JSON.stringify(text)} as "2006-01-02T15:04:05Z07:00": cannot parse`);
    return value;
  },
  "duration(duration): duration": ([value]) => value,
  "duration(int): duration": ([nanos]) => new Duration(nanos),
  "duration(string): duration": ([text]) => {
    const value = parseDuration(text);
    if (value === undefined) throw new EvaluationError(`time: invalid duration ${JSON.stringify(text)}`);
    return value;
  },
  "dyn(A): dyn": ([value]) => value,
  "type(A): type<A>": ([value]) => new TypeValue(typeName(value)),
});

function special(text: string): number | undefined {
  const match = /^([+-]?)(nan|inf|infinity)$/i.exec(text);
  if (match === null) return undefined;
  return /nan/i.test(match[2] ?? "") ? NaN : match[1] === "-" ? -Infinity : Infinity;
}

/** The pattern as it can be asked. Throws EvaluationError. */
export function patternOf(pattern: string): Regex {
  try {
    return regexOf(pattern);
  } catch (error) {
    if (error instanceof RegexError) throw new EvaluationError(error.message);
    throw error;
  }
}

/** cel-go: a pattern costs its length for each of the text's characters. */
export function chargePattern(meter: Meter, text: string, pattern: string): void {
  meter.charge(Math.ceil((1 + sizeOfText(text)) * 0.1) * Math.max(1, Math.ceil(pattern.length * 0.25)));
}

function matches([text, pattern]: readonly [string, string], meter: Meter): boolean {
  chargePattern(meter, text, pattern);
  return patternOf(pattern).test(text);
}

function points(text: string): readonly string[] {
  return Array.from(text);
}

function indexIn(text: string, part: string, from: bigint | undefined, last: boolean): bigint {
  const all = points(text);
  const wanted = points(part);
  if (from !== undefined && (from < 0n || from > BigInt(all.length)))
    throw new EvaluationError(`index out of range: ${from}`);
  const fits = (at: number): boolean => wanted.every((point, index) => all[at + index] === point);
  if (last) {
    for (let at = Math.min(Number(from ?? all.length), all.length - wanted.length); at >= 0; at--)
      if (fits(at)) return BigInt(at);
    return -1n;
  }
  for (let at = Number(from ?? 0); at + wanted.length <= all.length; at++) if (fits(at)) return BigInt(at);
  return -1n;
}

function substring(text: string, from: bigint, to: bigint | undefined): string {
  const all = points(text);
  const end = to ?? BigInt(all.length);
  if (from < 0n || from > BigInt(all.length)) throw new EvaluationError(`index out of range: ${from}`);
  if (end < 0n || end > BigInt(all.length)) throw new EvaluationError(`index out of range: ${end}`);
  if (from > end) throw new EvaluationError(`invalid substring range. start: ${from}, end: ${end}`);
  return all.slice(Number(from), Number(end)).join("");
}

function replaced(text: string, from: string, to: string, count: bigint, meter: Meter): string {
  chargeText(meter, text, text);
  let left = count < 0n ? Infinity : Number(count);
  const parts = from === "" ? points(text) : text.split(from);
  if (from !== "") return parts.reduce((result, part) => result + (left-- > 0 ? to : from) + part);
  let result = "";
  for (const point of parts) result += (left-- > 0 ? to : "") + point;
  return result + (left-- > 0 ? to : "");
}

function split(text: string, separator: string, count: bigint): readonly string[] {
  if (count === 0n) return [];
  const parts = separator === "" ? points(text) : text.split(separator);
  if (count < 0n || BigInt(parts.length) <= count) return parts;
  const kept = Number(count) - 1;
  return [...parts.slice(0, kept), parts.slice(kept).join(separator)];
}

const upper = (text: string): string => text.replace(/[a-z]/g, (letter) => letter.toUpperCase());
const lower = (text: string): string => text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());

const texts = declare(
  {
    "string.contains(string): bool": ([text, part], meter) => {
      chargeText(meter, text, part);
      return text.includes(part);
    },
    "string.startsWith(string): bool": ([text, part]) => text.startsWith(part),
    "string.endsWith(string): bool": ([text, part]) => text.endsWith(part),
    "matches(string, string): bool": ([text, pattern], meter) => matches([text, pattern], meter),
    "string.matches(string): bool": ([text, pattern], meter) => matches([text, pattern], meter),
    "string.charAt(int): string": ([text, at]) => {
      const all = points(text);
      if (at < 0n || at > BigInt(all.length)) throw new EvaluationError(`index out of range: ${at}`);
      return all[Number(at)] ?? "";
    },
    "string.indexOf(string): int": ([text, part]) => indexIn(text, part, undefined, false),
    "string.indexOf(string, int): int": ([text, part, from]) => indexIn(text, part, from, false),
    "string.lastIndexOf(string): int": ([text, part]) => indexIn(text, part, undefined, true),
    "string.lastIndexOf(string, int): int": ([text, part, from]) => indexIn(text, part, from, true),
    "string.lowerAscii(): string": ([text], meter) => (chargeText(meter, text), lower(text)),
    "string.upperAscii(): string": ([text], meter) => (chargeText(meter, text), upper(text)),
    "string.replace(string, string): string": ([text, from, to], meter) => replaced(text, from, to, -1n, meter),
    "string.replace(string, string, int): string": ([text, from, to, count], meter) =>
      replaced(text, from, to, count, meter),
    "string.split(string): list<string>": ([text, separator], meter) => (
      chargeText(meter, text),
      split(text, separator, -1n)
    ),
    "string.split(string, int): list<string>": ([text, separator, count], meter) => (
      chargeText(meter, text),
      split(text, separator, count)
    ),
    "string.substring(int): string": ([text, from]) => substring(text, from, undefined),
    "string.substring(int, int): string": ([text, from, to]) => substring(text, from, to),
    "string.trim(): string": ([text], meter) => (chargeText(meter, text), text.trim()),
    "list<string>.join(): string": ([list], meter) => (meter.charge(list.length), list.join("")),
    "list<string>.join(string): string": ([list, separator], meter) => (
      meter.charge(list.length),
      list.join(separator)
    ),
    "string.format(list<dyn>): string": ([text, args], meter) => (chargeText(meter, text), formatted(text, args)),
    "strings.quote(string): string": ([text]) => quoted(text),
  },
  ["strings"],
);

/** A time's parts where it is read on a wall. */
function wallOf({ nanos }: Timestamp, zone: string | undefined): Date {
  const ms = Number(nanos / 1_000_000n);
  if (zone === undefined || zone === "UTC" || zone === "Z") return new Date(ms);
  const offset = /^([+-]?)(\d\d):(\d\d)$/.exec(zone);
  if (offset !== null)
    return new Date(ms + (offset[1] === "-" ? -1 : 1) * (Number(offset[2]) * 60 + Number(offset[3])) * 60_000);
  try {
    const parts = new Intl.DateTimeFormat("en-US", {
      timeZone: zone,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    }).formatToParts(ms);
    const part = (type: string): number => Number(parts.find((each) => each.type === type)?.value ?? 0);
    return new Date(
      Date.UTC(
        part("year"),
        part("month") - 1,
        part("day"),
        part("hour"),
        part("minute"),
        part("second"),
        ((ms % 1000) + 1000) % 1000,
      ),
    );
  } catch {
    throw new EvaluationError(`unknown time zone ${zone}`);
  }
}

const wallParts: { readonly [method: string]: (date: Date) => number } = {
  getFullYear: (date) => date.getUTCFullYear(),
  getMonth: (date) => date.getUTCMonth(),
  getDate: (date) => date.getUTCDate(),
  getDayOfMonth: (date) => date.getUTCDate() - 1,
  getDayOfWeek: (date) => date.getUTCDay(),
  getDayOfYear: (date) => Math.floor((date.getTime() - Date.UTC(date.getUTCFullYear(), 0, 1)) / 86_400_000),
  getHours: (date) => date.getUTCHours(),
  getMinutes: (date) => date.getUTCMinutes(),
  getSeconds: (date) => date.getUTCSeconds(),
  getMilliseconds: (date) => date.getUTCMilliseconds(),
};

const times = declare({
  ...Object.fromEntries(
    Object.entries(wallParts).flatMap(([method, part]) => [
      [
        `timestamp.${method}(): int`,
        ([time]: readonly Timestamp[]) => intOf(part(wallOf(time ?? new Timestamp(0n), undefined))),
      ],
      [
        `timestamp.${method}(string): int`,
        ([time, zone]: readonly [Timestamp, string]) => intOf(part(wallOf(time, zone))),
      ],
    ]),
  ),
  "duration.getHours(): int": ([{ nanos }]) => nanos / 3_600_000_000_000n,
  "duration.getMinutes(): int": ([{ nanos }]) => nanos / 60_000_000_000n,
  "duration.getSeconds(): int": ([{ nanos }]) => nanos / 1_000_000_000n,
  "duration.getMilliseconds(): int": ([{ nanos }]) => (nanos / 1_000_000n) % 1000n,
});

function isZero(value: Value): boolean {
  if (value === null || value === false || value === "" || value === 0n || value === 0) return true;
  if (isList(value) || value instanceof Uint8Array) return value.length === 0;
  if (value instanceof CelMap) return value.size === 0;
  if (value instanceof Uint) return value.value === 0n;
  if (value instanceof Duration || value instanceof Timestamp) return value.nanos === 0n;
  return value instanceof CelObject && [...value.names()].every((name) => value.get(name) === undefined);
}

const optionals = declare(
  {
    "optional.of(A): optional<A>": ([value]) => new Optional(value),
    "optional.ofNonZeroValue(A): optional<A>": ([value]) => new Optional(isZero(value) ? undefined : value),
    "optional.none(): optional<A>": () => new Optional(undefined),
    "optional.unwrap(list<optional<A>>): list<A>": ([list]) => unwrapped(list),
    "list<optional<A>>.unwrapOpt(): list<A>": ([list]) => unwrapped(list),
    "optional<A>.hasValue(): bool": ([optional]) => optional.value !== undefined,
    "optional<A>.value(): A": ([optional]) => {
      if (optional.value === undefined) throw new EvaluationError("optional.none() dereference");
      return optional.value;
    },
    "optional<A>.or(optional<A>): optional<A>": ([optional, other]) =>
      optional.value === undefined ? other : optional,
    "optional<A>.orValue(A): A": ([optional, other]) => optional.value ?? other,
  },
  ["optional"],
);

function unwrapped(list: readonly Optional[]): readonly Value[] {
  return list.flatMap(({ value }) => (value === undefined ? [] : [value]));
}

function distinct(list: readonly Value[], meter: Meter): readonly Value[] {
  const kept: Value[] = [];
  for (const each of list) {
    meter.charge(kept.length);
    if (!kept.some((other) => equals(each, other))) kept.push(each);
  }
  return kept;
}

function flattened(list: readonly Value[], depth: bigint): readonly Value[] {
  if (depth < 0n) throw new EvaluationError("level must be non-negative");
  return depth === 0n ? list : list.flatMap((each) => (isList(each) ? flattened(each, depth - 1n) : [each]));
}

function slice(list: readonly Value[], from: bigint, to: bigint): readonly Value[] {
  if (from < 0n || to < 0n) throw new EvaluationError(`cannot slice(${from}, ${to}), negative indexes not supported`);
  if (from > to)
    throw new EvaluationError(`cannot slice(${from}, ${to}), start index must be less than or equal to end index`);
  if (to > BigInt(list.length))
    throw new EvaluationError(`cannot slice(${from}, ${to}), list is length ${list.length}`);
  return list.slice(Number(from), Number(to));
}

const lists = declare(
  {
    "list<A>.distinct(): list<A>": ([list], meter) => distinct(list, meter),
    "list<A>.flatten(): list<dyn>": ([list]) => flattened(list, 1n),
    "list<A>.flatten(int): list<dyn>": ([list, depth]) => flattened(list, depth),
    "list<A>.reverse(): list<A>": ([list]) => [...list].reverse(),
    "list<A>.slice(int, int): list<A>": ([list, from, to]) => slice(list, from, to),
    "list<A>.sort(): list<A>": ([list], meter) => {
      meter.charge(list.length);
      return sortedBy(list.map((element: Value) => ({ key: element, element }))).map(({ key }) => key);
    },
    "list<A>.first(): optional<A>": ([list]) => new Optional(list[0]),
    "list<A>.last(): optional<A>": ([list]) => new Optional(list.at(-1)),
    "lists.range(int): list<int>": ([size], meter) => {
      meter.charge(Number(size));
      return Array.from({ length: Math.max(0, Number(size)) }, (_, index) => BigInt(index));
    },
    "sets.contains(list<A>, list<A>): bool": ([list, others], meter) => {
      meter.charge(list.length * others.length);
      return others.every((other: Value) => list.some((each: Value) => equals(each, other)));
    },
    "sets.equivalent(list<A>, list<A>): bool": ([list, others], meter) => {
      meter.charge(2 * list.length * others.length);
      const within = (some: readonly Value[], all: readonly Value[]): boolean =>
        some.every((each) => all.some((other) => equals(each, other)));
      return within(list, others) && within(others, list);
    },
    "sets.intersects(list<A>, list<A>): bool": ([list, others], meter) => {
      meter.charge(list.length * others.length);
      return others.some((other: Value) => list.some((each: Value) => equals(each, other)));
    },
  },
  ["lists", "sets"],
);

/** All of them. */
export const standardOverloads: readonly Overload[] = [
  ...sizes,
  ...conversions,
  ...texts,
  ...times,
  ...optionals,
  ...lists,
];

/** A value of a library whose equality is that of its text. */
export function opaque<T>(type: string, value: T, textOf: (value: T) => string): Opaque<T> {
  const text = textOf(value);
  return new Opaque(type, value, (other) => textOf(other) === text);
}
