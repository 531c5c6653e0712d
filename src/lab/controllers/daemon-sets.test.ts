import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { DaemonSet, Pod } from "../../kube/kinds.ts";
import { app, daemonSet, testCluster, testNode, type TestCluster } from "./cluster.testing.ts";
import { isReady, isTerminating } from "./pod-state.ts";
import { controllerRevisions, daemonSets, nodes, pods } from "./resources.ts";

const places = (cluster: TestCluster): readonly (string | undefined)[] =>
  cluster
    .list(pods)
    .filter((pod) => !isTerminating(pod))
    .map(({ spec }) => spec.nodeName)
    .sort((a, b) => ((a ?? "") < (b ?? "") ? -1 : 1));

void describe("DaemonSet", () => {
  void test("has a pod on every node, also on later ones, and none on those that go", async () => {
    const cluster = await testCluster({ nodes: 2 });
    cluster.create(daemonSet("agent"));
    await cluster.settle();
    assert.deepEqual(places(cluster), ["node-1", "node-2"]);
    cluster.api.create(testNode("node-3"));
    await cluster.settle();
    assert.deepEqual(places(cluster), ["node-1", "node-2", "node-3"]);
    cluster.remove(nodes, "node-1");
    await cluster.settle();
    assert.deepEqual(places(cluster), ["node-2", "node-3"]);
    const { status } = cluster.must(daemonSets, "agent");
    assert.deepEqual(
      [
        status?.desiredNumberScheduled,
        status?.currentNumberScheduled,
        status?.numberAvailable,
        status?.numberUnavailable,
      ],
      [2, 2, 2, 0],
    );
    cluster.close();
  });

  void test("honours node selectors, taints and tolerations; cordoned nodes keep and get their pods", async () => {
    const cluster = await testCluster({
      nodes: [
        testNode("plain"),
        testNode("tainted", { spec: { taints: [{ key: "dedicated", value: "db", effect: "NoSchedule" }] } }),
        testNode("cordoned", { spec: { unschedulable: true } }),
        testNode("labelled", { labels: { disk: "ssd" } }),
      ],
    });
    const { template } = app("ssd");
    cluster.create(daemonSet("all"));
    cluster.create(
      daemonSet("ssd", { template: { ...template, spec: { ...template.spec, nodeSelector: { disk: "ssd" } } } }),
    );
    const tolerant = app("tolerant").template;
    const tolerations = [{ key: "dedicated", operator: "Exists" as const }];
    cluster.create(daemonSet("tolerant", { template: { ...tolerant, spec: { ...tolerant.spec, tolerations } } }));
    await cluster.settle();
    const of = (name: string): readonly (string | undefined)[] =>
      cluster
        .list(pods)
        .filter(({ metadata }) => metadata.labels?.["app"] === name)
        .map(({ spec }) => spec.nodeName)
        .sort((a, b) => ((a ?? "") < (b ?? "") ? -1 : 1));
    assert.deepEqual(of("all"), ["cordoned", "labelled", "plain"]);
    assert.deepEqual(of("ssd"), ["labelled"]);
    assert.deepEqual(of("tolerant"), ["cordoned", "labelled", "plain", "tainted"]);
    // A NoExecute taint drives them out, losing the label too.
    cluster.edit(nodes, "plain", (node) => ({
      ...node,
      spec: { ...node.spec, taints: [{ key: "broken", effect: "NoExecute" as const }] },
    }));
    cluster.edit(nodes, "labelled", (node) => ({ ...node, metadata: { ...node.metadata, labels: {} } }));
    await cluster.settle();
    assert.deepEqual(of("all"), ["cordoned", "labelled"]);
    assert.deepEqual(of("ssd"), []);
    cluster.close();
  });

  for (const [maxUnavailable, maxSurge] of [
    [1, 0],
    [2, 0],
    [0, 1],
  ] as const) {
    void test(`a rolling update with maxUnavailable ${maxUnavailable} and maxSurge ${maxSurge} stays within them`, async () => {
      const cluster = await testCluster({ nodes: 4 });
      cluster.create(
        daemonSet("agent", { updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable, maxSurge } } }),
      );
      await cluster.settle();
      cluster.edit(daemonSets, "agent", newVersion);
      await cluster.idle();
      for (let round = 0; round < 20; round++) {
        const alive = cluster.list(pods).filter((pod) => !isTerminating(pod));
        const served = new Set(alive.filter(isReady).map(({ spec }) => spec.nodeName));
        assert.ok(served.size >= 4 - maxUnavailable, `${served.size} nodes served in round ${round}`);
        assert.ok(alive.length <= 4 + maxSurge, `${alive.length} pods in round ${round}`);
        await cluster.kubelet();
      }
      assert.ok(cluster.list(pods).every(({ metadata }) => metadata.annotations?.["version"] === "2"));
      assert.equal(cluster.must(daemonSets, "agent").status?.updatedNumberScheduled, 4);
      cluster.close();
    });
  }

  void test("an old pod that is not available goes at once, whatever else is going on", async () => {
    const cluster = await testCluster({ nodes: 4 });
    cluster.create(daemonSet("agent"));
    const isWell = ({ spec, metadata }: Pod): boolean =>
      spec.nodeName === "node-1" || spec.nodeName === "node-2" || metadata.annotations?.["version"] === "2";
    await cluster.settle(isWell);
    cluster.edit(daemonSets, "agent", newVersion);
    await cluster.idle();
    assert.deepEqual(
      cluster
        .list(pods)
        .filter(isTerminating)
        .map(({ spec }) => spec.nodeName)
        .sort((a, b) => ((a ?? "") < (b ?? "") ? -1 : 1)),
      ["node-3", "node-4"],
    );
    await cluster.settle(isWell);
    assert.equal(cluster.must(daemonSets, "agent").status?.updatedNumberScheduled, 4);
    cluster.close();
  });

  void test("its revisions are named as its pods name them, and hold the template as Go writes it", async () => {
    const cluster = await testCluster({ nodes: 1 });
    cluster.create(daemonSet("agent"));
    await cluster.settle();
    const [revision] = cluster.list(controllerRevisions);
    const [pod] = cluster.list(pods);
    assert.ok(pod?.metadata.labels?.["controller-revision-hash"]);
    assert.equal(
      revision?.metadata.labels?.["controller-revision-hash"],
      pod.metadata.labels["controller-revision-hash"],
    );
    assert.match(
      JSON.stringify(revision.data),
      /^{"spec":{"template":{"\$patch":"replace","metadata":{.*},"spec":{"containers":\[{"image":/,
    );
    cluster.close();
  });

  void test("OnDelete replaces pods only when they are deleted", async () => {
    const cluster = await testCluster({ nodes: 2 });
    cluster.create(daemonSet("agent", { updateStrategy: { type: "OnDelete" } }));
    await cluster.settle();
    cluster.edit(daemonSets, "agent", newVersion);
    await cluster.settle();
    const fresh = (): number =>
      cluster.list(pods).filter(({ metadata }) => metadata.annotations?.["version"] === "2").length;
    assert.equal(fresh(), 0);
    cluster.remove(pods, cluster.list(pods)[0]?.metadata.name ?? "");
    await cluster.settle();
    assert.equal(fresh(), 1);
    cluster.close();
  });
});

function newVersion(set: DaemonSet): DaemonSet {
  const { template } = set.spec;
  const metadata = { ...template.metadata, annotations: { version: "2" } };
  return { ...set, spec: { ...set.spec, template: { ...template, metadata } } };
}
