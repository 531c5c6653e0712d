// ServiceAccount tokens: what is in them, and everything that ends one.

import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, sign, verify } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import type { Pod, ServiceAccount } from "../../kube/kinds.ts";
import { pod, refusal, testAccess, testKey, user, type TestAccess } from "./access.testing.ts";
import { resourceTarget } from "./authz-target.ts";
import { keyIdOf, keySet, signJwt, unverifiedClaims, verifyJwt } from "./tokens-jwt.ts";
import { automaticSeconds, TokenError } from "./tokens.ts";

const issuer = "https://kubernetes.default.svc.cluster.local";

function account(lab: TestAccess): ServiceAccount {
  return lab.api.get({
    group: "",
    resource: "serviceaccounts",
    namespace: "default",
    name: "default",
  }) as ServiceAccount;
}

function check(lab: TestAccess, token: string, audiences: readonly string[] = [issuer]): string {
  try {
    return lab.access.tokens.check(token, audiences)?.user.username ?? "not ours";
  } catch (error) {
    assert.ok(error instanceof TokenError, String(error));
    return error.message;
  }
}

const jane = "system:serviceaccount:default:default";

test("a token names its account, and is good until its time is over", () => {
  const lab = testAccess();
  const { token, expires } = lab.access.tokens.issue({ account: account(lab), audiences: [], seconds: 600 });
  assert.equal(expires, lab.clock.now + 600_000);
  const found = lab.access.tokens.check(token, [issuer]);
  assert.equal(found?.user.username, jane);
  assert.equal(found?.user.uid, account(lab).metadata.uid);
  assert.deepEqual(found?.user.groups, [
    "system:serviceaccounts",
    "system:serviceaccounts:default",
    "system:authenticated",
  ]);
  assert.deepEqual(found?.audiences, [issuer]);
  lab.clock.now += 599_000;
  assert.equal(check(lab, token), jane);
  lab.clock.now += 1000;
  assert.equal(check(lab, token), "service account token has expired");
});

test("a token for others is none for us", () => {
  const lab = testAccess();
  const { token } = lab.access.tokens.issue({ account: account(lab), audiences: ["vault", "db"], seconds: 600 });
  assert.match(check(lab, token), /is invalid for the target audiences/);
  assert.deepEqual(lab.access.tokens.check(token, ["db", "web"])?.audiences, ["db"]);
});

test("a bound token ends with its pod, a minute after the pod began to end", () => {
  const lab = testAccess();
  const made = lab.api.create(pod("web", { nodeName: "node-1" }, { finalizers: ["example.org/keep"] }));
  const { token } = lab.access.tokens.issue({
    account: account(lab),
    audiences: [],
    seconds: 3600,
    bound: { kind: "Pod", name: "web", uid: made.metadata.uid ?? "" },
    node: { name: "node-1", uid: "n" },
  });
  const extra = lab.access.tokens.check(token, [issuer])?.user.extra;
  assert.deepEqual(extra?.["authentication.kubernetes.io/pod-name"], ["web"]);
  assert.deepEqual(extra?.["authentication.kubernetes.io/node-name"], ["node-1"]);
  assert.match(extra?.["authentication.kubernetes.io/credential-id"]?.[0] ?? "", /^JTI=[0-9a-f-]{36}$/);
  const key = { group: "", resource: "pods", namespace: "default", name: "web" };
  lab.api.delete(key, { gracePeriodSeconds: 0 });
  assert.equal(check(lab, token), jane);
  lab.clock.now += 61_000;
  assert.match(check(lab, token), /Pod web is being deleted/);
  lab.api.update({
    ...(lab.api.get(key) as Pod),
    metadata: { ...made.metadata, finalizers: [], resourceVersion: lab.api.get(key)?.metadata.resourceVersion ?? "" },
  });
  assert.match(check(lab, token), /Pod web is gone/);
  lab.api.create(pod("web"));
  assert.match(check(lab, token), /Pod web is gone/);
});

test("a token ends with its account, also when another of the same name comes", () => {
  const lab = testAccess();
  const { token } = lab.access.tokens.issue({ account: account(lab), audiences: [], seconds: 3600 });
  const key = { group: "", resource: "serviceaccounts", namespace: "default", name: "default" };
  lab.api.delete(key);
  assert.equal(check(lab, token), 'serviceaccounts "default" not found');
  lab.api.create({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "default", namespace: "default" } });
  assert.equal(check(lab, token), "service account UID does not match claim");
});

test("tokens of other issuers are not ours to judge; ours with another signature are refused", () => {
  const lab = testAccess();
  const other = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  assert.equal(check(lab, signJwt({ iss: "https://else.example" }, other, "x")), "not ours");
  assert.equal(check(lab, "not a token"), "not ours");
  const { token } = lab.access.tokens.issue({ account: account(lab), audiences: [], seconds: 600 });
  const claims = unverifiedClaims(token) ?? {};
  assert.match(check(lab, signJwt(claims, other, keyIdOf(testKey))), /signature is not ours/);
  const [head = "", body = "", signature = ""] = token.split(".");
  const none = Buffer.from(JSON.stringify({ alg: "none" })).toString("base64url");
  assert.match(check(lab, `${none}.${body}.${signature}`), /signature is not ours/);
  const changed = Buffer.from(JSON.stringify({ ...claims, exp: 9_999_999_999 })).toString("base64url");
  assert.match(check(lab, `${head}.${changed}.${signature}`), /signature is not ours/);
});

test("JWS of ES256: others can check ours with the published key, and we check theirs", () => {
  const [jwk] = (keySet(testKey) as { keys: readonly { kid: string; crv: string }[] }).keys;
  assert.equal(jwk?.kid, keyIdOf(testKey));
  const key = createPublicKey({ key: jwk, format: "jwk" });
  const token = signJwt({ iss: "x" }, testKey, "k");
  const [head = "", body = "", signature = ""] = token.split(".");
  assert.ok(
    verify(
      "sha256",
      Buffer.from(`${head}.${body}`),
      { key, dsaEncoding: "ieee-p1363" },
      Buffer.from(signature, "base64url"),
    ),
  );
  const theirs = `${Buffer.from('{"alg":"ES256","typ":"JWT"}').toString("base64url")}.${Buffer.from('{"a":1}').toString("base64url")}`;
  const mark = sign("sha256", Buffer.from(theirs), { key: testKey, dsaEncoding: "ieee-p1363" }).toString("base64url");
  assert.deepEqual(verifyJwt(`${theirs}.${mark}`, key, keyIdOf(testKey)), { a: 1 });
});

test("no text that is not a token is taken for one, and none makes us fail", () => {
  const lab = testAccess();
  const { token } = lab.access.tokens.issue({ account: account(lab), audiences: [], seconds: 600 });
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc
          .tuple(fc.nat(token.length - 1), fc.constantFrom("a", "Z", ".", "-", ""))
          .map(([at, letter]) => token.slice(0, at) + letter + token.slice(at + 1)),
      ),
      (text) => {
        if (text !== token) assert.notEqual(check(lab, text), jane);
      },
    ),
  );
});

test("the kubelet's token stays the same until four fifths of its time; the automatic one lives a year", () => {
  const lab = testAccess();
  const made = lab.api.create(pod("web")) as Pod;
  const request = { namespace: "default", serviceAccount: "default", expirationSeconds: automaticSeconds, pod: made };
  const first = lab.access.podToken(request);
  const claims = unverifiedClaims(first) as { exp: number; iat: number; "kubernetes.io": { warnafter: number } };
  assert.equal(claims.exp - claims.iat, 365 * 24 * 3600);
  assert.equal(claims["kubernetes.io"].warnafter - claims.iat, automaticSeconds);
  lab.clock.now += automaticSeconds * 799;
  assert.equal(lab.access.podToken(request), first);
  lab.clock.now += automaticSeconds * 2;
  const second = lab.access.podToken(request);
  assert.notEqual(second, first);
  assert.equal(check(lab, second), jane);
  const other = unverifiedClaims(lab.access.podToken({ ...request, audience: "vault" })) as {
    aud: string[];
    exp: number;
    iat: number;
  };
  assert.deepEqual(other.aud, ["vault"]);
  assert.equal(other.exp - other.iat, automaticSeconds);
});

test("TokenRequest: bounds, audiences and bindings", async () => {
  const lab = testAccess();
  const made = lab.api.create(pod("web"));
  const ask = (spec: object): Promise<{ status: { token: string; expirationTimestamp: string } }> =>
    lab.answers["serviceaccounts/token"]?.({
      user: user("root", "system:masters"),
      target: resourceTarget({
        verb: "create",
        group: "",
        resource: "serviceaccounts",
        subresource: "token",
        namespace: "default",
        name: "default",
      }),
      object: { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", metadata: { name: "" }, spec },
      parent: account(lab),
    }) as never;
  const plain = await ask({});
  assert.equal(check(lab, plain.status.token), jane);
  const claims = unverifiedClaims(
    (await ask({ audiences: ["vault"], boundObjectRef: { kind: "Pod", apiVersion: "v1", name: "web" } })).status.token,
  );
  assert.deepEqual(claims?.["aud"], ["vault"]);
  assert.deepEqual((claims?.["kubernetes.io"] as { pod: object } | undefined)?.pod, {
    name: "web",
    uid: made.metadata.uid,
  });
  assert.match(
    refusal(() => ask({ expirationSeconds: 599 })),
    /^422 Invalid: .*may not specify a duration less than 10 minutes/,
  );
  assert.match(
    refusal(() => ask({ expirationSeconds: 2 ** 33 })),
    /larger than 2\^32 seconds/,
  );
  assert.match(
    refusal(() => ask({ boundObjectRef: { kind: "Pod", apiVersion: "v1", name: "nope" } })),
    /^404 NotFound: pods "nope" not found/,
  );
  assert.match(
    refusal(() => ask({ boundObjectRef: { kind: "Pod", apiVersion: "v1", name: "web", uid: "x" } })),
    /^409 Conflict/,
  );
  assert.match(
    refusal(() => ask({ boundObjectRef: { kind: "ConfigMap", apiVersion: "v1", name: "x" } })),
    /^400 BadRequest: cannot bind/,
  );
});
