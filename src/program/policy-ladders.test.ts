// How many elements ClusterNetworkPolicies are, and what nobody is known to be. What they mean is the oracle's to say (test/policy).

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Pod } from "../kube/kinds.ts";
import type { ClusterNetworkPolicy } from "../kube/policy-kinds.ts";
import { buildNetwork } from "../model/build.ts";
import { clusterConfig } from "../model/cluster.ts";
import type { Attachment } from "../model/network.ts";
import { attachment, namespace, node, objects, pod } from "../model/objects.testing.ts";
import { compile } from "./compile.ts";
import type { NftElement, NftTable } from "./nftables/ruleset.ts";

const cluster = clusterConfig();
const place = attachment("db", { node: 1, host: 5 });
const db = pod("db", { node: 1, host: 5 }, { labels: { app: "db" } });

function made(name: string, spec: Partial<ClusterNetworkPolicy["spec"]>): ClusterNetworkPolicy {
  return {
    apiVersion: "policy.networking.k8s.io/v1alpha2",
    kind: "ClusterNetworkPolicy",
    metadata: { name },
    spec: { tier: "Admin", priority: 1, subject: { namespaces: {} }, ...spec },
  };
}

function table(
  policies: readonly ClusterNetworkPolicy[],
  options: { readonly pods?: readonly Pod[]; readonly attachments?: readonly Attachment[] } = {},
): NftTable {
  const { pods = [db], attachments = [place] } = options;
  const all = objects({
    nodes: [node(1), node(2)],
    namespaces: [namespace("default")],
    pods,
    clusterNetworkPolicies: policies,
  });
  return compile(buildNetwork(cluster, all), "node-1", attachments).tables[0] ?? assert.fail("no table");
}

function elements(from: NftTable, set: string): readonly NftElement[] {
  return from.sets.find(({ name }) => name === set)?.elements ?? assert.fail(`no set ${set}`);
}

const many = Array.from({ length: 40 }, (_, index) =>
  pod(`p${index}`, { node: 2, host: 10 + index }, { labels: { app: `a${index}` } }),
);
const denyAll = { action: "Deny" as const, to: [{ networks: ["0.0.0.0/0"] }] };

void test("the rules are the same whatever policies there are; pods of one ladder share its elements", () => {
  const one = table([made("a", { egress: [denyAll] })]);
  const twins = ["t1", "t2", "t3"].map((name, index) =>
    pod(name, { node: 1, host: 20 + index }, { labels: { app: name } }),
  );
  const places = twins.map((_, index) => attachment(`t${index + 1}`, { node: 1, host: 20 + index }));
  const some = table(
    Array.from({ length: 20 }, (_, index) => made(`p${index}`, { priority: index, egress: [denyAll] })),
    { pods: [db, ...twins], attachments: [place, ...places] },
  );
  assert.deepEqual(some.chains, one.chains);
  assert.equal(elements(some, "egress-admin").length, 4);
  assert.equal(new Set(elements(some, "egress-admin").map(({ data }) => JSON.stringify(data))).size, 1);
  assert.equal(elements(some, "cluster-rest").length, 1, "nineteen of the rules are never asked");
});

void test("namespaces, all pods and blocks around them are one element however many pods there are", () => {
  const ends = elements(table([made("a", { egress: [denyAll] })], { pods: [db, ...many] }), "cluster-ends");
  // Any pod, and one that is not known yet.
  assert.deepEqual(
    ends.map(({ key }) => key[1]),
    ["0:1", "0:3"],
  );
  const other = table(
    [made("a", { egress: [{ action: "Deny", to: [{ namespaces: { matchLabels: { a: "b" } } }] }] })],
    {
      pods: [db, ...many],
    },
  );
  assert.deepEqual(
    elements(other, "cluster-ends").map(({ key }) => key[1]),
    ["0:3"],
  );
  assert.equal(elements(other, "cluster-addresses").length, 0);
});

void test("a block through the middle of the pods is said of those inside only", () => {
  const made_ = table([made("a", { egress: [{ action: "Deny", to: [{ networks: ["10.244.2.16/29"] }] }] })], {
    pods: [db, ...many],
  });
  assert.deepEqual(
    elements(made_, "cluster-addresses")
      .map(({ key }) => key[1] ?? "")
      .sort(),
    [
      "10.244.2.16",
      "10.244.2.17",
      "10.244.2.18",
      "10.244.2.19",
      "10.244.2.20",
      "10.244.2.21",
      "10.244.2.22",
      "10.244.2.23",
    ],
  );
  assert.deepEqual(
    elements(made_, "cluster-ends").map(({ key }) => key[1]),
    ["0:3"],
  );
});

void test("an address of the pods that nobody is known to have is denied what any pod is denied", () => {
  const rule = { action: "Deny" as const, to: [{ pods: { podSelector: { matchLabels: { app: "x" } } } }] };
  const denied = table([made("a", { egress: [rule] })]);
  assert.deepEqual(
    elements(denied, "cluster-ends").map(({ key }) => key[1]),
    ["0:3"],
  );
  assert.deepEqual(
    elements(denied, "node-ends").map(({ key }) => key[0]),
    ["10.244.1.1", "10.244.1.0", "10.244.2.1", "10.244.2.0"],
  );
  const accept = table([made("a", { egress: [{ ...rule, action: "Accept" }] })]);
  assert.deepEqual(elements(accept, "cluster-ends"), []);
});

void test("a name of a port is said only of identities that a rule means and that have it", () => {
  const rule = {
    action: "Deny" as const,
    to: [{ pods: { podSelector: { matchLabels: { app: "a7" } } } }],
    protocols: [{ destinationNamedPort: "http" }],
  };
  const ends = elements(table([made("a", { egress: [rule] })], { pods: [db, ...many] }), "cluster-ends");
  assert.equal(ends.length, 1);
});

void test("a pod that the Network does not have is isolated where it might be denied something", () => {
  const isolated = (policy: ClusterNetworkPolicy): readonly unknown[] =>
    elements(table([policy], { pods: [] }), "egress-isolated").map(({ data }) => data);
  assert.deepEqual(isolated(made("a", { egress: [denyAll] })), [{ kind: "goto", chain: "denied-egress" }]);
  assert.deepEqual(isolated(made("a", { egress: [{ ...denyAll, action: "Accept" }] })), []);
  assert.deepEqual(
    isolated(made("a", { subject: { namespaces: { matchLabels: { a: "b" } } }, egress: [denyAll] })),
    [],
  );
});
