import assert from "node:assert/strict";
import { test } from "node:test";

import type { KubeObject } from "../../kube/object.ts";
import { fakeClock, fakeServer, type FakeClock, type FakeServer } from "./informer.testing.ts";
import { startInformer, type Change, type Informer } from "./informer.ts";

interface Follower {
  readonly server: FakeServer;
  readonly clock: FakeClock;
  readonly informer: Informer<KubeObject>;
  /** `added a=1`, `deleted b` … */
  readonly told: string[];
  readonly log: string[];
}

function follow(server: FakeServer = fakeServer(), random: () => number = () => 0): Follower {
  const clock = fakeClock();
  const told: string[] = [];
  const log: string[] = [];
  const informer = startInformer<KubeObject>({
    client: server.client,
    resource: { group: "", version: "v1", resource: "services" },
    changed: (changes) => void told.push(...changes.map(text)),
    log: (line) => void log.push(line),
    clock,
    random,
  });
  return { server, clock, informer, told, log };
}

function text(change: Change<KubeObject>): string {
  return change.kind === "deleted" ? `deleted ${change.key}` : `${change.kind} ${change.key}=${valueOf(change.object)}`;
}

function valueOf(object: KubeObject): string {
  return (object as unknown as { spec: { externalName: string } }).spec.externalName;
}

void test("everything comes first, in one call; then each change as it happens", async () => {
  const server = fakeServer();
  server.put("a", "1");
  server.put("b", "1");
  const { clock, informer, told } = follow(server);
  await clock.pass(0);
  await informer.synced;
  assert.deepEqual(told.splice(0), ["added a=1", "added b=1"]);
  server.put("a", "2");
  server.remove("b");
  server.put("c", "1");
  assert.deepEqual(told, ["changed a=2", "deleted b", "added c=1"]);
  assert.deepEqual([...informer.objects.keys()], ["a", "c"]);
  assert.equal(informer.status().connected, true);
  informer.close();
});

void test("a server without WatchList is read in pages, once asked", async () => {
  const server = fakeServer();
  server.watchList = false;
  for (const name of ["a", "b", "c", "d", "e"]) server.put(name, "1");
  const { clock, informer, told } = follow(server);
  await clock.pass(0);
  assert.equal(told.length, 5);
  assert.equal(informer.objects.get("e")?.kind, "Service", "items get the type of their list");
  server.put("e", "2");
  assert.deepEqual(told.slice(5), ["changed e=2"]);
  server.expire();
  await clock.pass(1000);
  assert.equal(server.asked.filter((query) => query.includes("sendInitialEvents")).length, 1);
  assert.equal(informer.status().lists, 2);
  informer.close();
});

void test("an interrupted watch goes on where it was, also from a bookmark", async () => {
  const server = fakeServer();
  server.put("a", "1");
  const { clock, informer, told, log } = follow(server);
  await clock.pass(0);
  server.bookmark();
  for (const how of ["end", "break"] as const) {
    server.cut(how);
    server.put("a", how);
    await clock.pass(1000);
  }
  assert.deepEqual(told, ["added a=1", "changed a=end", "changed a=break"]);
  assert.equal(informer.status().lists, 1, "nothing was read again");
  assert.match(server.asked[1] ?? "", /resourceVersion=101/);
  assert.match(log.join("\n"), /watch services: cut; the last known objects stay[^]*answers again/);
  informer.close();
});

void test("after 410 everything is read again: what vanished is told, what is unchanged stays the same value", async () => {
  for (const how of ["answer", "event"] as const) {
    const server = fakeServer();
    for (const name of ["a", "b", "c"]) server.put(name, "1");
    const { clock, informer, told } = follow(server);
    await clock.pass(0);
    const before = informer.objects.get("a");
    told.length = 0;
    server.cut("break");
    server.remove("b");
    server.put("c", "2");
    server.compact();
    if (how === "event") {
      await clock.pass(1000);
      server.expire();
    }
    await clock.pass(2000);
    assert.deepEqual(told, ["deleted b", "changed c=2"]);
    assert.equal(informer.objects.get("a"), before);
    assert.equal(informer.status().lists, how === "event" ? 3 : 2);
    informer.close();
  }
});

void test("half of everything is nothing", async () => {
  const server = fakeServer();
  for (const name of ["a", "b", "c"]) server.put(name, "1");
  server.breakAfter = 2;
  const { clock, informer, told } = follow(server);
  await clock.pass(0);
  assert.deepEqual(told, []);
  assert.equal(informer.status().synced, false);
  await clock.pass(1000);
  assert.deepEqual(told, ["added a=1", "added b=1", "added c=1"]);
  informer.close();
});

void test("while the server is away the objects stay, and attempts become rare; jitter spreads them", async () => {
  const server = fakeServer();
  server.put("a", "1");
  const { clock, informer, log } = follow(server, () => 0.5);
  await clock.pass(60_000);
  server.down = true;
  server.cut("break");
  await clock.pass(3_600_000);
  assert.equal(informer.objects.size, 1);
  assert.equal(informer.status().connected, false);
  const pauses = clock.delays.filter((delayMs) => delayMs <= 60_000);
  assert.deepEqual(pauses.slice(0, 3), [300, 600, 1200]);
  assert.equal(Math.max(...pauses), 45_000);
  assert.ok(pauses.length < 100, "an hour away is no storm");
  assert.equal(log.length, 1, "and no flood of words");
  server.down = false;
  server.put("a", "2");
  await clock.pass(60_000);
  assert.equal(valueOf(informer.objects.get("a") as KubeObject), "2");
  assert.equal(informer.status().trouble, undefined);
  informer.close();
});

void test("a change of what is not kept is no change", async () => {
  const server = fakeServer();
  server.put("a", "1");
  const { clock, informer, told } = follow(server);
  await clock.pass(0);
  const before = informer.objects.get("a");
  server.put("a", "1");
  assert.equal(informer.objects.get("a"), before);
  server.expire();
  await clock.pass(1000);
  assert.equal(informer.objects.get("a"), before);
  assert.deepEqual(told, ["added a=1"]);
  server.put("a", "2");
  assert.deepEqual(told, ["added a=1", "changed a=2"]);
  informer.close();
});

void test("a watch that says nothing any more is opened anew where it was; bookmarks keep it", async () => {
  const server = fakeServer();
  server.put("a", "1");
  const { clock, informer } = follow(server);
  await clock.pass(0);
  for (let minute = 0; minute < 10; minute++) {
    server.bookmark();
    await clock.pass(60_000);
  }
  assert.equal(server.asked.length, 1);
  await clock.pass(180_000);
  assert.equal(server.asked.length, 2);
  assert.match(server.asked[1] ?? "", /resourceVersion=101/);
  server.put("a", "2");
  assert.equal(valueOf(informer.objects.get("a") as KubeObject), "2");
  assert.equal(informer.status().lists, 1);
  informer.close();
});

void test("a resource that may be missing has no objects while it is, and is found when it comes", async () => {
  const server = fakeServer();
  server.absent = true;
  const clock = fakeClock();
  const informer = startInformer<KubeObject>({
    client: server.client,
    resource: { group: "policy.networking.k8s.io", version: "v1alpha2", resource: "clusternetworkpolicies" },
    exists: "maybe",
    clock,
    random: () => 0,
  });
  await clock.pass(0);
  await informer.synced;
  assert.equal(informer.objects.size, 0);
  server.absent = false;
  server.put("a", "1");
  await clock.pass(30_000);
  assert.equal(informer.objects.size, 1);
  informer.close();
});

void test("a resource that is followed where that is allowed: none before it is, and the last known ones after it was", async () => {
  const server = fakeServer();
  server.forbidden = true;
  const clock = fakeClock();
  const lines: string[] = [];
  const informer = startInformer<KubeObject>({
    client: server.client,
    resource: { group: "fairlead.dev", version: "v1alpha1", resource: "loadbalancerpools" },
    exists: "where-allowed",
    clock,
    random: () => 0,
    log: (line) => lines.push(line),
  });
  await clock.pass(0);
  await informer.synced;
  await clock.pass(60_000);
  assert.deepEqual([informer.objects.size, lines], [0, []]);
  server.forbidden = false;
  server.put("a", "1");
  await clock.pass(30_000);
  assert.equal(informer.objects.size, 1);
  server.forbidden = true;
  server.cut("end");
  await clock.pass(30_000);
  assert.equal(informer.objects.size, 1);
  assert.match(lines[0] ?? "", /forbidden; the last known objects stay/);
  informer.close();
});

void test("whatever is cut, forgotten or refused: in the end the objects are the server's, and the changes told lead there", async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = dice(seed);
    const server = fakeServer();
    server.watchList = random() < 0.5;
    const clock = fakeClock();
    const replica = new Map<string, string>();
    const informer = startInformer<KubeObject>({
      client: server.client,
      resource: { group: "", version: "v1", resource: "services" },
      clock,
      random,
      changed(changes) {
        for (const change of changes) {
          assert.equal(replica.has(change.key), change.kind !== "added", `seed ${seed}: ${text(change)}`);
          if (change.kind === "deleted") replica.delete(change.key);
          else replica.set(change.key, valueOf(change.object));
        }
      },
    });
    for (let step = 0; step < 80; step++) {
      const name = `s${Math.floor(random() * 6)}`;
      const roll = random();
      if (roll < 0.4) server.put(name, String(step));
      else if (roll < 0.55) server.remove(name);
      else if (roll < 0.65) server.cut(random() < 0.5 ? "end" : "break");
      else if (roll < 0.7) server.compact();
      else if (roll < 0.75) server.expire();
      else if (roll < 0.8) server.bookmark();
      else if (roll < 0.85) server.breakAfter = Math.floor(random() * 4);
      else server.down = random() < 0.3;
      if (random() < 0.5) await clock.pass(random() * 5000);
    }
    server.down = false;
    await clock.pass(300_000);
    const wanted = [...server.objects()].map(([name, object]) => [name, valueOf(object)] as const);
    assert.deepEqual(new Map(wanted), replica, `seed ${seed}`);
    assert.deepEqual(
      new Map([...informer.objects].map(([key, object]) => [key, valueOf(object)])),
      replica,
      `seed ${seed}`,
    );
    informer.close();
  }
});

/** mulberry32 */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
