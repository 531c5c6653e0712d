// Watches: a stream of JSON lines, one for each change that a filter lets through (KEP-3157 for lists by watching, KEP-956 for bookmarks).
// A line is serialised once, however many watchers see it; a watcher that does not read is cut off and comes back where it was.
//
// Not here: which changes there are and in which order (the store's watch).

import type { ServerResponse } from "node:http";
import type { KubeObject } from "../../kube/object.ts";
import type { ServedApi } from "../api/api.ts";
import { StatusError, type WatchEvent } from "../api/store.ts";
import { jsonText } from "../api/written-text.ts";
import { commonHeaders, type Exchange } from "./exchange.ts";
import { filterOf, type Filter } from "./filter.ts";
import { numberOf } from "./read.ts";
import { isTypedList, showObject, type View } from "./represent.ts";
import { tooLargeResourceVersion } from "./status.ts";
import { isTrue } from "./target.ts";

export interface WatchOptions {
  readonly api: ServedApi;
  /** Lines already serialised; one for the whole server. */
  readonly lines: WatchLines;
  /** One for the whole server, as well. */
  readonly sender: WatchSender;
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
  const toLine = options.lines.lineOf(view);
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
    if (type !== undefined) output.write(toLine(type, event.object));
  };
  const { group, resource } = kind.stored;
  const watch = api.watch({ group, resource }, start.since, onEvent);
  const bookmarks = wantsBookmarks ? setInterval(() => bookmark(), options.bookmarkIntervalMs) : undefined;
  const end = setTimeout(
    () => {
      watch.close();
      if (wantsBookmarks) bookmark();
      output.end();
    },
    Math.min(seconds * 1000, timerMsMax),
  );
  response.once("close", () => {
    watch.close();
    clearInterval(bookmarks);
    clearTimeout(end);
  });
  response.socket?.setNoDelay(true);
  response.writeHead(200, { ...commonHeaders, "Content-Type": contentTypeOf(view) });
  response.flushHeaders();
}

/** Timers know no more than 31 bits; longer ones would end at once. */
const timerMsMax = 2 ** 31 - 1;

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
  lineOf(view: View): (type: LineType, object: KubeObject) => Buffer;
}

export function createWatchLines(linesMax = 2048): WatchLines {
  const forms = new Map<string, Map<KubeObject, Partial<Record<LineType, Buffer>>>>();
  return {
    lineOf(view) {
      const { kind, form, rowObject } = view;
      const key = `${kind.apiVersion} ${kind.resource} ${form.as} ${form.version} ${rowObject}`;
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

/** Where a watch's lines go. */
interface Output {
  write(line: Buffer): void;
  /** Ends the answer behind what is waiting. */
  end(): void;
}

/**
 * Sends the lines of all watches, whoever waits longest first. What comes while a watcher waits for its turn leaves together, so that a
 * thousand watchers cost a few large writes each and not thousands of small ones. It works for a moment and rests for a moment: at once
 * when there is little to do, longer when sending takes long, so that other requests are answered in between.
 */
export interface WatchSender {
  open(response: ServerResponse, bytesBehindMax: number): Output;
}

/** So long are others kept waiting. */
const workMs = 2;
/** Every watcher's turn comes within this time, as far as the machine can; where it can easily, half of the time is rest. */
const roundMs = 24;

export function createWatchSender(): WatchSender {
  /** In the order of their turns. */
  const waiting = new Map<ServerResponse, Buffer[]>();
  let isScheduled = false;
  let eachMs = 0;
  const send = (): void => {
    isScheduled = false;
    const began = performance.now();
    let last: Batch | undefined;
    let [count, tookMs] = [0, 0];
    for (const [response, lines] of waiting) {
      waiting.delete(response);
      if (response.writableEnded || response.destroyed) continue;
      // Watchers of the same things have the same lines.
      last = last !== undefined && isSameList(last.lines, lines) ? last : { lines, bytes: joined(lines) };
      sendBatch(response, last);
      tookMs = performance.now() - began;
      count++;
      if (tookMs >= workMs) break;
    }
    if (count > 0) eachMs += (tookMs / count - eachMs) / 8;
    const roundWorkMs = eachMs * (waiting.size + count);
    schedule(Math.min(1, Math.max(0, roundMs / roundWorkMs - 1)) * tookMs);
  };
  const schedule = (restMs: number): void => {
    if (isScheduled || (waiting.size === 0 && restMs < 1)) return;
    isScheduled = true;
    // What comes meanwhile waits for the end of the rest.
    if (restMs < 1) setImmediate(send);
    else setTimeout(send, restMs);
  };
  return {
    open: (response, bytesBehindMax) => ({
      write(line) {
        if (response.writableEnded || response.destroyed) return;
        const lines = waiting.get(response);
        if (lines === undefined) {
          if (response.writableLength > bytesBehindMax) {
            response.destroy();
            return;
          }
          waiting.set(response, [line]);
          schedule(0);
        } else lines.push(line);
      },
      end() {
        const lines = waiting.get(response);
        waiting.delete(response);
        response.end(lines === undefined ? undefined : joined(lines));
      },
    }),
  };
}

interface Batch {
  readonly lines: readonly Buffer[];
  readonly bytes: Buffer;
  /** The same as a chunk of an answer (RFC 9112 7.1), made when it is first needed. */
  chunk?: Buffer;
}

/** Past the answer's own framing, so that the chunk is made once for all who get it, and is one write for each. */
function sendBatch(response: ServerResponse, batch: Batch): void {
  const { socket } = response;
  // HTTP/1.0 knows no chunks.
  const isChunked = response.headersSent && response.req.httpVersion === "1.1";
  if (socket === null || socket === undefined || !isChunked) {
    response.write(batch.bytes);
    return;
  }
  batch.chunk ??= Buffer.concat([
    Buffer.from(`${batch.bytes.length.toString(16)}\r\n`, "latin1"),
    batch.bytes,
    Buffer.from("\r\n", "latin1"),
  ]);
  socket.write(batch.chunk);
}

function isSameList(a: readonly Buffer[], b: readonly Buffer[]): boolean {
  return a.length === b.length && a.every((line, index) => line === b[index]);
}

function joined(lines: readonly Buffer[]): Buffer {
  const [first] = lines;
  return lines.length === 1 && first !== undefined ? first : Buffer.concat(lines);
}
