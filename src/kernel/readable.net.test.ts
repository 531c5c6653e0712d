import assert from "node:assert/strict";
import dgram from "node:dgram";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";

import { createNetworkNamespace, type NetworkNamespace } from "./namespaces.ts";
import { whenReadable } from "./readable.ts";
import { bindUdpFd } from "./sockets.ts";
import { closeUdp, openUdp } from "./udp.ts";

async function sendTo(namespace: NetworkNamespace, port: number): Promise<void> {
  const socket = dgram.createSocket("udp4");
  socket.bind({ fd: bindUdpFd(namespace, { address: "127.0.0.1", port: 0 }) });
  await new Promise((resolve) => socket.send("something", port, "127.0.0.1", resolve));
  socket.close();
}

await test("called while there is something to read, not before and not after close, for many descriptors", async () => {
  const namespace = createNetworkNamespace();
  const sockets = Array.from({ length: 50 }, () => openUdp(namespace, { address: "127.0.0.1", port: 0 }));
  try {
    for (let round = 0; round < 3; round++) {
      const calls = sockets.map(() => 0);
      const all = Promise.withResolvers<undefined>();
      const watched = sockets.map(({ fd }, index) =>
        whenReadable(fd, () => {
          calls[index] = (calls[index] ?? 0) + 1;
          if (calls.every((count, each) => count >= 3 || each % 2 === 1)) setImmediate(() => all.resolve(undefined));
        }),
      );
      // Each second one is sent something, which nobody reads: it stays readable.
      for (const [index, { port }] of sockets.entries()) if (index % 2 === 0) await sendTo(namespace, port);
      await all.promise;
      assert.deepEqual(
        calls.filter((_, index) => index % 2 === 1),
        Array.from({ length: 25 }, () => 0),
      );
      for (const each of watched) each.close();
      for (const each of watched) each.close();
      const before = [...calls];
      for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve));
      assert.deepEqual(calls, before);
    }
  } finally {
    for (const { fd } of sockets) closeUdp(fd);
    namespace.close();
  }
});

await test("a descriptor that cannot be watched is an error that says so", () => {
  assert.throws(() => whenReadable(1 << 20, () => {}), /watch descriptor 1048576: EBADF/);
});

await test("in another thread too", async () => {
  const namespace = createNetworkNamespace();
  const { fd, port } = openUdp(namespace, { address: "127.0.0.1", port: 0 });
  const code = `
    const { parentPort, workerData } = await import("node:worker_threads");
    const { whenReadable } = await import(workerData.module);
    const watched = whenReadable(workerData.fd, () => { watched.close(); parentPort.postMessage("readable"); });
    parentPort.postMessage("ready");`;
  const module = new URL("./readable.ts", import.meta.url).href;
  const worker = new Worker(`(async () => {${code}})()`, { eval: true, workerData: { module, fd } });
  try {
    assert.deepEqual(await once(worker, "message"), ["ready"]);
    await sendTo(namespace, port);
    assert.deepEqual(await once(worker, "message"), ["readable"]);
  } finally {
    await worker.terminate();
    closeUdp(fd);
    namespace.close();
  }
});
