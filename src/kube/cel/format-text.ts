// `"%s has %d".format([…])` and quoting (cel-go ext/formatting.go).

import { EvaluationError } from "./environment.ts";
import {
  CelMap,
  Duration,
  isList,
  stringOf,
  Timestamp,
  timestampText,
  typeName,
  TypeValue,
  Uint,
  type Value,
} from "./values.ts";

/** The text with its clauses filled in. Throws EvaluationError. */
export function formatted(text: string, args: readonly Value[]): string {
  let used = 0;
  const result = text.replace(
    /%(?:(%)|(?:\.(\d+))?(.))|%$/gsu,
    (whole, percent: string, precision: string, clause: string) => {
      if (percent !== undefined) return "%";
      if (clause === undefined)
        throw new EvaluationError("could not parse formatting clause: unexpected end of string");
      const value = args[used];
      if (used >= args.length || value === undefined) throw new EvaluationError(`index ${used} out of range`);
      used++;
      return clauseText(clause, precision === undefined ? 6 : Number(precision), value, whole);
    },
  );
  if (used < args.length)
    throw new EvaluationError(`too many arguments supplied to string.format (expected ${used}, got ${args.length})`);
  return result;
}

function clauseText(clause: string, precision: number, value: Value, whole: string): string {
  const whole64 = typeof value === "bigint" ? value : value instanceof Uint ? value.value : undefined;
  const number = typeof value === "number" ? value : whole64 === undefined ? undefined : Number(whole64);
  const wrong = (allowed: string): EvaluationError =>
    new EvaluationError(
      `error during formatting: ${clauseNames[clause] ?? clause} clause can only be used on ${allowed}, was given ${typeName(value)}`,
    );
  switch (clause) {
    case "s":
      return shown(value);
    case "d":
      if (typeof value === "number" && !Number.isFinite(value)) return stringOf(value) ?? "";
      if (whole64 === undefined) throw wrong("integers");
      return String(whole64);
    case "f":
      if (number === undefined) throw wrong("doubles");
      return Number.isFinite(number) ? number.toFixed(Math.min(precision, 100)) : (stringOf(number) ?? "");
    case "e":
      if (number === undefined) throw wrong("doubles");
      return number.toExponential(Math.min(precision, 100)).replace(/e([+-])(\d)$/, "e$10$2");
    case "b":
      if (typeof value === "boolean") return value ? "1" : "0";
      if (whole64 === undefined) throw wrong("integers and bools");
      return whole64.toString(2);
    case "x":
    case "X": {
      const text =
        whole64 === undefined
          ? value instanceof Uint8Array
            ? hex(value)
            : typeof value === "string"
              ? hex(new TextEncoder().encode(value))
              : undefined
          : whole64.toString(16);
      if (text === undefined) throw wrong("integers, byte buffers, and strings");
      return clause === "X" ? text.toUpperCase() : text;
    }
    case "o":
      if (whole64 === undefined) throw wrong("integers");
      return whole64.toString(8);
    default:
      throw new EvaluationError(
        `could not parse formatting clause: unrecognized formatting clause "${whole.slice(1)}"`,
      );
  }
}

const clauseNames: { readonly [clause: string]: string | undefined } = {
  d: "decimal",
  f: "fixed-point",
  e: "scientific",
  b: "binary",
  x: "hex",
  X: "hex",
  o: "octal",
};

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function shown(value: Value): string {
  if (value === null) return "null";
  if (isList(value)) return `[${value.map(shown).join(", ")}]`;
  if (value instanceof CelMap) {
    const entries = [...value.entries()].map(([key, each]) => `${shown(key)}: ${shown(each)}`);
    return `{${entries.sort().join(", ")}}`;
  }
  if (value instanceof TypeValue) return value.name;
  if (value instanceof Timestamp) return timestampText(value);
  if (value instanceof Duration) return stringOf(value) ?? "";
  const text = stringOf(value);
  if (text === undefined)
    throw new EvaluationError(
      `error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given ${typeName(value)}`,
    );
  return text;
}

const quotes: { readonly [letter: string]: string | undefined } = {
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  "\\": "\\\\",
  '"': '\\"',
};

/** A text between quotes that the language would read back. */
export function quoted(text: string): string {
  return `"${Array.from(text, (letter) => quotes[letter] ?? letter).join("")}"`;
}
