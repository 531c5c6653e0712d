// How long Events are kept: an hour after they were last said, and only so many; the oldest go first, whoever wrote them.
// Upstream: kube-apiserver --event-ttl. The number is ours: a lab's store is not to grow with its talk.

import type { Event } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { StatusError } from "../api/store.ts";
import { timeMs } from "../../watch/clock.ts";
import { events } from "./resources.ts";
import { on, type Cluster, type Controller } from "./runtime.ts";

export interface EventRetention {
  readonly ttlMs: number;
  readonly most: number;
}

const upstream: EventRetention = { ttlMs: 3_600_000, most: 10_000 };

export function eventRetentionController({ ttlMs, most }: EventRetention = upstream): (cluster: Cluster) => Controller {
  return ({ objects, clock }) => {
    /** When each was last said, the oldest first: they come in that order, but for those that were there at the start. */
    let said = new Map<string, number>();
    let inOrder = false;
    return {
      name: "event-retention",
      watches: [
        on(events, ({ object, previous }, enqueue) => {
          const key = keyOf((object ?? previous) as Event);
          said.delete(key);
          if (object === undefined) return;
          said.set(key, lastMs(object));
          enqueue("", said.size > most ? 0 : Math.max(0, lastMs(object) + ttlMs - clock.now()));
        }),
      ],
      // One key for all: the work is to look at the head of the queue.
      reconcile(_key, requeue) {
        if (!inOrder) said = new Map([...said].sort(([, a], [, b]) => a - b));
        inOrder = true;
        for (const [key, atMs] of said) {
          const leftMs = atMs + ttlMs - clock.now();
          if (leftMs > 0 && said.size <= most) return requeue(leftMs);
          said.delete(key);
          const event = objects.byKey(events, key);
          if (event === undefined) continue;
          try {
            objects.delete(events, event);
          } catch (error) {
            // Somebody else was faster, or said it again this very moment.
            if (!(error instanceof StatusError) || (error.code !== 404 && error.code !== 409)) throw error;
          }
        }
      },
    };
  };
}

function lastMs(event: Event): number {
  return (
    timeMs(
      event.series?.lastObservedTime ?? event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp,
    ) ?? 0
  );
}
