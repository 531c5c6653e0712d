// SCTP without a kernel's SCTP: the first message of an association (RFC 9260 3.3.2, INIT) sent by raw sockets, and who got it. Policies and
// conntrack see what they would see of a real one.

import koffi from "koffi";

import { familyOf, type Address, type Family } from "../../src/ip/address.ts";
import { check, libc } from "../../src/kernel/ffi.ts";
import type { NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { socketAddressBytes } from "../../src/kernel/sockets.ts";

/** Hears every SCTP message that comes to a namespace. */
export interface SctpEar {
  /** `source port>destination port` of each message of a family so far. */
  readonly heard: ReadonlySet<string>;
  close(): void;
}

const SOCK_RAW = 3;
// SOCK_CLOEXEC | SOCK_NONBLOCK
const SOCK_FLAGS = 0x80000 | 0x800;
const IPPROTO_SCTP = 132;

const socket = libc("int socket(int domain, int type, int protocol)");
const bind = libc("int bind(int fd, const void *address, socklen_t length)");
const sendto = libc(
  "ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const void *address, socklen_t size)",
);
const recv = libc("ssize_t recv(int fd, void *bytes, size_t length, int flags)");
const close = libc("int close(int fd)");

function rawSocket(namespace: NetworkNamespace, family: Family): number {
  const domain = family === 4 ? 2 : 10;
  return check(
    `open a raw socket in ${namespace.id}`,
    namespace.run(() => socket(domain, SOCK_RAW | SOCK_FLAGS, IPPROTO_SCTP)),
  );
}

/** Listens until closed. */
export function listenForSctp(namespace: NetworkNamespace, family: Family): SctpEar {
  const fd = rawSocket(namespace, family);
  const heard = new Set<string>();
  const buffer = new Uint8Array(2048);
  const poll = koffi.node.poll(fd, { readable: true }, () => {
    for (;;) {
      const length = recv(fd, buffer, buffer.length, 0);
      if (length < 0) return;
      // IPv4 gives the IP header as well (raw(7)).
      const start = family === 4 ? ((buffer[0] ?? 0) & 0x0f) * 4 : 0;
      const view = new DataView(buffer.buffer, start, length - start);
      heard.add(`${view.getUint16(0)}>${view.getUint16(2)}`);
    }
  });
  return {
    heard,
    close() {
      poll.close();
      close(fd);
    },
  };
}

/** Sends one INIT. False where the kernel knows no way. */
export function sendInit(
  namespace: NetworkNamespace,
  to: { readonly address: Address; readonly port: number; readonly source: Address; readonly sourcePort: number },
): boolean {
  const fd = rawSocket(namespace, familyOf(to.address));
  try {
    const own = socketAddressBytes(to.source, 0);
    check(`send SCTP from ${to.source}`, bind(fd, own, own.length));
    const remote = socketAddressBytes(to.address, 0);
    const bytes = initMessage(to.sourcePort, to.port);
    return sendto(fd, bytes, bytes.length, 0, remote, remote.length) === bytes.length;
  } finally {
    close(fd);
  }
}

/** RFC 9260 3.1 and 3.3.2: common header, then one INIT chunk of 20 bytes. */
function initMessage(source: number, destination: number): Uint8Array {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, source);
  view.setUint16(2, destination);
  view.setUint8(12, 1);
  view.setUint16(14, 20);
  // Initiate tag, advertised window, streams out and in, first sequence number.
  view.setUint32(16, 0x5eed0001);
  view.setUint32(20, 65536);
  view.setUint16(24, 10);
  view.setUint16(26, 10);
  view.setUint32(28, 1);
  // RFC 9260 appendix A: CRC32c over the message with a checksum of 0, lowest byte first.
  view.setUint32(8, crc32c(bytes), true);
  return bytes;
}

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
