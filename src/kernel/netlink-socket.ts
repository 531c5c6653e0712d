// A netlink socket inside one network namespace: requests, dumps, pipelines and transactions, all synchronous.
// The kernel answers within sendmsg, so what a request caused is already in the receive queue when it returns: reading until
// the queue is empty gives every answer, and nothing here ever blocks.
//
// Not here: what the messages say (wire/netlink/*). Multicast reception is in monitor.ts.

import { NetlinkFormatError } from "../wire/netlink/attributes.ts";
import {
  control,
  decodeAcknowledgement,
  decodeDone,
  decodeMessages,
  encodeMessages,
  flag,
  messageBytes,
  type Acknowledgement,
  type NetlinkMessage,
  type NetlinkRequest,
} from "../wire/netlink/message.ts";
import { check, errno, errnoName, errnoText, libc } from "./ffi.ts";
import { KernelError } from "./kernel.ts";
import type { NetworkNamespace } from "./namespaces.ts";

/** linux/netlink.h: NETLINK_*, the kernel's subsystems. */
export const protocol = { route: 0, netfilter: 12 } as const;

/** Why the kernel refused one request. */
export interface NetlinkFailure extends Acknowledgement {
  /** errno's name: `EEXIST`. */
  readonly code: string;
}

/** What the kernel answered to a transaction. */
export interface TransactionAnswer {
  /** Messages the kernel sent back besides acknowledgements (NLM_F_ECHO). */
  readonly messages: readonly NetlinkMessage[];
  /** By index of the request. Empty: all of it is in force (given that an acknowledgement came, or none was asked for). */
  readonly failures: ReadonlyMap<number, NetlinkFailure>;
  /** Indexes of the requests acknowledged without an error. */
  readonly acknowledged: ReadonlySet<number>;
  /** The receive buffer ran over: further failures or acknowledgements are lost. */
  readonly overrun: boolean;
}

/** An open socket. `doing` begins every error: what was being done, to what. */
export interface NetlinkSocket {
  readonly fd: number;
  readonly protocol: number;
  readonly namespaceId: string;
  /** nl_pid: what the kernel puts into notifications that this socket's requests cause. */
  readonly port: number;
  /** Bytes one sendmsg may carry. */
  readonly sendBytesMax: number;
  /** Acknowledgements that fit the receive buffer for certain. */
  readonly pipelineMax: number;
  /** One request with NLM_F_ACK; the messages it gave. Throws KernelError that begins with `doing`. */
  request(request: NetlinkRequest, doing: string): readonly NetlinkMessage[];
  /** A whole dump (NLM_F_DUMP is added), repeated while the kernel says it changed meanwhile. Throws KernelError. */
  dump(request: NetlinkRequest, doing: string): readonly NetlinkMessage[];
  /** Independent requests in as few sendmsg calls as the buffers allow; a result each, undefined for success. */
  pipeline(requests: readonly NetlinkRequest[], doing: string): readonly (NetlinkFailure | undefined)[];
  /** All requests in exactly one sendmsg, acknowledgements only where NLM_F_ACK is set. Throws KernelError (EMSGSIZE: too large). */
  transaction(requests: readonly NetlinkRequest[], doing: string): TransactionAnswer;
  /**
   * Sends nothing; what is in the queue: for sockets that joined multicast groups. `overrun`: messages were lost.
   * Notifications that are not `wanted`, by type and port, are thrown away unread.
   */
  receive(wanted?: (type: number, port: number) => boolean): {
    readonly messages: readonly NetlinkMessage[];
    readonly overrun: boolean;
  };
  /** Joins or leaves a multicast group. */
  setMembership(group: number, membership: "join" | "leave"): void;
  close(): void;
}

export interface NetlinkSocketOptions {
  /** Multicast groups to join (numbers, not bits): RTNLGRP_*, NFNLGRP_*. */
  readonly groups?: readonly number[];
  /** Wanted receive buffer in bytes; the kernel may grant less. */
  readonly receiveBufferBytes?: number;
  /** Wanted send buffer in bytes. */
  readonly sendBufferBytes?: number;
}

/** Opens a netlink socket inside a namespace, where it stays. Throws KernelError. */
export function openNetlinkSocket(
  namespace: NetworkNamespace,
  protocolNumber: number,
  options: NetlinkSocketOptions = {},
): NetlinkSocket {
  const doing = `open a netlink socket (protocol ${protocolNumber}) in ${namespace.id}`;
  const fd = check(
    doing,
    namespace.run(() => socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocolNumber)),
    "the kernel lacks this netlink family, or a seccomp filter forbids it",
  );
  try {
    return prepare(fd, namespace.id, protocolNumber, options, doing);
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** A KernelError in the one voice: what was being done, the errno, the kernel's own words, and the likely cure. */
export function failureError(doing: string, failure: NetlinkFailure, cure?: string, index?: number): KernelError {
  const words = failure.text ?? errnoText(failure.errno);
  const message = `${doing}: ${failure.code}: ${words}${cure === undefined ? "" : `; ${cure}`}`;
  return new KernelError(message, {
    code: failure.code,
    ...(failure.text === undefined ? {} : { kernelText: failure.text }),
    ...(index === undefined ? {} : { index }),
  });
}

/** Was a notification caused by a socket of this process? (`port` is its nlmsg_pid.) */
export function isOwnPort(namespaceId: string, protocolNumber: number, port: number): boolean {
  return ownPorts.has(`${namespaceId} ${protocolNumber} ${port}`);
}

/** Told about everything the sockets of this process do in a namespace, so that it can tell our changes from others'. */
export interface SocketWatcher {
  /** Just before a socket of that protocol sends requests. */
  before(protocolNumber: number): void;
  /** The requests that were not refused: the kernel may notify of some of them only later. */
  made(protocolNumber: number, requests: readonly NetlinkRequest[]): void;
  /** Just after their answers came: what they changed has been notified by now. */
  after(protocolNumber: number): void;
  /** Just before a socket closes, while its port still counts as ours. */
  closing(): void;
}

/** Registers a watcher of all sockets in a namespace; gives the function that ends it. */
export function watchSockets(namespaceId: string, watcher: SocketWatcher): () => void {
  watchers.set(namespaceId, [...(watchers.get(namespaceId) ?? []), watcher]);
  return () => {
    const rest = (watchers.get(namespaceId) ?? []).filter((other) => other !== watcher);
    if (rest.length === 0) watchers.delete(namespaceId);
    else watchers.set(namespaceId, rest);
  };
}

/** Runs synchronous work whose notifications, in that namespace and of that protocol, are our own doing: a sysctl has no port. */
export function asOurOwn<T>(namespaceId: string, protocolNumber: number, work: () => T): T {
  const watching = watchers.get(namespaceId) ?? [];
  for (const watcher of watching) watcher.before(protocolNumber);
  try {
    return work();
  } finally {
    for (const watcher of watching) watcher.after(protocolNumber);
  }
}

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0x80000;
const SOCK_NONBLOCK = 0x800;
const SOL_SOCKET = 1;
const SOL_NETLINK = 270;
// linux/netlink.h: NETLINK_ADD_MEMBERSHIP, _DROP_MEMBERSHIP, _CAP_ACK, _EXT_ACK, _GET_STRICT_CHK
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_DROP_MEMBERSHIP = 2;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
// asm-generic/socket.h
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;

const socket = libc("int socket(int domain, int type, int protocol)");
const bind = libc("int bind(int fd, const void *address, unsigned int length)");
const getsockname = libc("int getsockname(int fd, void *address, void *length)");
const getsockopt = libc("int getsockopt(int fd, int level, int option, void *value, void *length)");
const setsockopt = libc("int setsockopt(int fd, int level, int option, const void *value, unsigned int length)");
const send = libc("ssize_t send(int fd, const void *bytes, size_t length, int flags)");
const recv = libc("ssize_t recv(int fd, void *bytes, size_t length, int flags)");
const close = libc("int close(int fd)");

/** One buffer for all sockets: receiving is synchronous, and what it gives is copied out at once. */
const receiveBuffer = new Uint8Array(1024 * 1024);
const receiveView = new DataView(receiveBuffer.buffer);
/** A dump that changes under our hands is asked for again this often. */
const dumpAttemptsMax = 20;
/** What the kernel charges a receive buffer for one acknowledgement with words (skb truesize), rounded up well. */
const acknowledgementBytes = 4096;

const ownPorts = new Set<string>();
const watchers = new Map<string, readonly SocketWatcher[]>();

function prepare(
  fd: number,
  namespaceId: string,
  protocolNumber: number,
  options: NetlinkSocketOptions,
  doing: string,
): NetlinkSocket {
  setOption(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
  setOption(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
  // Strict checking makes dumps honour their filters; kernels before 4.20 ignore the filters instead.
  setOption(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  const sendBuffer = setBuffer(fd, SO_SNDBUF, SO_SNDBUFFORCE, options.sendBufferBytes ?? 4 * 1024 * 1024);
  const receiveBufferBytes = setBuffer(fd, SO_RCVBUF, SO_RCVBUFFORCE, options.receiveBufferBytes ?? 4 * 1024 * 1024);
  // struct sockaddr_nl: family, padding, nl_pid (0: the kernel chooses), nl_groups (joined below).
  const address = new Uint8Array(12);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_NETLINK, true);
  check(doing, bind(fd, address, address.length));
  const length = new Uint8Array(Uint32Array.of(address.length).buffer);
  check(doing, getsockname(fd, address, length));
  for (const group of options.groups ?? []) setMembership(fd, group, "join");
  const state: SocketState = {
    fd,
    protocol: protocolNumber,
    namespaceId,
    port: view.getUint32(4, true),
    // net/netlink/af_netlink.c netlink_sendmsg: EMSGSIZE when len > sk_sndbuf - 32.
    sendBytesMax: sendBuffer - 32,
    pipelineMax: Math.max(1, Math.floor(receiveBufferBytes / acknowledgementBytes)),
    sequence: 1,
    open: true,
  };
  ownPorts.add(portKey(state));
  return {
    fd,
    protocol: protocolNumber,
    namespaceId,
    port: state.port,
    sendBytesMax: state.sendBytesMax,
    pipelineMax: state.pipelineMax,
    request: (request, what) => requestOne(state, request, what),
    dump: (request, what) => dump(state, request, what),
    pipeline: (requests, what) => pipeline(state, requests, what),
    transaction: (requests, what) => exchange(state, requests, what),
    receive: (wanted) => receiveAll(state, "receive notifications", wanted),
    setMembership: (group, membership) => setMembership(fd, group, membership),
    close: () => closeSocket(state),
  };
}

interface SocketState {
  readonly fd: number;
  readonly protocol: number;
  readonly namespaceId: string;
  readonly port: number;
  readonly sendBytesMax: number;
  readonly pipelineMax: number;
  sequence: number;
  open: boolean;
}

function closeSocket(state: SocketState): void {
  if (!state.open) return;
  for (const watcher of watchers.get(state.namespaceId) ?? []) watcher.closing();
  state.open = false;
  ownPorts.delete(portKey(state));
  close(state.fd);
}

function portKey(state: SocketState): string {
  return `${state.namespaceId} ${state.protocol} ${state.port}`;
}

function requestOne(state: SocketState, request: NetlinkRequest, doing: string): readonly NetlinkMessage[] {
  const answer = exchange(state, [{ ...request, flags: request.flags | flag.ack }], doing);
  const failure = answer.failures.get(0);
  if (failure !== undefined) throw failureError(doing, failure);
  if (!answer.acknowledged.has(0)) throw unanswered(doing, answer.overrun);
  return answer.messages;
}

function pipeline(
  state: SocketState,
  requests: readonly NetlinkRequest[],
  doing: string,
): readonly (NetlinkFailure | undefined)[] {
  const results: (NetlinkFailure | undefined)[] = [];
  while (results.length < requests.length) {
    const chunk = nextChunk(state, requests, results.length);
    const answer = exchange(state, chunk, doing);
    const last = chunk.length - 1;
    if (answer.overrun || !(answer.acknowledged.has(last) || answer.failures.has(last)))
      throw unanswered(doing, answer.overrun);
    for (let index = 0; index < chunk.length; index++) results.push(answer.failures.get(index));
  }
  return results;
}

/**
 * As many requests from `start` on as the send buffer takes and whose refusals the receive buffer takes; at least one. The kernel does them in
 * order and tells of each that it refuses: the last one's acknowledgement speaks for all.
 */
function nextChunk(state: SocketState, requests: readonly NetlinkRequest[], start: number): NetlinkRequest[] {
  let end = start;
  for (let bytes = 0; end < requests.length && end - start < state.pipelineMax; end++) {
    bytes += messageBytes(requests[end]!);
    if (end > start && bytes > state.sendBytesMax) break;
  }
  const last = requests[end - 1]!;
  return [...requests.slice(start, end - 1), { ...last, flags: last.flags | flag.ack }];
}

/** One sendmsg and everything it caused. */
function exchange(state: SocketState, requests: readonly NetlinkRequest[], doing: string): TransactionAnswer {
  const first = takeSequences(state, requests.length);
  return asOurOwn(state.namespaceId, state.protocol, () => {
    sendAll(state, encodeMessages(requests, first), doing);
    const answer = sortAnswers(receiveAll(state, doing), first, requests.length);
    const watching = watchers.get(state.namespaceId) ?? [];
    if (watching.length > 0) {
      const made = requests.filter((_, index) => !answer.failures.has(index));
      for (const watcher of watching) watcher.made(state.protocol, made);
    }
    return answer;
  });
}

/** Which answer belongs to which of `count` requests, numbered from `first` on. */
function sortAnswers(
  received: { readonly messages: readonly NetlinkMessage[]; readonly overrun: boolean },
  first: number,
  count: number,
): TransactionAnswer {
  const failures = new Map<number, NetlinkFailure>();
  const acknowledged = new Set<number>();
  const messages: NetlinkMessage[] = [];
  for (const message of received.messages) {
    const index = message.sequence - first;
    // Answers to an earlier request that was given up, or another program's message to our port.
    if (index < 0 || index >= count) continue;
    if (message.type !== control.error) {
      messages.push(message);
      continue;
    }
    const acknowledgement = decodeAcknowledgement(message);
    if (acknowledgement.errno === 0) acknowledged.add(index);
    else failures.set(index, failureOf(acknowledgement));
  }
  return { messages, failures, acknowledged, overrun: received.overrun };
}

function dump(state: SocketState, request: NetlinkRequest, doing: string): readonly NetlinkMessage[] {
  for (let attempt = 1; attempt <= dumpAttemptsMax; attempt++) {
    const messages = dumpOnce(state, { ...request, flags: request.flags | flag.dump }, doing);
    if (messages !== undefined) return messages;
  }
  throw new KernelError(`${doing}: EINTR: the state changed during each of ${dumpAttemptsMax} dumps; try again later`, {
    code: "EINTR",
  });
}

/** Undefined where the kernel says that the dump is inconsistent. */
function dumpOnce(state: SocketState, request: NetlinkRequest, doing: string): readonly NetlinkMessage[] | undefined {
  const sequence = takeSequences(state, 1);
  sendAll(state, encodeMessages([request], sequence), doing);
  const messages: NetlinkMessage[] = [];
  let interrupted = false;
  for (;;) {
    const { messages: part, overrun } = receiveAll(state, doing);
    if (part.length === 0) throw unanswered(doing, overrun);
    for (const message of part) {
      if (message.sequence !== sequence) continue;
      if ((message.flags & flag.dumpInterrupted) !== 0) interrupted = true;
      if (message.type === control.done || message.type === control.error) {
        const end = message.type === control.done ? decodeDone(message) : decodeAcknowledgement(message);
        if (end.errno === errno.EINTR) return undefined;
        if (end.errno !== 0) throw failureError(doing, failureOf({ requestType: 0, requestSequence: 0, ...end }));
        return interrupted ? undefined : messages;
      }
      if (message.type !== control.noop) messages.push(message);
    }
  }
}

/** Numbers for `count` requests; never 0, which notifications carry, and never across the 32-bit end. */
function takeSequences(state: SocketState, count: number): number {
  if (state.sequence + count > 0xffffffff) state.sequence = 1;
  const first = state.sequence;
  state.sequence += count;
  return first;
}

function sendAll(state: SocketState, bytes: Uint8Array, doing: string): void {
  if (!state.open) throw new Error(`${doing}: the netlink socket was closed`);
  for (;;) {
    const sent = send(state.fd, bytes, bytes.length, 0);
    if (sent === -errno.EINTR) continue;
    // A full send queue cannot happen: the kernel takes a message at once or refuses it.
    const cure =
      sent === -errno.EMSGSIZE || sent === -errno.ENOBUFS
        ? `${bytes.length} bytes in one message where the socket takes ${state.sendBytesMax}: send fewer at once or raise net.core.wmem_max`
        : undefined;
    check(doing, sent, cure);
    return;
  }
}

/** Everything in the receive queue. Bodies are the caller's: they are no views of the shared buffer. */
function receiveAll(
  state: SocketState,
  doing: string,
  wanted?: (type: number, port: number) => boolean,
): { messages: NetlinkMessage[]; overrun: boolean } {
  const messages: NetlinkMessage[] = [];
  let overrun = false;
  for (;;) {
    const length = recv(state.fd, receiveBuffer, receiveBuffer.length, MSG_DONTWAIT | MSG_TRUNC);
    if (length === -errno.EAGAIN) return { messages, overrun };
    if (length === -errno.EINTR) continue;
    if (length === -errno.ENOBUFS) {
      overrun = true;
      continue;
    }
    check(doing, length);
    if (length > receiveBuffer.length)
      throw new NetlinkFormatError(`a datagram of ${length} bytes; the receive buffer has ${receiveBuffer.length}`);
    if (wanted !== undefined && !wanted(receiveView.getUint16(4, true), receiveView.getUint32(12, true))) continue;
    for (const message of decodeMessages(receiveBuffer.slice(0, length))) messages.push(message);
  }
}

function failureOf(acknowledgement: Acknowledgement): NetlinkFailure {
  return { ...acknowledgement, code: errnoName(acknowledgement.errno) };
}

function unanswered(doing: string, overrun: boolean): KernelError {
  return overrun
    ? new KernelError(`${doing}: ENOBUFS: answers were lost; raise net.core.rmem_max`, { code: "ENOBUFS" })
    : new KernelError(`${doing}: ENODATA: the kernel gave no answer`, { code: "ENODATA" });
}

function setMembership(fd: number, group: number, membership: "join" | "leave"): void {
  const option = membership === "join" ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP;
  check(`${membership} netlink multicast group ${group}`, setOption(fd, SOL_NETLINK, option, group));
}

function setOption(fd: number, level: number, option: number, value: number): number {
  return setsockopt(fd, level, option, new Uint8Array(Int32Array.of(value).buffer), 4);
}

/** Makes a socket buffer as large as wanted, or as the machine's limit allows; the bytes the kernel really counts. */
function setBuffer(fd: number, option: number, forceOption: number, bytes: number): number {
  if (setOption(fd, SOL_SOCKET, forceOption, bytes) < 0) setOption(fd, SOL_SOCKET, option, bytes);
  const value = new Uint8Array(4);
  check(
    "read a socket buffer's size",
    getsockopt(fd, SOL_SOCKET, option, value, new Uint8Array(Int32Array.of(4).buffer)),
  );
  return new DataView(value.buffer).getInt32(0, true);
}
