// Watchers of the same things: what they are to see is found out once, and goes to all of them as one feed (watch-sender.ts). A watcher
// begins alone, as each begins somewhere else, and joins the others when it has seen what they have seen.
//
// Not here: what an event is to a watcher (watch.ts).

import type { ServedApi } from "../api/api.ts";
import type { Kind } from "../api/kinds.ts";
import type { WatchEvent } from "../api/store.ts";
import type { Feed, WatchSender } from "./watch-sender.ts";

export type Change = Exclude<WatchEvent, { type: "BOOKMARK" }>;

/** Watchers that see the same lines. */
export interface WatchGroup {
  /** The revision of the last change that it has seen, whether it was for its watchers or not; 0 before the first. */
  readonly seen: number;
  readonly feed: Feed;
  /** There is one watcher of the feed more. */
  join(): void;
  /** Who was given the group needs it no more. */
  leave(): void;
}

export interface WatchGroups {
  /** The group of what a key tells apart from all else that is watched of a kind, for a watcher that will leave it once. */
  enter(key: string, kind: Kind, lineOf: (change: Change) => Buffer | undefined): WatchGroup;
}

export function createWatchGroups(api: Pick<ServedApi, "watch">, sender: WatchSender): WatchGroups {
  const groups = new Map<string, { readonly kind: Kind; readonly group: WatchGroup; enter(): void }>();
  return {
    enter(key, kind, lineOf) {
      const known = groups.get(key);
      // A definition that changes makes another kind.
      if (known?.kind === kind) {
        known.enter();
        return known.group;
      }
      const feed = sender.openFeed();
      let [entered, joined, seen] = [1, 0, 0];
      const { group: apiGroup, resource } = kind.stored;
      const watch = api.watch({ group: apiGroup, resource }, undefined, (event) => {
        if (event.type === "BOOKMARK") return;
        seen = event.resourceVersion;
        const line = joined === 0 ? undefined : lineOf(event);
        if (line !== undefined) feed.append(line);
      });
      const group: WatchGroup = {
        get seen() {
          return seen;
        },
        feed,
        join() {
          joined++;
        },
        leave() {
          if (--entered > 0) return;
          watch.close();
          if (groups.get(key)?.group === group) groups.delete(key);
        },
      };
      groups.set(key, {
        kind,
        group,
        enter() {
          entered++;
        },
      });
      return group;
    },
  };
}
