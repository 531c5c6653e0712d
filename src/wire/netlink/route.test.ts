import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { NetlinkFormatError } from "./attributes.ts";
import { answer, assertSent } from "./golden.testing.ts";
import {
  decodeAddress,
  decodeRoute,
  decodeRule,
  deleteAddress,
  deleteRoute,
  getRules,
  routeMessage,
  routeScope,
  routeTable,
  routeType,
  setAddress,
  setRoute,
  type RouteSpec,
} from "./route.ts";

void test("addresses are set and deleted as `ip` does, IPv6 without duplicate detection", () => {
  // ip address replace 10.244.1.1/24 dev cbr0
  assertSent(
    setAddress({ index: 2, address: "10.244.1.1", bits: 24, scope: routeScope.global }),
    "280000001400050544a6016b000000000218000002000000080002000af40101080001000af40101",
  );
  // ip address replace fd00:244:1::1/64 dev cbr0 nodad
  assertSent(
    setAddress({ index: 2, address: "fd00:244:1::1", bits: 64, scope: routeScope.global }),
    "400000001400050544a6016b000000000a4002000200000014000200fd00024400010000000000000000000114000100fd000244000100000000000000000001",
  );
  // ip address replace 10.244.1.0/32 dev fl.vx scope link
  assertSent(
    setAddress({ index: 3, address: "10.244.1.0", bits: 32, scope: routeScope.link }),
    "280000001400050544a6016b00000000022000fd03000000080002000af40100080001000af40100",
  );
  // ip address delete 10.244.1.0/32 dev fl.vx
  assertSent(
    deleteAddress({ index: 3, address: "10.244.1.0", bits: 32 }),
    "280000001500050044a6016b000000000220000003000000080002000af40100080001000af40100",
  );
});

const base = { table: routeTable.main, type: routeType.unicast, protocol: 241, metric: 0, scope: routeScope.global };

void test("routes are set and deleted as `ip` does", () => {
  // ip route replace 10.244.1.5/32 dev cbr0 proto 241
  assertSent(
    setRoute({ ...base, to: "10.244.1.5/32", index: 2, scope: routeScope.link }),
    "2c0000001800050544a6016b0000000002200000fef1fd0100000000080001000af401050800040002000000",
  );
  // ip route replace 10.244.2.0/24 via 10.244.2.0 dev fl.vx onlink proto 241 src 10.244.1.1 mtu 1400 metric 10
  const remote = { to: "10.244.2.0/24", via: "10.244.2.0", index: 3, onlink: true, source: "10.244.1.1", mtu: 1400 };
  assertSent(
    setRoute({ ...base, ...remote, metric: 10 }),
    "500000001800050544a6016b0000000002180000fef1000104000000080001000af40200080005000af40200080007000af40101080006000a00000008000400030000000c0008000800020078050000",
  );
  // ip route replace unreachable 10.244.0.0/16 proto 241 metric 100
  assertSent(
    setRoute({ ...base, to: "10.244.0.0/16", type: routeType.unreachable, metric: 100 }),
    "2c0000001800050544a6016b0000000002100000fef1000700000000080001000af400000800060064000000",
  );
  // ip route replace default via 10.244.1.2 dev cbr0 proto 241
  assertSent(
    setRoute({ ...base, to: "0.0.0.0/0", via: "10.244.1.2", index: 2 }),
    "2c0000001800050544a6016b0000000002000000fef1000100000000080005000af401020800040002000000",
  );
  // ip route replace fd00:244:2::/64 via fd00:244:2::1 dev fl.vx onlink proto 241 metric 10
  assertSent(
    setRoute({ ...base, to: "fd00:244:2::/64", via: "fd00:244:2::1", index: 3, onlink: true, metric: 10 }),
    "540000001800050544a6016b000000000a400000fef100010400000014000100fd00024400020000000000000000000014000500fd000244000200000000000000000001080006000a0000000800040003000000",
  );
  // ip route replace 10.7.0.0/16 via inet6 fd00:244:1::9 dev cbr0 proto 241
  assertSent(
    setRoute({ ...base, to: "10.7.0.0/16", via: "fd00:244:1::9", index: 2 }),
    "440000001800050544a6016b0000000002100000fef1000100000000080001000a070000160012000a00fd00024400010000000000000000000900000800040002000000",
  );
  // ip route delete 10.244.2.0/24 proto 241 metric 10
  assertSent(
    deleteRoute({ table: routeTable.main, to: "10.244.2.0/24", protocol: 241, metric: 10 }),
    "2c0000001900050044a6016b0000000002180000fef1ff0000000000080001000af40200080006000a000000",
  );
  // ip -6 route delete fd00:244:2::/64 proto 241 metric 10
  assertSent(
    deleteRoute({ table: routeTable.main, to: "fd00:244:2::/64", protocol: 241, metric: 10 }),
    "380000001900050044a6016b000000000a400000fef100000000000014000100fd000244000200000000000000000000080006000a000000",
  );
});

void test("rules are asked for as `ip` does", () => {
  // ip -6 rule show
  assertSent({ ...getRules(6), flags: 0x300 }, "1c0000002200010345a6016b000000000a0000000000000000000000");
});

const octet = fc.integer({ min: 0, max: 255 });
const prefixes = fc.oneof(
  fc.tuple(octet, octet).map(([a, b]) => `10.${a}.${b}.0/24`),
  octet.map((a) => `fd00:${(a + 1).toString(16)}::/64`),
  fc.constantFrom("0.0.0.0/0", "::/0", "192.0.2.7/32", "2001:db8::7/128"),
);
const routes: fc.Arbitrary<RouteSpec> = fc.record(
  {
    table: fc.constantFrom(254, 255, 1000),
    to: prefixes,
    type: fc.constantFrom(...Object.values(routeType)),
    index: fc.integer({ min: 1, max: 0x7fffffff }),
    via: fc.constantFrom("10.0.0.1", "fd00::1"),
    onlink: fc.boolean(),
    source: fc.constantFrom("10.0.0.2", "fd00::2"),
    mtu: fc.integer({ min: 576, max: 65535 }),
    metric: fc.integer({ min: 0, max: 0xffffffff }),
    protocol: octet,
    scope: fc.constantFrom(...Object.values(routeScope)),
  },
  { requiredKeys: ["table", "to", "type", "onlink", "metric", "protocol", "scope"] },
);

void test("any route reads back as it was set", () => {
  fc.assert(
    fc.property(routes, (spec) => {
      const { body } = setRoute(spec);
      assert.deepEqual(decodeRoute(answer(routeMessage.new, body)), { ...spec, family: spec.to.includes(":") ? 6 : 4 });
    }),
  );
});

void test("an address reads back as it was set", () => {
  const spec = { index: 5, address: "fd00::7", bits: 128, scope: routeScope.global };
  assert.deepEqual(decodeAddress(answer(20, setAddress(spec).body)), { ...spec, flags: 2 });
});

void test("of several next hops the first is told", () => {
  // struct rtmsg of 10.1.0.0/16, then RTA_MULTIPATH: two struct rtnexthop of 16 bytes with a gateway each.
  const hop = (index: number): number[] => [16, 0, 0, 0, index, 0, 0, 0, 8, 0, 5, 0, 10, 0, 0, index];
  const body = [2, 16, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0, 8, 0, 1, 0, 10, 1, 0, 0, 36, 0, 9, 0, ...hop(7), ...hop(8)];
  const route = decodeRoute(answer(routeMessage.new, Uint8Array.from(body)));
  assert.deepEqual([route?.to, route?.via, route?.index], ["10.1.0.0/16", "10.0.0.7", 7]);
});

void test("any bytes give a value, nothing, or a NetlinkFormatError", () => {
  const starts = fc.constantFrom([2, 16, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0], [10, 64, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0], []);
  const attribute = fc
    .record({ type: fc.integer({ min: 0, max: 30 }), value: fc.uint8Array({ maxLength: 30 }) })
    .map(({ type, value }) => [value.length + 4, 0, type, 0, ...value, ...Array(-value.length & 3).fill(0)]);
  const rest = fc.oneof(
    fc.array(attribute).map((list) => list.flat()),
    fc.array(octet, { maxLength: 100 }),
  );
  fc.assert(
    fc.property(starts, rest, (start, end) => {
      const message = answer(routeMessage.new, Uint8Array.from([...start, ...end]));
      for (const decode of [decodeAddress, decodeRoute, decodeRule]) {
        try {
          decode(message);
        } catch (error) {
          assert.ok(error instanceof NetlinkFormatError, String(error));
        }
      }
    }),
    { numRuns: 500 },
  );
});
