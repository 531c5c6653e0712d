import { after, test } from "node:test";
import assert from "node:assert/strict";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogStore, type LogOptions, type LogStore } from "./logs.ts";

const folder = fs.mkdtempSync(join(tmpdir(), "logs-"));
after(() => fs.rmSync(folder, { recursive: true }));

const pod = { namespace: "n", name: "p", uid: "u" };
let now = Date.parse("2026-01-01T00:00:00Z");

async function read(store: LogStore, options: LogOptions = {}, container = "c"): Promise<string> {
  let text = "";
  await store.read(pod, container, options).each((chunk) => (text += chunk));
  return text;
}

test("lines are cut from chunks, joined again, stamped, counted, limited", async () => {
  const store = createLogStore(folder, { now: () => now });
  const log = store.open(pod, "c", 0);
  log.write("stdout", Buffer.from("on"));
  log.write("stdout", Buffer.from("e\ntw"));
  log.write("stderr", Buffer.from("error\n"));
  log.write("stdout", Buffer.concat([Buffer.from("o "), Buffer.from("é").subarray(0, 1)]));
  log.write("stdout", Buffer.from("é").subarray(1));
  now += 1000;
  log.close();
  assert.equal(await read(store), "one\nerror\ntwo é\n");
  assert.equal(await read(store, { tailLines: 1 }), "two é\n");
  assert.equal(await read(store, { tailLines: 0 }), "");
  assert.equal(await read(store, { limitBytes: 5 }), "one\ne");
  assert.equal(await read(store, { since: now }), "two é\n");
  assert.match(await read(store, { timestamps: true }), /^2026-01-01T00:00:00\.000000000Z one\n/);
  assert.equal(store.tail(pod, "c", { lines: 2, bytes: 100 }), "error\ntwo é");
});

test("the run before is kept, older ones are not", async () => {
  const store = createLogStore(folder, { now: () => now });
  for (const run of [1, 2, 3]) {
    const log = store.open(pod, "r", run);
    log.line(`run ${run}`);
    log.close();
  }
  assert.equal(await read(store, {}, "r"), "run 3\n");
  assert.equal(await read(store, { previous: true }, "r"), "run 2\n");
  assert.deepEqual(fs.readdirSync(join(folder, "n_p_u", "r")).sort(), ["2.log", "3.log"]);
  assert.throws(() => store.read(pod, "none", {}), /container "none" in pod "p" not found/);
  assert.throws(
    () => store.read(pod, "c", { previous: true }),
    /previous terminated container "c" in pod "p" not found/,
  );
});

test("sizes are bounded, and long lines come back whole", async () => {
  const store = createLogStore(folder, { now: () => now, bytesMax: 10_000 });
  const log = store.open(pod, "big", 0);
  for (let line = 0; line < 1000; line++) {
    log.line(`line ${line}`);
    if (line % 50 === 0) await read(store, {}, "big");
  }
  log.close();
  const files = fs.readdirSync(join(folder, "n_p_u", "big"));
  assert.deepEqual(files.sort(), ["0.log", "0.log.1"]);
  for (const file of files) assert.ok(fs.statSync(join(folder, "n_p_u", "big", file)).size <= 12_000);
  assert.match(await read(store, {}, "big"), /line 999\n$/);
  const long = store.open(pod, "long", 0);
  long.write("stdout", Buffer.from("x".repeat(40_000)));
  long.write("stdout", Buffer.from("y\n"));
  long.close();
  assert.equal(await read(createLogStore(folder, { now: () => now }), {}, "long"), `${"x".repeat(40_000)}y\n`);
});

test("following gives what comes, until the container ends or the reader closes", async () => {
  const store = createLogStore(folder, { now: () => now });
  const log = store.open(pod, "f", 0);
  log.line("before");
  const chunks: string[] = [];
  const ended = store.read(pod, "f", { follow: true }).each((chunk) => chunks.push(chunk));
  const reader = store.read(pod, "f", { follow: true, tailLines: 0 });
  const closed = reader.each(() => {});
  reader.close();
  await closed;
  log.line("after");
  log.close();
  await ended;
  assert.equal(chunks.join(""), "before\nafter\n");
});

test("who says nothing has no file, and an empty log all the same", async () => {
  const there = (): readonly string[] =>
    fs
      .readdirSync(folder, { recursive: true })
      .map(String)
      .filter((name) => name.includes("quiet"));
  const store = createLogStore(folder, { now: () => now });
  const first = store.open(pod, "quiet", 0);
  assert.equal(await read(store, {}, "quiet"), "");
  first.close();
  assert.equal(await read(store, {}, "quiet"), "");
  assert.deepEqual(there(), []);

  // A lab that was started anew knows by the container's status that it has run.
  const later = createLogStore(folder, { now: () => now });
  assert.throws(() => later.read(pod, "quiet", {}), /container "quiet" in pod "p" not found/);
  let text = "";
  await later.read(pod, "quiet", {}, { newest: true, previous: false }).each((chunk) => (text += chunk));
  assert.equal(text, "");
  assert.throws(
    () => later.read(pod, "quiet", { previous: true }, { newest: true, previous: false }),
    /previous terminated container "quiet" in pod "p" not found/,
  );

  // A silent run after one that spoke is not taken for it.
  const spoke = later.open(pod, "quiet", 1);
  spoke.line("before");
  spoke.close();
  const silent = later.open(pod, "quiet", 2);
  assert.equal(await read(later, {}, "quiet"), "");
  assert.equal(await read(later, { previous: true }, "quiet"), "before\n");
  silent.close();
  const again = createLogStore(folder, { now: () => now });
  assert.equal(await read(again, {}, "quiet"), "");
  assert.equal(await read(again, { previous: true }, "quiet"), "before\n");
});
