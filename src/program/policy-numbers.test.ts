import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { createNumbers, reservedNumbers, type Numbers } from "./policy-numbers.ts";

const names = "abcdefghijklmnopqrstuvwxyz".split("");

/** Four bits: everybody collides with somebody, several levels deep. */
function narrow(text: string, salt: number): number {
  return Math.imul(text.charCodeAt(0) + 7 * salt, 2654435761) >>> 28;
}

function numbersOf(numbers: Numbers): Map<string, number> {
  return new Map(names.flatMap((name) => (numbers.of(name) === undefined ? [] : [[name, numbers.of(name) as number]])));
}

void test("names that are there have numbers of their own, others have none", () => {
  const numbers = createNumbers();
  for (const name of names) numbers.add(name);
  assert.equal(new Set(numbersOf(numbers).values()).size, names.length);
  numbers.remove("c");
  assert.equal(numbers.of("c"), undefined);
});

void test("however many hash alike, after any history: a function of who is there, and nobody takes another's number at once", () => {
  const steps = fc.array(fc.tuple(fc.boolean(), fc.constantFrom(...names)), { maxLength: 60 });
  fc.assert(
    fc.property(steps, (history) => {
      const numbers = createNumbers(narrow);
      const present = new Set<string>();
      let before = numbersOf(numbers);
      for (const [comes, name] of history) {
        const moved = comes ? numbers.add(name) : numbers.remove(name);
        if (comes) present.add(name);
        else present.delete(name);
        const now = numbersOf(numbers);
        assert.equal(new Set(now.values()).size, now.size, "a number twice");
        for (const number of now.values()) assert.ok(number >= reservedNumbers && number < 2 ** 32 - 1);
        for (const key of now.keys()) assert.ok(present.has(key));
        const others = [...before].some(([key, number]) => key !== name && now.get(key) !== number);
        assert.ok(moved || !others, "others changed in silence");
        const owner = new Map([...before].map(([key, number]) => [number, key]));
        for (const [key, number] of now) assert.ok(!owner.has(number) || owner.get(number) === key, "handed on");
        before = now;
      }
      const fresh = createNumbers(narrow);
      for (const name of [...present].sort().reverse()) fresh.add(name);
      assert.deepEqual(numbersOf(fresh), numbersOf(numbers));
    }),
    { numRuns: 300 },
  );
});
