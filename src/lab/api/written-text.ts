// The JSON text of objects that have just been written: made once for the disk, the answer to the writer, and those who watch.
// Objects are immutable once stored, so a text stays true as long as it is remembered.

import type { KubeObject } from "../../kube/object.ts";

const recent = new Map<unknown, string>();
let characters = 0;
/** What is remembered: enough for the writes of some turns. */
const charactersMax = 4_000_000;

/** The text of an object that is being stored; remembered for a while. */
export function writtenText(object: KubeObject): string {
  const known = recent.get(object);
  if (known !== undefined) return known;
  const text = JSON.stringify(object);
  recent.set(object, text);
  characters += text.length;
  if (characters > charactersMax) forgetOldest();
  return text;
}

/** Any value as JSON. */
export function jsonText(value: unknown): string {
  return recent.get(value) ?? JSON.stringify(value);
}

function forgetOldest(): void {
  for (const [object, text] of recent) {
    if (characters <= charactersMax / 2) return;
    recent.delete(object);
    characters -= text.length;
  }
}
