// The shape of a CustomResourceDefinition's schemas where the table of types knows none (JSONSchemaPropsOrArray, JSONSchemaPropsOrBool), and
// nulls, which Go's decoder reads as absent: whoever reads a stored schema may trust its types.
//
// Not here: what a schema must say (custom-structure.ts).

import { child, typeInvalid, type FieldProblem } from "../../kube/problem.ts";
import { partProblems } from "../../kube/structure.ts";
import type { JsonSchema } from "./custom-schema.ts";

type Fields = { readonly [field: string]: unknown };

const schemaType = "apiextensions.v1.JSONSchemaProps";

/** Fields that are a schema, a list of them, schemas by name; what the others hold is no schema, whatever it looks like. */
const single = new Set(["items", "additionalProperties", "additionalItems", "not"]);
const listed = new Set(["allOf", "anyOf", "oneOf"]);
const named = new Set(["properties", "patternProperties", "definitions"]);
const free = new Set(["default", "enum", "example"]);

/** Parts of the wrong types, by paths below the given one; everything outside of items and additionalProperties has been checked. */
export function shapeProblems(schema: JsonSchema, path: string): readonly FieldProblem[] {
  return Object.entries(schema).flatMap(([name, value]: [string, unknown]) => {
    const field = child(path, name);
    if (single.has(name)) {
      const isBoolean = typeof value === "boolean" && name !== "items" && name !== "not";
      return isBoolean ? [] : partShape(value, field);
    }
    if (listed.has(name)) return (value as readonly JsonSchema[]).flatMap((each) => shapeProblems(each, field));
    if (named.has(name))
      return Object.entries(value as { readonly [name: string]: JsonSchema }).flatMap(([key, each]) =>
        shapeProblems(each, child(field, key)),
      );
    return [];
  });
}

function partShape(value: unknown, path: string): readonly FieldProblem[] {
  if (!isFields(value)) return [typeInvalid(path, value, "object")];
  const wrong = partProblems(value, schemaType, path).filter(({ reason }) => reason !== "UnknownField");
  return wrong.length > 0 ? wrong : shapeProblems(value, path);
}

/** The same schema without nulls; itself where it has none. What is no schema stays. */
export function withoutNulls(schema: unknown): unknown {
  if (!isFields(schema)) return schema;
  return changed(schema, (value, name) => {
    if (value === null) return undefined;
    if (single.has(name)) return withoutNulls(value);
    if (listed.has(name) && Array.isArray(value)) return sameList(value, value.map(withoutNulls));
    if (named.has(name) && isFields(value)) return changed(value, (each) => (each === null ? {} : withoutNulls(each)));
    if (name === "x-kubernetes-validations" && Array.isArray(value))
      return sameList(
        value,
        value.map((rule: unknown) => (isFields(rule) ? changed(rule, orNothing) : rule)),
      );
    return free.has(name) ? value : orNothing(value);
  });
}

function orNothing(value: unknown): unknown {
  return value ?? undefined;
}

function changed(fields: Fields, change: (value: unknown, name: string) => unknown): Fields {
  const before = Object.entries(fields);
  const after = before.map(([name, value]) => [name, change(value, name)] as const);
  return after.every(([, value], index) => value === before[index]?.[1])
    ? fields
    : Object.fromEntries(after.filter(([, value]) => value !== undefined));
}

function sameList(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
  return after.every((each, index) => each === before[index]) ? before : after;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
