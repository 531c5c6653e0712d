// Frames of one link, in and out (packet(7)): what a program needs that speaks ARP or Neighbour Discovery itself.
// A filter in the kernel decides what wakes it; libuv waits for the socket, so a quiet one costs nothing and keeps no process alive.
//
//   const socket = openPacketSocket(node, { link: 2, linkName: "eth0", wanted: { kind: "asked", protocol: "arp", about: [] }, came });
//   socket.want([...]); socket.send(frame);
//
// Not here: what is in the frames (wire/layer2).

import koffi from "koffi";

import { addressBytes, type Address } from "../ip/address.ts";
import type { Prefix } from "../ip/prefix.ts";
import { etherType } from "../wire/layer2/ethernet.ts";
import { encodeFilter, filterPrefixesMax, packetFilter, type Wanted } from "../wire/layer2/packet-filter.ts";
import { check, errno, libc } from "./ffi.ts";
import type { Closable } from "./kernel.ts";
import type { NetworkNamespace } from "./namespaces.ts";

export interface PacketSocket extends Closable {
  /** Listens for other addresses from now on. More than a filter holds: for `orElse`, or for any. */
  want(about: readonly Prefix[], orElse?: readonly Prefix[]): void;
  /** True where the link took it; false where it is down, gone or its queue full. */
  send(frame: Uint8Array): boolean;
  /** Takes what has arrived by now; for who must know before he calls it silence. */
  look(): void;
}

export interface PacketSocketOptions {
  /** The link's index. */
  readonly link: number;
  /** For messages. */
  readonly linkName: string;
  readonly wanted: Wanted;
  /** A frame came; the bytes are valid until it returns. */
  readonly came: (frame: Uint8Array) => void;
  /** All that had arrived has come: for who must not answer a frame before he knows what is behind it. */
  readonly caughtUp?: () => void;
  /** Frames beyond this many in `spanMs` wait in the kernel, and are lost where it has no room: the rest of the process has work, too. */
  readonly most?: { readonly frames: number; readonly spanMs: number };
}

/** Listens at once. Throws KernelError: EPERM without CAP_NET_RAW, ENODEV without the link. */
export function openPacketSocket(namespace: NetworkNamespace, options: PacketSocketOptions): PacketSocket {
  const { link, linkName, wanted, came, caughtUp, most = { frames: 500, spanMs: 250 } } = options;
  const doing = `listen for ${wanted.protocol} on ${linkName} in ${namespace.id}`;
  // Without a protocol nothing comes before the filter stands and the link is named.
  const opened = namespace.run(() => socket(AF_PACKET, SOCK_RAW | SOCK_FLAGS, 0));
  const fd = check(doing, opened, "it needs CAP_NET_RAW");
  const done = (result: number): void => {
    if (result < 0) close(fd);
    check(doing, result);
  };
  /** The closest that the kernel has room for (net.core.optmem_max): what else wakes us is looked at and left. */
  const listenFor = (about: readonly Prefix[], orElse: readonly Prefix[] = []): number => {
    const any: readonly Prefix[] = [wanted.protocol === "arp" ? "0.0.0.0/0" : "::/0"];
    let result = -errno.ENOMEM;
    for (const list of [about, ...(orElse.length > 0 ? [orElse] : []), any])
      if (result === -errno.ENOMEM && list.length <= filterPrefixesMax[wanted.protocol])
        result = attach(fd, packetFilter({ ...wanted, about: list }));
    return result;
  };
  done(listenFor(wanted.about));
  // A flood is to fill little memory; what is wanted is a handful of small frames.
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, int32(256 * 1024), 4);
  const address = linkAddress(link, etherType[wanted.protocol]);
  done(bind(fd, address, address.length));

  const buffer = new Uint8Array(frameBytesMax);
  let isOpen = true;
  let spanEndsMs = 0;
  let left = 0;
  let poll: ReturnType<typeof koffi.node.poll> | undefined;
  let rest: NodeJS.Timeout | undefined;
  const look = (): void => {
    const now = performance.now();
    if (now >= spanEndsMs) {
      spanEndsMs = now + most.spanMs;
      left = most.frames;
    }
    for (; left > 0 && isOpen; left--) {
      const length = recv(fd, buffer, buffer.length, 0);
      if (length === -errno.EAGAIN) return caughtUp?.();
      // ENETDOWN, told once when the link was set down. libuv has stopped waiting then (uv__poll_io on POLLERR), and is to go on.
      if (length < 0) {
        if (rest === undefined) listen();
        return;
      }
      came(buffer.subarray(0, length));
    }
    if (!isOpen || rest !== undefined) return;
    poll?.close();
    poll = undefined;
    rest = setTimeout(
      () => {
        rest = undefined;
        listen();
      },
      Math.max(1, spanEndsMs - now),
    );
    rest.unref();
  };
  const listen = (): void => {
    poll?.close();
    poll = koffi.node.poll(fd, { readable: true }, () => {
      look();
      // What a caller promised itself goes on now, and not with the event loop's next work: koffi's callbacks drain no microtasks.
      setImmediate(() => {});
    });
    poll.unref();
  };
  listen();
  return {
    look,
    want(about, orElse) {
      check(doing, listenFor(about, orElse));
    },
    send: (frame) => send(fd, frame, frame.length, MSG_DONTWAIT) === frame.length,
    close() {
      if (!isOpen) return;
      isOpen = false;
      clearTimeout(rest);
      poll?.close();
      close(fd);
    },
  };
}

/**
 * Member of these IPv6 groups on a link until closed, so that switches that listen for members (MLD) and the card let their frames
 * through. Gives those that could not be joined.
 */
export function joinGroups(
  namespace: NetworkNamespace,
  link: number,
  groups: readonly Address[],
): Closable & { readonly refused: readonly Address[] } {
  const sockets: number[] = [];
  const refused: Address[] = [];
  const open = (): number => {
    const fd = namespace.run(() => socket(AF_INET6, SOCK_DGRAM | SOCK_FLAGS, 0));
    if (fd >= 0) sockets.push(fd);
    return fd;
  };
  let fd = groups.length === 0 ? -1 : open();
  for (const group of groups) {
    let result = join(fd, link, group);
    // One socket holds as many as net.core.optmem_max lets it.
    if (result === -errno.ENOBUFS || result === -errno.ENOMEM) {
      fd = open();
      result = join(fd, link, group);
    }
    if (result < 0) refused.push(group);
  }
  return {
    refused,
    close() {
      for (const each of sockets.splice(0)) close(each);
    },
  };
}

// Frames that come in are ARP's 42 (60 with padding) or Neighbour Discovery's 86, and a few options.
const frameBytesMax = 2048;

const AF_INET6 = 10;
const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
// SOCK_CLOEXEC | SOCK_NONBLOCK
const SOCK_FLAGS = 0x80000 | 0x800;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_ATTACH_FILTER = 26;
const IPPROTO_IPV6 = 41;
// linux/in6.h: IPV6_ADD_MEMBERSHIP, also called IPV6_JOIN_GROUP.
const IPV6_ADD_MEMBERSHIP = 20;
const MSG_DONTWAIT = 0x40;

const socket = libc("int socket(int domain, int type, int protocol)");
const bind = libc("int bind(int fd, const void *address, socklen_t length)");
const recv = libc("ssize_t recv(int fd, void *bytes, size_t length, int flags)");
const send = libc("ssize_t send(int fd, const void *bytes, size_t length, int flags)");
const setsockopt = libc("int setsockopt(int fd, int level, int option, const void *value, socklen_t length)");
const close = libc("int close(int fd)");

/** struct sockaddr_ll, 20 bytes: sll_family, sll_protocol (network order), sll_ifindex, and nothing more to bind by. */
function linkAddress(link: number, type: number): Uint8Array {
  const bytes = new Uint8Array(20);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, type);
  view.setInt32(4, link, true);
  return bytes;
}

/** struct sock_fprog (the number of instructions, padding, where they are), and the instructions behind it. */
function attach(fd: number, program: ReturnType<typeof packetFilter>): number {
  const instructions = encodeFilter(program);
  // An ArrayBuffer made as such stays where it is.
  const bytes = new Uint8Array(new ArrayBuffer(16 + instructions.length));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, program.length, true);
  view.setBigUint64(8, koffi.address(bytes) + 16n, true);
  bytes.set(instructions, 16);
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, bytes, 16);
}

/** struct ipv6_mreq: the group and the link. */
function join(fd: number, link: number, group: Address): number {
  const bytes = new Uint8Array(20);
  bytes.set(addressBytes(group));
  new DataView(bytes.buffer).setInt32(16, link, true);
  return setsockopt(fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, bytes, bytes.length);
}

function int32(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer);
}
