// A small SPDY/3.1 client for tests: it opens streams as moby/spdystream does, with really compressed headers.

import { PassThrough, type Duplex } from "node:stream";
import { constants, createDeflate } from "node:zlib";
import { createFrameParser, formatFrame, type SpdyFrame } from "./spdy-frames.ts";
import { createHeaderReader, dictionary, formatHeaders } from "./spdy-headers.ts";

export interface ClientStream {
  readonly id: number;
  /** What the server sent, until it ended its half. */
  readonly received: PassThrough;
  /** Resolves with what the server sent in all. */
  text(): Promise<string>;
  /** Resolves with RST_STREAM's status when the server resets. */
  readonly reset: Promise<number>;
  /** Resolves with the server's reply headers. */
  readonly replied: Promise<ReadonlyMap<string, string>>;
  write(data: string | Uint8Array): void;
  end(): void;
  resetNow(): void;
}

export interface SpdyClient {
  open(
    headers: Readonly<Record<string, string>>,
    options?: { readonly fin?: boolean; readonly id?: number },
  ): Promise<ClientStream>;
  send(frame: SpdyFrame): void;
  /** Frames that belong to no stream. */
  readonly control: SpdyFrame[];
  readonly closed: Promise<void>;
  close(): void;
}

export function spdyClient(transport: Duplex): SpdyClient {
  const deflate = createDeflate({ dictionary, flush: constants.Z_SYNC_FLUSH });
  const reader = createHeaderReader();
  const parse = createFrameParser();
  const streams = new Map<
    number,
    { stream: ClientStream; replied: (headers: ReadonlyMap<string, string>) => void; reset: (status: number) => void }
  >();
  const control: SpdyFrame[] = [];
  let next = 1;
  let order = Promise.resolve();

  const compress = (headers: ReadonlyMap<string, string>): Promise<Buffer> =>
    new Promise((resolve) => {
      const parts: Buffer[] = [];
      const collect = (part: Buffer): void => void parts.push(part);
      deflate.on("data", collect);
      deflate.write(formatHeaders(headers), () => {
        deflate.off("data", collect);
        resolve(Buffer.concat(parts));
      });
    });
  const send = (frame: SpdyFrame): void => void transport.write(formatFrame(frame));

  const closed = (async () => {
    try {
      for await (const chunk of transport)
        for (const frame of parse(chunk as Buffer)) {
          const found = "stream" in frame ? streams.get(frame.stream) : undefined;
          if (frame.kind === "data") {
            found?.stream.received.write(frame.bytes);
            if (frame.fin) found?.stream.received.end();
          } else if (frame.kind === "syn-reply") found?.replied(await reader.read(frame.headers));
          else if (frame.kind === "rst-stream") {
            found?.reset(frame.status);
            found?.stream.received.end();
          } else control.push(frame);
        }
    } catch {
      // Closed under our hands: that is what `closed` tells.
    }
    for (const { stream } of streams.values()) stream.received.end();
  })();

  return {
    control,
    closed,
    send,
    close: () => void transport.end(),
    async open(headers, options = {}) {
      const id = options.id ?? next;
      next = Math.max(next, id) + 2;
      const replied = Promise.withResolvers<ReadonlyMap<string, string>>();
      const reset = Promise.withResolvers<number>();
      const received = new PassThrough();
      received.on("error", () => {});
      const stream: ClientStream = {
        id,
        received,
        replied: replied.promise,
        reset: reset.promise,
        write: (data) => send({ kind: "data", stream: id, fin: false, bytes: Buffer.from(data as string) }),
        end: () => send({ kind: "data", stream: id, fin: true, bytes: new Uint8Array() }),
        resetNow: () => send({ kind: "rst-stream", stream: id, status: 5 }),
        async text() {
          let text = "";
          for await (const chunk of received) text += (chunk as Buffer).toString();
          return text;
        },
      };
      streams.set(id, { stream, replied: replied.resolve, reset: reset.resolve });
      // Compression has a memory: blocks are made, and sent, in the order of the ids.
      const before = order;
      const done = Promise.withResolvers<void>();
      order = done.promise;
      await before;
      const block = await compress(new Map(Object.entries(headers)));
      send({ kind: "syn-stream", stream: id, fin: options.fin === true, unidirectional: false, headers: block });
      done.resolve();
      return stream;
    },
  };
}
