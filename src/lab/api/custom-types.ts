// The types that expressions see of a schema (apiserver pkg/cel/common/schemas.go SchemaDeclType).
// What has no schema is not seen at all: fields without one are left out, objects show only their known fields.

import { escapedName } from "../../kube/cel/json.ts";
import {
  bool,
  bytes,
  double,
  duration,
  dyn,
  int,
  listOf,
  string,
  timestamp,
  type Field,
  type Type,
} from "../../kube/cel/types.ts";
import type { JsonSchema } from "./custom-schema.ts";

const known = new WeakMap<JsonSchema, Map<boolean, Type | undefined>>();

/** The type of a schema's values; undefined where expressions cannot see them. `isRoot`: of a whole object, with kind and metadata. */
export function typeOfSchema(
  schema: JsonSchema,
  isRoot: boolean = schema["x-kubernetes-embedded-resource"] === true,
): Type | undefined {
  const types = known.get(schema) ?? new Map<boolean, Type | undefined>();
  known.set(schema, types);
  if (!types.has(isRoot)) types.set(isRoot, makeType(schema, isRoot));
  return types.get(isRoot);
}

function makeType(schema: JsonSchema, isRoot: boolean): Type | undefined {
  if (schema["x-kubernetes-int-or-string"] === true) return dyn;
  switch (isRoot ? "object" : (schema.type ?? "")) {
    case "array":
      return listType(schema);
    case "object": {
      const { additionalProperties: others } = schema;
      if (typeof others === "object" && !isRoot) {
        const value = typeOfSchema(others);
        return value === undefined ? undefined : { kind: "map", key: string, value };
      }
      return { kind: "object", name: "object", fields: fieldsOf(schema, isRoot) };
    }
    case "string":
      return formats[schema.format ?? ""] ?? string;
    case "boolean":
      return bool;
    case "number":
      return double;
    case "integer":
      return int;
  }
  return undefined;
}

const formats: { readonly [format: string]: Type | undefined } = {
  byte: bytes,
  duration,
  date: timestamp,
  "date-time": timestamp,
};

function listType(schema: JsonSchema): Type | undefined {
  const of = schema.items && typeOfSchema(schema.items);
  if (of === undefined) return undefined;
  switch (schema["x-kubernetes-list-type"] ?? "") {
    case "set":
      return { kind: "list", of, merge: { kind: "set" } };
    case "map": {
      const keys = (schema["x-kubernetes-list-map-keys"] ?? []).map((key) => escapedName(key) ?? key);
      return { kind: "list", of, merge: { kind: "map", keys } };
    }
  }
  return listOf(of);
}

const metadata: Type = {
  kind: "object",
  name: "object",
  fields: new Map([
    ["name", { type: string, property: "name" }],
    ["generateName", { type: string, property: "generateName" }],
  ]),
};

function fieldsOf({ properties = {} }: JsonSchema, isRoot: boolean): ReadonlyMap<string, Field> {
  const fields = new Map<string, Field>();
  for (const [property, field] of Object.entries(properties)) {
    const type = typeOfSchema(field);
    const name = escapedName(property);
    if (type !== undefined && name !== undefined) fields.set(name, { type, property });
  }
  if (isRoot) {
    for (const property of ["apiVersion", "kind"]) fields.set(property, { type: string, property });
    fields.set("metadata", { type: metadata, property: "metadata" });
  }
  return fields;
}
