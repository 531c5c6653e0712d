// How ownership takes a value apart (structured-merge-diff's schema): field by field, element by element, or as a whole.
// Shapes come from the schema table, from a custom resource's schema, or, without either, from the values themselves.

import { schemaOf, typeNamed, type FieldSchema, type TypeSchema, type ValueType } from "../../../kube/schema.ts";
import { zeroOf } from "../../../kube/zero.ts";
import type { JsonSchema } from "../../api/custom-schema.ts";
import type { Kind } from "../../api/kinds.ts";

export type Shape =
  /** Owned as a whole: scalars, atomic lists, atomic objects. */
  | { readonly kind: "leaf" }
  /**
   * `isMap`: names are data, as those of labels, and each is owned for itself. `zero`: what such a field is in every object where nobody
   * said anything; undefined where it is not there then.
   */
  | {
      readonly kind: "fields";
      readonly isMap: boolean;
      readonly field: (name: string) => Shape;
      readonly zero: (name: string) => unknown;
    }
  /** A list of scalars that are each owned. */
  | { readonly kind: "set" }
  /** A list of objects that are told apart by the fields `keys`, which are in order. */
  | {
      readonly kind: "list";
      readonly keys: readonly string[];
      readonly keyDefault: (key: string) => unknown;
      readonly element: Shape;
    }
  /** No schema: objects are taken apart, lists are not. */
  | { readonly kind: "deduced" };

const leaf: Shape = { kind: "leaf" };
const deduced: Shape = { kind: "deduced" };

/** The shape of a kind's objects, in the version they are stored in. */
export function shapeOf({ stored, custom }: Kind): Shape {
  const type = schemaOf(stored.apiVersion, stored.kind);
  if (type !== undefined) return shapeOfType(type);
  const schema = custom?.schema?.openAPIV3Schema;
  return schema === undefined ? customWithout : shapeOfCustom(schema);
}

const ofTypes = new WeakMap<TypeSchema, Shape>();

function shapeOfType(type: TypeSchema): Shape {
  let shape = ofTypes.get(type);
  if (shape === undefined) {
    shape = type.atomic
      ? leaf
      : {
          kind: "fields",
          isMap: false,
          field: cachedFields((name) => shapeOfField(type.fields.get(name))),
          zero: (name) => zeroOfField(type.fields.get(name)),
        };
    ofTypes.set(type, shape);
  }
  return shape;
}

/** Lists and maps that an object must have are null before anybody says what is in them. */
function zeroOfField(field: FieldSchema | undefined): unknown {
  if (field === undefined) return undefined;
  const isNull = field.required && (field.type.kind === "list" || field.type.kind === "map");
  return isNull ? null : zeroOf(field);
}

function cachedFields(make: (name: string) => Shape): (name: string) => Shape {
  const made = new Map<string, Shape>();
  return (name) => {
    let shape = made.get(name);
    if (shape === undefined) made.set(name, (shape = make(name)));
    return shape;
  };
}

function shapeOfField(field: FieldSchema | undefined): Shape {
  if (field === undefined) return deduced;
  if (field.atomic) return leaf;
  if (field.type.kind !== "list") return shapeOfValue(field.type);
  switch (field.list) {
    case "atomic":
      return leaf;
    case "set":
      return { kind: "set" };
    case "map": {
      const element = field.type.of;
      const type = element.kind === "object" ? typeNamed(element.type) : undefined;
      return {
        kind: "list",
        keys: [...field.listKeys].sort(),
        keyDefault: (key) => type?.fields.get(key)?.default,
        element: shapeOfValue(element),
      };
    }
  }
}

function shapeOfValue(type: ValueType): Shape {
  switch (type.kind) {
    case "scalar":
      return type.scalar === "any" ? deduced : leaf;
    case "list":
      return leaf;
    case "map": {
      const value = shapeOfValue(type.of);
      return { kind: "fields", isMap: true, field: () => value, zero: nothing };
    }
    case "object":
      return shapeOfType(typeNamed(type.type));
  }
}

function metadataShape(): Shape {
  return shapeOfType(typeNamed("meta.v1.ObjectMeta"));
}

function nothing(): undefined {
  return undefined;
}

/** Custom resources have metadata, whatever their schema says. */
function metadataOnly(name: string): unknown {
  return name === "metadata" ? {} : undefined;
}

const customWithout: Shape = {
  kind: "fields",
  isMap: false,
  field: (name) => (name === "metadata" ? metadataShape() : deduced),
  zero: metadataOnly,
};

const ofSchemas = new WeakMap<JsonSchema, Shape>();

function shapeOfCustom(schema: JsonSchema): Shape {
  let shape = ofSchemas.get(schema);
  if (shape === undefined) {
    const own = shapeOfSchema(schema);
    shape =
      own.kind === "fields"
        ? { ...own, field: (name) => (name === "metadata" ? metadataShape() : own.field(name)), zero: metadataOnly }
        : customWithout;
    ofSchemas.set(schema, shape);
  }
  return shape;
}

function shapeOfSchema(schema: JsonSchema): Shape {
  if (schema["x-kubernetes-int-or-string"] === true) return leaf;
  if (schema.type === "array") return shapeOfList(schema);
  if (schema.type !== "object") return schema.type === undefined ? deduced : leaf;
  if (schema["x-kubernetes-map-type"] === "atomic") return leaf;
  const { properties = {}, additionalProperties } = schema;
  const others = typeof additionalProperties === "object" ? shapeOfSchema(additionalProperties) : deduced;
  return {
    kind: "fields",
    isMap: schema.properties === undefined,
    field: cachedFields((name) => {
      const own = Object.hasOwn(properties, name) ? properties[name] : undefined;
      return own === undefined ? others : shapeOfSchema(own);
    }),
    zero: nothing,
  };
}

function shapeOfList(schema: JsonSchema): Shape {
  const { items } = schema;
  switch (schema["x-kubernetes-list-type"] ?? "atomic") {
    case "set":
      return { kind: "set" };
    case "map":
      return {
        kind: "list",
        keys: [...(schema["x-kubernetes-list-map-keys"] ?? [])].sort(),
        keyDefault: (key) => items?.properties?.[key]?.default,
        element: items === undefined ? deduced : shapeOfSchema(items),
      };
  }
  return leaf;
}
