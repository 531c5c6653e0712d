// The object store: what the API server of the lab keeps, durable in SQLite, with watches inside the process.
// The Kubernetes API is put in front of this very store; controllers, kubelets and agents use it directly.
//
// Rules: objects handed out are frozen and shared; a write gives a new object. A write is visible to reads at once, is durable and
// seen by watches when `flushed()` resolves (group commit per event-loop turn).

import type { KubeObject, Labels } from "../../kube/object.ts";

/** One resource's identity, as in URLs: `{ group: "apps", resource: "deployments" }`; the core group is the empty string. */
export interface ResourceName {
  readonly group: string;
  readonly resource: string;
}

export interface ObjectKey extends ResourceName {
  readonly namespace?: string;
  readonly name: string;
}

export type WatchEvent =
  | {
      readonly type: "ADDED" | "MODIFIED" | "DELETED";
      readonly object: KubeObject;
      readonly previous?: KubeObject;
      readonly resourceVersion: number;
    }
  | { readonly type: "BOOKMARK"; readonly resourceVersion: number };

export interface ListOptions {
  readonly namespace?: string;
  readonly labels?: (labels: Labels) => boolean;
}

export interface Store {
  /** Revision of the newest write. */
  readonly revision: number;
  get(key: ObjectKey): KubeObject | undefined;
  /** Sorted by namespace and name. */
  list(
    resource: ResourceName,
    options?: ListOptions,
  ): { readonly items: readonly KubeObject[]; readonly resourceVersion: number };
  /**
   * Creates. Sets uid, creationTimestamp, resourceVersion; generateName is honoured.
   * Throws StatusError 409 AlreadyExists. Defaulting and validation are the caller's (kube/), so that every caller shares them: see api/write-path.ts.
   */
  create(resource: ResourceName, object: KubeObject): KubeObject;
  /** Replaces; a resourceVersion inside must be the current one (409 Conflict). Removing the last finalizer of a deleting object removes it. No change: no event. */
  update(resource: ResourceName, object: KubeObject): KubeObject;
  /** Removes at once, or sets deletionTimestamp when finalizers or a grace period hold it (`gracePeriodSeconds` > 0). */
  delete(
    key: ObjectKey,
    options?: { readonly gracePeriodSeconds?: number; readonly uid?: string; readonly resourceVersion?: string },
  ): KubeObject;
  /** All writes made inside, or none of them: when `writes` throws, everything is as it was before. `writes` must not wait for anything. */
  atomically<T>(writes: () => T): T;
  /**
   * Events after `since` (0: all existing objects as ADDED, then one BOOKMARK, then what follows; undefined: from now on). The callback
   * runs in order, after the commit, outside of the writer's call stack.
   * Throws StatusError 410 when `since` is older than what is kept.
   */
  watch(
    resource: ResourceName | "all",
    since: number | undefined,
    event: (event: WatchEvent) => void,
  ): { close(): void };
  /** Resolves when everything written so far is on disk and every watcher has seen it. */
  flushed(): Promise<void>;
  close(): void;
}

/** An API error in Kubernetes' shape (meta/v1 Status); thrown by the store and by validation. */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly code: number;
  /** `NotFound`, `AlreadyExists`, `Conflict`, `Invalid`, `BadRequest`, `Expired` … */
  readonly reason: string;
  readonly details: { readonly [field: string]: unknown };

  constructor(code: number, reason: string, message: string, details: { readonly [field: string]: unknown } = {}) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.details = details;
  }
}
