// A server of one resource for tests of what follows it: in memory, with a history that can be forgotten and connections that can be cut.
// It answers as kube-apiserver does, with WatchList or without; time stands still until the test moves it.

import type { KubeObject } from "../../kube/object.ts";
import { ApiError, ClusterUnreachable, type ApiRequest, type ClusterClient, type LineStream } from "./client.ts";
import type { IntervalClock } from "./clock.ts";

interface Event {
  readonly revision: number;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: KubeObject;
}

export interface FakeServer {
  readonly client: ClusterClient;
  /** What was asked for, as query texts. */
  readonly asked: string[];
  objects(): ReadonlyMap<string, KubeObject>;
  put(name: string, value: string): void;
  /** Any object, in place of the one of its name. */
  store(object: KubeObject): void;
  remove(name: string): void;
  bookmark(): void;
  /** Ends every stream: politely, or in the middle of it. */
  cut(how: "end" | "break"): void;
  /** Forgets all history: watches from before get 410. */
  compact(): void;
  /** Sends the 410 inside an open watch. */
  expire(): void;
  down: boolean;
  /** The resource is not known. */
  absent: boolean;
  /** Nobody may read it. */
  forbidden: boolean;
  watchList: boolean;
  /** After so many initial objects the stream breaks, once. */
  breakAfter: number | undefined;
}

export function fakeServer(): FakeServer {
  let revision = 100;
  let oldest = 100;
  const history: Event[] = [];
  const stored = new Map<string, KubeObject>();
  const streams = new Set<{ line(value: unknown): void; finish(error?: Error): void }>();
  const asked: string[] = [];

  const publish = (type: Event["type"], object: KubeObject): void => {
    history.push({ revision, type, object });
    for (const stream of streams) stream.line({ type, object });
  };
  const lines = async (path: string, { signal, line, opened }: LineStream): Promise<void> => {
    const query = new URL(path, "http://fake").searchParams;
    asked.push(query.toString());
    if (server.down) throw new ClusterUnreachable("connect ECONNREFUSED");
    if (server.forbidden) throw new ApiError("services is forbidden", { status: 403, reason: "Forbidden" });
    if (server.absent) throw new ApiError("404 page not found", { status: 404, reason: "" });
    const isList = query.get("sendInitialEvents") === "true";
    if (isList && !server.watchList)
      throw new ApiError("sendInitialEvents is forbidden", { status: 422, reason: "Invalid" });
    const since = Number(query.get("resourceVersion"));
    if (!isList && since < oldest) throw new ApiError("too old resource version", { status: 410, reason: "Expired" });
    opened?.();
    const finished = Promise.withResolvers<void>();
    const stream = {
      line(value: unknown) {
        try {
          // What comes over a wire is nobody else's object.
          line(structuredClone(value));
        } catch (error) {
          stream.finish(error as Error);
        }
      },
      finish(error?: Error) {
        streams.delete(stream);
        if (error === undefined) finished.resolve();
        else finished.reject(error);
      },
    };
    signal.addEventListener("abort", () => stream.finish());
    if (isList) {
      let sent = 0;
      for (const object of stored.values()) {
        if (sent++ === server.breakAfter) {
          server.breakAfter = undefined;
          throw new ClusterUnreachable("the connection ended in the middle of the stream");
        }
        stream.line({ type: "ADDED", object });
      }
      stream.line(bookmarkAt(revision, { "k8s.io/initial-events-end": "true" }));
    } else {
      for (const event of history.filter((event) => event.revision > since)) stream.line(event);
    }
    streams.add(stream);
    await finished.promise;
  };
  const request = async <T>({ path }: ApiRequest): Promise<T> => {
    const query = new URL(path, "http://fake").searchParams;
    asked.push(query.toString());
    if (server.down) throw new ClusterUnreachable("connect ECONNREFUSED");
    const from = Number(query.get("continue") ?? 0);
    const items = [...stored.values()].slice(from, from + 2).map(({ apiVersion: _a, kind: _k, ...rest }) => rest);
    const next = from + 2 < stored.size ? String(from + 2) : "";
    return structuredClone({
      apiVersion: "v1",
      kind: "ServiceList",
      metadata: { resourceVersion: String(revision), continue: next },
      items,
    }) as T;
  };
  const server: FakeServer = {
    client: { access: undefined as never, request, lines, close() {} },
    asked,
    objects: () => stored,
    put(name, value) {
      server.store({ apiVersion: "v1", kind: "Service", metadata: { name }, spec: { externalName: value } });
    },
    store(given) {
      revision++;
      const { name } = given.metadata;
      const before = stored.get(name);
      const uid = before?.metadata.uid ?? `uid-${revision}`;
      const object = { ...given, metadata: { ...given.metadata, uid, resourceVersion: String(revision) } };
      stored.set(name, object);
      publish(before === undefined ? "ADDED" : "MODIFIED", object);
    },
    remove(name) {
      const before = stored.get(name);
      if (before === undefined) return;
      revision++;
      stored.delete(name);
      publish("DELETED", { ...before, metadata: { ...before.metadata, resourceVersion: String(revision) } });
    },
    bookmark() {
      for (const stream of streams) stream.line(bookmarkAt(revision));
    },
    cut(how) {
      for (const stream of streams) stream.finish(how === "end" ? undefined : new ClusterUnreachable("cut"));
    },
    compact() {
      oldest = revision + 1;
      revision++;
    },
    expire() {
      server.compact();
      for (const stream of streams)
        stream.line({
          type: "ERROR",
          object: { kind: "Status", code: 410, reason: "Expired", message: "too old resource version" },
        });
    },
    down: false,
    absent: false,
    forbidden: false,
    watchList: true,
    breakAfter: undefined,
  };
  return server;
}

function bookmarkAt(revision: number, annotations?: { readonly [name: string]: string }): unknown {
  return {
    type: "BOOKMARK",
    object: {
      kind: "Service",
      apiVersion: "v1",
      metadata: { resourceVersion: String(revision), ...(annotations && { annotations }) },
    },
  };
}

/** A clock that only the test moves. */
export interface FakeClock extends IntervalClock {
  /** How long the timers were set for, in order. */
  readonly delays: number[];
  /** Lets everything that is due within this time happen, and what follows from it. */
  pass(ms: number): Promise<void>;
}

export function fakeClock(): FakeClock {
  let now = 0;
  const timers = new Set<{ readonly at: number; readonly call: () => void }>();
  const delays: number[] = [];
  return {
    delays,
    now: () => now,
    setTimer(delayMs, call) {
      const timer = { at: now + delayMs, call };
      delays.push(delayMs);
      timers.add(timer);
      return { cancel: () => void timers.delete(timer) };
    },
    async pass(ms) {
      const until = now + ms;
      await settled();
      for (;;) {
        const [next] = [...timers].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at);
        if (next === undefined) break;
        timers.delete(next);
        now = next.at;
        next.call();
        await settled();
      }
      now = until;
    },
  };
}

/** What follows from what has happened has happened: nothing here waits for anything but promises. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 4; turn++) await new Promise<void>((resolve) => void setImmediate(resolve));
}
