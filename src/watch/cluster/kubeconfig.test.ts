import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import { createCredentials } from "./credentials.ts";
import { findAccess, KubeconfigError, parseKubeconfig, podAccess, type UserAccess } from "./kubeconfig.ts";

const pem = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
const base64 = Buffer.from(pem).toString("base64");

function kubeconfig(user: object, cluster: object = { server: "https://10.0.0.1:6443/" }): string {
  return JSON.stringify({
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "k", user: "u", namespace: "shop" } }],
    clusters: [{ name: "k", cluster }],
    users: [{ name: "u", user }],
  });
}

async function userOf(user: object): Promise<UserAccess> {
  return (await parseKubeconfig(kubeconfig(user), { path: "/etc/k/config" })).user;
}

function folder(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "fairlead-kubeconfig-"));
  context.after(() => rmSync(path, { recursive: true }));
  return path;
}

void test("a kubeconfig of kubeadm's kind, in YAML", async () => {
  const text = `
apiVersion: v1
kind: Config
current-context: admin@k
contexts:
- {name: other, context: {cluster: nowhere}}
- {name: admin@k, context: {cluster: k, user: admin}}
clusters:
- name: k
  cluster: {server: "https://[fd00::1]:6443", certificate-authority-data: ${base64}, tls-server-name: api}
users:
- name: admin
  user: {client-certificate: pki/a.crt, client-key: /abs/a.key}
`;
  assert.deepEqual(await parseKubeconfig(text, { path: "/etc/k/config" }), {
    server: "https://[fd00::1]:6443",
    authority: { pem },
    serverName: "api",
    insecure: false,
    user: { kind: "certificate", certificate: { file: "/etc/k/pki/a.crt" }, key: { file: "/abs/a.key" } },
    namespace: "default",
    from: "kubeconfig /etc/k/config, context admin@k",
  });
});

void test("every kind of user", async () => {
  assert.deepEqual(await userOf({}), { kind: "nobody" });
  assert.deepEqual(await userOf({ token: "t" }), { kind: "token", token: "t" });
  // client-go: a file of tokens goes before a token.
  assert.deepEqual(await userOf({ token: "t", tokenFile: "tok" }), { kind: "token-file", file: "/etc/k/tok" });
  assert.deepEqual(await userOf({ username: "a", password: "b" }), { kind: "basic", username: "a", password: "b" });
  const exec = { apiVersion: "client.authentication.k8s.io/v1", command: "./get-token", args: ["-x"] };
  assert.deepEqual(await userOf({ exec }), {
    kind: "exec",
    command: {
      apiVersion: "client.authentication.k8s.io/v1",
      command: "/etc/k/get-token",
      args: ["-x"],
      env: [],
      provideClusterInfo: false,
    },
  });
});

void test("what is wrong is named with its field", async () => {
  const cases: readonly [string, RegExp][] = [
    ["[1", /kubeconfig f: .*/],
    ["{}", /it has no current-context/],
    [kubeconfig({}).replace('"name":"k"', '"name":"z"'), /clusters has no entry named "k"/],
    [kubeconfig({}, {}), /cluster k has no server/],
    [kubeconfig({}, { server: "tcp://a" }), /clusters\[k\]\.server tcp:\/\/a is no http or https URL/],
    [kubeconfig({}, { server: "https://a", "proxy-url": "http://p" }), /proxy-url is not supported/],
    [kubeconfig({ "client-certificate-data": base64 }), /users\[u\] has client-certificate without client-key/],
    [
      kubeconfig({ "client-certificate-data": "e30=", "client-key": "k" }),
      /client-certificate-data is no base64 of PEM/,
    ],
    [kubeconfig({ "auth-provider": {} }), /auth-provider was removed/],
    [kubeconfig({ exec: { command: "x" } }), /users\[u\]\.exec has no apiVersion/],
    [kubeconfig({ exec: { command: "x", apiVersion: "v2" } }), /users\[u\]\.exec\.apiVersion v2 is unknown/],
  ];
  for (const [text, message] of cases)
    await assert.rejects(parseKubeconfig(text, { path: "f" }), (error) => {
      assert.ok(error instanceof KubeconfigError);
      assert.match(error.message, message);
      return true;
    });
});

void test("in a pod its own account is used, unless a kubeconfig is named", async (context) => {
  const path = folder(context);
  writeFileSync(join(path, "namespace"), "kube-system\n");
  const environment = { KUBERNETES_SERVICE_HOST: "fd00:10:96::1", KUBERNETES_SERVICE_PORT: "443" };
  assert.deepEqual(podAccess(environment, path), {
    server: "https://[fd00:10:96::1]:443",
    authority: { file: join(path, "ca.crt") },
    insecure: false,
    user: { kind: "token-file", file: join(path, "token") },
    namespace: "kube-system",
    from: "the pod's service account",
  });
  assert.equal((await findAccess({ environment })).from, "the pod's service account");
  const file = join(path, "config");
  writeFileSync(file, kubeconfig({}));
  assert.match((await findAccess({ environment: { ...environment, KUBECONFIG: file } })).from, /^kubeconfig/);
  await assert.rejects(findAccess({ kubeconfig: join(path, "none"), environment }), /read kubeconfig .*none.*ENOENT/);
});

void test("a token file is read again when it is replaced, and not while it is missing", async (context) => {
  const file = join(folder(context), "token");
  writeFileSync(file, "one\n");
  const access = await parseKubeconfig(kubeconfig({ tokenFile: file }), { path: "f" });
  const credentials = createCredentials(access);
  const first = await credentials.current();
  assert.equal(first.authorization, "Bearer one");
  assert.equal(await credentials.current(), first, "equal credentials are the same value");
  renameSync(file, `${file}.old`);
  assert.equal((await credentials.current()).authorization, "Bearer one");
  writeFileSync(file, "two");
  assert.equal((await credentials.current()).authorization, "Bearer two");
});

void test("a credential program is asked once, again after its answer's end and after a refusal", async (context) => {
  const path = folder(context);
  const command = join(path, "get-token");
  const answer = '{"kind":"ExecCredential","status":{"token":"%s","expirationTimestamp":"2026-01-01T00:00:00Z"}}';
  writeFileSync(
    command,
    `#!/bin/sh\necho "$KUBERNETES_EXEC_INFO" > ${path}/info\necho x >> ${path}/count\nprintf '${answer}' "$PREFIX$(wc -l < ${path}/count | tr -d ' ')"\n`,
  );
  chmodSync(command, 0o755);
  const exec = {
    apiVersion: "client.authentication.k8s.io/v1",
    command,
    provideClusterInfo: true,
    env: [{ name: "PREFIX", value: "t" }],
  };
  let now = Date.parse("2025-12-31T00:00:00Z");
  const access = await parseKubeconfig(kubeconfig({ exec }), { path: "f" });
  const credentials = createCredentials(access, () => now);
  const both = await Promise.all([credentials.current(), credentials.current()]);
  assert.deepEqual(
    both.map(({ authorization }) => authorization),
    ["Bearer t1", "Bearer t1"],
  );
  assert.equal((await credentials.current()).authorization, "Bearer t1");
  assert.equal((await credentials.current({ renew: true })).authorization, "Bearer t2");
  now += 2 * 86_400_000;
  assert.equal((await credentials.current()).authorization, "Bearer t3");
  writeFileSync(command, "#!/bin/sh\necho no such account >&2\nexit 3\n");
  await assert.rejects(credentials.current(), /run credential program .*get-token: no such account/);
});
