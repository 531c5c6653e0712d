// The helper outside: serves the daemon's requests from the host's network until the daemon goes away.

import net from "node:net";

import { buildFrame, createFrameReader, frameKinds, parseQuestion, type Frame, type FrameKind } from "./protocol.ts";
import { createHostResolver, type HostResolver } from "./resolver.ts";

/** Serves the descriptor; resolves when the other side has closed it, or says something that is not ours. */
export async function runOutsideHelper(fd: number, resolver: HostResolver = createHostResolver()): Promise<void> {
  const socket = new net.Socket({ fd, readable: true, writable: true });

  const send = (kind: FrameKind, request: number, payload: Uint8Array): void => {
    if (!socket.destroyed) socket.write(buildFrame({ kind, request, payload }));
  };

  const answer = async (frame: Frame): Promise<void> => {
    try {
      const { kind, payload } = frame;
      const response = kind === frameKinds.ask ? resolver.ask(parseQuestion(payload)) : resolver.resolve(payload);
      send(frameKinds.answer, frame.request, await response);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      send(frameKinds.failed, frame.request, Buffer.from(reason, "utf8"));
    }
  };

  const read = createFrameReader((frame) => {
    if (frame.kind === frameKinds.resolve || frame.kind === frameKinds.ask) void answer(frame);
    else socket.destroy();
  });
  socket.on("data", (chunk: Buffer) => {
    try {
      read(chunk);
    } catch {
      socket.destroy();
    }
  });
  await new Promise<void>((done) => {
    // An error means the same as an end here: nobody is left to serve.
    socket.on("error", () => done());
    socket.on("close", () => done());
  });
}
