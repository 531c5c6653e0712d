import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { resources } from "../src/kube/resources.ts";
import { schemaOf } from "../src/kube/schema.ts";
import { messageNamed } from "../src/lab/apiserver/protobuf/messages.ts";
import { readProto } from "./generate-protobuf.ts";

test("messages and pointers become facts", () => {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-proto-"));
  writeFileSync(
    join(folder, "generated.proto"),
    `syntax = "proto2";
package k8s.io.api.core.v1;
// A comment with message X { in it
message Thing {
  // How many.
  optional int32 replicas = 1;
  repeated string names = 2;
  map<string, .k8s.io.apimachinery.pkg.api.resource.Quantity> limits = 3;
  optional Other other = 4;
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 5;
}
`,
  );
  writeFileSync(
    join(folder, "types.go"),
    ["type Thing struct {", '\tReplicas *int32 `json:"replicas" protobuf:"varint,1,opt,name=replicas"`', "}"].join(
      "\n",
    ),
  );
  const text = [...readProto(join(folder, "generated.proto"))].map(
    ([name, fields]) =>
      `${name}: ${fields.map(({ number, name: field, type, isPointer }) => `${number}${isPointer ? "?" : ""} ${field} ${type}`).join("; ")}`,
  );
  assert.deepEqual(text, [
    "core.v1.Thing: 1? replicas int32; 2 names []string; 3 limits {}resource.Quantity; 4 other .Other; 5 metadata meta.v1.ObjectMeta",
  ]);
  rmSync(folder, { recursive: true });
});

test("every built-in kind that can be written has a message", () => {
  const custom = /(gateway|policy)\.networking\.k8s\.io|multicluster\.x-k8s\.io|fairlead\.dev/;
  const others = new Set(["APIService", "StorageVersion"]);
  const missing = resources
    .filter(({ group, verbs, kind }) => verbs.includes("create") && !custom.test(group) && !others.has(kind))
    .map(({ apiVersion, kind }) => schemaOf(apiVersion, kind)?.name ?? kind)
    .filter((name) => messageNamed(name) === undefined);
  assert.deepEqual(missing, []);
});
