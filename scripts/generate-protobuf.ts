// Writes the table of protobuf messages that request bodies are decoded with: src/lab/apiserver/protobuf/messages.json.
// Sources are the Go modules below: `generated.proto` gives numbers, names and types, `types.go` says which fields are pointers (a zero
// that is there means something only in those). Facts only; no prose is copied.
//
//   node scripts/generate-protobuf.ts          writes the table
//   node scripts/generate-protobuf.ts --check  fails where the committed table differs
//
// A message is a row `@core.v1.Container` and a row for each field: `1 name string`, `3 command []string`, `4 limits {}resource.Quantity`;
// `11? securityContext .SecurityContext` is a pointer. Types that begin with a dot are of the message's own package.
//
// Needs Go (for its module cache) and is never needed to run the product.

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";

import { resources } from "../src/kube/resources.ts";
import { schemaOf } from "../src/kube/schema.ts";
import { modules } from "./generate-schemas.ts";

const version = modules.api.slice(modules.api.indexOf("@"));
const sources = ["k8s.io/api", "k8s.io/apimachinery", "k8s.io/apiextensions-apiserver"].map((name) => name + version);

const scalars = new Set([
  "string",
  "bytes",
  "bool",
  "int32",
  "int64",
  "uint32",
  "uint64",
  "double",
  "float",
  "fixed64",
]);

export interface Field {
  readonly number: number;
  readonly name: string;
  /** As in the table. */
  readonly type: string;
  readonly isPointer: boolean;
}

type Messages = ReadonlyMap<string, readonly Field[]>;

if (import.meta.main) main();

function main(): void {
  const path = join(import.meta.dirname, "../src/lab/apiserver/protobuf/messages.json");
  const text = `${JSON.stringify(rows(readMessages()), undefined, 2)}\n`;
  if (!process.argv.includes("--check")) writeFileSync(path, text);
  else if (readFileSync(path, "utf8") !== text) {
    console.error(`${path} differs from what its sources give: run node scripts/generate-protobuf.ts`);
    process.exitCode = 1;
  }
}

function readMessages(): Messages {
  const messages = new Map<string, readonly Field[]>();
  for (const module of sources)
    for (const file of protoFiles(moduleDirectory(module)))
      for (const [name, fields] of readProto(file)) messages.set(name, fields);
  return messages;
}

function moduleDirectory(module: string): string {
  const result = spawnSync("go", ["mod", "download", "-json", module], { encoding: "utf8", cwd: "/" });
  if (result.status !== 0) throw new Error(`go mod download ${module}: ${result.stdout}${result.stderr}`);
  return (JSON.parse(result.stdout) as { Dir: string }).Dir;
}

function protoFiles(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith("generated.proto"))
    .sort()
    .map((name) => join(directory, name));
}

/** The messages of a file; `types.go` beside it says which fields are pointers. */
export function readProto(file: string): ReadonlyMap<string, readonly Field[]> {
  const text = readFileSync(file, "utf8").replace(/\/\/.*$/gm, "");
  const packageName = shortPackage(/^package ([\w.]+);/m.exec(text)?.[1] ?? "");
  const pointers = readPointers(dirname(file));
  const messages = new Map<string, readonly Field[]>();
  for (const [, name = "", body = ""] of text.matchAll(/^message (\w+) \{([^}]*)\}/gm)) {
    const fields = [
      ...body.matchAll(/(optional|repeated)?\s*(map<\s*string\s*,\s*[\w.]+\s*>|[\w.]+)\s+(\w+)\s*=\s*(\d+);/g),
    ].map(([, label, type = "", field = "", number = ""]): Field => ({
      number: Number(number),
      name: field,
      type: `${label === "repeated" ? "[]" : ""}${typeText(type, packageName)}`,
      isPointer: pointers.has(`${name}.${number}`),
    }));
    messages.set(`${packageName}.${name}`, fields);
  }
  return messages;
}

/** `k8s.io.api.core.v1` is `core.v1`, as in the schema table. */
function shortPackage(name: string): string {
  return name.replace(/^.*\.(api|apis|util|pkg)\./, "");
}

function typeText(type: string, packageName: string): string {
  const map = /^map<\s*string\s*,\s*([\w.]+)\s*>$/.exec(type)?.[1];
  if (map !== undefined) return `{}${typeText(map, packageName)}`;
  if (!type.startsWith(".")) return scalars.has(type) ? type : `.${type}`;
  const [, owner = "", name = ""] = /^\.([\w.]+)\.(\w+)$/.exec(type) ?? [];
  const short = shortPackage(owner);
  return short === packageName ? `.${name}` : `${short}.${name}`;
}

/** `DeploymentSpec.1` for every field that is a pointer in Go. */
function readPointers(directory: string): ReadonlySet<string> {
  const pointers = new Set<string>();
  for (const name of readdirSync(directory).filter((each) => /^types.*\.go$/.test(each))) {
    let message = "";
    for (const line of readFileSync(join(directory, name), "utf8").split("\n")) {
      message = /^type (\w+) struct/.exec(line)?.[1] ?? message;
      const number = /^\s+(?:\w+\s+)?\*\S+.*protobuf:"\w+,(\d+)/.exec(line)?.[1];
      if (number !== undefined) pointers.add(`${message}.${number}`);
    }
  }
  return pointers;
}

/** The messages of all kinds there are, and what they refer to. */
/** The table's rows. */
function rows(messages: Messages): readonly string[] {
  const wanted = new Set<string>();
  const want = (name: string): void => {
    const fields = messages.get(name);
    if (wanted.has(name) || fields === undefined) return;
    wanted.add(name);
    for (const { type } of fields) {
      const plain = type.replace(/^(\[\]|\{\})/, "");
      if (plain.startsWith(".")) want(name.slice(0, name.lastIndexOf(".")) + plain);
      else if (plain.includes(".")) want(plain);
    }
  };
  for (const { apiVersion, kind, subresources } of resources) {
    for (const each of [
      { apiVersion, kind },
      ...subresources.map((sub) => ({
        apiVersion: sub.group === "" ? sub.version : `${sub.group}/${sub.version}`,
        kind: sub.kind,
      })),
    ]) {
      const type = schemaOf(each.apiVersion, each.kind);
      if (type !== undefined) want(type.name);
    }
  }
  want("meta.v1.DeleteOptions");
  return [...wanted]
    .sort()
    .flatMap((name) => [
      `@${name}`,
      ...(messages.get(name) ?? []).map(
        ({ number, name: field, type, isPointer }) => `${number}${isPointer ? "?" : ""} ${field} ${type}`,
      ),
    ]);
}
