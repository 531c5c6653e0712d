// A client as cheap as can be: HTTP/1.1 over one TLS connection that stays open, one request at a time. Node's own client costs as much
// as the server that is to be measured, and both share the machine.
//
// Not here: anything a client must do that meets servers it does not know.

import { connect, type SecureContext, type TLSSocket } from "node:tls";

export interface Answer {
  readonly status: number;
  /** As it was sent, chunks' sizes included. */
  readonly body: Buffer;
}

export interface Connection {
  readonly socket: TLSSocket;
  request(method: string, path: string, body?: string, headers?: string): Promise<Answer>;
  close(): void;
}

/** Opens a connection to a port of the loopback. Rejects where nobody listens. */
export function openConnection(port: number, context: SecureContext): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, secureContext: context, rejectUnauthorized: false });
    socket.setNoDelay(true);
    socket.once("error", reject);
    socket.once("secureConnect", () => {
      socket.off("error", reject);
      resolve(connectionOver(socket));
    });
  });
}

function connectionOver(socket: TLSSocket): Connection {
  let received: Buffer[] = [];
  let waiting: { resolve(answer: Answer): void; reject(error: unknown): void } | undefined;
  socket.on("data", (chunk: Buffer) => {
    received.push(chunk);
    const answer = parsed(received);
    if (answer === undefined) return;
    received = [];
    const done = waiting;
    waiting = undefined;
    done?.resolve(answer);
  });
  const fail = (error?: unknown): void => {
    waiting?.reject(error ?? new Error("the server closed the connection"));
    waiting = undefined;
  };
  socket.on("error", fail).on("close", () => fail());
  return {
    socket,
    request(method, path, body, headers = "") {
      const length = body === undefined ? "" : `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
      socket.write(
        `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench/1\r\n${headers}${length}\r\n${body ?? ""}`,
        "latin1",
      );
      return new Promise((resolve, reject) => (waiting = { resolve, reject }));
    },
    close() {
      socket.destroy();
    },
  };
}

const lastChunk = "\r\n0\r\n\r\n";

/** The answer, where all of it has come. */
function parsed(chunks: readonly Buffer[]): Answer | undefined {
  const [first, last] = [chunks[0], chunks.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  const end = first.indexOf("\r\n\r\n");
  if (end < 0) return chunks.length > 1 ? parsed([Buffer.concat(chunks)]) : undefined;
  const head = first.toString("latin1", 0, end);
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0) - end - 4;
  if (length === undefined ? !endsWith(chunks, last, lastChunk) : bytes < Number(length)) return undefined;
  return { status: Number(head.slice(9, 12)), body: Buffer.concat(chunks).subarray(end + 4) };
}

function endsWith(chunks: readonly Buffer[], last: Buffer, text: string): boolean {
  const tail = last.length >= text.length ? last : Buffer.concat(chunks.slice(-3));
  return tail.toString("latin1", Math.max(0, tail.length - text.length)) === text;
}
