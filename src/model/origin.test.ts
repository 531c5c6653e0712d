import assert from "node:assert/strict";
import { test } from "node:test";

import { service } from "./objects.testing.ts";
import { formatOrigin, originOf } from "./origin.ts";

const source = (text: string): ReturnType<typeof service> => {
  const base = service("web");
  return { ...base, metadata: { ...base.metadata, annotations: { "fairlead.dev/source": text } } };
};
const read = source(JSON.stringify({ file: "shop.yaml", line: 20, lines: { spec: 25, "spec.ports[0]": 31 } }));

void test("the line is that of the field or of the longest part of its path that has one", () => {
  assert.equal(originOf(read, "spec.ports[0].nodePort").source, "shop.yaml:31");
  assert.equal(originOf(read, "spec.ports[1].nodePort").source, "shop.yaml:25");
  assert.equal(originOf(read, "metadata.labels").source, "shop.yaml:20");
  assert.equal(originOf(read).source, "shop.yaml:20");
  assert.equal(originOf(service("web"), "spec").source, undefined);
});

void test("an annotation of another shape is no source", () => {
  for (const text of ["", "shop.yaml", "null", "{}", '{"file":1}', "[]"])
    assert.equal(originOf(source(text)).source, undefined);
  assert.equal(originOf(source('{"file":"a","line":"x","lines":{"spec":"y"}}'), "spec").source, "a");
});

void test("text", () => {
  assert.equal(formatOrigin(originOf(read, "spec.ports[0]")), "Service default/web spec.ports[0] (shop.yaml:31)");
  assert.equal(formatOrigin({ kind: "Node", name: "node-1" }), "Node node-1");
});
