// Room in a store's journal: all that was acknowledged is there whenever the process ends, a small store has none.

import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";

import type { KubeObject } from "../../kube/object.ts";
import { StoreError } from "./log.ts";
import { openStore } from "./sqlite-store.ts";

const configMaps = { group: "", resource: "configmaps" };

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "fairlead-room-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const path = (): string => join(folder, "store.db");
const journalBytes = (): number => statSync(`${path()}-wal`).size;

function configMap(name: string, bytes: number): KubeObject {
  // Of its own, so that no two objects share it.
  const text = name.repeat(Math.ceil(bytes / name.length)).slice(0, bytes);
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "a" }, data: { text } };
}

/** What a process would find that is started after this one was killed now. */
function assertFound(names: readonly string[]): void {
  const copy = join(folder, "copy.db");
  for (const suffix of ["", "-wal"]) copyFileSync(`${path()}${suffix}`, `${copy}${suffix}`);
  const store = openStore({ path: copy });
  const found = new Set(store.list(configMaps).items.map(({ metadata }) => metadata.name));
  store.close();
  assert.deepEqual(
    names.filter((name) => !found.has(name)),
    [],
  );
}

test("what is acknowledged is there while room is being made, and after the journal has begun anew", async () => {
  const store = openStore({ path: path(), roomAfterMs: 0 });
  const names: string[] = [];
  let sizeMax = 0;
  try {
    for (let index = 0; index < 400; index++) {
      // Small ones, some that are larger than a piece of room, some many in one commit.
      const count = index % 7 === 0 ? 20 : 1;
      for (let each = 0; each < count; each++) {
        const name = `c-${index}-${each}`;
        store.create(configMaps, configMap(name, index % 50 === 20 ? 1_500_000 : 9000));
        names.push(name);
      }
      await store.flushed();
      sizeMax = Math.max(sizeMax, journalBytes());
      if (index % 80 === 40) assertFound(names);
    }
    assertFound(names);
  } finally {
    store.close();
  }
  // 12 MB of texts and as much of large ones: it was full, and there was room long before.
  assert.ok(sizeMax > 16_000_000, `the journal had ${sizeMax} bytes`);
  const again = openStore({ path: path() });
  assert.equal(again.list(configMaps).items.length, names.length);
  again.close();
});

test("room is there before it is needed, and none where nearly nothing is written", async () => {
  const store = openStore({ path: path(), roomAfterMs: 0 });
  try {
    store.create(configMaps, configMap("little", 100));
    await store.flushed();
    await new Promise((resolve) => setTimeout(resolve, 1));
    assert.ok(journalBytes() < 64 * 1024);
    store.create(configMaps, configMap("more", 100_000));
    await store.flushed();
    // It grows by itself from here on.
    while (journalBytes() < 16_000_000) await new Promise((resolve) => setImmediate(resolve));
    assertFound(["little", "more"]);
  } finally {
    store.close();
  }
});

test("changed bytes before the room are found", async () => {
  const store = openStore({ path: path(), roomAfterMs: 0 });
  for (let index = 0; journalBytes() < 1024 * 1024 || index < 60; index++) {
    store.create(configMaps, configMap(`c-${index}`, 9000));
    await store.flushed();
  }
  const copy = join(folder, "copy.db");
  for (const suffix of ["", "-wal"]) copyFileSync(`${path()}${suffix}`, `${copy}${suffix}`);
  store.close();
  const bytes = readFileSync(`${copy}-wal`);
  assert.ok(bytes.length > 1024 * 1024);
  bytes[200_000] = (bytes[200_000] ?? 0) ^ 1;
  writeFileSync(`${copy}-wal`, bytes);
  assert.throws(
    () => openStore({ path: copy }),
    (error) => error instanceof StoreError && /bytes have changed/.test(error.message),
  );
});
