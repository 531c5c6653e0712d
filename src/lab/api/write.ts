// The API over a store: reads are the store's own, writes go the write path. That, and the table of kinds, are loaded when they are first
// needed: a server that has only begun answers sooner.
//
// Not here: what happens to an object on its way (write-path.ts), HTTP.

import { createRequire } from "node:module";
import type { KubeObject } from "../../kube/object.ts";
import type { Actor, Admission, ServedApi, Validation } from "./api.ts";
import type { Kind, Kinds } from "./kinds.ts";
import { completeAs } from "./marks.ts";
import type { Store } from "./store.ts";
import type { WritePath } from "./write-path.ts";

export interface ObjectApiOptions {
  readonly store: Store;
  /** In this order, each seeing what the one before gave. */
  readonly admissions: readonly Admission[];
  /** When all of them have admitted an object and it is valid. */
  readonly validations?: readonly Validation[];
  /** Asked about streams. */
  readonly connections?: readonly Validation[];
  /** Milliseconds since 1970. */
  readonly clock?: () => number;
  /** A number from 0 to below 1, for uids and generated names. */
  readonly random?: () => number;
}

const load = createRequire(import.meta.url);
const kindsModule = (): typeof import("./kinds.ts") => load("./kinds.ts") as typeof import("./kinds.ts");
const writePath = (): typeof import("./write-path.ts") => load("./write-path.ts") as typeof import("./write-path.ts");

/** Programs inside of the lab that do not say who they are. */
const inside: Actor = { username: "system:apiserver", groups: ["system:masters", "system:authenticated"] };

/** The API over a store. */
export function createObjectApi(options: ObjectApiOptions): ServedApi {
  const { store } = options;
  let known: Kinds | undefined;
  const kinds = (): Kinds => (known ??= kindsModule().createKinds(store));
  let actor: Actor = inside;
  let path: WritePath | undefined;

  const connect = (kind: Kind, object: KubeObject): void => {
    for (const connection of options.connections ?? [])
      connection({ operation: "connect", object, kind, actor, store, kinds: kinds() });
  };

  const within = <T>(who: Actor, writes: () => T): T => {
    const outer = actor;
    actor = who;
    try {
      return writes();
    } finally {
      actor = outer;
    }
  };

  const writes = (): WritePath =>
    (path ??= writePath().createWritePath({ ...options, kinds: kinds(), actor: () => actor, within }));

  const create = (given: KubeObject): KubeObject => {
    const resource = actor.manager === undefined ? completeAs(given) : undefined;
    return resource === undefined ? writes().create(given) : store.create(resource, given);
  };

  return {
    connect,
    get kinds() {
      return kinds();
    },
    within,
    get revision() {
      return store.revision;
    },
    get: (key) => store.get(key),
    list: (resource, listOptions) => store.list(resource, listOptions),
    watch: (resource, since, event) => store.watch(resource, since, event),
    flushed: () => store.flushed(),
    create,
    update: (given) => writes().update(given),
    updateStatus: (given, statusOptions) => writes().updateStatus(given, statusOptions),
    apply: (given) => writes().apply(given),
    applyAll: (manifests) => writes().applyAll(manifests),
    delete: (key, deleteOptions) => writes().delete(key, deleteOptions),
    rehearse: (rehearsed) => writes().rehearse(rehearsed),
  };
}
