// kill -9 in the middle of a storm of writes: nothing that was promised is lost, nothing is half there, watches resume.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";

import type { KubeObject } from "../../kube/object.ts";
import { openStore } from "./sqlite-store.ts";
import { StatusError, type Store, type WatchEvent } from "./store.ts";

const roundsCount = process.env["FAIRLEAD_LONG"] === "1" ? 200 : 4;
const configMaps = { group: "", resource: "configmaps" };

test("kill -9 loses no acknowledged write", async () => {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-store-"));
  const path = join(folder, "store.db");
  try {
    const promised = new Map<string, string>();
    let revision = 0;
    for (let round = 0; round < roundsCount; round++) {
      for (const [name, version] of await storm(path, round)) promised.set(name, version);
      const store = openStore({ path, historyEventsMax: 200 });
      assert.ok(store.revision > revision, "revisions grow across restarts");
      assertKept(store, promised);
      await assertResumes(store);
      revision = store.revision;
      store.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** Runs the writer until it has promised some hundreds of writes, then kills it. */
async function storm(path: string, round: number): Promise<readonly (readonly [string, string])[]> {
  const writer = spawn(process.execPath, [join(import.meta.dirname, "storm.testing.ts"), path, String(round)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => void writer.once("close", resolve));
  let text = "";
  for await (const chunk of writer.stdout) {
    text += String(chunk);
    if (text.length > 8_000 + (round % 20) * 1_111) writer.kill("SIGKILL");
  }
  await ended;
  // The last line may be half written.
  const lines = text.slice(0, text.lastIndexOf("\n")).split("\n");
  assert.ok(lines.length > 100, `the writer promised ${lines.length} writes`);
  return lines.map((line) => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)] as const);
}

function assertKept(store: Store, promised: ReadonlyMap<string, string>): void {
  const there = new Map(store.list(configMaps).items.map((object) => [object.metadata.name, object]));
  for (const [name, version] of promised) {
    const object = there.get(name);
    assert.equal(object?.metadata.resourceVersion ?? "-", version, `${name} as it was promised`);
  }
  for (const object of there.values())
    assert.deepEqual(Object.keys(object["data"] ?? {}), ["turn"], "no object is half there");
}

/** A watch from any revision that is still known ends where the store is, without a gap or a repetition. */
async function assertResumes(store: Store): Promise<void> {
  const since = store.revision - 20;
  const events: WatchEvent[] = [];
  const watch = store.watch("all", since, (event) => events.push(event));
  await store.flushed();
  watch.close();
  assert.deepEqual(
    events.map((event) => event.resourceVersion),
    Array.from({ length: 20 }, (_, index) => since + 1 + index),
  );
  const state = new Map<string, KubeObject>();
  for (const event of events) {
    if (event.type === "BOOKMARK") continue;
    if (event.type === "DELETED") state.delete(event.object.metadata.name);
    else state.set(event.object.metadata.name, event.object);
  }
  for (const object of state.values())
    assert.equal(
      store.get({ ...configMaps, namespace: "default", name: object.metadata.name }),
      object,
      "the very object of the store",
    );
  assert.throws(
    () => store.watch("all", 1, () => undefined),
    (error) => error instanceof StatusError && error.code === 410,
  );
}
