import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { StatusError } from "../../api/store.ts";
import type { Expected, Fields } from "../body.ts";
import { decodeProtobuf } from "./decode.ts";
import { messageNamed, type MessageType } from "./messages.ts";

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

/** Writes a message by the names of its protobuf fields. */
function encode(name: string, value: object): Buffer {
  const fields = [...(messageNamed(name) ?? [])];
  return Buffer.concat(
    Object.entries(value).flatMap(([key, given]: [string, unknown]) => {
      const [number, field] = fields.find(([, each]) => each.name === key) ?? assert.fail(`${name} has no ${key}`);
      if (field.collection === "list") return (given as unknown[]).map((each) => encodeField(number, each, field.type));
      if (field.collection === "map")
        return Object.entries(given as object).map(([mapKey, each]) =>
          bytesField(number, Buffer.concat([bytesField(1, Buffer.from(mapKey)), encodeField(2, each, field.type)])),
        );
      return [encodeField(number, given, field.type)];
    }),
  );
}

function encodeField(number: number, value: unknown, type: MessageType): Buffer {
  if (type.kind === "message") return bytesField(number, encode(type.name, value as object));
  if (type.scalar === "string" || type.scalar === "bytes") return bytesField(number, Buffer.from(value as string));
  if (type.scalar !== "double") return Buffer.concat([varint(number * 8), varint(Number(value))]);
  const double = Buffer.alloc(8);
  double.writeDoubleLE(value as number);
  return Buffer.concat([varint(number * 8 + 1), double]);
}

function bytesField(number: number, bytes: Buffer): Buffer {
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}

function envelope(apiVersion: string, kind: string, message: string, value: object): Buffer {
  const typeMeta = Buffer.concat([bytesField(1, Buffer.from(apiVersion)), bytesField(2, Buffer.from(kind))]);
  return Buffer.concat([Buffer.from("k8s\0"), bytesField(1, typeMeta), bytesField(2, encode(message, value))]);
}

test("definitions: schemas, JSON in them, and either-or fields", () => {
  const schema = {
    type: "object",
    required: ["spec"],
    properties: {
      spec: {
        type: "object",
        xKubernetesPreserveUnknownFields: true,
        default: { raw: '{"a":1}' },
        properties: {
          size: { type: "string", enum: [{ raw: '"big"' }, { raw: '"small"' }], maxLength: 5 },
          share: { type: "number", minimum: 0.5 },
          list: { type: "array", items: { schema: { type: "integer" } }, xKubernetesListType: "set" },
          map: { additionalProperties: { allows: true, schema: { type: "string" } } },
          any: { additionalProperties: { allows: true } },
        },
      },
    },
  };
  const bytes = envelope(
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    "apiextensions.v1.CustomResourceDefinition",
    {
      metadata: { name: "w.example.com", creationTimestamp: {} },
      spec: {
        group: "example.com",
        scope: "Namespaced",
        names: { plural: "w", kind: "W" },
        versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: schema } }],
        preserveUnknownFields: false,
      },
    },
  );
  const { spec, metadata } = decodeProtobuf(bytes, { apiVersion: "", kind: "" }) as {
    spec: { versions: { schema: { openAPIV3Schema: { properties: { spec: object } } } }[] };
    metadata: object;
  };
  assert.deepEqual(metadata, { name: "w.example.com" }, "a zero time is none");
  assert.deepEqual(spec.versions[0]?.schema.openAPIV3Schema.properties.spec, {
    type: "object",
    "x-kubernetes-preserve-unknown-fields": true,
    default: { a: 1 },
    properties: {
      size: { type: "string", enum: ["big", "small"], maxLength: 5 },
      share: { type: "number", minimum: 0.5 },
      list: { type: "array", items: { type: "integer" }, "x-kubernetes-list-type": "set" },
      map: { additionalProperties: { type: "string" } },
      any: { additionalProperties: true },
    },
  });
});

test("embedded structs, quantities, times, numbers or text, zeros of pointers", () => {
  const bytes = envelope("v1", "Pod", "core.v1.Pod", {
    metadata: { name: "p", deletionGracePeriodSeconds: 0, creationTimestamp: { seconds: 1767225600 } },
    spec: {
      restartPolicy: "",
      hostNetwork: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: 0,
      volumes: [{ name: "v", volumeSource: { emptyDir: {} } }],
      containers: [
        {
          name: "c",
          resources: { limits: { cpu: { string: "100m" } } },
          livenessProbe: { handler: { httpGet: { path: "/", port: { type: 1, strVal: "http" } } }, periodSeconds: 0 },
          readinessProbe: { handler: { tcpSocket: { port: { type: 0, intVal: 80 } } } },
          env: [{ name: "A", valueFrom: { secretKeyRef: { localObjectReference: { name: "s" }, key: "k" } } }],
          ports: [{ containerPort: 80, hostPort: 0 }],
        },
      ],
    },
  });
  const { metadata, spec } = decodeProtobuf(bytes, { apiVersion: "", kind: "" });
  assert.deepEqual(metadata, { name: "p", deletionGracePeriodSeconds: 0, creationTimestamp: "2026-01-01T00:00:00Z" });
  assert.deepEqual(spec, {
    enableServiceLinks: false,
    terminationGracePeriodSeconds: 0,
    volumes: [{ name: "v", emptyDir: {} }],
    containers: [
      {
        name: "c",
        resources: { limits: { cpu: "100m" } },
        livenessProbe: { httpGet: { path: "/", port: "http" } },
        readinessProbe: { tcpSocket: { port: 80 } },
        env: [{ name: "A", valueFrom: { secretKeyRef: { name: "s", key: "k" } } }],
        ports: [{ containerPort: 80 }],
      },
    ],
  });
});
