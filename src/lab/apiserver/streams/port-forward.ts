// Port forwarding: streams of the client joined to connections made inside the pod's network namespace, to its localhost.
// Three ways to carry them: SPDY, SPDY inside a WebSocket (KEP-4006), and WebSocket channels, two for each port.
// Upstream: pkg/kubelet/cri/streaming/portforward.

import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { NetworkNamespace } from "../../../kernel/namespaces.ts";
import { badRequest } from "../../api/errors.ts";
import { formatMessage, parseMessage, type ChannelProtocol } from "./channels.ts";
import { dial, dialProblem } from "./dial.ts";
import { acceptSpdy } from "./remote-streams.ts";
import { serveSpdy, type SpdyStream } from "./spdy.ts";
import { acceptWebSocket, offeredProtocols, wantsWebSocket } from "./websocket.ts";

export interface ForwardTarget {
  /** `production/web`, for messages. */
  readonly pod: string;
  readonly network: NetworkNamespace;
}

const spdyProtocol = "portforward.k8s.io";
const tunnelProtocol = `SPDY/3.1+${spdyProtocol}`;
const channelProtocols: readonly ChannelProtocol[] = [
  { name: "v4.channel.k8s.io", encoding: "binary", ending: "text" },
  { name: "v4.base64.channel.k8s.io", encoding: "base64", ending: "text" },
];

/** Forwards until the client goes. Throws StatusError 400 before the upgrade is answered. */
export async function servePortForward(
  target: ForwardTarget,
  query: URLSearchParams,
  [request, socket, head]: readonly [IncomingMessage, Duplex, Buffer],
): Promise<void> {
  if (!wantsWebSocket(request)) {
    acceptSpdy(request, socket, [spdyProtocol]);
    if (head.length > 0) socket.unshift(head);
    return forwardSpdy(target, socket);
  }
  const offered = offeredProtocols(request);
  if (offered.includes(tunnelProtocol)) {
    const webSocket = await acceptWebSocket(request, socket, head, tunnelProtocol);
    const { createWebSocketStream } = await import("ws");
    return forwardSpdy(target, createWebSocketStream(webSocket));
  }
  const protocol =
    offered.length === 0
      ? ({ ...channelProtocols[0], name: "" } as ChannelProtocol)
      : channelProtocols.find(({ name }) => offered.includes(name));
  if (protocol === undefined) throw badRequest(`unable to upgrade: no known subprotocol among ${offered.join(", ")}`);
  const ports = query
    .getAll("ports")
    .flatMap((text) => text.split(","))
    .map(portOf);
  if (ports.length === 0) throw badRequest('query parameter "ports" is required');
  return forwardChannels(target, ports, await acceptWebSocket(request, socket, head, protocol.name), protocol);
}

/** Streams come in pairs of one requestID: `error` and `data`, each naming the port. */
async function forwardSpdy(target: ForwardTarget, transport: Duplex): Promise<void> {
  const pairs = new Map<string, { error?: SpdyStream; data?: SpdyStream }>();
  const connection = serveSpdy(transport, (stream) => {
    const type = (stream.headers.get("streamtype") ?? "").toLowerCase();
    if (type !== "error" && type !== "data") return void stream.destroy();
    // Old clients name no request: their data stream follows its error stream, and a client's ids are odd.
    const id = stream.headers.get("requestid") ?? String(type === "error" ? stream.id : stream.id - 2);
    const pair = pairs.get(id) ?? {};
    pairs.set(id, pair);
    pair[type] = stream;
    const { error, data } = pair;
    if (error === undefined || data === undefined) return;
    pairs.delete(id);
    // The client says nothing on it.
    error.resume();
    void forwardPair(target, data.headers.get("port") ?? "", data, error);
  });
  await connection.closed;
}

async function forwardPair(target: ForwardTarget, portText: string, data: Duplex, error: Duplex): Promise<void> {
  let socket: Socket;
  try {
    socket = await dialLocal(target, portOf(portText));
  } catch (problem) {
    error.end((problem as Error).message);
    data.destroy();
    return;
  }
  await splice(data, socket);
  error.end();
}

/** Joins two connections; each direction ends by itself, and a broken one ends both. Resolves when both are over. */
function splice(one: Duplex, other: Duplex): Promise<void> {
  return new Promise((resolve) => {
    let left = 2;
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const) {
      from.pipe(to);
      from.once("error", () => to.destroy());
      from.once("close", () => {
        if (!from.readableEnded) to.destroy();
        if (--left === 0) resolve();
      });
    }
  });
}

async function forwardChannels(
  target: ForwardTarget,
  ports: readonly number[],
  webSocket: Awaited<ReturnType<typeof acceptWebSocket>>,
  protocol: ChannelProtocol,
): Promise<void> {
  const closed = new Promise<void>((resolve) => webSocket.once("close", () => resolve()));
  webSocket.on("error", () => webSocket.terminate());
  const send = (channel: number, bytes: Uint8Array, sent?: () => void): void =>
    webSocket.send(formatMessage(protocol, { channel, bytes }), () => sent?.());
  // Sockets are dialled when their first byte comes: a client may hold a forward open that it never uses.
  const sockets = new Map<number, Promise<Socket | undefined>>();
  for (const [index, port] of ports.entries()) {
    // Each channel begins with its port, low byte first.
    const head = Uint8Array.of(port & 0xff, port >> 8);
    send(index * 2, head);
    send(index * 2 + 1, head);
  }
  const open = (index: number): Promise<Socket | undefined> => {
    const known = sockets.get(index);
    if (known !== undefined) return known;
    const dialled = dialLocal(target, ports[index] ?? 0).then(
      (socket) => {
        socket.on("data", (bytes: Buffer) => {
          socket.pause();
          send(index * 2, bytes, () => socket.resume());
        });
        socket.on("error", () => socket.destroy());
        socket.once("close", () => {
          if (sockets.delete(index) && ports.length === 1) webSocket.close(1000);
        });
        return socket;
      },
      (error: Error) => {
        send(index * 2 + 1, Buffer.from(error.message));
        return undefined;
      },
    );
    sockets.set(index, dialled);
    return dialled;
  };
  let order = Promise.resolve();
  webSocket.on("message", (data: Buffer) => {
    const message = parseMessage(protocol, data);
    if (message === undefined || message.channel % 2 !== 0 || message.channel / 2 >= ports.length) return;
    webSocket.pause();
    order = order.then(async () => {
      const socket = await open(message.channel / 2);
      if (socket?.writable === true && !socket.write(message.bytes))
        await Promise.race([closed, new Promise((resolve) => socket.once("drain", resolve).once("close", resolve))]);
      webSocket.resume();
    });
  });
  // Servers that speak first must be heard without a question.
  for (const index of ports.keys()) void open(index);
  await closed;
  for (const socket of sockets.values()) void socket.then((each) => each?.destroy());
}

/** A connection to the pod's localhost, IPv4 before IPv6. Rejects with kubelet's words. */
async function dialLocal({ pod, network }: ForwardTarget, port: number): Promise<Socket> {
  const problems: string[] = [];
  for (const [address, family] of [
    ["127.0.0.1", "tcp4"],
    ["::1", "tcp6"],
  ] as const) {
    try {
      return await dial(network, { address, port, timeoutMs: 30_000 });
    } catch (error) {
      problems.push(`dial ${family} ${family === "tcp4" ? address : `[${address}]`}:${port}: ${dialProblem(error)}`);
    }
  }
  throw new Error(
    `error forwarding port ${port} to pod ${pod}: failed to connect to localhost:${port} inside its network namespace, IPv4: ${problems[0]} IPv6: ${problems[1]}`,
  );
}

function portOf(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65535)
    throw badRequest(`${JSON.stringify(text)} is not a valid port; must be 1 to 65535`);
  return port;
}
