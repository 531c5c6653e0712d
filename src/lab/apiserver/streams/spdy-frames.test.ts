// SPDY frames: bytes both ways, however they are cut, and whatever they are.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { createFrameParser, formatFrame, SpdyFrameError, type SpdyFrame } from "./spdy-frames.ts";

const hex = (frame: SpdyFrame): string => Buffer.from(formatFrame(frame)).toString("hex");

test("bytes as SPDY Protocol draft 3.1 draws them", () => {
  // 2.6.1 SYN_STREAM: version 3, type 1, FIN, length 10 + 2, stream 1, no associated stream, priority and slot 0, headers.
  assert.equal(
    hex({ kind: "syn-stream", stream: 1, fin: true, unidirectional: false, headers: Uint8Array.of(0xaa, 0xbb) }),
    "800300010100000c00000001000000000000aabb",
  );
  // 2.6.2 SYN_REPLY
  assert.equal(
    hex({ kind: "syn-reply", stream: 3, fin: false, headers: new Uint8Array() }),
    "800300020000000400000003",
  );
  // 2.6.3 RST_STREAM with CANCEL
  assert.equal(hex({ kind: "rst-stream", stream: 3, status: 5 }), "80030003000000080000000300000005");
  // 2.6.5 PING
  assert.equal(hex({ kind: "ping", id: 7 }), "800300060000000400000007");
  // 2.6.6 GOAWAY
  assert.equal(hex({ kind: "goaway", lastStream: 9, status: 0 }), "80030007000000080000000900000000");
  // 2.6.8 WINDOW_UPDATE
  assert.equal(hex({ kind: "window-update", stream: 1, delta: 65536 }), "80030009000000080000000100010000");
  // 2.2.2 data with FIN
  assert.equal(hex({ kind: "data", stream: 5, fin: true, bytes: Buffer.from("hi") }), "00000005010000026869");
});

const stream = fc.integer({ min: 1, max: 0x7fff_ffff });
const bytes = fc.uint8Array({ maxLength: 40 });
const anyFrame: fc.Arbitrary<SpdyFrame> = fc.oneof(
  fc.record({
    kind: fc.constant("syn-stream" as const),
    stream,
    fin: fc.boolean(),
    unidirectional: fc.boolean(),
    headers: bytes,
  }),
  fc.record({ kind: fc.constant("syn-reply" as const), stream, fin: fc.boolean(), headers: bytes }),
  fc.record({ kind: fc.constant("headers" as const), stream, fin: fc.boolean(), headers: bytes }),
  fc.record({ kind: fc.constant("rst-stream" as const), stream, status: fc.nat(20) }),
  fc.record({ kind: fc.constant("settings" as const) }),
  fc.record({ kind: fc.constant("ping" as const), id: fc.integer({ min: 0, max: 0xffff_ffff }) }),
  fc.record({ kind: fc.constant("goaway" as const), lastStream: stream, status: fc.nat(3) }),
  fc.record({ kind: fc.constant("window-update" as const), stream, delta: stream }),
  fc.record({ kind: fc.constant("data" as const), stream, fin: fc.boolean(), bytes }),
);

/** Frames that can be compared: byte arrays as hex. */
function plain(frames: readonly SpdyFrame[]): unknown[] {
  return frames.map((frame) => ({
    ...frame,
    ...("headers" in frame && { headers: Buffer.from(frame.headers).toString("hex") }),
    ...("bytes" in frame && { bytes: Buffer.from(frame.bytes).toString("hex") }),
  }));
}

test("what is written is read again, however the bytes are cut", () => {
  fc.assert(
    fc.property(
      fc.array(anyFrame, { maxLength: 6 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 30 })),
      (frames, cuts) => {
        const text = Buffer.concat(frames.map(formatFrame));
        const parse = createFrameParser();
        const read: SpdyFrame[] = [];
        const sizes = cuts[Symbol.iterator]();
        for (let at = 0; at < text.length;) {
          const size = sizes.next().value as number;
          read.push(...parse(text.subarray(at, at + size)));
          at += size;
        }
        const dataLengths = frames.flatMap((frame) => (frame.kind === "data" ? [frame.bytes.length] : []));
        const pieces = read.filter((frame) => frame.kind === "data");
        assert.equal(
          pieces.reduce((sum, piece) => sum + piece.bytes.length, 0),
          dataLengths.reduce((sum, length) => sum + length, 0),
        );
        // Whole at once, the frames themselves come back.
        assert.deepEqual(plain(createFrameParser()(text)), plain(frames));
        assert.deepEqual(
          read.filter(({ kind }) => kind !== "data").map((frame) => hex(frame)),
          frames.filter(({ kind }) => kind !== "data").map((frame) => hex(frame)),
        );
        assert.deepEqual(
          pieces.filter(({ fin }) => fin).length,
          frames.filter((frame) => frame.kind === "data" && frame.fin).length,
        );
      },
    ),
  );
});

test("any bytes are frames or a SpdyFrameError", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 5 }), (chunks) => {
      const parse = createFrameParser();
      try {
        for (const chunk of chunks) parse(chunk);
      } catch (error) {
        assert.ok(error instanceof SpdyFrameError);
      }
    }),
  );
});

test("control frames are bounded, long data is handed on in pieces", () => {
  const parse = createFrameParser();
  assert.throws(() => parse(Buffer.from("8003000100ffffff", "hex")), /a control frame of 16777215 bytes/);
  assert.throws(() => createFrameParser()(Buffer.from("8002000100000000", "hex")), /version 2, not 3/);
  const data = createFrameParser();
  assert.deepEqual(data(Buffer.from("0000000101ffffff", "hex")), []);
  const [piece] = data(Buffer.alloc(100));
  assert.equal(piece?.kind === "data" && piece.bytes.length, 100);
  assert.equal(piece?.kind === "data" && piece.fin, false);
});
