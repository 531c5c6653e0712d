import assert from "node:assert/strict";
import { test } from "node:test";

import type { KubeObject } from "../../kube/object.ts";
import { testCluster } from "./cluster.testing.ts";

const ingressClass = (name: string, value?: string): KubeObject => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "IngressClass",
  metadata: {
    name,
    ...(value === undefined ? {} : { annotations: { "ingressclass.kubernetes.io/is-default-class": value } }),
  },
  spec: { controller: "example.com/c" },
});
const ingress = (
  name: string,
  more: { readonly spec?: object; readonly annotations?: Record<string, string> } = {},
) => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "Ingress",
  metadata: { name, namespace: "default", annotations: more.annotations ?? {} },
  spec: { defaultBackend: { service: { name: "s", port: { number: 80 } } }, ...more.spec },
});

test("an Ingress without a class gets the default one, the youngest of several, and keeps one it names", async () => {
  const cluster = await testCluster();
  const classOf = (...of: Parameters<typeof ingress>): unknown =>
    (cluster.api.create(ingress(...of))["spec"] as { ingressClassName?: string }).ingressClassName;
  cluster.create(ingressClass("plain"), ingressClass("no", "false"));
  assert.equal(classOf("none"), undefined);
  cluster.create(ingressClass("b", "true"), ingressClass("a", "true"));
  assert.equal(classOf("by-name"), "a");
  await cluster.pass(2000);
  cluster.create(ingressClass("z", "true"));
  assert.equal(classOf("youngest"), "z");
  assert.equal(classOf("own", { spec: { ingressClassName: "plain" } }), "plain");
  assert.equal(classOf("old", { annotations: { "kubernetes.io/ingress.class": "nginx" } }), undefined);
  cluster.close();
});
