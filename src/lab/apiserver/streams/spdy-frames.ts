// Frames of SPDY/3.1: bytes to values and back. Header blocks stay bytes here (spdy-headers.ts). SPDY Protocol draft 3.1, 2.2 and 2.6.

export type SpdyFrame =
  | {
      readonly kind: "syn-stream";
      readonly stream: number;
      readonly fin: boolean;
      readonly unidirectional: boolean;
      readonly headers: Uint8Array;
    }
  | { readonly kind: "syn-reply"; readonly stream: number; readonly fin: boolean; readonly headers: Uint8Array }
  | { readonly kind: "rst-stream"; readonly stream: number; readonly status: number }
  | { readonly kind: "settings" }
  | { readonly kind: "ping"; readonly id: number }
  | { readonly kind: "goaway"; readonly lastStream: number; readonly status: number }
  | { readonly kind: "headers"; readonly stream: number; readonly fin: boolean; readonly headers: Uint8Array }
  | { readonly kind: "window-update"; readonly stream: number; readonly delta: number }
  /** A piece of a data frame: long ones are handed on as they come; `fin` is on the last piece only. */
  | { readonly kind: "data"; readonly stream: number; readonly fin: boolean; readonly bytes: Uint8Array };

/** Bytes that are no SPDY/3.1. */
export class SpdyFrameError extends Error {
  override readonly name = "SpdyFrameError";
}

/** RST_STREAM and GOAWAY status codes that we send or tell apart. */
export const spdyStatus = { protocolError: 1, refusedStream: 3, cancel: 5 } as const;

/** Cuts a byte stream into frames, however it was split. Throws SpdyFrameError. */
export function createFrameParser(): (bytes: Uint8Array) => SpdyFrame[] {
  let rest: Uint8Array = new Uint8Array();
  /** The data frame that is being handed on. */
  let data: { readonly stream: number; readonly fin: boolean; left: number } | undefined;
  return (bytes) => {
    const frames: SpdyFrame[] = [];
    let input = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    for (;;) {
      if (data !== undefined) {
        const piece = input.subarray(0, data.left);
        input = input.subarray(piece.length);
        data.left -= piece.length;
        const isLast = data.left === 0;
        if (piece.length > 0 || isLast)
          frames.push({ kind: "data", stream: data.stream, fin: data.fin && isLast, bytes: piece });
        if (!isLast) break;
        data = undefined;
      }
      if (input.length < headBytes) break;
      const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
      const first = view.getUint32(0);
      const flags = view.getUint8(4);
      const length = view.getUint32(4) & 0xff_ffff;
      // The top bit tells control frames from data.
      if (first < 0x8000_0000) {
        data = { stream: first, fin: (flags & flagFin) !== 0, left: length };
        input = input.subarray(headBytes);
        continue;
      }
      const version = (first >>> 16) & 0x7fff;
      if (version !== 3) throw new SpdyFrameError(`version ${version}, not 3`);
      if (length > controlBytesMax) throw new SpdyFrameError(`a control frame of ${length} bytes`);
      if (input.length < headBytes + length) break;
      const frame = parseControl(first & 0xffff, flags, input.subarray(headBytes, headBytes + length));
      if (frame !== undefined) frames.push(frame);
      input = input.subarray(headBytes + length);
    }
    rest = input;
    return frames;
  };
}

/** The bytes of a frame. */
export function formatFrame(frame: SpdyFrame): Uint8Array {
  switch (frame.kind) {
    case "data": {
      const head = Buffer.alloc(headBytes);
      head.writeUInt32BE(frame.stream & 0x7fff_ffff);
      head.writeUInt32BE((((frame.fin ? flagFin : 0) << 24) | frame.bytes.length) >>> 0, 4);
      return Buffer.concat([head, frame.bytes]);
    }
    case "syn-stream":
      return control(type.synStream, (frame.fin ? flagFin : 0) | (frame.unidirectional ? flagUnidirectional : 0), [
        uint32(frame.stream),
        // No associated stream, priority 0, no slot.
        uint32(0),
        Buffer.alloc(2),
        frame.headers,
      ]);
    case "syn-reply":
      return control(type.synReply, frame.fin ? flagFin : 0, [uint32(frame.stream), frame.headers]);
    case "headers":
      return control(type.headers, frame.fin ? flagFin : 0, [uint32(frame.stream), frame.headers]);
    case "rst-stream":
      return control(type.rstStream, 0, [uint32(frame.stream), uint32(frame.status)]);
    case "settings":
      return control(type.settings, 0, [uint32(0)]);
    case "ping":
      return control(type.ping, 0, [uint32(frame.id)]);
    case "goaway":
      return control(type.goaway, 0, [uint32(frame.lastStream), uint32(frame.status)]);
    case "window-update":
      return control(type.windowUpdate, 0, [uint32(frame.stream), uint32(frame.delta)]);
  }
}

const headBytes = 8;
/** Headers of streams are some hundred bytes; what a hostile client may make us keep is bounded by this. */
const controlBytesMax = 64 * 1024;
const flagFin = 0x01;
const flagUnidirectional = 0x02;
const type = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  headers: 8,
  windowUpdate: 9,
} as const;

/** Undefined for a type there is not: such frames are passed over (2.2.1). */
function parseControl(number: number, flags: number, body: Uint8Array): SpdyFrame | undefined {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const fin = (flags & flagFin) !== 0;
  const needs = (bytes: number): void => {
    if (body.length < bytes)
      throw new SpdyFrameError(`a frame of type ${number} with ${body.length} bytes, not ${bytes}`);
  };
  const id = (offset: number): number => view.getUint32(offset) & 0x7fff_ffff;
  switch (number) {
    case type.synStream:
      needs(10);
      return {
        kind: "syn-stream",
        stream: id(0),
        fin,
        unidirectional: (flags & flagUnidirectional) !== 0,
        headers: body.subarray(10),
      };
    case type.synReply:
      needs(4);
      return { kind: "syn-reply", stream: id(0), fin, headers: body.subarray(4) };
    case type.headers:
      needs(4);
      return { kind: "headers", stream: id(0), fin, headers: body.subarray(4) };
    case type.rstStream:
      needs(8);
      return { kind: "rst-stream", stream: id(0), status: view.getUint32(4) };
    case type.settings:
      return { kind: "settings" };
    case type.ping:
      needs(4);
      return { kind: "ping", id: view.getUint32(0) };
    case type.goaway:
      needs(8);
      return { kind: "goaway", lastStream: id(0), status: view.getUint32(4) };
    case type.windowUpdate:
      needs(8);
      return { kind: "window-update", stream: id(0), delta: id(4) };
    default:
      return undefined;
  }
}

function control(number: number, flags: number, parts: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(headBytes);
  head.writeUInt32BE((0x8003_0000 | number) >>> 0);
  head.writeUInt32BE(((flags << 24) | body.length) >>> 0, 4);
  return Buffer.concat([head, body]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}
