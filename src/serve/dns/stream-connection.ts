// One TCP or TLS connection to a DNS server (RFC 7766, RFC 7858), opened when it is needed, shared by many questions at once, closed when idle.
// Answers may come in any order: each is given to the question with its id.

import net from "node:net";
import tls from "node:tls";

import { familyOf, type Address } from "../../ip/address.ts";
import type { NetworkNamespace } from "../../kernel/namespaces.ts";
import { tcpSocketFd } from "../../kernel/sockets.ts";

export interface StreamConnection {
  /** The response to a query; the query's id is given back in it. Rejects with the reason. */
  ask(query: Uint8Array): Promise<Uint8Array>;
  /** At once, or when the questions under way are answered. */
  close(how: "at once" | "when answered"): void;
}

export interface StreamOptions {
  readonly namespace: NetworkNamespace;
  readonly address: Address;
  readonly port: number;
  /** For messages. */
  readonly name: string;
  /** For each answer. */
  readonly timeoutMs: number;
  /** How long it stays open without a question. */
  readonly idleMs: number;
  /** `serverName` is what the certificate must be for; the address where it is missing. Texts are PEM. */
  readonly tls?: { readonly serverName?: string; readonly ca?: string; readonly cert?: string; readonly key?: string };
}

interface Waiting {
  readonly id: number;
  readonly resolve: (response: Uint8Array) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export function createStreamConnection(options: StreamOptions): StreamConnection {
  const { name, timeoutMs } = options;
  let socket: net.Socket | undefined;
  let closing = false;
  let waiting = new Map<number, Waiting>();

  const open = (): net.Socket => {
    const opened = connect(options);
    // Questions of an old connection are never answered by a new one.
    const asked = (waiting = new Map<number, Waiting>());
    let unread: Buffer = Buffer.alloc(0);
    let reason: Error | undefined;
    opened.on("error", (error) => (reason = error));
    opened.on("close", () => {
      if (socket === opened) socket = undefined;
      for (const each of asked.values()) {
        clearTimeout(each.timer);
        each.reject(new Error(`ask ${name}: ${reason?.message ?? "the server closed the connection"}`));
      }
      asked.clear();
    });
    opened.setTimeout(options.idleMs, () => {
      if (asked.size === 0) opened.destroy();
    });
    opened.on("data", (data: Buffer) => {
      unread = unread.length === 0 ? data : Buffer.concat([unread, data]);
      while (unread.length >= 2 && unread.length >= 2 + unread.readUInt16BE(0)) {
        const response = Uint8Array.from(unread.subarray(2, 2 + unread.readUInt16BE(0)));
        unread = unread.subarray(2 + response.length);
        give(asked, response);
        if (closing && asked.size === 0) opened.destroy();
      }
    });
    return opened;
  };

  return {
    ask(query) {
      const to = (socket ??= open());
      const asked = waiting;
      return new Promise((resolve, reject) => {
        let id = ((query[0] ?? 0) << 8) | (query[1] ?? 0);
        const own = id;
        while (asked.has(id)) id = (id + 1) & 0xffff;
        const timer = setTimeout(() => {
          asked.delete(id);
          reject(new Error(`ask ${name}: no answer within ${timeoutMs} ms`));
          // It may be dead; the next question opens another.
          if (socket === to) socket = undefined;
          if (asked.size === 0) to.destroy();
        }, timeoutMs);
        asked.set(id, { id: own, resolve, reject, timer });
        const framed = Buffer.alloc(query.length + 2);
        framed.writeUInt16BE(query.length);
        framed.set(query, 2);
        framed.writeUInt16BE(id, 2);
        to.write(framed);
      });
    },
    close(how) {
      closing = true;
      if (how === "at once" || waiting.size === 0) socket?.destroy();
    },
  };
}

function give(asked: Map<number, Waiting>, response: Uint8Array): void {
  const id = ((response[0] ?? 0) << 8) | (response[1] ?? 0);
  const each = asked.get(id);
  if (each === undefined) return;
  asked.delete(id);
  clearTimeout(each.timer);
  response[0] = each.id >>> 8;
  response[1] = each.id;
  each.resolve(response);
}

function connect({ namespace, address, port, tls: secure }: StreamOptions): net.Socket {
  const plain = new net.Socket({ fd: tcpSocketFd(namespace, familyOf(address)) });
  plain.setNoDelay(true);
  plain.connect({ host: address, port });
  if (secure === undefined) return plain;
  const { serverName, ca, cert, key } = secure;
  const wrapped = tls.connect({
    socket: plain,
    // RFC 6066 3: an address is no server name; the certificate must still be for it.
    ...(serverName === undefined ? { host: address } : { servername: serverName }),
    ALPNProtocols: ["dot"],
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  });
  plain.on("error", (error) => wrapped.destroy(error));
  return wrapped;
}
