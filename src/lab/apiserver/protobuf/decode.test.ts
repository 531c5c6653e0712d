import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { StatusError } from "../../api/store.ts";
import type { Expected, Fields } from "../body.ts";
import { decodeProtobuf } from "./decode.ts";

// Bodies that kubectl 1.32 sent, as base64; each with its command.
const bodies = {
  // kubectl create deployment web --image nginx --port 80
  deployment: [
    "azhzAAoVCgdhcHBzL3YxEgpEZXBsb3ltZW50ErgBCh8KA3dlYhIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEoYBCAESDAoKCgNh",
    "cHASA3dlYhpsChwKABIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEkwSLgoFbmdpbngSBW5naW54KgAyCgoAEAAYUCIAKgBCAGoA",
    "cgCAAQCIAQCQAQCiAQAaADIAQgBKAFIAWABgAGgAggEAigEAmgEAwgEAIgIKACgAOAAaDAgAEAAYACAAKAA4ABoAIgA=",
  ].join(""),
  // kubectl create role r --verb get --resource pods
  role: [
    "azhzAAokChxyYmFjLmF1dGhvcml6YXRpb24uazhzLmlvL3YxEgRSb2xlEiIKEQoBchIAGgAiACoAMgA4AEIAEg0KA2dldBIAGgRw",
    "b2RzGgAiAA==",
  ].join(""),
  // kubectl create pdb p --min-available 50% --selector a=b
  budget: [
    "azhzAAogCglwb2xpY3kvdjESE1BvZERpc3J1cHRpb25CdWRnZXQSNgoRCgFwEgAaACIAKgAyADgAQgASFQoJCAEQABoDNTAlEggK",
    "BgoBYRIBYhoKCAAYACAAKAAwABoAIgA=",
  ].join(""),
  // kubectl create token x
  token: [
    "azhzAAooChhhdXRoZW50aWNhdGlvbi5rOHMuaW8vdjESDFRva2VuUmVxdWVzdBIaChAKABIAGgAiACoAMgA4AEIAEgAaBAoAEgAa",
    "ACIA",
  ].join(""),
  // kubectl auth can-i get pods
  access: [
    "azhzAAoyChdhdXRob3JpemF0aW9uLms4cy5pby92MRIXU2VsZlN1YmplY3RBY2Nlc3NSZXZpZXcSPAoQCgASABoAIgAqADIAOABC",
    "ABIeChwKB2RlZmF1bHQSA2dldBoAIgAqBHBvZHMyADoAGggIABIAGgAgABoAIgA=",
  ].join(""),
};

const decoded = (name: keyof typeof bodies, expected: Expected = { apiVersion: "", kind: "" }): Fields =>
  decodeProtobuf(Buffer.from(bodies[name], "base64"), expected);

test("bodies of kubectl are the JSON they stand for", () => {
  assert.deepEqual(decoded("deployment"), {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", labels: { app: "web" } },
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: "web" } },
      template: {
        metadata: { labels: { app: "web" } },
        spec: { containers: [{ name: "nginx", image: "nginx", ports: [{ containerPort: 80 }] }] },
      },
    },
  });
  assert.deepEqual(decoded("role")["rules"], [{ verbs: ["get"], apiGroups: [""], resources: ["pods"] }]);
  assert.deepEqual(decoded("budget")["spec"], { minAvailable: "50%", selector: { matchLabels: { a: "b" } } });
  assert.equal(decoded("token")["kind"], "TokenRequest");
  assert.deepEqual(decoded("access")["spec"], {
    resourceAttributes: { namespace: "default", verb: "get", resource: "pods" },
  });
});

test("what is no protobuf, or no message that is known, is refused in words", () => {
  const refused = (bytes: Uint8Array): StatusError => {
    try {
      decodeProtobuf(bytes, { apiVersion: "v1", kind: "Nothing" });
    } catch (error) {
      if (error instanceof StatusError) return error;
      throw error;
    }
    throw new Error("it was not refused");
  };
  assert.match(refused(Buffer.from("{}")).message, /does not begin with k8s/);
  assert.match(refused(Buffer.from("k8s\\0")).message, /does not begin|no message/);
  assert.match(refused(Buffer.from("k8s\0")).message, /no message for kind Nothing/);
  assert.match(refused(Buffer.from("k8s\0\x12\xff", "latin1")).message, /in the middle of a number/);
});

test("any bytes give an object or a refusal", () => {
  const whole = Buffer.from(bodies.deployment, "base64");
  fc.assert(
    fc.property(
      fc.nat(whole.length - 1),
      fc.integer({ min: 0, max: 255 }),
      fc.nat(whole.length),
      (at, value, length) => {
        const bytes = Buffer.from(whole.subarray(0, Math.max(4, length)));
        if (at < bytes.length) bytes[at] = value;
        try {
          assert.equal(typeof decodeProtobuf(bytes, { apiVersion: "apps/v1", kind: "Deployment" }), "object");
        } catch (error) {
          assert.ok(error instanceof StatusError, String(error));
          assert.equal(error.code, 400);
        }
      },
    ),
    { numRuns: 2000 },
  );
});
