import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { StatusError } from "../api/store.ts";
import { deployment, namespace, service, statefulSet, testCluster, type TestCluster } from "./cluster.testing.ts";
import { conditionOf } from "./conditions.ts";
import { configMaps, deployments, namespaces, pods, serviceAccounts } from "./resources.ts";
import { resources } from "../../kube/resources.ts";

const within = (
  object: ReturnType<typeof deployment> | ReturnType<typeof service> | ReturnType<typeof statefulSet>,
): typeof object => ({
  ...object,
  metadata: { ...object.metadata, namespace: "shop" },
});

const contents = (cluster: TestCluster): readonly string[] =>
  resources.flatMap((row) => cluster.api.list(row, { namespace: "shop" }).items.map(({ kind }) => kind));

void describe("namespaces", () => {
  void test("carry their name as a label from the first moment, and cannot lose it", async () => {
    const cluster = await testCluster();
    cluster.create(namespace("shop"));
    const label = (): string | undefined =>
      cluster.must(namespaces, "shop").metadata.labels?.["kubernetes.io/metadata.name"];
    assert.equal(label(), "shop");
    cluster.edit(namespaces, "shop", (object) => ({
      ...object,
      metadata: { ...object.metadata, labels: { team: "x" } },
    }));
    assert.equal(label(), "shop");
    cluster.close();
  });

  void test("have a default ServiceAccount and the root certificates, also when somebody removes them", async () => {
    const cluster = await testCluster();
    cluster.create(namespace("shop"));
    await cluster.idle();
    cluster.remove(serviceAccounts, "shop/default");
    cluster.edit(configMaps, "shop/kube-root-ca.crt", (object) => ({ ...object, data: { "ca.crt": "forged" } }));
    await cluster.idle();
    assert.notEqual(cluster.get(serviceAccounts, "shop/default"), undefined);
    assert.equal(cluster.must(configMaps, "shop/kube-root-ca.crt").data?.["ca.crt"], "-----BEGIN CERTIFICATE-----");
    cluster.close();
  });

  void test("deleted, they are emptied and then gone; nothing new comes in meanwhile", async () => {
    const cluster = await testCluster();
    cluster.create(
      namespace("shop"),
      within(deployment("web", 2)),
      within(statefulSet("db", 2)),
      within(service("web")),
    );
    await cluster.settle();
    cluster.remove(namespaces, "shop");
    await cluster.idle();
    const { status } = cluster.must(namespaces, "shop");
    assert.equal(status?.phase, "Terminating");
    // Nothing else goes before the pods have gone: they would run on without the policies that guarded them.
    assert.notEqual(cluster.get(deployments, "shop/web"), undefined);
    assert.equal(conditionOf(status?.conditions, "NamespaceDeletionContentFailure")?.status, "False");
    // Pods on nodes end when their kubelet says so.
    assert.equal(
      conditionOf(status.conditions, "NamespaceContentRemaining")?.message,
      "Some resources are remaining: pods. has 4 resource instances",
    );
    assert.throws(
      () => cluster.create(within(deployment("late", 1))),
      (error) => error instanceof StatusError && error.code === 403,
    );
    await cluster.settle();
    assert.equal(cluster.get(namespaces, "shop"), undefined);
    assert.deepEqual(contents(cluster), []);
    assert.deepEqual(cluster.failures, []);
    cluster.create(namespace("shop"), within(deployment("web", 1)));
    await cluster.settle();
    assert.equal(cluster.must(deployments, "shop/web").status?.readyReplicas, 1);
    cluster.close();
  });

  void test("wait for finalizers inside, and say which", async () => {
    const cluster = await testCluster();
    cluster.create(namespace("shop"));
    cluster.create({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { namespace: "shop", name: "held", finalizers: ["example.com/hold"] },
    });
    await cluster.idle();
    cluster.remove(namespaces, "shop");
    await cluster.settle();
    assert.equal(
      conditionOf(cluster.must(namespaces, "shop").status?.conditions, "NamespaceFinalizersRemaining")?.message,
      "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
    );
    cluster.edit(configMaps, "shop/held", (object) => ({
      ...object,
      metadata: { ...object.metadata, finalizers: [] },
    }));
    await cluster.idle();
    assert.equal(cluster.get(namespaces, "shop"), undefined);
    cluster.close();
  });
});

void describe("pods as they are admitted", () => {
  void test("have a service account, and stay five minutes on silent nodes unless they say otherwise", async () => {
    const cluster = await testCluster();
    const toleration = {
      key: "node.kubernetes.io/unreachable",
      operator: "Exists" as const,
      effect: "NoExecute" as const,
      tolerationSeconds: 5,
    };
    cluster.create({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "p" },
      spec: { containers: [{ name: "main", image: "nginx" }], tolerations: [toleration] },
    });
    const { spec } = cluster.must(pods, "p");
    assert.equal(spec.serviceAccountName, "default");
    assert.deepEqual(
      spec.tolerations?.map(({ key, tolerationSeconds }) => [key, tolerationSeconds]),
      [
        ["node.kubernetes.io/unreachable", 5],
        ["node.kubernetes.io/not-ready", 300],
      ],
    );
    // A client that writes its own list over it forgets them.
    const own = { key: "own", operator: "Exists" as const };
    cluster.edit(pods, "p", (pod) => ({ ...pod, spec: { ...pod.spec, tolerations: [toleration, own] } }));
    assert.deepEqual(
      cluster.must(pods, "p").spec.tolerations?.map(({ key }) => key),
      ["node.kubernetes.io/unreachable", "own", "node.kubernetes.io/not-ready"],
    );
    cluster.close();
  });
});
