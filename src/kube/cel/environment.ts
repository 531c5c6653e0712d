// What an expression may speak of: variables, functions, and messages it may make.

import { parseType, splitTop, type Type } from "./types.ts";
import type { Value } from "./values.ts";

export interface Environment {
  readonly variables: ReadonlyMap<string, Type>;
  readonly functions: Functions;
  /** The type of a message literal, such as `JSONPatch`; undefined where there is none of this name. */
  readonly message?: (name: string) => Type | undefined;
}

/** Overloads by name. */
export type Functions = ReadonlyMap<string, readonly Overload[]>;

export interface Overload {
  readonly name: string;
  /** The receiver first, where there is one. */
  readonly parameters: readonly Type[];
  readonly hasReceiver: boolean;
  readonly result: Type;
  readonly run: (args: readonly Value[], meter: Meter) => Value;
}

/** Counts what an evaluation costs; throws when it is too much. */
export interface Meter {
  charge(units: number): void;
}

/** Why an expression has no value: `division by zero`, `no such key: x`. */
export class EvaluationError extends Error {
  override readonly name = "EvaluationError";
}

// oxlint-disable-next-line typescript/no-explicit-any -- each signature says what its arguments are
type Run = (args: readonly any[], meter: Meter) => Value;

/**
 * Overloads from signatures: `"string.startsWith(string): bool"`, `"size(list<A>): int"`, `"optional.of(A): optional<A>"` (a name with a
 * dot in it is quoted by its parenthesis: the part before the last dot is a receiver only if it is a type).
 */
export function declare(
  table: { readonly [signature: string]: Run },
  namespaces: readonly string[] = [],
): readonly Overload[] {
  return Object.entries(table).map(([signature, run]) => {
    const match = /^([^(]*)\((.*)\): (.*)$/.exec(signature);
    const [, full = "", parameters = "", result = ""] = match ?? [];
    const dot = full.lastIndexOf(".");
    const before = dot < 0 ? undefined : full.slice(0, dot);
    const isReceiver = before !== undefined && !namespaces.includes(before);
    const given = splitTop(parameters).map(parseType);
    return {
      name: isReceiver ? full.slice(dot + 1) : full,
      hasReceiver: isReceiver,
      parameters: isReceiver ? [parseType(before), ...given] : given,
      result: parseType(result),
      run,
    };
  });
}

/** Overloads by their names. */
export function functionsOf(...lists: readonly (readonly Overload[])[]): Functions {
  const functions = new Map<string, Overload[]>();
  for (const overload of lists.flat()) {
    const found = functions.get(overload.name);
    if (found === undefined) functions.set(overload.name, [overload]);
    else found.push(overload);
  }
  return functions;
}
