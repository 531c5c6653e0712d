// An object without the fields that its kind's schema does not know: what Go's decoder leaves out without a word.

import type { KubeObject } from "../../kube/object.ts";
import { at, child } from "../../kube/problem.ts";
import { remembered, rememberedChange } from "../../kube/repeated.ts";
import { schemaOf, typeNamed, type FieldSchema, type TypeSchema, type ValueType } from "../../kube/schema.ts";

type Fields = { readonly [field: string]: unknown };

/** The object, or a copy without unknown fields, whose paths are added to `unknown`. The types of known fields must be right. */
export function knownFields(object: KubeObject, unknown: string[]): KubeObject {
  const schema = schemaOf(object.apiVersion, object.kind);
  return schema === undefined ? object : (known(object, schema, unknown, "") as KubeObject);
}

function known(value: Fields, type: TypeSchema, unknown: string[], path: string): Fields {
  let result: { [field: string]: unknown } | undefined;
  for (const [name, field] of Object.entries(value)) {
    const schema = type.fields.get(name);
    if (schema === undefined) {
      unknown.push(child(path, name));
      delete (result ??= { ...value })[name];
      continue;
    }
    const isSpec = path === "" && name === "spec";
    const next = isSpec
      ? knownSpec(field, schema.type, unknown, type)
      : knownValue(field, schema.type, unknown, path, name);
    if (isNothing(next, schema, type)) delete (result ??= { ...value })[name];
    else if (next !== field) (result ??= { ...value })[name] = next;
  }
  return result ?? value;
}

function knownSpec(spec: unknown, type: ValueType, unknown: string[], { name }: TypeSchema): unknown {
  const paths = remembered(spec, `unknown ${name}`, () => {
    const found: string[] = [];
    knownValue(spec, type, found, "", "spec");
    return found;
  });
  unknown.push(...paths);
  return rememberedChange(spec, `known ${name}`, () => knownValue(spec, type, [], "", "spec"));
}

/** Go writes no empty list or map (omitempty), so one is as good as none; CRDs' types, whose names have a dash, keep theirs. */
function isNothing(value: unknown, { type, required }: FieldSchema, { name }: TypeSchema): boolean {
  if ((type.kind !== "list" && type.kind !== "map") || required || name.includes("-")) return false;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

function knownValue(value: unknown, type: ValueType, unknown: string[], path: string, name: string): unknown {
  if (value === null || typeof value !== "object") return value;
  switch (type.kind) {
    case "scalar":
      return value;
    case "object":
      return known(value as Fields, typeNamed(type.type), unknown, child(path, name));
    case "list": {
      if (type.of.kind === "scalar") return value;
      const { of } = type;
      const list = value as readonly unknown[];
      const next = list.map((element, index) => knownValue(element, of, unknown, path, at(name, index)));
      return next.every((element, index) => element === list[index]) ? value : next;
    }
    case "map": {
      if (type.of.kind === "scalar") return value;
      const { of } = type;
      const entries = Object.entries(value);
      const next = entries.map(([key, each]) => [key, knownValue(each, of, unknown, child(path, name), key)] as const);
      return next.every(([, each], index) => each === entries[index]?.[1]) ? value : Object.fromEntries(next);
    }
  }
}
