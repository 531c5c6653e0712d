// Kubeconfig text: what kubectl reads out of it, and what merging keeps.

import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "yaml";
import { kubeconfigText, KubeconfigError, mergeKubeconfig, withoutLab } from "./kubeconfig.ts";

const added = kubeconfigText({
  name: "demo",
  server: "https://127.0.0.1:6443",
  authority: "AUTHORITY\n",
  client: { certificate: "CERTIFICATE\n", key: "KEY\n" },
  namespace: "production",
});

const existing = `# mine
apiVersion: v1
kind: Config
clusters:
- cluster: {server: https://work.example} # the office
  name: work
contexts:
- context: {cluster: work, user: me}
  name: work
current-context: work
preferences: {}
users:
- name: me
  user: {token: secret}
`;

test("a kubeconfig stands alone: cluster, user, context and namespace", () => {
  assert.deepEqual(parse(added), {
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: "fairlead-demo",
        cluster: {
          server: "https://127.0.0.1:6443",
          "certificate-authority-data": Buffer.from("AUTHORITY\n").toString("base64"),
        },
      },
    ],
    users: [
      {
        name: "fairlead-demo",
        user: {
          "client-certificate-data": Buffer.from("CERTIFICATE\n").toString("base64"),
          "client-key-data": Buffer.from("KEY\n").toString("base64"),
        },
      },
    ],
    contexts: [
      { name: "fairlead-demo", context: { cluster: "fairlead-demo", user: "fairlead-demo", namespace: "production" } },
    ],
    "current-context": "fairlead-demo",
    preferences: {},
  });
});

test("merging keeps what is there, comments too, and tells the context before", async () => {
  const { text, previous } = await mergeKubeconfig(existing, added);
  assert.equal(previous, "work");
  assert.match(text, /^# mine\n/);
  assert.match(text, /# the office/);
  const merged = parse(text);
  assert.deepEqual(
    merged.users.map(({ name }: { name: string }) => name),
    ["me", "fairlead-demo"],
  );
  assert.equal(merged.users[0].user.token, "secret");
  assert.equal(merged["current-context"], "fairlead-demo");
});

test("merging twice is merging once; an older entry of the lab is replaced", async () => {
  const older = (await mergeKubeconfig(existing, added.replace("6443", "7443"))).text;
  const once = (await mergeKubeconfig(older, added)).text;
  assert.equal((await mergeKubeconfig(once, added)).text, once);
  assert.equal(parse(once).clusters.length, 2);
  assert.equal(parse(once).clusters[1].cluster.server, "https://127.0.0.1:6443");
});

test("an empty file, empty lists, null lists and JSON are kubeconfigs too", async () => {
  for (const text of [
    "",
    "clusters: []\nusers: []\ncontexts: []\n",
    'clusters: null\nusers:\ncontexts: null\ncurrent-context: ""\n',
    '{"apiVersion":"v1","kind":"Config","clusters":[],"users":[],"contexts":[]}',
  ]) {
    const merged = await mergeKubeconfig(text, added);
    assert.equal(merged.previous, undefined);
    const { clusters, users, contexts, kind } = parse(merged.text);
    assert.deepEqual(
      { clusters, users, contexts, kind },
      (({ clusters, users, contexts, kind }) => ({ clusters, users, contexts, kind }))(parse(added)),
    );
  }
});

test("what is no kubeconfig is refused and not touched", async () => {
  await assert.rejects(mergeKubeconfig("a: [1", added), KubeconfigError);
  await assert.rejects(mergeKubeconfig("- 1\n", added), KubeconfigError);
});

test("a lab can be taken out again", async () => {
  const { text } = await mergeKubeconfig(existing, added);
  const without = await withoutLab(text, "demo");
  assert.deepEqual(parse(without ?? ""), { ...parse(existing), "current-context": "" });
  assert.equal(await withoutLab(existing, "demo"), undefined);
});
