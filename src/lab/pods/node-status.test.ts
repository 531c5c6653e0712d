import assert from "node:assert/strict";
import { test } from "node:test";

import type { Lease, Node } from "../../kube/kinds.ts";
import { testCluster } from "../controllers/cluster.testing.ts";
import { keepNode } from "./node-status.ts";

test("a node whose link carries nothing is heard of no more, and says how it is when it is back", async () => {
  const cluster = await testCluster({ nodes: 0 });
  const { api, clock } = cluster;
  let isLinked = true;
  const kept = keepNode({
    node: "node-1",
    zone: "zone-a",
    api,
    clock,
    nodeAddresses: ["172.18.0.11"],
    allocatable: {},
    isLinked: () => isLinked,
    report: (line) => assert.fail(line),
  });
  const ready = (): string | undefined => {
    const node = api.get({ group: "", resource: "nodes", name: "node-1" }) as Node | undefined;
    return node?.status?.conditions?.find(({ type }) => type === "Ready")?.status;
  };
  const renewed = (): string | undefined => {
    const key = { group: "coordination.k8s.io", resource: "leases", namespace: "kube-node-lease", name: "node-1" };
    return (api.get(key) as Lease | undefined)?.spec.renewTime;
  };
  const pass = async (seconds: number): Promise<void> => {
    for (let left = seconds; left > 0; left -= 5) {
      clock.advance(5000);
      await cluster.idle();
    }
  };
  await pass(20);
  assert.equal(ready(), "True");
  isLinked = false;
  const last = renewed();
  await pass(120);
  assert.equal(renewed(), last);
  assert.equal(ready(), "Unknown");
  isLinked = true;
  await pass(20);
  assert.equal(ready(), "True");
  kept.stop();
  cluster.close();
});
