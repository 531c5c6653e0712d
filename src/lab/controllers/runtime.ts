// What makes controllers run: one work queue each, keyed by object, filled from changes and drained round by round.
// Level-triggered: a key says that something about an object may have changed, never what. Within a round each controller drains its
// queue in turn, so the writes of a stage are one batch for the next (Deployments, then ReplicaSets, then the scheduler, then slices).
//
// Not here: which controllers there are (start.ts), and what they know of the cluster (objects.ts).

import { performance } from "node:perf_hooks";

import type { ClusterConfig } from "../../model/network.ts";
import type { KubeObject } from "../../kube/object.ts";
import { resourceOf, resources } from "../../kube/resources.ts";
import { controllerActor } from "../actors.ts";
import { AdmissionPending } from "../api/admission/pending.ts";
import type { ObjectApi, ServedApi } from "../api/api.ts";
import type { Kinds } from "../api/kinds.ts";
import type { ResourceName } from "../api/store.ts";
import type { Clock } from "../../watch/clock.ts";
import { isConflict, isNamespaceTerminating } from "./errors.ts";
import { createEventSink, type EventRecorder } from "./events.ts";
import { followObjects, type Change, type Objects } from "./objects.ts";
import type { TypedResource } from "./resources.ts";

/** What a controller is made of. */
export interface Cluster {
  readonly objects: Objects;
  readonly clock: Clock;
  /** As Math.random. */
  readonly random: () => number;
  readonly config: ClusterConfig;
  /** Events of one component, such as `deployment-controller`. */
  events(component: string): EventRecorder;
}

export interface Controller {
  /** As upstream names it: `deployment-controller`. */
  readonly name: string;
  readonly watches: readonly Watch[];
  /** Keys to look at in the beginning, whether or not there is such an object. */
  readonly startKeys?: readonly string[];
  /** Brings the object of this key a step nearer to what it asks for. Called again after an error, later each time. */
  reconcile(key: string, requeue: (afterMs: number) => void): void;
}

/** Puts a key into the controller's queue, at once or after a while (the earliest of several times counts). */
export type Enqueue = (key: string, afterMs?: number) => void;

export interface Watch {
  /** Undefined: all resources. */
  readonly resource: ResourceName | undefined;
  readonly changed: (change: Change, enqueue: Enqueue) => void;
}

/** Watches one resource. */
export function on<T extends KubeObject>(
  resource: TypedResource<T>,
  changed: (change: Change<T>, enqueue: Enqueue) => void,
): Watch {
  return { resource, changed: changed as Watch["changed"] };
}

export interface Runtime {
  /** Stops at once; writes already made stay. */
  stop(): void;
  /** Resolves when nothing is left to do but what waits for a time or for somebody else's write. */
  idle(): Promise<void>;
  /** Reconciled keys and failures so far, by controller. */
  readonly counts: ReadonlyMap<string, { readonly reconciled: number; readonly failed: number }>;
}

/** An error of a reconcile that will be tried again. */
export interface Failure {
  readonly controller: string;
  readonly key: string;
  readonly error: unknown;
  readonly retryInMs: number;
}

// client-go DefaultTypedControllerRateLimiter: 5 ms doubling up to 1,000 s.
const backoff = { firstMs: 5, lastMs: 1_000_000, conflictsAtOnce: 8 };
/**
 * How long a turn of the event loop may take before others get theirs. What it writes is committed together, and to kubelets and agents
 * many pods that come together are hardly more work than one: with turns of 8 ms the pods of a large rollout reached each node by twos.
 */
const turnMs = 50;
/** The same for what they say about it: a cluster coming up must not wait for its own diary. */
const sayingMs = 4;

/** Each resource once, whatever its versions. */
const everyResource: readonly ResourceName[] = [
  ...new Map(resources.map(({ group, resource }) => [`${resource}.${group}`, { group, resource }])).values(),
];

/** The resources of objects, custom ones included; those whose definition has gone are remembered, as their objects go after it. */
function resourcesOf(kinds: Kinds | undefined): {
  readonly all: readonly ResourceName[];
  readonly of: (object: KubeObject) => ResourceName | undefined;
} {
  const remembered = new Map<string, ResourceName>();
  return {
    all: [
      ...everyResource,
      ...(kinds?.all() ?? []).flatMap(({ custom, stored }) => (custom === undefined ? [] : [stored])),
    ],
    of({ apiVersion, kind }) {
      const known = resourceOf(apiVersion, kind);
      if (known !== undefined) return known;
      const custom = kinds?.of(apiVersion, kind)?.stored;
      if (custom !== undefined) remembered.set(`${apiVersion} ${kind}`, custom);
      return custom ?? remembered.get(`${apiVersion} ${kind}`);
    },
  };
}

/** Starts the given controllers; the order is the order within a round. */
export function startRuntime(options: {
  readonly api: ObjectApi & Partial<Pick<ServedApi, "kinds" | "within">>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly config: ClusterConfig;
  readonly controllers: readonly ((cluster: Cluster) => Controller)[];
  /** Told of every failed reconcile. */
  readonly failed?: (failure: Failure) => void;
}): Runtime {
  const { api, clock } = options;
  let queues: readonly ControllerQueue[] = [];
  let routes: Routes | undefined;
  let stopped = false;
  let scheduled = false;
  const waiting: (() => void)[] = [];

  const schedule = (): void => {
    if (scheduled || stopped) return;
    scheduled = true;
    setImmediate(turn);
  };
  const busy = (): boolean => !stopped && (scheduled || queues.some((queue) => queue.size > 0) || sink.pending);

  const known = resourcesOf(api.kinds);
  const objects = followObjects({
    api,
    resources: known.all,
    resourceOf: known.of,
    changed: (change) => routes?.(change),
  });
  const sink = createEventSink({ api, clock, random: options.random, wake: schedule });
  const cluster: Cluster = {
    objects,
    clock,
    random: options.random,
    config: options.config,
    events: (component) => sink.recorder(component),
  };
  queues = options.controllers.map((make) =>
    createQueue({ controller: make(cluster), api, clock, wake: schedule, ...pick(options.failed) }),
  );
  routes = createRoutes(queues);
  // Nobody reconciles before everything is known: a ReplicaSet without its pods would make them again.
  objects.load();
  for (const { controller, enqueue } of queues) for (const key of controller.startKeys ?? []) enqueue(key);
  schedule();

  function turn(): void {
    scheduled = false;
    if (stopped) return;
    const until = performance.now() + turnMs;
    const worked = queues.some((queue) => queue.size > 0);
    while (queues.some((queue) => queue.size > 0)) {
      for (const queue of queues) {
        if (!queue.drain(() => performance.now() < until)) return schedule();
      }
    }
    // What was written is committed and seen by kubelets before anybody talks about it.
    if (worked && sink.pending) return schedule();
    const untilSaid = performance.now() + sayingMs;
    if (!sink.drain(() => performance.now() < untilSaid)) return schedule();
    if (busy()) return schedule();
    for (const resolve of waiting.splice(0)) resolve();
  }

  const settled = (): Promise<void> =>
    busy() ? new Promise((resolve) => void waiting.push(resolve)) : Promise.resolve();

  return {
    stop() {
      stopped = true;
      objects.close();
      for (const queue of queues) queue.stop();
      for (const resolve of waiting.splice(0)) resolve();
    },
    async idle() {
      do {
        await settled();
        await api.flushed();
      } while (busy());
    },
    get counts() {
      return new Map(queues.map(({ controller, counts }) => [controller.name, counts]));
    },
  };
}

function pick(failed: ((failure: Failure) => void) | undefined): { failed?: (failure: Failure) => void } {
  return failed === undefined ? {} : { failed };
}

type Routes = (change: Change) => void;

function createRoutes(queues: readonly ControllerQueue[]): Routes {
  const byResource = new Map<string, ((change: Change) => void)[]>();
  const always: ((change: Change) => void)[] = [];
  for (const queue of queues) {
    for (const { resource, changed } of queue.controller.watches) {
      const call = (change: Change): void => changed(change, queue.enqueue);
      if (resource === undefined) always.push(call);
      else byResource.set(nameOf(resource), [...(byResource.get(nameOf(resource)) ?? []), call]);
    }
  }
  return (change) => {
    for (const call of byResource.get(nameOf(change.resource)) ?? []) call(change);
    for (const call of always) call(change);
  };
}

function nameOf(resource: ResourceName): string {
  return `${resource.resource}.${resource.group}`;
}

interface ControllerQueue {
  readonly controller: Controller;
  readonly counts: { reconciled: number; failed: number };
  readonly size: number;
  readonly enqueue: Enqueue;
  /** Works off what is queued now; false when time ran out first. */
  drain(more: () => boolean): boolean;
  stop(): void;
}

function createQueue(options: {
  readonly controller: Controller;
  readonly api: Partial<Pick<ServedApi, "within">>;
  readonly clock: Clock;
  readonly wake: () => void;
  readonly failed?: (failure: Failure) => void;
}): ControllerQueue {
  const { controller, clock, wake } = options;
  const ready = new Set<string>();
  const later = new Map<string, { at: number; timer: { cancel(): void } }>();
  const failures = new Map<string, number>();
  const counts = { reconciled: 0, failed: 0 };

  const now = (key: string): void => {
    ready.add(key);
    wake();
  };
  const enqueue: Enqueue = (key, afterMs = 0) => {
    if (afterMs <= 0) return now(key);
    const at = clock.now() + afterMs;
    const planned = later.get(key);
    if (planned !== undefined && planned.at <= at) return;
    planned?.timer.cancel();
    const timer = clock.after(afterMs, () => {
      later.delete(key);
      // A timer may fire early (systemClock's longest delay): reconcile looks at the clock itself.
      now(key);
    });
    later.set(key, { at, timer });
  };

  const actor = controllerActor(controller.name);
  const asController = (writes: () => void): void =>
    options.api.within === undefined ? writes() : options.api.within(actor, writes);

  const fail = (key: string, error: unknown): void => {
    // Somebody has to be asked before it may write; it goes on where it was when the answer is there.
    if (error instanceof AdmissionPending) {
      void error.settled.then(() => now(key));
      return;
    }
    counts.failed++;
    // What it wanted to write would go with the namespace; its own object does as well.
    if (isNamespaceTerminating(error)) return;
    const count = (failures.get(key) ?? 0) + 1;
    failures.set(key, count);
    const atOnce = isConflict(error) && count <= backoff.conflictsAtOnce;
    const retryInMs = atOnce ? 0 : Math.min(backoff.firstMs * 2 ** (count - 1), backoff.lastMs);
    if (!atOnce) options.failed?.({ controller: controller.name, key, error, retryInMs });
    enqueue(key, retryInMs);
  };

  const work = (key: string): void => {
    ready.delete(key);
    counts.reconciled++;
    try {
      asController(() => controller.reconcile(key, (afterMs) => enqueue(key, Math.max(1, afterMs))));
      failures.delete(key);
    } catch (error) {
      fail(key, error);
    }
  };

  return {
    controller,
    counts,
    get size() {
      return ready.size;
    },
    enqueue,
    drain(more) {
      // What is queued meanwhile waits for the next round.
      for (const key of Array.from(ready)) {
        if (!more()) return false;
        work(key);
      }
      return true;
    },
    stop() {
      ready.clear();
      for (const { timer } of later.values()) timer.cancel();
      later.clear();
    },
  };
}
