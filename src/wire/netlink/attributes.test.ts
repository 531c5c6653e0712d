import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import {
  AttributeWriter,
  NetlinkFormatError,
  buildBody,
  parseAttributeList,
  parseAttributes,
  readBe16,
  readBe32,
  readBe64,
  readI32,
  readString,
  readU16,
  readU32,
  readU64,
  readU8,
} from "./attributes.ts";
import { toHex } from "./golden.testing.ts";

void test("values of every width are written aligned and read back", () => {
  const bytes = buildBody(Uint8Array.of(1, 2, 3), (writer) => {
    writer.u8(1, 0xff).u16(2, 0xfffe).u32(3, 0xfffffffd).i32(4, -2).u64(5, 0xfffffffffffffffcn);
    writer.be16(6, 0x0102).be32(7, 0xf1020304).be64(8, 0xf102030405060708n).string(9, "cbr0").flag(10);
  });
  const attributes = parseAttributes(bytes, 4);
  const value = (type: number): Uint8Array => attributes.get(type) ?? assert.fail(`no attribute ${type}`);
  assert.equal(readU8(value(1)), 0xff);
  assert.equal(readU16(value(2)), 0xfffe);
  assert.equal(readU32(value(3)), 0xfffffffd);
  assert.equal(readI32(value(4)), -2);
  assert.equal(readU64(value(5)), 0xfffffffffffffffcn);
  assert.equal(readBe16(value(6)), 0x0102);
  assert.equal(readBe32(value(7)), 0xf1020304);
  assert.equal(readBe64(value(8)), 0xf102030405060708n);
  assert.equal(readString(value(9)), "cbr0");
  assert.equal(value(10).length, 0);
  assert.equal(bytes.length % 4, 0);
});

void test("nesting: lengths without padding, the nested flag only where asked for", () => {
  const writer = new AttributeWriter();
  writer.nested(2, (inner) => inner.u8(1, 7)).group(3, (inner) => inner.u8(1, 7));
  // nla_len 12 (4 + 4 + 1 padded to 8), type 0x8002; the same with type 3.
  assert.equal(toHex(writer.take()), "0c00028005000100070000000c0003000500010007000000");
});

void test("a writer can be used again and gives copies", () => {
  const writer = new AttributeWriter();
  const first = writer.u32(1, 0xffffffff).take();
  const second = writer.u8(1, 1).take();
  assert.equal(toHex(first), "08000100ffffffff");
  assert.equal(toHex(second), "0500010001000000", "padding is zero also where other bytes were before");
});

void test("what has no room in 16 bits of length is refused", () => {
  assert.throws(() => new AttributeWriter().bytes(1, new Uint8Array(65_532)), RangeError);
  const halves = (writer: AttributeWriter): void => {
    writer.bytes(1, new Uint8Array(40_000)).bytes(2, new Uint8Array(40_000));
  };
  assert.throws(() => new AttributeWriter().nested(1, halves), RangeError);
});

void test("a list keeps order and repeated types; a map keeps the last", () => {
  const bytes = buildBody(new Uint8Array(), (writer) => writer.u8(1, 1).u8(1, 2).u8(2, 3));
  assert.deepEqual(
    parseAttributeList(bytes).map(({ type, value }) => [type, value[0]]),
    [
      [1, 1],
      [1, 2],
      [2, 3],
    ],
  );
  assert.deepEqual(parseAttributes(bytes).get(1), Uint8Array.of(2));
});

void test("any attributes read back as they were written", () => {
  const attribute = fc.record(
    { type: fc.integer({ min: 0, max: 0x3fff }), value: fc.uint8Array({ maxLength: 70 }) },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(fc.array(attribute), (attributes) => {
      const bytes = buildBody(new Uint8Array(), (writer) => {
        for (const { type, value } of attributes) writer.bytes(type, value);
      });
      assert.deepEqual(parseAttributeList(bytes), attributes);
    }),
  );
});

void test("any bytes give attributes or a NetlinkFormatError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        for (const { value } of parseAttributeList(bytes)) parseAttributeList(value);
      } catch (error) {
        assert.ok(error instanceof NetlinkFormatError, String(error));
      }
    }),
  );
});

void test("values that are too short are refused", () => {
  const short = new Uint8Array();
  for (const read of [readU8, readU16, readU32, readI32, readU64, readBe16, readBe32, readBe64])
    assert.throws(() => read(short), NetlinkFormatError);
});
