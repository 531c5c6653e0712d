import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { buildBody, NetlinkFormatError } from "./attributes.ts";
import type { NetlinkMessage } from "./message.ts";
import { bindPacketLog, decodeLoggedPacket, packetLogMessage, readPacketHead } from "./packet-log.ts";

// A SYN from 10.244.0.4 port 40000 to 10.244.4.5 port 5432, as far as the ports.
const syn4 = bytes("4500003c1c4640003f06b1e60af400040af40405 9c401538");
// An echo request of IPv6, and a datagram with an IPv4 option before it.
const echo6 = bytes("6000000000083a40 fd00001002440000000000000000000a fd00001002440001000000000000000b 8000");
const options4 = bytes("4600002000004000401100000a0000010a00000294040000 00350036");

void test("the head of a packet", () => {
  assert.deepEqual(readPacketHead(syn4), {
    protocol: 6,
    source: "10.244.0.4",
    destination: "10.244.4.5",
    sourcePort: 40000,
    destinationPort: 5432,
  });
  assert.deepEqual(readPacketHead(echo6), {
    protocol: 58,
    source: "fd00:10:244::a",
    destination: "fd00:10:244:1::b",
    sourcePort: 0,
    destinationPort: 0,
  });
  assert.equal(readPacketHead(options4)?.destinationPort, 54);
  assert.equal(readPacketHead(syn4.subarray(0, 19)), undefined);
  assert.equal(readPacketHead(Uint8Array.of(0x42, 0)), undefined);
  assert.equal(readPacketHead(new Uint8Array()), undefined);
});

void test("binding a group: command, first bytes of each packet, no waiting", () => {
  const { type, body } = bindPacketLog(241, 128);
  assert.equal(type, packetLogMessage.config);
  // nfgenmsg with the group in res_id; NFULA_CFG_CMD bind; NFULA_CFG_MODE 128, packet; NFULA_CFG_QTHRESH 1; NFULA_CFG_FLAGS sequence.
  assert.equal(
    hex(body),
    "000000f1 05000100 01000000 0a000200 00000080 02000000 08000500 00000001 06000600 00010000".replaceAll(" ", ""),
  );
});

void test("a logged packet", () => {
  const logged = (write: Parameters<typeof buildBody>[1]): NetlinkMessage =>
    message(packetLogMessage.packet, buildBody(new Uint8Array(4), write));
  const whole = logged((writer) => writer.bytes(9, syn4).bytes(10, new TextEncoder().encode("policy ingress \0")));
  assert.equal(decodeLoggedPacket(whole)?.prefix, "policy ingress ");
  assert.equal(decodeLoggedPacket(whole)?.packet.destinationPort, 5432);
  assert.deepEqual([decodeLoggedPacket(whole)?.mark, decodeLoggedPacket(whole)?.sequence], [0, undefined]);
  const marked = decodeLoggedPacket(logged((writer) => writer.be32(2, 0xf00dface).bytes(9, syn4).be32(12, 7)));
  assert.deepEqual([marked?.mark, marked?.sequence], [0xf00dface, 7]);
  assert.equal(decodeLoggedPacket(logged((writer) => writer.bytes(9, Uint8Array.of(1))))?.prefix, undefined);
  assert.equal(decodeLoggedPacket(message(packetLogMessage.config, new Uint8Array(4))), undefined);
});

void test("any bytes give a packet, nothing, or a typed error", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (body) => {
      try {
        decodeLoggedPacket(message(packetLogMessage.packet, body));
      } catch (error) {
        assert.ok(error instanceof NetlinkFormatError, String(error));
      }
      readPacketHead(body);
    }),
  );
});

function message(type: number, body: Uint8Array): NetlinkMessage {
  return { type, flags: 0, sequence: 0, port: 0, body };
}

function bytes(text: string): Uint8Array {
  return Uint8Array.from(text.replaceAll(" ", "").match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function hex(value: Uint8Array): string {
  return Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
