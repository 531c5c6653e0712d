// What the daemon inside and the helper outside say to each other, over a stream:
//
//   length  4 bytes, big-endian: of all that follows
//   kind    1 byte
//   number  4 bytes: which request; the answer carries the same
//   payload
//
// Later kinds (dial a TCP address, publish a port) have their numbers from 16 on; a side that meets a kind it does not know ends the stream.

import { parseAddress, type Address } from "../../ip/address.ts";

export const frameKinds = {
  /** To the helper: a DNS query. */
  resolve: 1,
  /** To the helper: a DNS query for a server that it names (buildQuestion). */
  ask: 4,
  /** Back: the response. */
  answer: 2,
  /** Back: why there is no response, as UTF-8. */
  failed: 3,
} as const;

export type FrameKind = (typeof frameKinds)[keyof typeof frameKinds];

/** A DNS query, and who is asked. */
export interface Question {
  readonly server: { readonly address: Address; readonly port: number };
  readonly query: Uint8Array;
}

/** The payload of `ask`: the port in 2 bytes, the length of the address in 1, the address as text, the query. */
export function buildQuestion({ server, query }: Question): Uint8Array {
  const address = Buffer.from(server.address, "latin1");
  const bytes = Buffer.alloc(3 + address.length + query.length);
  bytes.writeUInt16BE(server.port);
  bytes.writeUInt8(address.length, 2);
  bytes.set(address, 3);
  bytes.set(query, 3 + address.length);
  return bytes;
}

/** Throws RangeError where the payload is none. */
export function parseQuestion(payload: Uint8Array): Question {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  const end = 3 + bytes.readUInt8(2);
  const address = parseAddress(bytes.toString("latin1", 3, end));
  if (address === undefined) throw new RangeError("read a question for the helper outside: it names no address");
  return { server: { address, port: bytes.readUInt16BE(0) }, query: bytes.subarray(end) };
}

export interface Frame {
  readonly kind: FrameKind;
  readonly request: number;
  readonly payload: Uint8Array;
}

/** The bytes of a frame. */
export function buildFrame(frame: Frame): Uint8Array {
  const bytes = new Uint8Array(9 + frame.payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 5 + frame.payload.length);
  view.setUint8(4, frame.kind);
  view.setUint32(5, frame.request);
  bytes.set(frame.payload, 9);
  return bytes;
}

/** Cuts a stream of chunks into frames. The function given back throws RangeError where the stream cannot be one of ours. */
export function createFrameReader(onFrame: (frame: Frame) => void): (chunk: Uint8Array) => void {
  let unread: Uint8Array = new Uint8Array();
  return (chunk) => {
    unread = unread.length === 0 ? chunk : Buffer.concat([unread, chunk]);
    while (unread.length >= 4) {
      const view = new DataView(unread.buffer, unread.byteOffset, unread.byteLength);
      const length = view.getUint32(0);
      if (length < 5 || length > frameBytesMax)
        throw new RangeError(`read a frame of the helper outside: it has ${length} bytes`);
      if (unread.length < 4 + length) return;
      const kind = view.getUint8(4);
      if (!isFrameKind(kind)) throw new RangeError(`read a frame of the helper outside: its kind is ${kind}`);
      const payload = unread.slice(9, 4 + length);
      unread = unread.subarray(4 + length);
      onFrame({ kind, request: view.getUint32(5), payload });
    }
  };
}

/** A DNS message has 65,535 bytes at most. */
const frameBytesMax = 128 << 10;

function isFrameKind(kind: number): kind is FrameKind {
  return Object.values(frameKinds).some((known) => known === kind);
}
