// The API as programs inside the lab use it: the store, with each kind's rules (defaults, validation, admission, generation) applied on writes.
// The HTTP API server is a thin layer over this same interface, so nothing inside can do what a client could not.

import type { KubeObject } from "../../kube/object.ts";
import type { Session } from "./admission/pending.ts";
import type { Kind, Kinds } from "./kinds.ts";
import type { ObjectKey, Store } from "./store.ts";

/** What of an object's metadata comes with its status: managed fields, or labels and annotations besides. */
export type ReportedMetadata = "managed" | "reported";

export interface ObjectApi extends Pick<Store, "get" | "list" | "watch" | "revision" | "flushed"> {
  /** Creates; apiVersion and kind say which resource. Throws StatusError (409 AlreadyExists, 422 Invalid, 404 for a missing namespace …). */
  create(object: KubeObject): KubeObject;
  /** Replaces metadata and spec; status is kept. generation grows when the spec changed. Throws StatusError. */
  update(object: KubeObject): KubeObject;
  /** Replaces status only; through a door of its own (`approval`) where there is one for it. Throws StatusError. */
  updateStatus(object: KubeObject, options?: StatusOptions): KubeObject;
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

export interface StatusOptions {
  readonly metadata?: ReportedMetadata;
  /** The subresource; the actor's, or `status`, unless given. */
  readonly subresource?: string;
}

/** The API as a server puts it in front of the store. */
export interface ServedApi extends ObjectApi {
  /** What there is to serve, custom resources included. */
  readonly kinds: Kinds;
  /** What writes would give, without any of them having been made (`dryRun=All`). `writes` must not wait for anything. */
  rehearse<T>(writes: () => T): T;
  /** Asks admission whether the actor may open a stream (exec, attach, portforward, proxy): `options` says how, named as what it leads to. Throws StatusError. */
  connect(kind: Kind, options: KubeObject): void;
  /** All writes made inside are this actor's. `writes` must not wait for anything. */
  within<T>(actor: Actor, writes: () => T): T;
}

/** What `apply` did: `unchanged` where the manifest said nothing new. */
export interface Applied {
  readonly object: KubeObject;
  readonly result: "created" | "configured" | "unchanged";
}

/** Who makes a write, as far as admission asks. */
export interface Actor {
  readonly username: string;
  readonly groups: readonly string[];
  readonly uid?: string;
  readonly extra?: { readonly [name: string]: readonly string[] };
  /** Remembered for the fields that change; undefined where the caller has settled managed fields. */
  readonly manager?: string;
  /** The subresource that is written; undefined for the object itself. */
  readonly subresource?: string;
  readonly dryRun?: boolean;
  /** The request's options, such as meta/v1 CreateOptions. */
  readonly options?: { readonly [field: string]: unknown };
  /** The memory of a writer who can wait for webhooks; others' writes are not shown to them. */
  readonly session?: Session;
  /** Hears what is allowed and worth knowing. */
  readonly warn?: (text: string) => void;
}

/** A write on its way. */
export interface AdmissionRequest {
  readonly operation: "create" | "update" | "delete" | "connect";
  /** As it would be stored. Of a deletion: what goes. Of a connection: its options, under the name of what it leads to. */
  readonly object: KubeObject;
  readonly previous?: KubeObject;
  readonly kind: Kind;
  readonly actor: Actor;
  readonly store: Store;
  readonly kinds: Kinds;
}

/** A step of a write between defaults and validation: gives the object to store (the same one where nothing changes), or throws StatusError. */
export type Admission = (request: AdmissionRequest) => KubeObject;

/** The last step of a write, when its object is valid: lets it pass, or throws StatusError. */
export type Validation = (request: AdmissionRequest) => void;
