// A UDP server socket that takes and sends datagrams by the batch: one recvmmsg and one sendmmsg for up to 64 of them.
// It waits in the event loop like any other socket (libuv's poll, readable.ts), so an idle one costs nothing and none needs a thread.
// A reply leaves from the address that was asked, also where the socket is bound to every address (IP_PKTINFO, IPV6_PKTINFO).
//
//   const socket = serveUdp(pod, { port: 53 }, (datagram) => datagram.reply(answer(datagram.bytes)));
//
// Invariant: the buffers are shared by all sockets of the process. A datagram's views are valid until its handler returns.
// Not here: sockets to ask with (sockets.ts gives their descriptors to node:dgram).

import { randomInt } from "node:crypto";

import koffi from "koffi";

import { addressFromBytes, type Address } from "../ip/address.ts";
import { check, errno, libc } from "./ffi.ts";
import type { NetworkNamespace } from "./namespaces.ts";
import { whenReadable } from "./readable.ts";
import { createShares } from "./udp-shares.ts";
import { bindUdpFd, type SocketAddress } from "./sockets.ts";

/** A bound socket being served. */
export interface UdpServer {
  /** The port it got, where 0 was asked. */
  readonly port: number;
  /** Datagrams that were not handled, because their sender had more than its share (udp-shares.ts). */
  dropped(): number;
  /** Datagrams that could not be sent: the network was gone or its queue full. UDP clients ask again. */
  unsent(): number;
  close(): void;
}

/** A datagram that came in. One value is used for all of them: take what you need before the handler returns. */
export interface Datagram {
  /** What came; at most `datagramBytesMax`. */
  bytes: Uint8Array;
  /** Did more come than fitted? */
  cut: boolean;
  /** Room for a reply: write here and `send` the length, which saves a copy. */
  room: Uint8Array;
  /** Sends the first `length` bytes of `room` to where the datagram came from, when the batch is through. */
  send(length: number): void;
  /** A function that sends a reply later (once or more), for answers that take time. Does nothing after `close`. */
  later(): (reply: Uint8Array) => void;
  /** The sender's family; cheaper than asking for `source`. */
  family: 4 | 6;
  /** Who sent it. */
  source(): { readonly address: Address; readonly port: number };
}

/** The largest datagram that is taken whole, and the room for a reply. */
export const datagramBytesMax = 4096;

/** A datagram by places in one block of bytes. */
export interface QuickDatagram {
  readonly bytes: Uint8Array;
  /** It is `bytes[at … at + length)`. */
  readonly at: number;
  readonly length: number;
  /** The reply goes here, and has `datagramBytesMax` bytes at most. */
  readonly room: number;
  readonly family: 4 | 6;
  /** Where the sender's `struct sockaddr` is (source-address.ts). */
  readonly source: number;
}

/** Answers what it can without a Datagram being made. Must not throw. */
export interface QuickAnswers {
  /** Before the datagrams of a batch. */
  begin(): void;
  /** Answers a datagram; gives the reply's length, 0: that is for `handle`. One value is used for all. */
  answer(datagram: QuickDatagram): number;
  /** When the replies have left. */
  end(): void;
}

/** Serves a UDP socket made inside the namespace. `handle` must not throw. Throws KernelError (EADDRINUSE …). */
export function serveUdp(
  namespace: NetworkNamespace,
  address: SocketAddress & { readonly sharing?: true },
  handle: (datagram: Datagram) => void,
  quick?: QuickAnswers,
): UdpServer {
  const { fd, port } = openUdp(namespace, address);
  return serveFd(fd, port, handle, quick);
}

/** A socket to be served, in this thread or another (`serveFd`). Throws KernelError (EADDRINUSE …). */
export function openUdp(
  namespace: NetworkNamespace,
  address: SocketAddress & { readonly sharing?: true },
): { readonly fd: number; readonly port: number } {
  const fd = bindUdpFd(namespace, address);
  try {
    const local = localAddress(fd);
    if (local.isAny) askForDestination(fd, local.family);
    // A burst must fit: the default holds about 250 small datagrams. The kernel lowers it to net.core.rmem_max.
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, int32(4 << 20), 4);
    return { fd, port: local.port };
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** Closes a socket that nobody serves (any more). */
export function closeUdp(fd: number): void {
  close(fd);
}

/** Serves what `openUdp` gave; closing the server closes the socket. */
export function serveFd(
  fd: number,
  port: number,
  handle: (datagram: Datagram) => void,
  quick: QuickAnswers | undefined,
): UdpServer {
  const state = { open: true, unsent: 0 };
  const shares = createShares(randomInt(2 ** 32));
  let slot = 0;
  let queued = 0;
  let isLater = false;
  const datagram: Datagram = {
    bytes: new Uint8Array(),
    cut: false,
    family: 4,
    room: new Uint8Array(),
    send(length) {
      putReply(slot, queued++, length);
    },
    later() {
      isLater = true;
      const reply = copyReplyAddress(slot);
      return (bytes) => {
        if (state.open && !sendOne(fd, reply, bytes)) state.unsent++;
      };
    },
    source: () => sourceOf(slot),
  };
  const turn = (): void => {
    takeBatches();
    // It is called from outside of Node's own callbacks, behind which promises are settled: what `handle` began would stand still until the
    // next event of another kind.
    if (isLater) setImmediate(nothing);
    isLater = false;
  };
  const takeBatches = (): void => {
    // A few batches, then others get their turn; the event loop comes back as long as there is more.
    for (let round = 0; round < roundsMax && state.open; round++) {
      const count = receive(fd);
      queued = 0;
      shares.batch(count === batchMax);
      quick?.begin();
      for (slot = 0; slot < count && state.open; slot++) {
        if (shares.limited && !shares.takes(clientOf(slot))) continue;
        const reply = quick === undefined ? 0 : answerSlot(slot, quick);
        if (reply > 0) {
          putReply(slot, queued++, reply);
          continue;
        }
        openSlot(slot, datagram);
        handle(datagram);
      }
      if (state.open) state.unsent += queued - send(fd, queued);
      quick?.end();
      if (count < batchMax) return;
    }
  };
  const poll = whenReadable(fd, turn);
  return {
    port,
    dropped: () => shares.dropped,
    unsent: () => state.unsent,
    close() {
      if (!state.open) return;
      state.open = false;
      poll.close();
      close(fd);
    },
  };
}

function nothing(): void {}

/** One system call takes and sends so many. More than 64 gains nothing measurable. */
const batchMax = 64;
const roundsMax = 4;

// The arena: struct mmsghdr arrays, their iovecs, addresses, control buffers and data, at fixed places in one block.
// Layouts are LP64's (x64 and arm64), little-endian. asm-generic/socket.h, bits/socket.h:
//   struct mmsghdr { struct msghdr { void *name; u32 namelen; void *iov; u64 iovlen; void *control; u64 controllen; int flags; }; u32 len; }
const headerBytes = 64;
const iovecBytes = 16;
// struct sockaddr_in6 is the largest, 28.
const addressRoom = 32;
// CMSG_SPACE(sizeof(struct in6_pktinfo)) = 16 + 24.
const controlRoom = 40;

interface Arena {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The same in words of four bytes, for what every datagram needs. */
  readonly words: Uint32Array;
  readonly base: bigint;
  /** Whose reply each entry of the next sendmmsg points at; -1 at first. */
  readonly pointed: Int32Array;
  /** Where the headers are, for system calls: a number is passed for less than a view, and has room for an address's 47 bits. */
  readonly sendAt: number;
  readonly receiveAt: number;
  /** Headers of so many slots were written by the kernel. */
  dirty: number;
  readonly received: Uint8Array;
  readonly replies: Uint8Array;
  /** A view on each slot's room for a reply. */
  readonly rooms: readonly Uint8Array[];
  readonly quick: { -readonly [Field in keyof QuickDatagram]: QuickDatagram[Field] };
}

// Offsets of the arena's parts.
const receiveHeaders = 0;
const sendHeaders = receiveHeaders + batchMax * headerBytes;
const receiveVectors = sendHeaders + batchMax * headerBytes;
const sendVectors = receiveVectors + batchMax * iovecBytes;
const addresses = sendVectors + batchMax * iovecBytes;
const controls = addresses + batchMax * addressRoom;
const receivedData = controls + batchMax * controlRoom;
const replyData = receivedData + batchMax * datagramBytesMax;
const arenaBytes = replyData + batchMax * datagramBytesMax;

let arena: Arena | undefined;

function theArena(): Arena {
  return (arena ??= createArena());
}

function createArena(): Arena {
  const bytes = new Uint8Array(new ArrayBuffer(arenaBytes));
  const view = new DataView(bytes.buffer);
  const base = koffi.address(bytes);
  const room = (slot: number): Uint8Array =>
    bytes.subarray(replyData + slot * datagramBytesMax, replyData + (slot + 1) * datagramBytesMax);
  for (let slot = 0; slot < batchMax; slot++) {
    const header = receiveHeaders + slot * headerBytes;
    view.setBigUint64(header, base + BigInt(addresses + slot * addressRoom), true);
    view.setBigUint64(header + 16, base + BigInt(receiveVectors + slot * iovecBytes), true);
    view.setBigUint64(header + 24, 1n, true);
    view.setBigUint64(header + 32, base + BigInt(controls + slot * controlRoom), true);
    const vector = receiveVectors + slot * iovecBytes;
    view.setBigUint64(vector, base + BigInt(receivedData + slot * datagramBytesMax), true);
    view.setBigUint64(vector + 8, BigInt(datagramBytesMax), true);
    view.setBigUint64(sendHeaders + slot * headerBytes + 24, 1n, true);
  }
  return {
    bytes,
    view,
    words: new Uint32Array(bytes.buffer),
    base,
    pointed: new Int32Array(batchMax).fill(-1),
    sendAt: Number(base) + sendHeaders,
    receiveAt: Number(base) + receiveHeaders,
    dirty: batchMax,
    received: bytes.subarray(receivedData, replyData),
    replies: bytes.subarray(replyData),
    rooms: Array.from({ length: batchMax }, (_, slot) => room(slot)),
    quick: { bytes, at: 0, length: 0, room: 0, family: 4, source: 0 },
  };
}

/** Takes what is there, at most a batch. */
function receive(fd: number): number {
  const arena = theArena();
  const { words, receiveAt } = arena;
  for (let slot = 0; slot < arena.dirty; slot++) {
    const header = (receiveHeaders + slot * headerBytes) >> 2;
    words[header + 2] = addressRoom;
    words[header + 10] = controlRoom;
    words[header + 12] = 0;
  }
  for (;;) {
    const count = recvmmsg(fd, receiveAt, batchMax, MSG_DONTWAIT, 0);
    if (count === -errno.EINTR) continue;
    // The one behind may have been begun.
    arena.dirty = Math.min(Math.max(count, 0) + 1, batchMax);
    return Math.max(count, 0);
  }
}

/** What was cut off is for `handle`. */
function answerSlot(slot: number, quick: QuickAnswers): number {
  const { words, quick: datagram } = theArena();
  const header = (receiveHeaders + slot * headerBytes) >> 2;
  if (((words[header + 12] as number) & MSG_TRUNC) !== 0) return 0;
  const offset = slot * datagramBytesMax;
  datagram.at = receivedData + offset;
  datagram.length = words[header + 14] as number;
  datagram.room = replyData + offset;
  datagram.family = familyOfSlot(slot);
  datagram.source = addresses + slot * addressRoom;
  return quick.answer(datagram);
}

function familyOfSlot(slot: number): 4 | 6 {
  return theArena().bytes[addresses + slot * addressRoom] === AF_INET || isMapped(slot) ? 4 : 6;
}

function openSlot(slot: number, datagram: Datagram): void {
  const { view, received, rooms } = theArena();
  const header = receiveHeaders + slot * headerBytes;
  const start = slot * datagramBytesMax;
  datagram.bytes = received.subarray(start, start + view.getUint32(header + 56, true));
  datagram.cut = (view.getUint32(header + 48, true) & MSG_TRUNC) !== 0;
  datagram.room = rooms[slot] ?? datagram.room;
  datagram.family = familyOfSlot(slot);
}

/** Is the sender's address ::ffff:a.b.c.d, an IPv4 client of a socket for both families? */
function isMapped(slot: number): boolean {
  const { words } = theArena();
  const at = (addresses + slot * addressRoom + 8) >> 2;
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === 0xffff0000;
}

/** The sender's address as a number: the same for the same one. */
function clientOf(slot: number): number {
  const { bytes, view } = theArena();
  const at = addresses + slot * addressRoom;
  if (bytes[at] === AF_INET) return view.getUint32(at + 4, true);
  return (
    view.getUint32(at + 8, true) ^
    Math.imul(view.getUint32(at + 12, true), 3) ^
    Math.imul(view.getUint32(at + 16, true), 5) ^
    Math.imul(view.getUint32(at + 20, true), 7)
  );
}

/** Makes entry `index` of the next sendmmsg the reply to the datagram in `slot`. */
function putReply(slot: number, index: number, length: number): void {
  const { words, pointed } = theArena();
  if (pointed[index] !== slot) pointAt(slot, index);
  const from = (receiveHeaders + slot * headerBytes) >> 2;
  const to = (sendHeaders + index * headerBytes) >> 2;
  words[to + 2] = words[from + 2] as number;
  words[(sendVectors + index * iovecBytes + 8) >> 2] = length;
  words[to + 10] = replyControl(slot);
  words[to + 12] = 0;
}

/** Nearly always every datagram of a batch has its reply, so an entry points at the same slot for ever. */
function pointAt(slot: number, index: number): void {
  const { view, base, pointed } = theArena();
  pointed[index] = slot;
  const to = sendHeaders + index * headerBytes;
  const vector = sendVectors + index * iovecBytes;
  view.setBigUint64(to, base + BigInt(addresses + slot * addressRoom), true);
  view.setBigUint64(to + 16, base + BigInt(vector), true);
  view.setBigUint64(vector, base + BigInt(replyData + slot * datagramBytesMax), true);
  view.setBigUint64(vector + 8, 0n, true);
  view.setBigUint64(to + 32, base + BigInt(controls + slot * controlRoom), true);
  // The length's upper half stays 0.
  view.setBigUint64(to + 40, 0n, true);
}

/**
 * Turns the control message that came (where the datagram was sent to) into one that says where the reply comes from; gives its length.
 * ip(7): of in_pktinfo the kernel reads ipi_spec_dst as the source; ipv6(7): ipi6_addr. The interface is left to the routes, except for
 * link-local addresses, which mean nothing without.
 */
function replyControl(slot: number): number {
  const { bytes, words } = theArena();
  const at = controls + slot * controlRoom;
  const word = at >> 2;
  const length = words[(receiveHeaders + slot * headerBytes + 40) >> 2] as number;
  if (length === 0) return 0;
  if (words[word + 2] === IPPROTO_IP) {
    // struct in_pktinfo { int ifindex; in_addr spec_dst; in_addr addr; }: spec_dst is the local address of the datagram already.
    words[word + 4] = 0;
    return length;
  }
  // struct in6_pktinfo { in6_addr addr; unsigned ifindex; }
  const linkLocal = bytes[at + 16] === 0xfe && ((bytes[at + 17] ?? 0) & 0xc0) === 0x80;
  if (!linkLocal) words[word + 8] = 0;
  return length;
}

/** Sends the first `count` queued replies; gives how many left. */
function send(fd: number, count: number): number {
  const { sendAt } = theArena();
  let done = 0;
  let sent = 0;
  while (done < count) {
    const result = sendmmsg(fd, sendAt + done * headerBytes, count - done, MSG_DONTWAIT);
    if (result === -errno.EINTR) continue;
    if (result === -errno.EAGAIN) break;
    // The first one failed (its destination is unreachable, say): the others need not suffer.
    sent += Math.max(result, 0);
    done += Math.max(result, 1);
  }
  return sent;
}

interface ReplyAddress {
  readonly address: Uint8Array;
  readonly control: Uint8Array;
}

function copyReplyAddress(slot: number): ReplyAddress {
  const { bytes, view } = theArena();
  const address = addresses + slot * addressRoom;
  const control = controls + slot * controlRoom;
  const controlLength = replyControl(slot);
  return {
    address: pinned(bytes.subarray(address, address + view.getUint32(receiveHeaders + slot * headerBytes + 8, true))),
    control: pinned(bytes.subarray(control, control + controlLength)),
  };
}

// V8 may keep small arrays where its collector moves them; memory of an ArrayBuffer made as such stays where it is.
function pinned(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new ArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

// Its own header, for it may run while a batch is being handled.
const single = new Uint8Array(new ArrayBuffer(headerBytes + iovecBytes));

function sendOne(fd: number, reply: ReplyAddress, bytes: Uint8Array): boolean {
  const view = new DataView(single.buffer);
  const at = koffi.address(single);
  view.setBigUint64(0, koffi.address(reply.address), true);
  view.setUint32(8, reply.address.length, true);
  view.setBigUint64(16, at + BigInt(headerBytes), true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, reply.control.length === 0 ? 0n : koffi.address(reply.control), true);
  view.setBigUint64(40, BigInt(reply.control.length), true);
  view.setBigUint64(headerBytes, koffi.address(bytes), true);
  view.setBigUint64(headerBytes + 8, BigInt(bytes.length), true);
  return sendmmsg(fd, Number(at), 1, MSG_DONTWAIT) === 1;
}

function sourceOf(slot: number): { readonly address: Address; readonly port: number } {
  return readSocketAddress(theArena().bytes.subarray(addresses + slot * addressRoom));
}

// struct sockaddr_in, sockaddr_in6; an IPv4-mapped address is the IPv4 address of a client of a socket for both families.
function readSocketAddress(bytes: Uint8Array): { readonly address: Address; readonly port: number } {
  const port = ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0);
  if (bytes[0] === AF_INET) return { address: addressFromBytes(bytes.slice(4, 8)), port };
  const address = addressFromBytes(bytes.slice(8, 24));
  return { address: address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address, port };
}

/** `isAny`: bound to no address of its own, or to one that means nothing without its interface, so replies must say where they come from. */
function localAddress(fd: number): { readonly family: 4 | 6; readonly port: number; readonly isAny: boolean } {
  const bytes = new Uint8Array(addressRoom);
  const length = new Uint8Array(Uint32Array.of(bytes.length).buffer);
  check("read a socket's own address", getsockname(fd, bytes, length));
  const family = bytes[0] === AF_INET ? 4 : 6;
  const address = family === 4 ? bytes.subarray(4, 8) : bytes.subarray(8, 24);
  const isLinkLocal = family === 6 && address[0] === 0xfe && ((address[1] ?? 0) & 0xc0) === 0x80;
  const isAny = isLinkLocal || address.every((byte) => byte === 0);
  return { family, port: ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0), isAny };
}

// A socket for both families gives IPv4 destinations as IPv4-mapped in6_pktinfo, and takes them back so.
function askForDestination(fd: number, family: 4 | 6): void {
  const [level, option] = family === 4 ? [IPPROTO_IP, IP_PKTINFO] : [IPPROTO_IPV6, IPV6_RECVPKTINFO];
  check("ask for destination addresses on a UDP socket", setsockopt(fd, level, option, int32(1), 4));
}

function int32(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer);
}

const AF_INET = 2;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const IPPROTO_IP = 0;
const IPPROTO_IPV6 = 41;
const IP_PKTINFO = 8;
const IPV6_RECVPKTINFO = 49;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;

const recvmmsg = libc("int recvmmsg(int fd, uint64_t messages, uint count, int flags, uint64_t timeout)");
const sendmmsg = libc("int sendmmsg(int fd, uint64_t messages, uint count, int flags)");
const getsockname = libc("int getsockname(int fd, void *address, void *length)");
const setsockopt = libc("int setsockopt(int fd, int level, int option, const void *value, socklen_t length)");
const close = libc("int close(int fd)");
