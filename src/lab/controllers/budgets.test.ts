import assert from "node:assert/strict";
import test from "node:test";

import type { PodDisruptionBudget } from "../../kube/kinds.ts";
import type { ResourceQuota } from "../api/admission/quotas.ts";
import { deployment, testCluster } from "./cluster.testing.ts";
import { deployments, pods, type TypedResource } from "./resources.ts";

const budgets: TypedResource<PodDisruptionBudget> = {
  group: "policy",
  resource: "poddisruptionbudgets",
  apiVersion: "policy/v1",
  kind: "PodDisruptionBudget",
  namespaced: true,
};
const quotas: TypedResource<ResourceQuota> = {
  group: "",
  resource: "resourcequotas",
  apiVersion: "v1",
  kind: "ResourceQuota",
  namespaced: true,
};

function budget(name: string, spec: PodDisruptionBudget["spec"]): PodDisruptionBudget {
  return {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: { name },
    spec: { selector: { matchLabels: { app: "web" } }, ...spec },
  };
}

test("a budget's status counts what its pods' controllers want, and what of it works", async () => {
  const cluster = await testCluster();
  cluster.create(
    deployment("web", 4),
    budget("at-least", { minAvailable: 3 }),
    budget("share", { minAvailable: "75%" }),
    budget("at-most", { maxUnavailable: 1 }),
  );
  await cluster.settle();
  for (const name of ["at-least", "share", "at-most"]) {
    const { status } = cluster.must(budgets, name);
    const { disruptionsAllowed, currentHealthy, desiredHealthy, expectedPods, observedGeneration, conditions } =
      status ?? {};
    assert.deepEqual(
      { disruptionsAllowed, currentHealthy, desiredHealthy, expectedPods, observedGeneration },
      { disruptionsAllowed: 1, currentHealthy: 4, desiredHealthy: 3, expectedPods: 4, observedGeneration: 1 },
      name,
    );
    assert.deepEqual(
      conditions?.map(({ type, status: value, reason }) => [type, value, reason]),
      [["DisruptionAllowed", "True", "SufficientPods"]],
    );
  }
  // A pod that was let go counts as gone until it is, or until it has had its time.
  const [first] = cluster.list(pods);
  const name = first?.metadata.name ?? "";
  cluster.api.updateStatus({
    ...cluster.must(budgets, "at-least"),
    status: {
      ...cluster.must(budgets, "at-least").status,
      disruptedPods: { [name]: new Date(cluster.clock.now()).toISOString() },
    },
  });
  await cluster.idle();
  assert.equal(cluster.must(budgets, "at-least").status?.disruptionsAllowed, 0);
  await cluster.pass(121_000);
  assert.equal(cluster.must(budgets, "at-least").status?.disruptionsAllowed, 1);
  cluster.edit(deployments, "web", (each) => ({ ...each, spec: { ...each.spec, replicas: 0 } }));
  await cluster.settle();
  assert.equal(cluster.must(budgets, "at-most").status?.disruptionsAllowed, 0);
  assert.deepEqual(cluster.failures, []);
  cluster.close();
});

test("a quota's status says what its namespace uses, also of kinds that are counted by their name", async () => {
  const cluster = await testCluster();
  const hard = { pods: "10", "requests.cpu": "2000m", "count/replicasets.apps": "3", services: "1", configmaps: "5" };
  cluster.create(
    { apiVersion: "v1", kind: "ResourceQuota", metadata: { name: "q" }, spec: { hard } },
    deployment("web", 2),
  );
  await cluster.settle();
  const { status } = cluster.must(quotas, "q");
  assert.deepEqual(status?.hard, { ...hard, "requests.cpu": "2" });
  assert.deepEqual(status?.used, {
    pods: "2",
    "requests.cpu": "0",
    "count/replicasets.apps": "1",
    services: "0",
    // The one with the authority's certificate.
    configmaps: "1",
  });
  cluster.remove(deployments, "web", { propagation: "Background" });
  await cluster.settle();
  assert.equal(cluster.must(quotas, "q").status?.used?.["pods"], "0");
  assert.deepEqual(cluster.failures, []);
  cluster.close();
});
