// The lab's certificates: what OpenSSL makes of them, and what a later start keeps.

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, get } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { openCertificates, serviceNames } from "./tls.ts";

const folder = mkdtempSync(join(tmpdir(), "fairlead-tls-"));
after(() => rmSync(folder, { recursive: true, force: true }));
let folders = 0;
const fresh = (): string => join(folder, String(folders++));
const cluster = { domain: "lab.example", serviceCidrs: ["10.96.0.0/16", "fd00:10:96::/112"] };
const options = (where: string): Parameters<typeof openCertificates>[0] => ({
  folder: where,
  ...serviceNames(cluster),
});

test("the server's certificate names everything the API server is called", () => {
  const certificate = new X509Certificate(openCertificates(options(fresh())).server.certificate);
  for (const name of ["localhost", "kubernetes", "kubernetes.default.svc", "kubernetes.default.svc.lab.example"])
    assert.equal(certificate.checkHost(name), name);
  for (const address of ["127.0.0.1", "::1", "10.96.0.1", "fd00:10:96::1"])
    assert.equal(certificate.checkIP(address), address);
  assert.equal(certificate.checkHost("example.org"), undefined);
  assert.deepEqual(certificate.keyUsage, ["1.3.6.1.5.5.7.3.1"]);
});

test("TLS both ways: the authority vouches for server and client, and the subject carries user and groups", async () => {
  const certificates = openCertificates(options(fresh()));
  const client = certificates.issueClient({ user: "system:node:node-1", groups: ["system:nodes", "Käse, O=x"] });
  const server = createServer(
    {
      cert: certificates.server.certificate,
      key: certificates.server.key,
      ca: certificates.authority,
      requestCert: true,
      rejectUnauthorized: true,
    },
    (request, response) => response.end(JSON.stringify((request.socket as TLSSocket).getPeerCertificate().subject)),
  );
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const body = await new Promise<string>((resolve, reject) => {
    get(
      `https://127.0.0.1:${port}/`,
      { ca: certificates.authority, cert: client.certificate, key: client.key, agent: false },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("end", () => resolve(text));
      },
    ).on("error", reject);
  });
  server.close();
  assert.deepEqual(JSON.parse(body), { CN: "system:node:node-1", O: ["system:nodes", "Käse, O=x"] });
});

test("everything is its owner's only, and a second start changes nothing", () => {
  const where = fresh();
  const first = openCertificates(options(where));
  assert.equal(statSync(where).mode & 0o777, 0o700);
  for (const name of readdirSync(where)) assert.equal(statSync(join(where, name)).mode & 0o777, 0o600, name);
  const contents = (): object =>
    Object.fromEntries(readdirSync(where).map((name) => [name, readFileSync(join(where, name), "utf8")]));
  const before = contents();
  const second = openCertificates(options(where));
  assert.deepEqual(contents(), before);
  assert.equal(second.authority, first.authority);
  assert.ok(second.tokenKey.equals(first.tokenKey));
});

test("a folder that others could enter is closed again", () => {
  const where = fresh();
  openCertificates(options(where));
  chmodSync(where, 0o755);
  openCertificates(options(where));
  assert.equal(statSync(where).mode & 0o777, 0o700);
});

test("a certificate that misses a name, runs out or is torn is issued anew by the same authority", () => {
  const where = fresh();
  const first = openCertificates(options(where));
  const named = openCertificates({ ...options(where), names: ["api.example.org"], addresses: ["172.18.0.2"] });
  assert.equal(named.authority, first.authority);
  assert.equal(new X509Certificate(named.server.certificate).checkIP("172.18.0.2"), "172.18.0.2");
  assert.equal(named.admin.certificate, first.admin.certificate);

  const later = Date.now() + 350 * 24 * 3600 * 1000;
  const renewed = openCertificates({ ...options(where), clock: () => later });
  assert.equal(renewed.authority, first.authority);
  assert.notEqual(renewed.admin.certificate, first.admin.certificate);

  writeFileSync(join(where, "admin.key"), "-----BEGIN PRIVATE KEY-----\nMIGH");
  const mended = openCertificates(options(where));
  assert.ok(new X509Certificate(mended.admin.certificate).checkIssued(new X509Certificate(first.authority)));
});

test("a lost authority makes everything new", () => {
  const where = fresh();
  const first = openCertificates(options(where));
  rmSync(join(where, "ca.key"));
  const second = openCertificates(options(where));
  assert.notEqual(second.authority, first.authority);
  const authority = new X509Certificate(second.authority);
  for (const { certificate } of [second.server, second.admin])
    assert.ok(new X509Certificate(certificate).verify(authority.publicKey));
});
