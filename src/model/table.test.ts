import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { stretchBetween, type Sequence } from "./stretch.ts";
import { createGroups, createTable } from "./table.ts";

test("groups hold what sets by key would hold, whatever is added and deleted in whatever order", () => {
  const step = fc.record({ add: fc.boolean(), key: fc.constantFrom("a", "b"), value: fc.nat(3) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const groups = createGroups<number>();
      const wanted = new Map<string, Set<number>>();
      for (const { add, key, value } of steps) {
        const set = wanted.get(key) ?? new Set<number>();
        wanted.set(key, set);
        if (add) {
          groups.add(key, value);
          set.add(value);
        } else {
          groups.delete(key, value);
          set.delete(value);
        }
        for (const [name, values] of wanted) assert.deepEqual(new Set(groups.get(name)), values);
      }
    }),
  );
});

void test("a table's list and array hold its values in order, and say where they differ from those before", () => {
  const step = fc.array(fc.record({ key: fc.nat(1500), value: fc.option(fc.nat(9), { nil: undefined }) }), {
    minLength: 1,
    maxLength: 40,
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), (steps) => {
      const table = createTable<string>();
      const wanted = new Map<string, string>();
      // More than one block from the start.
      for (let key = 0; key < 1400; key += 2) put(String(key).padStart(4, "0"), "first");
      let before = table.list();
      let array = table.values();
      for (const changes of steps) {
        for (const { key, value } of changes)
          put(String(key).padStart(4, "0"), value === undefined ? undefined : String(value));
        const list = table.list();
        const values = [...wanted].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
        assert.deepEqual(list.slice(0, list.length), values);
        assertStretch(before, list);
        assert.deepEqual(table.values(), values);
        assertStretch(array, table.values());
        assert.equal(table.list(), list);
        const each: string[] = [];
        list.forEach((value) => void each.push(value));
        assert.deepEqual(each, values);
        assert.deepEqual(list.slice(3, 700), values.slice(3, 700));
        [before, array] = [list, table.values()];
      }

      function put(key: string, value: string | undefined): void {
        table.set(key, value);
        if (value === undefined) wanted.delete(key);
        else wanted.set(key, value);
      }
    }),
    { numRuns: 30 },
  );
});

/** Outside of the stretch they hold the same. */
function assertStretch(before: Sequence<string>, after: Sequence<string>): void {
  const { start, endBefore, endAfter } = stretchBetween(before, after);
  assert.ok(start <= endBefore && start <= endAfter);
  assert.deepEqual(before.slice(0, start), after.slice(0, start));
  assert.deepEqual(before.slice(endBefore, before.length), after.slice(endAfter, after.length));
}
