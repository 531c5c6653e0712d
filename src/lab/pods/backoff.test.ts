import { test } from "node:test";
import assert from "node:assert/strict";
import { createBackoff, durationText } from "./backoff.ts";

test("ten seconds, doubled up to five minutes, counted from the given moment", () => {
  let now = 1_000_000;
  const backoff = createBackoff(() => now);
  assert.equal(backoff.waitMs("a"), 0);
  const waits: number[] = [];
  for (let round = 0; round < 7; round++) {
    waits.push(backoff.tried("a") / 1000);
    now += 1000;
  }
  assert.deepEqual(waits, [10, 20, 40, 80, 160, 300, 300]);
  assert.equal(backoff.waitMs("a", now - 100_000), 200_000);
  assert.equal(backoff.waitMs("b"), 0);
});

test("a quiet time starts the series anew, and so does forgetting", () => {
  let now = 0;
  const backoff = createBackoff(() => now);
  backoff.tried("a");
  backoff.tried("a");
  now += 600_001;
  assert.equal(backoff.waitMs("a", now), 0);
  assert.equal(backoff.tried("a"), 10_000);
  backoff.forget("a");
  assert.equal(backoff.waitMs("a"), 0);
});

test("durations are written as Go writes them", () => {
  assert.deepEqual([10_000, 80_000, 300_000, 3_661_000].map(durationText), ["10s", "1m20s", "5m0s", "1h1m1s"]);
});
