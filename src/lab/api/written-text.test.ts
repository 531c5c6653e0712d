import assert from "node:assert/strict";
import { test } from "node:test";

import type { KubeObject } from "../../kube/object.ts";
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
