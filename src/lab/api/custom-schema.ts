// Custom resources by their structural schema (apiextensions/v1 JSONSchemaProps): pruning of unknown fields, defaults, validation.
// Upstream: apiextensions-apiserver pkg/apiserver/schema; the words of problems are kube-openapi's.
//
// Not here: rules (x-kubernetes-validations, custom-rules.ts), which are loaded when the first of them is met.

import {
  at,
  child,
  duplicate,
  invalid,
  notSupported,
  required,
  tooMany,
  type FieldProblem,
} from "../../kube/problem.ts";
import { isRegex, regexOf, type Regex } from "../../kube/cel/regex.ts";
import { sameJson } from "../../kube/equal.ts";
import type { KubeObject } from "../../kube/object.ts";
import { typeNamed } from "../../kube/schema.ts";

/** JSONSchemaProps, as far as they are read. */
export interface JsonSchema {
  readonly type?: string;
  readonly format?: string;
  readonly description?: string;
  readonly properties?: { readonly [name: string]: JsonSchema };
  readonly additionalProperties?: JsonSchema | boolean;
  readonly items?: JsonSchema;
  readonly required?: readonly string[];
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly nullable?: boolean;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: boolean;
  readonly exclusiveMaximum?: boolean;
  readonly multipleOf?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly allOf?: readonly JsonSchema[];
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly not?: JsonSchema;
  readonly "x-kubernetes-preserve-unknown-fields"?: boolean;
  readonly "x-kubernetes-embedded-resource"?: boolean;
  readonly "x-kubernetes-int-or-string"?: boolean;
  readonly "x-kubernetes-list-type"?: string;
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
  readonly "x-kubernetes-map-type"?: string;
  readonly "x-kubernetes-validations"?: readonly ValidationRule[];
}

/** apiextensions/v1 ValidationRule; what is required may be missing here. */
export interface ValidationRule {
  readonly rule?: string;
  readonly message?: string;
  readonly messageExpression?: string;
  readonly reason?: string;
  readonly fieldPath?: string;
  readonly optionalOldSelf?: boolean;
}

type Fields = { readonly [name: string]: unknown };

/** The fields that every object has, whatever its schema says. */
const objectFields = new Set(["apiVersion", "kind", "metadata"]);

/** The value without fields that the schema does not know; their paths are added to `unknown`. */
export function pruned(value: unknown, schema: JsonSchema, unknown: string[], path = "", isObject = true): unknown {
  if (Array.isArray(value)) {
    const { items } = schema;
    if (items === undefined) return value;
    return sameOr(
      value,
      value.map((element, index) => pruned(element, items, unknown, at(path, index), false)),
    );
  }
  if (!isFields(value)) return value;
  const keepsUnknown = schema["x-kubernetes-preserve-unknown-fields"] === true;
  const others = schema.additionalProperties;
  const isEmbedded = isObject || schema["x-kubernetes-embedded-resource"] === true;
  let result: { [name: string]: unknown } | undefined;
  for (const [name, field] of Object.entries(value)) {
    if (isEmbedded && objectFields.has(name)) {
      const next = isObject || name !== "metadata" ? field : prunedMetadata(field, unknown, child(path, name));
      if (next !== field) (result ??= { ...value })[name] = next;
      continue;
    }
    const own = fieldOf(schema, name);
    const known = own ?? (typeof others === "object" ? others : undefined);
    const isKept = known !== undefined || others === true || keepsUnknown;
    if (!isKept) unknown.push(child(path, name));
    const next = known === undefined ? field : pruned(field, known, unknown, child(path, name), false);
    if (isKept && next === field) continue;
    result ??= { ...value };
    if (isKept) result[name] = next;
    else delete result[name];
  }
  return result ?? value;
}

/** Metadata of an object inside of another one: the fields that all metadata has. */
function prunedMetadata(value: unknown, unknown: string[], path: string): unknown {
  if (!isFields(value)) return value;
  const { fields } = typeNamed("meta.v1.ObjectMeta");
  const others = Object.keys(value).filter((name) => !fields.has(name));
  unknown.push(...others.map((name) => child(path, name)));
  return others.length === 0 ? value : Object.fromEntries(Object.entries(value).filter(([name]) => fields.has(name)));
}

/** The value with the schema's defaults filled in; null counts as absent where it is not allowed. */
export function defaulted(value: unknown, schema: JsonSchema): unknown {
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined
      ? value
      : sameOr(
          value,
          value.map((element) => defaulted(element, items)),
        );
  }
  if (!isFields(value)) return value;
  const result: { [name: string]: unknown } = { ...value };
  let changed = false;
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    const before = Object.hasOwn(result, name) ? result[name] : undefined;
    const isAbsent = before === undefined || (before === null && field.nullable !== true);
    const given = isAbsent && field.default !== undefined ? structuredClone(field.default) : before;
    const next = given === undefined || (given === null && isAbsent) ? undefined : defaulted(given, field);
    if (next === before) continue;
    if (next === undefined) delete result[name];
    else result[name] = next;
    changed = true;
  }
  const others = schema.additionalProperties;
  if (typeof others === "object")
    for (const [name, field] of Object.entries(value)) {
      if (fieldOf(schema, name) !== undefined) continue;
      const next = defaulted(field, others);
      if (next === field) continue;
      result[name] = next;
      changed = true;
    }
  return changed ? result : value;
}

/** An object as it is stored: without fields that its schema does not know, with its defaults. */
export function completed(object: KubeObject, schema: JsonSchema): KubeObject {
  return defaulted(pruned(object, schema, []), schema) as KubeObject;
}

/**
 * What is wrong with a value by its schema. `previous`: what it takes the place of, if that is known; who does not touch what is wrong need not
 * mend it (KEP-4008).
 */
export function schemaProblems(
  value: unknown,
  schema: JsonSchema,
  path = "",
  isObject = true,
  previous?: unknown,
): FieldProblem[] {
  if (previous !== undefined && sameJson(value, previous)) return [];
  if (value === null && (schema.nullable === true || schema.type === undefined)) return [];
  const wrongType = typeProblem(value, schema, path);
  if (wrongType !== undefined) return [wrongType];
  const problems = [...valueProblems(value, schema, path), ...junctorProblems(value, schema, path, isObject)];
  if (Array.isArray(value)) problems.push(...listProblems(value, schema, path, previous));
  else if (isFields(value)) problems.push(...fieldsProblems(value, schema, path, isObject, previous));
  return problems;
}

function typeProblem(value: unknown, schema: JsonSchema, path: string): FieldProblem | undefined {
  const wrong = (type: string): FieldProblem => ({
    field: path,
    reason: "FieldValueTypeInvalid",
    message: `Invalid value: ${JSON.stringify(typeOf(value))}: ${path} in body must be of type ${type}: ${JSON.stringify(typeOf(value))}`,
  });
  if (schema["x-kubernetes-int-or-string"] === true)
    return typeof value === "string" || Number.isInteger(value) ? undefined : wrong("integer,string");
  switch (schema.type ?? "") {
    case "object":
      return isFields(value) ? undefined : wrong("object");
    case "array":
      return Array.isArray(value) ? undefined : wrong("array");
    case "string":
      return typeof value === "string" ? undefined : wrong("string");
    case "boolean":
      return typeof value === "boolean" ? undefined : wrong("boolean");
    case "number":
      return typeof value === "number" ? undefined : wrong("number");
    case "integer":
      return Number.isInteger(value) ? undefined : wrong("integer");
  }
  return undefined;
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value === "number" ? (Number.isInteger(value) ? "integer" : "number") : typeof value;
}

function valueProblems(value: unknown, schema: JsonSchema, path: string): FieldProblem[] {
  const problems: FieldProblem[] = [];
  const wrong = (detail: string): void => void problems.push(invalid(path, value, `${path} in body ${detail}`));
  if (schema.enum !== undefined && !schema.enum.some((each) => sameJson(each, value)))
    problems.push(notSupported(path, value, schema.enum.map(String)));
  if (typeof value === "number") numberProblems(value, schema, wrong);
  if (typeof value === "string") {
    const length = Array.from(value).length;
    if (schema.minLength !== undefined && length < schema.minLength)
      wrong(`should be at least ${schema.minLength} chars long`);
    if (schema.maxLength !== undefined && length > schema.maxLength)
      problems.push({
        field: path,
        reason: "FieldValueTooLong",
        message: `Too long: may not be more than ${schema.maxLength} bytes`,
      });
    if (schema.pattern !== undefined && patternOf(schema.pattern)?.test(value) === false)
      wrong(`should match '${schema.pattern}'`);
    if (schema.format !== undefined && !hasFormat(value, schema.format))
      problems.push({
        ...invalid(path, value, `${path} in body must be of type ${schema.format}: ${JSON.stringify(value)}`),
        reason: "FieldValueTypeInvalid",
      });
  }
  return problems;
}

function numberProblems(value: number, schema: JsonSchema, wrong: (detail: string) => void): void {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
  if (minimum !== undefined && (value < minimum || (exclusiveMinimum === true && value === minimum)))
    wrong(
      exclusiveMinimum === true ? `should be greater than ${minimum}` : `should be greater than or equal to ${minimum}`,
    );
  if (maximum !== undefined && (value > maximum || (exclusiveMaximum === true && value === maximum)))
    wrong(exclusiveMaximum === true ? `should be less than ${maximum}` : `should be less than or equal to ${maximum}`);
  if (multipleOf !== undefined && !Number.isInteger(value / multipleOf)) wrong(`should be a multiple of ${multipleOf}`);
  if (schema.format === "int32" && (value < -(2 ** 31) || value >= 2 ** 31)) wrong("must be of type int32");
}

// go-openapi/strfmt, as far as apiextensions supports it
const formats: { readonly [format: string]: RegExp } = {
  "date-time": /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)$/,
  date: /^\d{4}-\d\d-\d\d$/,
  uuid: /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i,
  ipv4: /^(\d{1,3}\.){3}\d{1,3}$/,
  ipv6: /^[0-9a-f:]*:[0-9a-f:.]*$/i,
  byte: /^[A-Za-z0-9+/]*={0,2}$/,
  duration: /^[+-]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+$|^0$/,
};

function hasFormat(value: string, format: string): boolean {
  return formats[format]?.test(value) ?? true;
}

/** Undefined where it is no pattern: nothing is refused by it then. */
function patternOf(pattern: string): Regex | undefined {
  return isRegex(pattern) ? regexOf(pattern) : undefined;
}

function junctorProblems(value: unknown, schema: JsonSchema, path: string, isObject: boolean): FieldProblem[] {
  const problemsOf = (each: JsonSchema): FieldProblem[] => schemaProblems(value, each, path, isObject);
  const problems = (schema.allOf ?? []).flatMap(problemsOf);
  const wrong = (detail: string): void => {
    // kube-openapi's errors about junctors name their place in the words only.
    const message = `Invalid value: "": ${JSON.stringify(path)} must ${detail}`;
    problems.push({ field: "<nil>", reason: "FieldValueInvalid", message });
  };
  /** What is wrong with the branch that says most about the value, as kube-openapi counts matches: the first of several. */
  const nearest = (branches: readonly JsonSchema[]): readonly FieldProblem[] => {
    const checks = branches.map((branch) => checksIn(value, branch));
    const best = branches[checks.indexOf(Math.max(...checks))];
    return best === undefined ? [] : problemsOf(best);
  };
  const any = schema.anyOf?.map(problemsOf);
  if (any !== undefined && any.every((each) => each.length > 0)) {
    wrong("validate at least one schema (anyOf)");
    problems.push(...nearest(schema.anyOf ?? []));
  }
  const one = schema.oneOf?.map(problemsOf);
  const valid = one?.filter((each) => each.length === 0).length ?? 1;
  if (one !== undefined && valid !== 1) {
    wrong(
      `validate one and only one schema (oneOf). Found ${valid === 0 ? "none valid" : `${valid} valid alternatives`}`,
    );
    if (valid === 0) problems.push(...nearest(schema.oneOf ?? []));
  }
  if (schema.not !== undefined && problemsOf(schema.not).length === 0) wrong("not validate the schema (not)");
  return problems;
}

/** How many parts of a value a schema has something to say about. */
function checksIn(value: unknown, { properties = {}, items }: JsonSchema): number {
  if (typeof value !== "object" || value === null) return 1;
  if (Array.isArray(value))
    return value.reduce((sum: number, each) => sum + (items === undefined ? 0 : checksIn(each, items)), 1);
  return Object.entries(value).reduce((sum, [name, each]) => {
    const field = Object.hasOwn(properties, name) ? properties[name] : undefined;
    return sum + (field === undefined ? 0 : checksIn(each, field));
  }, 1);
}

function listProblems(value: readonly unknown[], schema: JsonSchema, path: string, previous: unknown): FieldProblem[] {
  const problems: FieldProblem[] = [];
  const before = matchedElements(schema, previous);
  const { items, minItems, maxItems } = schema;
  if (minItems !== undefined && value.length < minItems)
    problems.push(invalid(path, value.length, `${path} in body should have at least ${minItems} items`));
  if (maxItems !== undefined && value.length > maxItems) problems.push(tooMany(path, value.length, maxItems));
  const seen = new Set<string>();
  for (const [index, element] of value.entries()) {
    const key = listKey(element, schema);
    if (key !== undefined) {
      const text = JSON.stringify(key);
      if (seen.has(text)) problems.push(duplicate(at(path, index), key));
      seen.add(text);
    }
    if (items !== undefined) problems.push(...schemaProblems(element, items, at(path, index), false, before(element)));
  }
  return problems;
}

function listKey(element: unknown, schema: JsonSchema): unknown {
  const kind = schema["x-kubernetes-list-type"];
  if (kind === "set" || schema.uniqueItems === true) return element;
  if (kind !== "map" || !isFields(element)) return undefined;
  const keys = schema["x-kubernetes-list-map-keys"] ?? [];
  return Object.fromEntries(keys.map((key) => [key, element[key] ?? schema.items?.properties?.[key]?.default]));
}

/** Elements of lists by key have a past; those of other lists have none. */
export function matchedElements(schema: JsonSchema, previous: unknown): (element: unknown) => unknown {
  if (schema["x-kubernetes-list-type"] !== "map" || !Array.isArray(previous)) return () => undefined;
  const keyOf = (element: unknown): string => JSON.stringify(listKey(element, schema) ?? null);
  const byKey = new Map(previous.map((element) => [keyOf(element), element as unknown]));
  return (element) => byKey.get(keyOf(element));
}

function fieldsProblems(
  value: Fields,
  schema: JsonSchema,
  path: string,
  isObject: boolean,
  previous: unknown,
): FieldProblem[] {
  const problems: FieldProblem[] = [];
  const before = isFields(previous) ? previous : {};
  const count = Object.keys(value).length;
  const { minProperties, maxProperties, additionalProperties: others } = schema;
  if (minProperties !== undefined && count < minProperties)
    problems.push(invalid(path, count, `${path} in body should have at least ${minProperties} properties`));
  if (maxProperties !== undefined && count > maxProperties) problems.push(tooMany(path, count, maxProperties));
  if (!isObject && schema["x-kubernetes-embedded-resource"] === true)
    for (const name of ["apiVersion", "kind"]) {
      if (value[name] === undefined) problems.push(required(child(path, name)));
      else if (typeof value[name] !== "string")
        problems.push(invalid(child(path, name), value[name], "must be a string"));
      else if (value[name] === "") problems.push(invalid(child(path, name), "", "must not be empty"));
    }
  for (const name of schema.required ?? [])
    if (!Object.hasOwn(value, name) || value[name] === undefined) problems.push(required(child(path, name)));
  for (const [name, field] of Object.entries(value)) {
    if (field === undefined || (isObject && objectFields.has(name))) continue;
    const own = fieldOf(schema, name) ?? (typeof others === "object" ? others : undefined);
    const then = Object.hasOwn(before, name) ? before[name] : undefined;
    if (own !== undefined) problems.push(...schemaProblems(field, own, child(path, name), false, then));
  }
  return problems;
}

function fieldOf(schema: JsonSchema, name: string): JsonSchema | undefined {
  return schema.properties !== undefined && Object.hasOwn(schema.properties, name)
    ? schema.properties[name]
    : undefined;
}

function sameOr(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
  return after.every((element, index) => element === before[index]) ? before : after;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
