// Port forwarding by SPDY, by SPDY inside a WebSocket, and by WebSocket channels, to a server on this machine's loopback.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server } from "node:net";
import { after, before, test } from "node:test";
import { createWebSocketStream, WebSocket } from "ws";
import { runningPod, streamServer, type StreamServer } from "./streams.testing.ts";
import { spdyClient, type SpdyClient } from "./spdy-client.testing.ts";

let server: StreamServer;
let echo: Server;
let echoPort = 0;
let closedPort = 0;

before(async () => {
  server = await streamServer({ objects: [runningPod()] });
  // Says hello first, then gives back what it hears, and ends when its client has.
  echo = createServer({ allowHalfOpen: true }, (socket) => {
    socket.write("hello ");
    socket.pipe(socket);
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => void echo.listen(0, "127.0.0.1", resolve));
  echoPort = (echo.address() as AddressInfo).port;
  const other = createServer();
  await new Promise<void>((resolve) => void other.listen(0, "127.0.0.1", resolve));
  closedPort = (other.address() as AddressInfo).port;
  await new Promise((resolve) => other.close(resolve));
});
after(() => {
  server.close();
  echo.close();
});

const path = "/api/v1/namespaces/default/pods/web/portforward";

async function forwarded(
  client: SpdyClient,
  port: number,
  request: string,
  question: string,
): Promise<{ answer: string; error: string }> {
  const error = await client.open({ streamType: "error", port: String(port), requestID: request }, { fin: true });
  const data = await client.open({ streamType: "data", port: String(port), requestID: request });
  data.write(question);
  data.end();
  const [answer, problem] = await Promise.all([data.text(), error.text()]);
  return { answer, error: problem };
}

async function useSpdy(client: SpdyClient): Promise<void> {
  assert.deepEqual(await forwarded(client, echoPort, "0", "world"), { answer: "hello world", error: "" });
  const many = await Promise.all(
    Array.from({ length: 20 }, (_, i) => forwarded(client, echoPort, String(i + 1), `no ${i}`)),
  );
  assert.deepEqual(
    many.map(({ answer }) => answer),
    many.map((_, i) => `hello no ${i}`),
  );
  const refused = await forwarded(client, closedPort, "99", "");
  assert.equal(
    refused.error,
    `error forwarding port ${closedPort} to pod default/web: failed to connect to localhost:${closedPort} inside its network namespace, IPv4: dial tcp4 127.0.0.1:${closedPort}: connect: connection refused IPv6: dial tcp6 [::1]:${closedPort}: connect: connection refused`,
  );
  assert.match((await forwarded(client, 0, "100", "")).error, /"0" is not a valid port/);
  assert.equal(
    (await forwarded(client, echoPort, "101", "again")).answer,
    "hello again",
    "a refused port leaves the connection alone",
  );
}

test("SPDY, with and without request ids", async () => {
  const { client, protocol } = await server.spdy(path, ["portforward.k8s.io"]);
  assert.equal(protocol, "portforward.k8s.io");
  await useSpdy(client);
  const error = await client.open({ streamType: "error", port: String(echoPort) });
  const data = await client.open({ streamType: "data", port: String(echoPort) });
  data.end();
  assert.equal(await data.text(), "hello ");
  assert.equal(await error.text(), "");
  const strange = await client.open({ streamType: "else" });
  assert.equal(await strange.reset, 5);
  client.close();
  await client.closed;
});

test("SPDY inside a WebSocket", async () => {
  let protocol: string | undefined;
  // The subprotocol has a slash, which this client library neither sends nor takes by itself.
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}${path}`, {
    headers: { "Sec-WebSocket-Protocol": "SPDY/3.1+portforward.k8s.io" },
    finishRequest(request) {
      request.prependListener("upgrade", ({ headers }) => {
        protocol = headers["sec-websocket-protocol"];
        delete headers["sec-websocket-protocol"];
      });
      request.end();
    },
  });
  await once(socket, "open");
  assert.equal(protocol, "SPDY/3.1+portforward.k8s.io");
  const client = spdyClient(createWebSocketStream(socket));
  await useSpdy(client);
  socket.close();
  await client.closed;
});

test("WebSocket channels: two for each port, each beginning with the port's number", async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}${path}?ports=${echoPort}&ports=${closedPort}`, [
    "v4.channel.k8s.io",
  ]);
  const received = new Map<number, Buffer>();
  const answered = Promise.withResolvers<void>();
  const refused = Promise.withResolvers<void>();
  socket.on("message", (data: Buffer) => {
    const channel = data[0] ?? 0;
    received.set(channel, Buffer.concat([received.get(channel) ?? Buffer.alloc(0), data.subarray(1)]));
    if (received.get(0)?.toString("latin1").endsWith("hello world")) answered.resolve();
    if ((received.get(3)?.length ?? 0) > 2) refused.resolve();
  });
  await once(socket, "open");
  socket.send(Buffer.from("\0world"));
  await Promise.all([answered.promise, refused.promise]);
  const port = (channel: number): number | undefined => received.get(channel)?.readUInt16LE();
  assert.deepEqual([port(0), port(1), port(2), port(3)], [echoPort, echoPort, closedPort, closedPort]);
  assert.match(received.get(3)?.subarray(2).toString() ?? "", /connection refused/);
  socket.close();
  await once(socket, "close");
});

test("what is refused", async () => {
  const refused = async (of: StreamServer, query = ""): Promise<string> => {
    const socket = new WebSocket(`ws://127.0.0.1:${of.port}${path}${query}`, ["v4.channel.k8s.io"]);
    const [, response] = (await once(socket, "unexpected-response")) as [
      unknown,
      AsyncIterable<Buffer> & { statusCode: number },
    ];
    let text = `${response.statusCode} `;
    for await (const chunk of response) text += chunk.toString();
    return text;
  };
  assert.equal(await refused(server), '400 query parameter "ports" is required');
  assert.equal(await refused(server, "?ports=x"), '400 "x" is not a valid port; must be 1 to 65535');
  const pending = await streamServer({ objects: [{ ...runningPod(), status: { phase: "Pending" } }] });
  assert.equal(
    await refused(pending, "?ports=1"),
    "400 unable to forward port because pod is not running. Current status=Pending",
  );
  pending.close();
  const elsewhere = await streamServer({ objects: [runningPod()], node: { kubelet: undefined } });
  assert.match(
    await refused(elsewhere, "?ports=1"),
    /^500 Internal error occurred: error dialing backend: node node-1 is stopped/,
  );
  elsewhere.close();
});
