// Paths and operations of OpenAPI documents: a row of the resource table makes two or three paths, a subresource one.

import type { Kind } from "../api/kinds.ts";
import { schemaOf } from "../../kube/schema.ts";
import { kindName, listName, reference, schemaName, type OpenApiVersion } from "./openapi-schemas.ts";

type Json = { readonly [name: string]: unknown };
type Mutable = { [name: string]: unknown };

/** All paths of these kinds. */
export function operationPaths(rows: readonly Kind[], version: OpenApiVersion): Json {
  const paths: { [path: string]: Json } = {};
  for (const row of rows) {
    const root = `/${row.group === "" ? "api" : "apis"}/${row.apiVersion}`;
    const scoped = row.namespaced ? `${root}/namespaces/{namespace}/${row.resource}` : `${root}/${row.resource}`;
    const place = row.namespaced ? [pathParameter("namespace", version)] : [];
    const one = [...place, pathParameter("name", version)];
    add(paths, scoped, place, row, { get: "list", post: "create", delete: "deletecollection" }, version);
    add(paths, `${scoped}/{name}`, one, row, { get: "get", put: "update", patch: "patch", delete: "delete" }, version);
    if (row.namespaced) add(paths, `${root}/${row.resource}`, [], row, { get: "list" }, version);
    for (const subresource of row.subresources)
      addSubresource(paths, `${scoped}/{name}`, one, { row, subresource }, version);
  }
  return paths;
}

function pathParameter(name: string, version: OpenApiVersion): Json {
  return { name, in: "path", required: true, ...typed("string", version) };
}

function queryParameter(name: string, type: string, version: OpenApiVersion): Json {
  return { name, in: "query", ...typed(type, version) };
}

function typed(type: string, version: OpenApiVersion): Json {
  return version === 3 ? { schema: { type } } : { type };
}

const queries: { readonly [verb: string]: readonly (readonly [name: string, type: string])[] } = {
  list: [
    ["labelSelector", "string"],
    ["fieldSelector", "string"],
    ["limit", "integer"],
    ["continue", "string"],
    ["resourceVersion", "string"],
    ["resourceVersionMatch", "string"],
    ["watch", "boolean"],
    ["allowWatchBookmarks", "boolean"],
    ["sendInitialEvents", "boolean"],
    ["timeoutSeconds", "integer"],
  ],
  get: [],
  create: [
    ["dryRun", "string"],
    ["fieldManager", "string"],
    ["fieldValidation", "string"],
  ],
  delete: [
    ["dryRun", "string"],
    ["gracePeriodSeconds", "integer"],
    ["propagationPolicy", "string"],
  ],
};

function queriesOf(verb: string): readonly (readonly [string, string])[] {
  switch (verb) {
    case "update":
      return queries["create"] ?? [];
    case "patch":
      return [...(queries["create"] ?? []), ["force", "boolean"]];
    case "deletecollection":
      return [...(queries["delete"] ?? []), ["labelSelector", "string"], ["fieldSelector", "string"]];
  }
  return queries[verb] ?? [];
}

function add(
  paths: { [path: string]: Json },
  path: string,
  parameters: readonly Json[],
  row: Kind,
  verbs: { readonly [method: string]: string },
  version: OpenApiVersion,
): void {
  const operations: Mutable = {};
  for (const [method, verb] of Object.entries(verbs))
    if (row.verbs.includes(verb)) operations[method] = operation(path, method, verb, kindsOf(row, verb), version);
  if (Object.keys(operations).length > 0) paths[path] = { ...withParameters(parameters), ...operations };
}

/** Upstream's clients read a document and write it again: what is empty is not written. */
function withParameters(parameters: readonly Json[]): Json {
  return parameters.length === 0 ? {} : { parameters };
}

const methods: { readonly [verb: string]: string } = {
  get: "get",
  create: "post",
  update: "put",
  patch: "patch",
  delete: "delete",
};

function addSubresource(
  paths: { [path: string]: Json },
  base: string,
  parameters: readonly Json[],
  { row, subresource }: { readonly row: Kind; readonly subresource: Kind["subresources"][number] },
  version: OpenApiVersion,
): void {
  const { name, group, kind } = subresource;
  const apiVersion = group === "" ? subresource.version : `${group}/${subresource.version}`;
  const type = schemaOf(apiVersion, kind);
  const schema = type === undefined ? (kind === row.kind ? kindName(row) : undefined) : schemaName(type.name);
  const shown: Shown = {
    gvk: { group, version: subresource.version, kind },
    schema,
    result: schema,
    isCustom: row.custom !== undefined,
  };
  const path = `${base}/${name}`;
  const operations: Mutable = {};
  for (const verb of subresource.verbs) {
    const method = methods[verb];
    if (method !== undefined) operations[method] = operation(path, method, verb, shown, version);
  }
  paths[path] = { ...withParameters(parameters), ...operations };
}

interface Shown {
  readonly gvk: object;
  /** Of the body; undefined where there is none in the table. */
  readonly schema: string | undefined;
  readonly result: string | undefined;
  /** Of a custom resource: there is no strategic merge for those. */
  readonly isCustom: boolean;
}

function kindsOf(row: Kind, verb: string): Shown {
  const gvk = { group: row.group, version: row.version, kind: row.kind };
  return {
    gvk,
    schema: kindName(row),
    result: verb === "list" ? listName(row) : kindName(row),
    isCustom: row.custom !== undefined,
  };
}

const patchTypes = [
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
  "application/apply-patch+yaml",
];

/** kubectl takes the best that is here: strategic merges are for kinds that are built in. */
function patchTypesOf({ isCustom }: Shown): readonly string[] {
  return isCustom ? patchTypes.filter((type) => !type.includes("strategic")) : patchTypes;
}

/** What upstream calls the verbs of resources in these documents. */
const actions: { readonly [verb: string]: string } = { create: "post", update: "put" };

function operation(path: string, method: string, verb: string, shown: Shown, version: OpenApiVersion): Json {
  const result = shown.result === undefined ? { type: "object" } : reference(shown.result, version);
  const codes =
    verb === "create" ? ["200", "201", "202"] : verb === "update" || verb === "patch" ? ["200", "201"] : ["200"];
  const content = { "application/json": { schema: result } };
  const answer = version === 3 ? { description: "OK", content } : { description: "OK", schema: result };
  const refused = { description: "Status" };
  const body = bodyOf(verb, shown, version);
  return {
    operationId: `${method}${path.replace(/[{}]/g, "").replace(/[^A-Za-z0-9]+(.)?/g, (_, letter: string | undefined) => (letter ?? "").toUpperCase())}`,
    ...withParameters([
      ...queriesOf(verb).map(([name, type]) => queryParameter(name, type, version)),
      ...(version === 2 && body !== undefined ? [{ name: "body", in: "body", schema: body }] : []),
    ]),
    ...(version === 3 && body !== undefined ? { requestBody: { content: body } } : {}),
    responses: { ...Object.fromEntries(codes.map((code) => [code, answer])), default: refused },
    ...(version === 2
      ? { consumes: verb === "patch" ? patchTypesOf(shown) : ["*/*"], produces: ["application/json"] }
      : {}),
    "x-kubernetes-action": actions[verb] ?? verb,
    "x-kubernetes-group-version-kind": shown.gvk,
  };
}

function bodyOf(verb: string, shown: Shown, version: OpenApiVersion): Json | undefined {
  const { schema } = shown;
  const own = schema === undefined ? { type: "object" } : reference(schema, version);
  switch (verb) {
    case "create":
    case "update":
      return version === 3 ? { "application/json": { schema: own } } : own;
    case "patch":
      return version === 3
        ? Object.fromEntries(
            patchTypesOf(shown).map((type) => [
              type,
              { schema: type === patchTypes[0] ? { type: "array", items: { type: "object" } } : { type: "object" } },
            ]),
          )
        : { type: "object" };
    case "delete":
    case "deletecollection": {
      const options = schemaName("meta.v1.DeleteOptions");
      return version === 3 ? { "application/json": { schema: { type: "object" } } } : reference(options, version);
    }
  }
  return undefined;
}
