import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { statefulSet, testCluster, type TestCluster } from "./cluster.testing.ts";
import { isTerminating } from "./pod-state.ts";
import {
  controllerRevisions,
  persistentVolumeClaims,
  pods,
  statefulSets,
  type PersistentVolumeClaim,
} from "./resources.ts";
import type { Pod, StatefulSet } from "../../kube/kinds.ts";

const names = (cluster: TestCluster): readonly string[] => cluster.list(pods).map(({ metadata }) => metadata.name);
const versions = (cluster: TestCluster): readonly (string | undefined)[] =>
  cluster.list(pods).map(({ metadata }) => metadata.annotations?.["version"]);

function change(cluster: TestCluster, spec: (before: StatefulSet["spec"]) => Partial<StatefulSet["spec"]>): void {
  cluster.edit(statefulSets, "db", (set) => ({ ...set, spec: { ...set.spec, ...spec(set.spec) } }));
}

const toVersion =
  (number: number) =>
  ({ template }: StatefulSet["spec"]): Partial<StatefulSet["spec"]> => ({
    template: { ...template, metadata: { ...template.metadata, annotations: { version: String(number) } } },
  });

void describe("StatefulSet", () => {
  void test("pods come one after the other, each when the one before is ready, with their own names", async () => {
    const cluster = await testCluster();
    cluster.create(statefulSet("db", 3));
    const seen: string[] = [];
    await cluster.idle();
    for (let round = 0; round < 4; round++) {
      seen.push(names(cluster).join(" "));
      await cluster.kubelet();
    }
    assert.deepEqual(seen, ["db-0", "db-0 db-1", "db-0 db-1 db-2", "db-0 db-1 db-2"]);
    const { metadata, spec } = cluster.must(pods, "db-1");
    assert.equal(metadata.labels?.["statefulset.kubernetes.io/pod-name"], "db-1");
    assert.equal(metadata.labels["apps.kubernetes.io/pod-index"], "1");
    assert.deepEqual([spec.hostname, spec.subdomain], ["db-1", "db"]);
    await cluster.settle();
    const { status } = cluster.must(statefulSets, "db");
    assert.deepEqual(
      [
        status?.replicas,
        status?.readyReplicas,
        status?.availableReplicas,
        status?.currentReplicas,
        status?.updatedReplicas,
      ],
      [3, 3, 3, 3, 3],
    );
    assert.equal(status?.currentRevision, status?.updateRevision);
    cluster.close();
  });

  void test("a pod that is not ready holds up the next", async () => {
    const cluster = await testCluster();
    cluster.create(statefulSet("db", 3));
    await cluster.settle(({ metadata }) => metadata.name !== "db-1");
    assert.deepEqual(names(cluster), ["db-0", "db-1"]);
    cluster.close();
  });

  void test("Parallel makes and removes all at once", async () => {
    const cluster = await testCluster();
    cluster.create(statefulSet("db", 3, { podManagementPolicy: "Parallel" }));
    await cluster.idle();
    assert.deepEqual(names(cluster), ["db-0", "db-1", "db-2"]);
    change(cluster, () => ({ replicas: 0 }));
    await cluster.idle();
    await cluster.kubelet();
    assert.deepEqual(names(cluster), []);
    cluster.close();
  });

  void test("scaling down goes from the last to the first, one at a time", async () => {
    const cluster = await testCluster();
    cluster.create(statefulSet("db", 3));
    await cluster.settle();
    change(cluster, () => ({ replicas: 1 }));
    await cluster.idle();
    assert.deepEqual(
      cluster
        .list(pods)
        .filter(isTerminating)
        .map(({ metadata }) => metadata.name),
      ["db-2"],
    );
    await cluster.kubelet();
    assert.deepEqual(
      cluster
        .list(pods)
        .filter(isTerminating)
        .map(({ metadata }) => metadata.name),
      ["db-1"],
    );
    await cluster.settle();
    assert.deepEqual(names(cluster), ["db-0"]);
    cluster.close();
  });

  void test("a rolling update goes from the last to the partition, one at a time", async () => {
    const cluster = await testCluster();
    cluster.create(
      statefulSet("db", 3, { updateStrategy: { type: "RollingUpdate", rollingUpdate: { partition: 1 } } }),
    );
    await cluster.settle();
    change(cluster, toVersion(2));
    await cluster.idle();
    assert.deepEqual(cluster.list(pods).map(isTerminating), [false, false, true]);
    await cluster.kubelet();
    assert.deepEqual(versions(cluster), [undefined, undefined, "2"]);
    assert.deepEqual(cluster.list(pods).map(isTerminating), [false, false, false]);
    await cluster.settle();
    assert.deepEqual(versions(cluster), [undefined, "2", "2"]);
    const { status } = cluster.must(statefulSets, "db");
    assert.notEqual(status?.currentRevision, status?.updateRevision);
    assert.deepEqual([status?.currentReplicas, status?.updatedReplicas], [1, 2]);
    // A pod below the partition comes back as it was.
    cluster.remove(pods, "db-0");
    await cluster.settle();
    assert.deepEqual(versions(cluster), [undefined, "2", "2"]);
    change(cluster, () => ({ updateStrategy: { type: "RollingUpdate", rollingUpdate: { partition: 0 } } }));
    await cluster.settle();
    assert.deepEqual(versions(cluster), ["2", "2", "2"]);
    const after = cluster.must(statefulSets, "db").status;
    assert.equal(after?.currentRevision, after?.updateRevision);
    cluster.close();
  });

  void test("an update that makes pods sick stops at the first", async () => {
    const cluster = await testCluster();
    cluster.create(statefulSet("db", 3));
    await cluster.settle();
    change(cluster, toVersion(2));
    await cluster.settle(({ metadata }) => metadata.annotations?.["version"] !== "2");
    assert.deepEqual(versions(cluster), [undefined, undefined, "2"]);
    cluster.close();
  });

  void test("Parallel: an update heals a sick pod although others are before it in the row", async () => {
    const cluster = await testCluster();
    cluster.create(statefulSet("db", 3, { podManagementPolicy: "Parallel" }));
    const isWell = ({ metadata }: Pod): boolean =>
      metadata.name !== "db-0" || metadata.annotations?.["version"] === "2";
    await cluster.settle(isWell);
    change(cluster, toVersion(2));
    await cluster.settle(isWell);
    assert.deepEqual(versions(cluster), ["2", "2", "2"]);
    cluster.close();
  });

  void test("maxUnavailable lets several go at a time", async () => {
    const cluster = await testCluster();
    const updateStrategy = { type: "RollingUpdate" as const, rollingUpdate: { maxUnavailable: 2 } };
    cluster.create(statefulSet("db", 5, { updateStrategy, podManagementPolicy: "Parallel" }));
    await cluster.settle();
    change(cluster, toVersion(2));
    await cluster.idle();
    assert.deepEqual(cluster.list(pods).map(isTerminating), [false, false, false, true, true]);
    await cluster.settle();
    assert.deepEqual(versions(cluster), ["2", "2", "2", "2", "2"]);
    cluster.close();
  });

  void test("OnDelete leaves pods alone until somebody deletes them", async () => {
    const cluster = await testCluster();
    cluster.create(statefulSet("db", 2, { updateStrategy: { type: "OnDelete" } }));
    await cluster.settle();
    change(cluster, toVersion(2));
    await cluster.settle();
    assert.deepEqual(versions(cluster), [undefined, undefined]);
    cluster.remove(pods, "db-0");
    await cluster.settle();
    assert.deepEqual(versions(cluster), ["2", undefined]);
    cluster.close();
  });

  void test("ordinals may start elsewhere, and claims are made per pod and kept", async () => {
    const cluster = await testCluster();
    const volumeClaimTemplates = [
      {
        metadata: { name: "data" },
        spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
      },
    ];
    const set = statefulSet("db", 2, { ordinals: { start: 5 } });
    cluster.create({ ...set, spec: { ...set.spec, volumeClaimTemplates } });
    await cluster.settle();
    assert.deepEqual(names(cluster), ["db-5", "db-6"]);
    const claimNames = (): readonly string[] =>
      cluster.list<PersistentVolumeClaim>(persistentVolumeClaims).map(({ metadata }) => metadata.name);
    assert.deepEqual(claimNames(), ["data-db-5", "data-db-6"]);
    assert.deepEqual(cluster.must(pods, "db-5").spec.volumes, [
      { name: "data", persistentVolumeClaim: { claimName: "data-db-5" } },
    ]);
    change(cluster, () => ({ replicas: 0 }));
    await cluster.settle();
    assert.deepEqual(claimNames(), ["data-db-5", "data-db-6"]);
    cluster.close();
  });

  void test("a pod that ended is replaced; old versions beyond the history go", async () => {
    const cluster = await testCluster();
    cluster.create(statefulSet("db", 1, { revisionHistoryLimit: 1 }));
    await cluster.settle();
    const pod = cluster.must(pods, "db-0");
    cluster.api.updateStatus({ ...pod, status: { ...pod.status, phase: "Failed" } });
    await cluster.settle();
    assert.notEqual(cluster.must(pods, "db-0").metadata.uid, pod.metadata.uid);
    for (const number of [2, 3, 4]) {
      change(cluster, toVersion(number));
      await cluster.settle();
    }
    assert.deepEqual(
      cluster
        .list(controllerRevisions)
        .map(({ revision }) => revision)
        .sort((a, b) => a - b),
      [3, 4],
    );
    cluster.close();
  });

  void test("a pod is gone for a moment before its namesake comes: kubectl waits for a name to be free", async () => {
    for (const podManagementPolicy of ["OrderedReady", "Parallel"] as const) {
      const cluster = await testCluster();
      cluster.create(statefulSet("db", 2, { podManagementPolicy }));
      await cluster.settle();
      cluster.remove(pods, "db-0", { gracePeriodSeconds: 0 });
      await cluster.pass(299);
      assert.deepEqual(names(cluster), ["db-1"]);
      await cluster.pass(1);
      assert.deepEqual([...names(cluster)].sort(), ["db-0", "db-1"]);
      cluster.close();
    }
  });
});
