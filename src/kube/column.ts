// A column of a list: its name, and what it says of an object.

import type { KubeObject } from "./object.ts";

export interface Column {
  readonly name: string;
  /** Only in the wide output. */
  readonly wide?: boolean;
  /** The cell's text; `now` in milliseconds since the epoch. */
  value(object: KubeObject, now: number): string;
}
