// Events of a node's kubelet: written in the background, a few at a time, equal ones counted in one object.
// A cluster coming up must not wait for its own diary.

import type { Event, ObjectReference, Pod } from "../../kube/kinds.ts";
import { timeText, type Clock } from "../../watch/clock.ts";
import type { ObjectApi } from "../api/api.ts";
import { StatusError } from "../api/store.ts";

export interface EventRecorder {
  record(pod: Pod, type: "Normal" | "Warning", reason: string, message: string, container?: string): void;
  /** About the node itself. */
  recordNode(type: "Normal" | "Warning", reason: string, message: string): void;
  /** Writes what is waiting. */
  flush(): void;
  stop(): void;
  /** Goes on after `stop`. */
  resume(): void;
}

// A node writes at most 200 Events a second, and a tenth of that while there is more to do than time: pods that start matter more.
const batchSize = { calm: 20, busy: 2 };
const batchDelayMs = 100;
/** A timer that comes so much too late says that the process is busy. */
const busyFromMs = 20;
// Enough for equal Events to be counted together, small enough to forget.
const rememberedMax = 4096;

interface Entry {
  readonly about: ObjectReference;
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
  readonly first: number;
  last: number;
  count: number;
  /** Name of the object once written. */
  name?: string;
  dirty: boolean;
}

export function createEventRecorder(options: {
  readonly api: ObjectApi;
  readonly clock: Clock;
  readonly node: string;
  readonly report: (message: string) => void;
}): EventRecorder {
  const { api, clock, node } = options;
  const known = new Map<string, Entry>();
  const urgent: Entry[] = [];
  const queue: Entry[] = [];
  let timer: { cancel(): void } | undefined;
  let serial = 0;
  let stopped = false;

  const add = (about: ObjectReference, type: "Normal" | "Warning", reason: string, message: string): void => {
    if (stopped) return;
    const key = [about.uid, about.fieldPath, type, reason, message].join("\n");
    const now = clock.now();
    const entry = known.get(key) ?? { about, type, reason, message, first: now, last: now, count: 0, dirty: false };
    entry.last = now;
    entry.count++;
    known.set(key, entry);
    if (known.size > rememberedMax)
      for (const [oldest] of known.entries().take(rememberedMax / 2)) known.delete(oldest);
    // What went wrong is told first.
    if (!entry.dirty) (type === "Warning" ? urgent : queue).push(entry);
    entry.dirty = true;
    if (timer === undefined) writeLater();
  };

  const write = (entry: Entry): void => {
    entry.dirty = false;
    const namespace = entry.about.namespace ?? "default";
    const existing =
      entry.name === undefined ? undefined : api.get({ group: "", resource: "events", namespace, name: entry.name });
    entry.name ??= `${entry.about.name ?? "node"}.${entry.first.toString(16)}${(serial++).toString(16).padStart(4, "0")}`;
    const times = { count: entry.count, lastTimestamp: timeText(entry.last) };
    try {
      if (existing !== undefined) api.update({ ...existing, ...times });
      else api.create({ ...newEvent(entry, namespace, node), ...times });
    } catch (error) {
      // A namespace that is being removed takes no more Events; its pods go without.
      if (!(error instanceof StatusError)) throw error;
      if (error.code !== 404 && error.code !== 403) options.report(`write Event ${entry.reason}: ${error.message}`);
    }
  };

  const writeLater = (): void => {
    const due = clock.now() + batchDelayMs;
    timer = clock.after(batchDelayMs, () => writeSome(clock.now() - due));
  };
  const writeSome = (lateMs: number): void => {
    timer = undefined;
    const batch = urgent.splice(0, batchSize.calm);
    batch.push(...queue.splice(0, Math.max(0, (lateMs < busyFromMs ? batchSize.calm : batchSize.busy) - batch.length)));
    for (const entry of batch) write(entry);
    if (urgent.length + queue.length > 0) writeLater();
  };

  return {
    record: (pod, type, reason, message, container) => add(podReference(pod, container), type, reason, message),
    recordNode: (type, reason, message) =>
      add({ apiVersion: "v1", kind: "Node", name: node, uid: node }, type, reason, message),
    flush: () => {
      for (const entry of [...urgent.splice(0), ...queue.splice(0)]) write(entry);
    },
    stop() {
      stopped = true;
      timer?.cancel();
      timer = undefined;
    },
    resume() {
      stopped = false;
    },
  };
}

function podReference(pod: Pod, container: string | undefined): ObjectReference {
  const { namespace, name, uid, resourceVersion } = pod.metadata;
  const isInit = pod.spec.initContainers?.some((candidate) => candidate.name === container) === true;
  return {
    apiVersion: "v1",
    kind: "Pod",
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(container === undefined ? {} : { fieldPath: `spec.${isInit ? "initContainers" : "containers"}{${container}}` }),
  };
}

function newEvent(entry: Entry, namespace: string, node: string): Event {
  return {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name: entry.name ?? "", namespace },
    involvedObject: entry.about,
    type: entry.type,
    reason: entry.reason,
    message: entry.message,
    firstTimestamp: timeText(entry.first),
    source: { component: "kubelet", host: node },
    reportingComponent: "kubelet",
    reportingInstance: node,
  };
}
