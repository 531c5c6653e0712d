import assert from "node:assert/strict";
import { test } from "node:test";

import { buildNetwork } from "./build.ts";
import { clusterConfig } from "./cluster.ts";
import { announcedAddresses, candidates, holders } from "./layer2.ts";
import type { Network } from "./network.ts";
import { node, objects, service, slice } from "./objects.testing.ts";

const nodes = [1, 2, 3].map((n) => node(n));
const names = nodes.map(({ metadata }) => metadata.name);

/** A hundred balancers; `local` has policy Local and an endpoint on node-2. */
function network(changed: Parameters<typeof objects>[0] = {}): Network {
  const balanced = Array.from({ length: 100 }, (_, index) => ({
    ...service(index === 0 ? "local" : `s${index}`, {
      type: "LoadBalancer",
      clusterIPs: [`10.96.1.${index}`],
      externalTrafficPolicy: index === 0 ? "Local" : "Cluster",
    }),
    status: { loadBalancer: { ingress: [{ ip: `172.18.255.${index + 1}` }] } },
  }));
  const endpoints = [slice("local", [{ addresses: ["10.244.2.9"], nodeName: "node-2" }])];
  return buildNetwork(clusterConfig(), objects({ nodes, services: balanced, endpointSlices: endpoints, ...changed }));
}

void test("addresses spread over the nodes; only those of a node that goes move, and they come back with it", () => {
  const all = holders(network(), () => true);
  const count = (held: ReadonlyMap<string, string>, name: string): number =>
    [...held.values()].filter((each) => each === name).length;
  for (const name of names) assert.ok(count(all, name) > 15, `${name} holds ${count(all, name)} of 100`);
  const without = holders(network(), (name) => name !== "node-1");
  assert.equal(count(without, "node-1"), 0);
  for (const [address, name] of all) if (name !== "node-1") assert.equal(without.get(address), name, address);
  assert.deepEqual(
    holders(network(), () => true),
    all,
  );
});

void test("policy Local: a node with an endpoint, as long as one of those is there", () => {
  assert.equal(holders(network(), () => true).get("172.18.255.1"), "node-2");
  assert.notEqual(holders(network(), (name) => name !== "node-2").get("172.18.255.1"), "node-2");
});

void test("no node, an excluded one, an address that is in no pool: nobody", () => {
  assert.equal(holders(network(), () => false).size, 0);
  const excluded = nodes.map((each) => ({
    ...each,
    metadata: { ...each.metadata, labels: { "node.kubernetes.io/exclude-from-external-load-balancers": "" } },
  }));
  assert.equal(holders(network({ nodes: excluded }), () => true).size, 0);
  const elsewhere = { ...service("x", { type: "LoadBalancer", clusterIPs: ["10.96.0.9"] }) };
  const given = { ...elsewhere, status: { loadBalancer: { ingress: [{ ip: "192.0.2.1" }] } } };
  assert.equal(holders(network({ services: [given] }), () => true).size, 0);
});

void test("candidates: the first one is the holder, and each next one is the holder without those before it", () => {
  const all = network();
  for (const each of all.services.filter(({ name }) => name !== "local")) {
    for (const address of announcedAddresses(each, all.cluster)) {
      const ranked = candidates(address, each, all.nodes, 3);
      assert.equal(new Set(ranked).size, 3);
      for (const [index, name] of ranked.entries())
        assert.equal(holders(all, (node) => !ranked.slice(0, index).includes(node)).get(address), name);
      assert.deepEqual(candidates(address, each, all.nodes.toReversed(), 2), ranked.slice(0, 2));
    }
  }
});
