// What no client should send, over TLS and as somebody whom all is allowed: objects with wrong parts at every level, patches of all
// types, queries, headers and bytes that are no HTTP. Every answer says that the request is at fault, and the server goes on.
//
// The seed is fixed: a run that fails does so again.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, createServer, request as httpsRequest } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { connect } from "node:tls";

import * as fc from "fast-check";

import { testAccess } from "./access.testing.ts";
import { hostile, nested } from "./hostile-texts.testing.ts";
import { soundObjects as kinds } from "./sound-objects.testing.ts";
import { startApiServer, type ApiServer } from "./server.ts";
import { bodyTypes } from "./server.testing.ts";
import { createPodStreams } from "./streams/pod-streams.ts";
import { openCertificates } from "./tls.ts";

const seed = 20_260_131;
const folder = mkdtempSync(join(tmpdir(), "fairlead-hostile-"));
const certificates = openCertificates({ folder, names: [], addresses: ["127.0.0.1"] });
const lab = testAccess();
const errors: string[] = [];
const agent = new Agent({
  keepAlive: true,
  ca: certificates.authority,
  cert: certificates.admin.certificate,
  key: certificates.admin.key,
});
const server = createServer({
  cert: certificates.server.certificate,
  key: certificates.server.key,
  ca: certificates.authority,
  requestCert: true,
  rejectUnauthorized: false,
});
let started: ApiServer;
let port = 0;

before(async () => {
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  ({ port } = server.address() as AddressInfo);
  started = startApiServer({
    api: lab.api,
    servers: [server],
    authenticate: lab.authenticate,
    authorize: lab.authorize,
    guard: lab.guard,
    answers: lab.answers,
    document: lab.document,
    clock: () => lab.clock.now,
    streams: createPodStreams({ api: lab.api, nodeOf: () => undefined }),
    log: (message, error) => errors.push(`${message}: ${error instanceof Error ? error.stack : String(error)}`),
  });
  for (const { path, object } of kinds) {
    const { status, text } = await send("POST", path, JSON.stringify(object), { "Content-Type": "application/json" });
    assert.equal(status, 201, text);
  }
});
after(() => {
  started.close();
  lab.stop();
  agent.destroy();
  server.close();
  server.closeAllConnections();
  rmSync(folder, { recursive: true, force: true });
});

interface Answered {
  readonly status: number;
  readonly text: string;
  /** The headers of this name, each by itself. */
  readonly warnings: readonly string[];
}

/** Sends a request as the administrator. A watch is closed once it has begun. */
function send(
  method: string,
  path: string,
  body: string | Buffer = "",
  headers: { readonly [name: string]: string } = {},
): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const length = Buffer.byteLength(body);
    const request = httpsRequest(
      {
        host: "127.0.0.1",
        port,
        agent,
        method,
        path,
        headers: { ...headers, ...(length === 0 ? {} : { "Content-Length": length }) },
      },
      (response) => {
        let text = "";
        const status = response.statusCode ?? 0;
        const warnings = response.headersDistinct["warning"] ?? [];
        if (/[?&]watch=/.test(path) && status === 200) {
          response.destroy();
          resolve({ status, text, warnings });
          return;
        }
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("end", () => resolve({ status, text, warnings }));
        response.on("error", reject);
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

/** Sends bytes on a connection of their own. Resolves with what came until the server closed, or the first answer was there. */
function sendRaw(bytes: Buffer): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect({
      host: "127.0.0.1",
      port,
      ca: certificates.authority,
      cert: certificates.admin.certificate,
      key: certificates.admin.key,
    });
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      if (text.includes("\r\n\r\n")) socket.destroy();
    });
    socket.on("error", () => undefined).on("close", () => resolve(text));
    socket.write(bytes);
  });
}

/**
 * Is an answer one that a client's fault may have? 501 and 504 are said of what is not served and of revisions to come, 502 and 503 of
 * proxies to what has no address or does not run.
 */
function checkFault({ status, text }: Answered, what: string): void {
  const short = what.slice(0, 2000);
  assert.deepEqual(errors.splice(0), [], short);
  const isNowhere = (status === 502 || status === 503) && what.includes("/proxy");
  assert.ok(
    status < 500 || status === 501 || status === 504 || isNowhere,
    `${short}\n${status} ${text.slice(0, 1000)}`,
  );
}

/** The place of a part: field names and indexes. */
type Place = readonly (string | number)[];

function placesIn(value: unknown, at: Place = []): readonly Place[] {
  if (typeof value !== "object" || value === null) return [at];
  const parts = Array.isArray(value)
    ? value.map((part, index): readonly [number, unknown] => [index, part])
    : Object.entries(value);
  return [at, ...parts.flatMap(([key, part]) => placesIn(part, [...at, key]))];
}

/** A value's JSON with the part at a place exchanged for other text. */
function withPart(value: unknown, [key, ...rest]: Place, text: string): string {
  if (key === undefined) return text;
  if (Array.isArray(value))
    return `[${value.map((part, index) => (index === key ? withPart(part, rest, text) : JSON.stringify(part))).join()}]`;
  const fields = Object.entries(value as object).map(
    ([name, part]) => `${JSON.stringify(name)}:${name === key ? withPart(part, rest, text) : JSON.stringify(part)}`,
  );
  return `{${fields.join()}}`;
}

/** Only the way to a place, with a text there. */
function onlyPart(place: Place, text: string): string {
  return place.reduceRight<string>(
    (inner, key) => (typeof key === "number" ? `[${inner}]` : `{${JSON.stringify(key)}:${inner}}`),
    text,
  );
}

interface Part {
  readonly path: string;
  readonly object: { readonly [field: string]: unknown };
  readonly place: Place;
  readonly text: string;
}

const fields = ["managedFields", "ownerReferences", "finalizers", "labels", "annotations", "resourceVersion", "uid"];

const part: fc.Arbitrary<Part> = fc
  .tuple(fc.constantFrom(...kinds), fc.nat(), hostile)
  .map(([{ path, object }, at, text]) => {
    const more: readonly Place[] = [...fields, "generateName", "deletionTimestamp", "creationTimestamp", "name"].map(
      (field) => ["metadata", field],
    );
    const places = [...placesIn(object), ...more, ["status"], ["spec", "__proto__"], ["metadata", "constructor"]];
    return { path, object, place: places[at % places.length] ?? [], text };
  });

const nameOf = ({ path }: Part): string => (path.endsWith("definitions") ? "things.example.com" : "a");

const jsonQuery = fc.constantFrom("", "?dryRun=All", "?fieldValidation=Strict", "?fieldManager=m&force=true");

test("objects that miss a part, or have an empty one", async () => {
  for (const { path, object } of kinds) {
    const places = placesIn(object).filter(([first, second]) => first !== undefined && second !== "name");
    for (const place of places)
      for (const text of ["null", "{}", "[]", "[{}]", '""', '[""]', '{"":{}}']) {
        const body = withPart({ ...object, metadata: { name: "new" } }, place, text);
        const answer = await send("POST", `${path}?dryRun=All`, body, { "Content-Type": "application/json" });
        checkFault(answer, `POST ${path} ${body}`);
      }
  }
});

test("objects with a wrong part, created and replaced", async () => {
  const subresource = fc.constantFrom("", "", "", "/status", "/scale");
  await fc.assert(
    fc.asyncProperty(part, fc.boolean(), subresource, jsonQuery, async (each, isNew, sub, query) => {
      const body = withPart(each.object, each.place, each.text);
      const url = `${isNew ? each.path : `${each.path}/${nameOf(each)}${sub}`}${query}`;
      const answer = await send(isNew ? "POST" : "PUT", url, body, { "Content-Type": "application/json" });
      checkFault(answer, `${isNew ? "POST" : "PUT"} ${url} ${body}`);
    }),
    { seed, numRuns: 500 },
  );
});

const operation = fc.constantFrom("add", "remove", "replace", "move", "copy", "test", "no");
const pointer = ([...place]: Place): string =>
  place.map((key) => `/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");

const patch = fc
  .tuple(
    part,
    part,
    operation,
    fc.constantFrom("", "/-", "/-1", "/99999999", "/~2", "/__proto__/x", "/constructor/prototype"),
  )
  .chain(([one, other, op, behind]) =>
    fc
      .constantFrom(
        {
          type: "application/json-patch+json",
          body: `[{"op":"${op}","path":${JSON.stringify(pointer(one.place) + behind)},"from":${JSON.stringify(pointer(other.place))},"value":${one.text}}]`,
        },
        { type: "application/json-patch+json", body: `[${one.text}]` },
        { type: "application/json-patch+json", body: one.text },
        { type: "application/merge-patch+json", body: onlyPart(one.place, one.text) },
        { type: "application/strategic-merge-patch+json", body: onlyPart(one.place, one.text) },
        { type: "application/strategic-merge-patch+json", body: withPart(one.object, one.place, one.text) },
        { type: "application/apply-patch+yaml", body: withPart(one.object, one.place, one.text) },
        { type: "application/apply-patch+yaml", body: onlyPart(one.place, one.text) },
        { type: "application/apply-patch+yaml", body: "a: &a [*a, *a]\nb: !!js/function x\n<<: *a" },
        { type: "text/html", body: one.text },
      )
      .map((sent) => ({ ...one, ...sent })),
  );

test("patches of every type, of every kind", async () => {
  const subresource = fc.constantFrom("", "", "", "/status", "/scale");
  await fc.assert(
    fc.asyncProperty(patch, subresource, jsonQuery, async (each, sub, query) => {
      const isApply = each.type.startsWith("application/apply");
      const url = `${each.path}/${nameOf(each)}${sub}${query === "" && isApply ? "?fieldManager=m" : query}`;
      const answer = await send("PATCH", url, each.body, { "Content-Type": each.type });
      checkFault(answer, `PATCH ${url} ${each.type} ${each.body}`);
    }),
    { seed, numRuns: 500 },
  );
});

const bodies: readonly (readonly [what: string, body: string | Buffer])[] = [
  ["broken", '{"apiVersion":"v1","kind":'],
  ["an array", "[]"],
  ["a number", "1"],
  ["null", "null"],
  ["arrays in arrays", nested(200_000)],
  ["objects in objects", `${'{"a":'.repeat(200_000)}1${"}".repeat(200_000)}`],
  ["a deep part", `{"metadata":{"name":"x"},"data":${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}}`],
  ["deep annotations", `{"metadata":{"name":"x","annotations":${nested(100_000)}}}`],
  ["deep and unclosed", "[".repeat(200_000)],
  ["deep YAML", `a: ${nested(5000)}`],
  [
    "YAML that grows",
    `a: &a [x,x,x,x,x,x,x,x,x]\n${["b", "c", "d", "e", "f", "g", "h"].map((name, at) => `${name}: &${name} [${`*${"abcdefg"[at]},`.repeat(9)}]`).join("\n")}`,
  ],
  ["YAML with tags", "!!binary x: !<tag:yaml.org,2002:js/function> y\n? [a]\n: {b: }"],
  ["not UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0xc0, 0x80, 0x22, 0x3a, 0x31, 0x7d])],
  ["zeros", Buffer.alloc(1000)],
  ["protobuf of nothing", Buffer.from("k8s\0")],
  ["protobuf cut off", Buffer.from("k8s\0\x0a\x7f\x0a\x02v1", "latin1")],
  ["protobuf of endless length", Buffer.from("k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "latin1")],
  [
    "protobuf of wrong wire types",
    Buffer.from("k8s\0\x0a\x0c\x0a\x02v1\x12\x06ConfigMap\x12\x04\x0f\x0b\x0c\x0d", "latin1"),
  ],
  ["protobuf of groups", Buffer.concat([Buffer.from("k8s\0\x12", "latin1"), Buffer.alloc(5000, 0x0b)])],
  ["too large", Buffer.alloc(3 * 1024 * 1024 + 1, 0x20)],
];
const sentTypes = [...bodyTypes, "application/cbor", "multipart/form-data; boundary=", ";;;=,"];

test("bodies that are no objects, of every content type", async () => {
  for (const [what, body] of bodies)
    for (const type of sentTypes)
      for (const path of ["/api/v1/namespaces/default/configmaps", "/apis/example.com/v1/namespaces/default/things"]) {
        const isPatch = type.includes("patch");
        const url = isPatch ? `${path}/a?fieldManager=m` : path;
        const answer = await send(isPatch ? "PATCH" : "POST", url, body, { "Content-Type": type });
        checkFault(answer, `${what} as ${type} to ${url}`);
        if (!isPatch) assert.ok(answer.status >= 400, `${what} as ${type} to ${url}: ${answer.text.slice(0, 500)}`);
      }
});

test("protobuf bodies with bytes changed", async () => {
  // TypeMeta {v1, ConfigMap}; metadata {name: p}, data {k: abc}
  const sound = Buffer.from(
    "k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0f\x0a\x03\x0a\x01p\x12\x08\x0a\x01k\x12\x03abc",
    "latin1",
  );
  const change = fc.tuple(fc.integer({ min: 4, max: sound.length - 1 }), fc.integer({ min: 0, max: 255 }));
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat(sound.length), async (changes, cut) => {
      const bytes = Buffer.from(sound);
      for (const [at, byte] of changes) bytes[at] = byte;
      const body = cut % 3 === 0 ? bytes.subarray(0, cut) : bytes;
      const type = { "Content-Type": "application/vnd.kubernetes.protobuf" };
      const answer = await send("POST", "/api/v1/namespaces/default/configmaps", body, type);
      checkFault(answer, body.toString("hex"));
    }),
    { seed, numRuns: 300 },
  );
});

const values = [
  "",
  "0",
  "-1",
  "1",
  "abc",
  "1e9",
  "NaN",
  "99999999999999999999999",
  "9007199254740991",
  "%00",
  "%ff",
  "%",
  "true",

  "a in (",
  "a in (b,,c)",
  "!",
  "a==b==c",
  ",,,",
  "a notin ()",
  "a>1",
  "constructor=x",
  "__proto__=x",
  "metadata.name=",

  "metadata.name=a,metadata.name=b",
  "spec.nodeName!=x",
  "x".repeat(9000),
  "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTUsInN0YXJ0IjoiIn0",

  "bnVsbA",
  "MQ",
  "eyJydiI6MSwic3RhcnQiOiJ6IiwiYXQiOi0xfQ",
  "eyJydiI6MSwic3RhcnQiOiJcdTAwMDAiLCJhdCI6MWU5OX0",
  "All",
  "None",
  "NotOlderThan",
  "Exact",
  "Strict",
  "Orphan",
  "../..",
  "\u0000",
  "ü",
  "🙂",
];
const parameters = [
  "limit",
  "continue",
  "resourceVersion",
  "resourceVersionMatch",
  "watch",
  "fieldSelector",
  "labelSelector",
  "timeoutSeconds",
  "allowWatchBookmarks",
  "sendInitialEvents",
  "includeObject",
  "dryRun",
  "fieldManager",
  "fieldValidation",
  "propagationPolicy",
  "gracePeriodSeconds",
  "orphanDependents",
  "force",
  "pretty",
  "timeout",

  "__proto__",
  "constructor",
  "tailLines",
  "sinceSeconds",
  "sinceTime",
  "container",
  "command",
  "ports",
  "stdin",
  "path",
];
const query = fc
  .array(fc.tuple(fc.constantFrom(...parameters), fc.constantFrom(...values)), { minLength: 1, maxLength: 4 })
  .map((pairs) =>
    pairs.map(([name, value]) => `${name}=${value.startsWith("%") ? value : encodeURIComponent(value)}`).join("&"),
  );
const accept = fc.constantFrom(
  "application/json",
  "application/yaml",
  "*/*",
  "",
  "text/html",
  "application/vnd.kubernetes.protobuf",
  ";q=x,,/",
  "application/json;as=Table;v=v1;g=meta.k8s.io",
  "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
  "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io",
  "application/json;as=constructor;v=__proto__;g=meta.k8s.io",
);

const thing = "/apis/example.com/v1/namespaces/default/things/a";
const json = { "Content-Type": "application/json" };

test("copies of copies in a JSON patch, and pointers without end", async () => {
  const type = { "Content-Type": "application/json-patch+json" };
  const copies = Array.from({ length: 64 }, (_, at) => ({ op: "copy", from: "/spec/any", path: `/spec/any/${at}` }));
  const bomb = await send("PATCH", thing, JSON.stringify(copies), type);
  checkFault(bomb, "64 copies");
  assert.equal(bomb.status, 422, bomb.text);
  const far = JSON.stringify([{ op: "add", path: `/spec/any${"/a".repeat(500_000)}`, value: 1 }]);
  checkFault(await send("PATCH", thing, far, type), "a far pointer");
});

test("values as deep as is allowed are stored by every way of writing; deeper ones are refused", async () => {
  const deep = (levels: number): string => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`;
  const ways = [
    ["POST", "", "application/json"],
    ["PATCH", "", "application/merge-patch+json"],
    ["PATCH", "?fieldManager=m&force=true", "application/apply-patch+yaml"],
  ] as const;
  for (const [levels, isTaken] of [
    [497, true],
    [600, false],
    [50_000, false],
  ] as const)
    for (const [verb, asked, type] of ways) {
      const body = `{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"${verb === "POST" ? "deep" : "a"}"},"spec":{"any":${deep(levels)}}}`;
      const path = verb === "POST" ? thing.slice(0, -2) : thing;
      const answer = await send(verb, path + asked, body, { "Content-Type": type });
      checkFault(answer, `${verb} ${type} ${levels}`);
      assert.equal(
        answer.status,
        isTaken ? (verb === "POST" ? 201 : 200) : 400,
        `${verb} ${type} ${levels}: ${answer.text.slice(0, 300)}`,
      );
    }
  for (const form of ["application/yaml", "application/json;as=Table;v=v1;g=meta.k8s.io"])
    checkFault(await send("GET", thing, "", { Accept: form }), `reading as ${form}`);
  assert.equal((await send("DELETE", thing)).status, 200);
  assert.equal((await send("POST", thing.slice(0, -2), JSON.stringify(kinds.at(-1)?.object), json)).status, 201);
});

test("what kubectl remembers in an annotation may be anything", async () => {
  const path = "/api/v1/namespaces/default/configmaps/a";
  const texts = [
    nested(60_000),
    '{"metadata":[]}',
    '{"metadata":{"labels":5},"data":[1]}',
    "null",
    "{",
    '{"metadata":{}}',
  ];
  for (const text of texts) {
    const annotations = { "kubectl.kubernetes.io/last-applied-configuration": text };
    const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a", annotations }, data: { k: "w" } };
    checkFault(await send("PUT", path, JSON.stringify(object), json), `annotation ${text}`);
    const type = { "Content-Type": "application/apply-patch+yaml" };
    checkFault(await send("PATCH", `${path}?fieldManager=kubectl`, '{"data":{"k":"v"}}', type), `apply over ${text}`);
  }
});

test("protobuf messages in messages until the stack would be used up", async () => {
  const varint = (number: number): number[] =>
    number < 128 ? [number] : [(number & 127) | 128, ...varint(number >>> 7)];
  const wrapped = (field: number, inner: Buffer): Buffer =>
    Buffer.concat([Buffer.from([...varint((field << 3) | 2), ...varint(inner.length)]), inner]);
  // CustomResourceDefinition.spec.versions.schema.openAPIV3Schema, and a `not` in it, and so on.
  let schema: Buffer = Buffer.alloc(0);
  for (let level = 0; level < 20_000; level++) schema = wrapped(28, schema);
  const raw = wrapped(2, wrapped(7, wrapped(4, wrapped(1, schema))));
  const body = Buffer.concat([Buffer.from("k8s\0"), wrapped(2, raw)]);
  const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
  const answer = await send("POST", path, body, { "Content-Type": "application/vnd.kubernetes.protobuf" });
  checkFault(answer, "schemas in schemas");
  assert.equal(answer.status, 400);
  assert.match(answer.text, /exceeded max depth/);
});

test("hundreds of unknown fields are told in one header of some length", async () => {
  const data = Object.fromEntries(Array.from({ length: 3000 }, (_, at) => [`unknown${at}`, {}]));
  const path = "/api/v1/namespaces/default/configmaps?fieldValidation=Warn";
  const answer = await send("POST", path, JSON.stringify({ metadata: { name: "many" }, ...data }), json);
  assert.equal(answer.status, 201, answer.text);
  const [warning = "", ...more] = answer.warnings;
  assert.deepEqual(more, []);
  assert.ok(warning.startsWith('299 - "unknown field \\"unknown0\\"", 299 - '), warning.slice(0, 100));
  assert.ok(warning.length < 10_000);
});

test("queries that cannot be meant: lists, watches, reads and deletions", async () => {
  const suffix = fc.constantFrom(
    "",
    "",
    "/a",
    "/a/status",
    "/a/scale",
    "/a/log",
    "/a/exec",
    "/a/proxy/x",
    "/a/portforward",
  );
  const method = fc.constantFrom("GET", "GET", "GET", "HEAD", "DELETE");
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...kinds),
      suffix,
      method,
      query,
      accept,
      async (kind, behind, verb, asked, form) => {
        const isRemoval = verb === "DELETE";
        const url = `${kind.path}${isRemoval && behind === "" ? "/a" : behind}?${asked}${isRemoval ? "&dryRun=All" : ""}`;
        checkFault(await send(verb, url, "", { Accept: form }), `${verb} ${url} ${form}`);
      },
    ),
    { seed, numRuns: 400 },
  );
});

const segment = fc.constantFrom(
  "api",
  "apis",
  "v1",
  "apps",
  "namespaces",
  "default",
  "pods",
  "services",
  "things",
  "example.com",
  "a",
  "watch",
  "..",
  ".",
  "",
  "%2e%2e",
  "%2f",
  "%2F..%2F",
  "%00",
  "%",
  "%zz",
  "%ff",
  "%252e",
  "status",
  "proxy",
  "log",
  "scale",
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "openapi",
  "v2",
  "v3",
  "healthz",
  "metrics",
  "version",

  "https:a:80",
  "a:b:c:d",
  ":",
  "x".repeat(5000),
  "*",
  "%E2%80%AE",
  "a;b",
  "a'b\"",
  "$ref",
  "{}",
  "token",
  "binding",
);
const method = fc.constantFrom("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND");

test("paths that lead nowhere, or try to", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(segment, { maxLength: 9 }), method, accept, async (segments, verb, form) => {
      const path = `/${segments.join("/")}`;
      // Nobody means to delete a namespace and all in it.
      const body = verb === "GET" || verb === "HEAD" || verb === "TRACE" ? "" : '{"dryRun":["All"]}';
      const url = verb === "DELETE" ? `${path}?dryRun=All` : path;
      checkFault(await send(verb, url, body, { Accept: form }), `${verb} ${url}`);
    }),
    { seed, numRuns: 400 },
  );
});

test("headers that cannot be meant", async () => {
  const headers = fc.constantFrom<{ readonly [name: string]: string }>(
    { Authorization: "Bearer" },
    { Authorization: "Bearer a.b.c" },
    { Authorization: "Bearer eyJhbGciOiJub25lIn0.e30." },
    { Authorization: `Bearer ${"x".repeat(8000)}` },
    { Authorization: "Basic Og==" },
    { "Impersonate-User": "" },
    { "Impersonate-Group": "system:masters" },
    { "Impersonate-User": "x", "Impersonate-Extra-%zz": "y" },
    { "Impersonate-User": "system:serviceaccount:a:b:c:d" },
    { "Impersonate-Uid": "x" },
    { "If-None-Match": '"' },
    { "User-Agent": "\u0001".replace("\u0001", "%00/") },
    { "Content-Type": "application/json;charset=utf-7" },
    { "Content-Encoding": "gzip" },
    { "Accept-Encoding": "gzip;q=x, *;q=-1" },
    { Upgrade: "websocket", Connection: "Upgrade" },
    { Upgrade: "SPDY/3.1", Connection: "Upgrade" },
    { Upgrade: "h2c", Connection: "Upgrade, HTTP2-Settings", "HTTP2-Settings": "x" },
    { Upgrade: "websocket", Connection: "Upgrade", "Sec-WebSocket-Version": "99", "Sec-WebSocket-Key": "x" },
    { Range: "bytes=-1" },
    { "X-Forwarded-For": "::" },
    { Expect: "200-maybe" },
  );
  const path = fc.constantFrom(
    "/api/v1/pods",
    "/api/v1/namespaces/default/pods/a/exec?command=x",
    "/openapi/v2",
    "/openapi/v3",
    "/apis",
    "/api/v1/namespaces/default/pods/a/portforward",
    "/api/v1/namespaces/default/pods/a/attach?stdin=1",
    "/",

    "/api/v1/namespaces/default/services/a/proxy/",
    "/api/v1/nodes/a/proxy/",
    "/api/v1/namespaces/default/configmaps",
  );
  await fc.assert(
    fc.asyncProperty(path, headers, fc.constantFrom("GET", "POST"), async (where, given, verb) => {
      const answer = await send(verb, where, verb === "POST" ? "{}" : "", given);
      checkFault(answer, `${verb} ${where} ${JSON.stringify(given)}`);
    }),
    { seed, numRuns: 300 },
  );
});

test("bytes that are no HTTP end their own connection only", async () => {
  const head = "Host: a\r\n";
  const requests = [
    "\0\0\0\0\r\n\r\n",
    "GET\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    `GET /api/v1/namespaces/\0/pods HTTP/1.1\r\n${head}\r\n`,
    `GET /../../etc/passwd HTTP/1.1\r\n${head}\r\n`,
    `GET http://elsewhere.example/api/v1/pods HTTP/1.1\r\n${head}\r\n`,
    `GET * HTTP/1.1\r\n${head}\r\n`,
    `OPTIONS * HTTP/1.1\r\n${head}\r\n`,
    `CONNECT a:443 HTTP/1.1\r\n${head}\r\n`,
    `GET /${"a".repeat(100_000)} HTTP/1.1\r\n${head}\r\n`,
    `GET / HTTP/1.1\r\n${head}X: ${"a".repeat(100_000)}\r\n\r\n`,
    `GET / HTTP/1.1\r\n${head}${"X: y\r\n".repeat(3000)}\r\n`,
    `POST /api/v1/namespaces HTTP/1.1\r\n${head}Content-Length: -1\r\n\r\n`,
    `POST /api/v1/namespaces HTTP/1.1\r\n${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `POST /api/v1/namespaces HTTP/1.1\r\n${head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n`,
    `POST /api/v1/namespaces HTTP/1.1\r\n${head}Content-Length: 2\r\n\r\n{}GARBAGE\r\n\r\n`,
    `GET /api/v1/pods?watch=1&x=\xff HTTP/1.1\r\n${head}\r\n`,
  ];
  for (const text of requests) {
    const answer = await sendRaw(Buffer.from(text, "latin1"));
    assert.doesNotMatch(answer, /^HTTP\/1\.1 5(?!05)/, text.slice(0, 200));
    assert.deepEqual(errors.splice(0), [], text.slice(0, 200));
  }
});

test("after all that: sound requests are answered, and no object has got a field from elsewhere", async () => {
  assert.equal((await send("GET", "/readyz")).text, "ok");
  for (const { path } of kinds) assert.equal((await send("GET", path)).status, 200, path);
  assert.equal(
    (await send("POST", "/api/v1/namespaces/other/configmaps", '{"metadata":{"name":"sound"}}')).status,
    201,
  );
  assert.deepEqual(Object.keys(Object.prototype), []);
  assert.equal(({} as { x?: unknown }).x, undefined);
});
