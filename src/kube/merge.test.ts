import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { sameJson } from "./equal.ts";
import { mergeManifest } from "./merge.ts";

const service = (spec: object) => ({ apiVersion: "v1", kind: "Service", metadata: { name: "a" }, spec });
const pod = (spec: object) => ({ apiVersion: "v1", kind: "Pod", metadata: { name: "a" }, spec });

test("what others set stays, what was applied and is gone goes", () => {
  assert.deepEqual(
    mergeManifest({
      applied: service({ selector: { app: "a", tier: "web" }, ports: [{ port: 80 }] }),
      manifest: service({ selector: { app: "b" }, ports: [{ port: 80, targetPort: 8080 }] }),
      live: service({
        selector: { app: "a", tier: "web", other: "x" },
        clusterIP: "10.96.0.1",
        ports: [{ port: 80, protocol: "TCP", nodePort: 30_001 }],
      }),
    }),
    service({
      selector: { app: "b", other: "x" },
      clusterIP: "10.96.0.1",
      ports: [{ port: 80, protocol: "TCP", nodePort: 30_001, targetPort: 8080 }],
    }),
  );
});

test("one port on two protocols is two elements", () => {
  const live = service({
    ports: [
      { port: 53, protocol: "TCP", nodePort: 1 },
      { port: 53, protocol: "UDP", nodePort: 2 },
    ],
  });
  const manifest = service({
    ports: [
      { port: 53, name: "a" },
      { port: 53, protocol: "UDP", name: "b" },
    ],
  });
  assert.deepEqual(mergeManifest({ applied: manifest, manifest, live }), {
    ...live,
    spec: {
      ports: [
        { port: 53, protocol: "TCP", nodePort: 1, name: "a" },
        { port: 53, protocol: "UDP", nodePort: 2, name: "b" },
      ],
    },
  });
});

test("containers merge by name; one that was applied and is gone goes, an injected one stays", () => {
  const merged = mergeManifest({
    applied: pod({ containers: [{ name: "old" }, { name: "app", image: "a:1" }] }),
    manifest: pod({ containers: [{ name: "app", image: "a:2" }, { name: "new" }] }),
    live: pod({
      containers: [{ name: "old" }, { name: "sidecar" }, { name: "app", image: "a:1", imagePullPolicy: "Always" }],
    }),
  });
  assert.deepEqual(
    merged,
    pod({
      containers: [{ name: "sidecar" }, { name: "app", image: "a:2", imagePullPolicy: "Always" }, { name: "new" }],
    }),
  );
});

test("lists without keys are replaced", () => {
  const merged = mergeManifest({
    applied: pod({ containers: [{ name: "a", args: ["x"] }] }),
    manifest: pod({ containers: [{ name: "a", args: ["y"] }] }),
    live: pod({ containers: [{ name: "a", args: ["x", "z"] }] }),
  });
  assert.deepEqual(merged, pod({ containers: [{ name: "a", args: ["y"] }] }));
});

test("a volume that changes its kind keeps nothing of the old one", () => {
  const merged = mergeManifest({
    applied: undefined,
    manifest: pod({ volumes: [{ name: "v", configMap: { name: "x" } }] }),
    live: pod({ volumes: [{ name: "v", emptyDir: {} }] }),
  });
  assert.deepEqual(merged, pod({ volumes: [{ name: "v", configMap: { name: "x" } }] }));
});

test("finalizers are a set that others add to", () => {
  const object = (finalizers: string[]) => ({ apiVersion: "v1", kind: "Pod", metadata: { name: "a", finalizers } });
  const merged = mergeManifest({ applied: object(["a/x"]), manifest: object(["a/y"]), live: object(["a/x", "b/z"]) });
  assert.deepEqual(merged, object(["a/y", "b/z"]));
});

test("null takes a field away", () => {
  const merged = mergeManifest({
    applied: undefined,
    manifest: pod({ nodeSelector: null }),
    live: pod({ nodeSelector: { a: "b" } }),
  });
  assert.deepEqual(merged, pod({}));
});

test("the manifest's order wins where it contradicts the one that is there", () => {
  const names = (list: string[]) => pod({ containers: list.map((name) => ({ name })) });
  assert.deepEqual(
    mergeManifest({ applied: undefined, manifest: names(["b", "a"]), live: names(["a", "x", "b"]) }),
    names(["b", "a", "x"]),
  );
});

const name = fc.constantFrom("a", "b", "c", "d");
const spec = fc.record(
  {
    nodeSelector: fc.dictionary(name, name),
    containers: fc.uniqueArray(fc.record({ name, image: name, args: fc.array(name) }, { noNullPrototype: true }), {
      selector: (each) => each.name,
    }),
    tolerations: fc.array(fc.record({ key: name }, { noNullPrototype: true })),
  },
  { requiredKeys: [], noNullPrototype: true },
);

test("merging twice changes nothing more, and without others' changes gives the manifest", () => {
  fc.assert(
    fc.property(spec, spec, spec, (before, wanted, others) => {
      const [applied, manifest] = [pod(before), pod(wanted)];
      const once = mergeManifest({ applied, manifest, live: pod({ ...others, ...before }) });
      assert.ok(
        sameJson(mergeManifest({ applied: manifest, manifest, live: once }), once),
        "the second time changes nothing",
      );
      assert.ok(
        sameJson(mergeManifest({ applied, manifest, live: applied }), manifest),
        "nobody else: just the manifest",
      );
    }),
  );
});
