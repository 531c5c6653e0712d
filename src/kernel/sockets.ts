// Internet sockets made inside a network namespace, as file descriptors for Node to take over.
// A socket belongs to the namespace it was created in for ever; `net` and `dgram` would create theirs later, at home.
//
//   server.listen({ fd: listenTcpFd(pod, { port: 80 }) })
//   socket.bind({ fd: bindUdpFd(pod, { port: 53 }) })
//   new net.Socket({ fd: tcpSocketFd(pod, 4) }).connect({ host: "10.244.1.5", port: 80 })   // host must be an address
//
// Not here: reading and writing. The descriptors are non-blocking and close-on-exec; whoever takes one closes it.

import { addressBytes, familyOf, type Address, type Family } from "../ip/address.ts";
import { check, errno, libc } from "./ffi.ts";
import type { NetworkNamespace } from "./namespaces.ts";

/** Where a socket listens. Without an address: every address of both families (of IPv4 only where the kernel has no IPv6). */
export interface SocketAddress {
  readonly address?: Address;
  /** 0: the kernel chooses; `server.address()` tells. */
  readonly port: number;
}

/** A listening TCP socket. Throws KernelError: EADDRINUSE, EADDRNOTAVAIL … */
export function listenTcpFd(
  namespace: NetworkNamespace,
  options: SocketAddress & { readonly backlog?: number },
): number {
  const doing = `listen on ${describe(options, "tcp")} in ${namespace.id}`;
  const fd = boundSocket(namespace, SOCK_STREAM, options, doing);
  return closingOnFailure(fd, doing, listen(fd, options.backlog ?? 511));
}

/** A bound UDP socket. Throws KernelError: EADDRINUSE, EADDRNOTAVAIL … */
export function bindUdpFd(namespace: NetworkNamespace, options: SocketAddress & { readonly sharing?: true }): number {
  return boundSocket(namespace, SOCK_DGRAM, options, `bind ${describe(options, "udp")} in ${namespace.id}`);
}

/** A TCP socket to connect with. Throws KernelError. */
export function tcpSocketFd(namespace: NetworkNamespace, family: Family): number {
  const domain = family === 4 ? AF_INET : AF_INET6;
  const doing = `open a TCP socket (IPv${family}) in ${namespace.id}`;
  return check(
    doing,
    namespace.run(() => socket(domain, SOCK_STREAM | SOCK_FLAGS, 0)),
  );
}

/** struct sockaddr_in (16 bytes) or sockaddr_in6 (28 bytes) of an address and port. */
export function socketAddressBytes(address: Address, port: number): Uint8Array {
  const family = familyOf(address);
  const bytes = new Uint8Array(family === 4 ? 16 : 28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family === 4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port);
  // sin_addr follows the port; sin6_addr follows sin6_flowinfo.
  bytes.set(addressBytes(address), family === 4 ? 4 : 8);
  return bytes;
}

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
// SOCK_CLOEXEC | SOCK_NONBLOCK
const SOCK_FLAGS = 0x80000 | 0x800;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

const socket = libc("int socket(int domain, int type, int protocol)");
const bind = libc("int bind(int fd, const void *address, socklen_t length)");
const listen = libc("int listen(int fd, int backlog)");
const setsockopt = libc("int setsockopt(int fd, int level, int option, const void *value, socklen_t length)");
const close = libc("int close(int fd)");

function boundSocket(
  namespace: NetworkNamespace,
  type: number,
  options: SocketAddress & { readonly sharing?: true },
  doing: string,
): number {
  const any = options.address === undefined;
  let address = options.address ?? "::";
  const open = (): number =>
    namespace.run(() => socket(familyOf(address) === 4 ? AF_INET : AF_INET6, type | SOCK_FLAGS, 0));
  let opened = open();
  if (opened === -errno.EAFNOSUPPORT && any) {
    address = "0.0.0.0";
    opened = open();
  }
  const fd = check(doing, opened);
  // TCP: a restarted server need not wait for TIME_WAIT. On UDP it would let two sockets share a port silently.
  if (type === SOCK_STREAM) closingOnFailure(fd, doing, setFlag(fd, SOL_SOCKET, SO_REUSEADDR, 1));
  // socket(7): all of them must say so before they are bound, and be one user's.
  if (options.sharing === true) closingOnFailure(fd, doing, setFlag(fd, SOL_SOCKET, SO_REUSEPORT, 1));
  if (familyOf(address) === 6) closingOnFailure(fd, doing, setFlag(fd, IPPROTO_IPV6, IPV6_V6ONLY, any ? 0 : 1));
  const bytes = socketAddressBytes(address, options.port);
  return closingOnFailure(fd, doing, bind(fd, bytes, bytes.length));
}

function setFlag(fd: number, level: number, option: number, value: 0 | 1): number {
  return setsockopt(fd, level, option, new Uint8Array(Int32Array.of(value).buffer), 4);
}

function closingOnFailure(fd: number, doing: string, result: number): number {
  if (result < 0) close(fd);
  check(doing, result);
  return fd;
}

function describe(options: SocketAddress, protocol: "tcp" | "udp"): string {
  const { address, port } = options;
  if (address === undefined) return `${protocol} port ${port}`;
  return familyOf(address) === 4 ? `${protocol} ${address}:${port}` : `${protocol} [${address}]:${port}`;
}
