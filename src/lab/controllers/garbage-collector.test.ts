import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { ConfigMap } from "../../kube/kinds.ts";
import type { OwnerReference } from "../../kube/object.ts";
import { customDefinition } from "../api/custom-definition.testing.ts";
import { deployment, testCluster, type TestCluster } from "./cluster.testing.ts";
import { configMaps, deployments, pods, replicaSets } from "./resources.ts";

function configMap(name: string, owners: readonly OwnerReference[] = []): ConfigMap {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, ownerReferences: owners } };
}

function ownerOf(cluster: TestCluster, name: string, more: Partial<OwnerReference> = {}): OwnerReference {
  const uid = cluster.must(configMaps, name).metadata.uid ?? "";
  return { apiVersion: "v1", kind: "ConfigMap", name, uid, ...more };
}

const left = (cluster: TestCluster): readonly string[] =>
  cluster
    .list(configMaps)
    .filter(({ metadata }) => metadata.namespace === "default" && metadata.name !== "kube-root-ca.crt")
    .map(({ metadata }) => metadata.name);

async function family(): Promise<TestCluster> {
  const cluster = await testCluster();
  cluster.create(configMap("parent"));
  cluster.create(configMap("child", [ownerOf(cluster, "parent", { blockOwnerDeletion: true })]));
  cluster.create(configMap("grandchild", [ownerOf(cluster, "child", { blockOwnerDeletion: true })]));
  await cluster.idle();
  return cluster;
}

void describe("garbage collector", () => {
  void test("in the background: the owner goes first, then what it owned, and so on", async () => {
    const cluster = await family();
    cluster.remove(configMaps, "parent", { propagation: "Background" });
    assert.deepEqual(left(cluster), ["child", "grandchild"]);
    await cluster.idle();
    assert.deepEqual(left(cluster), []);
    cluster.close();
  });

  void test("in the foreground: the owner waits for what blocks it", async () => {
    const cluster = await family();
    cluster.edit(configMaps, "grandchild", (object) => ({
      ...object,
      metadata: { ...object.metadata, finalizers: ["example.com/hold"] },
    }));
    cluster.remove(configMaps, "parent", { propagation: "Foreground" });
    await cluster.idle();
    assert.deepEqual(left(cluster), ["child", "grandchild", "parent"]);
    cluster.edit(configMaps, "grandchild", (object) => ({
      ...object,
      metadata: { ...object.metadata, finalizers: [] },
    }));
    await cluster.idle();
    assert.deepEqual(left(cluster), []);
    cluster.close();
  });

  void test("in the foreground, a circle of owners that wait for each other goes all the same", async () => {
    const cluster = await family();
    cluster.edit(configMaps, "parent", (object) => ({
      ...object,
      metadata: {
        ...object.metadata,
        ownerReferences: [ownerOf(cluster, "grandchild", { blockOwnerDeletion: true })],
      },
    }));
    await cluster.idle();
    assert.equal(left(cluster).length, 3);
    cluster.remove(configMaps, "parent", { propagation: "Foreground" });
    await cluster.idle();
    assert.deepEqual(left(cluster), []);
    assert.deepEqual(cluster.failures, []);
    cluster.close();
  });

  void test("orphaned: what it owned stays and forgets it", async () => {
    const cluster = await family();
    cluster.remove(configMaps, "parent", { propagation: "Orphan" });
    await cluster.idle();
    assert.deepEqual(left(cluster), ["child", "grandchild"]);
    assert.deepEqual(cluster.must(configMaps, "child").metadata.ownerReferences ?? [], []);
    cluster.close();
  });

  void test("an object with another owner left stays, without the one that is gone", async () => {
    const cluster = await testCluster();
    cluster.create(configMap("one"), configMap("two"));
    cluster.create(configMap("child", [ownerOf(cluster, "one"), ownerOf(cluster, "two")]));
    cluster.remove(configMaps, "one");
    await cluster.idle();
    assert.deepEqual(left(cluster), ["child", "two"]);
    assert.deepEqual(
      cluster.must(configMaps, "child").metadata.ownerReferences?.map(({ name }) => name),
      ["two"],
    );
    cluster.remove(configMaps, "two");
    await cluster.idle();
    assert.deepEqual(left(cluster), []);
    cluster.close();
  });

  void test("an owner of the same name but another uid is none", async () => {
    const cluster = await testCluster();
    cluster.create(configMap("parent"));
    cluster.create(
      configMap("child", [{ ...ownerOf(cluster, "parent"), uid: "00000000-0000-4000-8000-000000000000" }]),
    );
    await cluster.idle();
    assert.deepEqual(left(cluster), ["parent"]);
    cluster.close();
  });

  void test("an owner that was made anew meanwhile is another one", async () => {
    const cluster = await family();
    cluster.remove(configMaps, "parent");
    cluster.create(configMap("parent"));
    await cluster.idle();
    assert.deepEqual(left(cluster), ["parent"]);
    cluster.close();
  });

  void test("an owner may be of a custom kind", async () => {
    const cluster = await testCluster();
    cluster.create(customDefinition("Foo"));
    const resource = { group: "example.com", resource: "foos" };
    const foo = cluster.api.create({
      apiVersion: "example.com/v1",
      kind: "Foo",
      metadata: { name: "owner", namespace: "default" },
    });
    const uid = foo.metadata.uid ?? "";
    cluster.create(configMap("owned", [{ apiVersion: "example.com/v1", kind: "Foo", name: "owner", uid }]));
    await cluster.idle();
    assert.deepEqual(left(cluster), ["owned"]);
    cluster.api.delete({ ...resource, namespace: "default", name: "owner" });
    await cluster.idle();
    assert.deepEqual(left(cluster), []);
    cluster.close();
  });

  void test("an owner of a kind that nobody knows keeps its objects", async () => {
    const cluster = await testCluster();
    cluster.create(configMap("child", [{ apiVersion: "example.com/v1", kind: "Thing", name: "x", uid: "1" }]));
    await cluster.idle();
    assert.deepEqual(left(cluster), ["child"]);
    cluster.close();
  });

  for (const propagation of ["Background", "Foreground"] as const) {
    void test(`a Deployment deleted in the ${propagation.toLowerCase()} takes ReplicaSets and pods along`, async () => {
      const cluster = await testCluster();
      cluster.create(deployment("web", 3));
      await cluster.settle();
      cluster.remove(deployments, "web", { propagation });
      await cluster.settle();
      assert.deepEqual(
        [cluster.list(deployments).length, cluster.list(replicaSets).length, cluster.list(pods).length],
        [0, 0, 0],
      );
      cluster.close();
    });
  }

  void test("a Deployment deleted without its pods can be made again over them", async () => {
    const cluster = await testCluster();
    cluster.create(deployment("web", 3));
    await cluster.settle();
    const uids = (): ReadonlySet<string | undefined> => new Set(cluster.list(pods).map(({ metadata }) => metadata.uid));
    const before = uids();
    cluster.remove(deployments, "web", { propagation: "Orphan" });
    await cluster.settle();
    cluster.create(deployment("web", 3));
    await cluster.settle();
    assert.deepEqual(uids(), before);
    assert.equal(cluster.must(deployments, "web").status?.readyReplicas, 3);
    cluster.close();
  });

  void test("what lost its owner while no controller ran goes at the next start", async () => {
    const cluster = await family();
    cluster.runtime.stop();
    cluster.remove(configMaps, "parent", { propagation: "Background" });
    await cluster.restart();
    assert.deepEqual(left(cluster), []);
    cluster.close();
  });
});
