// Reading: one object, or a list of them, in pages where the client wants pages.
//
// Later pages are cut from the newest state and carry the first page's resourceVersion: a watch from there sees whatever happened
// between the pages, so nothing is missed. As with etcd's compaction, the way to later pages ends after five minutes, with another way on.
//
// Not here: watches (watch.ts), the form of the answer (represent.ts).

import type { KubeObject } from "../../kube/object.ts";
import type { ServedApi } from "../api/api.ts";
import { forbidden, notSupported, type FieldProblem } from "../../kube/problem.ts";
import { badRequest, notFound } from "../api/errors.ts";
import type { Kind } from "../api/kinds.ts";
import type { StatusError } from "../api/store.ts";
import { filterOf, type Filter } from "./filter.ts";
import { invalidOptions } from "./options.ts";
import { listChunks, type ListMeta, type View } from "./represent.ts";
import { expiredContinue, tooLargeResourceVersion } from "./status.ts";
import type { Target } from "./target.ts";

/** The object a path names. Throws StatusError 404. */
export function readObject(api: ServedApi, kind: Kind, target: Target): KubeObject {
  const { name = "" } = target;
  const { group, resource } = kind.stored;
  const namespace = kind.namespaced ? target.namespace : undefined;
  const found = api.get({ group, resource, name, ...(namespace === undefined ? {} : { namespace }) });
  if (found === undefined) throw notFound({ group: kind.group, resource: kind.resource, name });
  return found;
}

/** A list as JSON text, in pieces. Throws StatusError 400 or 504. */
export function readList(api: ServedApi, target: Target, view: View): Iterable<string> {
  const { kind } = view;
  const filter = filterOf(kind, target);
  const { query } = target;
  checkResourceVersion(query, api.revision);
  // Less than none is no limit.
  const asked = query.get("limit");
  const limit = pageSize(/^-\d+$/.test(asked ?? "") ? 0 : numberOf(asked, "limit"), view);
  numberOf(query.get("timeoutSeconds"), "timeoutSeconds");
  const start = continueOf(query.get("continue"), view.now());
  const { group, resource } = kind.stored;
  const listed = api.list({ group, resource }, filter.namespace === undefined ? {} : { namespace: filter.namespace });
  const resourceVersion = start?.resourceVersion ?? listed.resourceVersion;
  const at = start?.at ?? view.now();
  const { items, next, remaining } = page(listed.items, filter, { limit, after: start?.after });
  const metadata: ListMeta = {
    resourceVersion: String(resourceVersion),
    ...(next === undefined ? {} : { continue: tokenOf({ resourceVersion, after: next, at }) }),
    ...(next === undefined || filter.selects ? {} : { remainingItemCount: remaining }),
  };
  return listChunks(items, metadata, view);
}

/**
 * kubectl asks for pages of 500 rows, and for no more than five pages a second. A page may have more than was asked for
 * (meta/v1 ListOptions: servers may give all there is), so large pages of tables are ten times as large.
 */
function pageSize(limit: number, { form }: View): number {
  return form.as === "table" && limit >= 500 ? limit * 10 : limit;
}

/** All objects that a filter matches. */
export function matching(api: Pick<ServedApi, "list">, kind: Kind, filter: Filter): readonly KubeObject[] {
  const { group, resource } = kind.stored;
  const { items } = api.list(
    { group, resource },
    filter.namespace === undefined ? {} : { namespace: filter.namespace },
  );
  return filter.selects ? items.filter(filter.matches) : items;
}

interface Page {
  readonly items: readonly KubeObject[];
  /** Where the next page begins: after this one. */
  readonly next: string | undefined;
  readonly remaining: number;
}

function page(
  all: readonly KubeObject[],
  filter: Filter,
  { limit, after }: { readonly limit: number; readonly after: string | undefined },
): Page {
  const first = after === undefined ? 0 : all.findIndex((object) => placeOf(object) > after);
  if (first < 0) return { items: [], next: undefined, remaining: 0 };
  if (limit === 0 && !filter.selects)
    return { items: first === 0 ? all : all.slice(first), next: undefined, remaining: 0 };
  const items: KubeObject[] = [];
  for (let at = first; at < all.length; at++) {
    const object = all[at];
    if (object === undefined || !filter.matches(object)) continue;
    if (limit > 0 && items.length === limit)
      return { items, next: placeOf(items.at(-1)), remaining: all.length - first - limit };
    items.push(object);
  }
  return { items, next: undefined, remaining: 0 };
}

/** The place of an object in its list. */
function placeOf(object: KubeObject | undefined): string {
  return object === undefined ? "" : `${object.metadata.namespace ?? ""}/${object.metadata.name}`;
}

interface Continue {
  /** Of the first page; undefined where the list begins anew in its middle (upstream's inconsistent continue). */
  readonly resourceVersion: number | undefined;
  readonly after: string;
  /** When the first page was given, in milliseconds since 1970; undefined as above. */
  readonly at: number | undefined;
}

/** apiserver storagebackend.DefaultCompactInterval */
const pagesMs = 5 * 60_000;

/** As upstream's tokens: opaque, base64 of JSON. */
function tokenOf({ resourceVersion, after, at }: Continue): string {
  const token = { v: "meta.k8s.io/v1", rv: resourceVersion ?? -1, start: after, ...(at === undefined ? {} : { at }) };
  return Buffer.from(JSON.stringify(token)).toString("base64url");
}

/** Throws StatusError 400 for what is no token, 410 (with another token) for one that is too old. */
function continueOf(token: string | null, now: number): Continue | undefined {
  if (token === null || token === "") return undefined;
  const given = parsedToken(token);
  if (given === undefined)
    throw badRequest("continue key is not valid: it must be the one that the previous page gave");
  if (given.at !== undefined && now - given.at > pagesMs) {
    const other = tokenOf({ resourceVersion: undefined, after: given.after, at: undefined });
    throw expiredContinue(other);
  }
  return given;
}

function parsedToken(token: string): Continue | undefined {
  try {
    const { rv, start, at } = JSON.parse(Buffer.from(token, "base64url").toString()) as {
      readonly [field: string]: unknown;
    };
    if (typeof rv !== "number" || !Number.isSafeInteger(rv) || typeof start !== "string") return undefined;
    if (rv === -1) return { resourceVersion: undefined, after: start, at: undefined };
    return typeof at === "number" ? { resourceVersion: rv, after: start, at } : undefined;
  } catch {
    return undefined;
  }
}

/** A whole number of a query; 0 where it is absent. */
export function numberOf(text: string | null, what: string): number {
  if (text === null || text === "") return 0;
  const number = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number))
    throw badRequest(`${what}: Invalid value: ${JSON.stringify(text)}: must be a whole number`);
  return number;
}

// apimachinery meta/internalversion/validation ValidateListOptions
function checkResourceVersion(query: URLSearchParams, revision: number): void {
  const text = query.get("resourceVersion") ?? "";
  const match = query.get("resourceVersionMatch") ?? "";
  const refuse = (problem: FieldProblem): StatusError => invalidOptions("ListOptions", problem);
  if ((query.get("sendInitialEvents") ?? "") !== "")
    throw refuse(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
  if (match !== "" && text === "")
    throw refuse(
      forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
    );
  if (match !== "" && match !== "Exact" && match !== "NotOlderThan")
    throw refuse(notSupported("resourceVersionMatch", match, ["Exact", "NotOlderThan", ""]));
  if (match === "Exact" && text === "0")
    throw refuse(
      forbidden("resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'),
    );
  if ((query.get("continue") ?? "") !== "" && text !== "" && text !== "0")
    throw badRequest("specifying resource version is not allowed when using continue");
  const wanted = numberOf(text, "resourceVersion");
  if (wanted > revision) throw tooLargeResourceVersion(wanted, revision);
}
