import assert from "node:assert/strict";
import { test } from "node:test";

import { arpAnnouncement, arpAnswer, arpRequest, encodeArp } from "./arp.ts";
import { encodeNeighbourMessage, neighbourAnswer, neighbourSolicitation } from "./neighbour-discovery.ts";
import { encodeFilter, filterPrefixesMax, packetFilter, type FilterInstruction } from "./packet-filter.ts";

/** Classic BPF as net/core/filter.c has it, of what filters here use. `packetType`: 0 host … 3 another host's. */
function run(program: readonly FilterInstruction[], frame: Uint8Array, packetType = 0): number {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  let a = 0;
  for (let at = 0; at < program.length; at++) {
    const { code, ifTrue, ifFalse, value } = program[at] as FilterInstruction;
    const isAncillary = value >= 0xffff_f000;
    const bytes = { 0x20: 4, 0x28: 2, 0x30: 1 }[code];
    if (bytes !== undefined) {
      if (isAncillary) a = packetType;
      // A load from behind the end ends the program with 0.
      else if (value + bytes > frame.length) return 0;
      else a = bytes === 4 ? view.getUint32(value) : bytes === 2 ? view.getUint16(value) : view.getUint8(value);
    } else if (code === 0x54) a = (a & value) >>> 0;
    else if (code === 0x15) at += a === value ? ifTrue : ifFalse;
    else if (code === 0x25) at += a > value ? ifTrue : ifFalse;
    else if (code === 0x06) return value;
    else assert.fail(`instruction ${code}`);
  }
  return assert.fail("the program runs over its end");
}

const asker = { mac: "02:00:00:00:00:0a", address: "192.0.2.1" };
const asker6 = { mac: "02:00:00:00:00:0a", address: "2001:db8::1" };
const request = (target: string): Uint8Array => encodeArp(arpRequest(asker, target));
const answer = (target: string): Uint8Array => encodeArp(arpAnswer(arpRequest(asker, target), "02:00:00:00:00:0b"));

void test("ARP: questions about these, answers of these, and nothing of other stations", () => {
  const about = ["192.0.2.7/32", "198.51.100.64/26", "203.0.113.0/25"];
  const asked = packetFilter({ kind: "asked", protocol: "arp", about });
  for (const [address, isWanted] of [
    ["192.0.2.7", true],
    ["192.0.2.8", false],
    ["198.51.100.64", true],
    ["198.51.100.127", true],
    ["198.51.100.128", false],
    ["203.0.113.1", true],
    ["203.0.113.200", false],
  ] as const) {
    assert.equal(run(asked, request(address)) > 0, isWanted, address);
    assert.equal(run(asked, request(address), 1) > 0, isWanted, `${address}, to all`);
    assert.equal(run(asked, request(address), 3), 0);
    assert.equal(run(asked, request(address), 4), 0);
    assert.equal(run(asked, answer(address)), 0);
  }
  const answered = packetFilter({ kind: "answered", protocol: "arp", about });
  assert.ok(run(answered, answer("192.0.2.7")) > 0);
  assert.equal(run(answered, answer("192.0.2.8")), 0);
  assert.equal(run(answered, request("192.0.2.7")), 0);
  const said = packetFilter({ kind: "said", protocol: "arp", about });
  const announcement = (of: string): Uint8Array => encodeArp(arpAnnouncement(asker.mac, of));
  assert.ok(run(said, answer("192.0.2.7")) > 0);
  assert.ok(run(said, announcement("192.0.2.7")) > 0);
  assert.equal(run(said, announcement("192.0.2.8")), 0);
  assert.equal(run(said, request("192.0.2.7")), 0);
  assert.equal(run(asked, request("192.0.2.7").subarray(0, 30)), 0);
});

void test("IPv6: solicitations and advertisements about these", () => {
  const about = ["2001:db8::7/128", "2001:db8:0:1::/66", "2001:db8:0:2::/64"];
  const asked = packetFilter({ kind: "asked", protocol: "ipv6", about });
  const answered = packetFilter({ kind: "answered", protocol: "ipv6", about });
  for (const [address, isWanted] of [
    ["2001:db8::7", true],
    ["2001:db8::8", false],
    ["2001:db8:1::7", false],
    ["2001:db8:0:1::9", true],
    ["2001:db8:0:1:4000::", false],
    ["2001:db8:0:2:ffff::1", true],
  ] as const) {
    const question = neighbourSolicitation(asker6, address);
    const frame = encodeNeighbourMessage(question);
    assert.equal(run(asked, frame) > 0, isWanted, address);
    assert.equal(run(answered, frame), 0);
    const said = encodeNeighbourMessage(neighbourAnswer(question, { ...asker6, mac: "02:00:00:00:00:0b" }));
    assert.equal(run(answered, said) > 0, isWanted, address);
    assert.equal(run(asked, said), 0);
  }
});

void test("nobody: nothing; more than fit: refused; the most: within the kernel's limit, the last one too", () => {
  assert.equal(run(packetFilter({ kind: "asked", protocol: "arp", about: [] }), request("192.0.2.1")), 0);
  const many = Array.from({ length: filterPrefixesMax.arp }, (_, i) => `10.0.${i >> 8}.${i & 255}/32`);
  const program = packetFilter({ kind: "asked", protocol: "arp", about: many });
  assert.ok(program.length <= 4096);
  assert.equal(encodeFilter(program).length, program.length * 8);
  assert.ok(run(program, request("10.0.3.231")) > 0);
  assert.equal(run(program, request("10.0.3.232")), 0);
  assert.throws(() => packetFilter({ kind: "asked", protocol: "arp", about: [...many, "10.1.0.0/16"] }), RangeError);
  const many6 = Array.from({ length: filterPrefixesMax.ipv6 }, (_, i) => `2001:db8::${i.toString(16)}/127`);
  assert.ok(packetFilter({ kind: "asked", protocol: "ipv6", about: many6 }).length <= 4096);
});
