// Zero values that are always there. Upstream's types hold some fields by value, so that every object of the type has them, said or
// not: `resources: {}` of a container, `replicas: 0` of a status. Clients in typed languages insist on some of them.
//
// Not here: defaults, which mean something (defaults.ts).

import { isFields, type KubeObject } from "./object.ts";
import { markRepeated, rememberedChange } from "./repeated.ts";
import { schemaOf, typeNamed, type FieldSchema, type Scalar, type TypeSchema, type ValueType } from "./schema.ts";

/** The object with its zero values; kinds that the schema table does not know stay as they are. */
export function withZeroValues(object: KubeObject): KubeObject {
  const type = schemaOf(object.apiVersion, object.kind);
  return type === undefined ? object : (completed(object, type) as KubeObject);
}

/** The zero value of a field that is always written; undefined of any other. It is shared and must not be changed. */
export function zeroOf(field: FieldSchema): unknown {
  if (!field.written) return undefined;
  const { type } = field;
  switch (type.kind) {
    case "scalar":
      return zeroScalars[type.scalar];
    case "object":
      return zeroObject(typeNamed(type.type));
    case "list":
    case "map":
      return undefined;
  }
}

const zeroScalars: { readonly [scalar in Scalar]?: unknown } = {
  string: "",
  bool: false,
  int32: 0,
  int64: 0,
  number: 0,
};

type Fields = { [field: string]: unknown };

const zeroObjects = new Map<TypeSchema, Fields>();

function zeroObject(type: TypeSchema): Fields {
  let zero = zeroObjects.get(type);
  if (zero === undefined) {
    zeroObjects.set(type, (zero = completed({}, type)));
    markRepeated(zero);
  }
  return zero;
}

function completed(value: Fields, type: TypeSchema): Fields {
  let complete = value;
  const set = (name: string, next: unknown): void => {
    if (complete === value) complete = { ...value };
    complete[name] = next;
  };
  for (const field of writtenFields(type)) {
    if (value[field.name] !== undefined) continue;
    const zero = zeroOf(field);
    if (zero !== undefined) set(field.name, zero);
  }
  for (const name of Object.keys(value)) {
    const field = value[name];
    if (typeof field !== "object" || field === null) continue;
    const schema = type.fields.get(name);
    if (schema === undefined) continue;
    const next =
      name === "spec"
        ? rememberedChange(field, `zero ${type.name}`, () => completedValue(field, schema.type))
        : completedValue(field, schema.type);
    if (next !== field) set(name, next);
  }
  return complete;
}

function completedValue(value: unknown, type: ValueType): unknown {
  switch (type.kind) {
    case "scalar":
      return value;
    case "object":
      return isFields(value) ? completed(value, typeNamed(type.type)) : value;
    case "list": {
      if (!Array.isArray(value) || type.of.kind === "scalar") return value;
      const list = value.map((element) => completedValue(element, type.of));
      return list.every((element, index) => element === value[index]) ? value : list;
    }
    case "map": {
      if (!isFields(value) || type.of.kind === "scalar") return value;
      const names = Object.keys(value);
      const map = Object.fromEntries(names.map((name) => [name, completedValue(value[name], type.of)]));
      return names.every((name) => map[name] === value[name]) ? value : map;
    }
  }
}

function isText(type: ValueType): boolean {
  return type.kind === "scalar" && type.scalar === "string";
}

const written = new WeakMap<TypeSchema, readonly FieldSchema[]>();

/** What its objects always have. Texts that are required are left to those who say that they are missing. */
function writtenFields(type: TypeSchema): readonly FieldSchema[] {
  let fields = written.get(type);
  if (fields === undefined)
    written.set(
      type,
      (fields = [...type.fields.values()].filter((field) => field.written && !(field.required && isText(field.type)))),
    );
  return fields;
}
