// What `ip`, `bridge` and `conntrack` send, beside what we send: captured with
//
//   strace -e trace=sendmsg,sendto -e write=all ip link add …
//
// and compared byte for byte. The sequence number is the captured one; the acknowledgement is what the socket always asks for.

import assert from "node:assert/strict";

import { decodeMessages, encodeMessages, flag, type NetlinkMessage, type NetlinkRequest } from "./message.ts";

/** Asserts that the request is what was captured. */
export function assertSent(request: NetlinkRequest, captured: string): void {
  const [message] = decodeMessages(fromHex(captured));
  assert.ok(message);
  const flags = request.flags | (message.flags & flag.ack);
  assert.equal(toHex(encodeMessages([{ ...request, flags }], message.sequence)), captured);
}

/** A message as a dump would give it. */
export function answer(type: number, body: Uint8Array, flags: number = 0): NetlinkMessage {
  return { type, flags, sequence: 1, port: 0, body };
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

export function fromHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}
