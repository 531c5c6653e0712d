// The server's side of a SPDY/3.1 connection, as Kubernetes clients use it: they open streams, we answer and speak on them.
// Flow control is left out on purpose: those clients (moby/spdystream) neither send window updates nor heed them; back-pressure is TCP's.
//
// Not here: frames and headers as bytes (spdy-frames.ts, spdy-headers.ts), what the streams mean (remote-command.ts, port-forward.ts).

import { Duplex } from "node:stream";
import { createFrameParser, formatFrame, spdyStatus, type SpdyFrame } from "./spdy-frames.ts";
import { createHeaderReader, createHeaderWriter, type SpdyHeaders } from "./spdy-headers.ts";

/** One stream, opened by the client. Ending it half-closes our direction; destroying it resets it. */
export interface SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: SpdyHeaders;
}

export interface SpdyConnection {
  /** Resolves when the connection is over, whoever ended it. */
  readonly closed: Promise<void>;
  /** Ends the connection after what has been written. */
  close(): void;
}

/** Serves a connection whose upgrade has been answered. Streams are told in the order in which they were opened. */
export function serveSpdy(transport: Duplex, opened: (stream: SpdyStream) => void): SpdyConnection {
  const streams = new Map<number, Incoming>();
  const writeHeaders = createHeaderWriter();
  const readHeaders = createHeaderReader();
  const parse = createFrameParser();
  let lastStream = 0;

  const send = (frame: SpdyFrame, sent: (error?: Error | null) => void = () => {}): void => {
    if (transport.writable) transport.write(formatFrame(frame), sent);
    else sent(new Error("the connection is closed"));
  };

  const open = (id: number, fin: boolean, headers: SpdyHeaders): void => {
    const stream = createStream(id, headers, send, () => streams.delete(id));
    streams.set(id, stream);
    send({ kind: "syn-reply", stream: id, fin: false, headers: writeHeaders(new Map()) });
    opened(stream.duplex);
    if (fin) stream.end();
  };

  const take = async (frame: SpdyFrame): Promise<void> => {
    switch (frame.kind) {
      case "syn-stream": {
        // Compression has a memory: also the headers of a refused stream must be read.
        const headers = await readHeaders.read(frame.headers);
        // 2.3.2: a client's ids are odd and grow.
        if (frame.stream <= lastStream || frame.stream % 2 === 0 || streams.size >= streamsMax)
          return send({ kind: "rst-stream", stream: frame.stream, status: spdyStatus.refusedStream });
        lastStream = frame.stream;
        return open(frame.stream, frame.fin, headers);
      }
      case "syn-reply":
      case "headers":
        await readHeaders.read(frame.headers);
        if (frame.fin) streams.get(frame.stream)?.end();
        return;
      case "data": {
        const stream = streams.get(frame.stream);
        if (frame.bytes.length > 0) await stream?.take(frame.bytes);
        if (frame.fin) stream?.end();
        return;
      }
      case "rst-stream":
        return streams.get(frame.stream)?.lost();
      case "ping":
        // 2.6.5: a client's pings have odd ids and are sent back; even ones would be answers to ours.
        if (frame.id % 2 === 1) send(frame);
        return;
      case "settings":
      case "goaway":
      case "window-update":
        return;
    }
  };

  const cutOff = (): void => {
    for (const stream of streams.values()) stream.lost();
  };
  // Also while a slow reader holds the loop below.
  transport.once("close", cutOff);
  transport.on("error", () => {});

  const read = async (): Promise<void> => {
    try {
      for await (const chunk of transport) for (const frame of parse(chunk as Buffer)) await take(frame);
    } catch {
      // Broken by the network, or no SPDY: either way it is over.
    }
    cutOff();
    readHeaders.close();
    transport.end();
    transport.destroy();
  };

  return {
    closed: read(),
    close: () => {
      send({ kind: "goaway", lastStream, status: 0 });
      transport.end();
    },
  };
}

/** One client may have this many streams open at a time. */
const streamsMax = 1000;
/** So much of a stream may wait for its reader before the whole connection waits. */
const waitingBytesMax = 1024 * 1024;
const dataFrameBytesMax = 32 * 1024;

interface Incoming {
  readonly duplex: SpdyStream;
  /** Resolves when there is room for more. */
  take(bytes: Uint8Array): Promise<void>;
  /** The client has said everything. */
  end(): void;
  /** The client has reset the stream, or the connection is gone. */
  lost(): void;
}

function createStream(
  id: number,
  headers: SpdyHeaders,
  send: (frame: SpdyFrame, sent?: (error?: Error | null) => void) => void,
  closed: () => void,
): Incoming {
  let hasEnded = false;
  let wasReset = false;
  let wanted: (() => void) | undefined;
  const go = (): void => {
    wanted?.();
    wanted = undefined;
  };
  const duplex = new Duplex({
    allowHalfOpen: true,
    read: go,
    write(chunk: Buffer, _encoding, done) {
      for (let offset = 0; offset < chunk.length; offset += dataFrameBytesMax) {
        const bytes = chunk.subarray(offset, offset + dataFrameBytesMax);
        const isLast = offset + dataFrameBytesMax >= chunk.length;
        send({ kind: "data", stream: id, fin: false, bytes }, isLast ? done : undefined);
      }
      if (chunk.length === 0) done();
    },
    final(done) {
      send({ kind: "data", stream: id, fin: true, bytes: new Uint8Array() }, () => done());
    },
    destroy(error, done) {
      if (!wasReset && !(duplex.writableFinished && hasEnded))
        send({ kind: "rst-stream", stream: id, status: spdyStatus.cancel });
      go();
      closed();
      done(error);
    },
  });
  // A reset or a lost connection ends readers and writers; it is nobody's failure.
  duplex.on("error", () => {});
  return {
    duplex: Object.assign(duplex, { id, headers }),
    async take(bytes) {
      // What comes behind the end, or for a stream that is gone, is passed over.
      if (hasEnded || duplex.destroyed) return;
      // The bytes are the connection's buffer: a stream may keep them.
      duplex.push(Buffer.from(bytes));
      if (duplex.readableLength > waitingBytesMax) await new Promise<void>((resolve) => (wanted = resolve));
    },
    end() {
      if (hasEnded) return;
      hasEnded = true;
      duplex.push(null);
    },
    lost() {
      wasReset = true;
      duplex.destroy();
    },
  };
}
