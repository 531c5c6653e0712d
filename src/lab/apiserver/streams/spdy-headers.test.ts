// Header blocks: ours are read by any zlib, theirs by us, in their order.

import assert from "node:assert/strict";
import { test } from "node:test";
import { constants, createDeflate, createInflate } from "node:zlib";
import * as fc from "fast-check";
import {
  createHeaderReader,
  createHeaderWriter,
  dictionary,
  formatHeaders,
  parseHeaders,
  SpdyHeaderError,
} from "./spdy-headers.ts";

test("the dictionary is the one of SPDY/3", () => {
  assert.equal(dictionary.length, 1423);
  // RFC 1950 8: Adler-32, whose value for this dictionary every SPDY implementation sends first.
  let [a, b] = [1, 0];
  for (const byte of dictionary) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  assert.equal(((b << 16) | a) >>> 0, 0xe3c6a7c2);
});

const anyHeaders = fc
  .dictionary(fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/), fc.string({ maxLength: 60 }), { maxKeys: 8 })
  .map((record) => new Map(Object.entries(record)));

test("a block without compression comes back", () => {
  fc.assert(fc.property(anyHeaders, (headers) => assert.deepEqual(parseHeaders(formatHeaders(headers)), headers)));
  assert.deepEqual(parseHeaders(formatHeaders(new Map([["StreamType", "error"]]))), new Map([["streamtype", "error"]]));
});

test("blocks of a real compressor are read, one after the other", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyHeaders, { maxLength: 5 }), async (blocks) => {
      const deflate = createDeflate({ dictionary, flush: constants.Z_SYNC_FLUSH });
      const reader = createHeaderReader();
      for (const headers of blocks) {
        const parts: Buffer[] = [];
        const collect = (part: Buffer): void => void parts.push(part);
        deflate.on("data", collect);
        await new Promise<void>((resolve) => void deflate.write(formatHeaders(headers), () => resolve()));
        deflate.off("data", collect);
        assert.deepEqual(await reader.read(Buffer.concat(parts)), headers);
      }
      reader.close();
    }),
    { numRuns: 30 },
  );
});

test("our blocks are read by a real decompressor, each as soon as it is there", async () => {
  const write = createHeaderWriter();
  const inflate = createInflate({ dictionary, flush: constants.Z_SYNC_FLUSH });
  for (const headers of [new Map(), new Map([["a", "b"]]), new Map([["long", "x".repeat(100_000)]])]) {
    const parts: Buffer[] = [];
    const collect = (part: Buffer): void => void parts.push(part);
    inflate.on("data", collect);
    await new Promise<void>((resolve) => void inflate.write(write(headers), () => resolve()));
    inflate.off("data", collect);
    assert.deepEqual(parseHeaders(Buffer.concat(parts)), headers);
  }
});

test("what is no header block is a SpdyHeaderError", async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        parseHeaders(bytes);
      } catch (error) {
        assert.ok(error instanceof SpdyHeaderError);
      }
    }),
  );
  const reader = createHeaderReader();
  await assert.rejects(reader.read(Buffer.from("no zlib at all")), SpdyHeaderError);
  await assert.rejects(reader.read(Buffer.from("nor here")), SpdyHeaderError);
});
