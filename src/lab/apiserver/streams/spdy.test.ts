// A SPDY connection: a real client's way through it, and what a bad one cannot do.

import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import { test } from "node:test";
import { spdyClient, type SpdyClient } from "./spdy-client.testing.ts";
import { serveSpdy, type SpdyConnection, type SpdyStream } from "./spdy.ts";

function connected(opened: (stream: SpdyStream) => void): { client: SpdyClient; server: SpdyConnection } {
  const [ours, theirs] = duplexPair();
  return { server: serveSpdy(ours, opened), client: spdyClient(theirs) };
}

const echo = (stream: SpdyStream): void => void stream.pipe(stream);

test("streams are answered, carry bytes both ways, and end half by half", async () => {
  const seen: (readonly [number, string | undefined])[] = [];
  const { client, server } = connected((stream) => {
    seen.push([stream.id, stream.headers.get("streamtype")]);
    echo(stream);
  });
  const one = await client.open({ streamType: "stdin" });
  const two = await client.open({ streamType: "error", requestID: "0" });
  await one.replied;
  one.write("hello ");
  two.write("other");
  one.write("world");
  one.end();
  assert.equal(await one.text(), "hello world");
  two.end();
  assert.equal(await two.text(), "other");
  assert.deepEqual(seen, [
    [1, "stdin"],
    [3, "error"],
  ]);
  client.close();
  await server.closed;
});

test("a megabyte and more comes through unharmed, in small frames", async () => {
  const { client, server } = connected(echo);
  const stream = await client.open({});
  const piece = "0123456789abcdef".repeat(4096);
  for (let i = 0; i < 40; i++) stream.write(piece);
  stream.end();
  const text = await stream.text();
  assert.equal(text.length, piece.length * 40);
  assert.equal(text, piece.repeat(40));
  client.close();
  await server.closed;
});

test("pings come back; a stream opened as ended has nothing to read", async () => {
  const { client, server } = connected((stream) => {
    stream.on("end", () => stream.end("done"));
    stream.resume();
  });
  client.send({ kind: "ping", id: 1 });
  client.send({ kind: "ping", id: 2 });
  client.send({ kind: "settings" });
  client.send({ kind: "window-update", stream: 1, delta: 1000 });
  const stream = await client.open({}, { fin: true });
  assert.equal(await stream.text(), "done");
  assert.deepEqual(client.control, [{ kind: "ping", id: 1 }]);
  client.close();
  await server.closed;
});

test("a reset ends a stream for both, and nothing else", async () => {
  const closed = Promise.withResolvers<void>();
  const { client, server } = connected((stream) => {
    if (stream.id === 1) stream.once("close", () => closed.resolve());
    if (stream.id === 3) stream.destroy();
    if (stream.id === 5) echo(stream);
  });
  const one = await client.open({});
  one.resetNow();
  await closed.promise;
  const two = await client.open({});
  assert.equal(await two.reset, 5);
  const three = await client.open({});
  three.write("still here");
  three.end();
  assert.equal(await three.text(), "still here");
  client.close();
  await server.closed;
});

test("ids must be odd and grow", async () => {
  let count = 0;
  const { client, server } = connected(() => count++);
  await (
    await client.open({}, { id: 5 })
  ).replied;
  assert.equal(await (await client.open({}, { id: 2 })).reset, 3);
  const again = await client.open({}, { id: 3 });
  assert.equal(await again.reset, 3);
  assert.equal(count, 1);
  client.close();
  await server.closed;
});

test("a stream that nobody reads holds back its client, and a lost connection ends the wait", async () => {
  const [ours, theirs] = duplexPair();
  let waiting: SpdyStream | undefined;
  const server = serveSpdy(ours, (stream) => (waiting = stream));
  const client = spdyClient(theirs);
  const stream = await client.open({});
  await stream.replied;
  for (let i = 0; i < 64; i++) stream.write(Buffer.alloc(64 * 1024));
  // What the server has not taken waits in the client's own buffers.
  for (let turn = 0; turn < 200; turn++) await new Promise<void>((resolve) => void setImmediate(resolve));
  assert.ok((waiting?.readableLength ?? 0) < 2 * 1024 * 1024, String(waiting?.readableLength));
  assert.ok(theirs.writableLength > 1024 * 1024);
  ours.destroy();
  await server.closed;
  assert.equal(waiting?.destroyed, true);
});

test("bytes that are no SPDY end the connection", async () => {
  for (const text of [
    "GET / HTTP/1.1\r\n\r\n",
    "\x80\x03\x00\x01\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00zz",
  ]) {
    const [ours, theirs] = duplexPair();
    const server = serveSpdy(ours, () => {});
    theirs.resume();
    theirs.end(Buffer.from(text, "latin1"));
    await server.closed;
    assert.ok(ours.destroyed);
  }
});
