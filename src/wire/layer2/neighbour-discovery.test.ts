import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import {
  decodeNeighbourMessage,
  encodeNeighbourMessage,
  groupMac,
  neighbourAnnouncement,
  neighbourAnswer,
  neighbourSolicitation,
  solicitedNode,
  type NeighbourMessage,
} from "./neighbour-discovery.ts";

// ping 2001:db8::2 between two veth ends, tcpdump -xx
const asked =
  "3333ff00000202000000000a86dd60000000" +
  "00203aff20010db8000000000000000000000001ff0200000000000000000001ff000002" +
  "87001c1e0000000020010db8000000000000000000000002010102000000000a";
const answered =
  "02000000000a02000000000b86dd60000000" +
  "00203aff20010db800000000000000000000000220010db8000000000000000000000001" +
  "88008a686000000020010db8000000000000000000000002020102000000000b";
const asker = { mac: "02:00:00:00:00:0a", address: "2001:db8::1" };
const holder = { mac: "02:00:00:00:00:0b", address: "2001:db8::2" };

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const frame = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));
const changed = (text: string, at: number, value: number): Uint8Array => {
  const bytes = frame(text);
  bytes[at] = value;
  return bytes;
};

void test("a solicitation and its answer are as Linux sends them", () => {
  const solicitation = neighbourSolicitation(asker, "2001:db8::2");
  assert.equal(hex(encodeNeighbourMessage(solicitation)), asked);
  assert.deepEqual(decodeNeighbourMessage(frame(asked)), solicitation);
  const answer = neighbourAnswer(solicitation, holder);
  assert.equal(hex(encodeNeighbourMessage(answer)), answered);
  assert.deepEqual(decodeNeighbourMessage(frame(answered)), answer);
});

void test("groups and their Ethernet addresses (RFC 4291 2.7.1, RFC 2464 7)", () => {
  assert.equal(solicitedNode("4037::1:800:200e:8c6c"), "ff02::1:ff0e:8c6c");
  assert.equal(groupMac("ff02::1:ff0e:8c6c"), "33:33:ff:0e:8c:6c");
});

void test("who is about to take an address is told to all that it is taken", () => {
  const { senderMac: _none, ...bare } = neighbourSolicitation({ mac: asker.mac, address: "::" }, "2001:db8::9");
  assert.deepEqual(decodeNeighbourMessage(encodeNeighbourMessage(bare)), bare);
  assert.deepEqual(neighbourAnswer(bare, holder), neighbourAnnouncement(holder, "2001:db8::9"));
  // RFC 4861 7.1.1: such a question has no source's hardware address, and goes to the target's group.
  assert.equal(decodeNeighbourMessage(encodeNeighbourMessage({ ...bare, senderMac: asker.mac })), undefined);
  assert.equal(decodeNeighbourMessage(encodeNeighbourMessage({ ...bare, destinationAddress: "ff02::1" })), undefined);
});

void test("what RFC 4861 7.1 has discarded is nothing", () => {
  assert.equal(decodeNeighbourMessage(changed(asked, 21, 254)), undefined, "from behind a router");
  assert.equal(decodeNeighbourMessage(changed(asked, 57, 0)), undefined, "checksum");
  assert.equal(decodeNeighbourMessage(changed(asked, 55, 1)), undefined, "code");
  assert.equal(decodeNeighbourMessage(changed(asked, 79, 0)), undefined, "an option without length");
  assert.equal(decodeNeighbourMessage(changed(asked, 79, 2)), undefined, "an option longer than the message");
  assert.equal(decodeNeighbourMessage(changed(asked, 19, 0xff)), undefined, "a payload longer than the frame");
  assert.equal(decodeNeighbourMessage(changed(asked, 20, 44)), undefined, "a fragment");
  const { solicited: _, ...rest } = neighbourAnnouncement(holder, "2001:db8::9");
  assert.equal(decodeNeighbourMessage(encodeNeighbourMessage({ ...rest, solicited: true })), undefined);
  const toGroup = neighbourSolicitation(asker, "ff02::5");
  assert.equal(decodeNeighbourMessage(encodeNeighbourMessage(toGroup)), undefined, "a group is nobody's");
  for (let length = 0; length < 86; length++)
    assert.equal(decodeNeighbourMessage(frame(asked).subarray(0, length)), undefined, `${length} bytes`);
});

void test("any bytes give a message or nothing; any message reads as it was written", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (input) => {
      decodeNeighbourMessage(input);
    }),
  );
  // One byte of a right one is another: the checksum, or something before it, shows.
  fc.assert(
    fc.property(fc.integer({ min: 18, max: 85 }), fc.integer({ min: 1, max: 255 }), (at, by) => {
      const bytes = frame(answered);
      bytes[at] = ((bytes[at] ?? 0) ^ by) & 0xff;
      assert.equal(decodeNeighbourMessage(bytes), undefined);
    }),
    { numRuns: 1000 },
  );
  const message: fc.Arbitrary<NeighbourMessage> = fc
    .record({ host: fc.integer({ min: 1, max: 0xfffe }), router: fc.boolean(), override: fc.boolean() })
    .map(({ host, router, override }) => ({
      ...neighbourAnswer(neighbourSolicitation(asker, `2001:db8::${host.toString(16)}`), holder),
      router,
      override,
    }));
  fc.assert(
    fc.property(message, (each) => assert.deepEqual(decodeNeighbourMessage(encodeNeighbourMessage(each)), each)),
  );
});
