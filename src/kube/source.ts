// The note of where an object was read from (annotation `fairlead.dev/source`) is about the object and no part of what it asks for:
// these functions set annotations and compare objects without it.

import { sameJson } from "./equal.ts";
import { annotations, type KubeObject, type Labels } from "./object.ts";

/** Do two objects ask for the same and say the same? Where they were read from does not count, nor what the store numbers. */
export function sameButSource(a: KubeObject, b: KubeObject): boolean {
  return a === b || sameJson(comparable(a), comparable(b));
}

function comparable(object: KubeObject): unknown {
  const { metadata, ...rest } = withAnnotations(object, { [annotations.source]: undefined });
  return { ...rest, metadata: { ...metadata, resourceVersion: undefined, generation: undefined } };
}

/** The object with annotations set, or taken away where the value is undefined; without the field where none is left. */
export function withAnnotations(
  object: KubeObject,
  changes: { readonly [name: string]: string | undefined },
): KubeObject {
  const { annotations: before, ...metadata } = object.metadata;
  const after: { [name: string]: string } = { ...before };
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) delete after[name];
    else after[name] = value;
  }
  const changed: Labels | undefined = Object.keys(after).length === 0 ? undefined : after;
  return { ...object, metadata: changed === undefined ? metadata : { ...metadata, annotations: changed } };
}
