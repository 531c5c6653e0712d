import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { Event } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import { openStore } from "../api/sqlite-store.ts";
import { createObjectApi } from "../api/write.ts";
import { createFakeClock } from "./clock.testing.ts";
import { timeText } from "../../watch/clock.ts";
import { namespace, seededRandom, testCluster, type TestCluster } from "./cluster.testing.ts";
import { createEventSink, type EventRecorder } from "./events.ts";
import { events } from "./resources.ts";

function start(): {
  readonly clock: ReturnType<typeof createFakeClock>;
  readonly recorder: EventRecorder;
  readonly about: (name: string) => KubeObject;
  readonly written: () => readonly Event[];
} {
  const clock = createFakeClock();
  const store = openStore({ path: ":memory:" });
  const api = createObjectApi({ store, admissions: [], clock: () => clock.now() });
  api.create(namespace("default"));
  const sink = createEventSink({ api, clock, random: seededRandom(1), wake: () => {} });
  return {
    clock,
    recorder: sink.recorder("tester", "host-1"),
    about: (name) => ({ apiVersion: "v1", kind: "Pod", metadata: { name, namespace: "default", uid: `uid-${name}` } }),
    written() {
      assert.equal(
        sink.drain(() => true),
        true,
      );
      assert.equal(sink.pending, false);
      return api.list(events).items as readonly Event[];
    },
  };
}

void describe("events", () => {
  void test("name the object, the source and the time", () => {
    const { recorder, about, written } = start();
    recorder.record(about("p"), "Warning", "Broken", "it is broken");
    const [event] = written();
    assert.match(event?.metadata.name ?? "", /^p\.[0-9a-f]{16}$/);
    assert.deepEqual(event?.involvedObject, {
      kind: "Pod",
      apiVersion: "v1",
      namespace: "default",
      name: "p",
      uid: "uid-p",
    });
    assert.deepEqual(event.source, { component: "tester", host: "host-1" });
    assert.deepEqual(
      [event.type, event.reason, event.message, event.count, event.firstTimestamp],
      ["Warning", "Broken", "it is broken", 1, "2026-01-01T00:00:00Z"],
    );
  });

  void test("that are equal count up, before and after they are written", () => {
    const { clock, recorder, about, written } = start();
    recorder.record(about("p"), "Normal", "Pulled", "again");
    recorder.record(about("p"), "Normal", "Pulled", "again");
    assert.deepEqual(
      written().map(({ count }) => count),
      [2],
    );
    clock.advance(60_000);
    recorder.record(about("p"), "Normal", "Pulled", "again");
    const all = written();
    assert.deepEqual(
      all.map(({ count, firstTimestamp, lastTimestamp }) => [count, firstTimestamp, lastTimestamp]),
      [[3, "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"]],
    );
  });

  void test("that are alike become one after ten", () => {
    const { recorder, about, written } = start();
    for (let i = 0; i < 14; i++) recorder.record(about("p"), "Normal", "Created", `Created pod ${i}`);
    const all = written();
    assert.equal(all.length, 11);
    const combined = all.filter(({ message }) => message?.startsWith("(combined from similar events): ") === true);
    assert.deepEqual(
      combined.map(({ message, count }) => [message, count]),
      [["(combined from similar events): Created pod 13", 4]],
    );
  });

  void test("of a chatterbox are cut off, others' are not", () => {
    const { clock, recorder, about, written } = start();
    for (let i = 0; i < 100; i++) recorder.record(about("p"), "Normal", "Noise", "again");
    recorder.record(about("q"), "Normal", "Noise", "again");
    assert.deepEqual(
      written().map(({ count }) => count),
      [25, 1],
    );
    clock.advance(300_000);
    recorder.record(about("p"), "Normal", "Noise", "again");
    recorder.record(about("p"), "Normal", "Noise", "again");
    assert.deepEqual(
      written().map(({ count }) => count),
      [26, 1],
    );
  });

  void test("about objects in namespaces that are gone are dropped", () => {
    const { recorder, about, written } = start();
    recorder.record({ ...about("p"), metadata: { name: "p", namespace: "gone" } }, "Normal", "Late", "too late");
    assert.deepEqual(written(), []);
  });
});

void describe("retention of events", () => {
  const event = (name: string, atMs: number): KubeObject => ({
    apiVersion: "v1",
    kind: "Event",
    metadata: { name, namespace: "default" },
    involvedObject: { kind: "Pod", name: "p", namespace: "default" },
    reason: "Said",
    lastTimestamp: timeText(atMs),
  });
  const names = (cluster: TestCluster): readonly string[] => cluster.list(events).map(({ metadata }) => metadata.name);

  void test("they go an hour after they were last said, whoever wrote them", async () => {
    const cluster = await testCluster();
    const now = cluster.clock.now();
    cluster.create(event("old", now - 1_800_000), event("again", now - 1_800_000), event("new", now));
    await cluster.pass(1_000_000);
    cluster.edit(events, "again", (object) => ({ ...object, lastTimestamp: timeText(cluster.clock.now()) }));
    await cluster.pass(800_000);
    assert.deepEqual(names(cluster), ["again", "new"]);
    await cluster.pass(1_800_000);
    assert.deepEqual(names(cluster), ["again"]);
    await cluster.pass(1_000_000);
    assert.deepEqual(names(cluster), []);
    cluster.close();
  });

  void test("the oldest go when there are too many, also after a restart", async () => {
    const cluster = await testCluster({ eventRetention: { ttlMs: 3_600_000, most: 3 } });
    for (let i = 0; i < 5; i++) cluster.create(event(`e${i}`, cluster.clock.now()));
    await cluster.idle();
    assert.deepEqual(names(cluster), ["e2", "e3", "e4"]);
    await cluster.restart();
    cluster.create(event("e5", cluster.clock.now()));
    await cluster.idle();
    assert.deepEqual(names(cluster), ["e3", "e4", "e5"]);
    cluster.close();
  });
});
