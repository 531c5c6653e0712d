import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { numberOf, numberText, splitRange, types, valueBytes, valueText, type ValueType } from "./values.ts";

const everyType = Object.keys(types) as ValueType[];

void test("any bytes are a value whose text gives the bytes back", () => {
  const numeric = everyType.filter((type) => type !== "ifname");
  fc.assert(
    fc.property(
      fc.constantFrom(...numeric).chain((type) => {
        const { bytes } = types[type];
        return fc.tuple(fc.constant(type), fc.uint8Array({ minLength: bytes, maxLength: bytes }));
      }),
      ([type, bytes]) => {
        const text = valueText(type, bytes, types[type].order === "host");
        assert.deepEqual(valueBytes(type, text), bytes, `${type} ${text}`);
      },
    ),
  );
});

void test("names, numbers and bytes of each type", () => {
  const expected: readonly (readonly [ValueType, string, string])[] = [
    ["ipv4_addr", "10.96.0.1", "0a600001"],
    ["ipv6_addr", "fd00::1", "fd000000000000000000000000000001"],
    ["ether_addr", "0a:58:0a:f4:01:05", "0a580af40105"],
    ["inet_proto", "icmpv6", "3a"],
    ["inet_proto", "47", "2f"],
    ["inet_service", "443", "01bb"],
    ["mark", "0x4000", "00400000"],
    ["classid", "1:ff", "ff000100"],
    ["classid", "none", "00000000"],
    ["ifname", "eth0", "65746830000000000000000000000000"],
    ["index", "3", "03000000"],
    ["ct_state", "related", "04000000"],
    ["arp_op", "reply", "0002"],
  ];
  for (const [type, text, hex] of expected) {
    const bytes = valueBytes(type, text);
    assert.equal(Buffer.from(bytes).toString("hex"), hex, `${type} ${text}`);
    assert.equal(valueText(type, bytes, types[type].order === "host"), text);
  }
});

void test("what is no value is refused", () => {
  const refused: readonly (readonly [ValueType, string])[] = [
    ["ipv4_addr", "10.96.0"],
    ["ipv4_addr", "10.96.0.256"],
    ["ipv4_addr", "10.96.0.01"],
    ["ipv4_addr", "10.96.0.1.2"],
    ["ipv4_addr", ""],
    ["ipv6_addr", "10.0.0.1"],
    ["ether_addr", "0A:58:0a:f4:01:05"],
    ["inet_service", "65536"],
    ["inet_service", "-1"],
    ["inet_service", "http"],
    ["inet_proto", "TCP"],
    ["inet_proto", "constructor"],
    ["mark", "0x100000000"],
    ["ifname", "a-name-that-is-too-long"],
    ["ifname", "a b"],
    ["ifname", ""],
    ["classid", "1:"],
  ];
  for (const [type, text] of refused) assert.throws(() => valueBytes(type, text), RangeError, `${type} ${text}`);
});

void test("prefixes and ranges have two ends", () => {
  assert.deepEqual(splitRange("ipv4_addr", "10.0.0.0/9"), { first: "10.0.0.0", last: "10.127.255.255", prefixBits: 9 });
  assert.deepEqual(splitRange("ipv6_addr", "::/0"), {
    first: "::",
    last: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    prefixBits: 0,
  });
  assert.deepEqual(splitRange("inet_service", "80-90"), { first: "80", last: "90" });
  assert.deepEqual(splitRange("ifname", "veth-1"), { first: "veth-1", last: "veth-1" });
  assert.throws(() => splitRange("ipv4_addr", "10.0.0.1/8"), RangeError);
  assert.throws(() => splitRange("ipv4_addr", "fd00::/8"), RangeError);
});

void test("names of numbers", () => {
  assert.equal(numberText("fib_addrtype", 2), "local");
  assert.equal(numberText("icmpv6_type", 200), "200");
  assert.equal(numberOf("icmpv6_type", "nd-neighbor-solicit"), 135);
});
