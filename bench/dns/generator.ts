// Asks a DNS server as much as it can answer, and costs little itself: what is measured on two processors is then the server. dnsperf takes
// a system call for each question and each answer, and so one processor and a half of the two; this takes them by the batch.
//
//   node bench/dns/generator.ts PORT FILE SECONDS [UNDERWAY] [SOCKETS]
//
// FILE has a `name TYPE` a line, asked in order again and again. It keeps UNDERWAY questions (100) on the way from SOCKETS ports (8), as
// `dnsperf -q 100 -c 8 -e` does, and prints a line of JSON. An answer counts if it is for a question that is under way: its id and its question
// are compared. What has no answer after a second is lost and asked no more.
// It is a process of its own (bench/dns/servers.ts starts it): it blocks where it waits.

import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";

import { addressOf, check, errno, libc } from "../../src/kernel/ffi.ts";
import { currentNetworkNamespace } from "../../src/kernel/namespaces.ts";
import { bindUdpFd, socketAddressBytes } from "../../src/kernel/sockets.ts";
import { buildQuery } from "../../src/wire/dns/message.ts";
import type { RecordType } from "../../src/wire/dns/record.ts";

/** What came of it. */
export interface Load {
  readonly seconds: number;
  readonly sent: number;
  readonly answered: number;
  readonly lost: number;
  /** Datagrams that answer nothing that is under way. */
  readonly strange: number;
  /** Answered, by rcode. */
  readonly rcodes: Readonly<Record<string, number>>;
  /** Records in the answers' answer sections. */
  readonly records: number;
  /** Microseconds of processor that a question cost here. */
  readonly cost: number;
}

function generate(
  questions: readonly (readonly [name: string, type: RecordType])[],
  { port, seconds }: { readonly port: number; readonly seconds: number },
  underWay: number,
  socketCount: number,
): Load {
  const queries = createQueries(questions);
  const messages = createMessages();
  const sockets = Array.from({ length: socketCount }, () => openSocket(port, Math.ceil(underWay / socketCount)));
  const polled = createPolled(sockets.map(({ fd }) => fd));
  const counts = { sent: 0, answered: 0, lost: 0, strange: 0, records: 0 };
  const rcodes = new Float64Array(16);
  const cpu = process.cpuUsage();
  const started = performance.now();
  const ends = started + seconds * 1000;
  let next = 0;
  const ask = (socket: Socket, now: number): void => {
    const { free } = socket;
    while (free.length > 0) {
      const batch = Math.min(free.length, batchMax);
      for (let index = 0; index < batch; index++) {
        const slot = free.pop() as number;
        const time = ((socket.generation[slot] as number) + 1) & 0xff;
        socket.generation[slot] = time;
        const id = slot | (time << 8);
        next = next + 1 === queries.count ? 0 : next + 1;
        socket.asked[slot] = next;
        socket.sentAt[slot] = now;
        queries.setId(next, id);
        messages.put(index, queries.address(next), queries.length(next));
      }
      // What cannot be sent (nobody listens) is lost.
      for (let done = 0; done < batch;) done += Math.max(messages.send(socket.fd, done, batch - done), 1);
      counts.sent += batch;
    }
  };
  const take = (socket: Socket): number => {
    const count = messages.receive(socket.fd);
    for (let index = 0; index < count; index++) {
      const at = messages.received(index);
      const id = ((messages.bytes[at] as number) << 8) | (messages.bytes[at + 1] as number);
      const slot = id & 0xff;
      const asked = socket.asked[slot] ?? -1;
      const isOurs = asked >= 0 && id >> 8 === socket.generation[slot] && queries.isAnswer(asked, messages.bytes, at);
      if (!isOurs) {
        counts.strange++;
        continue;
      }
      socket.asked[slot] = -1;
      socket.free.push(slot);
      counts.answered++;
      const rcode = (messages.bytes[at + 3] as number) & 0xf;
      rcodes[rcode] = (rcodes[rcode] as number) + 1;
      counts.records += ((messages.bytes[at + 6] as number) << 8) | (messages.bytes[at + 7] as number);
    }
    return count;
  };
  const giveUp = (now: number): void => {
    for (const socket of sockets) {
      for (const [slot, asked] of socket.asked.entries()) {
        if (asked < 0 || now - (socket.sentAt[slot] as number) < lostMs) continue;
        socket.asked[slot] = -1;
        socket.free.push(slot);
        counts.lost++;
      }
    }
  };
  let looked = started;
  for (let now = started; now < ends; now = performance.now()) {
    for (const socket of sockets) if (socket.free.length > 0) ask(socket, now);
    if (polled.wait(100) > 0) for (const [index, socket] of sockets.entries()) if (polled.isReady(index)) take(socket);
    if (now - looked > 100) giveUp((looked = now));
  }
  const took = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  // What is still under way may come.
  while (polled.wait(200) > 0) for (const [index, socket] of sockets.entries()) if (polled.isReady(index)) take(socket);
  giveUp(Infinity);
  const byRcode = Object.fromEntries([...rcodes.entries()].filter(([, count]) => count > 0));
  return { seconds: took, ...counts, rcodes: byRcode, cost: (user + system) / counts.answered };
}

/** One system call takes and sends so many. */
const batchMax = 64;
const lostMs = 1000;
const answerBytesMax = 1500;

interface Socket {
  readonly fd: number;
  /** Places for questions under way: the low byte of an id; the high one says for which time it is used. */
  readonly free: number[];
  readonly generation: Uint8Array;
  /** The question in each place, -1: none. */
  readonly asked: Int32Array;
  readonly sentAt: Float64Array;
}

function openSocket(port: number, places: number): Socket {
  if (places > 256) throw new RangeError("a socket has 256 questions under way at most: use more sockets");
  const fd = bindUdpFd(currentNetworkNamespace(), { address: "127.0.0.1", port: 0 });
  const address = socketAddressBytes("127.0.0.1", port);
  check(`connect to port ${port}`, connect(fd, address, address.length));
  return {
    fd,
    free: Array.from({ length: places }, (_, index) => index),
    generation: new Uint8Array(places),
    asked: new Int32Array(places).fill(-1),
    sentAt: new Float64Array(places),
  };
}

/** All questions as messages, side by side. */
function createQueries(questions: readonly (readonly [name: string, type: RecordType])[]): {
  readonly count: number;
  address(index: number): number;
  length(index: number): number;
  setId(index: number, id: number): void;
  /** Is the message the answer to this question? Its id is compared already. */
  isAnswer(index: number, message: Uint8Array, at: number): boolean;
} {
  const messages = questions.map(([name, type]) => buildQuery({ id: 0, name, type, udpBytes: 4096 }));
  const starts = new Int32Array(messages.length + 1);
  for (const [index, { length }] of messages.entries()) starts[index + 1] = (starts[index] as number) + length;
  const bytes = new Uint8Array(new ArrayBuffer(starts[messages.length] as number));
  for (const [index, message] of messages.entries()) bytes.set(message, starts[index]);
  const base = Number(addressOf(bytes));
  const start = (index: number): number => starts[index] as number;
  return {
    count: messages.length,
    address: (index) => base + start(index),
    length: (index) => start(index + 1) - start(index),
    setId(index, id) {
      bytes[start(index)] = id >> 8;
      bytes[start(index) + 1] = id;
    },
    isAnswer(index, message, at) {
      if (((message[at + 2] as number) & 0x80) === 0) return false;
      // The OPT record ends a query, 11 bytes.
      const size = start(index + 1) - start(index) - 11;
      for (let i = 12; i < size; i++) if (bytes[start(index) + i] !== message[at + i]) return false;
      return true;
    },
  };
}

/** Batches of messages; the layout is src/kernel/udp.ts's, without addresses. */
function createMessages(): {
  readonly bytes: Uint8Array;
  put(index: number, address: number, length: number): void;
  send(fd: number, from: number, count: number): number;
  receive(fd: number): number;
  /** Where a received message starts. */
  received(index: number): number;
} {
  const headers = 64;
  const [sends, receives, sendVectors, receiveVectors, data] = [0, 64 * 64, 64 * 128, 64 * 144, 64 * 160];
  const bytes = new Uint8Array(new ArrayBuffer(data + batchMax * answerBytesMax));
  const words = new Uint32Array(bytes.buffer);
  const base = Number(addressOf(bytes));
  const setPointer = (at: number, value: number): void => {
    words[at >> 2] = value % 2 ** 32;
    words[(at >> 2) + 1] = Math.floor(value / 2 ** 32);
  };
  for (let index = 0; index < batchMax; index++) {
    for (const [header, vector] of [
      [sends + index * headers, sendVectors + index * 16],
      [receives + index * headers, receiveVectors + index * 16],
    ] as const) {
      setPointer(header + 16, base + vector);
      setPointer(header + 24, 1);
    }
    setPointer(receiveVectors + index * 16, base + data + index * answerBytesMax);
    setPointer(receiveVectors + index * 16 + 8, answerBytesMax);
  }
  return {
    bytes,
    put(index, address, length) {
      setPointer(sendVectors + index * 16, address);
      words[(sendVectors + index * 16 + 8) >> 2] = length;
    },
    send: (fd, from, count) => sendmmsg(fd, base + sends + from * headers, count, 0),
    receive(fd) {
      const count = recvmmsg(fd, base + receives, batchMax, MSG_DONTWAIT, 0);
      return Math.max(count, 0);
    },
    received: (index) => data + index * answerBytesMax,
  };
}

// struct pollfd { int fd; short events; short revents; }
function createPolled(fds: readonly number[]): { wait(milliseconds: number): number; isReady(index: number): boolean } {
  const bytes = new Uint8Array(new ArrayBuffer(fds.length * 8));
  const view = new DataView(bytes.buffer);
  for (const [index, fd] of fds.entries()) {
    view.setInt32(index * 8, fd, true);
    view.setInt16(index * 8 + 4, POLLIN, true);
  }
  const address = Number(addressOf(bytes));
  return {
    wait(milliseconds) {
      const count = poll(address, fds.length, milliseconds);
      return count === -errno.EINTR ? 0 : check("wait for answers", count);
    },
    isReady: (index) => view.getInt16(index * 8 + 6, true) !== 0,
  };
}

const MSG_DONTWAIT = 0x40;
const POLLIN = 1;
const connect = libc("int connect(int fd, const void *address, socklen_t length)");
const recvmmsg = libc("int recvmmsg(int fd, uint64_t messages, uint count, int flags, uint64_t timeout)");
const sendmmsg = libc("int sendmmsg(int fd, uint64_t messages, uint count, int flags)");
const poll = libc("int poll(uint64_t fds, ulong count, int timeout)");

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [port, file = "", seconds = "3", underWay = "100", sockets = "8"] = process.argv.slice(2);
  const questions = readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(" ") as [string, RecordType]);
  const options = { port: Number(port), seconds: Number(seconds) };
  process.stdout.write(JSON.stringify(generate(questions, options, Number(underWay), Number(sockets))));
}
