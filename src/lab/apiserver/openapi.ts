// OpenAPI documents, made from the tables of resources and schemas: version 3 by group (KEP-2896), version 2 in one.
// They say which paths there are and which fields the kinds have; there is no prose in the tables, so descriptions are empty.
//
// Not here: the tables (kube/resources.ts, kube/schema.ts), version 2 in protobuf (openapi-protobuf.ts).

import type { Kind, Kinds } from "../api/kinds.ts";
import { hashOf, type Document } from "./discovery.ts";
import { mediaRanges } from "./negotiate.ts";
import { operationPaths } from "./openapi-paths.ts";
import { schemasOf } from "./openapi-schemas.ts";
import { notAcceptable } from "./status.ts";
import { versionInfo } from "./version.ts";

const json = "application/json";
/** As clients ask for it; `@` is not allowed in a media type, so answers say it otherwise (kube-openapi pkg/handler). */
const protobufAsked = ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf"];
const protobuf = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/** The document of an OpenAPI path; undefined where the path is none. Throws StatusError 406 for encodings of version 2 that are not made. */
export async function openApi(kinds: Kinds, path: string, accept: string | undefined): Promise<Document | undefined> {
  const rows = kinds.all();
  if (path === "/openapi/v3") return { text: indexText(rows), contentType: json };
  if (path === "/openapi/v2") {
    if (isJson(accept)) return cached(rows, path, () => JSON.stringify(versionTwo(rows)));
    const { openApiProtobuf } = await import("./openapi-protobuf.ts");
    return cached(rows, `${path} protobuf`, () => openApiProtobuf(versionTwo(rows)), protobuf);
  }
  const prefix = "/openapi/v3/";
  if (!path.startsWith(prefix)) return undefined;
  const name = path.slice(prefix.length);
  const here = rows.filter((row) => documentName(row) === name);
  return here.length === 0 ? undefined : cached(rows, path, () => groupText(here));
}

/** `api/v1`, `apis/apps/v1`. */
function documentName({ group, apiVersion }: Kind): string {
  return `${group === "" ? "api" : "apis"}/${apiVersion}`;
}

function indexText(rows: readonly Kind[]): string {
  const names = [...new Set(rows.map(documentName))];
  const paths = names.map((name) => {
    // What a document says depends on its rows alone: no need to make it to name it.
    const hash = hashOf(JSON.stringify(rows.filter((row) => documentName(row) === name)));
    return [name, { serverRelativeURL: `/openapi/v3/${name}?hash=${hash}` }];
  });
  return JSON.stringify({ paths: Object.fromEntries(paths) });
}

const documents = new WeakMap<readonly Kind[], Map<string, Document>>();

/** Documents are made when they are first asked for and kept as long as the kinds stay the same. */
function cached(
  rows: readonly Kind[],
  path: string,
  make: () => string | Buffer,
  contentType: string = json,
): Document {
  let made = documents.get(rows);
  if (made === undefined) documents.set(rows, (made = new Map()));
  let document = made.get(path);
  if (document === undefined) {
    const text = make();
    made.set(path, (document = { text, contentType, etag: `"${hashOf(text)}"` }));
  }
  return document;
}

const info = { title: "Kubernetes", version: versionInfo["gitVersion"] };

function groupText(rows: readonly Kind[]): string {
  return JSON.stringify({
    openapi: "3.0.0",
    info,
    paths: operationPaths(rows, 3),
    components: {
      schemas: schemasOf(rows, 3),
      securitySchemes: {
        BearerToken: {
          type: "apiKey",
          description: "Bearer Token authentication",
          name: "authorization",
          in: "header",
        },
      },
    },
  });
}

function versionTwo(rows: readonly Kind[]): { readonly [name: string]: unknown } {
  return { swagger: "2.0", info, paths: operationPaths(rows, 2), definitions: schemasOf(rows, 2) };
}

/** Old clients ask for protobuf alone. Throws StatusError 406 for anything else. */
function isJson(accept: string | undefined): boolean {
  if (accept === undefined || accept.trim() === "") return true;
  for (const { type } of mediaRanges(accept)) {
    if (["application/json", "application/*", "*/*"].includes(type)) return true;
    if (type === protobuf || protobufAsked.includes(type)) return false;
  }
  throw notAcceptable([json, protobuf]);
}
