// Schemas of OpenAPI documents, from the schema table and from CustomResourceDefinitions.

import {
  schemaOf,
  typeNamed,
  type FieldSchema,
  type Scalar,
  type TypeSchema,
  type ValueType,
} from "../../kube/schema.ts";
import { customSchema, fieldTexts } from "./openapi-custom.ts";
import type { Kind } from "../api/kinds.ts";

export type OpenApiVersion = 2 | 3;
type Json = { readonly [name: string]: unknown };
type Mutable = { [name: string]: unknown };

/** The schemas of these kinds, their lists, and all types they refer to, by name. */
export function schemasOf(rows: readonly Kind[], version: OpenApiVersion): Json {
  const schemas: Mutable = {};
  const add = (name: string): void => {
    const key = schemaName(name);
    if (Object.hasOwn(schemas, key)) return;
    const type = typeNamed(name);
    schemas[key] = {};
    schemas[key] = typeSchema(type, version, add);
  };
  for (const name of commonTypes) add(name);
  for (const row of rows) {
    for (const { apiVersion, kind } of [row, ...row.subresources.map(subresourceKind)]) {
      const type = schemaOf(apiVersion, kind);
      if (type === undefined) continue;
      add(type.name);
      addKind(schemas, schemaName(type.name), apiVersion, kind);
    }
    const list = listSchema(row, version);
    if (list !== undefined) schemas[listName(row)] ??= list;
    if (row.custom !== undefined) schemas[kindName(row)] = customKind(row, version);
  }
  return schemas;
}

const commonTypes = [
  "meta.v1.ObjectMeta",
  "meta.v1.ListMeta",
  "meta.v1.DeleteOptions",
  "meta.v1.Status",
  "meta.v1.Patch",
].filter((name) => hasType(name));

function hasType(name: string): boolean {
  try {
    typeNamed(name);
    return true;
  } catch {
    return false;
  }
}

function subresourceKind({ group, version, kind }: Kind["subresources"][number]): {
  readonly apiVersion: string;
  readonly kind: string;
} {
  return { apiVersion: group === "" ? version : `${group}/${version}`, kind };
}

function addKind(schemas: Mutable, name: string, apiVersion: string, kind: string): void {
  const schema = schemas[name] as Mutable;
  const slash = apiVersion.indexOf("/");
  const one = { group: slash < 0 ? "" : apiVersion.slice(0, slash), version: apiVersion.slice(slash + 1), kind };
  const before = (schema["x-kubernetes-group-version-kind"] ?? []) as readonly object[];
  if (!before.some((each) => JSON.stringify(each) === JSON.stringify(one)))
    schema["x-kubernetes-group-version-kind"] = [...before, one];
}

/** Upstream's names: `core.v1.Pod` is `io.k8s.api.core.v1.Pod`. */
export function schemaName(type: string): string {
  if (type.startsWith("meta.")) return `io.k8s.apimachinery.pkg.apis.${type}`;
  if (type.startsWith("apiextensions.")) return `io.k8s.apiextensions-apiserver.pkg.apis.${type}`;
  if (type.startsWith("apiregistration.")) return `io.k8s.kube-aggregator.pkg.apis.${type}`;
  return `io.k8s.api.${type}`;
}

/** The name of a kind's schema. */
export function kindName(row: Kind): string {
  const type = schemaOf(row.apiVersion, row.kind);
  return type === undefined
    ? `${row.group.split(".").reverse().join(".")}.${row.version}.${row.kind}`
    : schemaName(type.name);
}

export function listName(row: Kind): string {
  return `${kindName(row)}List`;
}

export function reference(name: string, version: OpenApiVersion): Json {
  return { $ref: version === 3 ? `#/components/schemas/${name}` : `#/definitions/${name}` };
}

function listSchema(row: Kind, version: OpenApiVersion): Json | undefined {
  if (!row.verbs.includes("list")) return undefined;
  return {
    type: "object",
    required: ["items"],
    properties: {
      apiVersion: { type: "string" },
      kind: { type: "string" },
      metadata: reference(schemaName("meta.v1.ListMeta"), version),
      items: { type: "array", items: reference(kindName(row), version) },
    },
    "x-kubernetes-group-version-kind": [{ group: row.group, version: row.version, kind: `${row.kind}List` }],
  };
}

function customKind(row: Kind, version: OpenApiVersion): Json {
  const schema = row.custom?.schema?.openAPIV3Schema as Json | undefined;
  return {
    ...customSchema(schema, { version, metadata: reference(schemaName("meta.v1.ObjectMeta"), version) }),
    "x-kubernetes-group-version-kind": [{ group: row.group, version: row.version, kind: row.kind }],
  };
}

function typeSchema(type: TypeSchema, version: OpenApiVersion, add: (name: string) => void): Mutable {
  const fields = [...type.fields.values()];
  const isObject = type.fields.has("metadata") || type.name === "meta.v1.ObjectMeta";
  const required = fields.filter((field) => field.required).map((field) => field.name);
  const property = (field: FieldSchema): readonly [string, Json] => {
    const schema = fieldSchema(field, version, add);
    return [field.name, isObject ? described(schema, field) : schema];
  };
  return {
    type: "object",
    ...(required.length === 0 ? {} : { required }),
    ...(fields.length === 0 ? {} : { properties: Object.fromEntries(fields.map(property)) }),
    ...(type.name === "meta.v1.ObjectMeta" ? { description: fieldTexts.metadata } : {}),
    ...(type.atomic ? { "x-kubernetes-map-type": "atomic" } : {}),
  };
}

function described(schema: Json, { name, type }: FieldSchema): Json {
  const isText = type.kind === "scalar" && (type.scalar === "string" || type.scalar === "date-time");
  return isText && Object.hasOwn(fieldTexts, name)
    ? { ...schema, description: fieldTexts[name as keyof typeof fieldTexts] }
    : schema;
}

function fieldSchema(field: FieldSchema, version: OpenApiVersion, add: (name: string) => void): Json {
  const value = valueSchema(field.type, version, add);
  const extra: Mutable = {};
  if (version === 3 && field.default !== undefined) extra["default"] = field.default;
  if (field.values !== undefined && field.type.kind === "scalar") extra["enum"] = field.values;
  if (field.type.kind === "list") {
    extra["x-kubernetes-list-type"] = field.list;
    if (field.list === "map") extra["x-kubernetes-list-map-keys"] = field.listKeys;
  } else if (field.atomic) extra["x-kubernetes-map-type"] = "atomic";
  if (field.patchStrategies.length > 0) extra["x-kubernetes-patch-strategy"] = field.patchStrategies.join(",");
  if (field.patchMergeKey !== undefined) extra["x-kubernetes-patch-merge-key"] = field.patchMergeKey;
  const { constraints } = field;
  for (const [name, word] of Object.entries(constraintWords))
    if (constraints[name as keyof typeof constraints] !== undefined)
      extra[word] = constraints[name as keyof typeof constraints];
  if (Object.keys(extra).length === 0) return value;
  // A reference takes nothing beside it (OpenAPI 3.0.3, Reference Object).
  return "$ref" in value && version === 3 ? { allOf: [value], ...extra } : { ...value, ...extra };
}

const constraintWords = {
  min: "minimum",
  max: "maximum",
  minLength: "minLength",
  maxLength: "maxLength",
  minItems: "minItems",
  maxItems: "maxItems",
  minFields: "minProperties",
  maxFields: "maxProperties",
  pattern: "pattern",
} as const;

function valueSchema(type: ValueType, version: OpenApiVersion, add: (name: string) => void): Json {
  switch (type.kind) {
    case "scalar":
      return scalarSchema(type.scalar, version);
    case "list":
      return { type: "array", items: valueSchema(type.of, version, add) };
    case "map":
      return { type: "object", additionalProperties: valueSchema(type.of, version, add) };
    case "object":
      add(type.type);
      return reference(schemaName(type.type), version);
  }
}

function scalarSchema(scalar: Scalar, version: OpenApiVersion): Json {
  switch (scalar) {
    case "string":
      return { type: "string" };
    case "bool":
      return { type: "boolean" };
    case "int32":
    case "int64":
      return { type: "integer", format: scalar };
    case "number":
      return { type: "number", format: "double" };
    case "byte":
    case "date-time":
      return { type: "string", format: scalar };
    case "int-or-string":
      return version === 3
        ? { oneOf: [{ type: "integer" }, { type: "string" }], format: "int-or-string" }
        : { type: "string", format: "int-or-string" };
    case "quantity":
      return version === 3 ? { oneOf: [{ type: "string" }, { type: "number" }] } : { type: "string" };
    case "any":
      return version === 3 ? { description: "any JSON" } : { type: "object" };
  }
}
