import assert from "node:assert/strict";
import { test } from "node:test";

import { buildQuery } from "../../wire/dns/message.ts";
import { readQuery } from "../../wire/dns/query.ts";
import { createDnsLog } from "./log.ts";
import { logQuery } from "./query-log.ts";

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

await test("a query log's format: its fields, and braces that are none", () => {
  const lines: string[] = [];
  const log = createDnsLog((line) => lines.push(line), { now: () => 0 });
  const asked = buildQuery({ id: 1, name: "a.test", type: "A" });
  const read = readQuery(asked);
  assert.ok(read.kind === "query");
  for (const format of ["{name} {type}", "{type} {", "} {type}", "{type}{"])
    logQuery(log, [{ scope: ".", classes: ["all"], format }], {
      asked,
      query: read,
      labels: { protocol: "udp", family: 4, started: 0, bytes: asked.length },
      source: () => ({ address: "192.0.2.1", port: 1 }),
      response: asked,
      rcode: 0,
      ended: 0,
    });
  assert.deepEqual(lines, ["[INFO] a.test. A", "[INFO] A {", "[INFO] } A", "[INFO] A{"]);
});
