// Strategic merge patches: merge patches that know which lists merge, and by which field their elements are told apart
// (apimachinery util/strategicpatch). Directives: `$patch: delete|replace|merge`, `$retainKeys`, `$setElementOrder/LIST`,
// `$deleteFromPrimitiveList/LIST`.
//
// Not here: kinds without a schema of the right sort; custom resources have no strategies, and clients are told so (patch.ts).

import { typeNamed, type FieldSchema, type TypeSchema, type ValueType } from "../../../kube/schema.ts";
import { isFields, PatchError } from "./json-patch.ts";

type Fields = { readonly [name: string]: unknown };

/** A document of a type, patched. Throws PatchError. */
export function applyStrategicMerge(document: unknown, patch: unknown, type: TypeSchema): unknown {
  if (!isFields(patch)) throw new PatchError("a strategic merge patch is an object");
  return mergeFields(isFields(document) ? document : {}, patch, type) ?? {};
}

const setOrder = "$setElementOrder/";
const deletePrimitive = "$deleteFromPrimitiveList/";

/** Undefined where the patch deletes the object. */
function mergeFields(document: Fields, patch: Fields, type: TypeSchema | undefined): Fields | undefined {
  const directive = patch["$patch"];
  if (directive === "delete") return undefined;
  if (directive === "replace") return withoutDirectives(patch);
  if (directive !== undefined) throw new PatchError(`Unknown patch type: ${JSON.stringify(directive)} in map`);
  const merged = new Map(Object.entries(retained(document, patch)));
  for (const [name, value] of Object.entries(patch)) {
    if (name === "$patch" || name === "$retainKeys" || name.startsWith(setOrder)) continue;
    if (name.startsWith(deletePrimitive)) {
      const list = name.slice(deletePrimitive.length);
      merged.set(list, withoutValues(merged.get(list), value));
      continue;
    }
    if (value === null) merged.delete(name);
    else mergeField(merged, name, value, type?.fields.get(name));
  }
  orderLists(merged, patch, type);
  return Object.fromEntries(merged);
}

/** `$retainKeys` names all fields that stay. */
function retained(document: Fields, patch: Fields): Fields {
  const keep = patch["$retainKeys"];
  if (keep === undefined) return document;
  if (!Array.isArray(keep)) throw new PatchError("$retainKeys is a list of names");
  return Object.fromEntries(Object.entries(document).filter(([name]) => keep.includes(name)));
}

function mergeField(merged: Map<string, unknown>, name: string, value: unknown, field: FieldSchema | undefined): void {
  const before = merged.get(name);
  if (Array.isArray(value)) merged.set(name, mergeList(before, value, field));
  else if (isFields(value)) {
    const strategies = field?.patchStrategies ?? [];
    const isWhole = strategies.includes("replace");
    const next = isWhole
      ? withoutDirectives(value)
      : mergeFields(isFields(before) ? before : {}, value, elementType(field?.type));
    if (next === undefined) merged.delete(name);
    else merged.set(name, next);
  } else merged.set(name, value);
}

function elementType(type: ValueType | undefined): TypeSchema | undefined {
  if (type?.kind === "object") return typeNamed(type.type);
  return undefined;
}

function listElementType(field: FieldSchema | undefined): TypeSchema | undefined {
  return field?.type.kind === "list" ? elementType(field.type.of) : undefined;
}

function mergeList(before: unknown, patch: readonly unknown[], field: FieldSchema | undefined): readonly unknown[] {
  const list = Array.isArray(before) ? (before as readonly unknown[]) : [];
  if (!(field?.patchStrategies.includes("merge") ?? false))
    return patch.filter((each) => !isDirective(each)).map(plain);
  const key = field?.patchMergeKey;
  if (key === undefined) {
    const all = [...list, ...patch.filter((value) => !list.includes(value))];
    return interleaved(all, patch, list);
  }
  // An element that says so has the list replaced by those that say nothing of the kind.
  if (patch.some((each) => isFields(each) && each["$patch"] === "replace"))
    return patch.filter((each) => !isFields(each) || each["$patch"] === undefined).map(plain);
  return mergeElements(list, patch, key, listElementType(field));
}

/** An element that says only what to do with the list. */
function isDirective(element: unknown): boolean {
  return isFields(element) && typeof element["$patch"] === "string" && Object.keys(element).length === 1;
}

function mergeElements(
  list: readonly unknown[],
  patch: readonly unknown[],
  key: string,
  type: TypeSchema | undefined,
): readonly unknown[] {
  let merged = [...list];
  for (const element of patch) {
    if (!isFields(element)) throw new PatchError("an element of a list that merges by a key is an object");
    if (element["$patch"] === undefined || element["$patch"] === "merge") {
      if (isDirective(element)) continue;
      const value = element[key];
      if (value === undefined)
        throw new PatchError(`map: ${JSON.stringify(element)} does not contain declared merge key: ${key}`);
      const at = merged.findIndex((each) => isFields(each) && each[key] === value);
      const next = mergeFields(at < 0 ? {} : (merged[at] as Fields), element, type) ?? {};
      if (at < 0) merged.push(next);
      else merged[at] = next;
    } else if (element["$patch"] === "delete") {
      const value = element[key];
      if (value === undefined) throw new PatchError(`delete patch type with no merge key defined`);
      merged = merged.filter((each) => !isFields(each) || each[key] !== value);
    } else throw new PatchError(`Unknown patch type: ${JSON.stringify(element["$patch"])} in list`);
  }
  const idOf = (element: unknown): unknown => (isFields(element) ? element[key] : undefined);
  const byId = new Map(merged.map((element) => [idOf(element), element]));
  const ids = interleaved([...byId.keys()], patch.map(idOf), list.map(idOf));
  return ids.length === merged.length ? ids.map((id) => byId.get(id)) : merged;
}

/**
 * The order of a merged list (strategicpatch mergeSortedSlice): what the patch names comes in its order and as early as the order of
 * before allows; so what is new comes first.
 */
function interleaved(
  all: readonly unknown[],
  patch: readonly unknown[],
  before: readonly unknown[],
): readonly unknown[] {
  const inPatch = [...new Set(patch)].filter((id) => all.includes(id));
  const others = all.filter((id) => !inPatch.includes(id));
  const result: unknown[] = [];
  while (others.length > 0 && inPatch.length > 0) {
    const [mine, theirs] = [before.indexOf(others[0]), before.indexOf(inPatch[0])];
    result.push((mine >= 0 && theirs >= 0 && mine < theirs ? others : inPatch).shift());
  }
  return [...result, ...others, ...inPatch];
}

function withoutValues(list: unknown, values: unknown): readonly unknown[] {
  if (!Array.isArray(values)) throw new PatchError("$deleteFromPrimitiveList is a list of values");
  return (Array.isArray(list) ? (list as readonly unknown[]) : []).filter((each) => !values.includes(each));
}

/** `$setElementOrder/LIST` names the elements in the order they shall have; those it does not name keep their places after them. */
function orderLists(merged: Map<string, unknown>, patch: Fields, type: TypeSchema | undefined): void {
  for (const [name, order] of Object.entries(patch)) {
    if (!name.startsWith(setOrder)) continue;
    const list = merged.get(name.slice(setOrder.length));
    if (!Array.isArray(list)) continue;
    if (!Array.isArray(order)) throw new PatchError(`${name} is a list`);
    const key = type?.fields.get(name.slice(setOrder.length))?.patchMergeKey;
    const identity = (element: unknown): unknown => (key !== undefined && isFields(element) ? element[key] : element);
    merged.set(name.slice(setOrder.length), ordered(list, order.map(identity), identity));
  }
}

/** Elements that are named come in the order given; every other stays behind the one it followed. */
function ordered(
  list: readonly unknown[],
  order: readonly unknown[],
  identity: (element: unknown) => unknown,
): readonly unknown[] {
  const named = new Set(order);
  const result: unknown[] = order.flatMap((id) => list.filter((element) => identity(element) === id));
  let previous: unknown;
  for (const element of list) {
    if (!named.has(identity(element))) {
      const at = previous === undefined ? -1 : result.indexOf(previous);
      result.splice(at + 1, 0, element);
    }
    previous = element;
  }
  return result;
}

/** What replaces something must not carry the directives with it. */
function withoutDirectives(value: Fields): Fields {
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name, field]) => !name.startsWith("$") && field !== null)
      .map(([name, field]) => [name, plain(field)]),
  );
}

function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  return isFields(value) && Object.keys(value).some((name) => name.startsWith("$")) ? withoutDirectives(value) : value;
}
