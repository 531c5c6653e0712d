import assert from "node:assert/strict";
import { test } from "node:test";

import { poolAnnotation, type LoadBalancerPool } from "../../kube/load-balancer-pool.ts";
import { service, testCluster, type TestCluster } from "./cluster.testing.ts";
import { loadBalancerPools, services } from "./resources.ts";

const pool = (name: string, addresses: readonly string[]): LoadBalancerPool => ({
  apiVersion: "fairlead.dev/v1alpha1",
  kind: "LoadBalancerPool",
  metadata: { name },
  spec: { addresses },
});

test("a load balancer's Service is held until its addresses are given back, and no longer", async () => {
  const cluster = await testCluster();
  cluster.api.create(pool("default", ["172.18.255.0/24"]));
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
  assert.ok(!("finalizers" in cluster.must(services, "web").metadata), "an empty list is none");
  cluster.edit(services, "web", (each) => ({ ...each, spec: { ...each.spec, type: "LoadBalancer" as const } }));
  await cluster.idle();
  assert.deepEqual(finalizers(), [held]);
  cluster.remove(services, "web");
  await cluster.idle();
  assert.equal(cluster.get(services, "web"), undefined);
  assert.deepEqual(cluster.failures, []);
  cluster.close();
});

test("a pool that comes is used, one that shrinks is left, one that a Service names is the only one", async () => {
  const cluster = await testCluster();
  const plain = service("web");
  cluster.create({ ...plain, spec: { ...plain.spec, type: "LoadBalancer" as const } });
  await cluster.idle();
  assert.deepEqual(addressesOf(cluster), []);
  cluster.create(pool("small", ["192.0.2.7"]));
  await cluster.idle();
  assert.deepEqual(addressesOf(cluster), ["192.0.2.7"]);
  cluster.create(pool("b", ["192.0.2.20-192.0.2.21"]));
  cluster.edit(loadBalancerPools, "small", (each) => ({ ...each, spec: { addresses: ["192.0.2.8"] } }));
  await cluster.idle();
  assert.deepEqual(addressesOf(cluster), ["192.0.2.20"]);
  cluster.edit(services, "web", (each) => ({
    ...each,
    metadata: { ...each.metadata, annotations: { [poolAnnotation]: "small" } },
  }));
  await cluster.idle();
  assert.deepEqual(addressesOf(cluster), ["192.0.2.8"]);
  cluster.remove(loadBalancerPools, "small");
  await cluster.idle();
  assert.deepEqual(addressesOf(cluster), []);
  assert.deepEqual(cluster.failures, []);
  cluster.close();
});

function addressesOf(cluster: TestCluster): readonly (string | undefined)[] {
  return (cluster.must(services, "web").status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip);
}
