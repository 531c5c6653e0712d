// Answering a WebSocket upgrade. The library (`ws`) is loaded with the first one.
//
// Not here: what the messages mean (channels.ts, port-forward.ts).

import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { WebSocket, WebSocketServer } from "ws";

let server: Promise<WebSocketServer> | undefined;

/** One message may have this many bytes; clients send far less. */
const messageBytesMax = 32 * 1024 * 1024;

/** The subprotocols a client offers, in its order; tokens in disguise (authn.ts) are none. */
export function offeredProtocols({ headers }: IncomingMessage): readonly string[] {
  return (headers["sec-websocket-protocol"] ?? "")
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "" && !name.startsWith("base64url.bearer.authorization.k8s.io."));
}

/** Is it a WebSocket that the client wants, rather than SPDY? */
export function wantsWebSocket({ headers }: IncomingMessage): boolean {
  return /\bwebsocket\b/i.test(headers.upgrade ?? "");
}

/**
 * Accepts the connection with this subprotocol (the empty string: none). `SPDY/3.1+portforward.k8s.io` has a slash, which is no token of
 * RFC 9110 and so refused by the library: the header is taken from its sight and the answer written by us.
 */
export async function acceptWebSocket(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  protocol: string,
): Promise<WebSocket> {
  server ??= import("ws").then(({ WebSocketServer }) => {
    const made = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: messageBytesMax });
    made.on("headers", (lines, { headers }) => {
      const chosen = headers[chosenHeader];
      if (typeof chosen === "string" && chosen !== "") lines.push(`Sec-WebSocket-Protocol: ${chosen}`);
    });
    return made;
  });
  const made = await server;
  delete request.headers["sec-websocket-protocol"];
  request.headers[chosenHeader] = protocol;
  return new Promise((resolve, reject) => {
    // A handshake that is none is answered with 400 by the library, and the socket closed.
    socket.once("close", () => reject(new Error("the connection closed during the WebSocket handshake")));
    made.handleUpgrade(request, socket, head, resolve);
  });
}

/** Never sent by a client in this form: the chosen subprotocol on its way to the answer. */
const chosenHeader = "fairlead-chosen-protocol";
