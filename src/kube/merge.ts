// Three-way merge of a manifest into an object: what the manifest says is set, what an earlier manifest said and this one does not is
// removed, everything else (defaults, what controllers set) stays.
// The schema says how lists merge: element by element where elements have a key, as a set, or as a whole; and which objects keep
// nothing but what the manifest says (`retainKeys`). Without a schema (custom resources) lists are replaced, as in JSON merge patch.
//
// Not here: which memory of the earlier manifest is used (lab/api/apply.ts). Strategic merge patches and field ownership take the same
// keys from the schema table.

import { isFields } from "./object.ts";
import { schemaOf, typeNamed, type FieldSchema, type TypeSchema, type ValueType } from "./schema.ts";
import { sameJson } from "./equal.ts";

/** The three states that are merged. `applied` is the earlier manifest, undefined where there was none. */
export interface ThreeWay {
  readonly applied: unknown;
  readonly manifest: unknown;
  readonly live: unknown;
}

/** `live`, changed so that it says what `manifest` says. */
export function mergeManifest(
  states: ThreeWay & { readonly manifest: { readonly apiVersion: string; readonly kind: string } },
): unknown {
  const schema = schemaOf(states.manifest.apiVersion, states.manifest.kind);
  return mergeObjects(states, schema, false);
}

function mergeObjects(
  { applied, manifest, live }: ThreeWay,
  type: TypeSchema | undefined,
  retainKeys: boolean,
): unknown {
  if (!isFields(manifest) || !isFields(live)) return manifest;
  const before = isFields(applied) ? applied : {};
  const merged: { [field: string]: unknown } = { ...live };
  for (const name of Object.keys(retainKeys ? live : before)) if (isAbsent(manifest[name])) delete merged[name];
  for (const [name, value] of Object.entries(manifest)) {
    if (value === undefined) continue;
    if (value === null) delete merged[name];
    else
      merged[name] = mergeField({ applied: before[name], manifest: value, live: live[name] }, type?.fields.get(name));
  }
  return merged;
}

function mergeField(states: ThreeWay, field: FieldSchema | undefined): unknown {
  if (Array.isArray(states.manifest)) return field === undefined ? states.manifest : mergeLists(states, field);
  const retainKeys = field?.patchStrategies.includes("retainKeys") ?? false;
  return mergeObjects(states, objectType(field?.type), retainKeys);
}

/** The named type of an object, or of a map's values: maps merge key by key. */
function objectType(type: ValueType | undefined): TypeSchema | undefined {
  return type?.kind === "object" ? typeNamed(type.type) : undefined;
}

interface Lists {
  readonly applied: readonly unknown[];
  readonly manifest: readonly unknown[];
  readonly live: readonly unknown[];
}

function mergeLists({ applied, manifest, live }: ThreeWay, field: FieldSchema): unknown {
  const lists: Lists = { applied: listOf(applied), manifest: listOf(manifest), live: listOf(live) };
  const isSet = field.list === "set" || (field.patchStrategies.includes("merge") && field.patchMergeKey === undefined);
  const keys = field.list === "map" ? field.listKeys : field.patchMergeKey === undefined ? [] : [field.patchMergeKey];
  if (!isSet && keys.length === 0) return manifest;
  const element = field.type.kind === "list" ? objectType(field.type.of) : undefined;
  const keyOf = (value: unknown): string => (isSet ? JSON.stringify(value) : elementKey(value, keys, element));
  // Elements that cannot be told apart are not merged one by one.
  if (hasRepeats(lists.manifest.map(keyOf)) || hasRepeats(lists.live.map(keyOf))) return manifest;
  return mergeElements(lists, keyOf, (states) =>
    isSet ? states.manifest : mergeObjects(states, element, field.patchStrategies.includes("retainKeys")),
  );
}

function mergeElements(
  { applied, manifest, live }: Lists,
  keyOf: (element: unknown) => string,
  mergeOne: (states: ThreeWay) => unknown,
): unknown[] {
  const [wanted, before] = [byKey(manifest, keyOf), byKey(applied, keyOf)];
  const present = byKey(live, keyOf);
  const kept = [...present.keys()].filter((key) => wanted.has(key) || !before.has(key));
  return ordered(kept, [...wanted.keys()]).map((key) => {
    if (!wanted.has(key)) return present.get(key);
    return present.has(key)
      ? mergeOne({ applied: before.get(key), manifest: wanted.get(key), live: present.get(key) })
      : wanted.get(key);
  });
}

/** The order that is there, as long as the manifest does not contradict it; then the manifest's, and after it what others added. */
function ordered(kept: readonly string[], wanted: readonly string[]): readonly string[] {
  const common = kept.filter((key) => wanted.includes(key));
  const isInOrder = sameJson(
    common,
    wanted.filter((key) => common.includes(key)),
  );
  if (!isInOrder) return [...wanted, ...kept.filter((key) => !wanted.includes(key))];
  const result = [...kept];
  for (const [index, key] of wanted.entries()) {
    if (result.includes(key)) continue;
    const previous = index === 0 ? undefined : wanted[index - 1];
    result.splice(previous === undefined ? 0 : result.indexOf(previous) + 1, 0, key);
  }
  return result;
}

function byKey(list: readonly unknown[], keyOf: (element: unknown) => string): Map<string, unknown> {
  return new Map(list.map((element) => [keyOf(element), element]));
}

/** The key of an element; a field of it that is left out counts with its default. */
function elementKey(element: unknown, keys: readonly string[], type: TypeSchema | undefined): string {
  const fields = isFields(element) ? element : {};
  return JSON.stringify(keys.map((key) => fields[key] ?? type?.fields.get(key)?.default));
}

function hasRepeats(keys: readonly string[]): boolean {
  return new Set(keys).size < keys.length;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null;
}
