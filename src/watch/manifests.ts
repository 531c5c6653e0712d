// Manifests: files and folders of YAML and JSON become objects that know the file and line of each of their fields.
// What is wrong with them is collected, not thrown: broken YAML, tabs, duplicate keys, unknown kinds and fields, wrong types and values,
// each with `file:line:` in front.
//
// Not here: putting objects into a namespace, comparing them with what is in the cluster (lab/api/check.ts), storing them.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import process from "node:process";

import { objectProblems } from "../kube/check.ts";
import { warningsOf } from "../kube/warnings.ts";
import { annotations, type KubeObject } from "../kube/object.ts";
import { problemText, type FieldProblem } from "../kube/problem.ts";
import { resourceOf } from "../kube/resources.ts";
import { sameButSource } from "../kube/source.ts";
import { readDocuments, type Document } from "./documents.ts";

/** Something about a manifest that a person should know. */
export interface ManifestProblem {
  readonly severity: "error" | "warning";
  /** Whole: `shop.yaml:31: Service api-server: spec.ports[0].port: Invalid value: …`. */
  readonly message: string;
  readonly file: string;
  /** Counted from 1; undefined where the whole file is meant. */
  readonly line?: number;
}

export interface Manifests {
  /** In the order of paths, files by name, and documents; each with annotation `fairlead.dev/source`. Only those without errors. */
  readonly objects: readonly KubeObject[];
  readonly problems: readonly ManifestProblem[];
}

/**
 * Reads files and folders (`-` is standard input; of a folder the files `*.yaml`, `*.yml` and `*.json` directly in it).
 * Nothing is thrown for what manifests contain; where problems has an error, nothing should be applied.
 */
export function readManifests(
  paths: readonly string[],
  options: { readonly unknownKinds?: UnknownKinds } = {},
): Manifests {
  const sink: Sink = { objects: [], problems: [], unknown: [] };
  for (const path of paths) {
    for (const file of filesOf(path, sink.problems)) {
      const text = textOf(file, sink.problems);
      if (text !== undefined) readText(text, shownName(file), sink);
    }
  }
  return finished(sink, options.unknownKinds);
}

/**
 * `keep`: somebody else knows whether there is such a kind. Otherwise kinds must be known out of the box, or a CustomResourceDefinition
 * among the manifests makes them.
 */
export type UnknownKinds = "keep" | undefined;

function finished({ objects, problems, unknown }: Sink, unknownKinds: UnknownKinds): Manifests {
  const definitions = objects.filter(({ kind }) => kind === "CustomResourceDefinition");
  for (const { object, problem } of unknown)
    if (unknownKinds === "keep" || definitions.some((each) => defines(each, object))) objects.push(object);
    else problems.push(problem);
  return { objects: onlyOnce(objects, problems), problems };
}

function defines({ spec }: KubeObject, { apiVersion, kind }: KubeObject): boolean {
  const { group, names, versions } = (spec ?? {}) as {
    readonly group?: string;
    readonly names?: { readonly kind?: string };
    readonly versions?: readonly { readonly name?: string }[];
  };
  return names?.kind === kind && (versions ?? []).some(({ name }) => `${group}/${name}` === apiVersion);
}

/** As `readManifests`, for one text that is already there. */
export function parseManifests(text: string, file: string): Manifests {
  const sink: Sink = { objects: [], problems: [], unknown: [] };
  readText(text, file, sink);
  return finished(sink, undefined);
}

function filesOf(path: string, problems: ManifestProblem[]): string[] {
  if (path === "-") return [path];
  try {
    if (!statSync(path).isDirectory()) return [path];
    const files = readdirSync(path)
      .filter((name) => /\.(ya?ml|json)$/.test(name) && !name.startsWith("."))
      .sort()
      .map((name) => join(path, name));
    if (files.length === 0)
      problems.push(fileProblem(path, "no .yaml, .yml or .json file in this folder (folders in it are not read)"));
    return files;
  } catch (error) {
    problems.push(fileProblem(path, reasonOf(error)));
    return [];
  }
}

function textOf(file: string, problems: ManifestProblem[]): string | undefined {
  try {
    const bytes = readFileSync(file === "-" ? process.stdin.fd : file);
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    const reason = error instanceof TypeError ? "this is not UTF-8 text" : reasonOf(error);
    problems.push(fileProblem(file, reason));
    return undefined;
  }
}

function fileProblem(file: string, reason: string): ManifestProblem {
  const shown = shownName(file);
  return { severity: "error", file: shown, message: `${shown}: ${reason}` };
}

function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT") return "there is no such file or folder";
  if (code === "EACCES") return "this user may not read it";
  return error instanceof Error ? error.message : String(error);
}

/** As people would type it: relative to where they are, unless it lies elsewhere. */
function shownName(file: string): string {
  if (file === "-") return "stdin";
  const path = relative(process.cwd(), file);
  return path.startsWith("..") ? file : path;
}

interface Sink {
  readonly objects: KubeObject[];
  readonly problems: ManifestProblem[];
  /** Objects of kinds that are not known out of the box, with what is wrong if nobody else knows them. */
  readonly unknown: { readonly object: KubeObject; readonly problem: ManifestProblem }[];
}

function readText(text: string, file: string, { objects, problems: all, unknown }: Sink): void {
  const problems: ManifestProblem[] = [];
  const { documents, errors } = readDocuments(text);
  for (const { line, message } of errors)
    problems.push({ severity: "error", file, line, message: `${file}:${line}: ${message}` });
  for (const document of documents.flatMap(itemsOf)) readObject(document, file, { objects, problems, unknown });
  all.push(...problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0)));
}

/** The items of a List (`v1/List`, `v1/PodList` …) are documents of their own. */
function itemsOf(document: Document): Document[] {
  const { value } = document;
  const fields = value as { readonly kind?: unknown; readonly items?: unknown } | null;
  const isList = typeof fields === "object" && typeof fields?.kind === "string" && fields.kind.endsWith("List");
  if (!isList || !Array.isArray(fields.items)) return [document];
  return fields.items.flatMap((item: unknown, index) =>
    itemsOf({ value: item, lineOf: (field) => document.lineOf(["items", index, ...field]) }),
  );
}

function readObject(document: Document, file: string, { objects, problems, unknown }: Sink): void {
  const line = document.lineOf([]);
  const shape = shapeProblem(document.value);
  if (shape !== undefined) {
    problems.push({ severity: "error", file, line, message: `${file}:${line}: ${shape}` });
    return;
  }
  const object = document.value as KubeObject;
  const problemOf = (severity: "error" | "warning", field: string, text: string): ManifestProblem => {
    const place = document.lineOf(pathOf(field, document.value));
    return { severity, file, line: place, message: `${file}:${place}: ${nameOf(object)}: ${text}` };
  };
  const say = (severity: "error" | "warning", field: string, text: string): void =>
    void problems.push(problemOf(severity, field, text));
  const wrong = objectProblems(object);
  const [first] = wrong;
  if (first !== undefined && resourceOf(object.apiVersion, object.kind) === undefined) {
    unknown.push({
      object: withSource(object, file, document),
      problem: problemOf("error", first.field, problemText(first)),
    });
    return;
  }
  for (const problem of wrong) say("error", problem.field, problemText(problem) + hintFor(problem));
  if (wrong.length > 0) return;
  for (const { field, text } of warningsOf(object)) say("warning", field, text);
  objects.push(withSource(object, file, document));
}

/** What people most often stumble over when text is wanted. */
function hintFor({ message }: FieldProblem): string {
  if (message.endsWith('must be of type string: "boolean"'))
    return " (YAML reads yes, no, on, off, y and n as booleans: put text in quotes)";
  return message.endsWith('must be of type string: "number"') ? " (put text in quotes)" : "";
}

/** What keeps a value from being an object at all; undefined where it is one. */
function shapeProblem(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return "this is no Kubernetes object: it must be a mapping with apiVersion and kind";
  const { apiVersion, kind, metadata } = value as { apiVersion?: unknown; kind?: unknown; metadata?: unknown };
  if (typeof apiVersion !== "string" || apiVersion === "") return "apiVersion: Required value: such as v1 or apps/v1";
  if (typeof kind !== "string" || kind === "") return "kind: Required value: such as Pod or Service";
  if (typeof metadata !== "object" || metadata === null || Array.isArray(metadata))
    return `${kind}: metadata: Required value: with a name in it`;
  return undefined;
}

function nameOf({ kind, metadata: { namespace, name, generateName } }: KubeObject): string {
  const shown = name ?? generateName ?? "without a name";
  return namespace === undefined ? `${kind} ${shown}` : `${kind} ${namespace}/${shown}`;
}

/** `spec.ports[0].targetPort` as steps into the value; map keys may contain dots, and stand in brackets. */
function pathOf(field: string, value: unknown): (string | number)[] {
  const steps: (string | number)[] = [];
  let here = value;
  for (const [, name, key] of field.matchAll(/([^.[\]]+)|\[([^\]]*)\]/g)) {
    const text = name ?? key ?? "";
    const step = Array.isArray(here) ? Number(text) : text;
    if (typeof here !== "object" || here === null) break;
    steps.push(step);
    here = (here as { readonly [step: string]: unknown })[step];
  }
  return steps;
}

/** Fields whose lines nobody asks for: what files of configuration contain. */
const unlisted = new Set(["data", "stringData", "binaryData", "metadata", "status", "apiVersion", "kind"]);

/** Fields whose own line says enough: no fact of the network comes from inside of them. */
const closed = new Set([
  "affinity",
  "env",
  "envFrom",
  "lifecycle",
  "resources",
  "securityContext",
  "tolerations",
  "topologySpreadConstraints",
  "volumeMounts",
  "volumes",
]);

const linesMax = 400;

/** The object with annotation `fairlead.dev/source`: its file and line, and the lines of its fields where they differ from their parent's. */
function withSource(object: KubeObject, file: string, document: Document): KubeObject {
  const line = document.lineOf([]);
  const lines: { [field: string]: number } = {};
  let count = 0;
  const visit = (value: unknown, steps: (string | number)[], field: string, parentLine: number): void => {
    if (typeof value !== "object" || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      if (steps.length === 0 && unlisted.has(key)) continue;
      if (count >= linesMax) return;
      const step = Array.isArray(value) ? Number(key) : key;
      const innerField = typeof step === "number" ? `${field}[${step}]` : field === "" ? step : `${field}.${step}`;
      const innerSteps = [...steps, step];
      const innerLine = document.lineOf(innerSteps);
      if (innerLine !== parentLine) {
        lines[innerField] = innerLine;
        count++;
      }
      if (!closed.has(key)) visit(inner, innerSteps, innerField, innerLine);
    }
  };
  visit(object, [], "", line);
  const source = JSON.stringify({ file, line, lines });
  return {
    ...object,
    metadata: { ...object.metadata, annotations: { ...object.metadata.annotations, [annotations.source]: source } },
  };
}

/** Each object once. Two manifests of one object are an error, as the second would silently win, unless both say the same. */
function onlyOnce(objects: readonly KubeObject[], problems: ManifestProblem[]): KubeObject[] {
  const seen = new Map<string, KubeObject>();
  return objects.filter((object) => {
    const before = (object.metadata.name ?? "") === "" ? undefined : seen.get(idOf(object));
    if (before === undefined) {
      seen.set(idOf(object), object);
      return true;
    }
    if (sameButSource(before, object)) return false;
    const [{ file, line }, first] = [sourceOf(object), sourceOf(before)];
    const text = `metadata.name: Duplicate value: ${JSON.stringify(object.metadata.name)}`;
    const message = `${file}:${line}: ${nameOf(object)}: ${text}: it is also at ${first.file}:${first.line}, and says something else there`;
    problems.push({ severity: "error", file, line, message });
    return true;
  });
}

function idOf({ apiVersion, kind, metadata }: KubeObject): string {
  const row = resourceOf(apiVersion, kind);
  const namespace = row?.namespaced === true ? (metadata.namespace ?? "default") : "";
  return `${row?.group} ${row?.resource} ${namespace} ${metadata.name}`;
}

function sourceOf(object: KubeObject): { readonly file: string; readonly line: number } {
  return JSON.parse(object.metadata.annotations?.[annotations.source] ?? "{}") as { file: string; line: number };
}
