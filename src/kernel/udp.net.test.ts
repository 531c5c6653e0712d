import assert from "node:assert/strict";
import dgram from "node:dgram";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { test } from "node:test";

import { createNetworkNamespace, type NetworkNamespace } from "./namespaces.ts";
import { bindUdpFd } from "./sockets.ts";
import { datagramBytesMax, serveUdp, type Datagram } from "./udp.ts";

/** Answers with what it was sent. */
function echo(datagram: Datagram): void {
  datagram.room.set(datagram.bytes);
  datagram.send(datagram.bytes.length);
}

/** Sends from a socket inside the namespace and collects `count` answers. */
async function exchange(
  namespace: NetworkNamespace,
  to: { readonly address: string; readonly port: number },
  datagrams: readonly Uint8Array[],
): Promise<{ readonly answers: Buffer[]; readonly own: number }> {
  const family = to.address.includes(":") ? 6 : 4;
  const socket = dgram.createSocket(`udp${family}`);
  socket.bind({ fd: bindUdpFd(namespace, { address: family === 4 ? "0.0.0.0" : "::", port: 0 }) });
  const answers: Buffer[] = [];
  const all = new Promise<void>((resolve) => {
    socket.on("message", (bytes) => answers.push(bytes) === datagrams.length && resolve());
  });
  for (const bytes of datagrams) socket.send(bytes, to.port, to.address);
  await all;
  const own = socket.address().port;
  socket.close();
  return { answers, own };
}

const numbered = (count: number): Uint8Array[] =>
  Array.from({ length: count }, (_, i) => Uint8Array.of(i >> 8, i & 255));

await test("more than a batch at once: each is answered, in order, IPv4 and IPv6 on one socket", async () => {
  const namespace = createNetworkNamespace();
  const server = serveUdp(namespace, { port: 0 }, echo);
  for (const address of ["127.0.0.1", "::1"]) {
    const { answers } = await exchange(namespace, { address, port: server.port }, numbered(150));
    assert.deepEqual(
      answers.map((bytes) => bytes.readUInt16BE(0)),
      Array.from({ length: 150 }, (_, i) => i),
    );
  }
  assert.equal(server.unsent(), 0);
  server.close();
  namespace.close();
});

await test("behind a queue full of one client, the other is answered; what is not handled is counted", async () => {
  const namespace = createNetworkNamespace();
  const heard = { loud: 0, quiet: 0 };
  // Handling stops the loop until everything else has been sent: what comes meanwhile is all in the socket's queue.
  let flooded: (() => void) | undefined;
  const server = serveUdp(namespace, { address: "127.0.0.1", port: 0 }, (datagram) => {
    if (datagram.bytes[0] === 0) flooded?.();
    else if (datagram.source().address === "127.0.0.2") heard.loud++;
    else heard.quiet++;
  });
  const socketOf = (address: string): dgram.Socket => {
    const socket = dgram.createSocket("udp4");
    socket.bind({ fd: bindUdpFd(namespace, { address, port: 0 }) });
    return socket;
  };
  const [loud, quiet] = [socketOf("127.0.0.2"), socketOf("127.0.0.3")];
  try {
    const send = (socket: dgram.Socket, byte: number): void =>
      socket.send(Uint8Array.of(byte), server.port, "127.0.0.1");
    // Sends of dgram leave within the call, so these are all in the queue before the server's turn.
    for (let index = 0; index < 400; index++) {
      send(loud, 1);
      if (index % 40 === 39) send(quiet, 2);
    }
    const ended = new Promise<void>((resolve) => (flooded = resolve));
    const last = setInterval(() => send(quiet, 0), 20);
    await ended;
    clearInterval(last);
    assert.equal(heard.quiet, 10);
    assert.equal(heard.loud + server.dropped(), 400);
  } finally {
    loud.close();
    quiet.close();
    server.close();
    namespace.close();
  }
});

await test("who sent it: address, port and family, IPv4 as IPv4", async () => {
  const namespace = createNetworkNamespace();
  const seen: unknown[] = [];
  const server = serveUdp(namespace, { port: 0 }, (datagram) => {
    seen.push([datagram.source(), datagram.family]);
    echo(datagram);
  });
  const own4 = (await exchange(namespace, { address: "127.0.0.5", port: server.port }, numbered(1))).own;
  const own6 = (await exchange(namespace, { address: "::1", port: server.port }, numbered(1))).own;
  assert.deepEqual(seen, [
    [{ address: "127.0.0.1", port: own4 }, 4],
    [{ address: "::1", port: own6 }, 6],
  ]);
  server.close();
  namespace.close();
});

await test("a socket of IPv4 alone works the same", async () => {
  const namespace = createNetworkNamespace();
  const server = serveUdp(namespace, { address: "127.0.0.1", port: 0 }, echo);
  const { answers } = await exchange(namespace, { address: "127.0.0.1", port: server.port }, numbered(3));
  assert.equal(answers.length, 3);
  server.close();
  namespace.close();
});

await test("answers may come later and are each sender's own, while new datagrams use the same memory", async () => {
  const namespace = createNetworkNamespace();
  const server = serveUdp(namespace, { port: 0 }, (datagram) => {
    const reply = datagram.later();
    const copy = datagram.bytes.slice();
    setImmediate(() => reply(copy));
  });
  const to = { address: "127.0.0.2", port: server.port };
  const [first, second] = await Promise.all([
    exchange(namespace, to, numbered(100)),
    exchange(namespace, to, numbered(100)),
  ]);
  for (const { answers } of [first, second])
    assert.deepEqual(
      answers.map((bytes) => bytes.readUInt16BE(0)),
      Array.from({ length: 100 }, (_, i) => i),
    );
  server.close();
  namespace.close();
});

await test("a datagram that is larger than the room for it says so", async () => {
  const namespace = createNetworkNamespace();
  const seen: unknown[] = [];
  const server = serveUdp(namespace, { port: 0 }, (datagram) => {
    seen.push([datagram.bytes.length, datagram.cut]);
    datagram.send(1);
  });
  const sizes = [0, 1, datagramBytesMax, datagramBytesMax + 1];
  const datagrams = sizes.map((size) => new Uint8Array(size));
  await exchange(namespace, { address: "127.0.0.1", port: server.port }, datagrams);
  assert.deepEqual(seen, [
    [0, false],
    [1, false],
    [datagramBytesMax, false],
    [datagramBytesMax, true],
  ]);
  server.close();
  namespace.close();
});

await test("closing from inside a handler, twice, and answering after that do no harm; no descriptor is left", async () => {
  const namespace = createNetworkNamespace();
  const before = readdirSync("/proc/self/fd").length;
  const closed = Promise.withResolvers<(bytes: Uint8Array) => void>();
  const server = serveUdp(namespace, { port: 0 }, (datagram) => {
    const reply = datagram.later();
    server.close();
    server.close();
    closed.resolve(reply);
  });
  const socket = dgram.createSocket("udp4");
  socket.bind({ fd: bindUdpFd(namespace, { address: "127.0.0.1", port: 0 }) });
  for (const bytes of numbered(10)) socket.send(bytes, server.port, "127.0.0.1");
  const reply = await closed.promise;
  reply(Uint8Array.of(1));
  const gone = once(socket, "close");
  socket.close();
  await gone;
  assert.equal(readdirSync("/proc/self/fd").length, before);
  namespace.close();
});

await test("a taken port is a KernelError", () => {
  const namespace = createNetworkNamespace();
  const server = serveUdp(namespace, { port: 0 }, echo);
  assert.throws(() => serveUdp(namespace, { port: server.port }, echo), { name: "KernelError", code: "EADDRINUSE" });
  server.close();
  namespace.close();
});
