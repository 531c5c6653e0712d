// What tools read of the container's own settings.

import { createSocket } from "node:dgram";
import fs from "node:fs";
import net from "node:net";
import { createResolver, type Exchange, type Resolver } from "../resolver.ts";

/** The container's resolver, or one that asks another server. */
export function containerResolver(
  options: { readonly server?: string; readonly port?: number; readonly exchange?: Exchange } = {},
): Resolver {
  const text = readText("/etc/resolv.conf");
  const own =
    options.server === undefined ? text : `${text.replaceAll(/^nameserver.*$/gm, "")}\nnameserver ${options.server}\n`;
  return createResolver(own, options.exchange ?? exchangeUdp, options.port ?? 53);
}

/** A query by UDP, and by TCP where the answer was cut. */
export const exchangeUdp: Exchange = (server, query) => exchange(server, query, 5000);

/** The same with the time in milliseconds one try may take. */
export function exchangeWithin(timeoutMs: number): Exchange {
  return (server, query) => exchange(server, query, timeoutMs);
}

/** A query by TCP (RFC 7766: two bytes of length before each message). */
export const exchangeTcp: Exchange = ({ address, port }, query) =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host: address, port, timeout: 5000 });
    let received = Buffer.alloc(0);
    socket.on("timeout", () => socket.destroy(new Error(`communications error to ${address}#${port}: timed out`)));
    socket.on("error", (error) => reject(communicationError(error, address, port)));
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      resolve(received.subarray(2, 2 + received.readUInt16BE(0)));
      socket.destroy();
    });
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    socket.write(Buffer.concat([length, query]));
  });

async function exchange(
  server: { readonly address: string; readonly port: number },
  query: Uint8Array,
  timeoutMs: number,
): Promise<Uint8Array> {
  const answer = await datagram(server, query, timeoutMs);
  // RFC 1035 4.1.1: TC is bit 9 of the second word.
  return ((answer[2] ?? 0) & 2) === 0 ? answer : exchangeTcp(server, query);
}

function datagram(
  { address, port }: { readonly address: string; readonly port: number },
  query: Uint8Array,
  timeoutMs: number,
): Promise<Buffer> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  return new Promise<Buffer>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`communications error to ${address}#${port}: timed out`)),
      timeoutMs,
    );
    socket.on("error", (error) => {
      clearTimeout(timer);
      reject(communicationError(error, address, port));
    });
    socket.on("message", (message) => {
      clearTimeout(timer);
      resolve(message);
    });
    socket.connect(port, address, () => socket.send(query));
  }).finally(() => socket.close());
}

function communicationError(error: NodeJS.ErrnoException, address: string, port: number): Error {
  const why = error.code === "ECONNREFUSED" ? "connection refused" : error.message;
  return new Error(`communications error to ${address}#${port}: ${why}`);
}

/** A file's text, empty where there is none. */
export function readText(path: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The name that asks for the name of an address: `1.0.0.10.in-addr.arpa`, `….ip6.arpa`; undefined where the text is no address. */
export function reverseName(address: string): string | undefined {
  if (net.isIPv4(address)) return `${address.split(".").toReversed().join(".")}.in-addr.arpa`;
  if (!net.isIPv6(address)) return undefined;
  const [head = "", tail] = address.split("::");
  const groups = (text: string): string[] => (text === "" ? [] : text.split(":"));
  const missing = tail === undefined ? 0 : 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array<string>(missing).fill("0"), ...groups(tail ?? "")];
  const digits = all.map((group) => group.padStart(4, "0")).join("");
  return `${digits.split("").toReversed().join(".")}.ip6.arpa`;
}
