// A user made by certificate, as people do it: a request is created, approved and signed, and its certificate is a user of the real server,
// with the permissions of its name and groups. Who may ask, approve and sign is asked on the way.

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, request as httpsRequest } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { clusterConfig } from "../../model/cluster.ts";
import { admissionPlugins } from "../api/admission/plugins.ts";
import { openStore } from "../api/sqlite-store.ts";
import { createObjectApi } from "../api/write.ts";
import { startControllers } from "../controllers/start.ts";
import { openAccess } from "./access.ts";
import { binding, role } from "./access.testing.ts";
import { keyText, requestText, testKey, type GivenRequest } from "./pkcs10.testing.ts";
import { requestReading, startApiServer } from "./server.ts";
import { openCertificates, tlsOptions } from "./tls.ts";

const folder = mkdtempSync(join(tmpdir(), "fairlead-requests-"));
const certificates = openCertificates({ folder, names: [], addresses: ["127.0.0.1"] });
const store = openStore({ path: ":memory:" });
const access = openAccess({ store, certificates, domain: "cluster.local" });
const api = createObjectApi({ store, ...admissionPlugins({ askAs: (request) => access.askAs(request) }) });
for (const name of ["default", "kube-system", "kube-public"])
  api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
const running = access.start(api);
const controllers = startControllers({
  api,
  config: clusterConfig({}),
  rootCa: certificates.authority,
  requestAuthority: { ...certificates, authorize: access.authorize },
});
const tls = createServer({ ...requestReading, ...tlsOptions(certificates) });
const errors: unknown[] = [];
const server = startApiServer({ ...running, api, servers: [tls], log: (_, error) => errors.push(error) });

before(() => new Promise<void>((resolve) => void tls.listen(0, "127.0.0.1", resolve)));
after(() => {
  controllers.stop();
  running.stop();
  server.close();
  tls.close();
  tls.closeAllConnections();
  store.close();
  rmSync(folder, { recursive: true });
  assert.deepEqual(errors, []);
});

interface Client {
  readonly cert: string;
  readonly key: string;
}

const admin: Client = { cert: certificates.admin.certificate, key: certificates.admin.key };

async function send(client: Client, method: string, path: string, body?: object): Promise<{ code: number; body: any }> {
  const { port } = tls.address() as AddressInfo;
  const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
  return new Promise((resolve, reject) => {
    httpsRequest(
      {
        host: "127.0.0.1",
        port,
        path,
        method,
        agent: false,
        ca: certificates.authority,
        ...client,
        headers: body === undefined ? {} : { "Content-Type": type },
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("end", () => resolve({ code: response.statusCode ?? 0, body: JSON.parse(text) as unknown }));
      },
    )
      .on("error", reject)
      .end(body === undefined ? "" : JSON.stringify(body));
  });
}

const root = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const client = "kubernetes.io/kube-apiserver-client";

function csr(name: string, given: GivenRequest, spec: object = {}): object {
  return {
    apiVersion: "certificates.k8s.io/v1",
    kind: "CertificateSigningRequest",
    metadata: { name },
    spec: { request: requestText(given), signerName: client, usages: ["client auth"], ...spec },
  };
}

/** What `kubectl certificate approve` and `deny` send. */
async function say(as: Client, name: string, type: "Approved" | "Denied"): Promise<{ code: number; body: any }> {
  const { body } = await send(admin, "GET", `${root}/${name}`);
  const conditions = [...(body.status.conditions ?? []), { type, status: "True", reason: "Test", message: "by hand" }];
  return send(as, "PUT", `${root}/${name}/approval`, { ...body, status: { ...body.status, conditions } });
}

/** Creates, approves, and waits for the answer. */
async function signed(name: string, given: GivenRequest, spec: object = {}): Promise<any> {
  assert.equal((await send(admin, "POST", root, csr(name, given, spec))).code, 201);
  assert.equal((await say(admin, name, "Approved")).code, 200);
  await controllers.idle();
  return (await send(admin, "GET", `${root}/${name}`)).body.status;
}

/** A client with a certificate of its own. */
async function newClient(name: string, given: GivenRequest, spec: object = {}): Promise<Client> {
  const { certificate } = await signed(name, given, spec);
  return { cert: Buffer.from(certificate as string, "base64").toString("utf8"), key: keyText(given.key as never) };
}

const whoami = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };

async function userOf(as: Client): Promise<any> {
  const { code, body } = await send(as, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", whoami);
  return code === 201 ? body.status.userInfo : body;
}

test("who has a signed certificate is its subject, and may do what its name and groups may", async () => {
  for (const verb of ["get", "list"])
    api.create(role(`pods-${verb}`, "default", { verbs: [verb], apiGroups: [""], resources: ["pods"] }));
  api.create(binding("anna", "default", "Role/pods-list", "User/anna"));
  api.create(binding("devs", "default", "Role/pods-get", "Group/devs"));
  await api.flushed();
  for (const type of ["rsa 2048", "P-256", "P-384", "ed25519"] as const) {
    const name = `anna-${type.toLowerCase().replace(" ", "-")}`;
    const anna = await newClient(name, { key: testKey(type), subject: ["O=devs", "O=ops", "CN=anna"] });
    const { username, groups } = await userOf(anna);
    assert.deepEqual([username, groups], ["anna", ["devs", "ops", "system:authenticated"]], type);
    const pods = "/api/v1/namespaces/default/pods";
    assert.equal((await send(anna, "GET", pods)).code, 200);
    assert.equal((await send(anna, "GET", `${pods}/web`)).code, 404);
    const { code, body } = await send(anna, "GET", "/api/v1/namespaces/kube-system/pods");
    assert.equal(code, 403);
    assert.match(body.message, /^pods is forbidden: User "anna" cannot list resource "pods" in API group ""/);
  }
});

test("a name cannot smuggle in another one", async () => {
  const name = "x\nO=system:masters/CN=kubernetes-admin, O=system:masters\0";
  const { username, groups } = await userOf(
    await newClient("smuggler", { key: testKey("P-256"), subject: [`CN=${name}`] }),
  );
  assert.deepEqual([username, groups], [name, ["system:authenticated"]]);
});

test("a request says for how long, within limits; what was signed stays", async () => {
  const hours = async (name: string, spec: object): Promise<number> => {
    const { certificate } = await signed(name, {}, spec);
    const { validFrom, validTo } = new X509Certificate(Buffer.from(certificate as string, "base64"));
    return (Date.parse(validTo) - Date.parse(validFrom)) / 3_600_000;
  };
  assert.equal(await hours("a-year", {}), 365 * 24);
  assert.equal(await hours("an-hour", { expirationSeconds: 3600 }), 1 + 5 / 60);
  assert.equal(await hours("a-day", { expirationSeconds: 24 * 3600 }), 24);
  assert.equal(await hours("two-years", { expirationSeconds: 2 * 365 * 24 * 3600 }), 365 * 24);
  const { code, body } = await send(admin, "PATCH", `${root}/a-day/status`, { status: { certificate: null } });
  assert.equal(code, 422);
  assert.match(body.message, /status.certificate: Forbidden: updates may not modify existing certificate content/);
});

test("what is denied, not approved, or for another signer is left alone; what cannot be signed has failed", async () => {
  await send(admin, "POST", root, csr("denied", {}));
  await say(admin, "denied", "Denied");
  assert.equal((await say(admin, "denied", "Approved")).code, 422);
  await send(admin, "POST", root, csr("waiting", {}));
  assert.deepEqual(Object.keys(await signed("foreign", {}, { signerName: "example.org/own" })), ["conditions"]);
  for (const name of ["denied", "waiting"])
    assert.equal((await send(admin, "GET", `${root}/${name}`)).body.status.certificate, undefined);
  const { body } = await send(admin, "GET", "/api/v1/events?fieldSelector=reason=NotImplemented");
  assert.deepEqual(
    body.items.map((event: any) => [event.involvedObject.name, event.message]),
    [["foreign", "nobody here signs for this spec.signerName: the request waits for a signer of its own"]],
  );
  const failed = await signed("failed", {}, { usages: ["server auth"] });
  const [approved, { lastUpdateTime, lastTransitionTime, ...condition }] = failed.conditions;
  assert.equal(approved.type, "Approved");
  assert.deepEqual(condition, {
    type: "Failed",
    status: "True",
    reason: "SignerValidationFailure",
    message: "invalid usage for client certificate: server auth",
  });
  assert.ok(lastUpdateTime !== undefined && lastTransitionTime !== undefined && !("certificate" in failed));
});

test("a request that is none is not created, and nobody asks for administrators", async () => {
  const refused = async (object: object): Promise<string> => {
    const { code, body } = await send(admin, "POST", root, object);
    return `${code} ${body.message}`;
  };
  const wrong = await refused(csr("wrong", {}, { request: "eA==", usages: [], expirationSeconds: 60 }));
  assert.match(wrong, /^422 .*PEM block type must be CERTIFICATE REQUEST/);
  assert.match(wrong, /spec.usages: Required value, spec.expirationSeconds: Invalid value: 60/);
  const masters = csr("masters", { subject: ["O=system:masters", "CN=x"] });
  assert.match(
    await refused(masters),
    /^403 .*use of kubernetes.io\/kube-apiserver-client signer with system:masters group/,
  );
  assert.match(
    await refused(csr("legacy", {}, { signerName: "kubernetes.io/legacy-unknown" })),
    /^422 .*legacy signerName/,
  );
  const bytes = Buffer.from(requestText({}), "base64").toString().split("\n");
  bytes[1] = "A".repeat(64);
  const request = Buffer.from(bytes.join("\n")).toString("base64");
  assert.match(await refused(csr("damaged", {}, { request })), /^422 .*spec.request: Invalid value/);
});

test("who may approve may not sign, and neither for other signers", async () => {
  const rule = (verbs: readonly string[], resourceNames: readonly string[]): object => ({
    verbs,
    apiGroups: ["certificates.k8s.io"],
    resources: ["signers"],
    resourceNames,
  });
  const resources = ["certificatesigningrequests/approval", "certificatesigningrequests/status"];
  const writes = { verbs: ["update", "patch"], apiGroups: ["certificates.k8s.io"], resources };
  api.create(role("approver", undefined, writes, rule(["approve"], ["example.org/*"])));
  api.create(binding("approver", undefined, "ClusterRole/approver", "User/bert"));
  await api.flushed();
  const bert = await newClient("bert", { key: testKey("P-256"), subject: ["CN=bert"] });
  await send(admin, "POST", root, csr("ours", {}, { signerName: "example.org/own" }));
  await send(admin, "POST", root, csr("theirs", {}));
  assert.match(
    (await say(bert, "theirs", "Approved")).body.message,
    /"theirs" is forbidden: user not permitted to approve requests with signerName "kubernetes.io\/kube-apiserver-client"$/,
  );
  assert.equal((await say(bert, "ours", "Approved")).code, 200);
  const certificate = Buffer.from(certificates.authority).toString("base64");
  const sign = (as: Client): Promise<{ code: number; body: any }> =>
    send(as, "PATCH", `${root}/ours/status`, { status: { certificate } });
  assert.match(
    (await sign(bert)).body.message,
    /user not permitted to sign requests with signerName "example.org\/own"$/,
  );
  const junk = Buffer.from("junk").toString("base64");
  const { body } = await send(admin, "PATCH", `${root}/ours/status`, { status: { certificate: junk } });
  assert.match(body.message, /status.certificate: Invalid value: "<certificate data>": must contain at least one/);
  assert.equal((await sign(admin)).code, 200);
  // Nobody approves by the other door, or takes it back.
  const late = { status: { conditions: [{ type: "Approved", status: "True" }] } };
  assert.match((await send(admin, "PATCH", `${root}/theirs/status`, late)).body.message, /may not add a condition/);
  assert.match(
    (await send(admin, "PATCH", `${root}/ours/approval`, { status: { conditions: [] } })).body.message,
    /may not remove a condition of type "Approved"/,
  );
});

test("a node renews its own certificate, and asks for no other's", async () => {
  const signerName = "kubernetes.io/kube-apiserver-client-kubelet";
  const usages = ["digital signature", "client auth"];
  const subject = ["O=system:nodes", "CN=system:node:n1"];
  const first = certificates.issueClient({ user: "system:node:n1", groups: ["system:nodes"] });
  const n1 = { cert: first.certificate, key: first.key };
  const selfNode = "ClusterRole/system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
  const key = testKey("P-256");
  const made = await send(n1, "POST", root, csr("renewed", { key, subject }, { signerName, usages }));
  assert.equal(made.code, 201, JSON.stringify(made.body));
  await controllers.idle();
  const statusOf = async (name: string): Promise<any> => (await send(admin, "GET", `${root}/${name}`)).body.status;
  assert.deepEqual(await statusOf("renewed"), {});
  api.create(binding("nodes", undefined, selfNode, "Group/system:nodes"));
  await api.flushed();
  // Asked again after a while, or as soon as somebody touches the request.
  await send(admin, "PATCH", `${root}/renewed`, { metadata: { labels: { a: "b" } } });
  await controllers.idle();
  const { certificate, conditions } = await statusOf("renewed");
  assert.equal(conditions[0].message, "Auto approving self kubelet client certificate after SubjectAccessReview.");
  const cert = Buffer.from(certificate as string, "base64").toString("utf8");
  assert.equal((await userOf({ cert, key: keyText(key) })).username, "system:node:n1");
  const other = csr("other", { subject: ["O=system:nodes", "CN=system:node:n2"] }, { signerName, usages });
  const { code, body } = await send(n1, "POST", root, other);
  assert.equal(code, 403);
  assert.match(body.message, /can only create a node CSR with CN=system:node:n1$/);
  // Who may for nodes gets it for any of them.
  assert.equal((await send(admin, "POST", root, other)).code, 201);
  await controllers.idle();
  assert.match((await statusOf("other")).conditions[0].message, /^Auto approving kubelet client certificate after/);
});

test("a kubelet's certificate for serving is no user's", async () => {
  const key = testKey("P-256");
  const given = { key, subject: ["O=system:nodes", "CN=system:node:n1"], names: ["DNS:n1"] };
  const usages = ["digital signature", "key encipherment", "server auth"];
  const serving = await newClient("serving", given, { signerName: "kubernetes.io/kubelet-serving", usages });
  assert.ok(new X509Certificate(serving.cert).checkHost("n1") !== undefined);
  assert.equal((await send(serving, "GET", "/api/v1/namespaces/default/pods")).code, 401);
});
