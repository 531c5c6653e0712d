import assert from "node:assert/strict";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { issueCertificate } from "../../apiserver/tls-certificate.ts";
import type { Streams } from "../../apiserver/hooks.ts";
import { startTestServer, type Answered, type TestServer } from "../../apiserver/server.testing.ts";
import { controllerActor } from "../../actors.ts";
import { customDefinition } from "../custom-definition.testing.ts";
import { AdmissionPending } from "./pending.ts";
import { admissionPlugins } from "./plugins.ts";

interface Review {
  readonly apiVersion: string;
  readonly kind: string;
  readonly request: {
    readonly uid: string;
    readonly name: string;
    readonly operation: string;
    readonly dryRun: boolean;
    readonly object: {
      readonly metadata?: { readonly name: string; readonly labels?: object; readonly uid?: string };
    } | null;
  };
}

let server: TestServer;
let hook: Server;
let url = "";
let caBundle = "";
const reviews: { readonly path: string; readonly review: Review }[] = [];

/** By the name of the object: what the webhook answers besides `allowed: true`, or a whole body. */
const answers: { readonly [name: string]: object | string } = {
  deny: { allowed: false, status: { code: 403, reason: "Forbidden", message: "no way" } },
  plain: { allowed: false },
  stranger: { uid: "x" },
  patchy: { patch: "W10=", patchType: "JSONPatch" },
  nothing: "{}",
};

before(async () => {
  const day = 86_400_000;
  const { certificate, key } = issueCertificate({
    subject: { commonName: "hook" },
    use: "server",
    addresses: ["127.0.0.1"],
    notBefore: Date.now() - day,
    notAfter: Date.now() + day,
  });
  caBundle = Buffer.from(certificate).toString("base64");
  hook = createServer({ key, cert: certificate }, (request, response) => {
    let text = "";
    request.on("data", (chunk: Buffer) => (text += chunk.toString()));
    request.on("end", () => {
      const review = JSON.parse(text) as Review;
      const { pathname } = new URL(request.url ?? "", "https://hook");
      reviews.push({ path: request.url ?? "", review });
      const { uid, object } = review.request;
      const patch = [
        ...(object?.metadata?.labels === undefined ? [{ op: "add", path: "/metadata/labels", value: {} }] : []),
        { op: "add", path: "/metadata/labels/hook", value: "was-here" },
        ...(object?.metadata?.name === "junk" ? [{ op: "add", path: "/junk", value: 1 }] : []),
      ];
      const mutation = {
        patchType: "JSONPatch",
        patch: Buffer.from(JSON.stringify(patch)).toString("base64"),
        warnings: ["mutated"],
      };
      const own = pathname === "/mutate" ? mutation : answers[review.request.name];
      response.setHeader("content-type", "application/json");
      if (typeof own === "string") response.end(own);
      else response.end(JSON.stringify({ ...review, request: undefined, response: { uid, allowed: true, ...own } }));
    });
  });
  await new Promise<void>((resolve) => hook.listen(0, "127.0.0.1", resolve));
  url = `https://127.0.0.1:${(hook.address() as AddressInfo).port}`;
  const streams: Streams = {
    respond: (_stream, _request, response) => void response.end("open"),
    upgrade: () => undefined,
  };
  server = await startTestServer({ plugins: admissionPlugins(), streams });
});
after(() => {
  assert.deepEqual(server.errors, []);
  server.close();
  hook.close();
  hook.closeAllConnections();
});

const group = "/apis/admissionregistration.k8s.io/v1";

async function configure(
  kind: "Mutating" | "Validating",
  name: string,
  more: object = {},
): Promise<() => Promise<void>> {
  const resource = `${group}/${kind.toLowerCase()}webhookconfigurations`;
  const webhook = {
    name: `${name}.example.com`,
    admissionReviewVersions: ["v1"],
    sideEffects: "None",
    clientConfig: { url: `${url}/${kind === "Mutating" ? "mutate" : "validate"}`, caBundle },
    rules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["*"], resources: ["configmaps"] }],
    namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "default" } },
    ...more,
  };
  const made = await server.send("POST", resource, {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: `${kind}WebhookConfiguration`,
    metadata: { name },
    webhooks: [webhook],
  });
  assert.equal(made.status, 201, made.text);
  return async () => {
    assert.equal((await server.send("DELETE", `${resource}/${name}`)).status, 200);
  };
}

function configMap(metadata: object, options: { place?: string; query?: string } = {}): Promise<Answered> {
  const { place = "default", query = "" } = options;
  const body = { apiVersion: "v1", kind: "ConfigMap", metadata };
  return server.send("POST", `/api/v1/namespaces/${place}/configmaps${query}`, body);
}

test("what a webhook makes of an object is stored, what another refuses is not", async () => {
  const forget = [await configure("Mutating", "m"), await configure("Validating", "v")];
  const { status, body, headers } = await configMap({ name: "ok" });
  assert.equal(status, 201, body.message);
  assert.deepEqual(body.metadata.labels, { hook: "was-here" });
  assert.match(headers.get("warning") ?? "", /mutated/);
  // The object that was judged is the one that is stored.
  const [mutated, validated] = reviews;
  assert.equal(mutated?.path, "/mutate?timeout=10s");
  assert.equal(validated?.review.request.object?.metadata?.uid, body.metadata.uid);
  assert.deepEqual(validated?.review.request.object?.metadata?.labels, { hook: "was-here" });
  const said: readonly (readonly [string, number, string])[] = [
    ["deny", 403, 'admission webhook "v.example.com" denied the request: no way'],
    ["plain", 400, 'admission webhook "v.example.com" denied the request without explanation'],
    [
      "patchy",
      500,
      'Internal error occurred: failed calling webhook "v.example.com": received invalid webhook response: validating webhook may not return response.patch',
    ],
    [
      "nothing",
      500,
      'Internal error occurred: failed calling webhook "v.example.com": received invalid webhook response: webhook response was absent',
    ],
  ];
  for (const [name, code, message] of said) {
    const answer = await configMap({ name });
    assert.deepEqual([answer.status, answer.body.message], [code, message]);
  }
  assert.match((await configMap({ name: "stranger" })).body.message, /expected response.uid="[-0-9a-f]{36}", got "x"$/);
  assert.equal((await configMap({ name: "deny" }, { place: "other" })).status, 201);
  for (const each of forget) await each();
});

test("what a webhook adds to a custom resource and its schema does not know goes before the next one sees it", async () => {
  const crd = customDefinition("Thing");
  assert.equal((await server.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)).status, 201);
  const rules = [{ apiGroups: ["example.com"], apiVersions: ["v1"], operations: ["*"], resources: ["things"] }];
  const forget = [await configure("Mutating", "m", { rules }), await configure("Validating", "v", { rules })];
  const thing = { apiVersion: "example.com/v1", kind: "Thing", metadata: { name: "junk" } };
  const { status, body } = await server.send("POST", "/apis/example.com/v1/namespaces/default/things", thing);
  assert.deepEqual([status, body.junk, body.metadata.labels], [201, undefined, { hook: "was-here" }]);
  const seen = reviews.at(-1)?.review.request.object as { junk?: unknown } | null | undefined;
  assert.equal(seen?.junk, undefined);
  for (const each of forget) await each();
});

test("names that are made up are the ones that were judged; a patch is judged as a whole", async () => {
  const forget = await configure("Validating", "names");
  reviews.length = 0;
  const { status, body } = await configMap({ generateName: "made-" });
  assert.equal(status, 201);
  assert.deepEqual(
    reviews.map(({ review }) => review.request.object?.metadata?.name),
    [body.metadata.name],
  );
  const patched = await server.send(
    "PATCH",
    `/api/v1/namespaces/default/configmaps/${body.metadata.name}`,
    { metadata: { labels: { a: "b" } } },
    { "Content-Type": "application/merge-patch+json" },
  );
  assert.equal(patched.status, 200);
  assert.deepEqual(reviews.at(-1)?.review.request.object?.metadata?.labels, { a: "b" });
  assert.equal(
    (await server.send("DELETE", `/api/v1/namespaces/default/configmaps/${body.metadata.name}`)).status,
    200,
  );
  assert.deepEqual([reviews.at(-1)?.review.request.operation, reviews.at(-1)?.review.request.object], ["DELETE", null]);
  await forget();
});

test("who cannot be reached refuses, or is left out; conditions and dry runs", async () => {
  const gone = { clientConfig: { url: "https://127.0.0.1:1/", caBundle } };
  const strict = await configure("Validating", "strict", gone);
  const { status, body } = await configMap({ name: "x" });
  assert.equal(status, 500);
  assert.match(
    body.message,
    /^Internal error occurred: failed calling webhook "strict.example.com": failed to call webhook: Post "https:\/\/127.0.0.1:1\/\?timeout=10s": /,
  );
  await strict();
  const lax = await configure("Validating", "lax", { ...gone, failurePolicy: "Ignore" });
  assert.equal((await configMap({ name: "x" })).status, 201);
  await lax();
  const conditional = await configure("Validating", "conditional", {
    ...gone,
    matchConditions: [{ name: "others", expression: "object.metadata.name != 'free'" }],
  });
  assert.equal((await configMap({ name: "free" })).status, 201);
  await conditional();
  const dry = await configure("Mutating", "dry", { sideEffects: "NoneOnDryRun" });
  const rehearsed = await configMap({ name: "rehearsed" }, { query: "?dryRun=All" });
  assert.deepEqual(rehearsed.body.metadata.labels, { hook: "was-here" });
  assert.equal(reviews.at(-1)?.review.request.dryRun, true);
  assert.equal((await server.send("GET", "/api/v1/namespaces/default/configmaps/rehearsed")).status, 404);
  await dry();
});

test("a controller's write waits for the webhook, and is found again", async () => {
  const forget = await configure("Mutating", "waits");
  const actor = controllerActor("some-controller");
  const write = (): unknown =>
    server.api.within(actor, () =>
      server.api.create({
        apiVersion: "v1",
        kind: "ConfigMap",
        metadata: { name: "", generateName: "c-", namespace: "default" },
      }),
    );
  for (let round = 0; round < 2; round++) {
    let waits: AdmissionPending | undefined;
    try {
      write();
    } catch (error) {
      assert(error instanceof AdmissionPending);
      waits = error;
    }
    await waits?.settled;
    const made = write() as {
      readonly metadata: { readonly labels: object; readonly managedFields: readonly { manager: string }[] };
    };
    assert.deepEqual(made.metadata.labels, { hook: "was-here" });
    assert.deepEqual(
      made.metadata.managedFields.map(({ manager }) => manager),
      ["kube-controller-manager"],
    );
  }
  await forget();
});

test("configurations that cannot be asked are refused", async () => {
  const { status, body } = await server.send("POST", `${group}/validatingwebhookconfigurations`, {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingWebhookConfiguration",
    metadata: { name: "bad" },
    webhooks: [
      {
        name: "bad",
        admissionReviewVersions: ["v7"],
        clientConfig: { url: "http://u@127.0.0.1/?x=1" },
        timeoutSeconds: 99,
        rules: [],
      },
    ],
  });
  assert.equal(status, 422);
  assert.deepEqual(
    body.details.causes.map(({ field, message }: { field: string; message: string }) => `${field}: ${message}`),
    [
      'webhooks[0].name: Invalid value: "bad": should be a domain with at least three segments separated by dots',
      "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
      "webhooks[0].timeoutSeconds: Invalid value: 99: the timeout value must be between 1 and 30 seconds",
      "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
      'webhooks[0].clientConfig.url: Invalid value: "u": user information is not permitted in the URL',
      'webhooks[0].clientConfig.url: Invalid value: "x=1": query parameters are not permitted in the URL',
      'webhooks[0].admissionReviewVersions: Invalid value: ["v7"]: must include at least one of v1, v1beta1',
    ],
  );
});

test("streams are asked about, too, by what they lead to; logs are only read", async () => {
  for (const name of ["deny", "ok"])
    server.api.create({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: "default" },
      spec: { containers: [{ name: "c", image: "x" }] },
    });
  const rule = { apiGroups: [""], apiVersions: ["v1"], operations: ["CONNECT"], resources: ["pods/*"] };
  const forget = [
    await configure("Mutating", "cm", { rules: [rule] }),
    await configure("Validating", "cv", { rules: [rule] }),
  ];
  reviews.length = 0;
  const pods = "/api/v1/namespaces/default/pods";
  const refused = await server.send("POST", `${pods}/deny/attach?stdin=true&tty=1&container=c`);
  assert.equal(refused.status, 403);
  assert.equal(refused.body.message, 'admission webhook "cv.example.com" denied the request: no way');
  const [asked] = reviews;
  assert.ok(asked);
  const { uid: _, userInfo: __, ...review } = asked.review.request as unknown as Record<string, unknown>;
  const resource = { group: "", version: "v1", resource: "pods" };
  const kind = { group: "", version: "v1", kind: "PodAttachOptions" };
  assert.deepEqual(review, {
    kind,
    resource,
    subResource: "attach",
    requestKind: kind,
    requestResource: resource,
    requestSubResource: "attach",
    name: "deny",
    namespace: "default",
    operation: "CONNECT",
    dryRun: false,
    options: null,
    object: { apiVersion: "v1", kind: "PodAttachOptions", stdin: true, tty: true, container: "c" },
    oldObject: null,
  });
  assert.equal((await server.send("GET", `${pods}/deny/log`)).text, "open");
  assert.equal((await server.send("POST", `${pods}/ok/exec?command=a&command=b`)).text, "open");
  assert.deepEqual(reviews.at(-1)?.review.request.object, {
    apiVersion: "v1",
    kind: "PodExecOptions",
    command: ["a", "b"],
  });
  for (const each of forget) await each();
  assert.equal((await server.send("POST", `${pods}/deny/attach`)).text, "open");
});

test("a policy refuses streams", async () => {
  const apiVersion = "admissionregistration.k8s.io/v1";
  const rule = { apiGroups: [""], apiVersions: ["v1"], operations: ["CONNECT"], resources: ["pods/exec"] };
  const objects = [
    {
      kind: "ValidatingAdmissionPolicy",
      spec: {
        matchConstraints: { resourceRules: [rule] },
        validations: [{ expression: "!('sh' in object.command)", message: "no shells" }],
      },
    },
    { kind: "ValidatingAdmissionPolicyBinding", spec: { policyName: "shells", validationActions: ["Deny"] } },
  ];
  for (const object of objects) server.api.create({ apiVersion, metadata: { name: "shells" }, ...object });
  const exec = "/api/v1/namespaces/default/pods/ok/exec?command=";
  const { status, body } = await server.send("POST", `${exec}sh`);
  assert.equal(status, 422, body?.message);
  assert.match(body.message, /denied request: no shells/);
  assert.equal((await server.send("POST", `${exec}true`)).text, "open");
  for (const { kind } of objects)
    await server.send(
      "DELETE",
      `${group}/${kind === objects[0]?.kind ? "validatingadmissionpolicies" : "validatingadmissionpolicybindings"}/shells`,
    );
});
