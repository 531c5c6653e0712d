// A small DNS client: one question to one server, from inside a network namespace. By UDP, again by TCP where the answer was cut.
// For probes, tools and `trace --live`; it has no search list (program/zone-search.ts) and no cache.

import { randomInt } from "node:crypto";
import dgram from "node:dgram";
import net from "node:net";

import { familyOf, type Address } from "../../ip/address.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { bindUdpFd, tcpSocketFd } from "../../kernel/sockets.ts";
import { ednsUdpBytes } from "../../wire/dns/answer.ts";
import { buildQuery, headerFlags, parseMessage, type DnsMessage } from "../../wire/dns/message.ts";
import { skipName, type DnsName } from "../../wire/dns/name.ts";
import type { RecordType } from "../../wire/dns/record.ts";

export interface QueryOptions {
  readonly port?: number;
  /** For each try. */
  readonly timeoutMs?: number;
  readonly tries?: number;
  /** What the answer may have by UDP; 0 asks without EDNS. */
  readonly udpBytes?: number;
  readonly transport?: "udp then tcp" | "udp" | "tcp";
}

/** A question that nobody answered. `code`: `ETIMEOUT`, or what the socket said (`ECONNREFUSED` …). */
export class DnsQueryError extends Error {
  override readonly name = "DnsQueryError";
  readonly code: string;

  constructor(message: string, code: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** Asks `server` for a name (no search list; a final dot is allowed). Rejects with DnsQueryError, or DnsFormatError for a bad name or answer. */
export async function queryDns(
  namespace: NetworkNamespace,
  server: Address,
  name: DnsName,
  type: RecordType,
  options: QueryOptions = {},
): Promise<DnsMessage> {
  const { port = 53, timeoutMs = 2000, tries = 2, udpBytes = ednsUdpBytes, transport } = options;
  const query = buildQuery({ id: randomInt(0x10000), name, type, ...(udpBytes === 0 ? {} : { udpBytes }) });
  const exchange = { namespace, server, port, timeoutMs, query, ...(transport === undefined ? {} : { transport }) };
  for (let left = tries; ; left--) {
    try {
      return parseMessage(await exchangeDns(exchange));
    } catch (error) {
      if (left <= 1 || !(error instanceof DnsQueryError)) throw error;
    }
  }
}

/** One question, asked once. */
export interface Exchange {
  readonly namespace: NetworkNamespace;
  /** The own address, for UDP; any where absent. */
  readonly source?: Address;
  /** A link-local address may have a zone id: `fe80::1%eth0`. */
  readonly server: Address;
  readonly port: number;
  readonly timeoutMs: number;
  /** A whole query; its id should be random. */
  readonly query: Uint8Array;
  readonly transport?: "udp then tcp" | "udp" | "tcp";
}

/** The response to a query, as bytes: by UDP, and by TCP where UDP's was cut. Rejects with DnsQueryError. */
export async function exchangeDns(exchange: Exchange): Promise<Uint8Array> {
  const { transport = "udp then tcp" } = exchange;
  if (transport === "tcp") return await exchangeTcp(exchange);
  const response = await exchangeUdp(exchange);
  const truncated = (((response[2] ?? 0) << 8) & headerFlags.truncated) !== 0;
  return truncated && transport === "udp then tcp" ? await exchangeTcp(exchange) : response;
}

async function exchangeUdp(exchange: Exchange): Promise<Uint8Array> {
  const { namespace, server, port, query, source } = exchange;
  const family = familyOf(server);
  const socket = dgram.createSocket(family === 4 ? "udp4" : "udp6");
  try {
    return await settled(exchange, (resolve, reject) => {
      socket.on("error", reject);
      // What answers another question is forged or late: wait on.
      socket.on("message", (bytes) => {
        if (isAnswer(bytes, query)) resolve(bytes);
      });
      const fd = bindUdpFd(namespace, { address: source ?? (family === 4 ? "0.0.0.0" : "::"), port: 0 });
      // Connected, so that only this server can answer, and a refusal is heard of.
      // With a callback, what cannot be connected (no route) would be told to it alone.
      socket.on("connect", () => socket.send(query));
      socket.bind({ fd }, () => socket.connect(port, server));
    });
  } finally {
    socket.close();
  }
}

async function exchangeTcp(exchange: Exchange): Promise<Uint8Array> {
  const { namespace, server, port, query } = exchange;
  const socket = new net.Socket({ fd: tcpSocketFd(namespace, familyOf(server)) });
  let received = Buffer.alloc(0);
  try {
    return await settled(exchange, (resolve, reject) => {
      socket.on("error", reject);
      socket.on("end", () => reject(new Error("the server closed the connection")));
      socket.on("data", (data: Buffer) => {
        received = Buffer.concat([received, data]);
        const end = received.length < 2 ? Infinity : 2 + received.readUInt16BE(0);
        if (received.length >= end) resolve(received.subarray(2, end));
      });
      socket.connect({ host: server, port }, () => {
        const framed = Buffer.alloc(query.length + 2);
        framed.writeUInt16BE(query.length);
        framed.set(query, 2);
        socket.write(framed);
      });
    });
  } finally {
    socket.destroy();
  }
}

/** Waits for one of three: an answer, an error, too late. */
async function settled(
  exchange: Exchange,
  start: (resolve: (bytes: Uint8Array) => void, reject: (error: Error) => void) => void,
): Promise<Uint8Array> {
  const { server, port, timeoutMs } = exchange;
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<Uint8Array>((resolve, reject) => {
      const fail = (message: string, code: string, cause?: unknown): void =>
        reject(new DnsQueryError(`ask DNS server ${server} port ${port}: ${message}`, code, cause));
      timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`, "ETIMEOUT"), timeoutMs);
      start(resolve, (error) => fail(error.message, (error as NodeJS.ErrnoException).code ?? "EIO", error));
    });
  } finally {
    clearTimeout(timer);
  }
}

/** Does it answer this query: same id, same question in any case? A server that could not read the question leaves it out. */
function isAnswer(bytes: Uint8Array, query: Uint8Array): boolean {
  if (bytes.length < 12 || bytes[0] !== query[0] || bytes[1] !== query[1] || ((bytes[2] ?? 0) & 0x80) === 0)
    return false;
  if (bytes[5] === 0) return ((bytes[3] ?? 0) & 0xf) !== 0;
  const end = skipName(query, 12) + 4;
  for (let at = 12; at < end; at++) if (lowerByte(bytes[at]) !== lowerByte(query[at])) return false;
  return true;
}

// Lengths of labels are below "A", so lowering every byte is safe.
function lowerByte(byte: number | undefined): number | undefined {
  return byte !== undefined && byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}
