// Is a schema structural? What a CustomResourceDefinition's schemas, names, columns and paths must look like, in upstream's words
// (apiextensions pkg/apis/apiextensions/validation, pkg/apiserver/schema ValidateStructural).
//
// Not here: rules (custom-rule-problems.ts), what is wrong with objects (custom-schema.ts).

import { isRegex, regexOf, RegexError } from "../../kube/cel/regex.ts";
import { at, child, forbidden, invalid, notSupported, required, type FieldProblem } from "../../kube/problem.ts";
import { pruned, schemaProblems, type JsonSchema } from "./custom-schema.ts";

/** What is wrong with a schema, by paths below the given one. */
export function structuralProblems(schema: JsonSchema, path: string): readonly FieldProblem[] {
  return schemaLooks(schema, path, "root");
}

type Level = "root" | "items" | "fields";

const emptyTypes: { readonly [Each in Level]: string } = {
  root: "must not be empty at the root",
  items: "must not be empty for specified array items",
  fields: "must not be empty for specified object fields",
};

const typeNames = ["array", "boolean", "integer", "number", "object", "string"];

function schemaLooks(schema: JsonSchema, path: string, level: Level): FieldProblem[] {
  const { type = "", items, properties = {}, additionalProperties: others } = schema;
  const problems: FieldProblem[] = [];
  const field = (name: string): string => child(path, name);
  const isEmbedded = schema["x-kubernetes-embedded-resource"] === true;
  const keepsUnknown = schema["x-kubernetes-preserve-unknown-fields"];
  if ("$ref" in schema) problems.push(forbidden(field("$ref"), "$ref is not supported"));
  if (type !== "" && !typeNames.includes(type)) problems.push(notSupported(field("type"), type, typeNames));
  if (schema.uniqueItems === true)
    problems.push(
      forbidden(
        field("uniqueItems"),
        "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
      ),
    );
  if (typeof others === "object" || others === false) {
    if (Object.keys(properties).length > 0)
      problems.push(
        forbidden(field("additionalProperties"), "additionalProperties and properties are mutual exclusive"),
      );
    else if (level === "root") problems.push(forbidden(field("additionalProperties"), "must not be used at the root"));
    if (typeof others === "object") problems.push(...schemaLooks(others, field("additionalProperties"), "fields"));
  }
  for (const [name, each] of Object.entries(properties)) {
    if (level === "root" && name === "metadata") problems.push(...metadataLooks(each, at(field("properties"), name)));
    else problems.push(...schemaLooks(each, at(field("properties"), name), "fields"));
  }
  if (type === "array" && items === undefined) problems.push(required(field("items"), "must be specified"));
  if (items !== undefined) problems.push(...schemaLooks(items, field("items"), "items"));
  if (keepsUnknown === false)
    problems.push(invalid(field("x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined"));
  problems.push(...listLooks(schema, path), ...junctorLooks(schema, path), ...patternLooks(schema, path));
  if (isEmbedded && type !== "object")
    problems.push(
      type === ""
        ? required(field("type"), "must be object if x-kubernetes-embedded-resource is true")
        : invalid(field("type"), type, "must be object if x-kubernetes-embedded-resource is true"),
    );
  else if (type === "" && schema["x-kubernetes-int-or-string"] !== true && keepsUnknown !== true && !("$ref" in schema))
    problems.push(required(field("type"), emptyTypes[level]));
  if (level === "root" && type !== "" && type !== "object")
    problems.push(invalid(field("type"), type, "must be object at the root"));
  if (schema.default !== undefined && problems.length === 0) problems.push(...defaultLooks(schema, path));
  return problems;
}

/** Metadata is as it is for all kinds; a schema may only look closer at names. */
function metadataLooks(schema: JsonSchema, path: string): readonly FieldProblem[] {
  const { type, properties = {}, description: _, ...others } = schema;
  if (type !== undefined && type !== "object") return [invalid(child(path, "type"), type, "must be object")];
  const isPlain =
    Object.keys(others).length === 0 &&
    Object.keys(properties).every((name) => name === "name" || name === "generateName");
  return isPlain
    ? []
    : [
        forbidden(
          path,
          "must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
      ];
}

const listTypes = ["atomic", "set", "map"];

function listLooks(schema: JsonSchema, path: string): readonly FieldProblem[] {
  const { type = "", items } = schema;
  const field = (name: string): string => child(path, name);
  const kind = schema["x-kubernetes-list-type"];
  const mapKind = schema["x-kubernetes-map-type"];
  const keys = schema["x-kubernetes-list-map-keys"] ?? [];
  const problems: FieldProblem[] = [];
  const wrongType = (why: string): void => {
    problems.push(type === "" ? required(field("type"), why) : invalid(field("type"), type, why));
  };
  if (mapKind !== undefined && type !== "object") wrongType("must be object if x-kubernetes-map-type is specified");
  if (mapKind !== undefined && mapKind !== "atomic" && mapKind !== "granular")
    problems.push(notSupportedInOrder(field("x-kubernetes-map-type"), mapKind, ["atomic", "granular"]));
  if (kind !== undefined && type !== "array") wrongType("must be array if x-kubernetes-list-type is specified");
  if (kind !== undefined && !listTypes.includes(kind))
    problems.push(notSupportedInOrder(field("x-kubernetes-list-type"), kind, listTypes));
  const needsMap = "must be map if x-kubernetes-list-map-keys is non-empty";
  if (keys.length > 0 && kind === undefined) problems.push(required(field("x-kubernetes-list-type"), needsMap));
  else if (keys.length > 0 && kind !== "map") problems.push(invalid(field("x-kubernetes-list-type"), kind, needsMap));
  if (kind !== "map") return problems;
  if (keys.length === 0)
    problems.push(required(field("x-kubernetes-list-map-keys"), "must not be empty if x-kubernetes-list-type is map"));
  if (items === undefined)
    return [...problems, required(field("items"), "must have a schema if x-kubernetes-list-type is map")];
  if (items.type !== "object")
    problems.push(
      invalid(
        `${field("items")}.type`,
        items.type ?? "",
        "must be object if parent array's x-kubernetes-list-type is map",
      ),
    );
  for (const [index, key] of keys.entries()) {
    const own = items.properties?.[key];
    if (own === undefined)
      problems.push(invalid(field("x-kubernetes-list-map-keys"), keys, "entries must all be names of item properties"));
    else if (own.default === undefined && !(items.required ?? []).includes(key))
      problems.push(
        required(
          `${at(`${field("items")}.properties`, key)}.default`,
          "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
      );
    if (keys.indexOf(key) < index)
      problems.push(invalid(field("x-kubernetes-list-map-keys"), keys, "must not contain duplicate entries"));
  }
  return problems;
}

function notSupportedInOrder(field: string, value: unknown, values: readonly string[]): FieldProblem {
  const list = values.map((each) => JSON.stringify(each)).join(", ");
  const message = `Unsupported value: ${JSON.stringify(value)}: supported values: ${list}`;
  return { field, reason: "FieldValueNotSupported", message };
}

/** The one thing that branches may say of a type. */
const intOrString = JSON.stringify([{ type: "integer" }, { type: "string" }]);

function junctorLooks(schema: JsonSchema, path: string): readonly FieldProblem[] {
  const isIntOrString = (branches: readonly JsonSchema[] | undefined): boolean =>
    JSON.stringify(branches) === intOrString;
  return [
    ...(schema.allOf ?? []).flatMap((branch, index) =>
      branchLooks(branch, at(child(path, "allOf"), index), isIntOrString(branch.anyOf)),
    ),
    ...(isIntOrString(schema.anyOf) ? [] : (schema.anyOf ?? [])).flatMap((branch, index) =>
      branchLooks(branch, at(child(path, "anyOf"), index)),
    ),
    ...(schema.oneOf ?? []).flatMap((branch, index) => branchLooks(branch, at(child(path, "oneOf"), index))),
    ...(schema.not === undefined ? [] : branchLooks(schema.not, child(path, "not"))),
  ];
}

/** What a branch may not say, as the schema around it says it. */
const spineOnly = ["type", "title", "description", "nullable", "default"] as const;

function branchLooks(branch: JsonSchema, path: string, skipAnyOf = false): readonly FieldProblem[] {
  const said = branch as { readonly [field: string]: unknown };
  const { anyOf: _, ...withoutAnyOf } = branch;
  return [
    ...(skipAnyOf ? junctorLooks(withoutAnyOf, path) : junctorLooks(branch, path)),
    ...patternLooks(branch, path),
    ...(branch.items === undefined ? [] : branchLooks(branch.items, child(path, "items"))),
    ...Object.entries(branch.properties ?? {}).flatMap(([name, each]) =>
      branchLooks(each, at(child(path, "properties"), name)),
    ),
    ...spineOnly
      .filter((name) => said[name] !== undefined && said[name] !== "" && said[name] !== false)
      .map((name) =>
        forbidden(
          child(path, name),
          name === "nullable"
            ? "must be false to be structural"
            : name === "default"
              ? "must be undefined to be structural"
              : "must be empty to be structural",
        ),
      ),
    ...(branch.additionalProperties === undefined
      ? []
      : [forbidden(child(path, "additionalProperties"), "must be undefined to be structural")]),
  ];
}

function patternLooks({ pattern }: JsonSchema, path: string): readonly FieldProblem[] {
  if (pattern === undefined || pattern === "" || isRegex(pattern)) return [];
  return [
    invalid(child(path, "pattern"), pattern, `must be a valid regular expression, but isn't: ${regexProblem(pattern)}`),
  ];
}

function regexProblem(pattern: string): string {
  try {
    regexOf(pattern);
    return "";
  } catch (error) {
    if (error instanceof RegexError) return error.message;
    throw error;
  }
}

/** A default must be what its schema allows. */
function defaultLooks(schema: JsonSchema, path: string): readonly FieldProblem[] {
  const field = child(path, "default");
  const unknown: string[] = [];
  pruned(schema.default, schema, unknown, "", false);
  if (unknown.length > 0) return [invalid(field, schema.default, "must not have unknown fields")];
  return schemaProblems(schema.default, schema, "", false).map((problem) => ({
    ...problem,
    field: problem.field === "" ? field : `${field}.${problem.field}`,
  }));
}
