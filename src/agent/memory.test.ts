import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";

import { collectNow, settleMemory } from "./memory.ts";

for (const [name, collect] of [
  ["collectNow", collectNow],
  ["settleMemory", () => settleMemory({ roomBytes: 20e6 })],
] as const)
  void test(`${name}: what the start has left is gone when it returns, and nothing is put off`, async () => {
    const left = new WeakRef({ of: "the start" });
    await turn();
    // What is not done by now is done later, while somebody waits.
    collect();
    assert.equal(left.deref(), undefined);
  });
