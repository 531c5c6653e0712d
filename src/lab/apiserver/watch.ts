// Watches: a stream of JSON lines, one for each change that a filter lets through (KEP-3157 for lists by watching, KEP-956 for bookmarks).
// A line is serialised once, however many watchers see it; a watcher that does not read is cut off and comes back where it was.
//
// Not here: which changes there are and in which order (the store's watch).

import type { ServerResponse } from "node:http";
import type { KubeObject } from "../../kube/object.ts";
import type { ServedApi } from "../api/api.ts";
import { StatusError, type WatchEvent } from "../api/store.ts";
import type { Exchange } from "./exchange.ts";
import { filterOf, type Filter } from "./filter.ts";
import { numberOf } from "./read.ts";
import { isTypedList, showObject, type View } from "./represent.ts";
import { tooLargeResourceVersion } from "./status.ts";
import { isTrue } from "./target.ts";

export interface WatchOptions {
  readonly api: ServedApi;
  /** Lines already serialised; one for the whole server. */
  readonly lines: WatchLines;
  /** Seconds until a watch ends that does not say itself. */
  readonly timeoutSecondsDefault: number;
  /** A watcher that is this far behind is cut off. */
  readonly bytesBehindMax: number;
  readonly bookmarkIntervalMs: number;
}

/** Streams changes until the client goes away or its time is over. Throws StatusError before the first line only. */
export function serveWatch(exchange: Exchange, view: View, options: WatchOptions): void {
  const { response, target } = exchange;
  const { api } = options;
  const { kind } = view;
  const { query } = target;
  const filter = filterOf(kind, target);
  const start = startOf(query, api.revision);
  const seconds = numberOf(query.get("timeoutSeconds"), "timeoutSeconds") || options.timeoutSecondsDefault;
  const wantsBookmarks = isTrue(query.get("allowWatchBookmarks"));
  const output = outputOf(response, options.bytesBehindMax);
  let revision = start.since ?? api.revision;
  const bookmark = (annotations?: { readonly [name: string]: string }): void =>
    output.write(bookmarkLine(view, revision, annotations));
  const onEvent = (event: WatchEvent): void => {
    revision = Math.max(revision, event.resourceVersion);
    if (event.type === "BOOKMARK") {
      if (start.endsWithBookmark) bookmark({ "k8s.io/initial-events-end": "true" });
      return;
    }
    const type = typeOf(event, filter);
    if (type !== undefined) output.write(options.lines.line(type, event.object, view));
  };
  const { group, resource } = kind.stored;
  const watch = api.watch({ group, resource }, start.since, onEvent);
  const bookmarks = wantsBookmarks ? setInterval(() => bookmark(), options.bookmarkIntervalMs) : undefined;
  const end = setTimeout(() => {
    if (wantsBookmarks) bookmark();
    response.end();
  }, seconds * 1000);
  response.once("close", () => {
    watch.close();
    clearInterval(bookmarks);
    clearTimeout(end);
  });
  response.socket?.setNoDelay(true);
  response.writeHead(200, { "Content-Type": contentTypeOf(view), "Cache-Control": "no-cache, private" });
  response.flushHeaders();
}

function contentTypeOf({ form }: View): string {
  switch (form.as) {
    case "object":
      return "application/json";
    case "table":
      return `application/json;as=Table;v=${form.version};g=meta.k8s.io`;
    case "metadata":
      return `application/json;as=PartialObjectMetadata;v=${form.version};g=meta.k8s.io`;
  }
}

interface Start {
  /** As the store's watch takes it: 0 begins with all that is there. */
  readonly since: number | undefined;
  readonly endsWithBookmark: boolean;
}

// apimachinery meta/internalversion/validation ValidateListOptions, for watches
function startOf(query: URLSearchParams, current: number): Start {
  const since = numberOf(query.get("resourceVersion"), "resourceVersion");
  const match = query.get("resourceVersionMatch") ?? "";
  const initial = query.get("sendInitialEvents");
  if (initial === null || initial === "") {
    if (match !== "")
      throw forbiddenOption(
        "resourceVersionMatch",
        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
      );
    if (query.get("continue")) throw forbiddenOption("continue", "continue is forbidden for watch");
    if (since > current) throw tooLargeResourceVersion(since, current);
    return { since, endsWithBookmark: false };
  }
  if (match !== "NotOlderThan")
    throw forbiddenOption(
      "resourceVersionMatch",
      'sendInitialEvents requires setting resourceVersionMatch to "NotOlderThan"',
    );
  if (since > current) throw tooLargeResourceVersion(since, current);
  if (isTrue(initial)) return { since: 0, endsWithBookmark: isTrue(query.get("allowWatchBookmarks")) };
  return { since: since === 0 ? undefined : since, endsWithBookmark: false };
}

function forbiddenOption(field: string, detail: string): StatusError {
  const message = `Forbidden: ${detail}`;
  return new StatusError(422, "Invalid", `ListOptions.meta.k8s.io "" is invalid: ${field}: ${message}`, {
    group: "meta.k8s.io",
    kind: "ListOptions",
    causes: [{ reason: "FieldValueForbidden", message, field }],
  });
}

type LineType = "ADDED" | "MODIFIED" | "DELETED";

/** What an event is to a watcher with a filter: an object that leaves the selection is deleted for it, one that enters is added. */
function typeOf(event: Exclude<WatchEvent, { type: "BOOKMARK" }>, filter: Filter): LineType | undefined {
  const { type, object, previous } = event;
  if (filter.namespace !== undefined && object.metadata.namespace !== filter.namespace) return undefined;
  if (!filter.selects) return type;
  const matched = previous !== undefined && filter.matches(previous);
  const matchesNow = type !== "DELETED" && filter.matches(object);
  if (type === "DELETED") return matched || filter.matches(object) ? "DELETED" : undefined;
  if (matchesNow) return matched ? "MODIFIED" : "ADDED";
  return matched ? "DELETED" : undefined;
}

/** Serialised lines of the last events, shared by all watchers that see them in the same form. */
export interface WatchLines {
  line(type: LineType, object: KubeObject, view: View): Buffer;
}

export function createWatchLines(linesMax = 2048): WatchLines {
  const kept = new Map<KubeObject, Map<string, Buffer>>();
  return {
    line(type, object, view) {
      let forms = kept.get(object);
      if (forms === undefined) {
        kept.set(object, (forms = new Map()));
        if (kept.size > linesMax) for (const oldest of kept.keys()) if (kept.size > linesMax) kept.delete(oldest);
      }
      const key = `${type} ${view.kind.apiVersion} ${view.form.as} ${view.form.version} ${view.rowObject}`;
      let line = forms.get(key);
      if (line === undefined) {
        line = Buffer.from(`${JSON.stringify({ type, object: showObject(object, view) })}\n`);
        forms.set(key, line);
      }
      return line;
    },
  };
}

function bookmarkLine(
  view: View,
  revision: number,
  annotations: { readonly [name: string]: string } | undefined,
): Buffer {
  const metadata = {
    resourceVersion: String(revision),
    ...(isTypedList(view.kind) ? { creationTimestamp: null } : {}),
    ...(annotations === undefined ? {} : { annotations }),
  };
  return Buffer.from(`${JSON.stringify({ type: "BOOKMARK", object: bookmarkObject(view, metadata) })}\n`);
}

function bookmarkObject({ kind, form }: View, metadata: { readonly resourceVersion: string }): object {
  const partial = { kind: "PartialObjectMetadata", apiVersion: `meta.k8s.io/${form.version}`, metadata };
  switch (form.as) {
    case "object":
      return { kind: kind.kind, apiVersion: kind.apiVersion, metadata };
    case "metadata":
      return partial;
    case "table":
      return {
        kind: "Table",
        apiVersion: `meta.k8s.io/${form.version}`,
        metadata: { resourceVersion: metadata.resourceVersion },
        columnDefinitions: [],
        rows: [{ cells: [], object: partial }],
      };
  }
}

/** Writes lines; those of one turn leave together. */
function outputOf(response: ServerResponse, bytesBehindMax: number): { write(line: Buffer): void } {
  let corked = false;
  return {
    write(line) {
      if (response.writableEnded || response.destroyed) return;
      if (response.writableLength > bytesBehindMax) {
        response.destroy();
        return;
      }
      if (!corked) {
        corked = true;
        response.cork();
        setImmediate(() => {
          corked = false;
          response.uncork();
        });
      }
      response.write(line);
    },
  };
}
