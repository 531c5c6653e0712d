import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { Pod, ReplicaSet, ReplicationController } from "../../kube/kinds.ts";
import { StatusError } from "../api/store.ts";
import { app, testCluster } from "./cluster.testing.ts";
import { controllerOf, isTerminating } from "./pod-state.ts";
import { events, pods, replicaSets, replicationControllers } from "./resources.ts";

function replicaSet(name: string, replicas: number): ReplicaSet {
  const { selector, template } = app(name);
  return { apiVersion: "apps/v1", kind: "ReplicaSet", metadata: { name }, spec: { replicas, selector, template } };
}

function barePod(name: string, labels: Readonly<Record<string, string>>, spec: Partial<Pod["spec"]> = {}): Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels },
    spec: { containers: [{ name: "main", image: "nginx" }], ...spec },
  };
}

void describe("ReplicaSet", () => {
  void test("adopts matching orphans, makes only what is missing and removes a surplus", async () => {
    const cluster = await testCluster();
    cluster.create(barePod("a", { app: "web" }), barePod("b", { app: "web" }), barePod("c", { app: "other" }));
    cluster.create(replicaSet("web", 3));
    await cluster.settle();
    const owned = cluster.list(pods).filter((pod) => controllerOf(pod)?.name === "web");
    assert.equal(owned.length, 3);
    assert.ok(owned.some(({ metadata }) => metadata.name === "a"));
    assert.equal(controllerOf(cluster.must(pods, "c")), undefined);
    cluster.edit(replicaSets, "web", (set) => ({ ...set, spec: { ...set.spec, replicas: 1 } }));
    await cluster.settle();
    assert.equal(cluster.list(pods).filter((pod) => controllerOf(pod)?.name === "web").length, 1);
    cluster.close();
  });

  void test("a ReplicationController is its forerunner: selected by its template's labels unless it says others", async () => {
    const cluster = await testCluster();
    const controller: ReplicationController = {
      apiVersion: "v1",
      kind: "ReplicationController",
      metadata: { name: "old" },
      spec: { replicas: 2, template: app("old").template },
    };
    cluster.create(barePod("other", { app: "other" }), controller);
    await cluster.settle();
    const owned = cluster.list(pods).filter((pod) => controllerOf(pod)?.kind === "ReplicationController");
    assert.equal(owned.length, 2);
    assert.equal(controllerOf(cluster.must(pods, "other")), undefined);
    const { spec, status, metadata } = cluster.must(replicationControllers, "old");
    assert.deepEqual([spec.selector, metadata.labels], [{ app: "old" }, { app: "old" }]);
    assert.equal(status?.readyReplicas, 2);
    cluster.edit(replicationControllers, "old", (each) => ({ ...each, spec: { ...each.spec, replicas: 0 } }));
    await cluster.settle();
    assert.equal(cluster.list(pods).length, 1);
    cluster.close();
  });

  void test("releases a pod whose labels no longer match, and replaces it", async () => {
    const cluster = await testCluster();
    cluster.create(replicaSet("web", 2));
    await cluster.settle();
    const name = cluster.list(pods)[0]?.metadata.name ?? "";
    cluster.edit(pods, name, (pod) => ({ ...pod, metadata: { ...pod.metadata, labels: { app: "debug" } } }));
    await cluster.settle();
    assert.equal(controllerOf(cluster.must(pods, name)), undefined);
    assert.equal(cluster.list(pods).length, 3);
    assert.equal(cluster.must(replicaSets, "web").status?.readyReplicas, 2);
    cluster.close();
  });

  const cases: readonly { what: string; first: (pod: Pod) => Pod; index: number }[] = [
    { what: "a pod with a lower deletion cost", index: 1, first: (pod) => withCost(pod, "-5") },
    { what: "a pod that is not ready", index: 2, first: (pod) => notReady(pod) },
  ];
  for (const { what, first, index } of cases) {
    void test(`when scaling down, ${what} goes first`, async () => {
      const cluster = await testCluster();
      cluster.create(replicaSet("web", 4));
      await cluster.settle();
      const victim = cluster.list(pods)[index] as Pod;
      const changed = first(victim);
      if (changed.status === victim.status) cluster.api.update(changed);
      else cluster.api.updateStatus(changed);
      await cluster.idle();
      cluster.edit(replicaSets, "web", (set) => ({ ...set, spec: { ...set.spec, replicas: 3 } }));
      await cluster.idle();
      assert.deepEqual(
        cluster
          .list(pods)
          .filter(isTerminating)
          .map(({ metadata }) => metadata.name),
        [victim.metadata.name],
      );
      cluster.close();
    });
  }

  void test("when scaling down, pods on the fullest node go first", async () => {
    const cluster = await testCluster({ nodes: 2 });
    cluster.create(
      barePod("x", { app: "web" }, { nodeName: "node-2" }),
      barePod("y", { app: "web" }, { nodeName: "node-2" }),
    );
    cluster.create(barePod("a", { app: "web" }, { nodeName: "node-1" }), replicaSet("web", 3));
    await cluster.settle();
    cluster.edit(replicaSets, "web", (set) => ({ ...set, spec: { ...set.spec, replicas: 2 } }));
    await cluster.idle();
    const [victim] = cluster.list(pods).filter(isTerminating);
    assert.equal(victim?.spec.nodeName, "node-2");
    cluster.close();
  });

  void test("a pod that the API refuses is a condition and an Event, and is tried again", async () => {
    let refusing = true;
    const cluster = await testCluster({
      admissions: [
        ({ operation, object }) => {
          if (refusing && operation === "create" && object.kind === "Pod") {
            throw new StatusError(403, "Forbidden", "exceeded quota");
          }
          return object;
        },
      ],
    });
    cluster.create(replicaSet("web", 1));
    await cluster.idle();
    const [condition] = cluster.must(replicaSets, "web").status?.conditions ?? [];
    assert.deepEqual(
      [condition?.type, condition?.status, condition?.reason, condition?.message],
      ["ReplicaFailure", "True", "FailedCreate", "exceeded quota"],
    );
    assert.deepEqual(
      cluster.list(events).map(({ type, reason, message }) => [type, reason, message]),
      [["Warning", "FailedCreate", "Error creating: exceeded quota"]],
    );
    refusing = false;
    await cluster.pass(1_000);
    await cluster.settle();
    assert.equal(cluster.must(replicaSets, "web").status?.readyReplicas, 1);
    assert.equal(cluster.must(replicaSets, "web").status?.conditions, undefined);
    cluster.close();
  });
});

function withCost(pod: Pod, cost: string): Pod {
  const annotations = { ...pod.metadata.annotations, "controller.kubernetes.io/pod-deletion-cost": cost };
  return { ...pod, metadata: { ...pod.metadata, annotations } };
}

function notReady(pod: Pod): Pod {
  const conditions = (pod.status?.conditions ?? []).map((condition) =>
    condition.type === "Ready" ? { ...condition, status: "False" } : condition,
  );
  return { ...pod, status: { ...pod.status, conditions } };
}
