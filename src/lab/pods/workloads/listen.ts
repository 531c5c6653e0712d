// Listening inside a pod from the daemon: HTTP, TCP and UDP servers on sockets that belong to the pod's network namespace.

import { createSocket, type RemoteInfo, type Socket as UdpSocket } from "node:dgram";
import type { IncomingMessage, Server as HttpServer, ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import net from "node:net";
import { http } from "../../../kernel/http.ts";
import type { Address } from "../../../ip/address.ts";
import type { NetworkNamespace } from "../../../kernel/namespaces.ts";
import { bindUdpFd, listenTcpFd } from "../../../kernel/sockets.ts";
import type { RunningWorkload } from "./workload.ts";

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

export interface Listen {
  readonly namespace: NetworkNamespace;
  readonly port: number;
  /** All addresses of both families where it is left out. */
  readonly address?: Address;
}

/** Serves HTTP. Throws KernelError (EADDRINUSE …) before anything is served. */
export function serveHttp(where: Listen, handler: Handler): RunningWorkload & { readonly server: HttpServer } {
  return serveOn(where, http.createServer({ keepAliveTimeout }, handler));
}

/** Serves HTTPS with a certificate and its key, both PEM. Throws KernelError, and OpenSSL's error for a pair that does not fit. */
export function serveHttps(
  where: Listen,
  { certificate, key }: { readonly certificate: string; readonly key: string },
  handler: Handler,
): RunningWorkload {
  return serveOn(where, createSecureServer({ keepAliveTimeout, cert: certificate, key }, handler));
}

/** Milliseconds. A backlog of requests on kept connections is fine; a minute of idleness ends one, as most servers have it. */
const keepAliveTimeout = 65_000;

function serveOn(where: Listen, server: HttpServer): RunningWorkload & { readonly server: HttpServer } {
  const fd = listenTcpFd(where.namespace, where);
  server.on("clientError", (_error, socket) => {
    if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    else socket.destroy();
  });
  server.listen({ fd });
  return {
    server,
    stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Serves TCP connections. Throws KernelError. */
export function serveTcp(where: Listen, connected: (socket: net.Socket) => void): RunningWorkload {
  const fd = listenTcpFd(where.namespace, where);
  const open = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    socket.on("error", () => socket.destroy());
    connected(socket);
  });
  server.listen({ fd });
  return {
    stop() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

/** Answers UDP datagrams: a returned text or bytes is sent back. Throws KernelError. */
export function serveUdp(
  where: Listen,
  answer: (message: Buffer, from: RemoteInfo) => string | Uint8Array | undefined,
): RunningWorkload {
  const fd = bindUdpFd(where.namespace, where);
  const socket: UdpSocket = createSocket(where.address?.includes(":") === false ? "udp4" : "udp6");
  // Errors of single datagrams (a client that has gone) are not the server's end.
  socket.on("error", () => {});
  socket.on("message", (message, from) => {
    const reply = answer(message, from);
    if (reply !== undefined) socket.send(reply, from.port, from.address);
  });
  socket.bind({ fd });
  let open = true;
  return {
    stop() {
      if (open) socket.close();
      open = false;
    },
  };
}

/** Several servers as one. */
export function together(...running: readonly RunningWorkload[]): RunningWorkload {
  return {
    stop() {
      for (const one of running) one.stop();
    },
  };
}

/** Starts servers one after the other; when one fails, those before it are stopped. Throws what the failing one threw. */
export function startAll(starts: readonly (() => RunningWorkload)[]): RunningWorkload {
  const running: RunningWorkload[] = [];
  try {
    for (const start of starts) running.push(start());
  } catch (error) {
    together(...running).stop();
    throw error;
  }
  return together(...running);
}

/** The client's address and port as servers print them: IPv4 plainly, IPv6 in brackets. */
export function clientText({ address, port }: { readonly address?: string; readonly port?: number }): string {
  const plain = plainAddress(address);
  return plain.includes(":") ? `[${plain}]:${port ?? 0}` : `${plain}:${port ?? 0}`;
}

/** The client's address; a socket of both families shows IPv4 clients as ::ffff:10.0.0.1 (RFC 4291 2.5.5.2). */
export function plainAddress(address: string | undefined): string {
  return (address ?? "").replace(/^::ffff:(?=\d+\.)/, "");
}

/** The client of a request, as `address:port`. */
export function remoteText(request: IncomingMessage): string {
  const { remoteAddress, remotePort } = request.socket;
  return clientText({
    ...(remoteAddress === undefined ? {} : { address: remoteAddress }),
    ...(remotePort === undefined ? {} : { port: remotePort }),
  });
}

/** Sends a whole answer. */
export function send(
  response: ServerResponse,
  status: number,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): void {
  // Set, not only written: access logs ask for it afterwards.
  response.setHeader("content-length", Buffer.byteLength(body));
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8", ...headers });
  response.end(response.req.method === "HEAD" ? undefined : body);
}

/** As `send`, with the content type that Go's net/http finds out by looking at the first bytes. */
export function sendSniffed(response: ServerResponse, status: number, body: string): void {
  // WHATWG MIME Sniffing 7.1: a tag of this list, in any case, ended by a space or >.
  const isHtml =
    /^\s*<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p|!--)[\s>]/i.test(body);
  send(response, status, body, isHtml ? { "content-type": "text/html; charset=utf-8" } : {});
}

/** Collects a request's body up to a limit; what is over it is left out. */
export function readBody(request: IncomingMessage, bytesMax: number, done: (body: Buffer) => void): void {
  const chunks: Buffer[] = [];
  let size = 0;
  request.on("data", (chunk: Buffer) => {
    if (size < bytesMax) chunks.push(chunk.subarray(0, bytesMax - size));
    size += chunk.length;
  });
  request.on("end", () => done(Buffer.concat(chunks)));
}
