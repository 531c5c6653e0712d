// The way of those who can speak to a unix socket (bin/fairlead-cni.mjs): the request, the end of what the caller says, the answer.
//
// Invariant: a caller who says nothing is cut off, of one who says too much a byte too many is kept; nobody else notices.
// Not here: what a request means (handle.ts).

import { createServer, type Server, type Socket } from "node:net";

import { requestBytesMax } from "./request.ts";

const callersMax = 512;
const silenceMsMax = 10_000;
const endlessBytes = 16 * requestBytesMax;

/** A server on no address yet. `heard` is called when the answer has left, or could not. */
export function createCniSocket(
  answer: (request: Uint8Array) => Promise<{ readonly text: string; readonly heard: (heard: boolean) => void }>,
): Server {
  const server = createServer({ allowHalfOpen: true }, (socket) => listenTo(socket, answer));
  server.maxConnections = callersMax;
  return server;
}

function listenTo(socket: Socket, answer: Parameters<typeof createCniSocket>[0]): void {
  const chunks: Buffer[] = [];
  let size = 0;
  socket.setTimeout(silenceMsMax, () => socket.destroy());
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size > endlessBytes) socket.destroy();
    // What is too long is refused by name (request.ts), and not kept.
    const room = requestBytesMax + 1 - (size - chunk.length);
    if (room > 0) chunks.push(chunk.subarray(0, room));
  });
  socket.on("end", () => {
    socket.setTimeout(0);
    void answer(Buffer.concat(chunks)).then(({ text, heard }) => {
      if (socket.destroyed) heard(false);
      else socket.end(text, () => heard(true));
    });
  });
}
