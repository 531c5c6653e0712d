import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { Deployment, Pod, ReplicaSet } from "../../kube/kinds.ts";
import { app, deployment, service, testCluster, type TestCluster } from "./cluster.testing.ts";
import { conditionOf } from "./conditions.ts";
import { isReady, isTerminating } from "./pod-state.ts";
import { deployments, endpointSlices, events, pods, replicaSets } from "./resources.ts";

const version = (name: string, number: number): Deployment["spec"]["template"] => {
  const { template } = app(name);
  return { ...template, metadata: { ...template.metadata, annotations: { version: String(number) } } };
};

function setVersion(cluster: TestCluster, name: string, number: number): void {
  cluster.edit(deployments, name, (object) => ({
    ...object,
    spec: { ...object.spec, template: version(name, number) },
  }));
}

function sizes(cluster: TestCluster): readonly number[] {
  return byRevision(cluster).map(({ spec }) => spec.replicas ?? 0);
}

function byRevision(cluster: TestCluster): readonly ReplicaSet[] {
  const revision = ({ metadata }: ReplicaSet): number =>
    Number(metadata.annotations?.["deployment.kubernetes.io/revision"]);
  return [...cluster.list(replicaSets)].sort((a, b) => revision(a) - revision(b));
}

function progressing(cluster: TestCluster, name: string): readonly (string | undefined)[] {
  const condition = conditionOf(cluster.must(deployments, name).status?.conditions, "Progressing");
  return [condition?.status, condition?.reason];
}

void describe("Deployment", () => {
  void test("revisions have 64 bits", async () => {
    const cluster = await testCluster();
    const made = deployment("web", 1);
    const { selector, template } = app("web");
    cluster.create({
      apiVersion: "apps/v1",
      kind: "ReplicaSet",
      metadata: {
        name: "old",
        labels: { app: "web" },
        annotations: { "deployment.kubernetes.io/revision": "3546343826724305832" },
      },
      spec: { replicas: 0, selector, template: { ...template, metadata: { labels: { app: "web", old: "1" } } } },
    });
    await cluster.idle();
    cluster.create(made);
    await cluster.settle();
    assert.equal(
      cluster.must(deployments, "web").metadata.annotations?.["deployment.kubernetes.io/revision"],
      "3546343826724305833",
    );
    cluster.close();
  });

  void test("becomes a ReplicaSet, pods on nodes, and endpoints once they are ready", async () => {
    const cluster = await testCluster();
    cluster.create(deployment("web", 3), service("web"));
    await cluster.idle();
    assert.deepEqual(
      new Set(cluster.list(pods).map(({ spec }) => spec.nodeName)),
      new Set(["node-1", "node-2", "node-3"]),
    );
    const [set] = cluster.list(replicaSets);
    assert.match(set?.metadata.name ?? "", /^web-[a-z0-9]{5,10}$/);
    assert.equal(set?.metadata.annotations?.["deployment.kubernetes.io/revision"], "1");
    assert.equal(cluster.must(deployments, "web").metadata.annotations?.["deployment.kubernetes.io/revision"], "1");
    await cluster.settle();
    const status = cluster.must(deployments, "web").status;
    assert.equal(status?.availableReplicas, 3);
    assert.deepEqual(
      status.conditions?.map(({ type, status, reason }) => [type, status, reason]),
      [
        ["Available", "True", "MinimumReplicasAvailable"],
        ["Progressing", "True", "NewReplicaSetAvailable"],
      ],
    );
    const slices = cluster.list(endpointSlices);
    assert.deepEqual(
      slices.map(({ addressType, endpoints, ports }) => [addressType, endpoints?.length, ports?.[0]?.port]),
      [["IPv4", 3, 8080]],
    );
    const said = cluster.list(events).filter(({ involvedObject }) => involvedObject.kind === "Deployment");
    assert.deepEqual(
      said.map(({ message }) => message),
      [`Scaled up replica set ${set?.metadata.name} from 0 to 3`],
    );
    assert.deepEqual(cluster.failures, []);
    cluster.close();
  });

  for (const [maxSurge, maxUnavailable] of [
    [1, 0],
    [0, 1],
    ["25%", "25%"],
    [2, 3],
    ["100%", "100%"],
  ] as const) {
    void test(`a rolling update with maxSurge ${maxSurge} and maxUnavailable ${maxUnavailable} stays within them`, async () => {
      const cluster = await testCluster();
      cluster.create(
        deployment("web", 8, { strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge, maxUnavailable } } }),
      );
      await cluster.settle();
      const limit = (value: number | string): number =>
        typeof value === "number" ? value : (Number.parseInt(value, 10) * 8) / 100;
      setVersion(cluster, "web", 2);
      await cluster.idle();
      for (let round = 0; round < 40; round++) {
        const now = cluster.list(pods);
        const available = now.filter((pod) => isReady(pod) && !isTerminating(pod)).length;
        const wanted = byRevision(cluster).reduce((sum, { spec }) => sum + (spec.replicas ?? 0), 0);
        assert.ok(available >= 8 - limit(maxUnavailable), `${available} available in round ${round}`);
        assert.ok(wanted <= 8 + limit(maxSurge), `${wanted} wanted in round ${round}`);
        // One pod becomes ready a round.
        const next = now.find((pod) => !isReady(pod) && !isTerminating(pod));
        await cluster.kubelet((pod) => isReady(pod) || pod.metadata.name === next?.metadata.name);
      }
      assert.deepEqual(sizes(cluster), [0, 8]);
      assert.deepEqual(progressing(cluster, "web"), ["True", "NewReplicaSetAvailable"]);
      cluster.close();
    });
  }

  void test("Recreate starts the new version when the last old pod is gone", async () => {
    const cluster = await testCluster();
    cluster.create(deployment("web", 2, { strategy: { type: "Recreate" } }));
    await cluster.settle();
    setVersion(cluster, "web", 2);
    await cluster.idle();
    assert.deepEqual(sizes(cluster), [0]);
    assert.equal(cluster.list(pods).filter(isTerminating).length, 2);
    await cluster.kubelet();
    assert.deepEqual(sizes(cluster), [0, 2]);
    cluster.close();
  });

  void test("going back to an earlier template uses its ReplicaSet again, under a new revision", async () => {
    const cluster = await testCluster();
    cluster.create({ ...deployment("web", 2), spec: { ...deployment("web", 2).spec, template: version("web", 1) } });
    await cluster.settle();
    const first = cluster.list(replicaSets)[0]?.metadata.name;
    setVersion(cluster, "web", 2);
    await cluster.settle();
    setVersion(cluster, "web", 1);
    await cluster.settle();
    const current = byRevision(cluster).at(-1);
    assert.equal(current?.metadata.name, first);
    assert.equal(current?.metadata.annotations?.["deployment.kubernetes.io/revision"], "3");
    assert.equal(current.metadata.annotations["deployment.kubernetes.io/revision-history"], "1");
    assert.deepEqual(sizes(cluster), [0, 2]);
    cluster.close();
  });

  void test("old ReplicaSets beyond revisionHistoryLimit go", async () => {
    const cluster = await testCluster();
    cluster.create(deployment("web", 1, { revisionHistoryLimit: 2 }));
    for (let number = 1; number <= 5; number++) {
      setVersion(cluster, "web", number);
      await cluster.settle();
    }
    assert.deepEqual(
      byRevision(cluster).map(({ metadata }) => metadata.annotations?.["deployment.kubernetes.io/revision"]),
      ["3", "4", "5"],
    );
    cluster.close();
  });

  void test("a paused Deployment scales and does not roll out; resumed it does", async () => {
    const cluster = await testCluster();
    cluster.create(deployment("web", 2));
    await cluster.settle();
    cluster.edit(deployments, "web", (object) => ({
      ...object,
      spec: { ...object.spec, paused: true, replicas: 4, template: version("web", 2) },
    }));
    await cluster.settle();
    assert.deepEqual(sizes(cluster), [4]);
    assert.deepEqual(progressing(cluster, "web"), ["Unknown", "DeploymentPaused"]);
    cluster.edit(deployments, "web", (object) => ({ ...object, spec: { ...object.spec, paused: false } }));
    await cluster.settle();
    assert.deepEqual(sizes(cluster), [0, 4]);
    assert.deepEqual(progressing(cluster, "web"), ["True", "NewReplicaSetAvailable"]);
    cluster.close();
  });

  void test("scaling in the middle of a rollout shares the new size in proportion", async () => {
    const cluster = await testCluster();
    cluster.create(
      deployment("web", 10, { strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 3, maxUnavailable: 2 } } }),
    );
    await cluster.settle();
    setVersion(cluster, "web", 2);
    // No new pod becomes ready: the rollout is stuck at 8 old and 5 new.
    await cluster.kubelet((pod) => pod.metadata.annotations?.["version"] === undefined);
    await cluster.kubelet((pod) => pod.metadata.annotations?.["version"] === undefined);
    assert.deepEqual(sizes(cluster), [8, 5]);
    cluster.edit(deployments, "web", (object) => ({ ...object, spec: { ...object.spec, replicas: 15 } }));
    await cluster.idle();
    // The documentation's example: 13 of 13 become 18 of 18, which is 11 and 7.
    assert.deepEqual(sizes(cluster), [11, 7]);
    cluster.close();
  });

  void test("what rounding leaves over when scaling goes to the largest version", async () => {
    const cluster = await testCluster();
    const strategy = { type: "RollingUpdate", rollingUpdate: { maxSurge: 3, maxUnavailable: 0 } } as const;
    cluster.create(deployment("web", 9, { strategy }));
    await cluster.settle();
    const isUpTo =
      (number: number) =>
      ({ metadata }: Pod): boolean =>
        Number(metadata.annotations?.["version"] ?? 1) <= number;
    setVersion(cluster, "web", 2);
    await cluster.idle();
    await cluster.kubelet(isUpTo(2));
    setVersion(cluster, "web", 3);
    await cluster.settle(isUpTo(2));
    const before = sizes(cluster);
    cluster.edit(deployments, "web", (object) => ({ ...object, spec: { ...object.spec, replicas: 8 } }));
    await cluster.idle();
    // Eleven instead of twelve are 5.5, 2.75 and 2.75 by proportion.
    assert.deepEqual(
      [before, sizes(cluster)],
      [
        [6, 3, 3],
        [5, 3, 3],
      ],
    );
    cluster.close();
  });

  void test("a rollout without progress is declared stuck after progressDeadlineSeconds", async () => {
    const cluster = await testCluster();
    cluster.create(deployment("web", 1, { progressDeadlineSeconds: 60 }));
    await cluster.settle(() => false);
    assert.deepEqual(progressing(cluster, "web"), ["True", "ReplicaSetUpdated"]);
    await cluster.pass(59_000);
    assert.deepEqual(progressing(cluster, "web"), ["True", "ReplicaSetUpdated"]);
    await cluster.pass(2_000);
    assert.deepEqual(progressing(cluster, "web"), ["False", "ProgressDeadlineExceeded"]);
    await cluster.settle();
    assert.deepEqual(progressing(cluster, "web"), ["True", "NewReplicaSetAvailable"]);
    cluster.close();
  });

  void test("pods count as available after minReadySeconds", async () => {
    const cluster = await testCluster();
    cluster.create(deployment("web", 2, { minReadySeconds: 10 }));
    await cluster.settle();
    assert.equal(cluster.must(deployments, "web").status?.availableReplicas, 0);
    await cluster.pass(10_000);
    assert.equal(cluster.must(deployments, "web").status?.availableReplicas, 2);
    cluster.close();
  });

  void test("a ReplicaSet of the wanted name that is somebody else's makes it try another name", async () => {
    const reference = await testCluster();
    reference.create(deployment("web", 1));
    await reference.idle();
    const name = reference.list(replicaSets)[0]?.metadata.name ?? "";
    reference.close();
    const cluster = await testCluster();
    const { selector, template } = app("other");
    cluster.create(
      { apiVersion: "apps/v1", kind: "ReplicaSet", metadata: { name }, spec: { replicas: 0, selector, template } },
      deployment("web", 1),
    );
    await cluster.settle();
    assert.equal(cluster.must(deployments, "web").status?.collisionCount, 1);
    assert.equal(cluster.must(deployments, "web").status?.availableReplicas, 1);
    cluster.close();
  });
});
