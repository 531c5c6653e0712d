// The types that expressions see of the kinds that are known out of the box, and of those that definitions make.

import {
  bool,
  bytes,
  double,
  dyn,
  int,
  listOf,
  mapOf,
  string,
  timestamp,
  type Field,
  type Type,
} from "../../../kube/cel/types.ts";
import { schemaOf, typeNamed, type ValueType } from "../../../kube/schema.ts";
import { typeOfSchema } from "../custom-types.ts";
import type { Kind } from "../kinds.ts";

const known = new Map<string, Type>();

/** The type of a kind's objects; undefined where nothing is known of them. */
export function typeOfKind({
  apiVersion,
  kind,
  custom,
}: Pick<Kind, "apiVersion" | "kind" | "custom">): Type | undefined {
  const schema = custom?.schema?.openAPIV3Schema;
  if (schema !== undefined) return typeOfSchema(schema, true);
  const type = schemaOf(apiVersion, kind);
  return type === undefined ? undefined : objectType(type.name);
}

/** Types refer to each other, some to themselves: fields are read when they are asked for. */
function objectType(name: string): Type {
  const before = known.get(name);
  if (before !== undefined) return before;
  const { fields } = typeNamed(name);
  const read = new Map<string, Field>();
  const type: Type = { kind: "object", name, fields: read };
  known.set(name, type);
  for (const [property, field] of fields) read.set(property, { type: typeOf(field.type), property });
  return type;
}

function typeOf(type: ValueType): Type {
  switch (type.kind) {
    case "list":
      return listOf(typeOf(type.of));
    case "map":
      return mapOf(string, typeOf(type.of));
    case "object":
      return objectType(type.type);
    case "scalar":
      return scalars[type.scalar] ?? dyn;
  }
}

const scalars: { readonly [scalar: string]: Type | undefined } = {
  string,
  bool,
  int32: int,
  int64: int,
  number: double,
  byte: bytes,
  "date-time": timestamp,
};
