// JSON as values of the expression language: by a type where there is one, else as it looks (whole numbers are int, objects are maps).

import { decodeBase64 } from "../base64.ts";
import { parseDuration, parseTimestamp } from "./times.ts";
import { dyn, resolved, type Field, type Type } from "./types.ts";
import {
  CelMap,
  CelObject,
  mergingList,
  Optional,
  TypeValue,
  Uint,
  Duration,
  Timestamp,
  stringOf,
  isList,
  type Value,
} from "./values.ts";

/** A value of JSON. What does not fit its type is taken as it looks. */
export function valueOf(json: unknown, given: Type = dyn): Value {
  if (json === null || json === undefined) return null;
  const type = resolved(given);
  switch (type.kind) {
    case "int":
      return typeof json === "number" && Number.isInteger(json) ? BigInt(json) : untyped(json);
    case "double":
      return typeof json === "number" ? json : untyped(json);
    case "timestamp":
      // apiserver cel/common/values.go: a date alone is a time as well.
      return typeof json === "string"
        ? (parseTimestamp(/^\d{4}-\d\d-\d\d$/.test(json) ? `${json}T00:00:00Z` : json) ?? json)
        : untyped(json);
    case "duration":
      return typeof json === "string" ? (parseDuration(json) ?? json) : untyped(json);
    case "bytes":
      return typeof json === "string" ? (decodeBase64(json) ?? json) : untyped(json);
    case "list": {
      if (!Array.isArray(json)) return untyped(json);
      const list = json.map((each) => valueOf(each, type.of));
      return type.merge === undefined ? list : mergingList(list, type.merge);
    }
    case "map":
      return isFields(json)
        ? new CelMap(Object.entries(json).map(([key, each]) => [key, valueOf(each, type.value)] as const))
        : untyped(json);
    case "object":
      return isFields(json) ? objectValue(json, type.name, type.fields) : untyped(json);
    case "dyn":
    case "bool":
    case "uint":
    case "string":
    case "null":
    case "optional":
    case "type":
    case "opaque":
    case "parameter":
    case "variable":
      return untyped(json);
  }
}

type Fields = { readonly [name: string]: unknown };

function isFields(json: unknown): json is Fields {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

function objectValue(json: Fields, name: string, fields: ReadonlyMap<string, Field>): CelObject {
  const readers = new Map<string, () => Value | undefined>();
  for (const [field, { type, property }] of fields)
    readers.set(field, () => {
      const value = Object.hasOwn(json, property) ? json[property] : undefined;
      return value === undefined ? undefined : valueOf(value, type);
    });
  return new CelObject(name, readers);
}

function untyped(json: unknown): Value {
  if (typeof json === "string" || typeof json === "boolean" || typeof json === "bigint") return json;
  if (typeof json === "number") return Number.isSafeInteger(json) ? BigInt(json) : json;
  if (Array.isArray(json)) return json.map((each) => (each === undefined ? null : untyped(each)));
  if (!isFields(json)) return null;
  return new CelMap(
    Object.entries(json).flatMap(([key, each]) => (each === undefined ? [] : [[key, untyped(each)] as const])),
  );
}

/** JSON of a value; undefined where it has none (types, absent optionals). */
export function jsonOf(value: Value): unknown {
  if (value === null || typeof value === "string" || typeof value === "boolean" || typeof value === "number")
    return value;
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Uint) return Number(value.value);
  if (isList(value)) return value.map(jsonOf);
  if (value instanceof CelMap)
    return Object.fromEntries([...value.entries()].map(([key, each]) => [stringOf(key) ?? "", jsonOf(each)]));
  if (value instanceof CelObject)
    return Object.fromEntries(
      [...value.names()].flatMap((name) => {
        const field = value.get(name);
        return field === undefined ? [] : [[name, jsonOf(field)]];
      }),
    );
  if (value instanceof Optional) return value.value === undefined ? undefined : jsonOf(value.value);
  if (value instanceof Duration || value instanceof Timestamp) return stringOf(value);
  return value instanceof TypeValue ? undefined : stringOf(value);
}

const keywords = new Set(
  "true false null in as break const continue else for function if import let loop package namespace return var void while".split(
    " ",
  ),
);

/** How expressions name a property: `__namespace__`, `x__dash__y`; undefined where they cannot (apiserver cel/escaping.go). */
export function escapedName(property: string): string | undefined {
  if (!/^[A-Za-z_.\-/][A-Za-z0-9_.\-/]*$/.test(property)) return undefined;
  if (keywords.has(property)) return `__${property}__`;
  return property.replace(/__|[-./]/g, (found) => escapes[found] ?? found);
}

const escapes: { readonly [found: string]: string | undefined } = {
  __: "__underscores__",
  ".": "__dot__",
  "-": "__dash__",
  "/": "__slash__",
};
