// Needs: ip

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { test } from "node:test";

import { KernelError } from "./kernel.ts";
import {
  createNetworkNamespace,
  currentNetworkNamespace,
  openNetworkNamespace,
  type NetworkNamespace,
} from "./namespaces.ts";

/** Where the main thread really is. */
function whereAmI(): string {
  return fs.readlinkSync("/proc/thread-self/ns/net");
}

function withNamespaces(count: number, work: (namespaces: readonly NetworkNamespace[]) => void): void {
  const namespaces = Array.from({ length: count }, createNetworkNamespace);
  try {
    work(namespaces);
  } finally {
    for (const namespace of namespaces) namespace.close();
  }
}

void test("creating leaves the thread at home, the new one has its loopback up", () => {
  const home = whereAmI();
  withNamespaces(1, ([namespace]) => {
    assert.ok(namespace);
    assert.equal(whereAmI(), home);
    assert.equal(currentNetworkNamespace().id, home);
    assert.notEqual(namespace.id, home);
    const ping = namespace.run(() => spawnSync("ip", ["-o", "addr", "show", "dev", "lo"], { encoding: "utf8" }));
    assert.match(ping.stdout, /127\.0\.0\.1\/8/);
    assert.match(ping.stdout, /::1\/128/);
  });
});

void test("run is inside, gives the result, and comes home also after an exception", () => {
  const home = whereAmI();
  withNamespaces(1, ([namespace]) => {
    assert.ok(namespace);
    assert.equal(namespace.run(whereAmI), namespace.id);
    assert.throws(
      () =>
        namespace.run(() => {
          throw new Error("inside");
        }),
      /inside/,
    );
    assert.equal(whereAmI(), home);
  });
});

void test("runs nest: each returns to where it was called from", () => {
  const home = whereAmI();
  withNamespaces(3, ([one, two, three]) => {
    assert.ok(one && two && three);
    const seen: string[] = [];
    const look = (): void => void seen.push(whereAmI());
    one.run(() => {
      look();
      two.run(() => {
        look();
        one.run(look);
        currentNetworkNamespace().run(look);
        look();
      });
      look();
      const made = createNetworkNamespace();
      look();
      made.close();
      one.run(() => three.run(look));
      look();
    });
    assert.deepEqual(seen, [one.id, two.id, one.id, home, two.id, one.id, one.id, three.id, one.id]);
    assert.equal(whereAmI(), home);
  });
});

void test("asynchronous work is refused", async () => {
  const namespace = createNetworkNamespace();
  let started = false;
  assert.throws(
    () =>
      namespace.run(async () => {
        started = true;
        await Promise.resolve();
      }),
    TypeError,
  );
  assert.equal(started, false, "an async function is refused before its first step");
  const promise = Promise.resolve(1);
  assert.throws(() => namespace.run(() => promise), TypeError);
  await promise;
  namespace.close();
});

void test("the same namespace by its path has the same id; a closed one is refused", () => {
  withNamespaces(1, ([namespace]) => {
    assert.ok(namespace);
    const again = openNetworkNamespace(`/proc/self/fd/${namespace.fd}`);
    assert.equal(again.id, namespace.id);
    again.close();
    again.close();
    assert.throws(() => again.run(whereAmI), /was closed/);
    assert.equal(namespace.run(whereAmI), namespace.id);
    assert.throws(() => openNetworkNamespace("/proc/self/ns/nothing"), /ENOENT/);
  });
});

void test("what is no network namespace is refused with its errno", () => {
  const uts = openNetworkNamespace("/proc/self/ns/uts");
  const home = whereAmI();
  assert.throws(
    () => uts.run(whereAmI),
    (error) => error instanceof KernelError && error.code === "EINVAL",
  );
  assert.equal(whereAmI(), home);
  uts.close();
});

void test("a way home that fails ends the process", () => {
  const source = `
    import fs from "node:fs";
    const { createNetworkNamespace, currentNetworkNamespace } = await import(${JSON.stringify(import.meta.resolve("./namespaces.ts"))});
    createNetworkNamespace().run(() => fs.closeSync(currentNetworkNamespace().fd));
    console.log("went on in the wrong namespace");`;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", source], { encoding: "utf8", cwd: "/tmp" });
  assert.equal(child.signal, "SIGABRT");
  assert.equal(child.stdout, "");
  assert.match(child.stderr, /cannot return to network namespace/);
});

void test("descriptors do not reach child processes", () => {
  withNamespaces(1, () => {
    const child = spawnSync("sh", ["-c", "readlink /proc/$$/fd/*"], { encoding: "utf8" });
    assert.doesNotMatch(child.stdout, /net:\[/);
  });
});
