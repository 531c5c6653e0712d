import assert from "node:assert/strict";
import { test } from "node:test";

import { service, testCluster } from "./cluster.testing.ts";
import { services } from "./resources.ts";

test("a load balancer's Service is held until its addresses are given back, and no longer", async () => {
  const cluster = await testCluster({ config: { loadBalancerCidrs: ["172.18.255.0/24"] } });
  const finalizers = (): readonly string[] => cluster.must(services, "web").metadata.finalizers ?? [];
  const plain = service("web");
  cluster.create({ ...plain, spec: { ...plain.spec, type: "LoadBalancer" as const } });
  await cluster.idle();
  const held = "service.kubernetes.io/load-balancer-cleanup";
  const address = cluster.must(services, "web").status?.loadBalancer?.ingress?.[0]?.ip;
  assert.notEqual(address, undefined);
  assert.deepEqual(finalizers(), [held]);
  cluster.edit(services, "web", (each) => ({ ...each, spec: { ...each.spec, type: "ClusterIP" as const } }));
  await cluster.idle();
  assert.deepEqual([finalizers(), cluster.must(services, "web").status?.loadBalancer], [[], {}]);
  cluster.edit(services, "web", (each) => ({ ...each, spec: { ...each.spec, type: "LoadBalancer" as const } }));
  await cluster.idle();
  assert.deepEqual(finalizers(), [held]);
  cluster.remove(services, "web");
  await cluster.idle();
  assert.equal(cluster.get(services, "web"), undefined);
  assert.deepEqual(cluster.failures, []);
  cluster.close();
});
