import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startTestServer, watchEvents, type Answered, type TestServer } from "./server.testing.ts";

let server: TestServer;
before(async () => {
  server = await startTestServer();
});
after(() => {
  assert.deepEqual(server.errors, []);
  server.close();
});

const configMaps = "/api/v1/namespaces/default/configmaps";
const pods = "/api/v1/namespaces/default/pods";
const deployments = "/apis/apps/v1/namespaces/default/deployments";
const configMap = (name: string, rest: object = {}, metadata: object = {}): object => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, ...metadata },
  ...rest,
});
const pod = (name: string, spec: object = {}, metadata: object = {}): object => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, ...metadata },
  spec: { containers: [{ name: "c", image: "nginx" }], ...spec },
});
const deployment = (name: string, spec: object = {}): object => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name },
  spec: {
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: "c", image: "nginx" }] } },
    ...spec,
  },
});

test("fixed paths answer as a Kubernetes API server's", async () => {
  assert.equal((await server.send("GET", "/healthz")).text, "ok");
  assert.equal((await server.send("GET", "/readyz")).text, "ok");
  assert.equal((await server.send("GET", "/readyz?verbose")).text, "[+]ping ok\nreadyz check passed\n");
  assert.equal((await server.send("GET", "/version")).body.major, "1");
  assert.match((await server.send("GET", "/metrics")).text, /^apiserver_storage_objects\{resource="namespaces"\} 2$/m);
  assert.ok((await server.send("GET", "/")).body.paths.includes("/apis/apps/v1"));
  assert.equal((await server.send("GET", "/nothing")).status, 404);
  assert.equal((await server.send("POST", "/version", {})).status, 405);
});

test("discovery comes in both forms, the aggregated one with an ETag", async () => {
  assert.deepEqual((await server.send("GET", "/api")).body.versions, ["v1"]);
  const groups = (await server.send("GET", "/apis")).body.groups as {
    name: string;
    preferredVersion: { version: string };
  }[];
  assert.equal(groups.find(({ name }) => name === "autoscaling")?.preferredVersion.version, "v2");
  const apps = (await server.send("GET", "/apis/apps/v1")).body;
  assert.ok(apps.resources.some(({ name }: { name: string }) => name === "deployments/scale"));
  assert.equal((await server.send("GET", "/apis/apps")).body.kind, "APIGroup");
  assert.equal((await server.send("GET", "/apis/apps/v9")).status, 404);
  const accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
  const aggregated = await server.send("GET", "/apis", undefined, { Accept: accept });
  assert.equal(
    aggregated.headers.get("content-type"),
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
  );
  const etag = aggregated.headers.get("etag") ?? "";
  const again = await server.send("GET", "/apis", undefined, { Accept: accept, "If-None-Match": etag });
  assert.deepEqual([again.status, again.text], [304, ""]);
});

test("OpenAPI names every kind and its patches; no reference leads nowhere", async () => {
  const index = (await server.send("GET", "/openapi/v3")).body.paths as {
    [name: string]: { serverRelativeURL: string };
  };
  for (const { serverRelativeURL } of Object.values(index)) {
    const { text, body } = await server.send("GET", serverRelativeURL);
    const schemas = Object.keys(body.components.schemas as object);
    for (const [, name = ""] of text.matchAll(/#\/components\/schemas\/([^"]+)/g))
      assert.ok(schemas.includes(name), `${serverRelativeURL}: ${name}`);
    // Go's clients read and write it again, and what is empty is not written: it has to be the same then.
    assert.doesNotMatch(text, /"(?:parameters|required|properties)":(?:\[\]|\{\})/, serverRelativeURL);
  }
  const apps = (await server.send("GET", "/openapi/v3/apis/apps/v1")).body;
  const patch = apps.paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"].patch;
  assert.deepEqual(patch["x-kubernetes-group-version-kind"], { group: "apps", version: "v1", kind: "Deployment" });
  assert.ok(patch.parameters.some(({ name }: { name: string }) => name === "fieldValidation"));
  assert.equal((await server.send("GET", "/openapi/v2")).body.swagger, "2.0");
  assert.equal((await server.send("GET", "/openapi/v2", undefined, { Accept: "application/cbor" })).status, 406);
});

test("an object is created, read, replaced and deleted", async () => {
  const created = await server.send("POST", configMaps, configMap("crud", { data: { a: "b" } }));
  assert.equal(created.status, 201);
  const { body: read } = await server.send("GET", `${configMaps}/crud`);
  assert.deepEqual(read, created.body);
  const replaced = await server.send("PUT", `${configMaps}/crud`, { ...read, data: { a: "c" } });
  assert.deepEqual([replaced.status, replaced.body.data], [200, { a: "c" }]);
  const stale = await server.send("PUT", `${configMaps}/crud`, read);
  assert.deepEqual([stale.status, stale.body.reason], [409, "Conflict"]);
  const deleted = await server.send("DELETE", `${configMaps}/crud`);
  assert.deepEqual(
    [deleted.status, deleted.body.status, deleted.body.details.uid],
    [200, "Success", read.metadata.uid],
  );
  const gone = await server.send("GET", `${configMaps}/crud`);
  assert.deepEqual(gone.body, {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message: 'configmaps "crud" not found',
    reason: "NotFound",
    details: { name: "crud", kind: "configmaps" },
    code: 404,
  });
});

test("requests that make no sense are refused in words", async () => {
  await server.send("POST", configMaps, configMap("taken"));
  const cases: [method: string, path: string, body: unknown, code: number, message: RegExp][] = [
    ["POST", configMaps, configMap("taken"), 409, /configmaps "taken" already exists/],
    [
      "POST",
      configMaps,
      configMap("x", {}, { namespace: "other" }),
      400,
      /namespace of the provided object does not match/,
    ],
    [
      "POST",
      configMaps,
      { apiVersion: "v1", kind: "Secret", metadata: { name: "x" } },
      400,
      /does not match the expected kind/,
    ],
    ["POST", configMaps, { apiVersion: "v2", kind: "ConfigMap" }, 400, /does not match the expected API version/],
    ["POST", configMaps, { apiVersion: "v1", kind: "ConfigMap" }, 422, /name or generateName is required/],
    ["POST", configMaps, configMap("x", { data: 1 }), 400, /cannot be handled as a ConfigMap/],
    ["POST", configMaps, configMap("x", {}, { resourceVersion: "7" }), 400, /resourceVersion should not be set/],
    ["POST", configMaps, "{", 400, /json parse error/],
    ["POST", configMaps, "", 400, /json parse error: unexpected end/],
    ["POST", configMaps, "null", 422, /name or generateName is required/],
    ["POST", configMaps, "[]", 400, /must be of type ConfigMap.*an object begins with/],
    ["POST", "/api/v1/namespaces/none/configmaps", configMap("x"), 404, /namespaces "none" not found/],
    ["POST", "/api/v1/configmaps", configMap("x"), 405, /does not allow this method/],
    ["PUT", `${configMaps}/none`, configMap("none"), 404, /configmaps "none" not found/],
    ["PUT", `${configMaps}/taken`, configMap("else"), 400, /does not match the name on the URL/],
    ["POST", pods, pod("x", { containers: [] }), 422, /spec.containers: Required value/],
    ["GET", "/api/v1/nothing", undefined, 404, /could not find the requested resource/],
    ["GET", "/api/v1/namespaces/default/nodes", undefined, 404, /could not find the requested resource/],
    ["GET", `${pods}?fieldSelector=spec.foo%3Dx`, undefined, 400, /field label not supported: spec.foo: only/],
    ["GET", `${pods}?labelSelector=a%3D%3D%3D`, undefined, 400, /unable to parse selector/],
    ["GET", `${pods}?resourceVersion=x`, undefined, 400, /must be a whole number/],
    ["GET", `${pods}?resourceVersion=999999999`, undefined, 504, /Too large resource version/],
    ["GET", `${pods}?continue=zzz`, undefined, 400, /continue key is not valid/],
    ["DELETE", `${configMaps}/taken?propagationPolicy=Nothing`, undefined, 422, /Unsupported value/],
    ["DELETE", `${configMaps}/taken`, { preconditions: { uid: "x" } }, 409, /does not match the UID in record/],
    ["DELETE", `${configMaps}/taken`, { apiVersion: "v1", kind: "ConfigMap" }, 400, /is of kind DeleteOptions/],
    ["PUT", configMaps, configMap("taken"), 405, /does not allow this method/],
    ["PUT", `${configMaps}/taken`, { data: {} }, 400, /name must be provided/],
    ["PATCH", configMaps, {}, 405, /does not allow this method/],
    ["GET", `${configMaps}/taken?resourceVersion=x`, undefined, 400, /must be a whole number/],
    ["GET", `${configMaps}?labelSelector=a%3D-b`, undefined, 400, /values\[0\]\[a\]: Invalid value: "-b"/],
    ["GET", `${configMaps}?timeoutSeconds=x`, undefined, 400, /must be a whole number/],
    ["GET", `${configMaps}?sendInitialEvents=true`, undefined, 422, /sendInitialEvents is forbidden for list/],
    [
      "POST",
      `${configMaps}?dryRun=Some`,
      configMap("x"),
      422,
      /^CreateOptions.*Unsupported value: \["Some"\]: supported values: "All"/,
    ],
    [
      "POST",
      `${configMaps}?fieldValidation=Strict`,
      '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"x":1,"data":{"a":"1","a":"2"}}',
      400,
      /strict decoding error: unknown field "x", duplicate field "data.a"$/,
    ],
    ["POST", `${configMaps}?fieldValidation=Some`, configMap("x"), 422, /fieldValidation: Unsupported value: "Some"/],
    ["GET", "/version?timeout=soon", undefined, 400, /invalid timeout specified in the request URL - .*"soon"$/],
    ["DELETE", `${configMaps}/taken?timeout=3`, undefined, 400, /invalid timeout specified/],
    ["GET", "/api/v1/namespaces/%zz", undefined, 400, /path of the request cannot be read/],
  ];
  for (const [method, path, body, code, message] of cases) {
    const answer = await server.send(method, path, body);
    assert.equal(answer.status, code, `${method} ${path}: ${answer.text}`);
    assert.equal(answer.body.code, code);
    assert.match(answer.body.message, message);
  }
});

test("bodies come as YAML too, and answers on request", async () => {
  const yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\ndata: {a: 'b'}\n";
  const created = await server.send("POST", configMaps, yaml, {
    "Content-Type": "application/yaml",
    Accept: "application/yaml",
  });
  assert.equal(created.headers.get("content-type"), "application/yaml");
  assert.match(created.text, /^data:\n {2}a: b$/m);
  const other = await server.send("POST", configMaps, yaml, { "Content-Type": "text/html" });
  assert.equal(other.status, 415);
  assert.equal((await server.send("GET", configMaps, undefined, { Accept: "text/html" })).status, 406);
  // What is never stored has no table; a client that also takes the object gets that.
  const review = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };
  const reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
  const table = "application/json;as=Table;v=v1;g=meta.k8s.io";
  assert.equal((await server.send("POST", reviews, review, { Accept: table })).status, 406);
  assert.notEqual((await server.send("POST", reviews, review, { Accept: `${table},application/json` })).status, 406);
});

test("unknown fields: refused, warned about or dropped, as the request says", async () => {
  const odd = configMap("odd", { foo: 1 });
  const strict = await server.send("POST", `${configMaps}?fieldValidation=Strict`, odd);
  assert.deepEqual([strict.status, /unknown field "foo"/.test(strict.body.message)], [400, true]);
  const warned = await server.send("POST", `${configMaps}?dryRun=All`, odd);
  assert.equal(warned.headers.get("warning"), String.raw`299 - "unknown field \"foo\""`);
  assert.equal(warned.body.foo, undefined);
  const ignored = await server.send("POST", `${configMaps}?dryRun=All&fieldValidation=Ignore`, odd);
  assert.equal(ignored.headers.get("warning"), null);
});

test("a dry run answers and changes nothing", async () => {
  const revision = server.api.revision;
  const created = await server.send("POST", `${configMaps}?dryRun=All`, configMap("dry"));
  assert.deepEqual([created.status, created.body.metadata.resourceVersion], [201, undefined]);
  assert.equal((await server.send("GET", `${configMaps}/dry`)).status, 404);
  assert.equal((await server.send("DELETE", `${configMaps}/yaml?dryRun=All`)).status, 200);
  assert.equal((await server.send("GET", `${configMaps}/yaml`)).status, 200);
  assert.equal(server.api.revision, revision);
});

test("lists: pages, selectors, tables and metadata alone", async () => {
  for (const name of ["l1", "l2", "l3"])
    await server.send("POST", "/api/v1/namespaces/other/configmaps", configMap(name, {}, { labels: { n: name } }));
  const all = "/api/v1/namespaces/other/configmaps";
  const first = (await server.send("GET", `${all}?limit=2`)).body;
  assert.deepEqual([first.items.length, first.metadata.remainingItemCount], [2, 1]);
  const second = (await server.send("GET", `${all}?limit=2&continue=${first.metadata.continue}`)).body;
  assert.deepEqual(
    second.items.map((each: { metadata: { name: string } }) => each.metadata.name),
    ["l3"],
  );
  assert.equal(second.metadata.continue, undefined);
  // Asked for too late: 410, and another token for the rest of the list as it is then.
  const token = JSON.parse(Buffer.from(first.metadata.continue, "base64url").toString()) as { at: number };
  const late = Buffer.from(JSON.stringify({ ...token, at: token.at - 301_000 })).toString("base64url");
  const refused = await server.send("GET", `${all}?limit=2&continue=${late}`);
  assert.deepEqual([refused.status, refused.body.reason], [410, "Expired"]);
  const rest = (await server.send("GET", `${all}?limit=2&continue=${refused.body.metadata.continue}`)).body;
  assert.deepEqual(rest.items, second.items);
  const selected = (await server.send("GET", `${all}?labelSelector=n+in+(l1,l2)&fieldSelector=metadata.name!%3Dl1`))
    .body;
  assert.equal(selected.items.length, 1);
  assert.equal(selected.kind, "ConfigMapList");
  assert.equal(selected.items[0].kind, undefined, "Go's typed lists have no kind in their items");
  const table = (await server.send("GET", all, undefined, { Accept: "application/json;as=Table;v=v1;g=meta.k8s.io" }))
    .body;
  assert.deepEqual(
    table.columnDefinitions.map(({ name }: { name: string }) => name),
    ["Name", "Data", "Age"],
  );
  assert.deepEqual(table.rows[0].cells, ["l1", 0, "0s"]);
  assert.equal(table.rows[0].object.kind, "PartialObjectMetadata");
  const accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";
  const partial = (await server.send("GET", all, undefined, { Accept: accept })).body;
  assert.deepEqual(
    [partial.kind, partial.items[0].kind, partial.items[0].data],
    ["PartialObjectMetadataList", "PartialObjectMetadata", undefined],
  );
});

test("deletion of many: those that the selectors choose", async () => {
  const all = "/api/v1/namespaces/other/configmaps";
  assert.equal((await server.send("DELETE", `${all}?labelSelector=n%3Dl1`)).body.items.length, 1);
  assert.equal((await server.send("GET", all)).body.items.length, 2);
  await server.send("DELETE", all);
  assert.equal((await server.send("GET", all)).body.items.length, 0);
});

test("pods go gracefully: the object answers, then a second deletion ends it", async () => {
  await server.send("POST", pods, pod("grace", { nodeName: "n" }));
  const deleted = await server.send("DELETE", `${pods}/grace`, { gracePeriodSeconds: 5 });
  assert.deepEqual([deleted.body.kind, deleted.body.metadata.deletionGracePeriodSeconds], ["Pod", 5]);
  assert.equal((await server.send("DELETE", `${pods}/grace?gracePeriodSeconds=0`)).status, 200);
  assert.equal((await server.send("GET", `${pods}/grace`)).status, 404);
});

test("a watch begins with what is there, marks its end, and follows selectors", async () => {
  const all = "/api/v1/namespaces/other/secrets";
  const secret = (name: string, labels: object): object => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name, labels },
  });
  await server.send("POST", all, secret("old", { watched: "yes" }));
  const options =
    "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
  const events = watchEvents(`${server.url}${all}?${options}&labelSelector=watched`);
  const next = async (): Promise<string> => {
    const { value } = await events.next();
    if (value === undefined) return "end";
    const { type, object } = value;
    const { name, annotations, labels } = object.metadata as { name?: string; annotations?: object; labels?: object };
    return `${type} ${name ?? JSON.stringify(annotations)}${type === "DELETED" ? ` ${JSON.stringify(labels)}` : ""}`;
  };
  assert.equal(await next(), "ADDED old");
  assert.equal(await next(), 'BOOKMARK {"k8s.io/initial-events-end":"true"}');
  await server.send("POST", all, secret("unseen", {}));
  await server.send("PUT", `${all}/old`, secret("old", { watched: "yes", more: "x" }));
  await server.send("PUT", `${all}/old`, secret("old", {}));
  await server.send("PUT", `${all}/unseen`, secret("unseen", { watched: "yes" }));
  await server.send("DELETE", `${all}/unseen`);
  const seen = [await next(), await next(), await next(), await next()];
  assert.deepEqual(seen, [
    "MODIFIED old",
    // What leaves the selection is shown as it was in it.
    'DELETED old {"watched":"yes","more":"x"}',
    "ADDED unseen",
    'DELETED unseen {"watched":"yes"}',
  ]);
  assert.equal(await next(), "BOOKMARK undefined", "a last bookmark, when its time is over");
  assert.equal(await next(), "end");
});

test("a watch of tables says their columns once, also to who comes later", async () => {
  const all = "/api/v1/namespaces/default/endpoints";
  const endpoints = (name: string): object => ({ apiVersion: "v1", kind: "Endpoints", metadata: { name } });
  const headers = { Accept: "application/json;as=Table;v=v1;g=meta.k8s.io" };
  await server.send("POST", all, endpoints("first"));
  const tables = async (): Promise<() => Promise<string>> => {
    const events = watchEvents(`${server.url}${all}?watch=true&resourceVersion=0&timeoutSeconds=1`, headers);
    return async () => {
      const { value } = await events.next();
      if (value === undefined) return "end";
      const { columnDefinitions, rows } = value.object;
      return `${rows[0].cells[0]} ${columnDefinitions === null ? "as before" : columnDefinitions[0].name}`;
    };
  };
  const one = await tables();
  assert.equal(await one(), "first Name");
  await server.send("POST", all, endpoints("second"));
  assert.equal(await one(), "second as before");
  const two = await tables();
  assert.deepEqual([await two(), await two()].sort(), ["first Name", "second as before"]);
  await server.send("POST", all, endpoints("third"));
  assert.deepEqual([await one(), await two()], ["third as before", "third as before"]);
  assert.deepEqual([await one(), await two()], ["end", "end"]);
});

test("a watch resumes after a revision; what a list saw is not told again", async () => {
  const { body: list } = await server.send("GET", configMaps);
  await server.send("POST", configMaps, configMap("resumed"));
  const events = watchEvents(
    `${server.url}${configMaps}?watch=1&resourceVersion=${list.metadata.resourceVersion}&timeoutSeconds=1`,
  );
  const { value } = await events.next();
  assert.deepEqual([value?.type, value?.object.metadata["name"]], ["ADDED", "resumed"]);
  await events.return(undefined);
});

test("watches that cannot be are refused in a way that clients get over", async () => {
  const refused = async (query: string): Promise<number> =>
    (await server.send("GET", `${configMaps}?watch=true&${query}`)).status;
  assert.equal(await refused("sendInitialEvents=true"), 422);
  assert.equal(await refused("resourceVersionMatch=NotOlderThan"), 422);
  assert.equal(await refused("resourceVersion=99999999"), 504);
});

test("scale is one shape for all that scales", async () => {
  await server.send("POST", deployments, deployment("scaled", { replicas: 2 }));
  const scale = (await server.send("GET", `${deployments}/scaled/scale`)).body;
  assert.deepEqual(
    [scale.kind, scale.spec, scale.status],
    ["Scale", { replicas: 2 }, { replicas: 0, selector: "app=scaled" }],
  );
  const merge = { "Content-Type": "application/merge-patch+json" };
  assert.equal(
    (await server.send("PATCH", `${deployments}/scaled/scale`, { spec: { replicas: 5 } }, merge)).body.spec.replicas,
    5,
  );
  assert.equal(
    (await server.send("PUT", `${deployments}/scaled/scale`, { ...scale, spec: { replicas: 6 } })).status,
    409,
  );
  assert.equal(
    (await server.send("PATCH", `${deployments}/scaled/scale`, { spec: { replicas: -1 } }, merge)).status,
    422,
  );
  assert.equal((await server.send("GET", `${deployments}/scaled`)).body.spec.replicas, 5);
});

test("a Service that is a name for a while keeps its policy, and shows none meanwhile", async () => {
  const path = "/api/v1/namespaces/default/services";
  const spec = { internalTrafficPolicy: "Local", clusterIP: "10.96.7.7", ports: [{ port: 80 }] };
  await server.send("POST", path, { apiVersion: "v1", kind: "Service", metadata: { name: "named" }, spec });
  const patch = async (change: object): Promise<unknown> => {
    const type = { "Content-Type": "application/merge-patch+json" };
    const { body } = await server.send("PATCH", `${path}/named`, { spec: change }, type);
    assert.ok("spec" in body, JSON.stringify(body));
    return body.spec.internalTrafficPolicy;
  };
  const isName = { type: "ExternalName", externalName: "example.com", clusterIP: null, clusterIPs: null };
  const isCluster = { type: "ClusterIP", externalName: null, clusterIP: "10.96.7.7" };
  assert.equal(await patch(isName), undefined);
  assert.equal((await server.send("GET", `${path}/named`)).body.spec.internalTrafficPolicy, undefined);
  const list = (await server.send("GET", path)).body.items as { spec: { internalTrafficPolicy?: string } }[];
  assert.deepEqual(
    list.map((item) => item.spec.internalTrafficPolicy),
    [undefined],
  );
  assert.equal(await patch(isCluster), "Local");
  // Who reads and writes back does not know of it.
  await patch(isName);
  const { body } = await server.send("GET", `${path}/named`);
  const replaced = await server.send("PUT", `${path}/named`, {
    ...body,
    spec: { ...body.spec, ...isCluster, externalName: undefined },
  });
  assert.equal(replaced.body.spec.internalTrafficPolicy, "Cluster");
  await server.send("DELETE", `${path}/named`);
});

test("status has a door of its own", async () => {
  const { body } = await server.send("GET", `${deployments}/scaled`);
  const both = { ...body, spec: { ...body.spec, replicas: 9 }, status: { replicas: 3 } };
  const answer = (await server.send("PUT", `${deployments}/scaled/status`, both)).body;
  assert.deepEqual([answer.spec.replicas, answer.status.replicas], [5, 3]);
  const main = (
    await server.send("PUT", `${deployments}/scaled`, { ...both, metadata: { name: "scaled" }, status: {} })
  ).body;
  assert.deepEqual([main.spec.replicas, main.status.replicas], [9, 3]);
});

test("binding puts a pod on a node, once", async () => {
  await server.send("POST", pods, pod("bound"));
  const binding = {
    apiVersion: "v1",
    kind: "Binding",
    metadata: { name: "bound" },
    target: { kind: "Node", name: "n1" },
  };
  assert.equal((await server.send("POST", `${pods}/bound/binding`, binding)).status, 201);
  const { body } = await server.send("GET", `${pods}/bound`);
  assert.equal(body.spec.nodeName, "n1");
  assert.ok(
    body.status.conditions.some(
      ({ type, status }: { type: string; status: string }) => type === "PodScheduled" && status === "True",
    ),
  );
  assert.equal((await server.send("POST", `${pods}/bound/binding`, binding)).status, 409);
});

test("what has a door of its own does not come through the main one", async () => {
  await server.send("POST", pods, pod("doors"));
  const merge = { "Content-Type": "application/merge-patch+json" };
  for (const spec of [{ nodeName: "n1" }, { ephemeralContainers: [{ name: "d", image: "x" }] }]) {
    const refused = await server.send("PATCH", `${pods}/doors`, { spec }, merge);
    assert.equal(refused.status, 422);
    assert.match(refused.body.message, /spec: Forbidden: pod updates may not change fields other than/);
  }
  assert.equal(
    (await server.send("PATCH", `${pods}/doors`, { spec: { activeDeadlineSeconds: 5 } }, merge)).status,
    200,
  );
});

test("a request's line may be long: a command to run is in it", async () => {
  assert.equal((await server.send("GET", `/version?command=${"a".repeat(200_000)}`)).status, 200);
});

test("questions are read as objects are: null is absent, and a wrong type is told", async () => {
  const own = await startTestServer({
    answers: {
      "serviceaccounts/token": ({ object }) => object,
      "subjectaccessreviews.authorization.k8s.io": ({ object }) => object,
    },
  });
  const accounts = "/api/v1/namespaces/default/serviceaccounts";
  await own.send("POST", accounts, { metadata: { name: "a" } });
  const token = (spec: unknown): Promise<Answered> =>
    own.send("POST", `${accounts}/a/token`, { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec });
  assert.deepEqual((await token({ audiences: null, boundObjectRef: null, expirationSeconds: 600 })).body.spec, {
    expirationSeconds: 600,
  });
  const wrong = await token({ audiences: 5 });
  assert.deepEqual([wrong.status, wrong.body.reason], [400, "BadRequest"]);
  const review = await own.send("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
    spec: { user: "a", resourceAttributes: null, nonResourceAttributes: { path: "/" } },
  });
  assert.deepEqual(review.body.spec, { user: "a", nonResourceAttributes: { path: "/" } });
  assert.deepEqual(own.errors, []);
  own.close();
});

test("bodies have a limit", async () => {
  const large = configMap("large", { data: { a: "x".repeat(4 * 1024 * 1024) } });
  const refused = await server.send("POST", configMaps, large);
  assert.deepEqual([refused.status, refused.body.reason], [413, "RequestEntityTooLarge"]);
});

test("eviction asks the disruption budget", async () => {
  const budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
  const spec = { minAvailable: 1, selector: { matchLabels: { app: "guarded" } } };
  await server.send("POST", budgets, {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: { name: "b" },
    spec,
  });
  for (const name of ["e1", "e2"]) {
    await server.send("POST", pods, pod(name, { nodeName: "n" }, { labels: { app: "guarded" } }));
    const status = { phase: "Running", conditions: [{ type: "Ready", status: "True" }] };
    await server.send(
      "PATCH",
      `${pods}/${name}/status`,
      { status },
      { "Content-Type": "application/merge-patch+json" },
    );
  }
  const evict = (name: string) =>
    server.send("POST", `${pods}/${name}/eviction`, { apiVersion: "policy/v1", kind: "Eviction", metadata: { name } });
  const gone = await evict("e1");
  assert.equal(gone.status, 201, gone.text);
  const refused = await evict("e2");
  assert.deepEqual([refused.status, refused.headers.get("retry-after")], [429, "10"], "nobody has looked at it yet");
  const counted = {
    observedGeneration: 1,
    disruptionsAllowed: 0,
    currentHealthy: 1,
    desiredHealthy: 1,
    expectedPods: 1,
  };
  const merge = { "Content-Type": "application/merge-patch+json" };
  assert.equal((await server.send("PATCH", `${budgets}/b/status`, { status: counted }, merge)).status, 200);
  const again = await evict("e2");
  assert.deepEqual(
    [again.status, again.headers.get("retry-after")],
    [429, null],
    "Go's clients would wait and ask again",
  );
  const reasons = async (name: string): Promise<unknown> =>
    (await server.send("GET", `${pods}/${name}`)).body.status.conditions
      .filter(({ type }: { type: string }) => type === "DisruptionTarget")
      .map(({ status, reason }: { status: string; reason: string }) => [status, reason]);
  assert.deepEqual(await reasons("e1"), [["True", "EvictionByEvictionAPI"]]);
  assert.deepEqual(await reasons("e2"), []);
  const deleteOptions = { preconditions: { uid: "another" } };
  const meant = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name: "e3" }, deleteOptions };
  await server.send("POST", pods, pod("e3", { nodeName: "n" }));
  assert.equal((await server.send("POST", `${pods}/e3/eviction`, meant)).status, 409);
  assert.deepEqual((await server.send("GET", `${pods}/e3`)).body.status.conditions ?? [], []);
  assert.match(refused.body.details.causes[0].message, /needs 1 healthy pods and has 1 currently/);
});

test("ephemeral containers are added by their own door", async () => {
  await server.send("POST", pods, pod("debugged"));
  const patch = { spec: { ephemeralContainers: [{ name: "debug", image: "busybox", targetContainerName: "c" }] } };
  const headers = { "Content-Type": "application/strategic-merge-patch+json" };
  const answer = await server.send("PATCH", `${pods}/debugged/ephemeralcontainers`, patch, headers);
  assert.equal(answer.body.spec.ephemeralContainers[0].name, "debug");
});

test("names are made where a prefix is given, and defaults know them", async () => {
  const created = await server.send("POST", "/api/v1/namespaces", {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { generateName: "e2e-" },
  });
  assert.equal(created.status, 201, created.text);
  const { name, labels } = created.body.metadata;
  assert.match(name, /^e2e-[a-z0-9]{5}$/);
  assert.deepEqual(labels, { "kubernetes.io/metadata.name": name });
});

test("a namespace that goes takes nothing more in, and ends by its finalizers", async () => {
  await server.send("POST", "/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name: "going" } });
  const deleted = await server.send("DELETE", "/api/v1/namespaces/going");
  assert.equal(deleted.body.status.phase, "Terminating");
  const refused = await server.send("POST", "/api/v1/namespaces/going/configmaps", configMap("x"));
  assert.deepEqual([refused.status, /because it is being terminated/.test(refused.body.message)], [403, true]);
  const { body } = await server.send("GET", "/api/v1/namespaces/going");
  await server.send("PUT", "/api/v1/namespaces/going/finalize", { ...body, spec: { finalizers: [] } });
  assert.equal((await server.send("GET", "/api/v1/namespaces/going")).status, 404);
});

test("versions of a kind are one object", async () => {
  const events = "/apis/events.k8s.io/v1/namespaces/default/events";
  const created = await server.send("POST", events, {
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    metadata: { name: "e" },
    regarding: { kind: "Pod", name: "p", namespace: "default" },
    note: "it happened",
    reason: "R",
    action: "A",
    type: "Normal",
    eventTime: "2026-01-31T12:00:00.000000Z",
    reportingController: "x/y",
    reportingInstance: "z",
  });
  assert.equal(created.status, 201, created.text);
  assert.equal(created.body.note, "it happened");
  const core = (await server.send("GET", "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp"))
    .body;
  assert.equal(core.items[0].message, "it happened");
});

test("those who may not are told so", async () => {
  const refusing = await startTestServer({
    authenticate: () => ({ username: "eve", groups: [] }),
    authorize: (_, { verb }) => ({ allowed: verb !== "list", reason: "no" }),
  });
  const { status, body } = await refusing.send("GET", pods);
  assert.equal(status, 403);
  assert.equal(
    body.message,
    'pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "default": no',
  );
  refusing.close();
});
