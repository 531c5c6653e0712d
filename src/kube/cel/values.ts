// Values of the expression language at run time, and what all of them have: a type, equality, an order, a text.
// int is bigint, double is number, list is an array; the rest are small classes. Objects are read where they lie, field by field.
//
// Not here: JSON as values (json.ts), functions (library.ts).

import type { ListMerge } from "./types.ts";

export type Value =
  | bigint
  | number
  | string
  | boolean
  | null
  | Uint8Array
  | Uint
  | Duration
  | Timestamp
  | TypeValue
  | Optional
  | Opaque
  | CelMap
  | CelObject
  | readonly Value[];

export class Uint {
  readonly value: bigint;
  constructor(value: bigint) {
    this.value = value;
  }
}

/** Nanoseconds. */
export class Duration {
  readonly nanos: bigint;
  constructor(nanos: bigint) {
    this.nanos = nanos;
  }
}

/** Nanoseconds since 1970. */
export class Timestamp {
  readonly nanos: bigint;
  constructor(nanos: bigint) {
    this.nanos = nanos;
  }
}

/** A type as a value: `type(1)`, `int`. */
export class TypeValue {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

export class Optional {
  readonly value: Value | undefined;
  constructor(value: Value | undefined) {
    this.value = value;
  }
}

/** A value of a library. */
export class Opaque<T = unknown> {
  readonly type: string;
  readonly value: T;
  readonly #equals: (other: unknown) => boolean;
  constructor(type: string, value: T, equals: (other: T) => boolean) {
    this.type = type;
    this.value = value;
    this.#equals = equals as (other: unknown) => boolean;
  }
  /** Is it the same as another value of this type? */
  equals(other: unknown): boolean {
    return this.#equals(other);
  }
}

/** Keys of different types with the same number are one key. */
export class CelMap {
  readonly #entries = new Map<string, readonly [Value, Value]>();
  constructor(entries: Iterable<readonly [Value, Value]>) {
    for (const entry of entries) this.#entries.set(keyText(entry[0]), entry);
  }
  get(key: Value): Value | undefined {
    return this.#entries.get(keyText(key))?.[1];
  }
  has(key: Value): boolean {
    return this.#entries.has(keyText(key));
  }
  get size(): number {
    return this.#entries.size;
  }
  entries(): Iterable<readonly [Value, Value]> {
    return this.#entries.values();
  }
}

function keyText(key: Value): string {
  if (typeof key === "string") return `s${key}`;
  if (typeof key === "bigint") return `i${key}`;
  if (key instanceof Uint) return `i${key.value}`;
  if (typeof key === "number") return Number.isInteger(key) ? `i${BigInt(key)}` : `d${key}`;
  return `b${stringOf(key) ?? ""}`;
}

/** An object with fields: what is read is made a value once. */
export class CelObject {
  readonly type: string;
  readonly #fields: ReadonlyMap<string, () => Value | undefined>;
  readonly #read = new Map<string, Value | undefined>();
  constructor(type: string, fields: ReadonlyMap<string, () => Value | undefined>) {
    this.type = type;
    this.#fields = fields;
  }
  /** Undefined where it is not set. */
  get(name: string): Value | undefined {
    if (this.#read.has(name)) return this.#read.get(name);
    const value = this.#fields.get(name)?.();
    this.#read.set(name, value);
    return value;
  }
  names(): Iterable<string> {
    return this.#fields.keys();
  }
  knows(name: string): boolean {
    return this.#fields.has(name);
  }
}

const merges = new WeakMap<readonly Value[], ListMerge>();

/** Notes that the order of a list means nothing (x-kubernetes-list-type set, map). */
export function mergingList(list: readonly Value[], merge: ListMerge): readonly Value[] {
  merges.set(list, merge);
  return list;
}

/** How two lists are joined; undefined for lists in order. */
export function mergeOf(list: readonly Value[]): ListMerge | undefined {
  return merges.get(list);
}

/** What identifies an element of a list of type map. */
export function mergeKey(element: Value, keys: readonly string[]): string {
  return JSON.stringify(
    keys.map((key) => {
      const value =
        element instanceof CelObject ? element.get(key) : element instanceof CelMap ? element.get(key) : undefined;
      return value === undefined ? null : `${typeName(value)} ${stringOf(value) ?? ""}`;
    }),
  );
}

/** The name of a value's type, as `type()` gives it. */
export function typeName(value: Value): string {
  if (typeof value === "string") return "string";
  if (typeof value === "bigint") return "int";
  if (typeof value === "number") return "double";
  if (typeof value === "boolean") return "bool";
  if (value === null) return "null_type";
  if (Array.isArray(value)) return "list";
  if (value instanceof CelMap) return "map";
  if (value instanceof CelObject) return value.type;
  if (value instanceof Uint) return "uint";
  if (value instanceof Uint8Array) return "bytes";
  if (value instanceof Duration) return "google.protobuf.Duration";
  if (value instanceof Timestamp) return "google.protobuf.Timestamp";
  if (value instanceof TypeValue) return "type";
  if (value instanceof Optional) return "optional_type";
  return value instanceof Opaque ? value.type : "dyn";
}

/** Equality over all types: numbers by value, lists and maps by what is in them (cel-spec "Equality"). */
export function equals(a: Value, b: Value): boolean {
  if (a === b) return true;
  const x = numberOf(a);
  const y = numberOf(b);
  if (x !== undefined || y !== undefined) return x !== undefined && y !== undefined && compareNumbers(x, y) === 0;
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return false;
  if (isList(a)) return isList(b) && equalLists(a, b);
  if (a instanceof CelMap) return b instanceof CelMap && equalMaps(a, b);
  if (a instanceof CelObject) return b instanceof CelObject && equalObjects(a, b);
  if (a instanceof Uint8Array)
    return b instanceof Uint8Array && a.length === b.length && a.every((byte, index) => byte === b[index]);
  if (a instanceof Duration) return b instanceof Duration && a.nanos === b.nanos;
  if (a instanceof Timestamp) return b instanceof Timestamp && a.nanos === b.nanos;
  if (a instanceof TypeValue) return b instanceof TypeValue && a.name === b.name;
  if (a instanceof Optional)
    return (
      b instanceof Optional &&
      (a.value === undefined || b.value === undefined ? a.value === b.value : equals(a.value, b.value))
    );
  return a instanceof Opaque && b instanceof Opaque && a.type === b.type && a.equals(b.value);
}

export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

function equalLists(a: readonly Value[], b: readonly Value[]): boolean {
  if (a.length !== b.length) return false;
  const merge = mergeOf(a) ?? mergeOf(b);
  if (merge === undefined) return a.every((element, index) => equals(element, b[index] ?? null));
  if (merge.kind === "set") return a.every((element) => b.some((other) => equals(element, other)));
  const byKey = new Map(b.map((element) => [mergeKey(element, merge.keys), element]));
  return a.every((element) => {
    const other = byKey.get(mergeKey(element, merge.keys));
    return other !== undefined && equals(element, other);
  });
}

function equalMaps(a: CelMap, b: CelMap): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a.entries()) {
    const other = b.get(key);
    if (other === undefined || !equals(value, other)) return false;
  }
  return true;
}

function equalObjects(a: CelObject, b: CelObject): boolean {
  for (const name of new Set([...a.names(), ...b.names()])) {
    const [x, y] = [a.get(name), b.get(name)];
    if (x === undefined || y === undefined ? x !== y : !equals(x, y)) return false;
  }
  return true;
}

function numberOf(value: Value): bigint | number | undefined {
  if (typeof value === "bigint" || typeof value === "number") return value;
  return value instanceof Uint ? value.value : undefined;
}

function compareNumbers(a: bigint | number, b: bigint | number): number | undefined {
  if (Number.isNaN(a) || Number.isNaN(b)) return undefined;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Below, equal or above 0; undefined where the two have no order. */
export function compare(a: Value, b: Value): number | undefined {
  const x = numberOf(a);
  const y = numberOf(b);
  if (x !== undefined && y !== undefined) return compareNumbers(x, y);
  if (typeof a === "string" && typeof b === "string") return compareText(a, b);
  if (typeof a === "boolean" && typeof b === "boolean") return Number(a) - Number(b);
  if (a instanceof Duration && b instanceof Duration) return compareNumbers(a.nanos, b.nanos);
  if (a instanceof Timestamp && b instanceof Timestamp) return compareNumbers(a.nanos, b.nanos);
  if (a instanceof Uint8Array && b instanceof Uint8Array) {
    for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return (a[i] ?? 0) - (b[i] ?? 0);
    return a.length - b.length;
  }
  return undefined;
}

/** By code points, as UTF-8 sorts. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  const [x, y] = [Array.from(a), Array.from(b)];
  for (let i = 0; i < Math.min(x.length, y.length); i++)
    if (x[i] !== y[i]) return (x[i]?.codePointAt(0) ?? 0) - (y[i]?.codePointAt(0) ?? 0);
  return x.length - y.length;
}

/** As `string()` writes it; undefined for what has no text. */
export function stringOf(value: Value): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "bigint" || typeof value === "boolean") return String(value);
  if (typeof value === "number") return doubleText(value);
  if (value instanceof Uint) return String(value.value);
  if (value instanceof Duration) return `${decimal(value.nanos)}s`;
  if (value instanceof Timestamp) return timestampText(value);
  if (value instanceof Uint8Array) {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(value);
    } catch {
      return undefined;
    }
  }
  return undefined;
}

function decimal(nanos: bigint): string {
  const sign = nanos < 0n ? "-" : "";
  const size = nanos < 0n ? -nanos : nanos;
  const fraction = String(size % 1_000_000_000n)
    .padStart(9, "0")
    .replace(/0+$/, "");
  return `${sign}${size / 1_000_000_000n}${fraction === "" ? "" : `.${fraction}`}`;
}

/** RFC 3339 with as many digits of a second as are needed. */
export function timestampText({ nanos }: Timestamp): string {
  const seconds = nanos >= 0n ? nanos / 1_000_000_000n : (nanos - 999_999_999n) / 1_000_000_000n;
  const fraction = String(nanos - seconds * 1_000_000_000n)
    .padStart(9, "0")
    .replace(/0+$/, "");
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}${fraction === "" ? "" : `.${fraction}`}Z`;
}

// Go's strconv.FormatFloat(value, 'g', -1, 64)
function doubleText(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  const exponent = value === 0 ? 0 : Math.floor(Math.log10(Math.abs(value)));
  if (exponent >= -4 && exponent < 21) return Object.is(value, -0) ? "-0" : expanded(value);
  const [digits = "", power = "0"] = value.toExponential().split("e");
  const size = Math.abs(Number(power));
  return `${digits}e${Number(power) < 0 ? "-" : "+"}${size < 10 ? `0${size}` : size}`;
}

function expanded(value: number): string {
  const text = String(value);
  return text.includes("e") ? value.toFixed(20).replace(/\.?0+$/, "") : text;
}

/** Code points of a text. */
export function sizeOfText(text: string): number {
  let size = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0xd800 && code < 0xdc00 && i + 1 < text.length) i++;
    size++;
  }
  return size;
}
