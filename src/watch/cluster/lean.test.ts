import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import type { KubeObject } from "../../kube/object.ts";
import { buildNetwork, type ClusterObjects } from "../../model/build.ts";
import { clusterConfig } from "../../model/cluster.ts";
import { clusterArbitrary } from "../../model/random.testing.ts";
import { leanObject } from "./lean.ts";

/** What real objects carry beside what anybody reads. */
function laden(object: KubeObject): KubeObject {
  const { metadata, status, spec } = object as KubeObject & { status?: object; spec?: object };
  return {
    ...object,
    metadata: {
      ...metadata,
      managedFields: [{ manager: "kubelet", operation: "Update", fieldsV1: { "f:status": {} } }],
      ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "web", uid: "u" }],
      finalizers: ["example.org/keep"],
      annotations: { ...metadata.annotations, "kubectl.kubernetes.io/last-applied-configuration": "{}" },
    },
    ...(object.kind === "Pod" && {
      spec: { ...spec, volumes: [{ name: "v", emptyDir: {} }], serviceAccountName: "default" },
      status: { ...status, containerStatuses: [{ name: "main", ready: true }], qosClass: "BestEffort" },
    }),
    ...(object.kind === "Node" && {
      status: { ...status, images: [{ names: ["a"], sizeBytes: 1 }], capacity: { cpu: "2" } },
    }),
  };
}

void test("a Network of what is kept is the Network of all of it", () => {
  const cluster = clusterConfig();
  fc.assert(
    fc.property(clusterArbitrary, (objects) => {
      const each = (make: (object: KubeObject) => KubeObject): ClusterObjects =>
        Object.fromEntries(
          Object.entries(objects).map(([kind, list]) => [kind, (list as readonly KubeObject[]).map(make)]),
        ) as unknown as ClusterObjects;
      assert.deepEqual(
        buildNetwork(
          cluster,
          each((object) => leanObject(laden(object))),
        ),
        buildNetwork(cluster, objects),
      );
    }),
    { numRuns: 60 },
  );
});

void test("what nobody reads is not kept", () => {
  const pod = leanObject(
    laden({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "a", namespace: "b", labels: { app: "web" }, annotations: { "fairlead.dev/source": "x" } },
      spec: {
        nodeName: "n",
        containers: [
          { name: "main", image: "nginx", env: [{ name: "A", value: "b" }], ports: [{ containerPort: 80 }] },
        ],
      },
    }),
  );
  assert.deepEqual(pod, {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "a", namespace: "b", labels: { app: "web" }, annotations: { "fairlead.dev/source": "x" } },
    spec: { nodeName: "n", containers: [{ name: "main", ports: [{ containerPort: 80 }] }] },
    status: {},
  });
});

void test("a slice without endpoints and ports, as kube-apiserver writes it, is a slice without any", () => {
  const slice = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "web-1", namespace: "b", labels: { "kubernetes.io/service-name": "web", app: "web" } },
    addressType: "IPv4",
    endpoints: null,
    ports: null,
  };
  assert.deepEqual(leanObject(slice), {
    ...slice,
    metadata: { name: "web-1", namespace: "b", labels: { "kubernetes.io/service-name": "web" } },
    endpoints: [],
    ports: [],
  });
});
