import { test } from "node:test";
import assert from "node:assert/strict";
import { customSchema, fieldTexts } from "./openapi-custom.ts";

const metadata = { $ref: "#/metadata" };
const text = (description: string): object => ({ type: "string", description });
const own = { apiVersion: text(fieldTexts.apiVersion), kind: text(fieldTexts.kind), metadata };

test("version 2: no properties where anything may be there, or kubectl would refuse it", () => {
  const open = { type: "object", "x-kubernetes-preserve-unknown-fields": true, properties: { a: { type: "string" } } };
  assert.deepEqual(customSchema(undefined, { version: 2, metadata }), { type: "object" });
  assert.deepEqual(customSchema(open, { version: 2, metadata }), { type: "object" });
  assert.deepEqual(customSchema(open, { version: 3, metadata }), {
    ...open,
    properties: { a: { type: "string" }, ...own },
  });
  const { properties } = customSchema({ type: "object", properties: { open } }, { version: 2, metadata });
  assert.deepEqual((properties as { open: unknown }).open, { "x-kubernetes-preserve-unknown-fields": true });
});

test("version 2: what it has no words for goes", () => {
  const schema = {
    type: "object",
    required: ["a", "b"],
    properties: {
      a: { type: "string", nullable: true, default: "x" },
      b: { type: "integer", default: 1, anyOf: [{ minimum: 1 }] },
      c: { type: "array", items: { type: "object", nullable: true, properties: { d: { type: "string" } } } },
    },
  };
  assert.deepEqual(customSchema(schema, { version: 2, metadata }), {
    type: "object",
    required: ["b"],
    properties: { a: {}, b: { type: "integer" }, c: { type: "array", items: {} }, ...own },
  });
});

test("an embedded object has metadata as well", () => {
  const schema = { type: "object", properties: { pod: { type: "object", "x-kubernetes-embedded-resource": true } } };
  const { properties } = customSchema(schema, { version: 3, metadata });
  assert.deepEqual((properties as { pod: { properties: unknown } }).pod.properties, own);
});
