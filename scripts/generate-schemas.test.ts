import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";

import { withDefaults } from "../src/kube/defaults.ts";
import { sameJson } from "../src/kube/equal.ts";
import type { KubeObject } from "../src/kube/object.ts";
import { problemText } from "../src/kube/problem.ts";
import { schemaOf } from "../src/kube/schema.ts";
import { structureProblems } from "../src/kube/structure.ts";
import { modules } from "./generate-schemas.ts";
import { readEnums } from "./generate-schemas.enums.ts";
import { customTypeLines, typeLines, type Schema } from "./generate-schemas.types.ts";

const reference = (name: string): Schema => ({ allOf: [{ $ref: `#/components/schemas/${name}` }], default: {} });

test("OpenAPI schemas become lines", () => {
  const schemas = new Map<string, Schema>([
    [
      "io.k8s.api.core.v1.Service",
      {
        type: "object",
        "x-kubernetes-group-version-kind": [{ group: "", version: "v1", kind: "Service" }],
        properties: {
          spec: reference("io.k8s.api.core.v1.ServiceSpec"),
          metadata: reference("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"),
        },
      },
    ],
    [
      "io.k8s.api.core.v1.ServiceSpec",
      {
        type: "object",
        required: ["type"],
        properties: {
          ports: {
            type: "array",
            items: reference("io.k8s.api.core.v1.ServicePort"),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"],
            "x-kubernetes-patch-strategy": "merge",
            "x-kubernetes-patch-merge-key": "port",
          },
          selector: {
            type: "object",
            additionalProperties: { type: "string", default: "" },
            "x-kubernetes-map-type": "atomic",
          },
          since: reference("io.k8s.apimachinery.pkg.apis.meta.v1.Time"),
          count: { type: "integer", format: "int32", default: 0 },
          protocol: { type: "string", default: "TCP" },
          type: { type: "string" },
        },
      },
    ],
    ["io.k8s.api.core.v1.ServicePort", { type: "object", "x-kubernetes-map-type": "atomic", properties: {} }],
    ["io.k8s.apimachinery.pkg.apis.meta.v1.Time", { type: "string", format: "date-time" }],
  ]);
  assert.deepEqual(typeLines(schemas, new Map([["core.v1.ServiceSpec type", ["ClusterIP", "NodePort"]]])), [
    "@core.v1.Service v1/Service",
    "metadata~ meta.v1.ObjectMeta",
    "spec~ .ServiceSpec",
    "@core.v1.ServicePort atomic",
    "@core.v1.ServiceSpec",
    "count~ int32",
    "ports [].ServicePort list=map:port,protocol patch=merge:port",
    'protocol string ="TCP"',
    "selector {}string atomic",
    "since~ date-time",
    'type! string enum=["ClusterIP","NodePort"]',
  ]);
});

test("nested objects of CRDs become types, equal ones the same", () => {
  const peer: Schema = {
    type: "object",
    required: ["port"],
    properties: { port: { type: "integer", format: "int32", minimum: 1, maximum: 65_535 } },
  };
  const schema: Schema = {
    type: "object",
    properties: {
      metadata: { type: "object" },
      spec: {
        type: "object",
        properties: {
          from: { type: "array", maxItems: 4, items: peer },
          to: { type: "array", items: peer },
          name: { type: "string", pattern: "^a b$" },
          size: { "x-kubernetes-int-or-string": true },
        },
      },
    },
  };
  assert.deepEqual(customTypeLines("example.v1.Thing", "example.com/v1/Thing", schema, new Map()), [
    "@example.v1.Thing-spec-from",
    "port! int32 min=1 max=65535",
    "@example.v1.Thing-spec",
    "from []example.v1.Thing-spec-from maxItems=4",
    String.raw`name string pattern="^a\u0020b$"`,
    "size int-or-string",
    "to []example.v1.Thing-spec-from",
    "@example.v1.Thing example.com/v1/Thing",
    "metadata meta.v1.ObjectMeta",
    "spec example.v1.Thing-spec",
  ]);
});

test("enumerations are read from Go, also across packages", (context) => {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-enums-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const write = (path: string, text: string): void => {
    mkdirSync(join(folder, path), { recursive: true });
    writeFileSync(join(folder, path, "types.go"), text);
  };
  write(
    "core/v1",
    `package v1
// Protocol is one.
// +enum
type Protocol string

const (
	// ProtocolTCP is TCP.
	ProtocolTCP Protocol = "TCP"
	ProtocolUDP Protocol = "UDP"
	ProtocolNone Protocol = ""
)

// Free may be anything.
type Free string

const FreeA Free = "A"

type Port struct {
	// The protocol.
	// +optional
	Protocol Protocol \`json:"protocol,omitempty" protobuf:"bytes,1,opt,name=protocol"\`
	Free Free \`json:"free"\`
}
`,
  );
  write(
    "discovery/v1",
    `package v1
import (
	v1 "k8s.io/api/core/v1"
)
// +enum
type Kind string

const (
	KindTCP = Kind(v1.ProtocolTCP)
	KindOther = Kind("Other")
)

type Slice struct {
	Kinds []Kind \`json:"kinds"\`
	Protocol *v1.Protocol \`json:"protocol"\`
}
`,
  );
  assert.deepEqual(Object.fromEntries(readEnums(folder)), {
    "core.v1.Port protocol": ["TCP", "UDP"],
    "discovery.v1.Slice kinds": ["Other", "TCP"],
    "discovery.v1.Slice protocol": ["TCP", "UDP"],
  });
});

/** Where a Go module lies, if it is on this machine: tests do not download. */
function cachedModule(module: string): string | undefined {
  const environment = { ...process.env, GOPROXY: "off" };
  const result = spawnSync("go", ["mod", "download", "-json", module], {
    cwd: "/",
    env: environment,
    encoding: "utf8",
  });
  return result.status === 0 ? (JSON.parse(result.stdout) as { Dir: string }).Dir : undefined;
}

test("the committed tables are what the sources give", (context) => {
  const root = join(import.meta.dirname, "..");
  if (Object.values(modules).some((module) => cachedModule(module) === undefined)) {
    context.skip("not all of the Go modules are in this machine's module cache, or there is no Go");
    return;
  }
  const result = spawnSync(process.execPath, [join(root, "scripts/generate-schemas.ts"), "--check"], {
    encoding: "utf8",
    env: { ...process.env, GOPROXY: "off" },
  });
  assert.equal(result.status, 0, result.stderr);
});

test("objects with every field set have the structure of their kind", (context) => {
  const directory = cachedModule(modules.api);
  if (directory === undefined) {
    context.skip("the Go module k8s.io/api is not in this machine's module cache, or there is no Go");
    return;
  }
  // Upstream's own samples for its codecs: each kind with all of its fields.
  const samples = globSync(join(directory, "testdata/HEAD/*.json"))
    .map((file) => JSON.parse(readFileSync(file, "utf8")) as KubeObject)
    .filter((object) => schemaOf(object.apiVersion, object.kind) !== undefined);
  assert.ok(samples.length >= 100, `${samples.length} samples`);
  for (const sample of samples) {
    assert.deepEqual(structureProblems(sample).map(problemText), [], sample.kind);
    const filled = withDefaults(sample);
    assert.ok(sameJson(withDefaults(filled), filled), `defaults of ${sample.kind} are filled in once`);
  }
});
