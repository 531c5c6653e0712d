// One datagram out of a namespace and one back, with the errors that ICMP brings: what `dgram` would not do inside another namespace.

import koffi from "koffi";

import { familyOf, type Address } from "../../ip/address.ts";
import { check, errno, errnoName, libc } from "../../kernel/ffi.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { socketAddressBytes } from "../../kernel/sockets.ts";
import { writeSysctl } from "../../kernel/sysctls.ts";
import { afterWaiting } from "./patience.ts";

export interface DatagramRequest {
  /** `ping`: an ICMP echo socket; the port means nothing. */
  readonly kind: "udp" | "ping";
  readonly address: Address;
  readonly port: number;
  readonly source?: Address;
  readonly timeoutMs: number;
  readonly bytes: Uint8Array;
}

export type DatagramOutcome =
  | { readonly kind: "answer"; readonly bytes: Uint8Array }
  | { readonly kind: "timeout" }
  /** errno's name: `ECONNREFUSED` for port unreachable, `EHOSTUNREACH`, `ENETUNREACH`, `EACCES` (prohibited), `EMSGSIZE` … */
  | { readonly kind: "error"; readonly code: string };

/** Sends and waits. Throws KernelError only where no socket can be made. */
export async function exchangeDatagram(
  namespace: NetworkNamespace,
  request: DatagramRequest,
): Promise<DatagramOutcome> {
  const fd = openSocket(namespace, request);
  try {
    const refusal = prepare(fd, request) ?? transmit(fd, request.bytes);
    return refusal ?? (await receive(fd, request.timeoutMs));
  } finally {
    close(fd);
  }
}

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
// SOCK_CLOEXEC | SOCK_NONBLOCK
const SOCK_FLAGS = 0x80000 | 0x800;
const IPPROTO_IP = 0;
const IPPROTO_ICMP = 1;
const IPPROTO_IPV6 = 41;
const IPPROTO_ICMPV6 = 58;
// linux/in.h, linux/in6.h: path MTU discovery set to "do" forbids fragments; errors of ICMP are reported at once.
const IP_MTU_DISCOVER = 10;
const IP_RECVERR = 11;
const IPV6_MTU_DISCOVER = 23;
const IPV6_RECVERR = 25;
const IP_PMTUDISC_DO = 2;

const socket = libc("int socket(int domain, int type, int protocol)");
const bind = libc("int bind(int fd, const void *address, socklen_t length)");
const connect = libc("int connect(int fd, const void *address, socklen_t length)");
const send = libc("ssize_t send(int fd, const void *bytes, size_t length, int flags)");
const recv = libc("ssize_t recv(int fd, void *bytes, size_t length, int flags)");
const setsockopt = libc("int setsockopt(int fd, int level, int option, const void *value, socklen_t length)");
const close = libc("int close(int fd)");

function openSocket(namespace: NetworkNamespace, { kind, address }: DatagramRequest): number {
  const four = familyOf(address) === 4;
  const protocol = kind === "udp" ? IPPROTO_IP : four ? IPPROTO_ICMP : IPPROTO_ICMPV6;
  const open = (): number => namespace.run(() => socket(four ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_FLAGS, protocol));
  let fd = open();
  if (kind === "ping" && fd === -errno.EACCES) {
    // A fresh namespace lets nobody ping by such a socket, root included (Documentation/networking/ip-sysctl.rst).
    writeSysctl(namespace, namespace.id, "net/ipv4/ping_group_range", "0 0");
    fd = open();
  }
  return check(`open a ${kind} socket in ${namespace.id}`, fd);
}

function prepare(fd: number, { kind, address, port, source }: DatagramRequest): DatagramOutcome | undefined {
  const four = familyOf(address) === 4;
  const level = four ? IPPROTO_IP : IPPROTO_IPV6;
  setOption(fd, level, four ? IP_RECVERR : IPV6_RECVERR, 1);
  if (kind === "ping") setOption(fd, level, four ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, IP_PMTUDISC_DO);
  if (source !== undefined) {
    const bytes = socketAddressBytes(source, 0);
    const bound = bind(fd, bytes, bytes.length);
    if (bound < 0) return failure(bound);
  }
  const remote = socketAddressBytes(address, port);
  const connected = connect(fd, remote, remote.length);
  return connected < 0 ? failure(connected) : undefined;
}

function transmit(fd: number, bytes: Uint8Array): DatagramOutcome | undefined {
  const sent = send(fd, bytes, bytes.length, 0);
  return sent < 0 ? failure(sent) : undefined;
}

function receive(fd: number, timeoutMs: number): Promise<DatagramOutcome> {
  const buffer = new Uint8Array(65536);
  return new Promise((resolve) => {
    const finish = (outcome: DatagramOutcome): void => {
      callOff();
      poll.close();
      // Koffi calls from outside of Node's own callbacks: a promise settled there would wait for the next event of another kind.
      setImmediate(resolve, outcome);
    };
    const callOff = afterWaiting(timeoutMs, () => finish({ kind: "timeout" }));
    const poll = koffi.node.poll(fd, { readable: true }, () => {
      const length = recv(fd, buffer, buffer.length, 0);
      if (length === -errno.EAGAIN) return;
      finish(length < 0 ? failure(length) : { kind: "answer", bytes: buffer.slice(0, length) });
    });
  });
}

function setOption(fd: number, level: number, option: number, value: number): void {
  check(
    `set option ${option} of a probe's socket`,
    setsockopt(fd, level, option, new Uint8Array(Int32Array.of(value).buffer), 4),
  );
}

function failure(result: number): DatagramOutcome {
  return { kind: "error", code: errnoName(-result) };
}
