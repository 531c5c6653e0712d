// ping, for machines that have none: ICMP echo over IPv4 and IPv6 with -c, -i, -W, -w, -s, -q, -4, -6 and iputils' output.

import { lookup } from "node:dns/promises";
import { setTimeout as delay } from "node:timers/promises";
import process from "node:process";
import { check, errno, libc } from "../../../kernel/ffi.ts";
import { socketAddressBytes } from "../../../kernel/sockets.ts";
import { parseOptions, UsageError, type OptionTable, type ParsedOptions } from "./options.ts";

const table: OptionTable = {
  flags: ["q", "n", "4", "6", "v", "D", "O"],
  values: ["c", "i", "W", "w", "s", "I", "t", "M"],
};

/** 0 where an answer came, 1 where none did, 2 where something else went wrong. */
export async function ping(words: readonly string[]): Promise<number> {
  let options: ParsedOptions;
  let address: string;
  try {
    options = parseOptions(words, table);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`ping: ${error.message} (this is Fairlead's small ping; the machine has none)\n`);
    return 2;
  }
  const [host = ""] = options.rest;
  try {
    ({ address } = await lookup(host, { family: options.has("4") ? 4 : options.has("6") ? 6 : 0 }));
  } catch {
    process.stderr.write(`ping: ${host}: Name or service not known\n`);
    return 2;
  }
  try {
    return await run(host, address, options);
  } catch (error) {
    process.stderr.write(`ping: ${(error as Error).message}\n`);
    return 2;
  }
}

async function run(host: string, address: string, options: ParsedOptions): Promise<number> {
  const count = Number(options.value("c") ?? Number.POSITIVE_INFINITY);
  const interval = Number(options.value("i") ?? 1) * 1000;
  const wait = Number(options.value("W") ?? 1) * 1000;
  const deadline = performance.now() + Number(options.value("w") ?? Number.POSITIVE_INFINITY) * 1000;
  const size = Number(options.value("s") ?? 56);
  const echo = openEcho(address);
  const say = (line: string): void => void (options.has("q") || process.stdout.write(`${line}\n`));
  process.stdout.write(`PING ${host} (${address}) ${size}(${size + 28}) bytes of data.\n`);
  const times: number[] = [];
  let sent = 0;
  const started = performance.now();
  let over = false;
  process.once("SIGINT", () => (over = true));
  while (sent < count && !over && performance.now() < deadline) {
    const round = performance.now();
    const failure = echo.send(++sent, size);
    if (failure !== undefined) say(`ping: sendmsg: ${failure}`);
    const answer = failure === undefined ? await echo.receive(sent, wait) : undefined;
    if (answer !== undefined) {
      times.push(answer.ms);
      say(
        `${size + 8} bytes from ${address}: icmp_seq=${sent}${answer.ttl === undefined ? "" : ` ttl=${answer.ttl}`} time=${answer.ms.toFixed(3)} ms`,
      );
    }
    if (sent < count && !over) await delay(Math.max(0, interval - (performance.now() - round)));
  }
  echo.close();
  const lost = sent === 0 ? 0 : Math.round(((sent - times.length) / sent) * 100);
  const ms = Math.round(performance.now() - started);
  process.stdout.write(
    `\n--- ${host} ping statistics ---\n${sent} packets transmitted, ${times.length} received, ${lost}% packet loss, time ${ms}ms\n`,
  );
  if (times.length > 0) process.stdout.write(`rtt min/avg/max/mdev = ${statistics(times)} ms\n`);
  return times.length > 0 ? 0 : 1;
}

function statistics(times: readonly number[]): string {
  const mean = times.reduce((sum, time) => sum + time, 0) / times.length;
  const deviation = Math.sqrt(times.reduce((sum, time) => sum + (time - mean) ** 2, 0) / times.length);
  return [Math.min(...times), mean, Math.max(...times), deviation].map((value) => value.toFixed(3)).join("/");
}

const socket = libc("int socket(int domain, int type, int protocol)");
const sendto = libc(
  "ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const void *address, socklen_t addressLength)",
);
const recv = libc("ssize_t recv(int fd, void *bytes, size_t length, int flags)");
const close = libc("int close(int fd)");

interface Echo {
  /** Sends a request; why it could not be sent. */
  send(sequence: number, size: number): string | undefined;
  receive(sequence: number, waitMs: number): Promise<{ readonly ms: number; readonly ttl?: number } | undefined>;
  close(): void;
}

// Raw sockets where the container has CAP_NET_RAW, else the kernel's ping sockets.
function openEcho(address: string): Echo {
  const six = address.includes(":");
  const [domain, protocol] = six ? [10, 58] : [2, 1]; // AF_INET6, IPPROTO_ICMPV6 : AF_INET, IPPROTO_ICMP
  const flags = 0x80000 | 0x800; // SOCK_CLOEXEC | SOCK_NONBLOCK
  const raw = socket(domain, 3 | flags, protocol);
  const fd = raw >= 0 ? raw : check("open a ping socket", socket(domain, 2 | flags, protocol), "it needs CAP_NET_RAW");
  const identifier = process.pid & 0xffff;
  const to = socketAddressBytes(address, 0);
  const sentAt = new Map<number, number>();
  // A raw IPv4 socket gives the IP header too (raw(7)); the ping socket and IPv6 do not.
  const withHeader = raw >= 0 && !six;
  return {
    send(sequence, size) {
      const packet = echoRequest({ six, identifier, sequence, size });
      sentAt.set(sequence, performance.now());
      const result = sendto(fd, packet, packet.length, 0, to, to.length);
      if (result >= 0) return undefined;
      if (result === -errno.ENETUNREACH) return "Network is unreachable";
      return result === -errno.EHOSTUNREACH ? "No route to host" : `errno ${-result}`;
    },
    async receive(sequence, waitMs) {
      const until = performance.now() + waitMs;
      const buffer = new Uint8Array(65536);
      for (;;) {
        const length = recv(fd, buffer, buffer.length, 0);
        if (length > 0) {
          const at = withHeader ? ((buffer[0] ?? 0) & 15) * 4 : 0;
          const isReply = buffer[at] === (six ? 129 : 0);
          const own = raw < 0 || ((buffer[at + 4] ?? 0) << 8) + (buffer[at + 5] ?? 0) === identifier;
          if (isReply && own && ((buffer[at + 6] ?? 0) << 8) + (buffer[at + 7] ?? 0) === (sequence & 0xffff)) {
            const ms = performance.now() - (sentAt.get(sequence) ?? 0);
            const ttl = withHeader ? buffer[8] : undefined;
            return { ms, ...(ttl === undefined ? {} : { ttl }) };
          }
          continue;
        }
        if (performance.now() >= until) return undefined;
        await delay(1);
      }
    },
    close: () => void close(fd),
  };
}

/** RFC 792 and RFC 4443: type, code, checksum, identifier, sequence, data. The kernel computes ICMPv6's checksum. */
export function echoRequest(options: {
  readonly six: boolean;
  readonly identifier: number;
  readonly sequence: number;
  readonly size: number;
}): Uint8Array {
  const packet = new Uint8Array(8 + options.size);
  const view = new DataView(packet.buffer);
  packet[0] = options.six ? 128 : 8;
  view.setUint16(4, options.identifier);
  view.setUint16(6, options.sequence & 0xffff);
  for (let index = 8; index < packet.length; index++) packet[index] = index & 0xff;
  if (!options.six) view.setUint16(2, checksum(packet));
  return packet;
}

/** RFC 1071 */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2) sum += ((bytes[index] ?? 0) << 8) + (bytes[index + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
