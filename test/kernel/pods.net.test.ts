// Packets between pods: on one node and across nodes, both families; the receiver sees the pod's own address.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import type { Family } from "../../src/ip/address.ts";
import { ping, probeTcp, probeUdp } from "../../src/lab/network/probe.ts";
import { podPort, startCluster, type TestCluster, type TestPod } from "./cluster.testing.ts";

describe("pod to pod", () => {
  let cluster: TestCluster;
  let a: TestPod;
  let b: TestPod;
  let c: TestPod;
  before(async () => {
    cluster = await startCluster({ nodes: 2 });
    [a, b, c] = await Promise.all([
      cluster.addPod("a", "node-1"),
      cluster.addPod("b", "node-1"),
      cluster.addPod("c", "node-2"),
    ]);
    await cluster.synced();
  });
  after(() => cluster.close());

  for (const family of [4, 6] as const satisfies readonly Family[]) {
    for (const [where, pair] of [
      ["on one node", (): [TestPod, TestPod] => [a, b]],
      ["across nodes", (): [TestPod, TestPod] => [a, c]],
      ["to itself", (): [TestPod, TestPod] => [a, a]],
    ] as const) {
      test(`IPv${family} ${where}: ping, TCP and UDP, from the pod's own address`, async () => {
        const [from, to] = pair();
        const address = to.address(family);
        assert.equal((await ping(from.namespace, { address })).outcome, "answered");
        const target = { address, port: podPort };
        const heard = `${to.name} ${from.address(family)}`;
        assert.deepEqual((await probeTcp(from.namespace, { ...target, read: true })).said, `${heard}\n`);
        assert.deepEqual((await probeUdp(from.namespace, target)).said, heard);
      });
    }
  }
});
