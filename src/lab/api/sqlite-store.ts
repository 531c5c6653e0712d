// The object store over SQLite: all objects in memory, every write in a log on disk (log.ts). What is written in a turn of the event loop
// is one commit, and what is written while a commit is on its way to the disk is the next one.
//
// What is promised: when `flushed()` resolves, all writes before it survive `kill -9` and power loss.
// Watchers see nothing that is not on disk. Where the disk refuses (full, read-only, failing), reads go on, further writes are refused
// with 503, and what waits is tried again every second and before every write, until it is stored.
//
// Not here: defaults, validation, admission and merging (write-path.ts).

import { sameJson } from "../../kube/equal.ts";
import type { KubeObject } from "../../kube/object.ts";
import { isGone, markedDeleting, newObject, replacement, withRevision } from "./bookkeeping.ts";
import { alreadyExists, conflict, notFound, resourceText } from "./errors.ts";
import { damagedRow, openLog, type Log, type SyncFile } from "./log.ts";
import { emptyTable, getObject, listObjects, putObject, removeObject, type ObjectTable } from "./object-table.ts";
import { createSharedParts } from "./shared-parts.ts";
import {
  StatusError,
  type ListOptions,
  type ObjectKey,
  type ResourceName,
  type Store,
  type WatchEvent,
} from "./store.ts";
import { writtenText } from "./written-text.ts";

export interface StoreOptions {
  /** The database file, or `:memory:`. Its folder must exist. */
  readonly path: string;
  /** Milliseconds since 1970. */
  readonly clock?: () => number;
  /** A number from 0 to below 1, for uids and generated names. */
  readonly random?: () => number;
  /** Over how many events watches can resume; older ones are forgotten (410). */
  readonly historyEventsMax?: number;
  /** Brings a file's data to the disk; fdatasync(2) unless given. */
  readonly syncFile?: SyncFile;
  /** Milliseconds until room is made in the journal (journal-room.ts); two seconds unless given. */
  readonly roomAfterMs?: number;
  /** `deep` makes every change of a stored object throw, wherever in it; for tests, as it costs time. */
  readonly freeze?: "shallow" | "deep";
}

/**
 * Opens the store, creates it where there is none, and loads all objects.
 * Throws StoreError where the file is in use, damaged, unreadable or made by a newer version.
 */
export function openStore(options: StoreOptions): Store {
  const { path, clock = Date.now, random = Math.random, historyEventsMax = 10_000, freeze = "shallow" } = options;
  const log = openLog({ path, syncFile: options.syncFile, roomAfterMs: options.roomAfterMs });
  try {
    return new SqliteStore(log, {
      path,
      clock,
      random,
      historyEventsMax,
      freeze: freeze === "deep" ? frozenDeep : frozen,
    });
  } catch (error) {
    log.close();
    throw error;
  }
}

type ObjectEvent = Exclude<WatchEvent, { type: "BOOKMARK" }>;

/** One write: the resource it belongs to (as `deployments.apps`), and what watchers see of it. */
interface Entry {
  readonly resource: string;
  readonly event: ObjectEvent;
}

interface Watcher {
  /** `deployments.apps`; undefined for all resources. */
  readonly resource: string | undefined;
  readonly deliver: (event: WatchEvent) => void;
  /** Events up to this revision are not delivered (again). */
  since: number;
  /** What is owed before the next events: all existing objects, those of a commit that is on its way to the disk, or history. */
  owed: "existing" | Existing | readonly Entry[] | undefined;
  open: boolean;
}

/** All objects as they are at a revision. */
interface Existing {
  readonly objects: readonly KubeObject[];
  readonly revision: number;
}

/** A commit on its way to the disk. */
interface Commit {
  readonly entries: readonly Entry[];
  /** How many of the oldest entries of history go when it is there. */
  readonly expiredCount: number;
  /** Who waits for it. */
  readonly waiters: Waiter[];
}

/** The options, complete. */
interface Settings {
  readonly path: string;
  readonly clock: () => number;
  readonly random: () => number;
  readonly historyEventsMax: number;
  readonly freeze: (object: KubeObject) => KubeObject;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

const retryMs = 1000;

/** With fewer objects than these, sharing their parts would save less memory than it costs time. */
const sharedFrom = 10_000;

class SqliteStore implements Store {
  revision = 0;
  readonly #log: Log;
  readonly #options: Settings;
  readonly #tables = new Map<string, ObjectTable>();
  readonly #parts = createSharedParts();
  #objectCount = 0;
  /** Committed events, oldest first. */
  #history: Entry[] = [];
  #committedRevision = 0;
  /** Written and visible, not yet in the log. */
  #pending: Entry[] = [];
  /** In the log, not yet on disk. */
  #commit: Commit | undefined;
  /** Did the disk refuse that commit? */
  #isStuck = false;
  /** Has a turn ended meanwhile? */
  #isNextDue = false;
  #waiters: Waiter[] = [];
  readonly #watchers = new Set<Watcher>();
  #turn: NodeJS.Immediate | undefined;
  #retry: NodeJS.Timeout | undefined;
  #delivering = false;
  #closed = false;
  /** Why the last commit failed; undefined after one that succeeded. */
  #refusal: StatusError | undefined;

  constructor(log: Log, options: Settings) {
    this.#log = log;
    this.#options = options;
    this.#load();
  }

  get(key: ObjectKey): KubeObject | undefined {
    const table = this.#tables.get(resourceText(key));
    return table === undefined ? undefined : getObject(table, key.namespace, key.name);
  }

  list(resource: ResourceName, options: ListOptions = {}): { items: readonly KubeObject[]; resourceVersion: number } {
    const table = this.#tables.get(resourceText(resource));
    const items = table === undefined ? [] : listObjects(table, options.namespace);
    const { labels } = options;
    return {
      items: labels === undefined ? items : items.filter((object) => labels(object.metadata.labels ?? {})),
      resourceVersion: this.revision,
    };
  }

  create(resource: ResourceName, object: KubeObject): KubeObject {
    this.#beforeWrite();
    const { clock, random } = this.#options;
    const taken = (name: string): boolean => this.get(keyOf(resource, object, name)) !== undefined;
    const created = newObject(object, { clock, random, taken });
    if (taken(created.metadata.name)) throw alreadyExists(keyOf(resource, created));
    return this.#write(resource, "ADDED", created);
  }

  update(resource: ResourceName, object: KubeObject): KubeObject {
    this.#beforeWrite();
    const key = keyOf(resource, object);
    const previous = this.get(key);
    if (previous === undefined) throw notFound(key);
    checkPreconditions(key, previous, object.metadata);
    const next = replacement(object, previous);
    if (isGone(next)) {
      // Nobody has seen it without what held it.
      this.#write(key, "DELETED", previous, previous);
      return this.#options.freeze(withRevision(next, this.revision));
    }
    return sameJson(next, previous) ? previous : this.#write(key, "MODIFIED", next, previous);
  }

  delete(
    key: ObjectKey,
    options: { gracePeriodSeconds?: number; uid?: string; resourceVersion?: string } = {},
  ): KubeObject {
    this.#beforeWrite();
    const previous = this.get(key);
    if (previous === undefined) throw notFound(key);
    checkPreconditions(key, previous, options);
    const marked = markedDeleting(previous, options.gracePeriodSeconds, this.#options.clock());
    if (marked === undefined) return this.#write(key, "DELETED", previous, previous);
    if (isGone(marked)) {
      // Who is given time is told that it is over before it is gone.
      const told = marked === previous ? previous : this.#write(key, "MODIFIED", marked, previous);
      return this.#write(key, "DELETED", told, told);
    }
    return marked === previous ? previous : this.#write(key, "MODIFIED", marked, previous);
  }

  atomically<T>(writes: () => T): T {
    // What waits from before must not be stored in the middle.
    this.#beforeWrite();
    const [revision, count] = [this.revision, this.#pending.length];
    try {
      return writes();
    } catch (error) {
      for (const { resource, event } of this.#pending.splice(count).reverse()) this.#undo(resource, event);
      this.revision = revision;
      throw error;
    }
  }

  watch(
    resource: ResourceName | "all",
    since: number | undefined,
    event: (event: WatchEvent) => void,
  ): { close(): void } {
    if (this.#closed) throw closedError();
    const text = resource === "all" ? undefined : resourceText(resource);
    const watcher: Watcher = {
      resource: text,
      deliver: event,
      since: since ?? this.revision,
      owed: since === undefined ? undefined : since === 0 ? "existing" : this.#entriesAfter(since, text),
      open: true,
    };
    this.#watchers.add(watcher);
    if (watcher.owed !== undefined) this.#schedule();
    return {
      close: () => {
        watcher.open = false;
        this.#watchers.delete(watcher);
      },
    };
  }

  flushed(): Promise<void> {
    if (this.#refusal !== undefined) return Promise.reject(this.#refusal);
    const isNextDue = this.#turn !== undefined || this.#isNextDue || this.#delivering;
    if (!isNextDue && this.#commit === undefined) return Promise.resolve();
    const waiters = isNextDue ? this.#waiters : (this.#commit?.waiters ?? this.#waiters);
    return new Promise((resolve, reject) => waiters.push({ resolve, reject }));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearImmediate(this.#turn);
    clearTimeout(this.#retry);
    this.#watchers.clear();
    const waiters = [...(this.#commit?.waiters.splice(0) ?? []), ...this.#waiters.splice(0)];
    try {
      this.#append();
      this.#log.settle();
      for (const waiter of waiters) waiter.resolve();
    } catch (error) {
      for (const waiter of waiters) waiter.reject(error);
    } finally {
      this.#log.close();
    }
  }

  #load(): void {
    for (const { revision, type, resource, value } of this.#log.rows()) {
      const object = this.#options.freeze(this.#shared(this.#parsed(revision, resource, value)));
      const table = this.#table(resource);
      const previous = getObject(table, object.metadata.namespace, object.metadata.name);
      if (type === "DELETED") this.#remove(resource, object);
      else this.#put(resource, object);
      if (revision > this.#log.floor) this.#history.push({ resource, event: objectEvent(type, object, previous) });
      this.revision = revision;
    }
    this.revision = Math.max(this.revision, this.#log.floor);
    this.#committedRevision = this.revision;
  }

  #parsed(revision: number, resource: string, value: string): KubeObject {
    const { path } = this.#options;
    let object: KubeObject | null;
    try {
      object = JSON.parse(value) as KubeObject | null;
    } catch (error) {
      throw Object.assign(damagedRow(path, revision, resource), { cause: error });
    }
    if (typeof object?.metadata?.name !== "string") throw damagedRow(path, revision, resource);
    return object;
  }

  #table(resource: string): ObjectTable {
    let table = this.#tables.get(resource);
    if (table === undefined) this.#tables.set(resource, (table = emptyTable()));
    return table;
  }

  /** Makes a write visible and queues it for the commit at the end of this turn. */
  #write(resource: ResourceName, type: ObjectEvent["type"], next: KubeObject, previous?: KubeObject): KubeObject {
    const revision = this.revision + 1;
    const object = this.#options.freeze(withRevision(this.#shared(next), revision));
    const text = resourceText(resource);
    if (type === "DELETED") this.#remove(text, object);
    else this.#put(text, object);
    this.revision = revision;
    this.#pending.push({ resource: text, event: objectEvent(type, object, previous) });
    this.#schedule();
    return object;
  }

  #shared(object: KubeObject): KubeObject {
    return this.#objectCount < sharedFrom ? object : this.#parts.share(object);
  }

  #put(resource: string, object: KubeObject): void {
    if (putObject(this.#table(resource), object)) this.#objectCount++;
  }

  #remove(resource: string, object: KubeObject): void {
    if (removeObject(this.#table(resource), object)) this.#objectCount--;
  }

  #undo(resource: string, { type, object, previous }: ObjectEvent): void {
    if (type === "ADDED") this.#remove(resource, object);
    else if (previous !== undefined) this.#put(resource, previous);
  }

  #beforeWrite(): void {
    if (this.#closed) throw closedError();
    if (this.#refusal === undefined) return;
    // What waits goes first: it was visible before.
    this.#turnEnds();
    // The turn has set or cleared it.
    const refusal = this.#refusal as StatusError | undefined;
    if (refusal !== undefined) throw refusal;
  }

  #schedule(): void {
    this.#turn ??= setImmediate(() => this.#turnEnds());
  }

  #turnEnds(): void {
    clearImmediate(this.#turn);
    this.#turn = undefined;
    if (this.#closed) return;
    if (this.#commit !== undefined) {
      this.#isNextDue = true;
      if (!this.#isStuck) return;
      try {
        this.#log.settle();
      } catch (error) {
        this.#refuse(error, this.#waiters.splice(0));
        return;
      }
      this.#landed(this.#commit);
      this.#turnEnds();
      return;
    }
    this.#isNextDue = false;
    const waiters = this.#waiters.splice(0);
    let commit: Commit;
    try {
      commit = { ...this.#append(), waiters };
    } catch (error) {
      this.#refuse(error, waiters);
      return;
    }
    this.#cured();
    // What is there now is on disk when this commit is.
    for (const watcher of this.#watchers)
      if (watcher.owed === "existing")
        watcher.owed = { objects: this.#existing(watcher.resource), revision: this.revision };
    this.#commit = commit;
    if (commit.entries.length === 0 || this.#log.sync === undefined) this.#landed(commit);
    else
      this.#log.sync().then(
        () => {
          if (!this.#closed) this.#landed(commit);
        },
        (error: unknown) => {
          if (this.#closed) return;
          this.#isStuck = true;
          this.#refuse(error, commit.waiters.splice(0));
        },
      );
  }

  /** A commit is on disk. */
  #landed({ entries, expiredCount, waiters }: Commit): void {
    this.#commit = undefined;
    this.#isStuck = false;
    this.#cured();
    for (const entry of entries) this.#history.push(entry);
    if (expiredCount > 0) this.#history = this.#history.slice(expiredCount);
    this.#committedRevision = entries.at(-1)?.event.resourceVersion ?? this.#committedRevision;
    this.#deliver(entries);
    for (const waiter of waiters) waiter.resolve();
    if (this.#isNextDue) this.#schedule();
    else if (this.#turn === undefined) for (const waiter of this.#waiters.splice(0)) waiter.resolve();
  }

  #cured(): void {
    this.#refusal = undefined;
    clearTimeout(this.#retry);
    this.#retry = undefined;
  }

  #refuse(error: unknown, waiters: readonly Waiter[]): void {
    const reason = error instanceof Error ? error.message : String(error);
    const message = `the store cannot be written: ${reason}: make room or repair the disk; reading goes on`;
    this.#refusal = Object.assign(new StatusError(503, "ServiceUnavailable", message), { cause: error });
    for (const waiter of waiters) waiter.reject(this.#refusal);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#turnEnds(), retryMs).unref();
  }

  /** Puts what is pending into the log. When it throws, everything is as before. */
  #append(): Pick<Commit, "entries" | "expiredCount"> {
    const entries = this.#pending;
    if (entries.length === 0) return { entries, expiredCount: 0 };
    const excess = Math.max(0, this.#history.length + entries.length - this.#options.historyEventsMax);
    // Forgetting moves an array: do it in large steps.
    const expired = excess * 4 > this.#options.historyEventsMax ? [...this.#history, ...entries].slice(0, excess) : [];
    this.#log.append({
      rows: entries.map(({ resource, event: { type, object, resourceVersion } }) => ({
        revision: resourceVersion,
        type,
        resource,
        value: writtenText(object),
      })),
      forget: expired.flatMap(({ event }) => supersededBy(event)),
      floor: expired.at(-1)?.event.resourceVersion ?? this.#log.floor,
    });
    this.#pending = [];
    return { entries, expiredCount: expired.length };
  }

  /** Gives every watcher what it is owed and the batch. Writes that callbacks make belong to the next turn. */
  #deliver(batch: readonly Entry[]): void {
    const committed = this.#committedRevision;
    // All lists are taken before the first callback, which may write.
    const shared = eventsByResource(batch);
    const deliveries: { readonly watcher: Watcher; readonly events: readonly WatchEvent[] }[] = [];
    for (const watcher of this.#watchers) {
      const events = dueTo(watcher, batch, shared);
      if (events.length > 0) deliveries.push({ watcher, events });
      if (watcher.owed !== "existing") watcher.since = Math.max(watcher.since, committed);
    }
    this.#delivering = true;
    try {
      for (const { watcher, events } of deliveries) {
        for (const event of events) {
          if (!watcher.open) break;
          deliverOne(watcher, event);
        }
      }
    } finally {
      this.#delivering = false;
    }
  }

  #existing(resource: string | undefined): readonly KubeObject[] {
    if (resource !== undefined) return listObjects(this.#table(resource), undefined);
    return [...this.#tables.values()].flatMap((table) => listObjects(table, undefined));
  }

  #entriesAfter(since: number, resource: string | undefined): readonly Entry[] | undefined {
    const { floor } = this.#log;
    if (since < floor) throw new StatusError(410, "Expired", `too old resource version: ${since} (${floor})`);
    if (since >= this.#committedRevision) return undefined;
    return this.#history
      .slice(firstAfter(this.#history, since))
      .filter((entry) => (resource ?? entry.resource) === entry.resource);
  }
}

function keyOf(resource: ResourceName, object: KubeObject, name: string = object.metadata.name): ObjectKey {
  const { namespace } = object.metadata;
  return {
    group: resource.group,
    resource: resource.resource,
    name,
    ...(namespace === undefined ? {} : { namespace }),
  };
}

function checkPreconditions(
  key: ObjectKey,
  { metadata }: KubeObject,
  wanted: { readonly uid?: string; readonly resourceVersion?: string },
): void {
  if (wanted.uid !== undefined && wanted.uid !== metadata.uid)
    throw conflict(key, `Precondition failed: UID in precondition: ${wanted.uid}, UID in object meta: ${metadata.uid}`);
  if (wanted.resourceVersion !== undefined && wanted.resourceVersion !== metadata.resourceVersion) throw conflict(key);
}

/** The events of a commit by resource; all of them under the empty name. */
function eventsByResource(batch: readonly Entry[]): ReadonlyMap<string, readonly ObjectEvent[]> {
  const lists = new Map<string, ObjectEvent[]>([["", batch.map(({ event }) => event)]]);
  for (const { resource, event } of batch) {
    const list = lists.get(resource);
    if (list === undefined) lists.set(resource, [event]);
    else list.push(event);
  }
  return lists;
}

const noEvents: readonly WatchEvent[] = [];

/** What a watcher is to see of a commit that has landed, and before it what it was owed. */
function dueTo(
  watcher: Watcher,
  batch: readonly Entry[],
  shared: ReadonlyMap<string, readonly ObjectEvent[]>,
): readonly WatchEvent[] {
  const { owed, resource = "", since } = watcher;
  // It came after the commit had begun; its objects are those of the next one.
  if (owed === "existing") return noEvents;
  watcher.owed = undefined;
  if (owed !== undefined && "objects" in owed) {
    const { objects, revision } = owed;
    watcher.since = revision;
    return [
      ...objects.map((object) => objectEvent("ADDED", object, undefined)),
      { type: "BOOKMARK", resourceVersion: revision },
    ];
  }
  if (owed === undefined) {
    const events = shared.get(resource) ?? noEvents;
    return events.length === 0 || (events[0]?.resourceVersion ?? 0) > since
      ? events
      : events.filter(({ resourceVersion }) => resourceVersion > since);
  }
  return [...owed, ...batch]
    .filter(({ event, resource: of }) => event.resourceVersion > since && (watcher.resource ?? of) === of)
    .map(({ event }) => event);
}

function objectEvent(type: ObjectEvent["type"], object: KubeObject, previous: KubeObject | undefined): ObjectEvent {
  const resourceVersion = Number(object.metadata.resourceVersion);
  return previous === undefined ? { type, object, resourceVersion } : { type, object, previous, resourceVersion };
}

/** The rows that are of no use once this event can no longer be resumed from. */
function supersededBy({ type, previous, resourceVersion }: ObjectEvent): number[] {
  const rows = previous === undefined ? [] : [Number(previous.metadata.resourceVersion)];
  return type === "DELETED" ? [...rows, resourceVersion] : rows;
}

/** A watcher that throws is a defect of the watcher: the others still get their events, and the process hears of it. */
function deliverOne(watcher: Watcher, event: WatchEvent): void {
  try {
    watcher.deliver(event);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** The index of the first entry after a revision, by bisection. */
function firstAfter(entries: readonly Entry[], revision: number): number {
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((entries[middle]?.event.resourceVersion ?? 0) > revision) high = middle;
    else low = middle + 1;
  }
  return low;
}

function frozen(object: KubeObject): KubeObject {
  Object.freeze(object.metadata);
  return Object.freeze(object);
}

function frozenDeep<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) frozenDeep(inner);
  return Object.freeze(value);
}

function closedError(): StatusError {
  return new StatusError(503, "ServiceUnavailable", "the store is closed");
}
