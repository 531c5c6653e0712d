import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startTestServer, type Answered, type TestServer } from "./server.testing.ts";

let server: TestServer;
before(async () => {
  server = await startTestServer();
});
after(() => {
  assert.deepEqual(server.errors, []);
  server.close();
});

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const spec = {
  type: "object",
  required: ["size"],
  properties: {
    size: { type: "string", enum: ["small", "big"] },
    replicas: { type: "integer", default: 2, minimum: 0, maximum: 5 },
    labels: { type: "object", additionalProperties: { type: "string" } },
    free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
    port: { "x-kubernetes-int-or-string": true },
    parts: {
      type: "array",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["name"],
      items: {
        type: "object",
        required: ["name"],
        properties: { name: { type: "string" }, count: { type: "integer", default: 1 } },
      },
    },
  },
};
const definition = (plural: string, kind: string, names: object = {}): object => ({
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: `${plural}.example.com` },
  spec: {
    group: "example.com",
    scope: "Namespaced",
    names: { plural, kind, ...names },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        subresources: {
          status: {},
          scale: { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas" },
        },
        additionalPrinterColumns: [
          { name: "Size", type: "string", jsonPath: ".spec.size" },
          { name: "Ready", type: "string", jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
        ],
        selectableFields: [{ jsonPath: ".spec.size" }],
        schema: {
          openAPIV3Schema: {
            type: "object",
            properties: { spec, status: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
          },
        },
      },
      {
        name: "v1beta1",
        served: true,
        storage: false,
        schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
      },
    ],
  },
});
const widgets = "/apis/example.com/v1/namespaces/default/widgets";
const merge = { "Content-Type": "application/merge-patch+json" };

const widget = (name: string, rest: object): object => ({
  apiVersion: "example.com/v1",
  kind: "Widget",
  metadata: { name },
  spec: { size: "small", ...rest },
});

test("a definition is established at once, and its kind is served", async () => {
  const created = await server.send("POST", definitions, definition("widgets", "Widget", { shortNames: ["wd"] }));
  assert.equal(created.status, 201, created.text);
  const conditions = created.body.status.conditions as { type: string; status: string }[];
  assert.deepEqual(
    conditions.map(({ type, status }) => `${type}=${status}`),
    ["NamesAccepted=True", "Established=True"],
  );
  assert.deepEqual(created.body.status.storedVersions, ["v1"]);
  const { resources } = (await server.send("GET", "/apis/example.com/v1")).body;
  assert.deepEqual(
    resources.map(({ name }: { name: string }) => name),
    ["widgets", "widgets/status", "widgets/scale"],
  );
  const group = (await server.send("GET", "/apis/example.com")).body;
  assert.equal(group.preferredVersion.version, "v1");
  const document = (await server.send("GET", "/openapi/v3/apis/example.com/v1")).body;
  assert.deepEqual(document.components.schemas["com.example.v1.Widget"].properties.spec.properties.size.enum, [
    "small",
    "big",
  ]);
});

test("definitions that cannot be served are refused", async () => {
  const good = definition("things", "Thing") as { metadata: object; spec: { versions: object[] } };
  const cases: [bad: object, message: RegExp][] = [
    [{ ...good, metadata: { name: "other.example.com" } }, /metadata\.name: Invalid value/],
    [
      { ...good, spec: { ...good.spec, versions: [] } },
      /spec\.versions: Invalid value: \[\]: must have exactly one version/,
    ],
    [{ ...good, spec: { ...good.spec, versions: [good.spec.versions[1]] } }, /exactly one version marked as storage/],
    [
      { ...good, spec: { ...good.spec, versions: [{ ...good.spec.versions[0], schema: undefined }] } },
      /openAPIV3Schema: Required value/,
    ],
    [
      { ...good, spec: { ...good.spec, conversion: { strategy: "Webhook" } } },
      /spec\.conversion\.strategy: Unsupported value: "Webhook"/,
    ],
  ];
  for (const [bad, message] of cases) {
    const refused = await server.send("POST", definitions, bad);
    assert.equal(refused.status, 422, refused.text);
    assert.match(refused.body.message, message);
  }
});

test("what a definition says of how objects are found and kept stays", async () => {
  const path = `${definitions}/widgets.example.com`;
  for (const [change, field] of [
    [{ scope: "Cluster" }, "spec.scope"],
    [{ names: { kind: "Other" } }, "spec.names.kind"],
    [{ group: "other.example" }, "spec.group"],
  ] as const) {
    const refused = await server.send("PATCH", path, { spec: change }, merge);
    assert.equal(refused.status, 422, refused.text);
    const fields = refused.body.details.causes.map((cause: { field: string }) => cause.field);
    assert.ok(fields.includes(field), refused.text);
  }
  const whole = await server.send("PUT", path, definition("widgets", "Widget", { shortNames: ["wd"] }));
  assert.match(whole.body.message, /resourceVersion: Invalid value: .*must be specified for an update/);
});

test("who sets a custom resource's defaults and status owns them", async () => {
  const widgets = "/apis/example.com/v1/namespaces/default/widgets";
  await server.send("POST", widgets, widget("owned", {}));
  await server.send("PATCH", `${widgets}/owned/status`, { status: { replicas: 1 } }, merge);
  const { metadata } = (await server.send("GET", `${widgets}/owned`)).body;
  const entries = metadata.managedFields as { subresource?: string; fieldsV1: { [field: string]: object } }[];
  assert.deepEqual(
    entries.map(({ subresource = "", fieldsV1 }) => [subresource, ...Object.keys(fieldsV1)].join(" ")),
    [" f:spec", "status f:status"],
  );
  await server.send("DELETE", `${widgets}/owned`);
});

test("names that are taken are not accepted", async () => {
  const created = (await server.send("POST", definitions, definition("gadgets", "Gadget", { shortNames: ["wd"] })))
    .body;
  assert.match(created.status.conditions[0].message, /"wd" is already in use/);
  assert.equal((await server.send("GET", "/apis/example.com/v1/namespaces/default/gadgets")).status, 404);
});

test("a default that comes later is seen in objects that were there before, and not stored in them", async () => {
  const versions = (color: object): object => [
    {
      name: "v1",
      served: true,
      storage: true,
      schema: {
        openAPIV3Schema: {
          type: "object",
          properties: { spec: { type: "object", properties: { color } } },
        },
      },
    },
  ];
  const base = definition("paints", "Paint") as { metadata: object; spec: object };
  const first = { ...base, spec: { ...base.spec, versions: versions({ type: "string" }) } };
  assert.equal((await server.send("POST", definitions, first)).status, 201);
  const paints = "/apis/example.com/v1/namespaces/default/paints";
  const paint = { apiVersion: "example.com/v1", kind: "Paint", metadata: { name: "p" }, spec: {} };
  const created = (await server.send("POST", paints, paint)).body;
  const patch = { spec: { versions: versions({ type: "string", default: "red" }) } };
  assert.equal((await server.send("PATCH", `${definitions}/paints.example.com`, patch, merge)).status, 200);
  const read = (await server.send("GET", `${paints}/p`)).body;
  assert.deepEqual([read.spec, read.metadata.resourceVersion], [{ color: "red" }, created.metadata.resourceVersion]);
  assert.deepEqual((await server.send("GET", paints)).body.items[0].spec, { color: "red" });
});

test("objects are pruned, completed and checked by their schema", async () => {
  const created = (await server.send("POST", widgets, widget("a", { junk: 1, free: { x: 1 }, parts: [{ name: "p" }] })))
    .body;
  assert.deepEqual(created.spec, { size: "small", replicas: 2, free: { x: 1 }, parts: [{ name: "p", count: 1 }] });
  const cases: [rest: object, message: RegExp][] = [
    [{ size: "huge" }, /spec\.size: Unsupported value: "huge": supported values: "big", "small"/],
    [{ size: undefined }, /spec\.size: Required value/],
    [{ replicas: 9 }, /should be less than or equal to 5/],
    [{ replicas: "x" }, /spec\.replicas in body must be of type integer: "string"/],
    [{ port: 1.5 }, /must be of type integer,string/],
    [{ labels: { a: 1 } }, /spec\.labels\.a in body must be of type string: "integer"/],
    [{ parts: [{ name: "p" }, { name: "p" }] }, /spec\.parts\[1\]: Duplicate value: \{"name":"p"\}/],
  ];
  for (const [rest, message] of cases) {
    const refused = await server.send("POST", widgets, widget("b", rest));
    assert.equal(refused.status, 422, refused.text);
    assert.match(refused.body.message, message);
  }
});

test("all versions show one object", async () => {
  const other = (await server.send("GET", "/apis/example.com/v1beta1/namespaces/default/widgets/a")).body;
  assert.deepEqual([other.apiVersion, other.spec.size], ["example.com/v1beta1", "small"]);
});

test("columns, selectable fields, status and scale as the definition says", async () => {
  const status = { replicas: 3, conditions: [{ type: "Ready", status: "True" }] };
  await server.send("PATCH", `${widgets}/a/status`, { status, spec: { size: "big" } }, merge);
  const accept = { Accept: "application/json;as=Table;v=v1;g=meta.k8s.io" };
  const table = (await server.send("GET", `${widgets}?fieldSelector=spec.size%3Dsmall`, undefined, accept)).body;
  assert.deepEqual(table.rows[0].cells, ["a", "small", "True"]);
  assert.equal((await server.send("GET", `${widgets}?fieldSelector=spec.port%3D1`)).status, 400);
  const scale = (await server.send("PATCH", `${widgets}/a/scale`, { spec: { replicas: 4 } }, merge)).body;
  assert.deepEqual([scale.spec.replicas, scale.status.replicas], [4, 3]);
  assert.equal((await server.send("GET", `${widgets}/a`)).body.spec.replicas, 4);
});

test("apply takes lists apart by the schema's keys; strategic merge is not for custom resources", async () => {
  const apply = (manager: string, parts: object): Promise<Answered> =>
    server.send("PATCH", `${widgets}/c?fieldManager=${manager}`, widget("c", { parts }), {
      "Content-Type": "application/apply-patch+yaml",
    });
  await apply("one", [{ name: "x" }]);
  const { body } = await apply("two", [{ name: "z", count: 7 }]);
  assert.deepEqual(body.spec.parts, [
    { name: "x", count: 1 },
    { name: "z", count: 7 },
  ]);
  const strategic = { "Content-Type": "application/strategic-merge-patch+json" };
  assert.equal((await server.send("PATCH", `${widgets}/c`, {}, strategic)).status, 415);
});

test("an update needs the version it was made from", async () => {
  assert.equal((await server.send("PUT", `${widgets}/a`, widget("a", {}))).status, 422);
});

test("a definition that goes takes its objects along", async () => {
  const first = await server.send("DELETE", `${definitions}/widgets.example.com`);
  assert.equal(first.status, 200);
  await server.api.flushed();
  await server.api.flushed();
  assert.deepEqual(server.api.list({ group: "example.com", resource: "widgets" }).items, []);
  assert.equal((await server.send("GET", `${definitions}/widgets.example.com`)).status, 404);
  assert.equal((await server.send("GET", widgets)).status, 404);
});
