// One warning, and how those are said that many kinds have in common.
//
// Not here: what each kind is warned of (warnings.ts, warnings-pod.ts).

import { at } from "./problem.ts";
import { parseQuantity } from "./quantity.ts";

export interface Warning {
  /** What it is about. */
  readonly field: string;
  /** All of it, as it is shown. */
  readonly text: string;
  /** Said by us and not by a real API server. */
  readonly isAdvice?: true;
}

/** A warning whose text begins with its field. */
export function about(field: string, message: string): Warning {
  return { field, text: `${field}: ${message}` };
}

/** Annotations that are known to be old. */
export function annotationWarnings(
  annotations: { readonly [name: string]: string } | undefined,
  known: { readonly [name: string]: string },
  path = "metadata.annotations",
): readonly Warning[] {
  if (annotations === undefined) return [];
  return Object.entries(known).flatMap(([name, message]) =>
    annotations[name] === undefined ? [] : [about(at(path, name), message)],
  );
}

/** Bytes are whole. */
export function byteWarnings(quantity: string | number | undefined, field: string): readonly Warning[] {
  if (quantity === undefined || Number.isInteger(parseQuantity(quantity) ?? 0)) return [];
  return [about(field, `fractional byte value ${JSON.stringify(String(quantity))} is invalid, must be an integer`)];
}
