// Watches: a stream of JSON lines, one for each change that a filter lets through (KEP-3157 for lists by watching, KEP-956 for bookmarks).
// A line is serialised once, however many watchers see it; a watcher that does not read is cut off and comes back where it was.
//
// Not here: which changes there are and in which order (the store's watch), who watches the same (watch-groups.ts), when lines leave
// (watch-sender.ts).

import type { KubeObject } from "../../kube/object.ts";
import { forbidden } from "../../kube/problem.ts";
import type { ServedApi } from "../api/api.ts";
import { StatusError, type WatchEvent } from "../api/store.ts";
import { jsonText } from "../api/written-text.ts";
import { commonHeaders, type Exchange } from "./exchange.ts";
import { filterOf, type Filter } from "./filter.ts";
import { invalidOptions } from "./options.ts";
import { numberOf } from "./read.ts";
import { showObject, type View } from "./represent.ts";
import { tooLargeResourceVersion } from "./status.ts";
import { isTrue } from "./target.ts";
import type { Change, WatchGroups } from "./watch-groups.ts";
import type { WatchSender } from "./watch-sender.ts";

export interface WatchOptions {
  readonly api: ServedApi;
  /** Lines already serialised; one for the whole server. */
  readonly lines: WatchLines;
  /** One for the whole server, as well. */
  readonly sender: WatchSender;
  readonly groups: WatchGroups;
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
  const output = options.sender.open(response, options.bytesBehindMax);
  const firstLineOf = shownBy(filter, options.lines.lineOf(view));
  // A table says its columns once (apiserver endpoints/handlers watchEmbeddedEncoder).
  const isTable = view.form.as === "table";
  const lineOf = isTable ? shownBy(filter, options.lines.lineOf({ ...view, knowsColumns: true })) : firstLineOf;
  const group = options.groups.enter(groupKey(exchange, view), kind, lineOf);
  let revision = start.since ?? api.revision;
  let [seen, hasBegun, isAsking, isIn, isOver] = [0, !isTable, false, false, false];
  const bookmark = (annotations?: { readonly [name: string]: string }): void =>
    output.write(bookmarkLine(view, Math.max(revision, isIn ? group.seen : 0), annotations));
  const onEvent = (event: WatchEvent): void => {
    revision = Math.max(revision, event.resourceVersion);
    if (event.type === "BOOKMARK") {
      if (start.endsWithBookmark) bookmark({ "k8s.io/initial-events-end": "true" });
      return;
    }
    const line = hasBegun ? lineOf(event) : firstLineOf(event);
    if (line !== undefined) output.write(line);
    hasBegun ||= line !== undefined;
    seen = event.resourceVersion;
    if (isAsking) return;
    isAsking = true;
    // When all who watch have been told.
    queueMicrotask(join);
  };
  const join = (): void => {
    isAsking = false;
    // What comes next is new to both.
    if (isOver || isIn || !hasBegun || group.seen !== seen) return;
    isIn = true;
    watch.close();
    group.join();
    output.join(group.feed);
  };
  const over = (): void => {
    if (isOver) return;
    isOver = true;
    watch.close();
    group.leave();
  };
  const watch = started(() => api.watch(kind.stored, start.since, onEvent), group.leave);
  const bookmarks = wantsBookmarks ? setInterval(() => bookmark(), options.bookmarkIntervalMs) : undefined;
  const end = setTimeout(
    () => {
      if (wantsBookmarks) bookmark();
      over();
      output.end();
    },
    Math.min(seconds * 1000, timerMsMax),
  );
  response.once("close", () => {
    over();
    clearInterval(bookmarks);
    clearTimeout(end);
  });
  response.socket?.setNoDelay(true);
  response.writeHead(200, { ...commonHeaders, "Content-Type": "application/json" });
  response.flushHeaders();
}

/** The line of a change for watchers with a filter; undefined where it is nothing to them. */
function shownBy(
  filter: Filter,
  toLine: (type: LineType, object: KubeObject) => Buffer,
): (change: Change) => Buffer | undefined {
  return (change) => {
    const type = typeOf(change, filter);
    if (type === undefined) return undefined;
    return toLine(type, type === "DELETED" && change.type !== "DELETED" ? leftObject(change) : change.object);
  };
}

const left = new WeakMap<KubeObject, KubeObject>();

/** What leaves a selection is shown as it was in it, with the version that it left by: selected by the same, it is what they knew. */
function leftObject({ object, previous = object }: Change): KubeObject {
  let known = left.get(object);
  if (known === undefined) {
    const { resourceVersion } = object.metadata;
    const metadata = { ...previous.metadata, ...(resourceVersion === undefined ? {} : { resourceVersion }) };
    left.set(object, (known = { ...previous, metadata }));
  }
  return known;
}

/** What `start` gives; where it throws, `undo` is done first. */
function started<T>(start: () => T, undo: () => void): T {
  try {
    return start();
  } catch (error) {
    undo();
    throw error;
  }
}

/** Watchers of a kind with the same key see the same lines. */
function groupKey({ target: { namespace, name, query } }: Exchange, view: View): string {
  const { kind } = view;
  const selectors = [query.get("labelSelector"), query.get("fieldSelector")];
  return JSON.stringify([kind.namespaced ? namespace : undefined, name, ...selectors, formKey(view)]);
}

function formKey({ kind, form, rowObject, knowsColumns = false }: View): string {
  return `${kind.apiVersion} ${kind.resource} ${form.as} ${form.version} ${rowObject} ${knowsColumns}`;
}

/** Timers know no more than 31 bits; longer ones would end at once. */
const timerMsMax = 2 ** 31 - 1;

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
      "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    );
  if (since > current) throw tooLargeResourceVersion(since, current);
  if (isTrue(initial)) return { since: 0, endsWithBookmark: isTrue(query.get("allowWatchBookmarks")) };
  return { since: since === 0 ? undefined : since, endsWithBookmark: false };
}

function forbiddenOption(field: string, detail: string): StatusError {
  return invalidOptions("ListOptions", forbidden(field, detail));
}

type LineType = "ADDED" | "MODIFIED" | "DELETED";

/** What an event is to a watcher with a filter: an object that leaves the selection is deleted for it, one that enters is added. */
function typeOf(event: Change, filter: Filter): LineType | undefined {
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
  lineOf(view: View): (type: LineType, object: KubeObject) => Buffer;
}

export function createWatchLines(linesMax = 2048): WatchLines {
  const forms = new Map<string, Map<KubeObject, Partial<Record<LineType, Buffer>>>>();
  return {
    lineOf(view) {
      const key = formKey(view);
      let kept = forms.get(key);
      if (kept === undefined) forms.set(key, (kept = new Map()));
      const lines = kept;
      return (type, object) => {
        let byType = lines.get(object);
        if (byType === undefined) {
          lines.set(object, (byType = {}));
          if (lines.size > linesMax) lines.delete(lines.keys().next().value ?? object);
        }
        return (byType[type] ??= Buffer.from(`{"type":"${type}","object":${jsonText(showObject(object, view))}}\n`));
      };
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
