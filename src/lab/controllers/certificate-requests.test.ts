// Requests for certificates as the controller sees them: what each signer signs, when approval is asked for again, and when requests go.

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { CertificateSigningRequest } from "../../kube/certificate-request.ts";
import type { Authorize } from "../apiserver/hooks.ts";
import { readCertificateRequest } from "../apiserver/pkcs10.ts";
import { pem, requestBytes, requestText, type GivenRequest } from "../apiserver/pkcs10.testing.ts";
import { openCertificates } from "../apiserver/tls.ts";
import { signerRules } from "./certificate-signers.ts";
import { testCluster, type TestCluster } from "./cluster.testing.ts";
import { certificateSigningRequests } from "./resources.ts";

const folder = mkdtempSync(join(tmpdir(), "fairlead-requests-"));
after(() => rmSync(folder, { recursive: true }));
const start = Date.parse("2026-01-01T00:00:00Z");
const certificates = openCertificates({ folder, names: [], addresses: [], clock: () => start });

const client = "kubernetes.io/kube-apiserver-client";
const kubeletClient = "kubernetes.io/kube-apiserver-client-kubelet";
const kubeletServing = "kubernetes.io/kubelet-serving";
const hour = 3_600_000;

async function cluster(authorize: Authorize = () => ({ allowed: false }), notAfter?: number): Promise<TestCluster> {
  const { issuer } = certificates;
  return testCluster({
    nodes: 0,
    enabled: (name) => name === "certificates",
    requestAuthority: { issuer, notAfter: notAfter ?? certificates.notAfter, authorize },
  });
}

function request(name: string, spec: object = {}, given: GivenRequest = {}): CertificateSigningRequest {
  return {
    apiVersion: "certificates.k8s.io/v1",
    kind: "CertificateSigningRequest",
    metadata: { name },
    spec: { request: requestText(given), signerName: client, usages: ["client auth"], ...spec },
  };
}

function say(lab: TestCluster, name: string, type: string): void {
  const object = lab.must(certificateSigningRequests, name);
  const conditions = [...(object.status?.conditions ?? []), { type, status: "True" }];
  lab.api.updateStatus({ ...object, status: { ...object.status, conditions } }, { subresource: "approval" });
}

test("each signer signs what it is for", () => {
  const problem = (signerName: string, usages: string, given: GivenRequest): string => {
    const read = readCertificateRequest(Buffer.from(pem(requestBytes(given))));
    return signerRules[signerName]?.(read, usages.split(", ")) ?? "signed";
  };
  const node = ["O=system:nodes", "CN=system:node:n1"];
  const names = ["DNS:n1"];
  const cases: readonly (readonly [string, string, GivenRequest, string])[] = [
    [client, "client auth", {}, "signed"],
    [client, "client auth, key encipherment, digital signature", { names }, "signed"],
    [client, "digital signature", {}, "missing required usage for client certificate: client auth"],
    [client, "client auth, server auth", {}, "invalid usage for client certificate: server auth"],
    [kubeletClient, "client auth, digital signature", { subject: node }, "signed"],
    [kubeletClient, "client auth, digital signature, key encipherment", { subject: node }, "signed"],
    [
      kubeletClient,
      "client auth",
      { subject: node },
      "usages did not match [client auth digital signature key encipherment]",
    ],
    [kubeletClient, "client auth, digital signature", {}, "subject organization is not system:nodes"],
    [
      kubeletClient,
      "client auth, digital signature",
      { subject: ["O=system:nodes", "O=b", "CN=system:node:n1"] },
      "subject organization is not system:nodes",
    ],
    [
      kubeletClient,
      "client auth, digital signature",
      { subject: ["O=system:nodes", "CN=n1"] },
      "subject common name does not begin with system:node:",
    ],
    [kubeletClient, "client auth, digital signature", { subject: node, names }, "DNS subjectAltNames are not allowed"],
    [
      kubeletClient,
      "client auth, digital signature",
      { subject: node, names: ["IP:0a000001"] },
      "IP subjectAltNames are not allowed",
    ],
    [kubeletServing, "server auth, digital signature", { subject: node, names }, "signed"],
    [kubeletServing, "server auth, digital signature", { subject: node, names: ["IP:0a000001"] }, "signed"],
    [kubeletServing, "server auth, digital signature", { subject: node }, "DNS or IP subjectAltName is required"],
    [
      kubeletServing,
      "server auth, digital signature",
      { subject: node, names: ["DNS:a", "URI:a:b"] },
      "URI subjectAltNames are not allowed",
    ],
    [
      kubeletServing,
      "client auth, digital signature",
      { subject: node, names },
      "usages did not match [digital signature key encipherment server auth]",
    ],
    ["kubernetes.io/legacy-unknown", "cert sign", {}, "signed"],
  ];
  for (const [signerName, usages, given, expected] of cases)
    assert.equal(problem(signerName, usages, given), expected, `${signerName} ${usages} ${JSON.stringify(given)}`);
});

test("a certificate does not outlast its authority, and is not given by one that has ended", async () => {
  const lab = await cluster(undefined, start + 3 * hour);
  lab.create(request("anna"));
  say(lab, "anna", "Approved");
  await lab.idle();
  const { certificate = "" } = lab.must(certificateSigningRequests, "anna").status ?? {};
  assert.equal(Date.parse(new X509Certificate(Buffer.from(certificate, "base64")).validTo), start + 3 * hour);
  await lab.pass(4 * hour);
  lab.create(request("bert"));
  say(lab, "bert", "Approved");
  await lab.idle();
  assert.equal(lab.must(certificateSigningRequests, "bert").status?.certificate, undefined);
  assert.match(String(lab.failures[0]?.error), /the authority's own has run out at 2026-01-01T03:00:00Z/);
  lab.close();
});

test("requests go: an hour after their answer, a day after none, and with what was signed", async () => {
  const lab = await cluster();
  const own = { signerName: "example.org/own" };
  lab.create(
    ...["signed", "denied", "waiting"].map((name) => request(name)),
    request("short", { expirationSeconds: 600 }),
    request("failed", { usages: ["server auth"] }),
    request("unsigned", own),
  );
  for (const name of ["signed", "short", "failed", "unsigned"]) say(lab, name, "Approved");
  say(lab, "denied", "Denied");
  await lab.idle();
  const names = (): string =>
    lab
      .list(certificateSigningRequests)
      .map(({ metadata }) => metadata.name)
      .join(" ");
  assert.equal(names(), "denied failed short signed unsigned waiting");
  await lab.pass(11 * 60_000);
  assert.equal(names(), "denied failed signed unsigned waiting");
  await lab.pass(50 * 60_000);
  assert.equal(names(), "unsigned waiting");
  await lab.restart();
  await lab.pass(22.9 * hour);
  assert.equal(names(), "unsigned waiting");
  await lab.pass(hour);
  assert.equal(names(), "");
  lab.close();
});

test("a request from before requests were looked at has failed, and can still be changed", async () => {
  const lab = await cluster();
  const junk = Buffer.from("junk").toString("base64");
  lab.create(request("old", { request: junk }), request("nodes", { request: junk, signerName: kubeletClient }));
  say(lab, "old", "Approved");
  await lab.idle();
  const [, failed] = lab.must(certificateSigningRequests, "old").status?.conditions ?? [];
  assert.deepEqual(
    [failed?.type, failed?.reason, failed?.message],
    ["Failed", "SignerValidationFailure", "PEM block type must be CERTIFICATE REQUEST"],
  );
  assert.equal(lab.must(certificateSigningRequests, "nodes").status?.conditions, undefined);
  lab.edit(certificateSigningRequests, "old", (object) => ({
    ...object,
    metadata: { ...object.metadata, labels: { a: "b" } },
  }));
  assert.deepEqual(lab.must(certificateSigningRequests, "old").metadata.labels, { a: "b" });
  assert.deepEqual(lab.failures, []);
  lab.close();
});

test("approval that nobody may have yet is asked for again, of what is a node's alone", async () => {
  const asked: string[] = [];
  let isAllowed = false;
  const lab = await cluster((user, target) => {
    asked.push(`${user.username} ${target.verb} ${target.resource}/${target.subresource}`);
    return { allowed: isAllowed && target.subresource === "nodeclient" };
  });
  const usages = ["digital signature", "client auth"];
  const subject = ["O=system:nodes", "CN=system:node:n1"];
  lab.create(
    request("node", { signerName: kubeletClient, usages }, { subject }),
    request("nobody", { signerName: kubeletClient, usages }),
    request("serving", { signerName: kubeletServing, usages }, { subject }),
    request("anna"),
  );
  await lab.idle();
  const first = asked.splice(0);
  assert.deepEqual(
    new Set(first.map((text) => text.replace(/^\S+ /, ""))),
    new Set(["create certificatesigningrequests/nodeclient"]),
  );
  await lab.pass(1000);
  assert.ok(asked.length > 0 && asked.length <= 3, String(asked.length));
  isAllowed = true;
  await lab.pass(60_000);
  const conditions = (name: string): readonly object[] =>
    lab.must(certificateSigningRequests, name).status?.conditions ?? [];
  assert.equal(conditions("node").length, 1);
  assert.notEqual(lab.must(certificateSigningRequests, "node").status?.certificate, undefined);
  for (const name of ["nobody", "serving", "anna"]) assert.deepEqual(conditions(name), [], name);
  assert.deepEqual(lab.failures, []);
  lab.close();
});
