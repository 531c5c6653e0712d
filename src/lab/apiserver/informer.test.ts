// What follows a real cluster's API follows ours as well.

import assert from "node:assert/strict";
import { test } from "node:test";

import type { KubeObject } from "../../kube/object.ts";
import { openCluster } from "../../watch/cluster/client.ts";
import { startInformer } from "../../watch/cluster/informer.ts";
import { startTestServer } from "./server.testing.ts";

const configMaps = { group: "", version: "v1", resource: "configmaps" };

void test("an informer holds what the API server holds, through changes and a broken connection", async () => {
  const server = await startTestServer();
  const client = openCluster({
    server: server.url,
    insecure: false,
    user: { kind: "nobody" },
    namespace: "default",
    from: "a test",
  });
  const put = (name: string, value: string): void =>
    void server.api.create({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name, namespace: "default" },
      data: { value },
    });
  put("a", "1");
  put("b", "1");
  let awaited: { readonly key: string; readonly seen: () => void } | undefined;
  const informer = startInformer<KubeObject>({
    client,
    resource: configMaps,
    namespace: "default",
    changed(changes) {
      if (changes.some(({ key }) => key === awaited?.key)) awaited?.seen();
    },
  });
  const seen = (key: string): Promise<void> => new Promise((resolve) => (awaited = { key, seen: resolve }));
  await informer.synced;
  assert.deepEqual([...informer.objects.keys()], ["default/a", "default/b"]);
  let next = seen("default/c");
  put("c", "1");
  await next;
  next = seen("default/a");
  server.api.delete({ ...configMaps, namespace: "default", name: "a" });
  await next;
  assert.deepEqual([...informer.objects.keys()], ["default/b", "default/c"]);
  assert.equal(informer.status().lists, 1);
  informer.close();
  client.close();
  server.close();
  assert.deepEqual(server.errors, []);
});
