// The store over a disk that takes its time: who hears of what, and when; and over one that refuses.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";

import * as fc from "fast-check";

import type { KubeObject } from "../../kube/object.ts";
import { openStore } from "./sqlite-store.ts";
import { StatusError, type ObjectKey, type Store, type WatchEvent } from "./store.ts";

const configMaps = { group: "", resource: "configmaps" };

function map(name: string, data: { [name: string]: string } = {}): KubeObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "default" }, data };
}

function keyOf(name: string): ObjectKey {
  return { ...configMaps, namespace: "default", name };
}

interface SlowDisk {
  readonly store: Store;
  /** The newest revision that is on the disk. */
  landed(): number;
  /** Lets what is on its way arrive, or not. */
  answer(error?: Error): Promise<void>;
}

function slowDisk(folder: string, name: string, historyEventsMax = 10_000): SlowDisk {
  let landed = 0;
  let waiting: { revision: number; resolve: () => void; reject: (error: unknown) => void } | undefined;
  const store: Store = openStore({
    path: join(folder, name),
    historyEventsMax,
    syncFile: () =>
      new Promise((resolve, reject) => {
        assert.equal(waiting, undefined, "one commit at a time");
        waiting = { revision: store.revision, resolve, reject };
      }),
  });
  return {
    store,
    landed: () => landed,
    async answer(error) {
      const { revision, resolve, reject } = waiting ?? {};
      waiting = undefined;
      if (error === undefined) landed = revision ?? landed;
      if (error === undefined) resolve?.();
      else reject?.(error);
      await turn();
      await turn();
    },
  };
}

function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-disk-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function textOf(events: readonly WatchEvent[]): string[] {
  return events.map((event) =>
    event.type === "BOOKMARK" ? `BOOKMARK ${event.resourceVersion}` : `${event.type} ${event.object.metadata.name}`,
  );
}

test("nobody hears of a write before it is on the disk; what is written meanwhile goes together", async (context) => {
  const { store, answer } = slowDisk(temporaryFolder(context), "store.db");
  context.after(() => store.close());
  const [events, late]: [WatchEvent[], WatchEvent[]] = [[], []];
  let flushed = 0;
  const flush = (): void => void store.flushed().then(() => flushed++);
  store.watch(configMaps, 0, (event) => events.push(event));
  store.create(configMaps, map("a"));
  flush();
  await turn();
  await turn();
  assert.ok(store.get(keyOf("a")) !== undefined, "it can be read");
  assert.deepEqual([textOf(events), flushed], [[], 0]);
  store.watch(configMaps, 0, (event) => late.push(event));
  store.create(configMaps, map("b"));
  store.create(configMaps, map("c"));
  flush();
  await turn();
  await answer();
  assert.deepEqual([textOf(events), flushed], [["ADDED a", "BOOKMARK 1"], 1]);
  assert.deepEqual(textOf(late), [], "its objects are not on the disk yet");
  await answer();
  assert.deepEqual([textOf(events), flushed], [["ADDED a", "BOOKMARK 1", "ADDED b", "ADDED c"], 2]);
  assert.deepEqual(textOf(late), ["ADDED a", "ADDED b", "ADDED c", "BOOKMARK 3"]);
});

test("a disk that refuses: nothing is acknowledged or seen, writes are refused, and all is there when it is well again", async (context) => {
  const { store, answer } = slowDisk(temporaryFolder(context), "store.db");
  context.after(() => store.close());
  const events: WatchEvent[] = [];
  store.watch(configMaps, undefined, (event) => events.push(event));
  store.create(configMaps, map("a"));
  const refused = assert.rejects(store.flushed(), (error) => error instanceof StatusError && error.code === 503);
  await turn();
  await answer(new Error("EIO: i/o error, fdatasync"));
  await refused;
  await assert.rejects(store.flushed(), /the store cannot be written: EIO: i\/o error, fdatasync: make room or repair/);
  assert.deepEqual(textOf(events), []);
  // The file itself is well: the next write finds another way to the disk.
  store.create(configMaps, map("b"));
  assert.deepEqual(textOf(events), ["ADDED a"]);
  const flushed = store.flushed();
  await turn();
  await answer();
  await flushed;
  assert.deepEqual(textOf(events), ["ADDED a", "ADDED b"]);
});

test("closing waits for the disk", async (context) => {
  const folder = temporaryFolder(context);
  const { store } = slowDisk(folder, "store.db");
  store.create(configMaps, map("a"));
  const first = store.flushed();
  await turn();
  store.create(configMaps, map("b"));
  const second = store.flushed();
  store.close();
  await Promise.all([first, second]);
  const again = openStore({ path: join(folder, "store.db") });
  context.after(() => again.close());
  assert.deepEqual(
    again.list(configMaps).items.map(({ metadata }) => metadata.name),
    ["a", "b"],
  );
});

type Step =
  | { readonly do: "create" | "update" | "delete"; readonly name: string; readonly value: number }
  | { readonly do: "turn" | "land" | "existing" | "now" | "resume" | "fail" };

/** Writes, turns, answers of the disk and new watchers in any order. */
test("every watcher sees each change once, in order, and none that is not on the disk", async (context) => {
  const folder = temporaryFolder(context);
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({
      do: fc.constantFrom("create", "update", "delete"),
      name: fc.constantFrom("a", "b", "c"),
      value: fc.nat(9),
    }),
    fc.record({ do: fc.constantFrom("turn", "land", "existing", "now", "resume", "fail") }),
  );
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const disk = slowDisk(folder, `store-${runs++}.db`, 1000);
      const { store } = disk;
      const copies: Map<string, KubeObject>[] = [];
      const revisions: number[] = [];
      let hasFailed = false;
      const follow = (since: number | undefined, start: readonly KubeObject[], revision: number): void => {
        const copy = new Map(start.map((object) => [object.metadata.name, object]));
        const index = copies.push(copy) - 1;
        revisions[index] = revision;
        store.watch(configMaps, since, (event) => {
          if (!hasFailed) assert.ok(event.resourceVersion <= disk.landed(), "on the disk");
          if (event.type === "BOOKMARK") {
            revisions[index] = Math.max(revisions[index] ?? 0, event.resourceVersion);
            return;
          }
          const { name } = event.object.metadata;
          // The objects of the beginning come by name, not by age.
          if (since !== 0 || event.type !== "ADDED") assert.ok(event.resourceVersion > (revisions[index] ?? 0), "once");
          if (event.type === "ADDED") assert.ok(!copy.has(name), "added once");
          if (event.type === "DELETED") assert.ok(copy.delete(name), "was there");
          else copy.set(name, event.object);
          if (since !== 0 || event.type !== "ADDED") revisions[index] = event.resourceVersion;
        });
      };
      for (const each of steps) {
        try {
          if (each.do === "create") store.create(configMaps, map(each.name, { value: String(each.value) }));
          else if (each.do === "update") store.update(configMaps, map(each.name, { value: String(each.value) }));
          else if (each.do === "delete") store.delete(keyOf(each.name));
          else if (each.do === "turn") await turn();
          else if (each.do === "land") await disk.answer();
          else if (each.do === "existing") follow(0, [], 0);
          else if (each.do === "now") follow(undefined, store.list(configMaps).items, store.revision);
          else if (each.do === "resume" && store.revision > 0) {
            // As a client that has seen what there was when it listed, and comes back later.
            const { items, resourceVersion } = store.list(configMaps);
            await turn();
            follow(resourceVersion, items, resourceVersion);
          } else if (each.do === "fail") {
            hasFailed = true;
            await disk.answer(new Error("EIO"));
          }
        } catch (error) {
          assert.ok(error instanceof StatusError && [404, 409].includes(error.code), String(error));
        }
      }
      // A write is another try after a refusal.
      if (hasFailed) store.create(configMaps, map("last"));
      for (let index = 0; index < 5; index++) await disk.answer();
      if (!hasFailed) assert.equal(disk.landed(), store.revision);
      const there = store.list(configMaps).items;
      for (const copy of copies)
        assert.deepEqual(
          [...copy.values()].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1)),
          there,
        );
      store.close();
    }),
    { numRuns: 150 },
  );
});
