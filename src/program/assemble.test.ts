import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { createAssembler } from "./assemble.ts";
import type { NftElement } from "./nftables/ruleset.ts";
import { noteStretch, stretchBetween } from "../model/stretch.ts";

test("without a note the shortest stretch is found, by identity", () => {
  const [a, b, c, d] = [{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }];
  assert.deepEqual(stretchBetween([a, b, c], [a, d, c]), { start: 1, endBefore: 2, endAfter: 2 });
  assert.deepEqual(stretchBetween([a, c], [a, b, d, c]), { start: 1, endBefore: 1, endAfter: 3 });
  assert.deepEqual(stretchBetween([a, a], [a]), { start: 1, endBefore: 2, endAfter: 1 });
});

test("a note counts for the two lists it is about, and for no others", () => {
  const [a, b] = [{ n: 1 }, { n: 2 }];
  const [before, after, other] = [
    [a, b],
    [a, b],
    [b, b],
  ];
  noteStretch(before, after, { start: 0, endBefore: 2, endAfter: 2 });
  assert.deepEqual(stretchBetween(before, after), { start: 0, endBefore: 2, endAfter: 2 });
  assert.deepEqual(stretchBetween(other, after), { start: 0, endBefore: 1, endAfter: 1 });
});

test("what an assembler notes holds: outside of it both lists have the same values, whatever came and went", () => {
  const element = (key: string): NftElement => ({ key: [key], origin: { kind: "Service", name: key } });
  const source = fc.record({ id: fc.nat(30), size: fc.nat(3) });
  fc.assert(
    fc.property(
      fc.array(fc.uniqueArray(source, { selector: ({ id }) => id, maxLength: 8 }), { maxLength: 6 }),
      (versions) => {
        const assemble = createAssembler<{ readonly id: number; readonly size: number }, "all">(
          ["all"],
          ({ id, size }) => ({
            elements: { all: Array.from({ length: size }, (_, index) => element(`${id} ${index}`)) },
            chains: [],
          }),
        );
        const known = new Map<string, { readonly id: number; readonly size: number }>();
        let before: readonly NftElement[] = [];
        for (const version of versions) {
          const sources = version.map((one) => {
            const name = `${one.id} ${one.size}`;
            if (!known.has(name)) known.set(name, one);
            return known.get(name) ?? one;
          });
          const after = assemble(sources).elements.all;
          const wanted = sources.flatMap(({ id, size }) =>
            Array.from({ length: size }, (_, index) => `${id} ${index}`),
          );
          assert.deepEqual(
            after.map(({ key }) => key[0]),
            wanted,
          );
          const { start, endBefore, endAfter } = stretchBetween(before, after);
          assert.deepEqual(before.slice(0, start), after.slice(0, start));
          assert.ok(before.slice(endBefore).every((one, index) => one === after[endAfter + index]));
          assert.equal(before.length - endBefore, after.length - endAfter);
          before = after;
        }
      },
    ),
  );
});
