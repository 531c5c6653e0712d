import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { NetlinkFormatError } from "./attributes.ts";
import { answer, assertSent } from "./golden.testing.ts";
import {
  decodeNeighbour,
  deleteForwarding,
  deleteNeighbour,
  neighbourMessage,
  setForwarding,
  setNeighbour,
} from "./neighbour.ts";

void test("neighbours are set and deleted as `ip` does", () => {
  // ip neigh replace 10.244.1.5 lladdr 02:00:00:00:00:04 dev cbr0 nud permanent
  assertSent(
    setNeighbour({ index: 2, address: "10.244.1.5", mac: "02:00:00:00:00:04" }),
    "300000001c00050545a6016b00000000020000000200000080000000080001000af401050a0002000200000000040000",
  );
  // ip neigh replace fd00:244:1::5 lladdr 02:00:00:00:00:04 dev cbr0 nud permanent
  assertSent(
    setNeighbour({ index: 2, address: "fd00:244:1::5", mac: "02:00:00:00:00:04" }),
    "3c0000001c00050545a6016b000000000a000000020000008000000014000100fd0002440001000000000000000000050a0002000200000000040000",
  );
  // ip neigh del 10.244.1.5 dev cbr0
  assertSent(
    deleteNeighbour({ index: 2, address: "10.244.1.5" }),
    "240000001d00050045a6016b00000000020000000200000000000000080001000af40105",
  );
});

void test("forwarding entries are set and deleted as `bridge` does", () => {
  const tunnel = { index: 3, mac: "02:00:00:00:00:12", remote: "172.20.0.3" };
  // bridge fdb replace 02:00:00:00:00:04 dev flp1 master static
  assertSent(
    setForwarding({ index: 6, mac: "02:00:00:00:00:04" }),
    "280000001c00050545a6016b000000000700000006000000420004000a0002000200000000040000",
  );
  // bridge fdb replace 02:00:00:00:00:12 dev fl.vx dst 172.20.0.3 self permanent
  assertSent(
    setForwarding(tunnel),
    "300000001c00050545a6016b000000000700000003000000c00002000a000200020000000012000008000100ac140003",
  );
  // bridge fdb append 00:00:00:00:00:00 dev fl.vx dst 172.20.0.3 self permanent
  assertSent(
    setForwarding({ ...tunnel, mac: "00:00:00:00:00:00" }),
    "300000001c00050c45a6016b000000000700000003000000c00002000a000200000000000000000008000100ac140003",
  );
  // bridge fdb del 02:00:00:00:00:12 dev fl.vx dst 172.20.0.3 self
  assertSent(
    deleteForwarding(tunnel),
    "300000001d00050045a6016b000000000700000003000000c00002000a000200020000000012000008000100ac140003",
  );
  // bridge fdb del 02:00:00:00:00:04 dev flp1 master
  assertSent(
    deleteForwarding({ index: 6, mac: "02:00:00:00:00:04" }),
    "280000001d00050046a6016b000000000700000006000000c00004000a0002000200000000040000",
  );
});

void test("entries read back as they were set", () => {
  const neighbour = { index: 4, address: "fd00::5", mac: "02:00:00:00:00:05" };
  assert.deepEqual(decodeNeighbour(answer(neighbourMessage.new, setNeighbour(neighbour).body)), {
    kind: "neighbour",
    ...neighbour,
    state: 0x80,
  });
  const entry = { index: 4, mac: "02:00:00:00:00:05", remote: "fd00::6" };
  assert.deepEqual(decodeNeighbour(answer(neighbourMessage.new, setForwarding(entry).body)), {
    kind: "forwarding",
    ...entry,
    state: 0xc0,
  });
});

void test("any bytes give an entry, nothing, or a NetlinkFormatError", () => {
  const octet = fc.integer({ min: 0, max: 255 });
  const families = fc.constantFrom(2, 10, 7, 128);
  const attribute = fc
    .record({ type: fc.integer({ min: 0, max: 15 }), value: fc.uint8Array({ maxLength: 20 }) })
    .map(({ type, value }) => [value.length + 4, 0, type, 0, ...value, ...Array(-value.length & 3).fill(0)]);
  const rest = fc.oneof(
    fc.array(attribute).map((list) => list.flat()),
    fc.array(octet, { maxLength: 60 }),
  );
  fc.assert(
    fc.property(families, rest, (family, end) => {
      try {
        decodeNeighbour(answer(neighbourMessage.new, Uint8Array.from([family, ...Array(11).fill(0), ...end])));
        decodeNeighbour(answer(neighbourMessage.new, Uint8Array.from(end)));
      } catch (error) {
        assert.ok(error instanceof NetlinkFormatError, String(error));
      }
    }),
    { numRuns: 500 },
  );
});
