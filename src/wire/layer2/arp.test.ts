import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { arpAnnouncement, arpAnswer, arpRequest, decodeArp, encodeArp } from "./arp.ts";

// ping 192.0.2.2 between two veth ends, tcpdump -xx
const asked = "ffffffffffff02000000000a0806000108000604000102000000000ac0000201000000000000c0000202";
const answered = "02000000000a02000000000b0806000108000604000202000000000bc000020202000000000ac0000201";
const asker = { mac: "02:00:00:00:00:0a", address: "192.0.2.1" };

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const frame = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));

void test("a request and its answer are as Linux sends them", () => {
  const request = arpRequest(asker, "192.0.2.2");
  assert.equal(hex(encodeArp(request)), asked);
  assert.deepEqual(decodeArp(frame(asked)), request);
  assert.equal(hex(encodeArp(arpAnswer(request, "02:00:00:00:00:0b"))), answered);
  // Short frames arrive padded.
  assert.deepEqual(decodeArp(frame(`${answered}${"00".repeat(18)}`)), arpAnswer(request, "02:00:00:00:00:0b"));
});

void test("an announcement asks all for its own address (RFC 5227 3)", () => {
  assert.deepEqual(arpAnnouncement("02:00:00:00:00:0b", "192.0.2.9"), {
    operation: "request",
    destination: "ff:ff:ff:ff:ff:ff",
    source: "02:00:00:00:00:0b",
    senderMac: "02:00:00:00:00:0b",
    senderAddress: "192.0.2.9",
    targetMac: "00:00:00:00:00:00",
    targetAddress: "192.0.2.9",
  });
});

void test("what is no ARP of a station is nothing: other types, other lengths, group senders, half frames", () => {
  const changed = (at: number, value: number): Uint8Array => {
    const bytes = frame(asked);
    bytes[at] = value;
    return bytes;
  };
  for (const [at, value] of [
    [13, 0x00],
    [15, 6],
    [16, 0x86],
    [18, 8],
    [19, 16],
    [20, 1],
    [21, 3],
    [22, 0x01],
  ] as const)
    assert.equal(decodeArp(changed(at, value)), undefined, `byte ${at}`);
  for (let length = 0; length < 42; length++) assert.equal(decodeArp(frame(asked).subarray(0, length)), undefined);
});

void test("any bytes give a packet that reads the same again, or nothing", () => {
  const start = frame(asked).subarray(0, 20);
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 80 }),
    fc.uint8Array({ minLength: 22, maxLength: 40 }).map((rest) => Uint8Array.of(...start, 0, ...rest)),
  );
  fc.assert(
    fc.property(bytes, (input) => {
      const packet = decodeArp(input);
      if (packet !== undefined) assert.deepEqual(encodeArp(packet), input.slice(0, 42));
    }),
    { numRuns: 2000 },
  );
});
