// The resources of the API as rows: what `kubectl api-resources` lists, and what URLs, command lines and manifests name.
// A resource is a row, not a file of code: stores, servers and command lines read this table and know no kind by name.
//
// Not here: the fields of the kinds (schema.ts), their rules (rules/).

import { resourceRows } from "./schema/resources.ts";

/** One resource in one version. The preferred version of a group comes first in `resources`. */
export interface Resource {
  /** The empty string for the core group. */
  readonly group: string;
  readonly version: string;
  /** `v1`, `apps/v1`: group and version as objects carry them. */
  readonly apiVersion: string;
  readonly kind: string;
  /** The plural, as in URLs: `deployments`. */
  readonly resource: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  readonly subresources: readonly Subresource[];
}

/** A resource below another, such as `deployments/scale`; its kind may belong to another group. */
export interface Subresource {
  readonly name: string;
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly verbs: readonly string[];
}

const everyVerb = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const subresourceVerbs = ["get", "patch", "update"];

/** All resources, in discovery's order: core first, a group's preferred version before its others. */
export const resources: readonly Resource[] = resourceRows.trim().split("\n").map(parseRow);

const byKind = new Map(resources.map((row) => [`${row.apiVersion} ${row.kind}`, row]));
const byWord = wordIndex(resources);

/** The resource of an object's apiVersion and kind: `("apps/v1", "Deployment")`; undefined where there is none. */
export function resourceOf(apiVersion: string, kind: string): Resource | undefined {
  return byKind.get(`${apiVersion} ${kind}`);
}

/** The resource in its preferred version, by group and plural. */
export function resourceNamed(name: { readonly group: string; readonly resource: string }): Resource | undefined {
  return byWord.get(name.group === "" ? `${name.resource}.` : `${name.resource}.${name.group}`);
}

/**
 * The resource a person means: plural, singular, short name or kind, in any case, perhaps with the group or its beginning behind:
 * `po`, `Services`, `deploy.apps`, `deployments.v1.apps`, `gateways.gateway`. Undefined where there is none.
 */
export function findResource(word: string): Resource | undefined {
  const lower = word.toLowerCase();
  const found = byWord.get(lower);
  if (found !== undefined) return found;
  const dot = lower.indexOf(".");
  if (dot < 0) return undefined;
  const [name, rest] = [lower.slice(0, dot), lower.slice(dot + 1)];
  return resources.find(
    (row) =>
      wordsOf(row).includes(name) &&
      (row.group.startsWith(rest) || rest === row.version || rest === `${row.version}.${row.group}`),
  );
}

/** The resources of a category, such as `all`, each in its preferred version. */
export function resourcesIn(category: string): readonly Resource[] {
  return resources.filter(
    (row) => row.categories.includes(category) && byWord.get(`${row.resource}.${row.group}`) === row,
  );
}

function parseRow(line: string): Resource {
  const [apiVersion = "", resource = "", kind = "", singular = "", shortNames, categories, scope, verbs, subresources] =
    line.split(" ");
  const slash = apiVersion.indexOf("/");
  const group = slash < 0 ? "" : apiVersion.slice(0, slash);
  const version = apiVersion.slice(slash + 1);
  return {
    group,
    version,
    apiVersion,
    kind,
    resource,
    singular,
    shortNames: listOf(shortNames),
    categories: listOf(categories),
    namespaced: scope === "namespaced",
    verbs: verbs === "*" ? everyVerb : listOf(verbs),
    subresources: listOf(subresources).map((text) => parseSubresource(text, { group, version, kind })),
  };
}

/** `status`, `scale:autoscaling/v1/Scale`, `exec:PodExecOptions:create+get`. */
function parseSubresource(text: string, parent: { group: string; version: string; kind: string }): Subresource {
  const [name = "", kindText = "", verbs = ""] = text.split(":");
  const parts = kindText.split("/");
  const { group, version, kind } =
    parts.length === 3
      ? { group: parts[0] ?? "", version: parts[1] ?? "", kind: parts[2] ?? "" }
      : { ...parent, kind: kindText === "" ? parent.kind : kindText };
  return { name, group, version, kind, verbs: verbs === "" ? subresourceVerbs : verbs.split("+") };
}

function listOf(text = "-"): readonly string[] {
  return text === "-" ? [] : text.split(",");
}

function wordsOf(row: Resource): readonly string[] {
  return [row.resource, row.singular, ...row.shortNames];
}

/** Word to row; the earlier row wins, and full names win over short ones. */
function wordIndex(rows: readonly Resource[]): Map<string, Resource> {
  const index = new Map<string, Resource>();
  const add = (word: string, row: Resource): void => {
    if (!index.has(word)) index.set(word, row);
  };
  for (const row of rows) {
    for (const word of [row.resource, row.singular]) {
      add(word, row);
      add(`${word}.${row.group}`, row);
    }
  }
  for (const row of rows) {
    for (const word of row.shortNames) {
      add(word, row);
      add(`${word}.${row.group}`, row);
    }
  }
  return index;
}
