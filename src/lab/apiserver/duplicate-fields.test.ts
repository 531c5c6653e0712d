import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";
import { duplicateFields } from "./duplicate-fields.ts";

test("fields that are given twice, by their paths", () => {
  const text = `{ "a": 1, "b": {"c\\"d": [ {"x":"}", "x" : [], "y":"\\\\"} , 2 ], "c\\"d": null, "e": true},\n"a" : -1.5e3, "a":{}}`;
  assert.deepEqual(duplicateFields(text), ['b.c"d[0].x', 'b.c"d', "a"]);
});

test("what JSON writes has none, however it is laid out", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.nat(4), (value, indent) => {
      assert.deepEqual(duplicateFields(JSON.stringify(value, null, indent)), []);
    }),
  );
});
