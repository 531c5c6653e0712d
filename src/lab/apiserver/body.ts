// Request bodies as objects: JSON, YAML or protobuf bytes in; an object of the expected kind out, with what was wrong with its fields
// handled as the client asked (KEP-2885: fieldValidation Strict, Warn or Ignore).
//
// Not here: whether the object is valid (the write path).

import type { KubeObject } from "../../kube/object.ts";
import { problemText } from "../../kube/problem.ts";
import { structureProblems } from "../../kube/structure.ts";
import { badRequest } from "../api/errors.ts";
import type { Kind } from "../api/kinds.ts";
import type { StatusError } from "../api/store.ts";
import { withoutKind } from "../api/custom.ts";
import { pruned } from "../api/custom-schema.ts";
import { readBody, type Exchange } from "./exchange.ts";
import { duplicateFields } from "./duplicate-fields.ts";
import { knownFields } from "./known-fields.ts";
import { parseRange } from "./negotiate.ts";
import { checkedNesting, checkedNestingOf, opensWithoutEnd, tooDeep } from "./nesting.ts";
import { createRepeatedBodies } from "./repeated-bodies.ts";
import { unsupportedMedia } from "./status.ts";

/** What can be read as an object. */
const objectTypes = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/** Any JSON object. */
export type Fields = { readonly [field: string]: unknown };

/** The kind an object must be of. */
export interface Expected {
  readonly apiVersion: string;
  readonly kind: string;
}

/** Reads the body as an object. Empty bodies give undefined. Throws StatusError 400, 413, 415. */
export async function readObjectBody(exchange: Exchange, expected: Expected): Promise<Fields | undefined> {
  const { request } = exchange;
  const bytes = await readBody(request);
  if (bytes.length === 0) return undefined;
  const { type } = parseRange(request.headers["content-type"] ?? "application/json");
  if (type === "application/vnd.kubernetes.protobuf") {
    const { decodeProtobuf } = await import("./protobuf/decode.ts");
    return decodeProtobuf(bytes, expected);
  }
  const text = bytes.toString();
  const fields = await parseText(text, type, expected);
  // Looked for where the client has asked about its fields, as kubectl does: it costs as much as reading the text once more.
  const validation = exchange.target.query.get("fieldValidation") ?? "Ignore";
  if (validation !== "Ignore" && text.trimStart().startsWith("{")) noteDuplicates(fields, duplicateFields(text));
  return fields;
}

/** Reads the body as an object, which there must be. Throws StatusError 400, 413, 415. */
export async function readRequiredBody(exchange: Exchange, expected: Expected): Promise<Fields> {
  const fields = await readObjectBody(exchange, expected);
  if (fields === undefined) throw unrecognized(expected.kind, "unexpected end of JSON input (<empty>)");
  return fields;
}

/** Fields that a body gave twice, by the object made of it. */
const duplicates = new WeakMap<Fields, readonly string[]>();

function noteDuplicates(fields: Fields, paths: readonly string[]): void {
  if (paths.length > 0) duplicates.set(fields, paths);
}

/** JSON or YAML text as an object; `expected` is what it should be one of. Throws StatusError 400, 415. */
async function parseText(text: string, type: string, expected: Expected): Promise<Fields> {
  if (type === "application/yaml" || type === "application/x-yaml") return fieldsOf(await parseYaml(text), expected);
  if (type === "application/json" || type === "" || type === "*/*")
    return checkedNestingOf(fieldsOf(parseJson(text, expected), expected), text);
  throw unsupportedMedia(type, objectTypes);
}

const parseRepeated = createRepeatedBodies();

function parseJson(text: string, { apiVersion, kind }: Expected): unknown {
  try {
    return parseRepeated(text, `${apiVersion} ${kind}`);
  } catch (error) {
    throw unrecognized(kind, wordsOf(error));
  }
}

function unrecognized(kind: string, why: string): StatusError {
  return badRequest(
    `the object provided is unrecognized (must be of type ${kind}): couldn't get version/kind; json parse error: ${why}`,
  );
}

/** YAML as JSON would say it. Throws StatusError 400. */
export async function parseYaml(text: string): Promise<unknown> {
  return checkedNesting(await parseAnyYaml(text));
}

async function parseAnyYaml(text: string): Promise<unknown> {
  // JSON is YAML, and much cheaper to read.
  if (text.trimStart().startsWith("{")) {
    try {
      return JSON.parse(text);
    } catch {
      // It may still be YAML's flow style.
    }
  }
  if (opensWithoutEnd(text)) throw tooDeep();
  const { parse } = await import("yaml");
  try {
    return JSON.parse(JSON.stringify(parse(text, { maxAliasCount: 100, logLevel: "error" }) ?? null));
  } catch (error) {
    throw badRequest(`error decoding YAML: ${duplicateKey(error, text) ?? wordsOf(error)}`);
  }
}

/** In the words of Go's parser, which tests and people know. */
function duplicateKey(error: unknown, text: string): string | undefined {
  const { code, linePos, pos } = error as {
    code?: string;
    linePos?: readonly { line: number }[];
    pos?: readonly number[];
  };
  if (code !== "DUPLICATE_KEY") return undefined;
  const key = /^[^\s:]+/.exec(text.slice(pos?.[0] ?? 0))?.[0] ?? "";
  return `line ${linePos?.[0]?.line ?? 0}: key ${JSON.stringify(key.replace(/^["'](.*)["']$/, "$1"))} already set in map`;
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Nothing said is an object that says nothing. */
function fieldsOf(value: unknown, { kind }: Expected): Fields {
  if (value === null) return {};
  if (typeof value === "object" && !Array.isArray(value)) return value as Fields;
  throw unrecognized(
    kind,
    `an object begins with {, this is ${Array.isArray(value) ? "an array" : `a ${typeof value}`}`,
  );
}

export type FieldValidation = "Strict" | "Warn" | "Ignore";

/** What a body's kind has to be known by; a subresource's own is in no table of kinds. */
type BodyKind = Pick<Kind, "apiVersion" | "version" | "kind" | "custom">;

/**
 * Fields as an object of a kind: apiVersion and kind filled in or checked, metadata there, unknown fields dropped (with a warning or an
 * error, as asked for). Throws StatusError 400 where they are of another kind or have the wrong types.
 */
export function objectOfKind(
  fields: Fields,
  kind: BodyKind,
  options: { readonly validation: FieldValidation; readonly warnings: Set<string> },
): KubeObject {
  const unknown: string[] = [];
  const object = readObjectOfKind(fields, kind, unknown);
  sayUnknown(unknown, duplicates.get(fields) ?? [], kind, options);
  return object;
}

/** As objectOfKind, for an apply configuration: there an unknown field is an error whatever was asked for. */
export function configurationOfKind(fields: Fields, kind: Kind): KubeObject {
  const unknown: string[] = [];
  const object = readObjectOfKind(fields, kind, unknown);
  if (unknown.length === 0) return object;
  const { namespace, name } = object.metadata;
  const what = `${namespace ?? ""}/${name ?? ""}; ${kind.group}/${kind.version}, Kind=${kind.kind}`;
  const texts = unknown.map((path) => `.${path}: field not declared in schema`);
  throw badRequest(
    `failed to create typed patch object (${what}): ${texts.length === 1 ? texts[0] : `errors:\n  ${texts.join("\n  ")}`}`,
  );
}

function readObjectOfKind(fields: Fields, kind: BodyKind, unknown: string[]): KubeObject {
  checkKind(fields, kind);
  const object = {
    ...fields,
    apiVersion: kind.apiVersion,
    kind: kind.kind,
    metadata: fields["metadata"] ?? {},
  } as KubeObject;
  const schema = kind.custom?.schema?.openAPIV3Schema;
  const problems = structureProblems(kind.custom === undefined ? object : withoutKind(object)).filter(
    (problem) => problem.reason !== "UnknownField",
  );
  if (problems.length > 0) throw badRequest(`${cannotBe(kind)}: ${problems.map(problemText).join(", ")}`);
  const known = kind.custom === undefined ? knownFields(object, unknown) : withKnownMetadata(object, unknown);
  return schema === undefined ? known : (pruned(known, schema, unknown) as KubeObject);
}

function withKnownMetadata(object: KubeObject, unknown: string[]): KubeObject {
  const { metadata } = knownFields({ apiVersion: "v1", kind: "ConfigMap", metadata: object.metadata }, unknown);
  return metadata === object.metadata ? object : { ...object, metadata };
}

function sayUnknown(
  unknown: readonly string[],
  twice: readonly string[],
  kind: BodyKind,
  { validation, warnings }: { readonly validation: FieldValidation; readonly warnings: Set<string> },
): void {
  if (unknown.length === 0 && twice.length === 0) return;
  const texts = [
    ...unknown.map((path) => `unknown field ${JSON.stringify(path)}`),
    ...twice.map((path) => `duplicate field ${JSON.stringify(path)}`),
  ];
  if (validation === "Strict") throw badRequest(`${cannotBe(kind)}: strict decoding error: ${texts.join(", ")}`);
  if (validation === "Warn") for (const text of texts) warnings.add(text);
}

function cannotBe({ kind, version }: BodyKind): string {
  return `${kind} in version ${JSON.stringify(version)} cannot be handled as a ${kind}`;
}

// What upstream's decoder says of another kind or version.
function checkKind({ apiVersion, kind }: Fields, expected: BodyKind): void {
  const version = textOf(apiVersion ?? "");
  const isVersion = version === "" || version === expected.apiVersion;
  const name = textOf(kind ?? "");
  if (isVersion && (name === "" || name === expected.kind)) return;
  const given = `${name === "" ? expected.kind : name} in version ${JSON.stringify(version.slice(version.lastIndexOf("/") + 1))}`;
  const why = isVersion
    ? `the kind in the data (${name}) does not match the expected kind (${expected.kind})`
    : `the API version in the data (${version}) does not match the expected API version (${expected.apiVersion})`;
  throw badRequest(`${given} cannot be handled as a ${expected.kind}: ${why}`);
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
