import assert from "node:assert/strict";
import { test } from "node:test";

import { createDnsLog } from "./log.ts";

await test("errors of one kind are written once a second, with how many there were", () => {
  const lines: string[] = [];
  let now = 0;
  const log = createDnsLog((line) => lines.push(line), { now: () => now });
  for (const name of ["a", "b", "c"]) log.failed(`${name}. A`, "timeout");
  log.failed("d. A", "refused connection");
  log.refused("e. A", "timeout");
  now = 1000;
  log.failed("f. A", "timeout");
  now = 2000;
  log.failed("g. A", "timeout");
  log.info("ready");
  assert.deepEqual(lines, [
    "[ERROR] a. A: SERVFAIL: timeout",
    "[ERROR] d. A: SERVFAIL: refused connection",
    "[ERROR] e. A: REFUSED: timeout",
    "[ERROR] f. A: SERVFAIL: timeout (and 2 more like it)",
    "[ERROR] g. A: SERVFAIL: timeout",
    "[INFO] ready",
  ]);
});

await test("ever new reasons do not fill the memory: after a hundred kinds the first may be said again", () => {
  const lines: string[] = [];
  const log = createDnsLog((line) => lines.push(line), { now: () => 0 });
  for (let i = 0; i <= 100; i++) log.failed("a. A", `reason ${i}`);
  log.failed("a. A", "reason 0");
  assert.equal(lines.length, 102);
});
