import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";

import { afterWaiting } from "./patience.ts";

void test("an answer that came while the event loop stood still is no silence", async () => {
  const echo = spawn("cat", { stdio: ["pipe", "pipe", "inherit"] });
  echo.stdin.write("ready?");
  await once(echo.stdout, "data");
  const heard = once(echo.stdout, "data").then(() => "answer");
  const silence = new Promise<string>((resolve) => {
    afterWaiting(500, () => resolve("silence"));
  });
  echo.stdin.write("question");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
  assert.equal(await Promise.race([heard, silence]), "answer");
  echo.stdin.end();
  await once(echo, "close");
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
