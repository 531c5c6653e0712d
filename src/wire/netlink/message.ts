// Netlink messages: the header every family shares, acknowledgements and errors (linux/netlink.h, RFC 3549).
// Bytes in, values out and back; no sockets (kernel/netlink-socket.ts) and no family's content (route.ts, conntrack.ts, nftables.ts).

import { NetlinkFormatError, align, forEachAttribute, readI32, readString, readU16, readU32 } from "./attributes.ts";

/** One message. `body` is what follows the 16 bytes of struct nlmsghdr: a family's header and attributes. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** The sender's port: 0 from the kernel itself, else the socket whose request caused the message. */
  readonly port: number;
  readonly body: Uint8Array;
}

/** A message to be sent; the socket gives it a sequence number and NLM_F_REQUEST. */
export interface NetlinkRequest {
  readonly type: number;
  /** NLM_F_* beyond NLM_F_REQUEST. */
  readonly flags: number;
  readonly body: Uint8Array;
}

/** What NLMSG_ERROR says: `errno` 0 is an acknowledgement. */
export interface Acknowledgement {
  /** Positive errno, or 0. */
  readonly errno: number;
  /** The kernel's own words (NLMSGERR_ATTR_MSG); warnings come with errno 0. */
  readonly text?: string;
  /** Where in the request the offending attribute starts, from the start of its header (NLMSGERR_ATTR_OFFS). */
  readonly offset?: number;
  /** Type of an attribute that was missing, and the offset of the nest it was missing in (0: none). */
  readonly missingType?: number;
  readonly missingNest?: number;
  /** The request's type, as the kernel quotes its header. */
  readonly requestType: number;
  readonly requestSequence: number;
}

/** linux/netlink.h: NLMSG_*, the message types below NLMSG_MIN_TYPE that every family shares. */
export const control = { noop: 1, error: 2, done: 3, overrun: 4 } as const;

/** linux/netlink.h: NLM_F_*. The same bits mean different things for GET, NEW, DELETE requests and for answers. */
export const flag = {
  request: 0x1,
  multi: 0x2,
  ack: 0x4,
  echo: 0x8,
  dumpInterrupted: 0x10,
  /** GET */
  root: 0x100,
  match: 0x200,
  dump: 0x300,
  /** NEW */
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
  append: 0x800,
  /** Acknowledgements */
  capped: 0x100,
  ackAttributes: 0x200,
} as const;

/** Bytes of struct nlmsghdr. */
export const messageHeaderBytes = 16;

/** Bytes one request takes, header and padding included. */
export function messageBytes(request: NetlinkRequest): number {
  return align(messageHeaderBytes + request.body.length);
}

/** The requests one after another, numbered from `firstSequence` on, ready for one sendmsg. */
export function encodeMessages(requests: readonly NetlinkRequest[], firstSequence: number): Uint8Array {
  let length = 0;
  for (const request of requests) length += messageBytes(request);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  let at = 0;
  let sequence = firstSequence;
  for (const request of requests) {
    // struct nlmsghdr: nlmsg_len (without padding), nlmsg_type, nlmsg_flags, nlmsg_seq, nlmsg_pid (0: the kernel fills it in).
    view.setUint32(at, messageHeaderBytes + request.body.length, true);
    view.setUint16(at + 4, request.type, true);
    view.setUint16(at + 6, request.flags | flag.request, true);
    view.setUint32(at + 8, sequence, true);
    bytes.set(request.body, at + messageHeaderBytes);
    at += messageBytes(request);
    sequence = (sequence + 1) >>> 0;
  }
  return bytes;
}

/** The messages of one datagram. Bodies are views of `bytes`. Throws NetlinkFormatError. */
export function decodeMessages(bytes: Uint8Array): NetlinkMessage[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const messages: NetlinkMessage[] = [];
  let at = 0;
  while (at + messageHeaderBytes <= bytes.length) {
    const length = view.getUint32(at, true);
    if (length < messageHeaderBytes || at + length > bytes.length)
      throw new NetlinkFormatError(`message at byte ${at} says ${length} bytes of ${bytes.length - at} left`);
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      port: view.getUint32(at + 12, true),
      body: bytes.subarray(at + messageHeaderBytes, at + length),
    });
    at += align(length);
  }
  if (at < bytes.length) throw new NetlinkFormatError(`${bytes.length - at} bytes after the last message`);
  return messages;
}

/** Reads an NLMSG_ERROR message, extended acknowledgement included. Throws NetlinkFormatError. */
export function decodeAcknowledgement(message: NetlinkMessage): Acknowledgement {
  const { body } = message;
  // struct nlmsgerr: the error, then the header of the request it answers.
  if (body.length < 4 + messageHeaderBytes)
    throw new NetlinkFormatError(`an acknowledgement of ${body.length} bytes; 20 are needed`);
  const errno = -readI32(body);
  const requestLength = readU32(body.subarray(4));
  const requestType = readU16(body.subarray(8));
  const requestSequence = readU32(body.subarray(12));
  const result = { errno: errno === 0 ? 0 : errno, requestType, requestSequence };
  if ((message.flags & flag.ackAttributes) === 0) return result;
  // The rest of the request is quoted only with an error and only where the socket does not cap it (NETLINK_CAP_ACK).
  const quoted = errno !== 0 && (message.flags & flag.capped) === 0;
  const start = 4 + (quoted ? align(requestLength) : messageHeaderBytes);
  return { ...result, ...extendedAcknowledgement(body, start) };
}

/** The errno (positive, 0 for a good end) and words that an NLMSG_DONE carries at the end of a dump. */
export function decodeDone(message: NetlinkMessage): Pick<Acknowledgement, "errno" | "text" | "offset"> {
  if (message.body.length < 4) return { errno: 0 };
  const errno = -readI32(message.body);
  const done = { errno: errno > 0 ? errno : 0 };
  if ((message.flags & flag.ackAttributes) === 0) return done;
  return { ...done, ...extendedAcknowledgement(message.body, 4) };
}

function extendedAcknowledgement(
  bytes: Uint8Array,
  start: number,
): Pick<Acknowledgement, "text" | "offset" | "missingType" | "missingNest"> {
  const found: { text?: string; offset?: number; missingType?: number; missingNest?: number } = {};
  // linux/netlink.h: NLMSGERR_ATTR_MSG 1, _OFFS 2, _COOKIE 3, _POLICY 4, _MISS_TYPE 5, _MISS_NEST 6.
  forEachAttribute(bytes, start, (type, value) => {
    if (type === 1) found.text = readString(value);
    if (type === 2) found.offset = readU32(value);
    if (type === 5) found.missingType = readU32(value);
    if (type === 6) found.missingNest = readU32(value);
  });
  return found;
}
