// OpenAPI schemas as lines of text: a line per type, a line per field. src/kube/schema.ts reads them back.
//
//   @core.v1.ServicePort v1/Kind…          a type, the kinds it is (apiVersion/kind), `atomic` where it is replaced as a whole
//   port! int32                            a field, `!` where required, its type
//   resources~ .ResourceRequirements       `~`: Go's types hold it by value and always write it, zero or not
//   protocol string =TCP enum=SCTP,TCP,UDP its default and its values
//   ports []core.v1.ServicePort list=map:port,protocol patch=merge:port
//
// Types: string bool int32 int64 number byte date-time int-or-string quantity any, a type's name (`.Name` in the same package),
// `[]` before it for lists, `{}` for maps. Constraints of CRDs: min max minLength maxLength minItems maxItems minFields maxFields pattern.

import type { FieldEnums } from "./generate-schemas.enums.ts";

/** A schema of OpenAPI v3, as far as it is read here. */
export interface Schema {
  readonly type?: string;
  readonly format?: string;
  readonly $ref?: string;
  readonly allOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: { readonly [name: string]: Schema };
  readonly additionalProperties?: Schema | boolean;
  readonly required?: readonly string[];
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly "x-kubernetes-group-version-kind"?: readonly { group: string; version: string; kind: string }[];
  readonly "x-kubernetes-int-or-string"?: boolean;
  readonly "x-kubernetes-preserve-unknown-fields"?: boolean;
  readonly "x-kubernetes-list-type"?: "atomic" | "map" | "set";
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
  readonly "x-kubernetes-map-type"?: "atomic" | "granular";
  readonly "x-kubernetes-patch-strategy"?: string;
  readonly "x-kubernetes-patch-merge-key"?: string;
}

/** The lines of all named schemas, sorted by name. `schemas` are OpenAPI's component names, such as `io.k8s.api.core.v1.Pod`. */
export function typeLines(schemas: ReadonlyMap<string, Schema>, enums: FieldEnums): string[] {
  return [...schemas]
    .map(([name, schema]) => ({ name: shortName(name), schema }))
    .filter(({ name }) => scalars[name] === undefined && !opaque.has(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ name, schema }) => [
      header(name, schema),
      ...fields(schema).map(([field, fieldSchema]) =>
        fieldLine(field, fieldSchema, {
          owner: name,
          required: schema.required?.includes(field) ?? false,
          values: enums.get(`${name} ${field}`),
          nested: () => "any",
        }),
      ),
    ]);
}

/** The lines of a CRD's schema; its nested objects become types of their own, equal ones the same type. */
export function customTypeLines(
  name: string,
  apiVersionKind: string,
  schema: Schema,
  seen: Map<string, string>,
): string[] {
  const lines: string[] = [];
  const emit = (typeName: string, object: Schema, kinds: string): string => {
    const body = fields(object).map(([field, fieldSchema]) => {
      const standard =
        kinds !== "" && field === "metadata"
          ? { $ref: "#/x/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" }
          : fieldSchema;
      return fieldLine(field, standard, {
        owner: typeName,
        required: object.required?.includes(field) ?? false,
        values: undefined,
        nested: (inner) => emit(`${typeName}-${field}`, inner, ""),
      });
    });
    const atomic = object["x-kubernetes-map-type"] === "atomic" ? " atomic" : "";
    const text = [atomic, ...body].join("\n");
    const same = kinds === "" ? seen.get(text) : undefined;
    if (same !== undefined) return same;
    seen.set(text, typeName);
    lines.push(`@${typeName}${kinds}${atomic}`, ...body);
    return typeName;
  };
  emit(name, schema, ` ${apiVersionKind}`);
  return lines;
}

const packages: readonly (readonly [RegExp, string])[] = [
  [/^io\.k8s\.api\./, ""],
  [/^io\.k8s\.apimachinery\.pkg\.(apis\.)?/, ""],
  [/^io\.k8s\.apiextensions-apiserver\.pkg\.apis\./, ""],
  [/^io\.k8s\.kube-aggregator\.pkg\.apis\./, ""],
];

function shortName(name: string): string {
  return packages.reduce((short, [from, to]) => short.replace(from, to), name);
}

/** Types that are written as words. */
const scalars: { readonly [name: string]: string } = {
  "api.resource.Quantity": "quantity",
  "util.intstr.IntOrString": "int-or-string",
  "meta.v1.Time": "date-time",
  "meta.v1.MicroTime": "date-time",
  "meta.v1.FieldsV1": "any",
  "runtime.RawExtension": "any",
};

function header(name: string, schema: Schema): string {
  const kinds = (schema["x-kubernetes-group-version-kind"] ?? []).map(({ group, version, kind }) =>
    group === "" ? `${version}/${kind}` : `${group}/${version}/${kind}`,
  );
  // Options of requests belong to every group; they are found by type, not by kind.
  const shown = kinds.length > 2 ? [] : kinds;
  return [`@${name}`, ...shown, ...(schema["x-kubernetes-map-type"] === "atomic" ? ["atomic"] : [])].join(" ");
}

function fields(schema: Schema): [string, Schema][] {
  return Object.entries(schema.properties ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
}

interface FieldContext {
  /** The type it belongs to. */
  readonly owner: string;
  readonly required: boolean;
  readonly values: readonly string[] | undefined;
  /** Names an anonymous object. */
  readonly nested: (schema: Schema) => string;
}

function fieldLine(name: string, schema: Schema, context: FieldContext): string {
  const hasZero = schema.default !== undefined && isZero(schema.default);
  const isWritten = hasZero && !omitted.has(`${context.owner} ${name}`);
  const words = [`${name}${context.required ? "!" : ""}${isWritten ? "~" : ""}`, typeText(schema, context)];
  const element =
    schema.items ?? (typeof schema.additionalProperties === "object" ? schema.additionalProperties : undefined);
  const values = context.values ?? schema.enum?.map(String) ?? element?.enum?.map(String);
  if (schema.default !== undefined && !hasZero) words.push(`=${compactJson(schema.default)}`);
  if (values !== undefined && values.length > 0) words.push(`enum=${compactJson(values)}`);
  const keys = schema["x-kubernetes-list-map-keys"] ?? [];
  const listType = schema["x-kubernetes-list-type"];
  if (listType === "map") words.push(`list=map:${keys.join(",")}`);
  if (listType === "set") words.push("list=set");
  const strategy = schema["x-kubernetes-patch-strategy"];
  const mergeKey = schema["x-kubernetes-patch-merge-key"];
  if (strategy !== undefined) words.push(`patch=${strategy}${mergeKey === undefined ? "" : `:${mergeKey}`}`);
  if (schema["x-kubernetes-map-type"] === "atomic") words.push("atomic");
  return [...words, ...constraints(schema, element)].join(" ");
}

/** Their zero default is an `omitempty` in Go: it is not written. */
const omitted = new Set([
  "autoscaling.v1.ScaleSpec replicas",
  "core.v1.ConfigMapEnvSource name",
  "core.v1.ConfigMapKeySelector name",
  "core.v1.ConfigMapProjection name",
  "core.v1.ConfigMapVolumeSource name",
  "core.v1.LocalObjectReference name",
  "core.v1.ReplicationControllerSpec minReadySeconds",
  "core.v1.SecretEnvSource name",
  "core.v1.SecretKeySelector name",
  "core.v1.SecretProjection name",
]);

const constraintNames = {
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

/** A field's own constraints, and those of its elements with `each.` before the name. */
function constraints(schema: Schema, element: Schema | undefined): string[] {
  const of = (from: Schema, prefix: string): string[] =>
    Object.entries(constraintNames).flatMap(([name, property]) => {
      const value = from[property];
      return value === undefined ? [] : [`${prefix}${name}=${compactJson(value)}`];
    });
  return [...of(schema, ""), ...(element === undefined ? [] : of(element, "each."))];
}

function typeText(schema: Schema, context: FieldContext): string {
  const reference = schema.$ref ?? schema.allOf?.find((part) => part.$ref !== undefined)?.$ref;
  if (reference !== undefined) return referenceText(reference, context.owner);
  if (schema["x-kubernetes-int-or-string"] === true || schema.format === "int-or-string") return "int-or-string";
  if (schema.items !== undefined) return `[]${typeText(schema.items, context)}`;
  if (typeof schema.additionalProperties === "object") return `{}${typeText(schema.additionalProperties, context)}`;
  if (schema.properties !== undefined && schema["x-kubernetes-preserve-unknown-fields"] !== true)
    return context.nested(schema);
  if (schema.type === "string")
    return schema.format === "byte" || schema.format === "date-time" ? schema.format : "string";
  if (schema.type === "integer") return schema.format === "int32" ? "int32" : "int64";
  if (schema.type === "boolean") return "bool";
  return schema.type === "number" ? "number" : "any";
}

function referenceText(reference: string, owner: string): string {
  const name = shortName(reference.slice(reference.lastIndexOf("/") + 1));
  const scalar = scalars[name];
  if (scalar !== undefined) return scalar;
  // A schema without properties is anything (JSON, CustomResourceSubresourceStatus).
  if (opaque.has(name)) return "any";
  const [ofName, ofOwner] = [packageOf(name), packageOf(owner)];
  return ofName === ofOwner ? name.slice(ofName.length) : name;
}

function packageOf(name: string): string {
  return name.slice(0, name.lastIndexOf("."));
}

const opaque = new Set([
  "apiextensions.v1.JSON",
  "apiextensions.v1.JSONSchemaPropsOrArray",
  "apiextensions.v1.JSONSchemaPropsOrBool",
  "apiextensions.v1.JSONSchemaPropsOrStringArray",
  "apiextensions.v1.CustomResourceSubresourceStatus",
]);

function isZero(value: unknown): boolean {
  if (typeof value === "object" && value !== null) return Object.keys(value).length === 0;
  return value === "" || value === 0 || value === false || value === null;
}

/** JSON without spaces, so that words can be split at them. */
function compactJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(" ", String.raw`\u0020`);
}
