import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as fc from "fast-check";

import { overlaps } from "../../ip/prefix.ts";
import type { Pod } from "../../kube/kinds.ts";
import { deployment, service, testCluster, testNode, type TestCluster } from "./cluster.testing.ts";
import { timeText } from "../../watch/clock.ts";
import { conditionOf } from "./conditions.ts";
import { freeNodeRanges } from "./node-ranges.ts";
import { endpointSlices, events, nodes, pods } from "./resources.ts";

const ranges = (cluster: TestCluster, name: string): readonly string[] => cluster.must(nodes, name).spec.podCIDRs ?? [];
const taints = (cluster: TestCluster, name: string): readonly string[] =>
  (cluster.must(nodes, name).spec.taints ?? []).map(({ key, effect }) => `${key}:${effect}`);
const ready = (cluster: TestCluster, name: string): string | undefined =>
  conditionOf(cluster.must(nodes, name).status?.conditions, "Ready")?.status;

void describe("pod ranges of nodes", () => {
  void test("every node gets a /23 and a /64, the lowest that is free, and keeps it", async () => {
    const cluster = await testCluster({ nodes: 3 });
    assert.deepEqual(ranges(cluster, "node-2"), ["10.244.2.0/23", "fd00:10:244:1::/64"]);
    cluster.remove(nodes, "node-2");
    await cluster.idle();
    cluster.api.create(testNode("node-4"));
    cluster.api.create(testNode("node-5"));
    await cluster.idle();
    assert.deepEqual(ranges(cluster, "node-3"), ["10.244.4.0/23", "fd00:10:244:2::/64"]);
    assert.deepEqual(ranges(cluster, "node-4"), ["10.244.2.0/23", "fd00:10:244:1::/64"]);
    assert.deepEqual(ranges(cluster, "node-5"), ["10.244.6.0/23", "fd00:10:244:3::/64"]);
    assert.equal(cluster.must(nodes, "node-5").spec.podCIDR, "10.244.6.0/23");
    cluster.close();
  });

  void test("a range that a node brought along is respected, also of another size", async () => {
    const cluster = await testCluster({
      nodes: [testNode("odd", { spec: { podCIDR: "10.244.0.0/22", podCIDRs: ["10.244.0.0/22"] } }), testNode("node-1")],
    });
    assert.deepEqual(ranges(cluster, "odd"), ["10.244.0.0/22"]);
    assert.deepEqual(ranges(cluster, "node-1"), ["10.244.4.0/23", "fd00:10:244::/64"]);
    cluster.close();
  });

  void test("a node for which there is none says so, and gets one when one comes free", async () => {
    const cluster = await testCluster({ nodes: 3, config: { podCidrs: ["10.244.0.0/22"] } });
    assert.deepEqual(ranges(cluster, "node-3"), []);
    assert.ok(
      cluster
        .list(events)
        .some(({ reason, involvedObject }) => reason === "CIDRNotAvailable" && involvedObject.name === "node-3"),
    );
    cluster.remove(nodes, "node-1");
    await cluster.idle();
    assert.deepEqual(ranges(cluster, "node-3"), ["10.244.0.0/23"]);
    cluster.close();
  });

  void test("never overlap, whatever was taken before", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(15), fc.constantFrom(20, 22, 24, 26))), (taken) => {
        const before = taken.map(
          ([third, bits]) => `10.244.${third - (third % 2 ** Math.max(0, 24 - bits))}.0/${bits}`,
        );
        const found = freeNodeRanges(["10.244.0.0/20"], before);
        if (found !== undefined) assert.ok(before.every((prefix) => !overlaps(prefix, found[0] ?? "")));
      }),
    );
  });
});

void describe("silent nodes", () => {
  void test("become unreachable after the grace time; their pods stop being ready and leave the endpoints", async () => {
    const cluster = await testCluster();
    cluster.create(deployment("web", 3), service("web"));
    await cluster.settle();
    await cluster.pass(1_000);
    cluster.silent.add("node-2");
    await cluster.pass(49_000);
    assert.equal(ready(cluster, "node-2"), "True");
    await cluster.pass(1_000);
    assert.equal(ready(cluster, "node-2"), "Unknown");
    assert.equal(ready(cluster, "node-1"), "True");
    assert.deepEqual(taints(cluster, "node-2"), [
      "node.kubernetes.io/unreachable:NoSchedule",
      "node.kubernetes.io/unreachable:NoExecute",
    ]);
    const endpoints = cluster.list(endpointSlices).flatMap((slice) => slice.endpoints ?? []);
    assert.deepEqual(
      new Map(endpoints.map(({ nodeName, conditions }) => [nodeName, conditions?.ready])),
      new Map([
        ["node-1", true],
        ["node-2", false],
        ["node-3", true],
      ]),
    );
    assert.ok(cluster.list(events).some(({ message }) => message === "Node node-2 status is now: NodeNotReady"));
    cluster.close();
  });

  void test("their pods go after five minutes and come back elsewhere; a deleted node lets go of them", async () => {
    const cluster = await testCluster();
    cluster.create(deployment("web", 3));
    await cluster.settle();
    await cluster.pass(1_000);
    cluster.silent.add("node-2");
    await cluster.pass(50_000);
    const there = (): readonly Pod[] => cluster.list(pods).filter(({ spec }) => spec.nodeName === "node-2");
    await cluster.pass(299_000);
    assert.deepEqual(
      there().map(({ metadata }) => metadata.deletionTimestamp),
      [undefined],
    );
    await cluster.pass(1_000);
    assert.notEqual(there()[0]?.metadata.deletionTimestamp, undefined);
    assert.equal(conditionOf(there()[0]?.status?.conditions, "DisruptionTarget")?.reason, "DeletionByTaintManager");
    assert.equal(cluster.list(pods).length, 4);
    cluster.remove(nodes, "node-2");
    await cluster.settle();
    assert.deepEqual(there(), []);
    assert.equal(cluster.list(pods).length, 3);
    cluster.close();
  });

  void test("that speak again are as before", async () => {
    const cluster = await testCluster();
    cluster.create(deployment("web", 3));
    await cluster.settle();
    await cluster.pass(1_000);
    cluster.silent.add("node-2");
    await cluster.pass(60_000);
    cluster.silent.delete("node-2");
    await cluster.pass(10_000);
    const node = cluster.must(nodes, "node-2");
    const conditions = [{ type: "Ready", status: "True", lastHeartbeatTime: timeText(cluster.clock.now()) }];
    cluster.api.updateStatus({ ...node, status: { ...node.status, conditions } });
    await cluster.idle();
    assert.deepEqual(taints(cluster, "node-2"), []);
    await cluster.settle();
    assert.equal(cluster.list(pods).length, 3);
    cluster.close();
  });

  void test("that never had a Lease are what their status says", async () => {
    const cluster = await testCluster({ nodes: 1 });
    cluster.silent.add("node-1");
    await cluster.pass(600_000);
    assert.equal(ready(cluster, "node-1"), "True");
    cluster.silent.delete("node-1");
    await cluster.pass(1_000);
    cluster.silent.add("node-1");
    await cluster.pass(49_000);
    assert.equal(ready(cluster, "node-1"), "True");
    await cluster.pass(1_000);
    assert.equal(ready(cluster, "node-1"), "Unknown");
    cluster.close();
  });

  void test("that never spoke count as unreachable after a minute", async () => {
    const cluster = await testCluster({ nodes: 1 });
    const { status: _status, ...node } = testNode("mute");
    cluster.api.create(node);
    cluster.silent.add("mute");
    await cluster.pass(59_000);
    assert.equal(ready(cluster, "mute"), undefined);
    await cluster.pass(1_000);
    assert.equal(ready(cluster, "mute"), "Unknown");
    cluster.close();
  });

  void test("taints follow conditions and cordons, and leave others' taints alone", async () => {
    const cluster = await testCluster({
      nodes: [testNode("node-1", { spec: { unschedulable: true, taints: [{ key: "mine", effect: "NoSchedule" }] } })],
    });
    assert.deepEqual(taints(cluster, "node-1"), ["mine:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule"]);
    const node = cluster.must(nodes, "node-1");
    const conditions = [
      { type: "Ready", status: "False" },
      { type: "DiskPressure", status: "True" },
    ];
    cluster.api.updateStatus({ ...node, status: { ...node.status, conditions } });
    cluster.edit(nodes, "node-1", (object) => ({ ...object, spec: { ...object.spec, unschedulable: false } }));
    await cluster.idle();
    assert.deepEqual(taints(cluster, "node-1"), [
      "mine:NoSchedule",
      "node.kubernetes.io/not-ready:NoSchedule",
      "node.kubernetes.io/not-ready:NoExecute",
      "node.kubernetes.io/disk-pressure:NoSchedule",
    ]);
    cluster.close();
  });
});

void describe("pods that nobody clears away", () => {
  const lost = (name: string): Pod => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: { nodeName: "nowhere", containers: [{ name: "main", image: "nginx" }] },
  });

  void test("a pod for a node that does not come goes after a while", async () => {
    const cluster = await testCluster();
    cluster.create(lost("p"));
    await cluster.pass(39_000);
    assert.equal(cluster.list(pods).length, 1);
    await cluster.pass(1_000);
    assert.equal(cluster.list(pods).length, 0);
    cluster.close();
  });

  void test("a pod for a node that comes in time stays", async () => {
    const cluster = await testCluster();
    cluster.create(lost("p"));
    await cluster.pass(20_000);
    cluster.api.create(testNode("nowhere"));
    await cluster.pass(40_000);
    assert.equal(cluster.list(pods).length, 1);
    cluster.close();
  });

  void test("a toleration without an end keeps a pod on a silent node", async () => {
    const cluster = await testCluster();
    const tolerations = [{ operator: "Exists" as const }];
    cluster.create({ ...lost("p"), spec: { ...lost("p").spec, nodeName: "node-1", tolerations } });
    await cluster.settle();
    await cluster.pass(1_000);
    cluster.silent.add("node-1");
    await cluster.pass(600_000);
    assert.equal(cluster.must(pods, "p").metadata.deletionTimestamp, undefined);
    cluster.close();
  });
});
