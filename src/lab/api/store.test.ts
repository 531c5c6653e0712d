import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import process from "node:process";
import { test, type TestContext } from "node:test";

import * as fc from "fast-check";

import type { KubeObject } from "../../kube/object.ts";
import { StoreError } from "./log.ts";
import { openStore } from "./sqlite-store.ts";
import { StatusError, type ObjectKey, type Store, type WatchEvent } from "./store.ts";

const configMaps = { group: "", resource: "configmaps" };
const deployments = { group: "apps", resource: "deployments" };

function map(name: string, rest: object = {}, namespace = "default"): KubeObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace }, ...rest };
}

function keyOf(name: string, namespace = "default"): ObjectKey {
  return { ...configMaps, namespace, name };
}

function memoryStore(options: { historyEventsMax?: number } = {}): Store {
  let number = 0;
  return openStore({
    path: ":memory:",
    clock: () => Date.UTC(2026, 0, 31, 12),
    random: () => ++number / 1000 - Math.floor(number / 1000),
    ...options,
  });
}

function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-store-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function refusal(code: number, message: string | RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StatusError);
    assert.equal(error.code, code);
    if (typeof message === "string") assert.equal(error.message, message);
    else assert.match(error.message, message);
    return true;
  };
}

function textOf(events: readonly WatchEvent[]): string[] {
  return events.map((event) =>
    event.type === "BOOKMARK" ? "BOOKMARK" : `${event.type} ${event.object.metadata.name}`,
  );
}

test("a new object has uid, time and revision, and is frozen", () => {
  const store = memoryStore();
  const { metadata } = store.create(configMaps, map("a"));
  assert.match(metadata.uid ?? "", /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(metadata.creationTimestamp, "2026-01-31T12:00:00Z");
  assert.equal(metadata.resourceVersion, "1");
  assert.ok(Object.isFrozen(store.get(keyOf("a"))));
});

test("names: taken ones are refused, generated ones are new", () => {
  const store = memoryStore();
  store.create(deployments, { ...map("a"), kind: "Deployment" });
  assert.throws(() => store.create(deployments, map("a")), refusal(409, 'deployments.apps "a" already exists'));
  const generated = store.create(configMaps, {
    ...map(""),
    metadata: { name: "", generateName: "web-", namespace: "default" },
  });
  assert.match(generated.metadata.name, /^web-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
});

test("an update must be of the newest state, if it says of which", () => {
  const store = memoryStore();
  const first = store.create(configMaps, map("a", { data: { n: "1" } }));
  const second = store.update(configMaps, { ...first, data: { n: "2" } });
  assert.equal(second.metadata.uid, first.metadata.uid);
  assert.throws(
    () => store.update(configMaps, { ...first, data: { n: "3" } }),
    refusal(
      409,
      'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again',
    ),
  );
  assert.equal(store.update(configMaps, map("a", { data: { n: "4" } })).metadata.resourceVersion, "3");
  assert.throws(() => store.update(configMaps, map("b")), refusal(404, 'configmaps "b" not found'));
});

test("an update that changes nothing is no write", async () => {
  const store = memoryStore();
  const first = store.create(configMaps, map("a", { data: { n: "1" } }));
  const events: WatchEvent[] = [];
  store.watch(configMaps, undefined, (event) => events.push(event));
  assert.equal(store.update(configMaps, map("a", { data: { n: "1" } })), first);
  await store.flushed();
  assert.deepEqual(events, []);
});

test("lists are in the order of namespace/name by bytes, and the same array until something changes", () => {
  const store = memoryStore();
  for (const [namespace, name] of [
    ["b", "x"],
    ["a", "z"],
    ["a-b", "m"],
    ["a", "k"],
  ] as const)
    store.create(configMaps, map(name, {}, namespace));
  const names = (list: readonly KubeObject[]): string[] =>
    list.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  const all = store.list(configMaps).items;
  // As etcd's keys: "a-b/" is before "a/".
  assert.deepEqual(names(all), ["a-b/m", "a/k", "a/z", "b/x"]);
  assert.equal(store.list(configMaps).items, all);
  assert.deepEqual(names(store.list(configMaps, { namespace: "a" }).items), ["a/k", "a/z"]);
  store.delete(keyOf("k", "a"));
  assert.deepEqual(names(store.list(configMaps).items), ["a-b/m", "a/z", "b/x"]);
  assert.equal(store.list(configMaps).resourceVersion, 5);
});

test("finalizers hold an object, the last one lets it go", async () => {
  const store = memoryStore();
  const events: WatchEvent[] = [];
  store.watch(configMaps, 0, (event) => events.push(event));
  await store.flushed();
  store.create(configMaps, {
    ...map("a"),
    metadata: { name: "a", namespace: "default", finalizers: ["example.com/x"] },
  });
  const marked = store.delete(keyOf("a"));
  assert.equal(marked.metadata.deletionTimestamp, "2026-01-31T12:00:00Z");
  assert.equal(store.delete(keyOf("a")), marked, "a second delete changes nothing");
  const released = store.update(configMaps, { ...marked, metadata: { ...marked.metadata, finalizers: [] } });
  assert.deepEqual(released.metadata.finalizers, []);
  assert.equal(store.get(keyOf("a")), undefined);
  await store.flushed();
  assert.deepEqual(textOf(events), ["BOOKMARK", "ADDED a", "MODIFIED a", "DELETED a"]);
  const last = events.at(-1);
  assert.ok(last?.type === "DELETED");
  assert.deepEqual(last.object.metadata.finalizers, ["example.com/x"], "as it was when it was last seen");
  assert.equal(last.object.metadata.resourceVersion, released.metadata.resourceVersion);
});

test("a grace period can be shortened, never lengthened; its end is told before the object is gone", async () => {
  const store = memoryStore();
  store.create(configMaps, { ...map("a"), metadata: { name: "a", namespace: "default", generation: 1 } });
  const events: WatchEvent[] = [];
  store.watch(configMaps, undefined, (event) => events.push(event));
  assert.equal(store.delete(keyOf("a"), { gracePeriodSeconds: 30 }).metadata.deletionTimestamp, "2026-01-31T12:00:30Z");
  assert.equal(store.delete(keyOf("a"), { gracePeriodSeconds: 60 }).metadata.deletionGracePeriodSeconds, 30);
  assert.equal(store.delete(keyOf("a"), { gracePeriodSeconds: 5 }).metadata.deletionTimestamp, "2026-01-31T12:00:05Z");
  assert.equal(store.delete(keyOf("a"), { gracePeriodSeconds: 0 }).metadata.generation, 2, "counted once");
  assert.equal(store.get(keyOf("a")), undefined);
  await store.flushed();
  assert.deepEqual(textOf(events), ["MODIFIED a", "MODIFIED a", "MODIFIED a", "DELETED a"]);
});

test("preconditions of a delete", () => {
  const store = memoryStore();
  store.create(configMaps, map("a"));
  assert.throws(
    () => store.delete(keyOf("a"), { uid: "other" }),
    refusal(409, /^Operation cannot be fulfilled on configmaps "a": Precondition failed: UID/),
  );
  assert.throws(() => store.delete(keyOf("b")), refusal(404, 'configmaps "b" not found'));
});

test("watches see commits only, outside of the writer, each from where it began", async () => {
  const store = memoryStore();
  const [fromStart, fromNow, resumed]: [WatchEvent[], WatchEvent[], WatchEvent[]] = [[], [], []];
  store.create(configMaps, map("a"));
  store.watch(configMaps, 0, (event) => fromStart.push(event));
  store.watch(configMaps, undefined, (event) => fromNow.push(event));
  const { resourceVersion } = store.list(configMaps);
  store.create(configMaps, map("b"));
  store.create(deployments, { ...map("other"), kind: "Deployment" });
  assert.deepEqual([fromStart, fromNow], [[], []], "nothing in the writer's call stack");
  await store.flushed();
  assert.deepEqual(textOf(fromStart), ["ADDED a", "ADDED b", "BOOKMARK"], "all that is there at the commit, once");
  assert.deepEqual(textOf(fromNow), ["ADDED b"]);
  store.delete(keyOf("a"));
  await store.flushed();
  store.watch(configMaps, resourceVersion, (event) => resumed.push(event));
  await store.flushed();
  assert.deepEqual(textOf(resumed), ["ADDED b", "DELETED a"]);
});

test("what a callback writes comes after what it was told, and a closed watch hears no more", async () => {
  const store = memoryStore();
  const events: WatchEvent[] = [];
  const watch = store.watch(configMaps, undefined, (event) => {
    events.push(event);
    if (event.type === "ADDED" && event.object.metadata.name === "a") store.create(configMaps, map("b"));
    if (event.type === "ADDED" && event.object.metadata.name === "b") watch.close();
  });
  store.create(configMaps, map("a"));
  await store.flushed();
  await store.flushed();
  store.create(configMaps, map("c"));
  await store.flushed();
  assert.deepEqual(textOf(events), ["ADDED a", "ADDED b"]);
});

test("history has an end: 410", async () => {
  const store = memoryStore({ historyEventsMax: 10 });
  for (let index = 0; index < 30; index++) {
    store.create(configMaps, map(`a-${index}`));
    await store.flushed();
  }
  assert.throws(
    () => store.watch(configMaps, 3, () => undefined),
    refusal(410, /^too old resource version: 3 \(\d+\)$/),
  );
});

/** Any writes in any turns: a watcher that applies the events has what the store has, from whichever revision it began. */
test("a watcher's copy equals the store", async () => {
  const name = fc.constantFrom("a", "b", "c");
  const step = fc.oneof(
    fc.record({ do: fc.constantFrom("create", "update", "delete"), name, value: fc.nat(3) }),
    fc.constant({ do: "flush" as const, name: "", value: 0 }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.nat(10), async (steps, resumeAt) => {
      const store = memoryStore();
      const copy = new Map<string, KubeObject>();
      let last = 0;
      const follow = (event: WatchEvent): void => {
        assert.ok(event.type === "BOOKMARK" || event.resourceVersion > last, "in order, none twice");
        if (event.type === "BOOKMARK") return;
        last = event.resourceVersion;
        if (event.type === "DELETED") copy.delete(event.object.metadata.name);
        else copy.set(event.object.metadata.name, event.object);
      };
      let watch = store.watch(configMaps, undefined, follow);
      for (const [index, { do: what, name: of, value }] of steps.entries()) {
        try {
          if (what === "create") store.create(configMaps, map(of, { data: { value: String(value) } }));
          else if (what === "update") store.update(configMaps, map(of, { data: { value: String(value) } }));
          else if (what === "delete") store.delete(keyOf(of));
          else await store.flushed();
        } catch (error) {
          assert.ok(error instanceof StatusError && [404, 409].includes(error.code));
        }
        if (index === resumeAt) {
          watch.close();
          watch = store.watch(configMaps, last === 0 ? undefined : last, follow);
          if (last === 0) for (const object of store.list(configMaps).items) copy.set(object.metadata.name, object);
        }
      }
      await store.flushed();
      assert.deepEqual(
        [...copy.values()].map((object) => object.metadata.name).sort(),
        store.list(configMaps).items.map((object) => object.metadata.name),
      );
      for (const object of store.list(configMaps).items) assert.equal(copy.get(object.metadata.name), object);
      store.close();
    }),
    { numRuns: 60 },
  );
});

test("all writes or none", async () => {
  const store = memoryStore();
  const kept = store.create(configMaps, map("kept", { data: { n: "1" } }));
  const gone = store.create(configMaps, map("gone"));
  const events: WatchEvent[] = [];
  store.watch(configMaps, undefined, (event) => events.push(event));
  assert.throws(
    () =>
      store.atomically(() => {
        store.create(configMaps, map("new"));
        store.update(configMaps, map("kept", { data: { n: "2" } }));
        store.update(configMaps, map("kept", { data: { n: "3" } }));
        store.delete(keyOf("gone"));
        store.create(configMaps, map("gone", { data: { n: "other" } }));
        store.create(configMaps, map("new"));
      }),
    refusal(409, 'configmaps "new" already exists'),
  );
  assert.deepEqual(store.list(configMaps).items, [gone, kept]);
  assert.equal(store.get(keyOf("kept")), kept);
  assert.equal(store.revision, 2);
  store.atomically(() => store.create(configMaps, map("new")));
  await store.flushed();
  assert.deepEqual(textOf(events), ["ADDED new"]);
});

test("what is stored can be frozen through and through", () => {
  const store = openStore({ path: ":memory:", freeze: "deep" });
  const { data } = store.create(configMaps, map("a", { data: { n: "1" } }));
  assert.throws(() => ((data as { n: string }).n = "2"), TypeError);
});

test("a reopened store has everything, goes on counting, and resumes watches", async (context) => {
  const path = join(temporaryFolder(context), "store.db");
  const before = openStore({ path });
  before.create(configMaps, map("a"));
  before.create(configMaps, map("b", { data: { n: "1" } }));
  before.update(configMaps, map("b", { data: { n: "2" } }));
  before.delete(keyOf("a"));
  before.close();
  assert.equal(statSync(path).mode & 0o777, 0o600, "Secrets are in it");
  const after = openStore({ path });
  context.after(() => after.close());
  assert.equal(after.revision, 4);
  assert.deepEqual(
    after.list(configMaps).items.map(({ metadata }) => metadata.name),
    ["b"],
  );
  const events: WatchEvent[] = [];
  after.watch(configMaps, 1, (event) => events.push(event));
  await after.flushed();
  assert.deepEqual(textOf(events), ["ADDED b", "MODIFIED b", "DELETED a"]);
  assert.deepEqual(events[1]?.type === "MODIFIED" && events[1].previous?.["data"], { n: "1" });
});

test("a store in use is refused", (context) => {
  const path = join(temporaryFolder(context), "store.db");
  const store = openStore({ path });
  context.after(() => store.close());
  assert.throws(
    () => openStore({ path }),
    (error) => error instanceof StoreError && /another process uses it/.test(error.message),
  );
});

test("a file that is no store, a damaged one, a newer one, and a folder that is missing are refused in words", async (context) => {
  const folder = temporaryFolder(context);
  const said = (path: string): string => {
    try {
      openStore({ path }).close();
    } catch (error) {
      assert.ok(error instanceof StoreError);
      return error.message;
    }
    return "opened";
  };
  writeFileSync(join(folder, "text.db"), "this is no database, whatever its name says\n".repeat(50));
  assert.match(said(join(folder, "text.db")), /text\.db: file is not a database: the file is damaged/);
  assert.match(said(join(folder, "missing", "store.db")), /no such file or directory.*: check that the folder exists/);

  const path = join(folder, "store.db");
  const store = openStore({ path });
  for (let index = 0; index < 200; index++)
    store.create(configMaps, map(`a-${index}`, { data: { text: "x".repeat(2000) } }));
  await store.flushed();
  store.close();
  const bytes = readFileSync(path);
  const damaged = join(folder, "damaged.db");
  writeFileSync(damaged, Buffer.concat([bytes.subarray(0, 8192), Buffer.alloc(bytes.length - 8192, 0xa5)]));
  assert.match(said(damaged), /damaged/);

  const newer = join(folder, "newer.db");
  bytes.writeUInt32BE(99, 60);
  writeFileSync(newer, bytes);
  assert.match(said(newer), /it has format 99, this version of fairlead knows 2/);
});

test("bytes changed anywhere in the file: it is refused in words or every object is as it was written; it is not written to", async (context) => {
  const folder = temporaryFolder(context);
  const path = join(folder, "store.db");
  const store = openStore({ path });
  for (let index = 0; index < 60; index++)
    store.create(configMaps, map(`a-${index}`, { data: { text: "wxyz".repeat(100) } }));
  await store.flushed();
  const sound = JSON.stringify(store.list(configMaps).items);
  store.close();
  const bytes = readFileSync(path);
  const copy = join(folder, "copy.db");
  let refusals = 0;
  const check = (given: Buffer, what: string): void => {
    writeFileSync(copy, given);
    try {
      const opened = openStore({ path: copy });
      const found = JSON.stringify(opened.list(configMaps).items);
      opened.close();
      assert.equal(found, sound, what);
    } catch (error) {
      assert.ok(error instanceof StoreError, `${what}: ${String(error)}`);
      assert.match(error.message, /^open store .*copy\.db: .*: .+/, what);
      assert.ok(readFileSync(copy).equals(given), `${what}: the file is as it was`);
      refusals++;
    }
  };
  // Of the first 100 bytes SQLite ignores many, and some say another format or make another file of it.
  for (let at = 100; at < bytes.length; at += 397) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 0x01;
    check(changed, `byte ${at} changed`);
  }
  for (const length of [bytes.length - 1, bytes.length - 4096, bytes.length >> 1, 5000, 4096, 50])
    check(bytes.subarray(0, length), `cut to ${length} bytes`);
  assert.ok(refusals > 20, `${refusals} refusals`);
});

test("bytes changed in the journal of a killed process: it is refused, or no more than the last commit is missing", async (context) => {
  const folder = temporaryFolder(context);
  const path = join(folder, "store.db");
  const store = openStore({ path });
  for (let index = 0; index < 12; index++) {
    store.create(configMaps, map(`a-${String(index).padStart(2, "0")}`));
    await store.flushed();
  }
  // As a killed process leaves them: nothing has been moved out of the journal.
  const [database, journal] = [readFileSync(path), readFileSync(`${path}-wal`)];
  store.close();
  const copy = join(folder, "copy.db");
  /** How many objects there are, or what is said. */
  const opened = (changed: Buffer): number | string => {
    writeFileSync(copy, database);
    writeFileSync(`${copy}-wal`, changed);
    try {
      const again = openStore({ path: copy });
      const { length } = again.list(configMaps).items;
      again.close();
      return length;
    } catch (error) {
      assert.ok(error instanceof StoreError, String(error));
      assert.ok(readFileSync(copy).equals(database) && readFileSync(`${copy}-wal`).equals(changed), "as they were");
      return error.message;
    }
  };
  assert.equal(opened(journal), 12);
  let refusals = 0;
  for (let at = 0; at < journal.length; at += 1021) {
    const changed = Buffer.from(journal);
    changed[at] = (changed[at] ?? 0) ^ 0x10;
    const found = opened(changed);
    if (typeof found === "number") assert.ok(found >= 10, `byte ${at}: ${found} of 12`);
    else {
      assert.match(
        found,
        /^open store .*copy\.db: its journal .*copy\.db-wal: .*: restore both files, or move both away/,
      );
      refusals++;
    }
  }
  assert.ok(refusals > 10, `${refusals} refusals`);
  for (const end of [journal.length - 1, journal.length - 5000]) {
    const found = opened(journal.subarray(0, end));
    assert.ok(typeof found === "number" && found >= 10, `cut to ${end}: ${found}`);
  }
});

test("a file of format 1, whose rows have no checksums, is taken over", (context) => {
  const path = join(temporaryFolder(context), "store.db");
  const store = openStore({ path });
  store.create(configMaps, map("a"));
  store.close();
  const database = new DatabaseSync(path);
  database.exec("ALTER TABLE log DROP COLUMN checksum; PRAGMA user_version = 1");
  database.close();
  for (const name of ["b", "c"]) {
    const again = openStore({ path });
    again.create(configMaps, map(name));
    again.close();
  }
  const last = openStore({ path });
  context.after(() => last.close());
  assert.deepEqual(
    last.list(configMaps).items.map(({ metadata }) => metadata.name),
    ["a", "b", "c"],
  );
});

test("a full disk: writes are refused in words, what is there stays readable, and it goes on when there is room", (context) => {
  // A process that may not let files grow beyond 200 blocks sees what a full disk is like.
  const path = join(temporaryFolder(context), "store.db");
  const script = `
    import { openStore } from ${JSON.stringify(join(import.meta.dirname, "sqlite-store.ts"))};
    const store = openStore({ path: ${JSON.stringify(path)} });
    const resource = { group: "", resource: "configmaps" };
    const write = (name) => store.create(resource, { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "default" }, data: { text: "x".repeat(20000) } });
    let acknowledged = 0;
    let refusal;
    for (let index = 0; index < 100 && refusal === undefined; index++) {
      try { write("a-" + index); await store.flushed(); acknowledged++; } catch (error) { refusal = error; }
    }
    let second;
    try { write("b"); } catch (error) { second = error; }
    console.log(JSON.stringify({ acknowledged, code: refusal.code, message: refusal.message, second: second.code, readable: store.get({ ...resource, namespace: "default", name: "a-0" }) !== undefined }));
    process.exit(0);`;
  const result = spawnSync(
    "sh",
    ["-c", `trap '' XFSZ; ulimit -f 400; exec "$0" "$@"`, process.execPath, "--input-type=module", "-e", script],
    { encoding: "utf8" },
  );
  assert.equal(result.status, 0, result.stderr);
  const said = JSON.parse(result.stdout) as {
    acknowledged: number;
    code: number;
    message: string;
    second: number;
    readable: boolean;
  };
  assert.ok(said.acknowledged > 0 && said.acknowledged < 100);
  assert.equal(said.code, 503);
  assert.match(said.message, /^the store cannot be written: .*: make room or repair the disk; reading goes on$/);
  assert.equal(said.second, 503);
  assert.equal(said.readable, true);
  const store = openStore({ path });
  context.after(() => store.close());
  assert.ok(store.list(configMaps).items.length >= said.acknowledged, "what was acknowledged is there");
  store.create(configMaps, map("b"));
});

test("old history leaves the file", async (context) => {
  const path = join(temporaryFolder(context), "store.db");
  const store = openStore({ path, historyEventsMax: 20 });
  for (let index = 0; index < 200; index++) {
    if (index === 0) store.create(configMaps, map("a", { data: { n: "0" } }));
    else store.update(configMaps, map("a", { data: { n: String(index) } }));
    await store.flushed();
  }
  store.close();
  const database = new DatabaseSync(path);
  const count = Number(database.prepare("SELECT count(*) AS n FROM log").get()?.["n"]);
  database.close();
  assert.ok(count <= 40, `${count} rows for one object and at most 25 events`);
});
