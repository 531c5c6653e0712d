import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { memoized } from "./memo.ts";
import { changeBetween, haveSameElements, setOf } from "./nftables/element-list.ts";
import type { NftElement, NftSet } from "./nftables/ruleset.ts";
import { createSharedAssembler } from "./shared-assembler.ts";

interface Source {
  readonly id: number;
  readonly size: number;
}

function assembler(): (sources: readonly Source[]) => { readonly set: NftSet; readonly chains: readonly string[] } {
  const pieceOf = memoized(({ id, size }: Source) => ({
    elements: { all: Array.from({ length: size }, (_, index) => element(`${id} ${index}`)) },
    chains: size === 0 ? [] : [`pick-${size}`],
  }));
  const assemble = createSharedAssembler<Source, "all">(["all"], pieceOf);
  return (sources) => {
    const { lists, chains } = assemble(sources);
    return { set: setOf({ name: "all", key: ["ipv4_addr"], flags: [] }, lists.all), chains };
  };
}

function element(key: string): NftElement {
  return { key: [key], origin: { kind: "Service", name: key } };
}

function keysOf({ elements }: NftSet): readonly string[] {
  return elements.map(({ key }) => key[0] ?? "");
}

void test("whatever came and went, all elements are there in order, and what changed is told at the cost of the change", () => {
  const source = fc.record({ id: fc.nat(3000), size: fc.nat(3) });
  // Many at once, so that blocks split and join; then few.
  const many = fc.uniqueArray(source, { selector: ({ id }) => id, maxLength: 2500, size: "max" });
  const edits = fc.array(fc.record({ at: fc.nat(3000), take: fc.nat(900), add: fc.nat(900) }), { maxLength: 8 });
  fc.assert(
    fc.property(many, edits, (first, steps) => {
      const assemble = assembler();
      let next = 10_000;
      let sources: readonly Source[] = first;
      let before = assemble(sources).set;
      let had = new Set(before.elements);
      for (const { at, take, add } of steps) {
        const added = Array.from({ length: add }, () => ({ id: next++, size: next % 4 }));
        sources = sources.toSpliced(Math.min(at, sources.length), take, ...added);
        const { set, chains } = assemble(sources);
        // Before anybody asks for the arrays.
        const { gone, come } = changeBetween(before, set);
        const wanted = sources.flatMap(({ id, size }) => Array.from({ length: size }, (_, index) => `${id} ${index}`));
        assert.deepEqual(keysOf(set), wanted);
        const has = new Set(set.elements);
        assert.deepEqual(new Set(gone), had.difference(has));
        assert.deepEqual(new Set(come), has.difference(had));
        assert.deepEqual(
          chains,
          [...new Set(sources.flatMap(({ size }) => (size === 0 ? [] : [`pick-${size}`])))].sort(),
        );
        assert.equal(haveSameElements(before, set), gone.length + come.length === 0);
        before = set;
        had = has;
      }
    }),
    { numRuns: 30 },
  );
});

void test("a version keeps its elements while later ones are made, and the same sources give the same lists", () => {
  const assemble = assembler();
  const sources = Array.from({ length: 1000 }, (_, id) => ({ id, size: 1 }));
  const first = assemble(sources);
  const second = assemble(sources.with(500, { id: 500, size: 2 }));
  const third = assemble(sources.toSpliced(100, 800));
  assert.equal(keysOf(first.set).length, 1000);
  assert.equal(keysOf(second.set).length, 1001);
  assert.equal(keysOf(third.set).length, 200);
  assert.ok(!haveSameElements(first.set, second.set));
  const equal = assemble(sources.toSpliced(100, 800).with(7, { id: 7, size: 1 }));
  assert.ok(haveSameElements(third.set, equal.set), "equal elements are the same list");
});

void test("what changed between versions that do not follow each other is found by a look at both", () => {
  const assemble = assembler();
  const sources = Array.from({ length: 600 }, (_, id) => ({ id, size: 1 }));
  const first = assemble(sources).set;
  assemble(sources.with(3, { id: 3, size: 2 }));
  const third = assemble(sources.with(3, { id: 3, size: 2 }).with(400, { id: 400, size: 3 })).set;
  const { gone, come } = changeBetween(first, third);
  assert.deepEqual(new Set(come.map(({ key }) => key[0])), new Set(["3 0", "3 1", "400 0", "400 1", "400 2"]));
  assert.deepEqual(new Set(gone.map(({ key }) => key[0])), new Set(["3 0", "400 0"]));
});
