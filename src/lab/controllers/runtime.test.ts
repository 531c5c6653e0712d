import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { StatusError } from "../api/store.ts";
import { openStore } from "../api/sqlite-store.ts";
import { createObjectApi } from "../api/write.ts";
import { createFakeClock, type FakeClock } from "./clock.testing.ts";
import { deployment, namespace, service, testCluster, testConfig } from "./cluster.testing.ts";
import type { ObjectApi } from "../api/api.ts";
import { configMaps, pods } from "./resources.ts";
import { on, startRuntime, type Controller, type Failure, type Runtime } from "./runtime.ts";

type Reconcile = Controller["reconcile"];

/** One controller over ConfigMaps, keyed by name. */
function start(
  reconcile: Reconcile,
  existing: readonly string[] = [],
): {
  readonly api: ObjectApi;
  readonly clock: FakeClock;
  readonly runtime: Runtime;
  readonly failures: Failure[];
  readonly configMap: (name: string, data?: Readonly<Record<string, string>>) => void;
} {
  const clock = createFakeClock();
  const store = openStore({ path: ":memory:" });
  const api = createObjectApi({ store, admissions: [], clock: () => clock.now() });
  api.create(namespace("default"));
  const configMap = (name: string, data: Readonly<Record<string, string>> = {}): void => {
    api.apply({ apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "default" }, data });
  };
  for (const name of existing) configMap(name);
  const failures: Failure[] = [];
  const runtime = startRuntime({
    api,
    clock,
    random: Math.random,
    config: testConfig,
    controllers: [
      () => ({
        name: "tester",
        watches: [
          on(configMaps, ({ object, previous }, enqueue) => enqueue((object ?? previous)?.metadata.name ?? "")),
        ],
        reconcile,
      }),
    ],
    failed: (failure) => failures.push(failure),
  });
  return { api, clock, runtime, failures, configMap };
}

void describe("runtime", () => {
  void test("everything that was there is looked at once, and nothing before all of it is known", async () => {
    const seen: string[] = [];
    const { runtime } = start((key) => seen.push(key), ["a", "b", "c"]);
    assert.deepEqual(seen, []);
    await runtime.idle();
    assert.deepEqual(seen, ["a", "b", "c"]);
    runtime.stop();
  });

  void test("many changes of an object are one look", async () => {
    const seen: string[] = [];
    const { runtime, configMap } = start((key) => seen.push(key));
    await runtime.idle();
    for (let i = 0; i < 50; i++) configMap("a", { i: String(i) });
    await runtime.idle();
    assert.deepEqual(seen, ["a"]);
    runtime.stop();
  });

  void test("an error is tried again later and later, and forgotten after a success", async () => {
    let broken = true;
    let tries = 0;
    const { runtime, clock, failures, configMap } = start(() => {
      tries++;
      if (broken) throw new Error("no");
    });
    configMap("a");
    for (const wait of [0, 5, 10, 20, 40]) {
      clock.advance(wait);
      await runtime.idle();
    }
    assert.equal(tries, 5);
    assert.deepEqual(
      failures.map(({ retryInMs }) => retryInMs),
      [5, 10, 20, 40, 80],
    );
    broken = false;
    clock.advance(80);
    await runtime.idle();
    broken = true;
    configMap("a", { changed: "yes" });
    await runtime.idle();
    assert.equal(failures.at(-1)?.retryInMs, 5);
    assert.deepEqual(runtime.counts.get("tester"), { reconciled: 7, failed: 6 });
    runtime.stop();
  });

  void test("a conflict is tried again at once, but not for ever", async () => {
    let tries = 0;
    const { runtime, failures, configMap } = start(() => {
      tries++;
      throw new StatusError(409, "Conflict", "somebody was faster");
    });
    configMap("a");
    await runtime.idle();
    assert.equal(tries, 9);
    assert.equal(failures.length, 1);
    runtime.stop();
  });

  void test("what a namespace on its way out refuses is not tried again", async () => {
    let tries = 0;
    const { runtime, clock, failures, configMap } = start(() => {
      tries++;
      const why = "unable to create new content in namespace default because it is being terminated";
      throw new StatusError(403, "Forbidden", why);
    });
    configMap("a");
    await runtime.idle();
    clock.advance(10_000);
    await runtime.idle();
    assert.deepEqual([tries, failures.length], [1, 0]);
    runtime.stop();
  });

  void test("of several later looks at an object the earliest counts", async () => {
    const seen: number[] = [];
    const times = [500, 100, 300];
    const { runtime, clock, configMap } = start((_key, requeue) => {
      seen.push(clock.now());
      for (const time of times.splice(0)) requeue(time);
    });
    const begin = clock.now();
    configMap("a");
    await runtime.idle();
    clock.advance(1_000);
    await runtime.idle();
    assert.deepEqual(
      seen.map((at) => at - begin),
      [0, 1_000],
    );
    assert.equal(clock.pending, 0);
    runtime.stop();
  });

  void test("stopped, nothing is looked at any more", async () => {
    const seen: string[] = [];
    const { runtime, clock, configMap } = start((key, requeue) => {
      seen.push(key);
      requeue(10);
    });
    configMap("a");
    await runtime.idle();
    runtime.stop();
    configMap("b");
    clock.advance(1_000);
    await runtime.idle();
    assert.deepEqual(seen, ["a"]);
  });

  void test("the work for a large cluster grows with what there is, not with its square", async () => {
    const cluster = await testCluster({ nodes: 10 });
    for (let i = 0; i < 5; i++) cluster.create(deployment(`app-${i}`, 60), service(`app-${i}`));
    await cluster.settle();
    const count = cluster.list(pods).length;
    assert.equal(count, 300);
    const work = [...cluster.runtime.counts].map(([name, { reconciled }]) => [name, reconciled] as const);
    for (const [name, reconciled] of work) assert.ok(reconciled <= count * 1.5 + 50, `${name}: ${reconciled}`);
    cluster.close();
  });
});
