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
import type { DnsName } from "../../wire/dns/name.ts";
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
  const { port = 53, timeoutMs = 2000, tries = 2, udpBytes = ednsUdpBytes, transport = "udp then tcp" } = options;
  const id = randomInt(0x10000);
  const query = buildQuery({ id, name, type, ...(udpBytes === 0 ? {} : { udpBytes }) });
  const exchange = { namespace, server, port, timeoutMs, query, id };
  if (transport === "tcp") return parseMessage(await exchangeTcp(exchange));
  for (let left = tries; ; left--) {
    try {
      const answer = await exchangeUdp(exchange);
      const truncated = (((answer[2] ?? 0) << 8) & headerFlags.truncated) !== 0;
      return parseMessage(truncated && transport === "udp then tcp" ? await exchangeTcp(exchange) : answer);
    } catch (error) {
      if (left <= 1 || !(error instanceof DnsQueryError)) throw error;
    }
  }
}

interface Exchange {
  readonly namespace: NetworkNamespace;
  readonly server: Address;
  readonly port: number;
  readonly timeoutMs: number;
  readonly query: Uint8Array;
  readonly id: number;
}

async function exchangeUdp(exchange: Exchange): Promise<Uint8Array> {
  const { namespace, server, port, query } = exchange;
  const family = familyOf(server);
  const socket = dgram.createSocket(family === 4 ? "udp4" : "udp6");
  try {
    return await settled(exchange, (resolve, reject) => {
      socket.on("error", reject);
      // From another address or with another id it is no answer to us: wait on.
      socket.on("message", (bytes, from) => {
        if (from.port === port && from.address === server && isAnswer(bytes, exchange.id)) resolve(bytes);
      });
      socket.bind({ fd: bindUdpFd(namespace, { address: family === 4 ? "0.0.0.0" : "::", port: 0 }) }, () => {
        socket.send(query, port, server, (error) => {
          if (error !== null) reject(error);
        });
      });
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

function isAnswer(bytes: Uint8Array, id: number): boolean {
  const answered = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
  return bytes.length >= 12 && answered === id && ((bytes[2] ?? 0) & 0x80) !== 0;
}
