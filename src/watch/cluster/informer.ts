// Follows one resource of an API server: all its objects in memory, kept current by a watch, without gaps. What client-go calls a
// reflector with its store.
//
// How: the objects come as a stream of initial events (WatchList, KEP-3157), or in pages where the server does not offer that; then the
// watch goes on from there, resumes from the last resourceVersion after every interruption, and only where the server has forgotten that
// version (410) everything is read again: what vanished meanwhile is then told as deleted, what is unchanged keeps its identity.
// While the server is away the last known objects stay (`status().connected` says so), and attempts follow with back-off and jitter.
//
// Use:
//   const informer = startInformer<Service>({ client, resource: { group: "", version: "v1", resource: "services" },
//                                            changed: (change) => …, log: (line) => … });
//   await informer.synced;               // all that was there when it began is in `objects`
//   informer.objects.get("ns/name");
//   informer.close();
//
// Invariants: `changed` is called in the order of the server's events, once per change, never before the object is in `objects`;
// a change of what is not kept is none: the object stays the same value, and its resourceVersion the one it came with;
// objects are immutable; after a relist `objects` is the server's state of one resourceVersion.
// Not here: which objects a Network needs (agent/network-source.ts), what is kept of each (lean.ts).

import { sameJson } from "../../kube/equal.ts";
import { keyOf, type KubeObject } from "../../kube/object.ts";
import { ApiError, resourcePath, statusOf, type ClusterClient, type ResourceVersioned } from "./client.ts";
import { systemClock, type IntervalClock } from "./clock.ts";
import { leanObject } from "./lean.ts";

export interface InformerOptions<T extends KubeObject> {
  readonly client: ClusterClient;
  readonly resource: ResourceVersioned;
  readonly namespace?: string;
  /** `metadata.name=node-1` */
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
  /**
   * `maybe`: a server that does not know the resource (404) has no objects of it; asked again from time to time. `where-allowed`: nor has
   * one that has never let us read it (403). `yes` where absent.
   */
  readonly exists?: "yes" | "maybe" | "where-allowed";
  /** What is kept of an object; leanObject where absent. */
  readonly keep?: (object: T) => T;
  /** Objects came, changed or went; in one call what one line, or one relist, brought. */
  readonly changed?: (changes: readonly Change<T>[]) => void;
  /** What a person should know, a line each: trouble and its end. */
  readonly log?: (line: string) => void;
  readonly clock?: IntervalClock;
  /** A number from 0 to 1, for jitter. */
  readonly random?: () => number;
}

export type Change<T> =
  | { readonly kind: "added"; readonly key: string; readonly object: T }
  | { readonly kind: "changed"; readonly key: string; readonly object: T; readonly before: T }
  | { readonly kind: "deleted"; readonly key: string; readonly before: T };

export interface Informer<T extends KubeObject> {
  /** By `namespace/name`, or `name`. */
  readonly objects: ReadonlyMap<string, T>;
  /** Resolves when all objects are there for the first time; never, where the server does not let us (see `status`). */
  readonly synced: Promise<void>;
  status(): InformerStatus;
  close(): void;
}

export interface InformerStatus {
  readonly synced: boolean;
  /** A watch is open, as far as we can tell. */
  readonly connected: boolean;
  /** When the server was last heard of (event, bookmark or list), by the clock's `now`; undefined: never. */
  readonly heardAt: number | undefined;
  /** How often everything was read: 1 after the start, more after the server forgot our resourceVersion. */
  readonly lists: number;
  /** Why it is not connected. */
  readonly trouble: string | undefined;
}

const retryMs = { first: 200, max: 30_000 };
/** A watch that lasted this long makes the next failure a first one again. */
const steadyMs = 10_000;
/** How long the server is asked to keep a watch open: this, up to twice as long. */
const watchSeconds = 300;
/** A watch that has said nothing for so long, not even a bookmark (kube-apiserver sends one a minute), is opened anew: who knows who is behind it. */
const silenceMs = 180_000;
const pageSize = 500;
/** How often a resource that the server did not know is looked for: its definition may have come. */
const absentRetryMs = 30_000;

/** Starts following at once. */
export function startInformer<T extends KubeObject>(options: InformerOptions<T>): Informer<T> {
  const { client, resource, changed = () => {}, log = () => {}, clock = systemClock, random = Math.random } = options;
  const keep = options.keep ?? (leanObject as (object: KubeObject) => T);
  const path = resourcePath(resource, options.namespace === undefined ? {} : { namespace: options.namespace });
  const what = resource.group === "" ? resource.resource : `${resource.resource}.${resource.group}`;
  const selectors = {
    ...(options.fieldSelector === undefined ? {} : { fieldSelector: options.fieldSelector }),
    ...(options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector }),
  };
  const stop = new AbortController();
  const objects = new Map<string, T>();
  const synced = Promise.withResolvers<void>();
  let isSynced = false;
  let connected = false;
  let heardAt: number | undefined;
  let lists = 0;
  let trouble: string | undefined;
  let failures = 0;
  /** Where the next watch goes on; undefined: everything has to be read. */
  let revision: string | undefined;
  /** Servers before 1.32, or with the feature off, refuse it once; then pages are read. */
  let hasWatchList = true;

  const heard = (): void => {
    heardAt = clock.now();
  };
  const url = (query: Readonly<Record<string, string>>): string =>
    `${path}?${new URLSearchParams({ ...selectors, ...query }).toString()}`;
  const watchQuery = (): Record<string, string> => ({
    watch: "1",
    allowWatchBookmarks: "true",
    timeoutSeconds: String(Math.floor(watchSeconds * (1 + random()))),
  });

  /** One line of a watch. Gives whether the initial objects are complete with it. */
  const take = (line: unknown, initial: Map<string, T> | undefined): "initial-end" | undefined => {
    heard();
    const { type, object } = line as WatchLine<T>;
    switch (type) {
      case "ADDED":
      case "MODIFIED": {
        revision = object.metadata.resourceVersion ?? revision;
        const key = keyOf(object);
        if (initial !== undefined) initial.set(key, kept(key, object));
        else set(key, kept(key, object));
        return undefined;
      }
      case "DELETED": {
        revision = object.metadata.resourceVersion ?? revision;
        const key = keyOf(object);
        if (initial !== undefined) initial.delete(key);
        else remove(key);
        return undefined;
      }
      case "BOOKMARK":
        revision = object.metadata.resourceVersion ?? revision;
        return object.metadata.annotations?.["k8s.io/initial-events-end"] === "true" ? "initial-end" : undefined;
      case "ERROR": {
        const status = statusOf(object);
        throw new ApiError(`${status?.code ?? ""} ${status?.message ?? "the server said ERROR"}`, {
          status: status?.code ?? 0,
          reason: status?.reason ?? "",
        });
      }
    }
  };
  /** An object that is as it was keeps its identity: what is remembered about it stays good. */
  const kept = (key: string, object: T): T => {
    const before = objects.get(key);
    if (before === undefined) return keep(object);
    if (isSameObject(before, object)) return before;
    // Most events of a cluster are about what nobody here keeps: heartbeats of nodes, containers of pods.
    const next = keep(object);
    return isSameButVersion(before, next) ? before : next;
  };
  const set = (key: string, object: T): void => {
    const before = objects.get(key);
    if (before === object) return;
    objects.set(key, object);
    changed([before === undefined ? { kind: "added", key, object } : { kind: "changed", key, object, before }]);
  };
  const remove = (key: string): void => {
    const before = objects.get(key);
    if (before === undefined) return;
    objects.delete(key);
    changed([{ kind: "deleted", key, before }]);
  };
  /** After everything was read: what is not in it any more was deleted while nobody watched. */
  const replaceAll = (all: ReadonlyMap<string, T>): void => {
    lists++;
    const changes: Change<T>[] = [];
    for (const [key, before] of objects) {
      if (all.has(key)) continue;
      objects.delete(key);
      changes.push({ kind: "deleted", key, before });
    }
    for (const [key, object] of all) {
      const before = objects.get(key);
      if (before === object) continue;
      objects.set(key, object);
      changes.push(before === undefined ? { kind: "added", key, object } : { kind: "changed", key, object, before });
    }
    if (changes.length > 0) changed(changes);
    if (isSynced) return;
    isSynced = true;
    synced.resolve();
  };

  let wasAllowed = false;
  const isAbsent = (error: unknown): boolean => {
    const { exists = "yes" } = options;
    if (!(error instanceof ApiError) || exists === "yes") return false;
    return error.status === 404 || (error.status === 403 && exists === "where-allowed" && !wasAllowed);
  };

  const opened = (): void => {
    connected = true;
    wasAllowed = true;
    heard();
    if (trouble !== undefined) log(`watch ${what}: the API server answers again`);
    trouble = undefined;
  };
  /** Reads a stream until it ends, or has been silent for too long. */
  const follow = async (query: Readonly<Record<string, string>>, line: (value: unknown) => void): Promise<void> => {
    const silence = new AbortController();
    const startedAt = clock.now();
    const listen = (delayMs: number): { cancel(): void } =>
      clock.setTimer(delayMs, () => {
        const restMs = Math.max(heardAt ?? 0, startedAt) + silenceMs - clock.now();
        if (restMs > 0) timer = listen(restMs);
        else silence.abort();
      });
    let timer = listen(silenceMs);
    try {
      const signal = AbortSignal.any([stop.signal, silence.signal]);
      await client.lines(url(query), { signal, opened, line });
    } finally {
      timer.cancel();
    }
  };
  /** Everything as a stream, and the watch behind it in one. */
  const streamAll = async (): Promise<void> => {
    let initial: Map<string, T> | undefined = new Map();
    const query = { ...watchQuery(), sendInitialEvents: "true", resourceVersionMatch: "NotOlderThan" };
    try {
      await follow(query, (line) => {
        if (take(line, initial) !== "initial-end" || initial === undefined) return;
        const all = initial;
        initial = undefined;
        replaceAll(all);
      });
    } finally {
      // Half of everything is nothing to go on from.
      if (initial !== undefined) revision = undefined;
    }
  };
  const listAll = async (): Promise<void> => {
    const all = new Map<string, T>();
    let from: string | undefined;
    let next: string | undefined;
    do {
      const query = { limit: String(pageSize), ...(next === undefined ? {} : { continue: next }) };
      const page: ObjectList<T> = await client.request({
        path: url(query),
        timeoutMs: 60_000,
        signal: stop.signal,
      });
      heard();
      const { apiVersion = "", kind = "" } = page;
      for (const item of page.items ?? []) {
        // Items of a list carry no type of their own.
        const object = item.kind === undefined ? { ...item, apiVersion, kind: kind.replace(/List$/, "") } : item;
        const key = keyOf(object);
        all.set(key, kept(key, object));
      }
      from = page.metadata?.resourceVersion;
      next = page.metadata?.continue === "" ? undefined : page.metadata?.continue;
    } while (next !== undefined);
    revision = from;
    replaceAll(all);
  };
  const watchOn = (since: string): Promise<void> =>
    follow({ ...watchQuery(), resourceVersion: since }, (line) => void take(line, undefined));

  const round = async (): Promise<void> => {
    if (revision !== undefined) return watchOn(revision);
    if (hasWatchList) {
      try {
        return await streamAll();
      } catch (error) {
        if (!isUnknownWatchList(error)) throw error;
        hasWatchList = false;
      }
    }
    await listAll();
    return revision === undefined ? undefined : watchOn(revision);
  };

  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const startedAt = clock.now();
      let delayMs = 0;
      try {
        await round();
        connected = false;
        // A server that ends watches at once is not asked again at once.
        if (clock.now() - startedAt > 1000) failures = 0;
        else delayMs = backOff();
      } catch (error) {
        connected = false;
        if (isAbsent(error)) {
          revision = undefined;
          replaceAll(new Map());
          await wait(absentRetryMs * (1 + random()));
          continue;
        }
        const isForgotten = error instanceof ApiError && (error.status === 410 || error.reason === "Expired");
        if (isForgotten) revision = undefined;
        const message = error instanceof Error ? error.message : String(error);
        if (clock.now() - startedAt > steadyMs) failures = 0;
        delayMs = Math.max(backOff(), error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0);
        // Ordinary after a long silence: what is kept stays, and everything is read.
        if (isForgotten) log(`watch ${what}: the server has forgotten where this was: everything is read again`);
        else if (trouble === undefined) log(`watch ${what}: ${message}; the last known objects stay, trying again`);
        if (!isForgotten) trouble = message;
      }
      if (delayMs > 0 && !stop.signal.aborted) await wait(delayMs);
    }
  };
  const backOff = (): number => Math.min(retryMs.max, retryMs.first * 2 ** Math.min(failures++, 20)) * (1 + random());
  const wait = (delayMs: number): Promise<void> =>
    new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        stop.signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = clock.setTimer(delayMs, done);
      stop.signal.addEventListener("abort", done);
    });
  void run();

  return {
    objects,
    synced: synced.promise,
    status: () => ({ synced: isSynced, connected, heardAt, lists, trouble }),
    close: () => stop.abort(),
  };
}

interface WatchLine<T> {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: T;
}

interface ObjectList<T> {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items?: readonly T[] | null;
}

function isSameObject(a: KubeObject, b: KubeObject): boolean {
  return (
    a.metadata.resourceVersion !== undefined &&
    a.metadata.resourceVersion === b.metadata.resourceVersion &&
    // Of some kinds it is not kept (lean.ts).
    (a.metadata.uid === undefined || a.metadata.uid === b.metadata.uid)
  );
}

/** Do two objects say the same, each in its version? */
function isSameButVersion(a: KubeObject, b: KubeObject): boolean {
  const { resourceVersion: _a, generation: _b, ...first } = a.metadata;
  const { resourceVersion: _c, generation: _d, ...second } = b.metadata;
  return sameJson({ ...a, metadata: first }, { ...b, metadata: second });
}

/** What servers without WatchList say: the parameters are forbidden (422), or not understood (400). */
function isUnknownWatchList(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 422 || error.status === 400);
}
