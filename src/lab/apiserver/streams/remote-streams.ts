// The streams of exec and attach, however the client carries them: WebSocket channels (v1 to v5) or SPDY streams (v1 to v4).
// Upstream: pkg/kubelet/cri/streaming/remotecommand (websocket.go, httpstream.go).
//
// Not here: the process at their other end (remote-command.ts).

import type { IncomingMessage } from "node:http";
import { PassThrough, Writable, type Duplex, type Readable } from "node:stream";
import { badRequest } from "../../api/errors.ts";
import { channelNumber, chooseProtocol, createSizeReader, formatMessage, parseMessage } from "./channels.ts";
import { serveSpdy, type SpdyStream } from "./spdy.ts";
import { acceptWebSocket, offeredProtocols, wantsWebSocket } from "./websocket.ts";

/** Which streams a client asked for. */
export interface StreamChoice {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** Streams that are open. Those that were not asked for are undefined. */
export interface RemoteStreams {
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  /** Tells the sizes of the client's terminal, the last one known at once. */
  onResize(resized: (size: TerminalSize) => void): void;
  /** Resolves when the client is gone. */
  readonly closed: Promise<void>;
  /** Says how it ended, and ends everything after what has been written. */
  finish(status: EndStatus): Promise<void>;
}

/** A meta/v1 Status. Older protocols carry its message only. */
export interface EndStatus {
  readonly status: "Success" | "Failure";
  readonly message?: string;
  readonly [field: string]: unknown;
}

/**
 * Answers the upgrade and gives the streams once they are all open. Throws StatusError 400 before anything is answered where the client
 * speaks no protocol of ours.
 */
export function openRemoteStreams(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  choice: StreamChoice,
): Promise<RemoteStreams> {
  return wantsWebSocket(request)
    ? overWebSocket(request, socket, head, choice)
    : overSpdy(request, socket, head, choice);
}

/** Input that waits for the process beyond this stops the client. */
const waitingBytesMax = 1024 * 1024;

async function overWebSocket(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  choice: StreamChoice,
): Promise<RemoteStreams> {
  const offered = offeredProtocols(request);
  const protocol = chooseProtocol(offered);
  if (protocol === undefined) throw badRequest(`unable to upgrade: no known subprotocol among ${offered.join(", ")}`);
  const webSocket = await acceptWebSocket(request, socket, head, protocol.name);
  const closed = new Promise<void>((resolve) => webSocket.once("close", () => resolve()));
  webSocket.on("error", () => webSocket.terminate());
  const send = (channel: number, bytes: Uint8Array, sent: (error?: Error) => void): void =>
    webSocket.send(formatMessage(protocol, { channel, bytes }), sent);
  const output = (channel: number): Writable => {
    const stream = new Writable({ write: (chunk: Buffer, _encoding, done) => send(channel, chunk, done) });
    // The client has gone: whoever writes learns it from `closed`.
    stream.on("error", () => {});
    return stream;
  };
  const stdin = choice.stdin ? new PassThrough() : undefined;
  const sizes = sizeKeeper();
  webSocket.on("message", (data: Buffer) => {
    const message = parseMessage(protocol, data);
    if (message?.channel === channelNumber.stdin && stdin !== undefined && !stdin.writableEnded) {
      stdin.write(message.bytes);
      if (stdin.readableLength + stdin.writableLength > waitingBytesMax) {
        webSocket.pause();
        stdin.once("drain", () => webSocket.resume());
      }
    }
    if (message?.channel === channelNumber.resize) sizes.read(message.bytes);
    // v5: the client has closed one of its streams.
    if (message?.channel === channelNumber.close && message.bytes[0] === channelNumber.stdin) stdin?.end();
  });
  void closed.then(() => stdin?.end());
  const streams = {
    stdin,
    stdout: choice.stdout ? output(channelNumber.stdout) : undefined,
    stderr: choice.stderr && !choice.tty ? output(channelNumber.stderr) : undefined,
  };
  // An empty message tells the client that the streams are there.
  const first = choice.stdout ? channelNumber.stdout : choice.stderr ? channelNumber.stderr : channelNumber.error;
  send(first, new Uint8Array(), () => {});
  return {
    ...streams,
    closed,
    onResize: sizes.listen,
    async finish(status) {
      const text = protocol.ending === "status" ? JSON.stringify(status) : textOf(status);
      if (text !== undefined) send(channelNumber.error, Buffer.from(text), () => {});
      // RFC 6455 7.4.1: 1000 is a normal end; behind it everything that was sent arrives.
      webSocket.close(1000);
      await closed;
    },
  };
}

// v1 has no sizes, v4 ends with a Status; the newest first.
const spdyProtocols = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

async function overSpdy(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  choice: StreamChoice,
): Promise<RemoteStreams> {
  const protocol = acceptSpdy(request, socket, spdyProtocols);
  const hasSizes = choice.tty && (protocol === "v4.channel.k8s.io" || protocol === "v3.channel.k8s.io");
  // The client opens a stream for each it asked for; with a terminal there may be one for stderr too, on which nothing comes.
  const wanted = new Set(["error"]);
  if (choice.stdin) wanted.add("stdin");
  if (choice.stdout) wanted.add("stdout");
  if (choice.stderr && !choice.tty) wanted.add("stderr");
  if (hasSizes) wanted.add("resize");
  const count = wanted.size;
  const streams = new Map<string, SpdyStream>();
  const complete = Promise.withResolvers<void>();
  if (head.length > 0) socket.unshift(head);
  const connection = serveSpdy(socket, (stream) => {
    const type = (stream.headers.get("streamtype") ?? "").toLowerCase();
    streams.set(type, stream);
    wanted.delete(type);
    // As the kubelet, by number as well: a client may ask for a terminal with a stream for stderr and send no sizes.
    if (wanted.size === 0 || streams.size >= count) complete.resolve();
  });
  // kubelet's streamCreationTimeout
  const timer = setTimeout(() => connection.close(), 30_000);
  const outcome = await Promise.race([complete.promise.then(() => "open" as const), connection.closed]);
  clearTimeout(timer);
  if (outcome !== "open") throw new Error("the client closed the connection before it had opened its streams");
  const sizes = sizeKeeper();
  streams.get("resize")?.on("data", (bytes: Buffer) => sizes.read(bytes));
  for (const type of ["error", "stdout", "stderr"]) streams.get(type)?.resume();
  const closed = connection.closed;
  return {
    stdin: streams.get("stdin"),
    stdout: streams.get("stdout"),
    stderr: choice.tty ? undefined : streams.get("stderr"),
    closed,
    onResize: sizes.listen,
    async finish(status) {
      const text = protocol === "v4.channel.k8s.io" ? JSON.stringify(status) : textOf(status);
      const error = streams.get("error");
      if (text !== undefined) error?.write(text);
      for (const stream of streams.values()) stream.end();
      await Promise.race([closed, Promise.all([...streams.values()].map(hasFinished))]);
      connection.close();
      await closed;
    },
  };
}

function hasFinished(stream: Duplex): Promise<void> {
  if (stream.writableFinished || stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => void stream.once("finish", resolve).once("close", resolve));
}

/** Answers an upgrade to SPDY/3.1 with the first of our protocols that the client offers, and says which. Throws StatusError 400. */
export function acceptSpdy(request: IncomingMessage, socket: Duplex, protocols: readonly string[]): string {
  // client-go sends the header once for each version it speaks.
  const offered = (request.headersDistinct["x-stream-protocol-version"] ?? [])
    .flatMap((line) => line.split(","))
    .map((name) => name.trim());
  if (!/\bspdy\/3\.1\b/i.test(request.headers.upgrade ?? ""))
    throw badRequest(
      `unable to upgrade: only WebSocket and SPDY/3.1 are known, not ${request.headers.upgrade ?? "nothing"}`,
    );
  const last = protocols.at(-1) ?? "";
  const protocol = offered.length === 0 ? last : protocols.find((name) => offered.includes(name));
  if (protocol === undefined)
    throw badRequest(
      `unable to upgrade: unable to negotiate protocol: client supports [${offered.join(" ")}], server accepts [${protocols.join(" ")}]`,
    );
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
  );
  return protocol;
}

/** What protocols without a Status say at the end: nothing when all went well. */
function textOf(status: EndStatus): string | undefined {
  return status.status === "Success" ? undefined : (status.message ?? "failed");
}

function sizeKeeper(): { read(bytes: Uint8Array): void; listen(resized: (size: TerminalSize) => void): void } {
  let last: TerminalSize | undefined;
  let listener: (size: TerminalSize) => void = () => {};
  return {
    read: createSizeReader((size) => {
      last = size;
      listener(size);
    }),
    listen(resized) {
      listener = resized;
      if (last !== undefined) resized(last);
    },
  };
}
