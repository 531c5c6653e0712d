import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { addressFromValue } from "./address.ts";
import { parseRanges, prefixRange } from "./prefix.ts";

void test("ranges: a prefix, first-last, an address", () => {
  assert.deepEqual(parseRanges("192.0.2.0/28"), ["192.0.2.0/28"]);
  assert.deepEqual(parseRanges("192.0.2.1-192.0.2.4"), ["192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/32"]);
  assert.deepEqual(parseRanges("2001:db8::10-2001:db8::1f"), ["2001:db8::10/124"]);
  assert.deepEqual(parseRanges("192.0.2.9"), ["192.0.2.9/32"]);
  for (const bad of [
    "192.0.2.9-192.0.2.1",
    "192.0.2.1-2001:db8::1",
    "192.0.2.1-2-3",
    "192.0.2.0/33",
    "::/0-::1",
    "",
    "-",
  ])
    assert.equal(parseRanges(bad), undefined, bad);
});

void test("property: first-last is exactly the addresses between, in few prefixes", () => {
  const value = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  fc.assert(
    fc.property(value, value, (a, b) => {
      const [first, last] = [BigInt(Math.min(a, b)), BigInt(Math.max(a, b))];
      const ranges = parseRanges(`${addressFromValue(4, first)}-${addressFromValue(4, last)}`);
      let next = first;
      for (const range of ranges ?? []) {
        const { first: begin, last: end } = prefixRange(range);
        assert.equal(begin, next);
        next = end + 1n;
      }
      assert.equal(next, last + 1n);
      assert.ok((ranges?.length ?? 0) <= 62);
    }),
  );
});
