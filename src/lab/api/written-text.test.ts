import assert from "node:assert/strict";
import { test } from "node:test";

import type { KubeObject } from "../../kube/object.ts";
import { markRepeated } from "../../kube/repeated.ts";
import { jsonText, writtenText } from "./written-text.ts";

test("a text is made once for an object that is written, and any value has one", () => {
  let made = 0;
  const object = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "a" },
    toJSON() {
      made++;
      return { name: "a" };
    },
  } as unknown as KubeObject;
  assert.equal(writtenText(object), '{"name":"a"}');
  assert.equal(writtenText(object), '{"name":"a"}');
  assert.equal(jsonText(object), '{"name":"a"}');
  assert.equal(made, 1);
  assert.equal(jsonText({ b: 1 }), '{"b":1}');
  // Others are written; nothing is remembered for ever.
  for (let index = 0; index < 100; index++)
    writtenText({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "x".repeat(100_000) } });
  assert.equal(jsonText(object), '{"name":"a"}');
  assert.equal(made, 2);
});

test("an object whose parts have come before has the text that JSON.stringify gives", () => {
  const spec = { containers: [{ name: "a", args: ["\u2028", '"'], tty: undefined }], "10": 1, "9": null };
  const managedFields = [{ manager: "é\ud800", fieldsV1: { "f:a": {} } }];
  for (const repeated of [[spec], [managedFields], [spec, managedFields]]) {
    for (const part of repeated) markRepeated(part);
    for (const name of ["a", 'b"\n'])
      for (const more of [{}, { status: { phase: "Pending" }, none: undefined, __proto__x: [undefined, 1] }]) {
        const object = {
          apiVersion: "v1",
          kind: "Pod",
          metadata: { uid: undefined, name, managedFields },
          spec,
          ...more,
        };
        assert.equal(writtenText(object as unknown as KubeObject), JSON.stringify(object));
      }
  }
  // Many others come in between.
  const before = { apiVersion: "v1", kind: "Pod", metadata: { name: "c" }, spec };
  for (let index = 0; index < 1000; index++) {
    const other = { replicas: index };
    markRepeated(other);
    const object = { apiVersion: "v1", kind: "Pod", metadata: { name: "d" }, spec: other };
    assert.equal(writtenText(object), JSON.stringify(object));
  }
  assert.equal(writtenText(before), JSON.stringify(before));
});
