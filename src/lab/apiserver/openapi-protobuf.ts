// OpenAPI version 2 documents as protobuf: what `kubectl explain --output=plaintext-openapiv2` and programs over older client-go ask for.
// The messages are those of gnostic's openapiv2/OpenAPIv2.proto; of each, the fields that the documents here have (openapi*.ts).

import { bytesField, encodeMessage, type Field, type FieldType, type Message } from "./protobuf/write.ts";

type Json = { readonly [name: string]: unknown };

/** The document in bytes. `document` is the JSON of it. */
export function openApiProtobuf(document: Json): Buffer {
  return Buffer.from(encodeMessage(document, documentMessage));
}

const text: FieldType = { kind: "string" };
const flag: FieldType = { kind: "bool" };
const decimal: FieldType = { kind: "double" };
const whole: FieldType = { kind: "integer" };
/** Any { string yaml = 2 }; JSON is YAML. */
const any: FieldType = { kind: "own", bytes: anyBytes };

function anyBytes(value: unknown): Uint8Array {
  return bytesField(2, Buffer.from(`${JSON.stringify(value)}\n`));
}

/** Fields `x-…` are a list of NamedAny { string name = 1; Any value = 2 }. */
function extensions(number: number): (name: string) => Field | undefined {
  return (name) =>
    name.startsWith("x-")
      ? {
          number,
          isWhole: true,
          type: {
            kind: "own",
            bytes: (value) => Buffer.concat([bytesField(1, Buffer.from(name)), bytesField(2, anyBytes(value))]),
          },
        }
      : undefined;
}

function message(of: () => Message): FieldType {
  return { kind: "message", of };
}

/** A message around one value: `wrapper { Inner inner = number }`. */
function within(number: number, of: () => Message): FieldType {
  return { kind: "own", bytes: (value) => bytesField(number, encodeMessage(value as Json, of())) };
}

const schema: Message = {
  fields: {
    $ref: { number: 1, type: text },
    format: { number: 2, type: text },
    title: { number: 3, type: text },
    description: { number: 4, type: text },
    default: { number: 5, type: any, isWhole: true },
    multipleOf: { number: 6, type: decimal },
    maximum: { number: 7, type: decimal },
    exclusiveMaximum: { number: 8, type: flag },
    minimum: { number: 9, type: decimal },
    exclusiveMinimum: { number: 10, type: flag },
    maxLength: { number: 11, type: whole },
    minLength: { number: 12, type: whole },
    pattern: { number: 13, type: text },
    maxItems: { number: 14, type: whole },
    minItems: { number: 15, type: whole },
    uniqueItems: { number: 16, type: flag },
    maxProperties: { number: 17, type: whole },
    minProperties: { number: 18, type: whole },
    required: { number: 19, type: text },
    enum: { number: 20, type: any },
    // AdditionalPropertiesItem { Schema schema = 1 | bool boolean = 2 }
    additionalProperties: {
      number: 21,
      type: {
        kind: "own",
        bytes: (value) =>
          typeof value === "boolean"
            ? Uint8Array.of(2 * 8, value ? 1 : 0)
            : bytesField(1, encodeMessage(value as Json, schema)),
      },
    },
    // TypeItem { repeated string value = 1 }
    type: { number: 22, type: { kind: "own", bytes: (value) => bytesField(1, Buffer.from(String(value))) } },
    // ItemsItem { repeated Schema schema = 1 }
    items: { number: 23, type: within(1, () => schema) },
    allOf: { number: 24, type: message(() => schema) },
    // Properties { repeated NamedSchema additional_properties = 1 }
    properties: {
      number: 25,
      type: {
        kind: "own",
        bytes: (value) =>
          encodeMessage(
            { of: value },
            named(() => schema),
          ),
      },
    },
    readOnly: { number: 27, type: flag },
  },
  others: extensions(31),
};

/** A message whose field 1 is a map, in JSON below the name `of`. */
function named(of: () => Message): Message {
  return { fields: { of: { number: 1, type: { kind: "map", of } } } };
}

const info: Message = { fields: { title: { number: 1, type: text }, version: { number: 2, type: text } } };

const bodyParameter: Message = {
  fields: {
    description: { number: 1, type: text },
    name: { number: 2, type: text },
    in: { number: 3, type: text },
    required: { number: 4, type: flag },
    schema: { number: 5, type: message(() => schema) },
  },
};

const queryParameter: Message = {
  fields: {
    required: { number: 1, type: flag },
    in: { number: 2, type: text },
    description: { number: 3, type: text },
    name: { number: 4, type: text },
    type: { number: 6, type: text },
    format: { number: 7, type: text },
    uniqueItems: { number: 20, type: flag },
  },
};

const pathParameter: Message = {
  fields: {
    required: { number: 1, type: flag },
    in: { number: 2, type: text },
    description: { number: 3, type: text },
    name: { number: 4, type: text },
    type: { number: 5, type: text },
    format: { number: 6, type: text },
    uniqueItems: { number: 19, type: flag },
  },
};

/** ParametersItem { Parameter parameter = 1 }; Parameter { BodyParameter = 1 | NonBodyParameter = 2 { query = 3 | path = 4 } } */
function parameterBytes(value: unknown): Uint8Array {
  const parameter = value as Json;
  switch (parameter["in"]) {
    case "body":
      return bytesField(1, bytesField(1, encodeMessage(parameter, bodyParameter)));
    case "path":
      return bytesField(1, bytesField(2, bytesField(4, encodeMessage(parameter, pathParameter))));
    default:
      return bytesField(1, bytesField(2, bytesField(3, encodeMessage(parameter, queryParameter))));
  }
}

const parameters: FieldType = { kind: "own", bytes: parameterBytes };

const response: Message = {
  fields: {
    description: { number: 1, type: text },
    // SchemaItem { Schema schema = 1 }
    schema: { number: 2, type: within(1, () => schema) },
  },
  others: extensions(5),
};

/** Responses { repeated NamedResponseValue response_code = 1 }; ResponseValue { Response response = 1 } */
const responseValue: Message = { fields: { response: { number: 1, type: message(() => response) } } };

const operation: Message = {
  fields: {
    tags: { number: 1, type: text },
    description: { number: 3, type: text },
    operationId: { number: 5, type: text },
    produces: { number: 6, type: text },
    consumes: { number: 7, type: text },
    parameters: { number: 8, type: parameters },
    responses: {
      number: 9,
      type: {
        kind: "own",
        bytes: (value) =>
          encodeMessage(
            { of: Object.fromEntries(Object.entries(value as Json).map(([code, each]) => [code, { response: each }])) },
            named(() => responseValue),
          ),
      },
    },
  },
  others: extensions(13),
};

const methods = { get: 2, put: 3, post: 4, delete: 5, options: 6, head: 7, patch: 8 };

const pathItem: Message = {
  fields: {
    ...Object.fromEntries(
      Object.entries(methods).map(([method, number]) => [method, { number, type: message(() => operation) }]),
    ),
    parameters: { number: 9, type: parameters },
  },
  others: extensions(10),
};

/** Paths { repeated NamedPathItem path = 2 } */
const paths: Message = { fields: { of: { number: 2, type: { kind: "map", of: () => pathItem } } } };

const documentMessage: Message = {
  fields: {
    swagger: { number: 1, type: text },
    info: { number: 2, type: message(() => info) },
    paths: { number: 8, type: { kind: "own", bytes: (value) => encodeMessage({ of: value }, paths) } },
    definitions: {
      number: 9,
      type: {
        kind: "own",
        bytes: (value) =>
          encodeMessage(
            { of: value },
            named(() => schema),
          ),
      },
    },
  },
};
