// Parts of objects that are the same in many are kept once: the pods of a Deployment have their own names and addresses, and most of what
// they ask for in common. That is half of a large cluster's memory.
//
// Not here: what a part means. Parts are told apart by their JSON text alone.

import type { KubeObject } from "../../kube/object.ts";

/** Gives an object with its parts replaced by equal ones that other objects have already, as far as they are remembered. */
export interface SharedParts {
  share(object: KubeObject): KubeObject;
}

import { isRepeated } from "../../kube/repeated.ts";
type Fields = { readonly [name: string]: unknown };

/** Below this there is nothing to gain; above it, hardly a second one of the kind. */
const charactersMin = 12;
const charactersMax = 4096;
/** What holds more levels than these is looked into at once: a container's environment is a list of objects, a container is more. */
const heightMax = 2;
/** How deep parts are looked for: a container's environment is `spec.template.spec.containers[0].env`. */
const depthMax = 9;
/** Where the parts are that many objects have in common. */
const fields = new Set(["spec", "status", "endpoints", "rules", "subsets", "template", "involvedObject", "source"]);
const metadataFields = new Set(["labels", "ownerReferences"]);

/** `partsMax`: how many parts are remembered at least; twice as many at most. */
export function createSharedParts(partsMax = 4096): SharedParts {
  // Two generations: what is not seen for a while goes with the older one.
  let [young, old] = [new Map<string, object>(), new Map<string, object>()];

  const known = (text: string): object | undefined => {
    const part = young.get(text);
    if (part !== undefined) return part;
    const older = old.get(text);
    if (older !== undefined) remember(text, older);
    return older;
  };

  const remember = (text: string, part: object): void => {
    if (young.size >= partsMax) [young, old] = [new Map(), young];
    young.set(text, part);
  };

  const part = (value: object, depth: number): object => {
    // Those are kept once already.
    if (isRepeated(value)) return value;
    const text = isLow(value, heightMax) ? JSON.stringify(value) : "";
    if (text !== "" && text.length < charactersMin) return value;
    const isComparable = text !== "" && text.length <= charactersMax;
    const there = isComparable ? known(text) : undefined;
    if (there !== undefined) return there;
    const own = depth >= depthMax ? value : Array.isArray(value) ? list(value, depth) : map(value as Fields, depth);
    if (isComparable) remember(text, own);
    return own;
  };

  const list = (values: readonly unknown[], depth: number): readonly unknown[] => {
    let changed: unknown[] | undefined;
    for (const [index, value] of values.entries()) {
      if (typeof value !== "object" || value === null) continue;
      const shared = part(value, depth + 1);
      if (shared !== value) (changed ??= [...values])[index] = shared;
    }
    return changed ?? values;
  };

  const map = (value: Fields, depth: number, only?: ReadonlySet<string>): Fields => {
    let changed: { [name: string]: unknown } | undefined;
    for (const name of Object.keys(value)) {
      const field = value[name];
      if (typeof field !== "object" || field === null || only?.has(name) === false) continue;
      const shared = part(field, depth + 1);
      if (shared !== field) (changed ??= { ...value })[name] = shared;
    }
    return changed ?? value;
  };

  /** Managed fields are deep, and the same in all objects that one program makes within a second. */
  const managed = (given: unknown): unknown => {
    if (!Array.isArray(given) || isRepeated(given)) return given;
    const text = JSON.stringify(given);
    if (text.length > charactersMax) return given;
    const there = known(text);
    if (there !== undefined) return there;
    const own = (given as readonly unknown[]).map((entry) => {
      const { fieldsV1 } = (entry ?? {}) as Fields;
      if (typeof fieldsV1 !== "object" || fieldsV1 === null) return entry;
      const fieldsText = JSON.stringify(fieldsV1);
      const fieldsThere = known(fieldsText);
      if (fieldsThere === undefined) remember(fieldsText, fieldsV1);
      return fieldsThere === undefined ? entry : { ...(entry as Fields), fieldsV1: fieldsThere };
    });
    remember(text, own);
    return own;
  };

  return {
    share(object) {
      const shared = map(object, 0, fields) as KubeObject;
      const { metadata } = object;
      const metadataShared = map(metadata as unknown as Fields, 1, metadataFields) as unknown as KubeObject["metadata"];
      const managedFields = managed(metadata.managedFields) as KubeObject["metadata"]["managedFields"];
      if (managedFields !== undefined && managedFields !== metadata.managedFields)
        return { ...shared, metadata: { ...metadataShared, managedFields } };
      return metadataShared === metadata ? shared : { ...shared, metadata: metadataShared };
    },
  };
}

/** Does a value hold at most so many levels? */
function isLow(value: object, height: number): boolean {
  for (const inner of Object.values(value) as readonly unknown[])
    if (typeof inner === "object" && inner !== null && (height === 1 || !isLow(inner, height - 1))) return false;
  return true;
}
