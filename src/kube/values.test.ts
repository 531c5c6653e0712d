// Base64, quantities and equality of JSON.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { decodeBase64, encodeBase64 } from "./base64.ts";
import { sameJson } from "./equal.ts";
import { parseQuantity } from "./quantity.ts";

test("base64 of any bytes is what Node makes of them, and comes back", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      assert.equal(encodeBase64(bytes), Buffer.from(bytes).toString("base64"));
      assert.deepEqual(decodeBase64(encodeBase64(bytes)), bytes);
    }),
  );
  assert.equal(decodeBase64("a"), undefined);
  assert.equal(decodeBase64("a==="), undefined);
  assert.equal(decodeBase64("ä==="), undefined);
  assert.deepEqual(decodeBase64("aGk=\n"), new Uint8Array([104, 105]));
});

for (const [text, value] of [
  ["100m", 0.1],
  ["1.5Gi", 1.5 * 2 ** 30],
  ["2e3", 2000],
  [4, 4],
  ["1E", 1e18],
  ["-1Ki", -1024],
  [".5", 0.5],
  ["", undefined],
  ["1 Gi", undefined],
  ["1gi", undefined],
  ["five", undefined],
] as const)
  test(`quantity ${JSON.stringify(text)} is ${value}`, () => {
    assert.equal(parseQuantity(text), value);
  });

test("values are the same when their JSON is, whatever the order of keys", () => {
  const canonical = (value: unknown): unknown =>
    Array.isArray(value)
      ? value.map(canonical)
      : typeof value === "object" && value !== null
        ? {
            fields: Object.entries(value)
              .map(([key, inner]) => [key, canonical(inner)] as const)
              .sort(([x], [y]) => (x < y ? -1 : 1)),
          }
        : value;
  const value = fc.jsonValue({ maxDepth: 2 });
  fc.assert(
    fc.property(value, value, (a, b) => {
      const [left, right] = [JSON.parse(JSON.stringify(a)), JSON.parse(JSON.stringify(b))] as [unknown, unknown];
      assert.equal(sameJson(left, right), JSON.stringify(canonical(left)) === JSON.stringify(canonical(right)));
      assert.ok(sameJson(left, JSON.parse(JSON.stringify(left))));
    }),
  );
  assert.ok(sameJson({ a: 1, b: undefined }, { a: 1 }));
  assert.ok(!sameJson({ a: undefined, b: 1 }, { a: 1, b: undefined }));
});
