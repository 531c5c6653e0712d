// ServiceAccounts in the write path: what a pod gets, and when it gets nothing.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Pod, Secret } from "../../kube/kinds.ts";
import { markRepeated } from "../../kube/repeated.ts";
import { pod, refusal, testAccess } from "./access.testing.ts";
import { credentialsPath } from "./authn-accounts.ts";

function mounts({ spec }: Pod): readonly (readonly string[])[] {
  return [...(spec.initContainers ?? []), ...spec.containers].map((container) =>
    (container.volumeMounts ?? []).map(({ mountPath }) => mountPath),
  );
}

test("a pod gets the account default, and its credentials in every container", () => {
  const lab = testAccess();
  const made = lab.api.create(pod("web", { initContainers: [{ name: "i", image: "i" }] })) as Pod;
  assert.equal(made.spec.serviceAccountName, "default");
  assert.equal((made.spec as { serviceAccount?: string }).serviceAccount, "default");
  assert.deepEqual(mounts(made), [[credentialsPath], [credentialsPath]]);
  const [volume] = made.spec.volumes ?? [];
  assert.match(volume?.name ?? "", /^kube-api-access-[a-z0-9]{5}$/);
  assert.equal(made.spec.containers[0]?.volumeMounts?.[0]?.name, volume?.name);
  assert.equal(made.spec.containers[0]?.volumeMounts?.[0]?.readOnly, true);
  assert.deepEqual(volume?.projected?.sources, [
    { serviceAccountToken: { expirationSeconds: 3607, path: "token" } },
    { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
    {
      downwardAPI: { items: [{ path: "namespace", fieldRef: { apiVersion: "v1", fieldPath: "metadata.namespace" } }] },
    },
  ]);
});

test("the pod's word counts before the account's", () => {
  const lab = testAccess();
  lab.create({
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name: "quiet", namespace: "default" },
    automountServiceAccountToken: false,
  });
  const volumesOf = (spec: object, name: string): number =>
    ((lab.api.create(pod(name, spec)) as Pod).spec.volumes ?? []).length;
  assert.equal(volumesOf({ automountServiceAccountToken: false }, "a"), 0);
  assert.equal(volumesOf({ serviceAccountName: "quiet" }, "b"), 0);
  assert.equal(volumesOf({ serviceAccountName: "quiet", automountServiceAccountToken: true }, "c"), 1);
});

test("what is mounted at that place already stays", () => {
  const lab = testAccess();
  const own = { name: "own", mountPath: credentialsPath };
  const one = lab.api.create(
    pod("a", {
      volumes: [{ name: "own", emptyDir: {} }],
      containers: [{ name: "c", image: "i", volumeMounts: [own] }],
    }),
  ) as Pod;
  assert.deepEqual(
    one.spec.volumes?.map(({ name }) => name),
    ["own"],
  );
  const two = lab.api.create(
    pod("b", {
      volumes: [{ name: "own", emptyDir: {} }],
      containers: [
        { name: "c", image: "i", volumeMounts: [own] },
        { name: "d", image: "i" },
      ],
    }),
  ) as Pod;
  assert.equal(two.spec.volumes?.length, 2);
  assert.deepEqual(mounts(two), [[credentialsPath], [credentialsPath]]);
});

test("an account that is not there is refused, but for default, which may still come", () => {
  const lab = testAccess();
  assert.equal(
    refusal(() => lab.api.create(pod("a", { serviceAccountName: "none" }))),
    '403 Forbidden: pods "a" is forbidden: error looking up service account default/none: serviceaccount "none" not found',
  );
  lab.api.delete({ group: "", resource: "serviceaccounts", namespace: "default", name: "default" });
  assert.equal((lab.api.create(pod("a")) as Pod).spec.volumes?.length, 1);
});

test("pull secrets of the account go to pods that name none", () => {
  const lab = testAccess();
  lab.create({
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name: "s", namespace: "default" },
    imagePullSecrets: [{ name: "registry" }],
  });
  const secretsOf = (spec: object, name: string): unknown => {
    const made = lab.api.create(pod(name, { serviceAccountName: "s", ...spec }));
    return (made["spec"] as { imagePullSecrets?: unknown }).imagePullSecrets;
  };
  assert.deepEqual(secretsOf({}, "a"), [{ name: "registry" }]);
  assert.deepEqual(secretsOf({ imagePullSecrets: [{ name: "own" }] }, "b"), [{ name: "own" }]);
});

test("pods that are made alike have one specification, until their account says something else", () => {
  const lab = testAccess();
  const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "mine", namespace: "default" } };
  lab.create(account);
  const spec = { containers: [{ name: "c", image: "i" }], serviceAccountName: "mine" };
  markRepeated(spec);
  const made = (name: string): Pod["spec"] =>
    (lab.api.create({ apiVersion: "v1", kind: "Pod", metadata: { name, namespace: "default" }, spec }) as Pod).spec;
  const [first, second] = [made("a"), made("b")];
  assert.equal(first, second);
  assert.deepEqual(first.volumes?.length, 1);
  assert.deepEqual(spec, { containers: [{ name: "c", image: "i" }], serviceAccountName: "mine" });
  lab.api.update({ ...account, automountServiceAccountToken: false, imagePullSecrets: [{ name: "registry" }] });
  const third = made("c");
  assert.deepEqual(third.volumes ?? [], []);
  assert.deepEqual((third as { imagePullSecrets?: unknown }).imagePullSecrets, [{ name: "registry" }]);
  lab.api.update(account);
  assert.equal(made("d"), first);
});

test("a mirror pod is left alone", () => {
  const lab = testAccess();
  const made = lab.api.create(
    pod("m", { nodeName: "node-1" }, { annotations: { "kubernetes.io/config.mirror": "x" } }),
  ) as Pod;
  assert.equal(made.spec.volumes, undefined);
});

test("a Secret that asks for a token gets one, good while the Secret is there", () => {
  const lab = testAccess();
  const asking = (account: string) => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "legacy", namespace: "default", annotations: { "kubernetes.io/service-account.name": account } },
    type: "kubernetes.io/service-account-token",
  });
  assert.match(
    refusal(() => lab.api.create(asking("none"))),
    /^422 Invalid: .*Not found: "none"/,
  );
  const secret = lab.api.create(asking("default")) as Secret;
  const data = Object.fromEntries(
    Object.entries(secret.data ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]),
  );
  assert.equal(data["namespace"], "default");
  assert.equal(data["ca.crt"], "AUTHORITY\n");
  const { tokens } = lab.access;
  assert.equal(
    tokens.check(data["token"] ?? "", [tokens.audience])?.user.username,
    "system:serviceaccount:default:default",
  );
  lab.api.delete({ group: "", resource: "secrets", namespace: "default", name: "legacy" });
  assert.throws(() => tokens.check(data["token"] ?? "", [tokens.audience]), /invalidated/);
});
