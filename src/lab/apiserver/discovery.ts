// Discovery: which groups, versions and resources there are, as clients ask before anything else.
// Both forms: the aggregated one (KEP-3352, one document for all groups) and the one document for each group and version.
//
// Not here: the fields of the kinds (openapi.ts).

import { createHash } from "node:crypto";
import type { Kind, Kinds } from "../api/kinds.ts";
import { compareVersions } from "../api/custom-definitions.ts";
import { mediaRanges } from "./negotiate.ts";

/** A discovery document. */
export interface Document {
  readonly text: string | Buffer;
  readonly contentType: string;
  readonly etag?: string;
}

/** The document of a discovery path; undefined where the path is none, or names a group or version that is not there. */
export function discover(kinds: Kinds, path: string, accept: string | undefined): Document | undefined {
  const [root, group, version, ...rest] = path
    .split("/")
    .slice(1)
    .filter((part) => part !== "");
  if (rest.length > 0 || (root === "api" && version !== undefined)) return undefined;
  const rows = kinds.all();
  if (root === "api") {
    if (group !== undefined) return resourceList(rows, "", group);
    return aggregatedFor(accept, () => rows.filter((row) => row.group === "")) ?? plain(coreVersions);
  }
  if (root !== "apis") return undefined;
  if (group === undefined)
    return (
      aggregatedFor(accept, () => rows.filter((row) => row.group !== "")) ??
      plain({
        kind: "APIGroupList",
        apiVersion: "v1",
        groups: groupNames(rows).map((name) => groupDocument(rows, name)),
      })
    );
  if (version !== undefined) return resourceList(rows, group, version);
  return groupNames(rows).includes(group)
    ? plain({ kind: "APIGroup", apiVersion: "v1", ...groupDocument(rows, group) })
    : undefined;
}

const coreVersions = {
  kind: "APIVersions",
  versions: ["v1"],
  serverAddressByClientCIDRs: [],
};

function plain(value: unknown): Document {
  return { text: JSON.stringify(value), contentType: "application/json" };
}

function groupNames(rows: readonly Kind[]): readonly string[] {
  return [...new Set(rows.map((row) => row.group))].filter((name) => name !== "");
}

/** The versions of a group, the preferred first. */
function versionsOf(rows: readonly Kind[], group: string): readonly string[] {
  const versions = [...new Set(rows.filter((row) => row.group === group).map((row) => row.version))];
  return versions.sort((a, b) => compareVersions(b, a));
}

function groupDocument(rows: readonly Kind[], name: string): object {
  const versions = versionsOf(rows, name).map((version) => ({ groupVersion: `${name}/${version}`, version }));
  return { name, versions, preferredVersion: versions[0] };
}

function resourceList(rows: readonly Kind[], group: string, version: string): Document | undefined {
  const here = rows.filter((row) => row.group === group && row.version === version);
  if (here.length === 0) return undefined;
  const groupVersion = group === "" ? version : `${group}/${version}`;
  return plain({
    kind: "APIResourceList",
    ...(group === "" ? {} : { apiVersion: "v1" }),
    groupVersion,
    resources: here.flatMap(listedResources),
  });
}

function listedResources(row: Kind): readonly object[] {
  const storageVersionHash = storageVersionOf(row);
  return [
    {
      name: row.resource,
      singularName: row.singular,
      namespaced: row.namespaced,
      kind: row.kind,
      verbs: [...row.verbs].sort(),
      ...(row.shortNames.length === 0 ? {} : { shortNames: row.shortNames }),
      ...(row.categories.length === 0 ? {} : { categories: row.categories }),
      ...(row.verbs.includes("watch") ? { storageVersionHash } : {}),
    },
    ...row.subresources.map(({ name, group, version, kind, verbs }) => ({
      name: `${row.resource}/${name}`,
      singularName: "",
      namespaced: row.namespaced,
      ...(group === row.group && version === row.version ? {} : { group, version }),
      kind,
      verbs: [...verbs].sort(),
    })),
  ];
}

// The versions of the aggregated form, the newest first; kubectl 1.32 asks for both.
const aggregatedVersions = ["v2", "v2beta1"];

function aggregatedFor(accept: string | undefined, rows: () => readonly Kind[]): Document | undefined {
  for (const { type, parameters } of mediaRanges(accept ?? "")) {
    if (type !== "application/json") continue;
    const { as, g, v = "" } = parameters;
    if (as === undefined) return undefined;
    if (as !== "APIGroupDiscoveryList" || g !== "apidiscovery.k8s.io" || !aggregatedVersions.includes(v)) continue;
    const text = JSON.stringify(aggregated(rows(), v));
    const contentType = `application/json;g=apidiscovery.k8s.io;v=${v};as=APIGroupDiscoveryList`;
    return { text, contentType, etag: `"${hashOf(text)}"` };
  }
  return undefined;
}

function aggregated(rows: readonly Kind[], version: string): object {
  const groups = [...new Set(rows.map((row) => row.group))];
  return {
    kind: "APIGroupDiscoveryList",
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groups.map((group) => ({
      metadata: { name: group, creationTimestamp: null },
      versions: versionsOf(rows, group).map((each) => ({
        version: each,
        resources: rows.filter((row) => row.group === group && row.version === each).map(aggregatedResource),
        freshness: "Current",
      })),
    })),
  };
}

function aggregatedResource(row: Kind): object {
  return {
    resource: row.resource,
    responseKind: { group: row.group, version: row.version, kind: row.kind },
    scope: row.namespaced ? "Namespaced" : "Cluster",
    singularResource: row.singular,
    verbs: [...row.verbs].sort(),
    ...(row.shortNames.length === 0 ? {} : { shortNames: row.shortNames }),
    ...(row.categories.length === 0 ? {} : { categories: row.categories }),
    ...(row.subresources.length === 0
      ? {}
      : {
          subresources: row.subresources.map(({ name, group, version, kind, verbs }) => ({
            subresource: name,
            responseKind: { group, version, kind },
            verbs: [...verbs].sort(),
          })),
        }),
  };
}

/** A hash for ETags and cache keys. */
/** By which clients see that the version in which a kind is stored is another one (apiserver discovery.StorageVersionHash). */
function storageVersionOf({ stored: { group, apiVersion, kind } }: Kind): string {
  const text = `${group === "" ? "/" : ""}${apiVersion}/${kind}`;
  return createHash("sha256").update(text).digest().subarray(0, 8).toString("base64");
}

export function hashOf(text: string | Buffer): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 43);
}
