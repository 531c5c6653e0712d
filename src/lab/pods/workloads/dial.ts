// Reaching out from a pod, from inside the daemon: HTTP, TCP and UDP on sockets of the pod's network namespace, names by the pod's resolv.conf.

import { createSocket } from "node:dgram";
import type { RequestOptions } from "node:http";
import type { IncomingMessage } from "node:http";
import type net from "node:net";
import { http } from "../../../kernel/http.ts";
import { familyOf, type Address } from "../../../ip/address.ts";
import type { NetworkNamespace } from "../../../kernel/namespaces.ts";
import { bindUdpFd } from "../../../kernel/sockets.ts";
import { dial } from "../checks.ts";
import { createResolver, type Exchange } from "../resolver.ts";

/** Where to dial from. */
export interface Origin {
  readonly namespace: NetworkNamespace;
  readonly resolvConf: string;
}

/** The first address of a name, as the pod sees it. Rejects where it has none. */
export async function resolveName(from: Origin, name: string): Promise<Address> {
  const plain = name.replace(/^\[(.*)\]$/, "$1");
  const [address] = await createResolver(from.resolvConf, udpExchange(from.namespace)).addresses(plain);
  if (address === undefined) throw new Error(`lookup ${plain}: no such host`);
  return address;
}

/** A TCP connection to a name or address. */
export async function connectTo(from: Origin, host: string, port: number): Promise<net.Socket> {
  const socket = dial(from.namespace, await resolveName(from, host), port);
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  return socket;
}

/** An HTTP request; resolves with the response, its body unread. */
export async function requestFrom(
  from: Origin,
  options: { readonly host: string; readonly port: number; readonly timeoutMs: number } & RequestOptions,
  body?: IncomingMessage | string,
): Promise<IncomingMessage> {
  const { host, port, timeoutMs, ...rest } = options;
  const address = await resolveName(from, host);
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        headers: { host: `${host}:${port}` },
        ...rest,
        createConnection: () => dial(from.namespace, address, port),
        timeout: timeoutMs,
      },
      resolve,
    );
    request.on("timeout", () => request.destroy(new Error("i/o timeout")));
    request.on("error", reject);
    if (body === undefined || typeof body === "string") request.end(body);
    else body.pipe(request);
  });
}

/** Sends one datagram and gives the first answer. Rejects after the timeout. */
export async function askUdp(
  from: Origin,
  host: string,
  port: number,
  message: string,
  timeoutMs: number,
): Promise<string> {
  const address = await resolveName(from, host);
  const answer = await exchangeDatagram(from.namespace, { address, port }, Buffer.from(message, "utf8"), timeoutMs);
  return answer.toString("utf8");
}

function udpExchange(namespace: NetworkNamespace): Exchange {
  return (server, query) => exchangeDatagram(namespace, server, query, 2000);
}

function exchangeDatagram(
  namespace: NetworkNamespace,
  to: { readonly address: Address; readonly port: number },
  message: Uint8Array,
  timeoutMs: number,
): Promise<Buffer> {
  const family = familyOf(to.address);
  const fd = bindUdpFd(namespace, { address: family === 4 ? "0.0.0.0" : "::", port: 0 });
  const socket = createSocket(family === 4 ? "udp4" : "udp6");
  return new Promise<Buffer>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`read udp ${to.address}:${to.port}: i/o timeout`)), timeoutMs);
    socket.on("message", (answer) => {
      clearTimeout(timer);
      resolve(answer);
    });
    socket.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    socket.bind({ fd }, () => socket.send(message, to.port, to.address));
  }).finally(() => socket.close());
}
