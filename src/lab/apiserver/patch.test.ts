import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { typeNamed } from "../../kube/schema.ts";
import { applyJsonPatch, applyMergePatch, PatchError } from "./patch/json-patch.ts";
import { applyStrategicMerge } from "./patch/strategic-merge.ts";
import { startTestServer, type Answered, type TestServer } from "./server.testing.ts";

test("JSON patch: RFC 6902 appendix A", () => {
  const cases: [document: unknown, operations: unknown, expected: unknown][] = [
    [{ foo: "bar" }, [{ op: "add", path: "/baz", value: "qux" }], { foo: "bar", baz: "qux" }],
    [{ foo: ["a", "c"] }, [{ op: "add", path: "/foo/1", value: "b" }], { foo: ["a", "b", "c"] }],
    [{ foo: ["a"] }, [{ op: "add", path: "/foo/-", value: ["b"] }], { foo: ["a", ["b"]] }],
    [{ a: 1, b: 2 }, [{ op: "remove", path: "/a" }], { b: 2 }],
    [{ foo: ["a", "b"] }, [{ op: "remove", path: "/foo/0" }], { foo: ["b"] }],
    [{ a: 1 }, [{ op: "replace", path: "/a", value: null }], { a: null }],
    [{ a: { b: 1 }, c: {} }, [{ op: "move", from: "/a/b", path: "/c/d" }], { a: {}, c: { d: 1 } }],
    [{ a: [1, 2, 3] }, [{ op: "move", from: "/a/0", path: "/a/2" }], { a: [2, 3, 1] }],
    [{ a: 1 }, [{ op: "copy", from: "/a", path: "/b" }], { a: 1, b: 1 }],
    [
      { "a/b": 1, "m~n": 2 },
      [
        { op: "test", path: "/a~1b", value: 1 },
        { op: "remove", path: "/m~0n" },
      ],
      { "a/b": 1 },
    ],
    [
      { a: { b: [1, { c: 2 }] } },
      [{ op: "test", path: "/a", value: { b: [1, { c: 2 }] } }],
      { a: { b: [1, { c: 2 }] } },
    ],
  ];
  for (const [document, operations, expected] of cases)
    assert.deepEqual(applyJsonPatch(document, operations), expected);
});

test("JSON patches that do not fit are refused and change nothing", () => {
  const document = Object.freeze({ a: 1, l: Object.freeze([1]) });
  for (const operations of [
    {},
    [1],
    [{ op: "test", path: "/a", value: 2 }],
    [{ op: "remove", path: "/b" }],
    [{ op: "replace", path: "/b", value: 1 }],
    [{ op: "add", path: "/b/c", value: 1 }],
    [{ op: "add", path: "/l/2", value: 1 }],
    [{ op: "add", path: "/l/01", value: 1 }],
    [{ op: "add", path: "a", value: 1 }],
    [{ op: "add", path: "/b" }],
    [{ op: "swap", path: "/a" }],
    [{ op: "move", from: "/l", path: "/l/0" }],
  ])
    assert.throws(() => applyJsonPatch(document, operations), PatchError, JSON.stringify(operations));
});

test("merge patch: RFC 7386 appendix A", () => {
  assert.deepEqual(applyMergePatch({ a: "b" }, { a: "c", b: 1 }), { a: "c", b: 1 });
  assert.deepEqual(applyMergePatch({ a: { b: 1, c: 2 } }, { a: { b: null } }), { a: { c: 2 } });
  assert.deepEqual(applyMergePatch({ a: [1, 2] }, { a: [3] }), { a: [3] });
  assert.deepEqual(applyMergePatch({}, { a: { b: { c: null } } }), { a: { b: {} } });
  assert.deepEqual(applyMergePatch({ a: 1 }, ["x"]), ["x"]);
});

test("strategic merge follows merge keys and directives", () => {
  const type = typeNamed("core.v1.PodSpec");
  const spec = {
    containers: [
      { name: "a", image: "1", ports: [{ containerPort: 1 }] },
      { name: "b", image: "2" },
    ],
    tolerations: [{ key: "x" }],
    nodeSelector: { a: "b" },
  };
  const patched = (patch: unknown): typeof spec => applyStrategicMerge(spec, patch, type) as typeof spec;
  const names = (each: typeof spec): string[] => each.containers.map(({ name }) => name);
  assert.deepEqual(patched({ containers: [{ name: "b", image: "3" }] }).containers[1], { name: "b", image: "3" });
  assert.deepEqual(
    names(patched({ containers: [{ name: "c", image: "3" }] })),
    ["c", "a", "b"],
    "what is new comes first",
  );
  assert.deepEqual(names(patched({ containers: [{ name: "a", $patch: "delete" }] })), ["b"]);
  assert.deepEqual(names(patched({ containers: [{ $patch: "replace" }, { name: "z" }] })), ["z"]);
  const order = { "$setElementOrder/containers": [{ name: "b" }, { name: "n" }, { name: "a" }] };
  assert.deepEqual(names(patched({ ...order, containers: [{ name: "n" }] })), ["b", "n", "a"]);
  assert.deepEqual(patched({ nodeSelector: { a: null, c: "d" } }).nodeSelector, { c: "d" });
  assert.deepEqual(patched({ nodeSelector: { $patch: "replace", c: "d" } }).nodeSelector, { c: "d" });
  assert.deepEqual(patched({ tolerations: [{ key: "y" }] }).tolerations, [{ key: "y" }], "atomic lists are replaced");
  assert.throws(() => patched({ containers: [{ image: "x" }] }), PatchError);
  const metadata = applyStrategicMerge(
    { finalizers: ["a", "b"] },
    { "$deleteFromPrimitiveList/finalizers": ["a"], finalizers: ["c"] },
    typeNamed("meta.v1.ObjectMeta"),
  );
  assert.deepEqual(metadata, { finalizers: ["c", "b"] });
  const strategy = applyStrategicMerge(
    { type: "RollingUpdate", rollingUpdate: {} },
    { $retainKeys: ["type"], type: "Recreate" },
    typeNamed("apps.v1.DeploymentStrategy"),
  );
  assert.deepEqual(strategy, { type: "Recreate" });
});

let server: TestServer;
before(async () => {
  server = await startTestServer();
});
after(() => {
  assert.deepEqual(server.errors, []);
  server.close();
});

const services = "/api/v1/namespaces/default/services";

function apply(
  name: string,
  manager: string,
  spec: object,
  options: { force?: boolean; metadata?: object } = {},
): Promise<Answered> {
  const force = options.force === true ? "&force=true" : "";
  const body = { apiVersion: "v1", kind: "Service", metadata: { name, ...options.metadata }, spec };
  const headers = { "Content-Type": "application/apply-patch+yaml" };
  return server.send("PATCH", `${services}/${name}?fieldManager=${manager}${force}`, body, headers);
}

test("apply creates, owns what it says, and gives up what it no longer says", async () => {
  const ports = [
    { name: "http", port: 80 },
    { name: "https", port: 443 },
  ];
  const first = await apply(
    "s",
    "one",
    { selector: { app: "s" }, ports },
    { metadata: { labels: { a: "1", b: "1" } } },
  );
  assert.equal(first.status, 201);
  const [entry] = first.body.metadata.managedFields;
  assert.deepEqual([entry.manager, entry.operation, entry.apiVersion], ["one", "Apply", "v1"]);
  assert.deepEqual(entry.fieldsV1, {
    "f:metadata": { "f:labels": { "f:a": {}, "f:b": {} } },
    "f:spec": {
      "f:ports": {
        'k:{"port":443,"protocol":"TCP"}': { ".": {}, "f:name": {}, "f:port": {} },
        'k:{"port":80,"protocol":"TCP"}': { ".": {}, "f:name": {}, "f:port": {} },
      },
      "f:selector": {},
    },
  });
  const second = await apply(
    "s",
    "one",
    { selector: { app: "s" }, ports: ports.slice(0, 1) },
    { metadata: { labels: { a: "1" } } },
  );
  assert.equal(second.status, 200);
  assert.deepEqual(second.body.metadata.labels, { a: "1" });
  assert.deepEqual(
    second.body.spec.ports.map(({ port }: { port: number }) => port),
    [80],
  );
  const same = await apply(
    "s",
    "one",
    { selector: { app: "s" }, ports: ports.slice(0, 1) },
    { metadata: { labels: { a: "1" } } },
  );
  assert.equal(same.body.metadata.resourceVersion, second.body.metadata.resourceVersion, "nothing new: no write");
});

test("nobody owns metadata by an apply of no more than a name", async () => {
  const named = await apply("named", "one", { ports: [{ port: 80 }] });
  const [entry] = named.body.metadata.managedFields;
  assert.deepEqual(Object.keys(entry.fieldsV1), ["f:spec"]);
  const labelled = await apply("named", "two", {}, { metadata: { labels: { a: "1" } } });
  const fields = labelled.body.metadata.managedFields.map(({ fieldsV1 }: { fieldsV1: object }) => fieldsV1);
  assert.deepEqual(fields[1]["f:metadata"], { "f:labels": { "f:a": {} } });
});

test("two managers: conflicts, force, co-ownership", async () => {
  await apply("t", "one", { sessionAffinity: "None", ports: [{ port: 80 }] });
  const refused = await apply("t", "two", { sessionAffinity: "ClientIP" });
  assert.equal(refused.status, 409);
  assert.equal(refused.body.message, 'Apply failed with 1 conflict: conflict with "one": .spec.sessionAffinity');
  assert.deepEqual(refused.body.details.causes, [
    { reason: "FieldManagerConflict", message: 'conflict with "one"', field: ".spec.sessionAffinity" },
  ]);
  const forced = await apply("t", "two", { sessionAffinity: "ClientIP" }, { force: true });
  assert.deepEqual([forced.status, forced.body.spec.sessionAffinity], [200, "ClientIP"]);
  // The same value is shared: it stays until the last owner gives it up.
  await apply("t", "three", { sessionAffinity: "ClientIP" });
  assert.equal((await apply("t", "two", {})).body.spec.sessionAffinity, "ClientIP");
  assert.equal((await apply("t", "three", {})).body.spec.sessionAffinity, "None", "the default again");
});

test("an update takes fields over; applying them again conflicts with it", async () => {
  await apply("u", "one", { ports: [{ port: 80, targetPort: 1 }] });
  const merge = { "Content-Type": "application/merge-patch+json" };
  const patch = { spec: { ports: [{ port: 80, protocol: "TCP", targetPort: 2 }] } };
  const { body } = await server.send("PATCH", `${services}/u?fieldManager=editor`, patch, merge);
  const update = body.metadata.managedFields.find(({ manager }: { manager: string }) => manager === "editor");
  assert.deepEqual(update.fieldsV1, {
    "f:spec": { "f:ports": { 'k:{"port":80,"protocol":"TCP"}': { "f:targetPort": {} } } },
  });
  const refused = await apply("u", "one", { ports: [{ port: 80, targetPort: 1 }] });
  assert.equal(
    refused.body.message,
    'Apply failed with 1 conflict: conflict with "editor" using v1: .spec.ports[port=80,protocol="TCP"].targetPort',
  );
});

test("status is owned through its own door", async () => {
  const lastTransitionTime = "2026-01-31T12:00:00Z";
  const status = { conditions: [{ type: "Seen", status: "True", reason: "Seen", message: "", lastTransitionTime }] };
  const merge = { "Content-Type": "application/merge-patch+json" };
  const { body } = await server.send("PATCH", `${services}/u/status?fieldManager=lb`, { status }, merge);
  const entry = body.metadata.managedFields.find(({ manager }: { manager: string }) => manager === "lb");
  assert.deepEqual([entry.subresource, Object.keys(entry.fieldsV1)], ["status", ["f:status"]]);
});

test("an object nobody's fields were noted of belongs to before-first-apply", async () => {
  server.api.create({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "v", namespace: "default" },
    spec: { ports: [{ port: 80, protocol: "TCP" }], sessionAffinity: "ClientIP" },
  });
  const refused = await apply("v", "one", { sessionAffinity: "None" });
  assert.match(refused.body.message, /conflict with "before-first-apply" using v1: \.spec\.sessionAffinity/);
});

test("an object of `fairlead apply` belongs to kubectl's client-side apply, but for what the lab added", async () => {
  server.api.apply({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "x", namespace: "default" },
    spec: { ports: [{ port: 80 }], sessionAffinity: "ClientIP" },
  });
  const refused = await apply("x", "one", { sessionAffinity: "None" });
  assert.match(refused.body.message, /conflict with "kubectl-client-side-apply" using v1: \.spec\.sessionAffinity$/);
  assert.equal((await apply("x", "one", { type: "NodePort" })).status, 200, "nobody said what type it is");
});

test("what apply needs is asked for", async () => {
  const headers = { "Content-Type": "application/apply-patch+yaml" };
  const body = { apiVersion: "v1", kind: "Service", metadata: { name: "w" } };
  assert.equal((await server.send("PATCH", `${services}/w`, body, headers)).status, 422);
  const managed = { ...body, metadata: { name: "w", managedFields: [{}] } };
  assert.equal((await server.send("PATCH", `${services}/w?fieldManager=x`, managed, headers)).status, 400);
  const nameless = { kind: "Service", metadata: { name: "w" } };
  assert.equal((await server.send("PATCH", `${services}/w?fieldManager=x`, nameless, headers)).status, 400);
  const unknown = "apiVersion: v1\nkind: Service\nmetadata: {name: w}\nspec: {sizes: 1}\n";
  const refused = await server.send("PATCH", `${services}/w?fieldManager=x&fieldValidation=Ignore`, unknown, headers);
  assert.equal(refused.status, 400);
  assert.match(
    JSON.stringify(refused.body),
    /\(\/w; \/v1, Kind=Service\): \.spec\.sizes: field not declared in schema/,
  );
  const twice = "apiVersion: v1\nkind: Service\nmetadata: {name: w}\nspec:\n  type: A\n  type: B\n";
  const again = await server.send("PATCH", `${services}/w?fieldManager=x`, twice, headers);
  assert.match(JSON.stringify(again.body), /error decoding YAML: line 6: key \\"type\\" already set in map/);
  const merge = { "Content-Type": "application/merge-patch+json" };
  assert.equal((await server.send("PATCH", `${services}/u?force=true`, {}, merge)).status, 422);
  assert.equal((await server.send("PATCH", `${services}/u`, {}, { "Content-Type": "text/plain" })).status, 415);
  assert.equal((await server.send("PATCH", `${services}/none`, {}, merge)).status, 404);
  assert.equal((await server.send("PATCH", `${services}/u`, { metadata: { name: "x" } }, merge)).status, 400);
});

test("managed fields can be forgotten", async () => {
  const merge = { "Content-Type": "application/merge-patch+json" };
  const { body } = await server.send("PATCH", `${services}/u`, { metadata: { managedFields: [{}] } }, merge);
  assert.equal(body.metadata.managedFields, undefined);
});
