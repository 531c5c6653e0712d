import assert from "node:assert/strict";
import { test } from "node:test";

import { findResource, resourceNamed, resourceOf, resources, resourcesIn } from "./resources.ts";
import { schemaOf } from "./schema.ts";

for (const [word, expected] of [
  ["po", "v1 pods"],
  ["Services", "v1 services"],
  ["svc", "v1 services"],
  ["deploy.apps", "apps/v1 deployments"],
  ["deployments.v1.apps", "apps/v1 deployments"],
  ["hpa", "autoscaling/v2 horizontalpodautoscalers"],
  ["ev", "v1 events"],
  ["events.events.k8s.io", "events.k8s.io/v1 events"],
  ["netpol", "networking.k8s.io/v1 networkpolicies"],
  ["gateways.gateway", "gateway.networking.k8s.io/v1 gateways"],
  ["cnp", "policy.networking.k8s.io/v1alpha2 clusternetworkpolicies"],
  ["serviceimport", "multicluster.x-k8s.io/v1beta1 serviceimports"],
] as const)
  test(`${word} is ${expected}`, () => {
    const found = findResource(word);
    assert.equal(`${found?.apiVersion} ${found?.resource}`, expected);
  });

test("words that mean nothing", () => {
  assert.equal(findResource("sandwich"), undefined);
  assert.equal(findResource("pods.apps"), undefined);
  assert.equal(resourceOf("v2", "Pod"), undefined);
});

test("a row knows its subresources, their kinds and verbs", () => {
  const pods = resourceNamed({ group: "", resource: "pods" });
  const subresource = (name: string) => pods?.subresources.find((each) => each.name === name);
  assert.deepEqual(subresource("eviction"), {
    name: "eviction",
    group: "policy",
    version: "v1",
    kind: "Eviction",
    verbs: ["create"],
  });
  assert.deepEqual(subresource("exec")?.verbs, ["create", "get"]);
  assert.deepEqual(subresource("status"), {
    name: "status",
    group: "",
    version: "v1",
    kind: "Pod",
    verbs: ["get", "patch", "update"],
  });
  assert.equal(pods?.namespaced, true);
  assert.deepEqual(pods?.categories, ["all"]);
});

test("category all has each resource once", () => {
  const names = resourcesIn("all").map((row) => row.resource);
  assert.equal(new Set(names).size, names.length);
  assert.ok(names.includes("pods") && names.includes("horizontalpodautoscalers"));
});

test("every resource has a schema", () => {
  assert.deepEqual(
    resources.filter((row) => schemaOf(row.apiVersion, row.kind) === undefined).map((row) => row.kind),
    [],
  );
});
