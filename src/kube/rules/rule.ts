// What a rule is: a function from a value of one type, and its place, to what is wrong with it.
// Rules are kept in tables by the type's name in the schema, so that each is written once and holds wherever the type is used.

import type { Format } from "../formats.ts";
import type { KubeObject } from "../object.ts";
import { child, forbidden, invalid, required, type FieldProblem } from "../problem.ts";

/**
 * What is wrong with a value. Its structure is right and its defaults are filled in; what is optional may be absent.
 * `whole` is the object it is part of.
 */
export type Rule = (value: never, path: string, whole: KubeObject) => Iterable<FieldProblem>;

/** Rules by the name of the type in the schema table. */
export type Rules = { readonly [type: string]: Rule };

/** What is wrong with an update; the new object is valid by itself. */
export type UpdateRule = (object: never, previous: never) => Iterable<FieldProblem>;

/** A text and its form, as problems; absent or empty text has none. */
export function* formProblems(text: string | undefined, format: Format, path: string): Iterable<FieldProblem> {
  if (text === undefined || text === "") return;
  for (const problem of format(text)) yield invalid(path, text, problem);
}

/** A number and its limits. */
export function* rangeProblems(
  value: number | undefined,
  range: { readonly first: number; readonly last: number },
  path: string,
): Iterable<FieldProblem> {
  if (value !== undefined && (value < range.first || value > range.last))
    yield invalid(path, value, `must be between ${range.first} and ${range.last}, inclusive`);
}

/** Counts, sizes and seconds must not be negative. */
export function* negativeProblems(value: number | undefined, path: string): Iterable<FieldProblem> {
  if (value !== undefined && value < 0) yield invalid(path, value, "must be greater than or equal to 0");
}

/** A count, or a part of one such as `25%`. */
export function* intOrPercent(value: number | string | undefined, path: string): Iterable<FieldProblem> {
  if (value === undefined) return;
  if (typeof value === "number") {
    yield* negativeProblems(value, path);
    return;
  }
  const percent = /^(\d+)%$/.exec(value);
  if (percent === null)
    yield invalid(
      path,
      value,
      "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
    );
  else if (Number(percent[1]) > 100) yield invalid(path, value, "must not be greater than 100%");
}

/** What labels are asked for, and with which values, at the requirement `path`. */
export function* operatorProblems(
  operator: string | undefined,
  values: readonly string[],
  path: string,
): Iterable<FieldProblem> {
  const place = child(path, "values");
  switch (operator) {
    case "In":
    case "NotIn":
      if (values.length === 0) yield required(place, "must be specified when `operator` is 'In' or 'NotIn'");
      break;
    case "Exists":
    case "DoesNotExist":
      if (values.length > 0)
        yield forbidden(place, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
      break;
    case undefined:
    default:
      yield invalid(child(path, "operator"), operator ?? "", "not a valid selector operator");
  }
}

export const ports: { readonly first: number; readonly last: number } = { first: 1, last: 65_535 };
