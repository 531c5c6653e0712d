// DNS over TCP (RFC 7766): messages with two bytes of length before them, many at once on a connection, answered as they get ready.
// A connection that says nothing for ten seconds is closed, and there are only so many connections and questions at once.

import net from "node:net";

import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { listenTcpFd, type SocketAddress } from "../../kernel/sockets.ts";
import type { Client, Responder } from "./responder.ts";

export interface TcpServer {
  /** Closes the listener and every connection. */
  close(): Promise<void>;
}

/** Serves DNS on a TCP address of the namespace. Throws KernelError where the port is taken. */
export async function startTcp(
  namespace: NetworkNamespace,
  address: SocketAddress,
  responder: Responder,
): Promise<TcpServer> {
  const connections = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    connections.add(socket);
    socket.on("close", () => connections.delete(socket));
    serveConnection(socket, responder);
  });
  server.maxConnections = connectionsMax;
  await listen(server, listenTcpFd(namespace, address));
  return {
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of connections) socket.destroy();
      await closed;
    },
  };
}

/** Takes over a listening descriptor. Rejects where it cannot be listened on. */
export async function listen(server: net.Server, fd: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ fd }, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

const connectionsMax = 1000;
/** Questions of one connection under way; reading stops until some are answered. */
const waitingMax = 100;
/** RFC 7766 6.2.3 leaves it to the server; CoreDNS has ten seconds too. */
const idleMs = 10_000;

function serveConnection(socket: net.Socket, responder: Responder): void {
  let unread: Buffer = Buffer.alloc(0);
  let waiting = 0;
  // One at a time: a client that asks for many has them no sooner at once.
  let zones: Promise<void> = Promise.resolve();
  const { remoteAddress = "", remotePort = 0 } = socket;
  const address = remoteAddress.startsWith("::ffff:") ? remoteAddress.slice(7) : remoteAddress;
  const client: Client = { family: address.includes(":") ? 6 : 4, source: () => ({ address, port: remotePort }) };

  const answer = async (asked: Uint8Array): Promise<void> => {
    const response = await responder.stream(asked, client);
    if (response !== undefined && !(response instanceof Uint8Array))
      await (zones = zones.then(() => sendAll(response)));
    waiting--;
    // Not a question: whoever sends such things by TCP gets the door.
    if (response === undefined) socket.destroy();
    if (response === undefined || socket.destroyed) return;
    if (response instanceof Uint8Array) send(response);
    takeQuestions();
  };

  const send = (response: Uint8Array): void => {
    const framed = Buffer.allocUnsafe(response.length + 2);
    framed.writeUInt16BE(response.length, 0);
    framed.set(response, 2);
    socket.write(framed);
  };

  /** A zone is sent as fast as its client takes it. */
  const sendAll = async (messages: Iterable<Uint8Array>): Promise<void> => {
    try {
      for (const message of messages) {
        if (socket.destroyed) return;
        send(message);
        if (socket.writableNeedDrain) await drained(socket);
      }
    } catch {
      // What is left out is seen: the SOA at the end is missing.
      socket.destroy();
    }
  };

  const takeQuestions = (): void => {
    while (unread.length >= 2 && waiting < waitingMax && !socket.destroyed) {
      const end = 2 + unread.readUInt16BE(0);
      if (unread.length < end) break;
      const asked = unread.subarray(2, end);
      unread = unread.subarray(end);
      waiting++;
      void answer(asked);
    }
    // A client that does not read its answers gets no more of them.
    if (waiting >= waitingMax || socket.writableNeedDrain) socket.pause();
    else socket.resume();
  };

  socket.setNoDelay(true);
  socket.setTimeout(idleMs, () => socket.destroy());
  socket.on("error", () => socket.destroy());
  socket.on("drain", takeQuestions);
  socket.on("data", (data: Buffer) => {
    unread = unread.length === 0 ? data : Buffer.concat([unread, data]);
    takeQuestions();
  });
}

/** Resolves when there is room again, or nobody who needs it. */
async function drained(socket: net.Socket): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      socket.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
  });
}
