// A column of a list: its name, and what it says of an object.

import { humanDuration } from "./duration.ts";
import type { KubeObject } from "./object.ts";

export interface Column {
  readonly name: string;
  /** Only in the wide output. */
  readonly wide?: boolean;
  /** As meta/v1 Table declares it; text unless said. */
  readonly type?: "integer" | "boolean" | "date";
  readonly format?: "name";
  /** The cell; `now` in milliseconds since the epoch. */
  value(object: KubeObject, now: number): Cell;
}

export type Cell = string | number | boolean;

export const ageColumn: Column = { name: "Age", value: (object, now) => ageAt(object.metadata.creationTimestamp, now) };

/** How long ago a time was: `5m`. */
export function ageAt(time: string | undefined, now: number): string {
  return time === undefined ? "<unknown>" : humanDuration(now - Date.parse(time));
}

/** A column of text, or of what the value is. */
export function cellColumn(name: string, value: (object: KubeObject, now: number) => Cell): Column {
  return { name, value };
}

export function integerColumn(name: string, value: (object: KubeObject) => Cell): Column {
  return { name, type: "integer", value };
}

export function booleanColumn(name: string, value: (object: KubeObject) => Cell): Column {
  return { name, type: "boolean", value };
}

export function wideColumn(name: string, value: (object: KubeObject) => Cell): Column {
  return { name, wide: true, value };
}

/** A column that shows the text or number at a path. */
export function pathColumn(name: string, path: string, absent: Cell = "<none>"): Column {
  return { name, value: (object) => cellAt(object, path) ?? absent };
}

/** The text or number at a path; undefined where there is none, and for empty text. */
export function cellAt(object: KubeObject, path: string): Cell | undefined {
  const value = valueAt(object, path);
  return (typeof value === "string" && value !== "") || typeof value === "number" ? value : undefined;
}

export function textAt(object: KubeObject, path: string): string {
  return String(cellAt(object, path) ?? "");
}

/** What is at a path such as `spec.ports`. */
export function valueAt(object: KubeObject, path: string): unknown {
  let value: unknown = object;
  for (const name of path.split(".")) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as { readonly [field: string]: unknown })[name];
  }
  return value;
}

export function listAt(object: KubeObject, path: string): readonly unknown[] {
  const value = valueAt(object, path);
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}
