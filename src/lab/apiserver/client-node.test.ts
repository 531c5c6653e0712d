// The informer of @kubernetes/client-node against the API server: what its cache holds is what there is, also when it has slept longer than
// the server remembers (410 Gone: it lists again).

import assert from "node:assert/strict";
import { test } from "node:test";

import { KubeConfig, makeInformer, type KubernetesObject } from "@kubernetes/client-node";
import { openStore } from "../api/sqlite-store.ts";
import { createObjectApi } from "../api/write.ts";
import { startTestServer, testTime } from "./server.testing.ts";

test("an informer that has missed more than the server keeps lists again, and misses nothing", async () => {
  const store = openStore({ path: ":memory:", clock: () => testTime, historyEventsMax: 8 });
  const api = createObjectApi({ store, admissions: [], clock: () => testTime });
  const server = await startTestServer({ api });
  const config = new KubeConfig();
  config.loadFromClusterAndUser({ name: "test", server: server.url, skipTLSVerify: true }, { name: "test" });
  const path = "/api/v1/namespaces/default/configmaps";
  api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: "default" } });
  let lists = 0;
  const listed = async (): Promise<never> => {
    lists++;
    return (await server.send("GET", path)).body as never;
  };
  const informer = makeInformer<KubernetesObject>(config, path, listed);
  const heard: string[] = [];
  let news = Promise.withResolvers<void>();
  const hear = (what: string) => (object: KubernetesObject) => {
    heard.push(`${what} ${object.metadata?.name}`);
    news.resolve();
  };
  informer.on("add", hear("add"));
  informer.on("update", hear("update"));
  informer.on("delete", hear("delete"));
  const until = async (done: () => boolean): Promise<void> => {
    while (!done()) {
      await news.promise;
      news = Promise.withResolvers();
    }
  };
  const create = (name: string): void =>
    void api.create({ apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "default" } });
  const key = { group: "", resource: "configmaps", namespace: "default" };

  create("before");
  await informer.start();
  create("first");
  await until(() => heard.includes("add first"));
  api.delete({ ...key, name: "before" });
  await until(() => heard.includes("delete before"));
  assert.equal(lists, 1);

  // It sleeps; more happens than the server keeps.
  await informer.stop();
  api.delete({ ...key, name: "first" });
  for (let index = 0; index < 40; index++) create(`late-${index}`);
  await informer.start();
  await until(() => heard.filter((line) => line.startsWith("add late-")).length === 40);
  await until(() => heard.includes("delete first"));
  assert.equal(lists, 2, "the watch from where it stopped is refused with 410, so it lists again");
  assert.deepEqual(
    new Set(informer.list().map((object) => object.metadata?.name)),
    new Set(Array.from({ length: 40 }, (_, index) => `late-${index}`)),
  );
  // And it follows on from there.
  create("after");
  await until(() => heard.includes("add after"));
  await informer.stop();
  server.close();
  store.close();
});
