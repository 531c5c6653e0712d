import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";

import { afterWaiting } from "./patience.ts";

void test("an answer that came while the event loop stood still is no silence", async () => {
  const worker = new Worker(
    "const { parentPort } = require('worker_threads'); parentPort.on('message', (m) => parentPort.postMessage(m))",
    {
      eval: true,
    },
  );
  worker.postMessage("ready?");
  await once(worker, "message");
  const heard = once(worker, "message").then(() => "answer");
  const silence = new Promise<string>((resolve) => {
    afterWaiting(500, () => resolve("silence"));
  });
  worker.postMessage("question");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
  assert.equal(await Promise.race([heard, silence]), "answer");
  await worker.terminate();
});

void test("silence is told once, and not when it was called off", async () => {
  let told = 0;
  afterWaiting(10, () => told++);
  const callOff = afterWaiting(10, () => told++);
  callOff();
  await new Promise<void>((resolve) => {
    afterWaiting(60, resolve);
  });
  assert.equal(told, 1);
});
