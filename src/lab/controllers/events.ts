// Events: what controllers and kubelets say about objects, as `kubectl describe` and `kubectl get events` show it.
// Recording costs no write: what was said is gathered, joined where it repeats, and written when there is nothing more urgent.
// Like client-go's EventCorrelator: equal events count up, many similar ones become one, a chatterbox is cut off.
//
// Not here: how long Events are kept, whoever wrote them (event-retention.ts).

import type { Event, ObjectReference } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { ObjectApi } from "../api/api.ts";
import { StatusError } from "../api/store.ts";
import { systemClock, timeText, type Clock } from "../../watch/clock.ts";
import { events } from "./resources.ts";

export interface EventRecorder {
  /** Says something about an object. `reason` is one CamelCase word, `message` a sentence for people. Never throws, never writes at once. */
  record(object: KubeObject, type: "Normal" | "Warning", reason: string, message: string): void;
}

export interface EventSink {
  /** Events of one component (and host, for a kubelet). */
  recorder(component: string, host?: string): EventRecorder;
  /** Is something recorded and not yet written? */
  readonly pending: boolean;
  /** Writes what was recorded for as long as `more()`; false when something is left. */
  drain(more: () => boolean): boolean;
}

/** Limits of client-go tools/record events_cache.go; `remembered` is its maxLruCacheEntries. */
const limits = { burst: 25, refillMs: 300_000, similar: 10, similarMs: 600_000, remembered: 4_096 };

interface Said {
  readonly object: KubeObject;
  readonly component: string;
  readonly host?: string;
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
  readonly firstMs: number;
  lastMs: number;
  count: number;
}

/** Events of those that are no controllers: they are written at the next turn, until it is closed. */
export interface EventTelling {
  recorder: EventSink["recorder"];
  readonly isClosed: boolean;
  close(): void;
}

export function startEventTelling(api: Pick<ObjectApi, "create" | "update" | "get">): EventTelling {
  let isClosed = false;
  const sink = createEventSink({
    api,
    clock: systemClock,
    random: Math.random,
    wake: () => void setImmediate(() => void (isClosed || sink.drain(() => true))),
  });
  return {
    recorder: (component, host) => sink.recorder(component, host),
    get isClosed() {
      return isClosed;
    },
    close() {
      isClosed = true;
    },
  };
}

/** Gathers events and writes them through the API. `wake` is called when there is something to drain. */
export function createEventSink(options: {
  readonly api: Pick<ObjectApi, "create" | "update" | "get">;
  readonly clock: Clock;
  readonly random: () => number;
  readonly wake: () => void;
}): EventSink {
  const { api, clock } = options;
  const said = new Map<string, Said>();
  const written = createMemory<string>(limits.remembered);
  const spam = createSpamFilter(clock);
  const similar = createSimilarity(clock);

  const record = (entry: Omit<Said, "message" | "firstMs" | "lastMs" | "count">, message: string): void => {
    const source = `${entry.component}|${entry.host ?? ""}|${entry.object.metadata.uid ?? entry.object.metadata.name}`;
    if (!spam.allows(source)) return;
    const kind = `${source}|${entry.type}|${entry.reason}`;
    const text = similar.isOne(kind, message) ? `(combined from similar events): ${message}` : message;
    // Similar events share one object whose message is the latest; equal ones share one anyway.
    const id = text === message ? `${kind}|${message}` : `${kind}|*`;
    const now = clock.now();
    const same = said.get(id);
    said.set(id, {
      ...entry,
      message: text,
      firstMs: same?.firstMs ?? now,
      lastMs: now,
      count: (same?.count ?? 0) + 1,
    });
    options.wake();
  };

  const write = (id: string, entry: Said): void => {
    const name = written.get(id);
    const namespace = entry.object.metadata.namespace ?? "default";
    const before = name === undefined ? undefined : (api.get({ ...events, namespace, name }) as Event | undefined);
    if (before !== undefined) {
      api.update({
        ...before,
        message: entry.message,
        count: (before.count ?? 1) + entry.count,
        lastTimestamp: timeText(entry.lastMs),
      });
      return;
    }
    const event = eventOf(entry, namespace, suffix(options.random));
    api.create(event);
    written.set(id, event.metadata.name);
  };

  return {
    recorder: (component, host) => ({
      record: (object, type, reason, message) =>
        record({ object, component, type, reason, ...(host === undefined ? {} : { host }) }, message),
    }),
    get pending() {
      return said.size > 0;
    },
    drain(more) {
      for (const [id, entry] of said) {
        if (!more()) return false;
        said.delete(id);
        try {
          write(id, entry);
        } catch (error) {
          // The namespace is going or gone, or somebody else changed the event: an event is not worth a retry.
          if (!(error instanceof StatusError)) throw error;
        }
      }
      return true;
    },
  };
}

function eventOf(entry: Said, namespace: string, unique: string): Event {
  const { object, component, host } = entry;
  return {
    apiVersion: "v1",
    kind: "Event",
    metadata: { namespace, name: `${object.metadata.name}.${unique}` },
    involvedObject: referenceTo(object),
    type: entry.type,
    reason: entry.reason,
    message: entry.message,
    count: entry.count,
    firstTimestamp: timeText(entry.firstMs),
    lastTimestamp: timeText(entry.lastMs),
    source: host === undefined ? { component } : { component, host },
    reportingComponent: component,
    reportingInstance: host ?? "",
  };
}

/** A reference to an object, as Events and endpoints carry it. */
export function referenceTo(object: KubeObject): ObjectReference {
  const { namespace, name, uid, resourceVersion } = object.metadata;
  return {
    kind: object.kind,
    apiVersion: object.apiVersion,
    ...(namespace === undefined ? {} : { namespace }),
    name,
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
}

/** Sixteen hexadecimal digits. */
function suffix(random: () => number): string {
  const half = (): string =>
    Math.floor(random() * 0x1_0000_0000)
      .toString(16)
      .padStart(8, "0");
  return half() + half();
}

/** The last so many entries. */
function createMemory<V>(size: number): { get(key: string): V | undefined; set(key: string, value: V): void } {
  const entries = new Map<string, V>();
  return {
    get: (key) => entries.get(key),
    set(key, value) {
      entries.delete(key);
      entries.set(key, value);
      const oldest = entries.size > size ? entries.keys().next().value : undefined;
      if (oldest !== undefined) entries.delete(oldest);
    },
  };
}

/** A token bucket for each object and component. */
function createSpamFilter(clock: Clock): { allows(source: string): boolean } {
  const full = createMemory<{ tokens: number; atMs: number }>(limits.remembered);
  return {
    allows(source) {
      const now = clock.now();
      const before = full.get(source) ?? { tokens: limits.burst, atMs: now };
      const tokens = Math.min(limits.burst, before.tokens + (now - before.atMs) / limits.refillMs);
      const allowed = tokens >= 1;
      full.set(source, { tokens: allowed ? tokens - 1 : tokens, atMs: now });
      return allowed;
    },
  };
}

/** Tells when a kind of event came with so many different messages that they are one. */
function createSimilarity(clock: Clock): { isOne(kind: string, message: string): boolean } {
  const seen = createMemory<{ messages: Set<string>; sinceMs: number }>(limits.remembered);
  return {
    isOne(kind, message) {
      const now = clock.now();
      const before = seen.get(kind);
      const recent = before !== undefined && now - before.sinceMs < limits.similarMs ? before : undefined;
      const messages = recent?.messages ?? new Set<string>();
      if (messages.has(message)) return false;
      if (messages.size >= limits.similar) return true;
      messages.add(message);
      seen.set(kind, { messages, sinceMs: now });
      return false;
    },
  };
}
