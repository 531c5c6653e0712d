import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { NetlinkFormatError, buildBody } from "./attributes.ts";
import { answer, assertSent } from "./golden.testing.ts";
import {
  createLink,
  decodeBridgePort,
  decodeLink,
  getLink,
  getLinks,
  linkMessage,
  setBridgePort,
  setLink,
} from "./link.ts";

void test("links are created as `ip` creates them", () => {
  // ip link add cbr0 address 02:00:00:00:00:01 mtu 1500 type bridge
  assertSent(
    createLink({ name: "cbr0", mac: "02:00:00:00:00:01", mtu: 1500 }, { kind: "bridge" }),
    "500000001000050644a6016b00000000000000000000000000000000000000000a000100020000000001000008000400dc050000090003006362723000000000100012000a0001006272696467650000",
  );
  // ip link add fl.vx address 02:00:00:00:00:02 mtu 1450 type vxlan id 4096 local 172.20.0.2 dstport 8472 nolearning
  assertSent(
    createLink(
      { name: "fl.vx", mac: "02:00:00:00:00:02", mtu: 1450 },
      { kind: "vxlan", vni: 4096, port: 8472, local: "172.20.0.2", learning: false },
    ),
    "740000001000050644a6016b00000000000000000000000000000000000000000a000100020000000002000008000400aa0500000a000300666c2e7678000000340012000900010076786c616e00000024000200080001000010000008000400ac140002050007000000000006000f0021180000",
  );
  // ip link add fl.v6 address 02:00:00:00:00:02 mtu 1430 type vxlan id 4097 local fd00:20::2 dstport 8472 nolearning
  assertSent(
    createLink(
      { name: "fl.v6", mac: "02:00:00:00:00:02", mtu: 1430 },
      { kind: "vxlan", vni: 4097, port: 8472, local: "fd00:20::2", learning: false },
    ),
    "800000001000050644a6016b00000000000000000000000000000000000000000a000100020000000002000008000400960500000a000300666c2e7636000000400012000900010076786c616e00000030000200080001000110000014001100fd000020000000000000000000000002050007000000000006000f0021180000",
  );
  // ip link add link w0 name eth0 address 02:00:00:00:00:05 mtu 1500 netns a type macvlan mode bridge
  assertSent(
    createLink(
      { name: "eth0", mac: "02:00:00:00:00:05", mtu: 1500 },
      { kind: "macvlan", lower: 3, mode: "bridge", namespaceFd: 4 },
    ),
    "6c0000001000050648a6016b00000000000000000000000000000000000000000a000100020000000005000008000400dc05000008001c000400000008000500030000000900030065746830000000001c0012000b0001006d6163766c616e000c0002000800010004000000",
  );
  // ip link add flp1 address 02:00:00:00:00:03 mtu 1450 type veth peer name eth0 address 02:00:00:00:00:04 mtu 1450
  assertSent(
    createLink(
      { name: "flp1", mac: "02:00:00:00:00:03", mtu: 1450 },
      { kind: "veth", peer: { name: "eth0", mac: "02:00:00:00:00:04", mtu: 1450 } },
    ),
    "840000001000050644a6016b00000000000000000000000000000000000000000a000100020000000003000008000400aa05000009000300666c7031000000004400120008000100766574683800020034000100000000000000000000000000000000000a000100020000000004000008000400aa050000090003006574683000000000",
  );
});

void test("links are set as `ip` and `bridge` set them", () => {
  // ip link set cbr0 mtu 1450 alias fairlead
  assertSent(
    setLink({ index: 2 }, { mtu: 1450, alias: "fairlead" }),
    "340000001000050044a6016b000000000000000002000000000000000000000008000400aa0500000c001400666169726c656164",
  );
  // ip link set eth0 protodown on type macvlan mode private
  assertSent(
    setLink({ index: 2 }, { protoDown: true, macvlanMode: "private" }),
    "440000001000050048a6016b000000000000000002000000000000000000000005002700010000001c0012000b0001006d6163766c616e000c0002000800010001000000",
  );
  // ip link set flp1 up master cbr0
  assertSent(
    setLink({ index: 6 }, { up: true, master: 2 }),
    "280000001000050044a6016b000000000000000006000000010000000100000008000a0002000000",
  );
  // ip link set flp1 nomaster
  assertSent(
    setLink({ index: 6 }, { master: 0 }),
    "280000001000050044a6016b000000000000000006000000000000000000000008000a0000000000",
  );
  // ip link set cbr0 addrgenmode none
  assertSent(
    setLink({ index: 2 }, { addressGeneration: "none" }),
    "300000001000050044a6016b000000000000000002000000000000000000000010001a000c000a000500080001000000",
  );
  // bridge link set dev flp1 hairpin on learning off flood off mcast_flood off bcast_flood on neigh_suppress off isolated on
  assertSent(
    setBridgePort(6, {
      hairpin: true,
      learning: false,
      unicastFlood: false,
      multicastFlood: false,
      broadcastFlood: true,
      neighbourSuppression: false,
      isolated: true,
    }),
    "5c0000001300050045a6016b00000000070000000600000000000000000000003c000c800500040001000000050009000000000005001b000000000005001e0001000000050008000000000005002000000000000500210001000000",
  );
});

void test("a link by its name is asked for by name, and all of them by none", () => {
  const [one, all] = [getLink("cbr0"), getLinks()];
  assert.equal(one.body.length, 16 + 12 + 8);
  assert.equal(all.body.length, 16 + 8);
  assert.equal(one.type, linkMessage.get);
});

/** struct ifinfomsg: Ethernet, index 6, up and with carrier. */
const header = Uint8Array.of(0, 0, 1, 0, 6, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0);

void test("a bridge port's description is read", () => {
  const body = buildBody(header, (writer) => {
    writer
      .bytes(1, Uint8Array.of(2, 0, 0, 0, 0, 3))
      .u32(4, 1450)
      .string(3, "flp1")
      .string(20, "pod")
      .u32(10, 2)
      .u32(5, 9);
    writer.i32(37, -1).nested(18, (info) => {
      info.string(1, "veth").string(4, "bridge");
      info.nested(5, (port) => port.u8(33, 1).u8(4, 0).u8(8, 0).u8(9, 1).u8(27, 1).u8(30, 1).u8(32, 0));
    });
  });
  assert.deepEqual(decodeLink(answer(linkMessage.new, body)), {
    index: 6,
    name: "flp1",
    kind: "veth",
    mac: "02:00:00:00:00:03",
    mtu: 1450,
    flags: 0x10001,
    alias: "pod",
    master: 2,
    peer: 9,
    linkNetnsId: -1,
    bridgePort: {
      isolated: true,
      hairpin: false,
      learning: false,
      unicastFlood: true,
      multicastFlood: true,
      broadcastFlood: true,
      neighbourSuppression: false,
    },
  });
});

void test("a bridge's own message about a port is no link", () => {
  const bridge = header.slice();
  bridge[0] = 7;
  const body = buildBody(bridge, (writer) => writer.nested(12, (port) => port.u8(33, 1)));
  assert.equal(decodeLink(answer(linkMessage.new, body)), undefined);
  assert.equal(decodeBridgePort(answer(linkMessage.new, body))?.bridgePort.isolated, true);
  assert.equal(decodeBridgePort(answer(linkMessage.new, header)), undefined);
});

void test("any bytes give a link, nothing, or a NetlinkFormatError", () => {
  const starts = fc.constantFrom(header, new Uint8Array());
  fc.assert(
    fc.property(starts, fc.uint8Array({ maxLength: 200 }), (start, rest) => {
      try {
        decodeLink(answer(linkMessage.new, Uint8Array.of(...start, ...rest)));
        decodeBridgePort(answer(linkMessage.new, Uint8Array.of(7, ...start.subarray(1), ...rest)));
      } catch (error) {
        assert.ok(error instanceof NetlinkFormatError, String(error));
      }
    }),
  );
});

void test("attributes of any length give a link or a NetlinkFormatError", () => {
  const attribute = fc.record({ type: fc.integer({ min: 0, max: 40 }), value: fc.uint8Array({ maxLength: 20 }) });
  const nest = fc.record({ type: fc.constant(18), list: fc.array(attribute) });
  fc.assert(
    fc.property(fc.array(attribute), nest, (attributes, { type, list }) => {
      const body = buildBody(header, (writer) => {
        for (const one of attributes) writer.bytes(one.type, one.value);
        writer.nested(type, (info) => {
          info.string(1, "vxlan").string(4, "bridge");
          for (const one of list) info.bytes(one.type, one.value);
        });
      });
      try {
        assert.equal(decodeLink(answer(linkMessage.new, body))?.index, 6);
      } catch (error) {
        assert.ok(error instanceof NetlinkFormatError, String(error));
      }
    }),
  );
});
