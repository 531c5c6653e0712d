// The JSON text of objects that have just been written: made once for the disk, the answer to the writer, and those who watch.
// Objects are immutable once stored, so a text stays true as long as it is remembered. Parts that come again in many objects, such as the
// specification of a Deployment's pods, have their text made once for all of them.

import type { KubeObject } from "../../kube/object.ts";
import { isRepeated } from "../../kube/repeated.ts";

const recent = new Map<unknown, string>();
let characters = 0;
/** What is remembered: enough for the writes of some turns. */
const charactersMax = 4_000_000;

/** The text of an object that is being stored; remembered for a while. */
export function writtenText(object: KubeObject): string {
  const known = recent.get(object);
  if (known !== undefined) return known;
  const text = isWholeNew(object) ? JSON.stringify(object) : joinedText(object);
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

type Fields = { readonly [name: string]: unknown };

function isWholeNew({ metadata, spec }: KubeObject): boolean {
  return !isRepeatedPart(spec) && !isRepeatedPart(metadata.managedFields);
}

function isRepeatedPart(value: unknown): value is object {
  return typeof value === "object" && value !== null && isRepeated(value);
}

/** As JSON.stringify. */
function joinedText(object: KubeObject): string {
  return fieldsText(object, (name, value) =>
    name === "metadata" ? fieldsText(value as Fields, (_, inner) => partText(inner)) : partText(value),
  );
}

function fieldsText(fields: Fields, textOf: (name: string, value: unknown) => string | undefined): string {
  let text = "{";
  for (const name of Object.keys(fields)) {
    const inner = textOf(name, fields[name]);
    // What is undefined is left out.
    if (inner !== undefined) text += `${text === "{" ? "" : ","}${JSON.stringify(name)}:${inner}`;
  }
  return `${text}}`;
}

/** Two generations: what is not seen for a while goes with the older one. */
let [young, old] = [new Map<object, string>(), new Map<object, string>()];
const partsMax = 256;

function partText(value: unknown): string | undefined {
  if (!isRepeatedPart(value)) return JSON.stringify(value);
  const known = young.get(value);
  if (known !== undefined) return known;
  const text = old.get(value) ?? JSON.stringify(value);
  if (young.size >= partsMax) [young, old] = [new Map(), young];
  young.set(value, text);
  return text;
}
