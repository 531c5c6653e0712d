// Whatever is sent, the server answers with something that is not its own failure, and goes on.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { customDefinition } from "../api/custom-definition.testing.ts";
import { bodyTypes, startTestServer } from "./server.testing.ts";

const contentTypes = [...bodyTypes, "text/plain"];

const definition = customDefinition("Thing", {
  schema: {
    openAPIV3Schema: {
      type: "object",
      properties: { spec: { type: "object", properties: { a: { type: "array", items: { type: "integer" } } } } },
    },
  },
});

const resource = fc.constantFrom(
  ["v1", "Pod", "api/v1/namespaces/default/pods"],
  ["v1", "Service", "api/v1/namespaces/default/services"],
  ["v1", "ConfigMap", "api/v1/namespaces/default/configmaps"],
  ["v1", "Secret", "api/v1/namespaces/default/secrets"],
  ["v1", "Namespace", "api/v1/namespaces"],
  ["v1", "Node", "api/v1/nodes"],
  ["apps/v1", "Deployment", "apis/apps/v1/namespaces/default/deployments"],
  ["batch/v1", "Job", "apis/batch/v1/namespaces/default/jobs"],
  ["networking.k8s.io/v1", "NetworkPolicy", "apis/networking.k8s.io/v1/namespaces/default/networkpolicies"],
  ["autoscaling/v1", "HorizontalPodAutoscaler", "apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"],
  ["events.k8s.io/v1", "Event", "apis/events.k8s.io/v1/namespaces/default/events"],
  ["gateway.networking.k8s.io/v1", "HTTPRoute", "apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"],
  ["apiextensions.k8s.io/v1", "CustomResourceDefinition", "apis/apiextensions.k8s.io/v1/customresourcedefinitions"],
  ["example.com/v1", "Thing", "apis/example.com/v1/namespaces/default/things"],
);

const names = ["a", "b", "things.example.com", "default"];
const subresources = [
  "",
  "",
  "",
  "/status",
  "/scale",
  "/binding",
  "/eviction",
  "/finalize",
  "/ephemeralcontainers",
  "/resize",
  "/token",
  "/log",
  "/no",
];

const word = fc.constantFrom(
  ..."metadata name namespace labels annotations finalizers ownerReferences managedFields resourceVersion uid spec status replicas selector template containers image ports port rules versions names schema openAPIV3Schema properties type data stringData metrics op path value add remove $patch delete fieldsV1 manager operation target deleteOptions __proto__ constructor".split(
    " ",
  ),
);
const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small", maxDepth: 5 },
    fc.constantFrom<unknown>("a", "default", "", null, true, 0, -1, 1.5, 80, "Apply", "50%", "\0", "ü"),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.array(fc.tuple(word, tie("value")), { maxLength: 4 }).map((entries) => Object.fromEntries(entries) as unknown),
  ),
})).value;

const query = fc.constantFrom(
  "",
  "?dryRun=All",
  "?fieldManager=x&force=true",
  "?fieldManager=x",
  "?limit=1&continue=abc",
  "?labelSelector=a%20in%20(",
  "?fieldSelector=metadata.name%3Da",
  "?resourceVersion=1&resourceVersionMatch=Exact",
  "?timeoutSeconds=x&watch=1",
  "?gracePeriodSeconds=-1",
  "?propagationPolicy=Orphan",
  "?fieldValidation=Strict",
);

const request = fc.record({
  resource,
  name: fc.option(fc.constantFrom(...names), { nil: undefined }),
  subresource: fc.constantFrom(...subresources),
  method: fc.constantFrom("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"),
  query,
  type: fc.constantFrom(...contentTypes),
  body: fc.oneof(json, json, fc.string({ maxLength: 40 })),
  /** Is the body an object of the kind, with random parts? */
  isTyped: fc.boolean(),
});

test("random requests never give a 5xx that is ours, nor end the server", async () => {
  const server = await startTestServer();
  await server.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition);
  await fc.assert(
    fc.asyncProperty(request, async (each) => {
      const [apiVersion = "", kind = "", path = ""] = each.resource;
      const { method, name, body } = each;
      const isLong = each.query.includes("watch=1") && method === "GET";
      const url = `/${path}${name === undefined ? "" : `/${name}${each.subresource}`}${isLong ? "" : each.query}`;
      const parts = typeof body === "object" && body !== null && !Array.isArray(body) ? body : { spec: body };
      const generated = each.type === "text/plain" ? { generateName: "g-" } : { name: name ?? "a" };
      const metadata = { ...generated, ...("metadata" in parts ? (parts.metadata as object | null) : {}) };
      const sent = each.isTyped ? { ...parts, apiVersion, kind, metadata } : body;
      const hasBody = method !== "GET" && method !== "HEAD";
      const text = typeof sent === "string" ? sent : JSON.stringify(sent);
      const answer = await server.send(
        method,
        url,
        hasBody ? text : undefined,
        hasBody ? { "Content-Type": each.type } : {},
      );
      assert.ok(
        answer.status < 500 || answer.status === 501 || answer.status === 504,
        `${method} ${url} ${text}: ${answer.text}`,
      );
    }),
    { numRuns: 1500 },
  );
  assert.deepEqual(server.errors, []);
  assert.equal((await server.send("GET", "/healthz")).text, "ok");
  server.close();
});
