// Defaults: what an object means by leaving a field out, written into it before it is stored.

import type { KubeObject } from "./object.ts";

/** The object with its defaults; the same object where nothing is missing. */
export function withDefaults(object: KubeObject): KubeObject {
  return object;
}
