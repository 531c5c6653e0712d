// Reading: one object, or a list of them, in pages where the client wants pages.
//
// Later pages are cut from the newest state and carry the first page's resourceVersion: a watch from there sees whatever happened
// between the pages, so nothing is missed and no page ever expires (410).
//
// Not here: watches (watch.ts), the form of the answer (represent.ts).

import type { KubeObject } from "../../kube/object.ts";
import type { ServedApi } from "../api/api.ts";
import { badRequest, notFound } from "../api/errors.ts";
import type { Kind } from "../api/kinds.ts";
import { StatusError } from "../api/store.ts";
import { filterOf, type Filter } from "./filter.ts";
import { listChunks, type ListMeta, type View } from "./represent.ts";
import { tooLargeResourceVersion } from "./status.ts";
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
  const limit = pageSize(numberOf(query.get("limit"), "limit"), view);
  const start = continueOf(query.get("continue"));
  const { group, resource } = kind.stored;
  const listed = api.list({ group, resource }, filter.namespace === undefined ? {} : { namespace: filter.namespace });
  const resourceVersion = start?.resourceVersion ?? listed.resourceVersion;
  const { items, next, remaining } = page(listed.items, filter, { limit, after: start?.after });
  const metadata: ListMeta = {
    resourceVersion: String(resourceVersion),
    ...(next === undefined ? {} : { continue: tokenOf({ resourceVersion, after: next }) }),
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
  readonly resourceVersion: number;
  readonly after: string;
}

/** As upstream's tokens: opaque, base64 of JSON. */
function tokenOf({ resourceVersion, after }: Continue): string {
  return Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", rv: resourceVersion, start: after })).toString("base64url");
}

function continueOf(token: string | null): Continue | undefined {
  if (token === null || token === "") return undefined;
  try {
    const { rv, start } = JSON.parse(Buffer.from(token, "base64url").toString()) as { rv?: unknown; start?: unknown };
    if (typeof rv === "number" && Number.isSafeInteger(rv) && typeof start === "string")
      return { resourceVersion: rv, after: start };
  } catch {
    // Not one of ours: said below.
  }
  throw badRequest("continue key is not valid: it must be the one that the previous page gave");
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
  const invalid = (field: string, message: string): StatusError =>
    new StatusError(422, "Invalid", `ListOptions.meta.k8s.io "" is invalid: ${field}: ${message}`, {
      group: "meta.k8s.io",
      kind: "ListOptions",
      causes: [{ reason: "FieldValueForbidden", message, field }],
    });
  if (match !== "" && text === "")
    throw invalid(
      "resourceVersionMatch",
      "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
    );
  if (match !== "" && match !== "Exact" && match !== "NotOlderThan")
    throw invalid(
      "resourceVersionMatch",
      `Unsupported value: ${JSON.stringify(match)}: supported values: "Exact", "NotOlderThan"`,
    );
  if (match === "Exact" && text === "0")
    throw invalid(
      "resourceVersionMatch",
      'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
    );
  if ((query.get("continue") ?? "") !== "" && text !== "" && text !== "0")
    throw badRequest("specifying resource version is not allowed when using continue");
  const wanted = numberOf(text, "resourceVersion");
  if (wanted > revision) throw tooLargeResourceVersion(wanted, revision);
}
