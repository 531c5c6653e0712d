import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { test } from "node:test";

import { makeNetworkNamespace } from "./namespace-maker.ts";
import { createSharedNamespaces, openHome } from "./process.ts";

// Needs: ip

for (const [count, how] of [
  [1, "one, made here"],
  [100, "a crowd, made by the thread"],
  [1, "one that comes after, by the thread"],
] as const) {
  void test(`${how}: each a namespace of its own with its loopback up, and the main thread at home`, async () => {
    openHome();
    const home = fs.readlinkSync("/proc/thread-self/ns/net");
    const namespaces = await Promise.all(Array.from({ length: count }, makeNetworkNamespace));
    assert.equal(new Set([home, ...namespaces.map(({ id }) => id)]).size, count + 1);
    assert.equal(fs.readlinkSync("/proc/thread-self/ns/net"), home);
    const last = namespaces.at(-1);
    const links = last?.run(() => spawnSync("ip", ["-o", "addr", "show", "dev", "lo"], { encoding: "utf8" }));
    assert.match(links?.stdout ?? "", /127\.0\.0\.1\/8/);
    for (const namespace of namespaces) namespace.close();
  });
}

void test("with the thread there, the main thread still comes home from other namespaces", () => {
  // Coming home to a mount namespace is refused to a thread that shares its file system view; the process would end.
  createSharedNamespaces("a-pod").close();
});
