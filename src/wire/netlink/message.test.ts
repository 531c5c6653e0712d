import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { NetlinkFormatError, buildBody } from "./attributes.ts";
import { answer, fromHex } from "./golden.testing.ts";
import {
  control,
  decodeAcknowledgement,
  decodeDone,
  decodeMessages,
  encodeMessages,
  flag,
  messageBytes,
  type NetlinkRequest,
} from "./message.ts";

const requests: fc.Arbitrary<NetlinkRequest> = fc.record({
  type: fc.integer({ min: 0, max: 0xffff }),
  flags: fc.integer({ min: 0, max: 0xffff }),
  body: fc.uint8Array({ maxLength: 50 }),
});

void test("any requests read back, numbered in order and marked as requests", () => {
  fc.assert(
    fc.property(fc.array(requests), (list) => {
      const bytes = encodeMessages(list, 7);
      assert.equal(
        bytes.length,
        list.reduce((sum, request) => sum + messageBytes(request), 0),
      );
      assert.deepEqual(
        decodeMessages(bytes),
        list.map(({ type, flags, body }, index) => ({
          type,
          flags: flags | flag.request,
          sequence: 7 + index,
          port: 0,
          body,
        })),
      );
    }),
  );
});

void test("any bytes give messages or a NetlinkFormatError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        for (const message of decodeMessages(bytes)) {
          decodeAcknowledgement(message);
          decodeDone(message);
        }
      } catch (error) {
        assert.ok(error instanceof NetlinkFormatError, String(error));
      }
    }),
  );
});

void test("an acknowledgement: errno 0, the request's header quoted", () => {
  // ip link set lo up: struct nlmsgerr with error 0 and the header of an RTM_NEWLINK numbered 0x6b01a644, capped.
  const [message] = decodeMessages(fromHex("240000000200000144a6016b2a00000000000000200000001000050044a6016b00000000"));
  assert.ok(message);
  assert.deepEqual(decodeAcknowledgement(message), {
    errno: 0,
    requestType: 16,
    requestSequence: 0x6b01a644,
  });
});

/** struct nlmsgerr: the error, then a quoted header that says 20 bytes of type 18, number 9. */
function refusal(errno: number, quoted: Uint8Array = new Uint8Array()): Uint8Array {
  const header = new Uint8Array(20 + quoted.length);
  const view = new DataView(header.buffer);
  view.setInt32(0, -errno, true);
  view.setUint32(4, 16 + quoted.length, true);
  view.setUint16(8, 18, true);
  view.setUint32(12, 9, true);
  header.set(quoted, 20);
  return header;
}

void test("a refusal with the kernel's words, offset and missing attribute", () => {
  const extended = {
    requestType: 18,
    requestSequence: 9,
    errno: 22,
    text: "no",
    offset: 36,
    missingType: 3,
    missingNest: 0,
  };
  const write = (header: Uint8Array): Uint8Array =>
    buildBody(header, (writer) => writer.string(1, "no").u32(2, 36).u32(5, 3).u32(6, 0));
  const capped = flag.capped | flag.ackAttributes;
  assert.deepEqual(decodeAcknowledgement(answer(control.error, write(refusal(22)), capped)), extended);
  const quoting = write(refusal(22, Uint8Array.of(1, 2, 3, 4)));
  assert.deepEqual(decodeAcknowledgement(answer(control.error, quoting, flag.ackAttributes)), extended);
});

void test("words without an error are a warning", () => {
  const body = buildBody(refusal(0), (writer) => writer.string(1, "deprecated"));
  const { errno, text } = decodeAcknowledgement(answer(control.error, body, flag.ackAttributes));
  assert.deepEqual([errno, text], [0, "deprecated"]);
});

void test("the end of a dump: well, with an error, with words", () => {
  const errno = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);
  assert.deepEqual(decodeDone(answer(control.done, new Uint8Array())), { errno: 0 });
  assert.deepEqual(decodeDone(answer(control.done, errno(0))), { errno: 0 });
  assert.deepEqual(decodeDone(answer(control.done, errno(-4))), { errno: 4 });
  const words = buildBody(errno(-95), (writer) => writer.string(1, "not here"));
  assert.deepEqual(decodeDone(answer(control.done, words, flag.ackAttributes)), { errno: 95, text: "not here" });
});

void test("lengths that lie are refused", () => {
  const bytes = encodeMessages([{ type: 1, flags: 0, body: new Uint8Array(4) }], 1);
  bytes[0] = 15;
  assert.throws(() => decodeMessages(bytes), NetlinkFormatError);
  bytes[0] = 24;
  assert.throws(() => decodeMessages(bytes), NetlinkFormatError);
  assert.throws(() => decodeMessages(new Uint8Array(3)), NetlinkFormatError);
});
