// Where a node's agent gets the Network from: the lab's store, an API server's watches, or a folder of manifests.

import type { Network } from "./network.ts";

export interface NetworkSource {
  /** Today's Network; the same value until something relevant changes. */
  current(): Network;
  /** Calls back when `current()` has changed; coalesced, never from inside a writer's call stack. */
  subscribe(changed: () => void): { close(): void };
}
