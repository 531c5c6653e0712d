// How large the values of a schema may be: what the cost of rules is estimated from (apiserver pkg/cel/common/schemas.go, types.go).

import type { Bounds } from "../../kube/cel/estimate.ts";
import { escapedName } from "../../kube/cel/json.ts";
import type { JsonSchema } from "./custom-schema.ts";
import { typeOfSchema } from "./custom-types.ts";

/** The largest request: nothing in it is larger. */
const largestRequest = 3 * 1024 * 1024;

/** How often a value of a schema can be in one object, if nothing else says so. */
export function mostOften(schema: JsonSchema, isRoot: boolean): number {
  return Math.floor(largestRequest / (leastBytes(schema, isRoot) + 1));
}

/** How many elements a value may have; undefined where there is no limit. */
export function mostElements({
  type,
  additionalProperties: others,
  maxItems,
  maxProperties,
}: JsonSchema): number | undefined {
  if (type === "array") return maxItems === undefined ? undefined : Math.max(0, maxItems);
  if (type !== "object" || others === undefined) return 1;
  return maxProperties === undefined ? undefined : Math.max(0, maxProperties);
}

/** What expressions see of a schema, by its sizes. */
export function boundsOf(schema: JsonSchema, isRoot: boolean = isEmbedded(schema)): Bounds {
  if (schema["x-kubernetes-int-or-string"] === true) return { most: textLength(schema) };
  const { items, additionalProperties: others, properties = {} } = schema;
  if (isRoot) return objectBounds({ ...properties, ...rootProperties });
  switch (schema.type ?? "") {
    case "array":
      if (items === undefined) return { most: 0 };
      return {
        most: mostElements(schema) ?? Math.floor((largestRequest - 2) / (leastBytes(items) + 1)),
        elements: () => boundsOf(items),
      };
    case "object":
      if (typeof others !== "object") return objectBounds(properties);
      return {
        most: mostElements(schema) ?? Math.floor((largestRequest - 2) / (leastBytes(others) + 6)),
        elements: () => boundsOf(others),
        keys: { most: 0 },
      };
    case "string":
      return { most: textLength(schema) };
  }
  return { most: 0 };
}

const text: JsonSchema = { type: "string" };
const rootProperties: { readonly [name: string]: JsonSchema } = {
  kind: text,
  apiVersion: text,
  metadata: { type: "object", properties: { name: text, generateName: text } },
};

function objectBounds(properties: { readonly [name: string]: JsonSchema }): Bounds {
  return {
    most: 0,
    fields: (name) => {
      const found = Object.entries(properties).find(([property]) => escapedName(property) === name);
      return found && typeOfSchema(found[1]) !== undefined ? boundsOf(found[1]) : undefined;
    },
  };
}

function isEmbedded(schema: JsonSchema): boolean {
  return schema["x-kubernetes-embedded-resource"] === true;
}

function textLength(schema: JsonSchema): number {
  const { format = "", maxLength, enum: values = [] } = schema;
  if (schema["x-kubernetes-int-or-string"] !== true) {
    if (format === "duration" || format === "date-time") return 32;
    if (format === "date") return 12;
    if (format === "byte" && maxLength !== undefined) return Math.max(0, maxLength);
    if (maxLength === undefined && values.length > 0 && format !== "byte")
      return Math.max(...values.map((value) => (typeof value === "string" ? Buffer.byteLength(value) : 0)));
  }
  return maxLength === undefined ? largestRequest - 2 : Math.max(0, maxLength) * 4;
}

/** How many bytes a value takes at least. */
function leastBytes(schema: JsonSchema, isRoot: boolean = isEmbedded(schema)): number {
  if (schema["x-kubernetes-int-or-string"] === true) return 1;
  const { required = [], properties = {}, additionalProperties: others } = schema;
  if (!isRoot)
    switch (schema.type ?? "") {
      case "array":
        return 2;
      case "string":
        return leastText[schema.format ?? ""] ?? 2;
      case "boolean":
        return 4;
      case "object":
        if (typeof others === "object") return 2;
        break;
      default:
        return 1;
    }
  return Object.entries(isRoot ? { ...properties, ...rootProperties } : properties)
    .filter(
      ([name, field]) => required.includes(name) && field.default === undefined && typeOfSchema(field) !== undefined,
    )
    .reduce((sum, [name, field]) => sum + Buffer.byteLength(name) + leastBytes(field) + 4, 2);
}

const leastText: { readonly [format: string]: number | undefined } = { duration: 3, date: 12, "date-time": 21 };
