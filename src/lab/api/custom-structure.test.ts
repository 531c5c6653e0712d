import assert from "node:assert/strict";
import test from "node:test";
import type { KubeObject } from "../../kube/object.ts";
import { definitionProblems, preparedDefinition } from "./custom-definition-writes.ts";
import type { JsonSchema } from "./custom-schema.ts";
import { structuralProblems } from "./custom-structure.ts";

const text: JsonSchema = { type: "string" };

/** Of a schema whose only field is this one. */
function said(field: JsonSchema): readonly string[] {
  const schema: JsonSchema = { type: "object", properties: { a: field } };
  return structuralProblems(schema, "s").map(
    (problem) => `${problem.field.replace("s.properties[a]", "")}: ${problem.message}`,
  );
}

// Compared with kube-apiserver 1.36.
const wrong: readonly (readonly [JsonSchema, string])[] = [
  [{}, ".type: Required value: must not be empty for specified object fields"],
  [{ type: "array" }, ".items: Required value: must be specified"],
  [{ type: "array", items: {} }, ".items.type: Required value: must not be empty for specified array items"],
  [
    { type: "object", properties: { x: text }, additionalProperties: text },
    ".additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
  ],
  [
    { type: "foo" },
    '.type: Unsupported value: "foo": supported values: "array", "boolean", "integer", "number", "object", "string"',
  ],
  [{ type: "integer", default: "x" }, '.default: Invalid value: "string":  in body must be of type integer: "string"'],
  [
    { type: "object", default: { y: 1 }, properties: { x: text } },
    '.default: Invalid value: {"y":1}: must not have unknown fields',
  ],
  [
    { type: "array", "x-kubernetes-list-type": "map", items: { type: "object" } },
    ".x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
  ],
  [
    {
      type: "array",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["x"],
      items: { type: "object", properties: { x: text } },
    },
    ".items.properties[x].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
  ],
  [
    { type: "array", "x-kubernetes-list-type": "nope", items: text },
    '.x-kubernetes-list-type: Unsupported value: "nope": supported values: "atomic", "set", "map"',
  ],
  [
    { type: "string", pattern: "(" },
    '.pattern: Invalid value: "(": must be a valid regular expression, but isn\'t: error parsing regexp: missing closing ): `(`',
  ],
  [{ type: "string", anyOf: [text] }, ".anyOf[0].type: Forbidden: must be empty to be structural"],
  [{ $ref: "#/x" } as JsonSchema, ".$ref: Forbidden: $ref is not supported"],
  [
    { type: "object", "x-kubernetes-preserve-unknown-fields": false },
    ".x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
  ],
];

test("schemas that are not structural", () => {
  for (const [field, says] of wrong) assert.deepEqual(said(field), [says], JSON.stringify(field));
});

test("schemas that are", () => {
  for (const field of [
    { "x-kubernetes-int-or-string": true },
    { "x-kubernetes-int-or-string": true, anyOf: [{ type: "integer" }, { type: "string" }], pattern: "^a" },
    { "x-kubernetes-preserve-unknown-fields": true },
    { type: "object", properties: { x: text }, anyOf: [{ required: ["x"] }, { properties: { x: { minLength: 1 } } }] },
    { type: "object", additionalProperties: { type: "array", items: text } },
    { type: "object", default: {}, properties: { x: { ...text, default: "y" } } },
  ])
    assert.deepEqual(said(field), [], JSON.stringify(field));
});

test("names, versions, columns and paths of definitions", () => {
  const problems = definitionProblems({
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: "x" },
    spec: {
      group: "nodots",
      scope: "Nope",
      names: { plural: "As", kind: "A", listKind: "A" },
      preserveUnknownFields: true,
      versions: [
        {
          name: "v1",
          served: true,
          storage: true,
          schema: {
            openAPIV3Schema: { type: "object", properties: { metadata: { type: "object", properties: { x: text } } } },
          },
          additionalPrinterColumns: [{ name: "x", type: "nope", jsonPath: "spec" }],
          subresources: { scale: { specReplicasPath: "spec.replicas", statusReplicasPath: ".spec.x" } },
          selectableFields: [{ jsonPath: ".spec.nope" }],
        },
      ],
    },
  });
  assert.deepEqual(
    problems.map(({ field }) => field),
    [
      "metadata.name",
      "spec.group",
      "spec.scope",
      "spec.preserveUnknownFields",
      "spec.validation.openAPIV3Schema.properties[metadata]",
      "spec.additionalPrinterColumns[0].type",
      "spec.additionalPrinterColumns[0].JSONPath",
      "spec.subresources.scale.specReplicasPath",
      "spec.subresources.scale.statusReplicasPath",
      "spec.selectableFields[0].jsonPath",
      "spec.names.singular",
      "spec.names.plural",
      "spec.names.listKind",
    ],
  );
});

test("what is no schema, or is missing, is said without a fall", () => {
  const definition = (version: object): KubeObject => ({
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: "ws.example.com" },
    spec: { group: "example.com", scope: "Namespaced", names: { plural: "ws", kind: "W" }, versions: [version] },
  });
  const problemsOf = (version: object): readonly string[] => {
    const prepared = preparedDefinition(definition(version), undefined, { others: [], nowMs: 0 });
    return definitionProblems(prepared).map(({ field }) => field);
  };
  const withSchema = (a: unknown): object => ({
    name: "v1",
    served: true,
    storage: true,
    schema: { openAPIV3Schema: { type: "object", properties: { a } } },
  });
  const below = "spec.validation.openAPIV3Schema.properties.a";
  assert.deepEqual(problemsOf({}), [
    "status.storedVersions",
    "spec.versions",
    "spec.versions[0].schema.openAPIV3Schema",
  ]);
  assert.deepEqual(problemsOf(withSchema({ type: "array", items: 7 })), [`${below}.items`]);
  assert.deepEqual(problemsOf(withSchema({ type: "array", items: { required: "x" } })), [`${below}.items.required`]);
  assert.deepEqual(problemsOf(withSchema({ type: "object", additionalProperties: "x" })), [
    `${below}.additionalProperties`,
  ]);
  assert.deepEqual(problemsOf(withSchema({ type: "array", items: { type: "string", required: null }, not: null })), []);
  assert.deepEqual(problemsOf(withSchema(null)), ["spec.validation.openAPIV3Schema.properties[a].type"]);
  assert.deepEqual(
    problemsOf({ ...withSchema({ type: "string" }), selectableFields: [{}], additionalPrinterColumns: [{}] }),
    [],
  );
});
