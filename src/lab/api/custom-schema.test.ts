import assert from "node:assert/strict";
import test from "node:test";
import type { KubeObject } from "../../kube/object.ts";
import { completed, pruned, schemaProblems, type JsonSchema } from "./custom-schema.ts";

// Gateway API's addresses; compared with kube-apiserver 1.36.
test("of branches of which none fits, the one that says most is explained", () => {
  const schema: JsonSchema = {
    type: "object",
    properties: { type: { type: "string" }, value: { type: "string" } },
    oneOf: [
      {
        properties: { type: { enum: ["IPAddress"] }, value: { anyOf: [{ format: "ipv4" }, { format: "ipv6" }] } },
      },
      { properties: { type: { not: { enum: ["IPAddress"] } } } },
    ],
  };
  const problems = schemaProblems({ type: "IPAddress", value: "1.2.3" }, schema, "a", false);
  assert.deepEqual(
    problems.map(({ field, message }) => `${field}: ${message}`),
    [
      '<nil>: Invalid value: "": "a" must validate one and only one schema (oneOf). Found none valid',
      '<nil>: Invalid value: "": "a.value" must validate at least one schema (anyOf)',
      'a.value: Invalid value: "1.2.3": a.value in body must be of type ipv4: "1.2.3"',
    ],
  );
});

test("null is absent where it is not allowed; an embedded object is of some kind, and its metadata is metadata", () => {
  const inner: JsonSchema = { type: "object", "x-kubernetes-embedded-resource": true };
  const text: JsonSchema = { type: "string" };
  const properties = { a: text, b: { ...text, nullable: true }, c: { ...text, default: "x" }, inner };
  const schema: JsonSchema = { type: "object", properties: { spec: { type: "object", properties } } };
  const given = (spec: object): KubeObject => ({ apiVersion: "a.b/v1", kind: "W", metadata: { name: "w" }, spec });
  assert.deepEqual(completed(given({ a: null, b: null, c: null }), schema)["spec"], { b: null, c: "x" });
  const unknown: string[] = [];
  const embedded = { apiVersion: "v1", kind: "Pod", metadata: { name: "p", foo: 1 } };
  const kept = pruned(given({ inner: embedded }), schema, unknown) as { readonly spec: object };
  assert.deepEqual(kept.spec, { inner: { apiVersion: "v1", kind: "Pod", metadata: { name: "p" } } });
  assert.deepEqual(unknown, ["spec.inner.metadata.foo"]);
  const problems = schemaProblems(given({ inner: { kind: "" } }), schema);
  assert.deepEqual(
    problems.map(({ field, reason }) => `${field} ${reason}`),
    ["spec.inner.apiVersion FieldValueRequired", "spec.inner.kind FieldValueInvalid"],
  );
});

test("what was wrong before is let be where it is the same, and only where it can be told to be the same", () => {
  const name: JsonSchema = { type: "string", enum: ["new"] };
  const byKey: JsonSchema = {
    type: "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["key"],
    items: { type: "object", properties: { key: { type: "string" }, name } },
  };
  const schema: JsonSchema = {
    type: "object",
    properties: {
      name,
      list: { type: "array", items: name },
      set: { type: "array", items: name, "x-kubernetes-list-type": "set" },
      byKey,
      inner: { type: "object", required: ["must"], properties: { name } },
      map: { type: "object", additionalProperties: { type: "object", properties: { name } } },
    },
  };
  const before = {
    name: "old",
    list: ["old"],
    set: ["old"],
    byKey: [{ key: "a", name: "old" }],
    inner: { name: "old" },
    map: { a: { name: "old" } },
  };
  const wrongIn = (change: object): readonly string[] =>
    schemaProblems({ ...before, ...change }, schema, "", true, before).map(({ field }) => field);
  assert.deepEqual(wrongIn({ more: 1 }), []);
  assert.deepEqual(wrongIn({ name: "older" }), ["name"]);
  assert.deepEqual(wrongIn({ list: ["old", "new"] }), ["list[0]"]);
  assert.deepEqual(wrongIn({ set: ["new", "old"] }), ["set[1]"]);
  const elements = [{ key: "b", name: "new" }, { key: "c", name: "old" }, ...before.byKey];
  assert.deepEqual(wrongIn({ byKey: elements }), ["byKey[1].name"]);
  assert.deepEqual(wrongIn({ map: { ...before.map, b: { name: "old" } } }), ["map.b.name"]);
  // What a whole lacks is asked of it as soon as it changes.
  assert.deepEqual(wrongIn({ inner: { name: "old", more: 1 } }), ["inner.must"]);
});
