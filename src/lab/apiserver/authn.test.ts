// Who a request comes from, over a real TLS server: certificates, tokens, nobody, and whom they act for.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, request as httpsRequest, type RequestOptions } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { ServiceAccount } from "../../kube/kinds.ts";
import { StatusError } from "../api/store.ts";
import { binding, role, testAccess } from "./access.testing.ts";
import type { User } from "./hooks.ts";
import { openCertificates } from "./tls.ts";

const folder = mkdtempSync(join(tmpdir(), "fairlead-authn-"));
const certificates = openCertificates({ folder: join(folder, "ours"), names: [], addresses: [] });
const strangers = openCertificates({ folder: join(folder, "theirs"), names: [], addresses: [] });
const lab = testAccess();
const server = createServer(
  {
    cert: certificates.server.certificate,
    key: certificates.server.key,
    ca: certificates.authority,
    requestCert: true,
    rejectUnauthorized: false,
  },
  (request, response) => {
    void (async () => {
      try {
        response.end(JSON.stringify(await lab.authenticate(request)));
      } catch (error) {
        assert.ok(error instanceof StatusError, String(error));
        response.writeHead(error.code).end(error.message);
      }
    })();
  },
);

before(() => new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve)));
after(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function ask(options: RequestOptions): Promise<User | string> {
  const { port } = server.address() as AddressInfo;
  const [code, text] = await new Promise<[number, string]>((resolve, reject) => {
    httpsRequest({ host: "127.0.0.1", port, ca: certificates.authority, agent: false, ...options }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
      response.on("end", () => resolve([response.statusCode ?? 0, body]));
    })
      .on("error", reject)
      .end();
  });
  return code === 200 ? (JSON.parse(text) as User) : `${code} ${text}`;
}

const admin = { cert: certificates.admin.certificate, key: certificates.admin.key };

function tokenOf(namespace: string): string {
  const account = lab.api.get({ group: "", resource: "serviceaccounts", namespace, name: "default" }) as ServiceAccount;
  return lab.access.tokens.issue({ account, audiences: [], seconds: 600 }).token;
}

test("a client certificate of ours is its subject; one of others is refused", async () => {
  const user = (await ask(admin)) as User;
  assert.equal(user.username, "kubernetes-admin");
  assert.deepEqual(user.groups, ["system:masters", "system:authenticated"]);
  assert.match(user.extra?.["authentication.kubernetes.io/credential-id"]?.[0] ?? "", /^X509SHA256=[0-9a-f]{64}$/);
  const plain = certificates.issueClient({ user: "anna", groups: [] });
  assert.deepEqual(((await ask({ cert: plain.certificate, key: plain.key })) as User).groups, ["system:authenticated"]);
  assert.equal(await ask({ cert: strangers.admin.certificate, key: strangers.admin.key }), "401 Unauthorized");
});

test("nobody is system:anonymous; a token that is none is refused rather than taken for nobody", async () => {
  assert.deepEqual(await ask({}), { username: "system:anonymous", groups: ["system:unauthenticated"] });
  for (const authorization of ["Bearer nonsense", "Bearer a.b.c", `bearer ${tokenOf("default")}x`])
    assert.equal(await ask({ headers: { authorization } }), "401 Unauthorized");
});

test("a token comes as a header, or as a subprotocol where there can be no header", async () => {
  const token = tokenOf("default");
  const expected = "system:serviceaccount:default:default";
  assert.equal(((await ask({ headers: { authorization: `Bearer ${token}` } })) as User).username, expected);
  const protocol = `v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.${Buffer.from(token).toString("base64url")}`;
  assert.equal(((await ask({ headers: { "sec-websocket-protocol": protocol } })) as User).username, expected);
});

test("the certificate counts before the token", async () => {
  const user = (await ask({ ...admin, headers: { authorization: `Bearer ${tokenOf("default")}` } })) as User;
  assert.equal(user.username, "kubernetes-admin");
});

test("who may impersonate is treated as who they say they are", async () => {
  const headers = { "impersonate-user": "anna" };
  assert.deepEqual(await ask({ ...admin, headers }), { username: "anna", groups: ["system:authenticated"] });
  assert.deepEqual(
    await ask({
      ...admin,
      headers: {
        ...headers,
        "impersonate-group": ["a", "b, c"],
        "impersonate-uid": "7",
        "impersonate-extra-example.org%2fx": "1",
      },
    }),
    { username: "anna", uid: "7", groups: ["a", "b, c", "system:authenticated"], extra: { "example.org/x": ["1"] } },
  );
  assert.deepEqual(
    ((await ask({ ...admin, headers: { "impersonate-user": "system:serviceaccount:other:default" } })) as User).groups,
    ["system:serviceaccounts", "system:serviceaccounts:other", "system:authenticated"],
  );
  assert.deepEqual(((await ask({ ...admin, headers: { "impersonate-user": "system:anonymous" } })) as User).groups, [
    "system:unauthenticated",
  ]);
});

test("others may impersonate only whom a role names", async () => {
  lab.create(
    role("act", undefined, { verbs: ["impersonate"], apiGroups: [""], resources: ["users"], resourceNames: ["anna"] }),
    binding("act", undefined, "ClusterRole/act", "ServiceAccount/default/default"),
  );
  await lab.api.flushed();
  const authorization = `Bearer ${tokenOf("default")}`;
  const as = (headers: Record<string, string>): Promise<User | string> =>
    ask({ headers: { authorization, ...headers } });
  assert.equal(((await as({ "impersonate-user": "anna" })) as User).username, "anna");
  assert.equal(
    await as({ "impersonate-user": "bert" }),
    '403 users "bert" is forbidden: User "system:serviceaccount:default:default" cannot impersonate resource "users" in API group "" at the cluster scope',
  );
  assert.match(
    (await as({ "impersonate-user": "anna", "impersonate-group": "system:masters" })) as string,
    /^403 groups "system:masters" is forbidden/,
  );
  assert.match(
    (await as({ "impersonate-user": "anna", "impersonate-uid": "1" })) as string,
    /^403 uids\.authentication\.k8s\.io "1"/,
  );
  assert.match(
    (await as({ "impersonate-group": "a" })) as string,
    /^400 requested impersonation without impersonating a user/,
  );
});
