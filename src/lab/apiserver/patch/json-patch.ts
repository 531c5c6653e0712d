// JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386): values in, a new value out; what is given is not changed.

/** A patch that does not fit the document. */
export class PatchError extends Error {
  override readonly name = "PatchError";
}

type Fields = { readonly [name: string]: unknown };

/** Upstream's limit (apiserver endpoints/handlers/patch.go maxJSONPatchOperations). */
const operationsMax = 10_000;

/** What all copies of a patch may amount to: copies of copies grow as fast as bombs (patch.go: jsonpatch.AccumulatedCopySizeLimit). */
const copiedBytesMax = 3 * 1024 * 1024;

/** Of a pointer. Deeper values are refused anyway. */
const partsMax = 1000;

/** Applies operations in order. Throws PatchError where one of them cannot be done: none has been then. */
export function applyJsonPatch(document: unknown, operations: unknown): unknown {
  if (!Array.isArray(operations)) throw new PatchError("a JSON patch is a list of operations");
  if (operations.length > operationsMax)
    throw new PatchError(
      `The allowed maximum operations in a JSON patch is ${operationsMax}, got ${operations.length}`,
    );
  const copies: Copies = { bytes: 0 };
  return (operations as readonly unknown[]).reduce(
    (value, operation) => applyOperation(value, operation, copies),
    document,
  );
}

/** How much has been copied so far. */
interface Copies {
  bytes: number;
}

function applyOperation(document: unknown, operation: unknown, copies: Copies): unknown {
  if (!isFields(operation)) throw new PatchError("an operation of a JSON patch is an object");
  const { op, value } = operation;
  const path = pointerOf(operation, "path");
  switch (op) {
    case "add":
      return add(document, path, needed(operation, value));
    case "remove":
      return remove(document, path);
    case "replace":
      return path.length === 0 ? needed(operation, value) : replace(document, path, needed(operation, value));
    case "move": {
      const from = pointerOf(operation, "from");
      const moved = get(document, from);
      if (isPrefix(from, path)) {
        if (from.length === path.length) return document;
        throw new PatchError(`move operation of ${textOf(from)} into itself`);
      }
      return add(remove(document, from), path, moved);
    }
    case "copy":
      return add(document, path, copied(get(document, pointerOf(operation, "from")), copies));
    case "test":
      if (sameValue(get(document, path, true), value ?? null)) return document;
      throw new PatchError(`testing path ${textOf(path)} value failed: test failed`);
  }
  throw new PatchError(
    `Unexpected kind: ${JSON.stringify(op)}: the operations are add, remove, replace, move, copy, test`,
  );
}

/** The value itself, counted. Throws PatchError where copies have become too large. */
function copied(value: unknown, copies: Copies): unknown {
  const parts = [value];
  for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
    // About what it takes as JSON: a string its length, anything else a few signs.
    copies.bytes += typeof part === "string" ? part.length + 2 : 4;
    if (copies.bytes > copiedBytesMax)
      throw new PatchError(`the copies of a JSON patch may amount to ${copiedBytesMax} bytes, these are more`);
    if (Array.isArray(part)) for (const each of part as readonly unknown[]) parts.push(each ?? null);
    else if (isFields(part))
      for (const [name, each] of Object.entries(part)) {
        copies.bytes += name.length + 3;
        parts.push(each ?? null);
      }
  }
  return value;
}

function needed(operation: Fields, value: unknown): unknown {
  if (Object.hasOwn(operation, "value")) return value;
  throw new PatchError(`operation ${JSON.stringify(operation["op"])} needs a value`);
}

// RFC 6901 4: ~1 is a slash, ~0 a tilde
function pointerOf(operation: Fields, field: "path" | "from"): readonly string[] {
  const text = operation[field];
  if (typeof text !== "string" || (text !== "" && !text.startsWith("/")))
    throw new PatchError(`${field} ${JSON.stringify(text)} is no JSON pointer: it begins with a slash`);
  const parts = text.split("/").slice(1);
  if (parts.length > partsMax) throw new PatchError(`${field} has ${parts.length} parts, ${partsMax} are allowed`);
  return parts.map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function textOf(path: readonly string[]): string {
  return JSON.stringify(path.map((part) => `/${part.replaceAll("~", "~0").replaceAll("/", "~1")}`).join(""));
}

function isPrefix(a: readonly string[], b: readonly string[]): boolean {
  return a.every((part, index) => part === b[index]);
}

function get(document: unknown, path: readonly string[], orNull = false): unknown {
  let value = document;
  for (const [index, part] of path.entries()) {
    if (Array.isArray(value)) value = value[indexOf(part, value.length - 1, path)] as unknown;
    else if (isFields(value) && Object.hasOwn(value, part)) value = value[part];
    else if (orNull && index === path.length - 1 && isFields(value)) return null;
    else throw missing(path);
  }
  return value;
}

function missing(path: readonly string[]): PatchError {
  return new PatchError(`path ${textOf(path)} does not exist in the object: missing value`);
}

/** RFC 6901 4: digits without leading zeros. */
function indexOf(part: string, max: number, path: readonly string[]): number {
  const index = /^(0|[1-9]\d{0,8})$/.test(part) ? Number(part) : -1;
  if (index < 0 || index > max)
    throw new PatchError(`path ${textOf(path)}: index ${JSON.stringify(part)} is not in the list`);
  return index;
}

function changed(
  document: unknown,
  path: readonly string[],
  change: (container: Fields | readonly unknown[], key: string) => unknown,
): unknown {
  const step = (value: unknown, depth: number): unknown => {
    const part = path[depth] ?? "";
    if (!isFields(value) && !Array.isArray(value)) throw missing(path);
    if (depth === path.length - 1) return change(value, part);
    if (Array.isArray(value)) {
      const index = indexOf(part, value.length - 1, path);
      return value.with(index, step(value[index], depth + 1));
    }
    if (!Object.hasOwn(value, part)) throw missing(path);
    return withField(value, part, step(value[part], depth + 1));
  };
  return step(document, 0);
}

function add(document: unknown, path: readonly string[], value: unknown): unknown {
  if (path.length === 0) return value;
  return changed(document, path, (container, key) => {
    if (!Array.isArray(container)) return withField(container as Fields, key, value);
    const index = key === "-" ? container.length : indexOf(key, container.length, path);
    return container.toSpliced(index, 0, value);
  });
}

function remove(document: unknown, path: readonly string[]): unknown {
  if (path.length === 0) return null;
  return changed(document, path, (container, key) => {
    if (Array.isArray(container)) return container.toSpliced(indexOf(key, container.length - 1, path), 1);
    if (!Object.hasOwn(container, key)) throw missing(path);
    return Object.fromEntries(Object.entries(container).filter(([name]) => name !== key));
  });
}

function replace(document: unknown, path: readonly string[], value: unknown): unknown {
  return changed(document, path, (container, key) => {
    if (Array.isArray(container)) return container.with(indexOf(key, container.length - 1, path), value);
    if (!Object.hasOwn(container, key)) throw missing(path);
    return withField(container as Fields, key, value);
  });
}

/** A copy with a field; a field may be called __proto__. */
function withField(fields: Fields, name: string, value: unknown): Fields {
  const copy = { ...fields };
  Object.defineProperty(copy, name, { value, enumerable: true, configurable: true, writable: true });
  return copy;
}

function sameValue(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a))
    return Array.isArray(b) && a.length === b.length && a.every((each, index) => sameValue(each, b[index]));
  if (!isFields(a) || !isFields(b)) return false;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && sameValue(a[name], b[name]))
  );
}

/** RFC 7386: null takes away, objects merge, everything else replaces. */
export function applyMergePatch(document: unknown, patch: unknown): unknown {
  if (!isFields(patch)) return patch;
  const merged = new Map(isFields(document) ? Object.entries(document) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) merged.delete(name);
    else merged.set(name, applyMergePatch(merged.get(name), value));
  }
  return Object.fromEntries(merged);
}

export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
