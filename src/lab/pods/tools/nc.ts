// nc, for machines that have none: the options of OpenBSD's netcat that demos use, with its messages.

import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import net from "node:net";
import process from "node:process";
import { parseOptions, UsageError, type OptionTable, type ParsedOptions } from "./options.ts";

/** 0 where it connected (every port), else 1. */
export async function nc(words: readonly string[]): Promise<number> {
  let options: ParsedOptions;
  try {
    options = parseOptions(words, table);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`nc: ${error.message} (this is Fairlead's small nc; the machine has none)\n`);
    return 1;
  }
  if (options.has("l")) return listen(options);
  const [host, ports] = options.rest;
  if (host === undefined || ports === undefined) {
    process.stderr.write("usage: nc [-46klNnuvz] [-p port] [-W datagrams] [-w seconds] host port\n");
    return 1;
  }
  let status = 1;
  for (const port of portsOf(ports)) if ((await visit(host, port, options)) === 0) status = 0;
  return status;
}

const table: OptionTable = {
  flags: ["z", "v", "u", "l", "n", "k", "N", "4", "6", "t", "d"],
  values: ["w", "W", "p", "q", "s", "i", "e"],
};

function portsOf(text: string): readonly number[] {
  const [first = 0, last = first] = text.split("-").map(Number);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
}

const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: "Connection refused",
  EHOSTUNREACH: "No route to host",
  ENETUNREACH: "Network is unreachable",
  ETIMEDOUT: "Connection timed out",
};

async function visit(host: string, port: number, options: ParsedOptions): Promise<number> {
  const family = options.has("4") ? 4 : options.has("6") ? 6 : 0;
  let address: string;
  try {
    ({ address } = await lookup(host, { family }));
  } catch {
    process.stderr.write(`nc: getaddrinfo for host "${host}" port ${port}: Name or service not known\n`);
    return 1;
  }
  const protocol = options.has("u") ? "udp" : "tcp";
  const name = host === address ? host : `${host} (${address})`;
  const timeoutMs = options.has("w") ? Number(options.value("w")) * 1000 : undefined;
  try {
    await (protocol === "udp"
      ? visitUdp(address, port, options, timeoutMs)
      : visitTcp(address, port, options, timeoutMs, () => succeeded()));
    if (protocol === "udp" && options.has("z")) succeeded();
    return 0;
  } catch (error) {
    const why = words[(error as NodeJS.ErrnoException).code ?? ""] ?? (error as Error).message;
    if (options.has("v") || !options.has("z"))
      process.stderr.write(`nc: connect to ${name} port ${port} (${protocol}) failed: ${why}\n`);
    return 1;
  }
  function succeeded(): void {
    if (options.has("v")) process.stderr.write(`Connection to ${name} ${port} port [${protocol}/*] succeeded!\n`);
  }
}

function visitTcp(
  host: string,
  port: number,
  options: ParsedOptions,
  timeoutMs: number | undefined,
  connected: () => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const localPort = options.value("p");
    const socket = net.connect({
      host,
      port,
      allowHalfOpen: true,
      ...(localPort === undefined ? {} : { localPort: Number(localPort) }),
    });
    if (timeoutMs !== undefined)
      socket.setTimeout(timeoutMs, () => socket.destroy(Object.assign(new Error(), { code: "ETIMEDOUT" })));
    socket.once("error", reject);
    socket.once("connect", () => {
      connected();
      if (options.has("z")) {
        socket.destroy();
        return resolve();
      }
      // Idleness after the connection stands ends it, and is no failure.
      if (timeoutMs !== undefined) socket.setTimeout(timeoutMs, () => socket.destroy());
      converse(socket, false);
      socket.once("close", () => {
        process.stdin.destroy();
        resolve();
      });
    });
  });
}

/** Both ways, until both sides have ended theirs. A listener ends with the other side, and so does who sits at a terminal. */
function converse(socket: net.Socket, isListener: boolean): void {
  const { stdin, stdout } = process;
  const say = (chunk: Uint8Array): void => void socket.write(chunk);
  const end = (): void => void socket.end();
  socket.on("data", (chunk) => void stdout.write(chunk));
  socket.on("end", () => {
    if (isListener || stdin.isTTY) end();
  });
  socket.once("close", () => stdin.off("data", say).off("end", end));
  if (stdin.readableEnded) return end();
  stdin.on("data", say).on("end", end);
}

/** A datagram, then whatever comes back, until it is quiet or as many have come as `-W` says. Port unreachable is a failure. */
function visitUdp(host: string, port: number, options: ParsedOptions, timeoutMs = 1000): Promise<void> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  let timer: NodeJS.Timeout | undefined;
  return new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    let wanted = Number(options.value("W") ?? Infinity);
    let isQuiet = false;
    socket.on("message", (message) => {
      process.stdout.write(message);
      isQuiet = false;
      timer?.refresh();
      if (--wanted <= 0) resolve();
    });
    // A process that was not let run for so long may have been answered: the socket is read once more before that is believed.
    timer = setTimeout(() => {
      isQuiet = true;
      setImmediate(() => {
        if (isQuiet) resolve();
      });
    }, timeoutMs);
    socket.connect(port, host, () => {
      if (options.has("z")) {
        // A refusal (ICMP) shows on the next send.
        socket.send("X");
        setTimeout(() => socket.send("X"), 100);
        return;
      }
      process.stdin.on("data", (chunk) => {
        socket.send(chunk);
        timer?.refresh();
      });
    });
  }).finally(() => {
    clearTimeout(timer);
    socket.close();
    process.stdin.destroy();
  });
}

function listen(options: ParsedOptions): Promise<number> {
  const port = Number(options.value("p") ?? options.rest.at(-1));
  const address = options.rest.length > 1 ? options.rest[0] : undefined;
  return options.has("u") ? listenUdp(port, address) : listenTcp(port, address, options);
}

function listenTcp(port: number, address: string | undefined, options: ParsedOptions): Promise<number> {
  return new Promise((resolve) => {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      if (options.has("v"))
        process.stderr.write(`Connection received on ${socket.remoteAddress} ${socket.remotePort}\n`);
      socket.on("error", () => socket.destroy());
      converse(socket, true);
      if (options.has("k")) return;
      server.close();
      socket.once("close", () => {
        process.stdin.destroy();
        resolve(0);
      });
    });
    server.once("error", (error: NodeJS.ErrnoException) => {
      process.stderr.write(`nc: ${error.code === "EADDRINUSE" ? "Address already in use" : error.message}\n`);
      resolve(1);
    });
    server.listen({ port, ...(address === undefined ? {} : { host: address }) }, () => {
      if (options.has("v")) process.stderr.write(`Listening on ${address ?? "0.0.0.0"} ${port}\n`);
    });
  });
}

function listenUdp(port: number, address: string | undefined): Promise<number> {
  return new Promise((resolve) => {
    const socket = createSocket("udp6");
    let peer: { readonly address: string; readonly port: number } | undefined;
    socket.on("message", (message, from) => {
      peer ??= from;
      process.stdout.write(message);
    });
    socket.on("error", (error) => {
      process.stderr.write(`nc: ${error.message}\n`);
      resolve(1);
    });
    process.stdin.on("data", (chunk) => {
      if (peer !== undefined) socket.send(chunk, peer.port, peer.address);
    });
    socket.bind({ port, ...(address === undefined ? {} : { address }) });
  });
}
