import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import type { KubeObject } from "../../kube/object.ts";
import { createSharedParts } from "./shared-parts.ts";

function pod(name: string, token: string): KubeObject {
  const env = [
    { name: "A", value: "1" },
    { name: "B", value: "2" },
  ];
  const volumeMounts = [
    { name: "config", mountPath: "/etc/web" },
    { name: token, mountPath: "/var/run/secrets" },
  ];
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      labels: { app: "web", tier: "front" },
      managedFields: [{ manager: "m", time: name, fieldsV1: { "f:spec": { "f:containers": {} } } }],
    },
    spec: { containers: [{ name: "web", env, volumeMounts, resources: { limits: { cpu: "1" } } }] },
  };
}

test("what two objects have in common is there once; the rest is each one's own", () => {
  const parts = createSharedParts();
  const [a, b] = [parts.share(pod("a", "token-x")), parts.share(pod("b", "token-y"))];
  assert.deepEqual([a, b], [pod("a", "token-x"), pod("b", "token-y")]);
  const containerOf = ({ spec }: KubeObject): { env: object; resources: object; volumeMounts: object[] } =>
    (spec as { containers: { env: object; resources: object; volumeMounts: object[] }[] }).containers[0] ??
    assert.fail();
  assert.equal(containerOf(a).env, containerOf(b).env);
  assert.equal(containerOf(a).resources, containerOf(b).resources);
  assert.equal(containerOf(a).volumeMounts[0], containerOf(b).volumeMounts[0]);
  assert.equal(a.metadata.labels, b.metadata.labels);
  const fieldsOf = ({ metadata }: KubeObject): unknown =>
    (metadata.managedFields as { fieldsV1: unknown }[] | undefined)?.[0]?.fieldsV1;
  assert.equal(fieldsOf(a), fieldsOf(b));
});

test("the object given is not changed, and what is given back says the same, however little is remembered", () => {
  const parts = createSharedParts(3);
  const json = fc.jsonValue({ maxDepth: 6 });
  fc.assert(
    fc.property(json, json, json, (spec, status, labels) => {
      const given = {
        apiVersion: "v1",
        kind: "X",
        metadata: { name: "a", labels, managedFields: [spec] },
        spec,
        status,
      };
      const text = JSON.stringify(given);
      assert.equal(JSON.stringify(parts.share(given as unknown as KubeObject)), text);
      assert.equal(JSON.stringify(given), text);
    }),
    { numRuns: 500 },
  );
});
