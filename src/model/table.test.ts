import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { createGroups } from "./table.ts";

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
