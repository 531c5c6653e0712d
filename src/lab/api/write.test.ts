import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { annotations, type KubeObject } from "../../kube/object.ts";
import type { Admission, ServedApi } from "./api.ts";
import { lastApplied } from "./apply.ts";
import { checkAll } from "./check.ts";
import { openStore } from "./sqlite-store.ts";
import { StatusError, type ObjectKey } from "./store.ts";
import { createObjectApi } from "./write.ts";

const clock = (): number => Date.UTC(2026, 0, 31, 12);

function newApi(admissions: readonly Admission[] = []): ServedApi {
  const store = openStore({ path: ":memory:", clock });
  const api = createObjectApi({ store, clock, admissions });
  api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: "default" } });
  return api;
}

const container = { name: "c", image: "nginx" };
const labels = { app: "web" };

function object(apiVersion: string, kind: string, rest: object, name = "a"): KubeObject {
  return { apiVersion, kind, metadata: { name, namespace: "default" }, ...rest };
}
const pod = (spec: object = {}): KubeObject => object("v1", "Pod", { spec: { containers: [container], ...spec } });
const deployment = (spec: object = {}): KubeObject =>
  object("apps/v1", "Deployment", {
    spec: {
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [container] } },
      ...spec,
    },
  });
const configMap = (data: object): KubeObject => object("v1", "ConfigMap", { data });
const pods: ObjectKey = { group: "", resource: "pods", namespace: "default", name: "a" };

function refused(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof StatusError, String(error));
    return `${error.code} ${error.reason}: ${error.message}`;
  }
  return "taken";
}

test("a pod is created pending, with defaults, and without the status a client may send", () => {
  const created = newApi().create({ ...pod(), status: { phase: "Running" } });
  assert.deepEqual(created["status"], { phase: "Pending", qosClass: "BestEffort" });
  assert.equal((created["spec"] as { restartPolicy: string }).restartPolicy, "Always");
});

test("refusals, in Kubernetes' words", () => {
  const api = newApi();
  api.create(configMap({}));
  assert.equal(
    refused(() => api.create(configMap({}))),
    '409 AlreadyExists: configmaps "a" already exists',
  );
  assert.equal(
    refused(() => api.create({ ...configMap({}), metadata: { name: "a", namespace: "nowhere" } })),
    '404 NotFound: namespaces "nowhere" not found',
  );
  assert.equal(
    refused(() => api.create(object("v1", "Sandwich", {}))),
    '404 NotFound: no matches for kind "Sandwich" in version "v1"',
  );
  assert.equal(
    refused(() => api.create(object("v1", "Service", { spec: { ports: [{ port: 70_000, targetPort: 1 }] } }))),
    '422 Invalid: Service "a" is invalid: spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive',
  );
  assert.equal(
    refused(() => api.create(deployment({ replica: 1 }))),
    '400 BadRequest: Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.replica"',
  );
  assert.equal(
    refused(() => api.create(deployment({ replicas: -1, revisionHistoryLimit: -2 }))),
    '422 Invalid: Deployment.apps "a" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal to 0, spec.revisionHistoryLimit: Invalid value: -2: must be greater than or equal to 0]',
  );
  const nameless = { ...configMap({}), metadata: { name: "", namespace: "default" } };
  assert.equal(
    refused(() => api.create(nameless)),
    '422 Invalid: ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
  );
  const homeless = { ...configMap({}), metadata: { name: "x", namespace: null } } as unknown as KubeObject;
  assert.equal(
    refused(() => api.create(homeless)),
    "400 BadRequest: an empty namespace may not be set during creation",
  );
  assert.equal(
    refused(() => api.update(deployment())),
    '404 NotFound: deployments.apps "a" not found',
  );
  assert.equal(
    refused(() => api.delete(pods)),
    '404 NotFound: pods "a" not found',
  );
});

test("generation counts what is asked for; status and metadata do not count", () => {
  const api = newApi();
  const first = api.create(deployment());
  const labelled = api.update({ ...first, metadata: { ...first.metadata, labels: { x: "y" } } });
  const reported = api.updateStatus({ ...labelled, status: { replicas: 1 } });
  assert.deepEqual(
    [first, labelled, reported].map(({ metadata }) => metadata.generation),
    [1, 1, 1],
  );
  const scaled = api.update({
    ...reported,
    spec: { ...(reported["spec"] as object), replicas: 3 },
    status: { replicas: 99 },
  });
  assert.equal(scaled.metadata.generation, 2);
  assert.deepEqual(scaled["status"], { replicas: 1 }, "an update leaves the status alone");
  assert.equal(api.update(scaled), scaled, "no change, no write");
  assert.match(
    refused(() => api.updateStatus({ ...first, status: {} })),
    /^409 Conflict/,
  );
});

test("admissions change objects in turn, and what they give is checked", () => {
  const tolerate: Admission = ({ object: given, operation }) =>
    operation === "create" && given.kind === "Pod"
      ? { ...given, spec: { ...(given["spec"] as object), nodeName: "Node_1" } }
      : given;
  assert.match(
    refused(() => newApi([tolerate]).create(pod())),
    /^422 Invalid: Pod "a" is invalid: spec.nodeName: Invalid value: "Node_1"/,
  );
  const no: Admission = () => {
    throw new StatusError(403, "Forbidden", "no");
  };
  assert.match(
    refused(() => newApi([no])),
    /403 Forbidden: no/,
  );
});

test("a pod that runs nowhere goes at once, one on a node has its grace period", () => {
  const api = newApi();
  api.create(pod());
  api.delete(pods);
  assert.equal(api.get(pods), undefined);
  api.create(pod({ nodeName: "node-1", terminationGracePeriodSeconds: 7 }));
  const marked = api.delete(pods);
  assert.equal(marked.metadata.deletionTimestamp, "2026-01-31T12:00:07Z");
  assert.equal(marked.metadata.deletionGracePeriodSeconds, 7);
  api.delete(pods, { gracePeriodSeconds: 0 });
  assert.equal(api.get(pods), undefined);
});

test("a namespace terminates until its finalizer is taken away, and takes nothing new", () => {
  const api = newApi();
  api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: "going" } });
  const key = { group: "", resource: "namespaces", name: "going" };
  const marked = api.delete(key);
  assert.deepEqual(marked["status"], { phase: "Terminating" });
  assert.equal(marked.metadata.deletionGracePeriodSeconds, undefined);
  assert.equal(
    refused(() => api.create({ ...pod(), metadata: { name: "a", namespace: "going" } })),
    '403 Forbidden: pods "a" is forbidden: unable to create new content in namespace going because it is being terminated',
  );
  api.update({ ...marked, spec: { finalizers: [] } });
  assert.equal(api.get(key), undefined);
});

test("a cluster's own namespaces stay", () => {
  const api = newApi();
  assert.equal(
    refused(() => api.delete({ group: "", resource: "namespaces", name: "default" })),
    '403 Forbidden: namespaces "default" is forbidden: this namespace may not be deleted',
  );
});

test("a request for a certificate is of who sends it, and stays what it was", () => {
  const api = newApi();
  const request = {
    apiVersion: "certificates.k8s.io/v1",
    kind: "CertificateSigningRequest",
    metadata: { name: "anna" },
    spec: { request: "AA==", signerName: "example.org/own", usages: ["client auth"], username: "admin", uid: "7" },
  };
  const actor = { username: "anna", groups: ["a", "system:authenticated"], extra: { "example.org/x": ["1"] } };
  const created = api.within(actor, () => api.create(request));
  const { username: _, uid: __, ...asked } = request.spec;
  assert.deepEqual(created["spec"], { ...asked, ...actor });
  const changed = api.update({ ...created, metadata: { ...created.metadata, labels }, spec: request.spec });
  assert.deepEqual([changed["spec"], changed.metadata.labels], [created["spec"], labels]);
});

test("foreground and orphan are finalizers for the garbage collector", () => {
  const api = newApi();
  api.create(deployment());
  const key = { group: "apps", resource: "deployments", namespace: "default", name: "a" };
  assert.deepEqual(api.delete(key, { propagation: "Foreground" }).metadata.finalizers, ["foregroundDeletion"]);
  assert.notEqual(api.get(key), undefined);
  api.delete(key, { propagation: "Background" });
  assert.equal(api.get(key), undefined);
});

test("a Job finds its pods by its uid", () => {
  const job = newApi().create(
    object("batch/v1", "Job", { spec: { template: { spec: { containers: [container], restartPolicy: "Never" } } } }),
  );
  const spec = job["spec"] as { selector: unknown; template: { metadata: { labels: object } } };
  assert.deepEqual(spec.selector, { matchLabels: { "batch.kubernetes.io/controller-uid": job.metadata.uid } });
  assert.deepEqual(Object.keys(spec.template.metadata.labels).sort(), [
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
  ]);
});

test("apply: created, unchanged, configured; what others set stays", () => {
  const api = newApi();
  assert.equal(api.apply(deployment()).result, "created");
  assert.equal(api.apply(deployment()).result, "unchanged");
  const live = api.get({ group: "apps", resource: "deployments", namespace: "default", name: "a" });
  assert.ok(live);
  api.update({ ...live, spec: { ...(live["spec"] as object), replicas: 5 } });
  assert.equal(api.apply(deployment()).result, "unchanged", "the manifest does not say how many");
  const said = api.apply(deployment({ replicas: 2 }));
  assert.equal(said.result, "configured");
  const gone = api.apply(deployment());
  assert.equal((gone.object["spec"] as { replicas: number }).replicas, 1, "it said so once: back to the default");
});

test("a manifest that moved within its file changes the note of it and nothing else", () => {
  const api = newApi();
  const at = (line: number): KubeObject => {
    const manifest = deployment();
    const source = JSON.stringify({ file: "a.yaml", line, lines: {} });
    return { ...manifest, metadata: { ...manifest.metadata, annotations: { [annotations.source]: source } } };
  };
  const first = api.apply(at(1)).object;
  const moved = api.apply(at(9));
  assert.equal(moved.result, "unchanged");
  assert.match(moved.object.metadata.annotations?.[annotations.source] ?? "", /"line":9/);
  assert.equal(moved.object.metadata.generation, first.metadata.generation);
  assert.ok(
    !(moved.object.metadata.annotations?.[lastApplied] ?? "").includes(annotations.source),
    "it is not remembered as applied",
  );
});

test("applying several is all or nothing", () => {
  const api = newApi();
  const clash = object("v1", "Service", { spec: { ports: [{ port: 0, targetPort: 1 }] } });
  assert.match(
    refused(() => api.applyAll([deployment(), configMap({}), clash])),
    /^422 Invalid: Service "a" is invalid/,
  );
  assert.deepEqual(api.list({ group: "apps", resource: "deployments" }).items, []);
  assert.deepEqual(
    api.applyAll([deployment(), configMap({}), deployment()]).map(({ result }) => result),
    ["created", "created", "unchanged"],
  );
});

test("a memory that somebody spoilt removes nothing", () => {
  const api = newApi();
  const { object: live } = api.apply(configMap({ a: "1" }));
  api.update({ ...live, metadata: { ...live.metadata, annotations: { [lastApplied]: "{" } } });
  assert.deepEqual(api.apply(configMap({ b: "2" })).object["data"], { a: "1", b: "2" });
});

test("applying anything twice is unchanged, and the data is what the last manifest and others say", () => {
  const data = fc.dictionary(fc.constantFrom("a", "b", "c"), fc.constantFrom("1", "2"), { noNullPrototype: true });
  fc.assert(
    fc.property(data, data, data, (first, others, second) => {
      const api = newApi();
      const { object: live } = api.apply(configMap(first));
      const edited = api.update({ ...live, data: { ...first, ...others } });
      api.apply(configMap(second));
      assert.equal(api.apply(configMap(second)).result, "unchanged");
      const kept = Object.fromEntries(Object.entries(edited["data"] as object).filter(([key]) => !(key in first)));
      assert.deepEqual(api.get({ ...pods, resource: "configmaps" })?.["data"], { ...kept, ...second });
    }),
    { numRuns: 50 },
  );
});

test("everything is checked before anything is stored: file and line, what would change, the namespace", () => {
  const api = newApi();
  api.apply(deployment());
  const source = JSON.stringify({ file: "a.yaml", line: 3, lines: { "spec.ports[0].port": 8 } });
  const service = {
    ...object("v1", "Service", { spec: { ports: [{ port: 0, targetPort: 1 }] } }),
    metadata: { name: "s", namespace: "default", annotations: { [annotations.source]: source } },
  };
  const elsewhere = { ...configMap({}), metadata: { name: "x", namespace: "nowhere" } };
  assert.deepEqual(
    checkAll(api, [
      service,
      elsewhere,
      deployment({ selector: { matchExpressions: [{ key: "app", operator: "Exists" }] } }),
    ]).errors,
    [
      "a.yaml:8: Service default/s: spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
      "ConfigMap nowhere/x: metadata.namespace: Not found: there is no namespace nowhere: add a manifest for it, or create it first",
      'Deployment default/a: spec.selector: Invalid value: {"matchExpressions":[{"key":"app","operator":"Exists"}]}: field is immutable',
    ],
  );
  const namespace: KubeObject = { apiVersion: "v1", kind: "Namespace", metadata: { name: "nowhere" } };
  assert.deepEqual(checkAll(api, [elsewhere, namespace]).errors, [], "namespaces may come along");
});

test("what is allowed and suspicious is said", () => {
  const api = newApi();
  const named = { ...container, ports: [{ name: "http", containerPort: 80 }] };
  api.apply(deployment({ template: { metadata: { labels }, spec: { containers: [named] } } }));
  const service = object("v1", "Service", { spec: { selector: labels, ports: [{ port: 80, targetPort: "htpp" }] } });
  const { errors, warnings } = checkAll(api, [service]);
  assert.deepEqual(errors, []);
  assert.deepEqual(warnings.get(service), [
    'Service default/a: spec.ports[0].targetPort: "htpp" names no TCP port of the pods it selects (they have: http); traffic will be refused',
  ]);
});

test("a kind that nothing acts upon is taken, and apply says so", () => {
  const ingress = object("networking.k8s.io/v1", "Ingress", {
    spec: { defaultBackend: { service: { name: "x", port: { number: 80 } } } },
  });
  const { errors, warnings } = checkAll(newApi(), [ingress]);
  assert.deepEqual(errors, []);
  assert.deepEqual(warnings.get(ingress), [
    "Ingress default/a: the object is kept, no gateway routes traffic by it yet",
  ]);
});

test("a status with fields that its kind has not is refused", () => {
  const api = newApi();
  const created = api.create(pod());
  assert.match(
    refused(() => api.updateStatus({ ...created, status: { fase: "Running" } })),
    /unknown field "status.fase"$/,
  );
});

test("any JSON is an object that can be stored, or a StatusError", () => {
  const kinds = fc.constantFrom(
    ["v1", "Pod"],
    ["v1", "Service"],
    ["apps/v1", "Deployment"],
    ["batch/v1", "Job"],
    ["v1", "Namespace"],
    ["v1", "Secret"],
    ["networking.k8s.io/v1", "NetworkPolicy"],
    ["discovery.k8s.io/v1", "EndpointSlice"],
  );
  const field = fc.constantFrom(
    "spec",
    "data",
    "stringData",
    "containers",
    "ports",
    "selector",
    "template",
    "metadata",
    "labels",
    "name",
    "type",
    "ingress",
    "endpoints",
    "addresses",
    "hostNetwork",
    "clusterIP",
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5, withCrossShrink: true },
      fc.constantFrom(null, "", "a", 1, -1, true),
      fc.array(tie("tree"), { maxLength: 3 }),
      fc.dictionary(field, tie("tree"), { maxKeys: 4 }),
    ),
  }));
  fc.assert(
    fc.property(kinds, tree, tree, ([apiVersion = "", kind = ""], spec, data) => {
      const api = newApi();
      const given = {
        apiVersion,
        kind,
        metadata: { name: "a", namespace: "default" },
        spec,
        ...(kind === "Secret" ? { data } : {}),
      };
      for (const write of [api.create, api.apply])
        assert.notEqual(
          refused(() => write(given)),
          "",
        );
    }),
    { numRuns: 300 },
  );
});

test("a pod's generation counts what is asked for, and not where the scheduler puts it", () => {
  const api = newApi();
  const first = api.create(pod());
  const spec = first["spec"] as object;
  const bound = api.update({ ...first, spec: { ...spec, nodeName: "node-1" } });
  const changed = api.update({ ...bound, spec: { ...spec, nodeName: "node-1", activeDeadlineSeconds: 5 } });
  assert.deepEqual(
    [first, bound, changed].map(({ metadata }) => metadata.generation),
    [1, 1, 2],
  );
});
