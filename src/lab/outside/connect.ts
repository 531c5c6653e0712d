// The daemon's side of the helper outside (helper.ts): what of the host's network the lab may use, as functions.

import net from "node:net";

import {
  buildFrame,
  buildQuestion,
  createFrameReader,
  frameKinds,
  type Frame,
  type FrameKind,
  type Question,
} from "./protocol.ts";

/** What lies outside of the lab. */
export interface Outside {
  /** The host's resolvers' response to a DNS query. Rejects with the reason where there is none: no resolver, no answer, no helper. */
  resolve(query: Uint8Array): Promise<Uint8Array>;
  /** A server's response to a DNS query, asked from the host's network. Rejects likewise. */
  ask(question: Question): Promise<Uint8Array>;
  /** Lets the helper end; what still waits is rejected. */
  close(): void;
}

/** Takes over the descriptor that leads to the helper. */
export function connectOutside(fd: number): Outside {
  const socket = new net.Socket({ fd, readable: true, writable: true });
  const waiting = new Map<number, { resolve: (response: Uint8Array) => void; reject: (error: Error) => void }>();
  let gone: Error | undefined;
  let last = 0;

  const end = (why: string): void => {
    gone ??= new Error(`ask a DNS server outside of the lab: ${why}`);
    socket.destroy();
    for (const { reject } of waiting.values()) reject(gone);
    waiting.clear();
  };

  const take = (frame: Frame): void => {
    const request = waiting.get(frame.request);
    waiting.delete(frame.request);
    switch (frame.kind) {
      case frameKinds.answer:
        request?.resolve(frame.payload);
        return;
      case frameKinds.failed:
        request?.reject(new Error(Buffer.from(frame.payload).toString("utf8")));
        return;
      case frameKinds.resolve:
      case frameKinds.ask:
        end("the helper outside asks questions itself");
    }
  };

  const read = createFrameReader(take);
  socket.on("data", (chunk: Buffer) => {
    try {
      read(chunk);
    } catch (error) {
      end(String(error));
    }
  });
  const gonePhrase = "the helper process outside is gone; `fairlead down` and `up` start a new one";
  socket.on("error", () => end(gonePhrase));
  socket.on("close", () => end(gonePhrase));

  const request = (kind: FrameKind, payload: Uint8Array): Promise<Uint8Array> => {
    if (gone !== undefined) return Promise.reject(gone);
    last = (last + 1) % 0x1_0000_0000;
    const number = last;
    return new Promise((resolve, reject) => {
      waiting.set(number, { resolve, reject });
      socket.write(buildFrame({ kind, request: number, payload }));
    });
  };
  return {
    resolve: (query) => request(frameKinds.resolve, query),
    ask: (question) => request(frameKinds.ask, buildQuestion(question)),
    close: () => end("the lab is stopping"),
  };
}
