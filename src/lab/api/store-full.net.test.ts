// The store on a disk of its own, a small one in memory, that runs full and gets room again. Mounted in a namespace that ends with the
// test's process, as all *.net.test.ts files run.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import type { KubeObject } from "../../kube/object.ts";
import { openStore } from "./sqlite-store.ts";
import { StatusError, type WatchEvent } from "./store.ts";

const configMaps = { group: "", resource: "configmaps" };

function map(name: string): KubeObject {
  const metadata = { name, namespace: "default" };
  return { apiVersion: "v1", kind: "ConfigMap", metadata, data: { text: "x".repeat(20_000) } };
}

function run(command: string, ...rest: readonly string[]): void {
  const { status, stderr } = spawnSync(command, rest, { encoding: "utf8" });
  assert.equal(status, 0, `${command} ${rest.join(" ")}: ${stderr}`);
}

test("a disk that is full: refused in words, read on; with room again nothing acknowledged is missing", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-full-"));
  run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder);
  context.after(() => {
    run("umount", folder);
    rmdirSync(folder);
  });
  const ballast = join(folder, "ballast");
  writeFileSync(ballast, Buffer.alloc(1024 * 1024));
  const path = join(folder, "store.db");
  const store = openStore({ path });
  const seen: string[] = [];
  store.watch(configMaps, undefined, (event: WatchEvent) => {
    if (event.type !== "BOOKMARK") seen.push(event.object.metadata.name);
  });
  const acknowledged: string[] = [];
  let refusal: unknown;
  for (let index = 0; index < 200 && refusal === undefined; index++) {
    const name = `a-${String(index).padStart(3, "0")}`;
    try {
      store.create(configMaps, map(name));
      await store.flushed();
      acknowledged.push(name);
    } catch (error) {
      refusal = error;
    }
  }
  assert.ok(acknowledged.length > 5 && acknowledged.length < 200, `${acknowledged.length} were acknowledged`);
  assert.ok(refusal instanceof StatusError && refusal.code === 503, String(refusal));
  assert.match(
    refusal.message,
    /^the store cannot be written: .*full.*: make room or repair the disk; reading goes on$/,
  );
  assert.throws(
    () => store.create(configMaps, map("b")),
    (error) => error instanceof StatusError && error.code === 503,
  );
  assert.deepEqual(seen, acknowledged, "watchers see what is on the disk");
  for (const name of acknowledged) assert.ok(store.get({ ...configMaps, namespace: "default", name }) !== undefined);

  rmSync(ballast);
  store.create(configMaps, map("c"));
  await store.flushed();
  assert.equal(seen.at(-1), "c");
  const names = store.list(configMaps).items.map(({ metadata }) => metadata.name);
  assert.deepEqual(seen, names);
  store.close();
  const again = openStore({ path });
  assert.deepEqual(
    again.list(configMaps).items.map(({ metadata }) => metadata.name),
    names,
  );
  again.close();
});
