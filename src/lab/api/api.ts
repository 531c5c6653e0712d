// The API as programs inside the lab use it: the store, with each kind's rules (defaults, validation, admission, generation) applied on writes.
// The HTTP API server is a thin layer over this same interface, so nothing inside can do what a client could not.

import type { KubeObject } from "../../kube/object.ts";
import type { Kinds } from "./kinds.ts";
import type { ObjectKey, Store } from "./store.ts";

export interface ObjectApi extends Pick<Store, "get" | "list" | "watch" | "revision" | "flushed"> {
  /** Creates; apiVersion and kind say which resource. Throws StatusError (409 AlreadyExists, 422 Invalid, 404 for a missing namespace …). */
  create(object: KubeObject): KubeObject;
  /** Replaces metadata and spec; status is kept. generation grows when the spec changed. Throws StatusError. */
  update(object: KubeObject): KubeObject;
  /** Replaces status only. Throws StatusError. */
  updateStatus(
    object: KubeObject,
    options?: { /** Labels, annotations and managed fields as well. */ readonly metadata?: boolean },
  ): KubeObject;
  /** Creates or merges what a manifest says into what is there (`fairlead apply`): fields once applied and now gone are removed. */
  apply(object: KubeObject): Applied;
  /** Applies all, in this order, or none: when one of them is refused nothing has changed. Throws that one's StatusError. */
  applyAll(objects: readonly KubeObject[]): readonly Applied[];
  /** Deletes with the kind's grace period; finalizers and propagation are honoured. */
  delete(
    key: ObjectKey,
    options?: {
      readonly gracePeriodSeconds?: number;
      readonly propagation?: "Background" | "Foreground" | "Orphan";
      readonly uid?: string;
    },
  ): KubeObject;
}

/** The API as a server puts it in front of the store. */
export interface ServedApi extends ObjectApi {
  /** What there is to serve, custom resources included. */
  readonly kinds: Kinds;
  /** What writes would give, without any of them having been made (`dryRun=All`). `writes` must not wait for anything. */
  rehearse<T>(writes: () => T): T;
}

/** What `apply` did: `unchanged` where the manifest said nothing new. */
export interface Applied {
  readonly object: KubeObject;
  readonly result: "created" | "configured" | "unchanged";
}

/** A step of a write between defaults and validation: gives the object to store (the same one where nothing changes), or throws StatusError. */
export type Admission = (request: {
  readonly operation: "create" | "update" | "delete";
  readonly object: KubeObject;
  readonly previous?: KubeObject;
  readonly store: Store;
}) => KubeObject;
