// The cluster's objects as the controllers read and write them: an indexed copy of the store that is never behind its own writer.
// A write is seen here at once and a watch event of anybody else's write shortly after; either way the newest object is taken from the
// store, so order and repetition of events do not matter, and no controller has to remember what it expects to see.
//
// Not here: who is told about a change and what is done then (runtime.ts).

import type { Pod } from "../../kube/kinds.ts";
import { keyOf, type KubeObject, type Labels } from "../../kube/object.ts";
import type { ObjectApi, StatusOptions } from "../api/api.ts";
import type { ResourceName, WatchEvent } from "../api/store.ts";
import { pods, type TypedResource } from "./resources.ts";

/** What happened to one object. Without `object` it is gone, without `previous` it is new. An object made anew under an old name is two changes. */
export interface Change<T extends KubeObject = KubeObject> {
  readonly resource: ResourceName;
  readonly object?: T;
  readonly previous?: T;
}

export type DeleteOptions = NonNullable<Parameters<ObjectApi["delete"]>[1]>;

/** Reads are from memory and cost what they give, lists are the caller's own copies; writes go through the API and throw its StatusErrors. */
export interface Objects {
  get<T extends KubeObject>(resource: TypedResource<T>, namespace: string | undefined, name: string): T | undefined;
  /** By `namespace/name`, or `name`. */
  byKey<T extends KubeObject>(resource: TypedResource<T>, key: string): T | undefined;
  all<T extends KubeObject>(resource: TypedResource<T>): readonly T[];
  inNamespace<T extends KubeObject>(resource: TypedResource<T>, namespace: string): readonly T[];
  /** Objects of any kind in a namespace, as (resource, object). */
  everythingIn(namespace: string): readonly (readonly [ResourceName, KubeObject])[];
  /** Objects that name this uid among their owners, of any kind. */
  dependentsOf(uid: string): readonly (readonly [ResourceName, KubeObject])[];
  /** Objects of one kind whose controller (ownerReferences[].controller) is this uid. */
  controlledBy<T extends KubeObject>(resource: TypedResource<T>, uid: string): readonly T[];
  podsOnNode(node: string): readonly Pod[];
  /** Pods of a namespace that carry all of these labels. With no labels: all pods of the namespace. */
  podsLabelled(namespace: string, labels: Labels): readonly Pod[];
  create<T extends KubeObject>(resource: TypedResource<T>, object: T): T;
  update<T extends KubeObject>(resource: TypedResource<T>, object: T): T;
  updateStatus<T extends KubeObject>(resource: TypedResource<T>, object: T, options?: StatusOptions): T;
  delete(resource: ResourceName, object: KubeObject, options?: DeleteOptions): void;
  /** Looks at the store again, for an object whose write met a conflict. */
  refresh(resource: ResourceName, namespace: string | undefined, name: string): void;
  /** Takes in everything that is there, before this returns, and follows from then on. */
  load(): void;
  close(): void;
}

/**
 * Copies what the store holds (at `load()`) and follows it until closed. `changed` is called for every change, existing objects first;
 * it must not write.
 */
export function followObjects(options: {
  readonly api: ObjectApi;
  /** Each resource once. */
  readonly resources: readonly ResourceName[];
  readonly resourceOf: (object: KubeObject) => ResourceName | undefined;
  readonly changed: (change: Change) => void;
}): Objects {
  const { api } = options;
  const index = createIndex();

  const put = (resource: ResourceName, key: string, object: KubeObject | undefined): void => {
    const previous = index.get(resource, key);
    if (previous === object) return;
    if (previous !== undefined && object !== undefined) {
      if (previous.metadata.resourceVersion === object.metadata.resourceVersion) return;
      if (previous.metadata.uid !== object.metadata.uid) put(resource, key, undefined);
    }
    const before = index.get(resource, key);
    index.put(resource, key, before, object);
    options.changed({
      resource,
      ...(object === undefined ? {} : { object }),
      ...(before === undefined ? {} : { previous: before }),
    });
  };

  const refresh = (resource: ResourceName, namespace: string | undefined, name: string): void => {
    const object = api.get({
      group: resource.group,
      resource: resource.resource,
      name,
      ...(namespace === undefined ? {} : { namespace }),
    });
    put(resource, namespace === undefined ? name : `${namespace}/${name}`, object);
  };

  const event = (event: WatchEvent): void => {
    if (event.type === "BOOKMARK") return;
    const resource = options.resourceOf(event.object);
    if (resource === undefined) return;
    refresh(resource, event.object.metadata.namespace, event.object.metadata.name);
  };
  let watch: { close(): void } | undefined;
  const load = (): void => {
    for (const resource of options.resources) {
      for (const object of api.list(resource).items) put(resource, keyOf(object), object);
    }
    watch = api.watch("all", api.revision, event);
  };

  const wrote = <T extends KubeObject>(resource: TypedResource<T>, object: KubeObject): T => {
    put(resource, keyOf(object), object);
    return object as T;
  };

  return {
    ...index.reads,
    create: (resource, object) => wrote(resource, api.create(object)),
    update: (resource, object) => {
      const written = api.update(object);
      // The write may have removed the last finalizer and with it the object.
      if (written.metadata.deletionTimestamp === undefined) return wrote(resource, written);
      refresh(resource, written.metadata.namespace, written.metadata.name);
      return written as typeof object;
    },
    updateStatus: (resource, object, statusOptions) => wrote(resource, api.updateStatus(object, statusOptions)),
    delete(resource, object, deleteOptions) {
      const { namespace, name, uid } = object.metadata;
      try {
        api.delete(
          {
            group: resource.group,
            resource: resource.resource,
            name,
            ...(namespace === undefined ? {} : { namespace }),
          },
          { ...(uid === undefined ? {} : { uid }), ...deleteOptions },
        );
      } finally {
        refresh(resource, namespace, name);
      }
    },
    load,
    refresh,
    close: () => watch?.close(),
  };
}

type Reads = Pick<
  Objects,
  | "get"
  | "byKey"
  | "all"
  | "inNamespace"
  | "everythingIn"
  | "dependentsOf"
  | "controlledBy"
  | "podsOnNode"
  | "podsLabelled"
>;

interface Shelf {
  readonly resource: ResourceName;
  readonly byKey: Map<string, KubeObject>;
  readonly byNamespace: Buckets<KubeObject>;
}

function createIndex(): {
  readonly reads: Reads;
  get(resource: ResourceName, key: string): KubeObject | undefined;
  put(resource: ResourceName, key: string, before: KubeObject | undefined, after: KubeObject | undefined): void;
} {
  const shelves = new Map<string, Shelf>();
  const dependents = buckets<readonly [ResourceName, KubeObject]>();
  const nodePods = buckets<Pod>();
  const labelledPods = buckets<Pod>();

  const shelf = (resource: ResourceName): Shelf => {
    const name = resource.group === "" ? resource.resource : `${resource.resource}.${resource.group}`;
    let found = shelves.get(name);
    if (found === undefined) shelves.set(name, (found = { resource, byKey: new Map(), byNamespace: buckets() }));
    return found;
  };

  const unlist = (resource: ResourceName, key: string, object: KubeObject): void => {
    const { namespace, uid } = object.metadata;
    const { byKey, byNamespace } = shelf(resource);
    byKey.delete(key);
    if (namespace !== undefined) byNamespace.remove(namespace, key);
    for (const owner of object.metadata.ownerReferences ?? []) dependents.remove(owner.uid, uid ?? key);
    if (!isPod(resource)) return;
    nodePods.remove((object as Pod).spec.nodeName ?? "", key);
    for (const bucket of labelBuckets(object)) labelledPods.remove(bucket, key);
  };

  const enlist = (resource: ResourceName, key: string, object: KubeObject): void => {
    const { namespace, uid } = object.metadata;
    const { byKey, byNamespace } = shelf(resource);
    byKey.set(key, object);
    if (namespace !== undefined) byNamespace.add(namespace, key, object);
    for (const owner of object.metadata.ownerReferences ?? []) {
      dependents.add(owner.uid, uid ?? key, [resource, object]);
    }
    if (!isPod(resource)) return;
    nodePods.add((object as Pod).spec.nodeName ?? "", key, object as Pod);
    for (const bucket of labelBuckets(object)) labelledPods.add(bucket, key, object as Pod);
  };

  const reads: Reads = {
    get: <T extends KubeObject>(resource: TypedResource<T>, namespace: string | undefined, name: string) =>
      shelf(resource).byKey.get(namespace === undefined ? name : `${namespace}/${name}`) as T | undefined,
    byKey: <T extends KubeObject>(resource: TypedResource<T>, key: string) =>
      shelf(resource).byKey.get(key) as T | undefined,
    all: <T extends KubeObject>(resource: TypedResource<T>) => [...(shelf(resource).byKey.values() as Iterable<T>)],
    inNamespace: <T extends KubeObject>(resource: TypedResource<T>, namespace: string) =>
      shelf(resource).byNamespace.values(namespace) as readonly T[],
    everythingIn: (namespace) =>
      [...shelves.values()].flatMap(({ resource, byNamespace }) =>
        byNamespace.values(namespace).map((object) => [resource, object] as const),
      ),
    dependentsOf: (uid) => dependents.values(uid),
    controlledBy: <T extends KubeObject>(resource: TypedResource<T>, uid: string) =>
      dependents
        .values(uid)
        .filter(([of]) => of.resource === resource.resource && of.group === resource.group)
        .map(([, object]) => object as T)
        .filter((object) => object.metadata.ownerReferences?.some((owner) => owner.uid === uid && owner.controller)),
    podsOnNode: (node) => nodePods.values(node),
    podsLabelled(namespace, labels) {
      const wanted = Object.entries(labels);
      if (wanted.length === 0) return shelf(pods).byNamespace.values(namespace) as readonly Pod[];
      const smallest = wanted
        .map(([key, value]) => labelBucket(namespace, key, value))
        .reduce((a, b) => (labelledPods.size(b) < labelledPods.size(a) ? b : a));
      return labelledPods
        .values(smallest)
        .filter((pod) => wanted.every(([key, value]) => pod.metadata.labels?.[key] === value));
    },
  };

  return {
    reads,
    get: (resource, key) => shelf(resource).byKey.get(key),
    put(resource, key, before, after) {
      if (before !== undefined) unlist(resource, key, before);
      if (after !== undefined) enlist(resource, key, after);
    },
  };
}

function isPod(resource: ResourceName): boolean {
  return resource.resource === "pods" && resource.group === "";
}

function labelBucket(namespace: string, key: string, value: string): string {
  return `${namespace}\n${key}\n${value}`;
}

function labelBuckets(object: KubeObject): readonly string[] {
  const { namespace = "", labels = {} } = object.metadata;
  return Object.entries(labels).map(([key, value]) => labelBucket(namespace, key, value));
}

interface Buckets<V> {
  add(bucket: string, key: string, value: V): void;
  remove(bucket: string, key: string): void;
  values(bucket: string): readonly V[];
  size(bucket: string): number;
}

/** Values by bucket and key; empty buckets take no memory. */
export function buckets<V>(): Buckets<V> {
  const all = new Map<string, Map<string, V>>();
  return {
    add(bucket, key, value) {
      const found = all.get(bucket);
      if (found === undefined) all.set(bucket, new Map([[key, value]]));
      else found.set(key, value);
    },
    remove(bucket, key) {
      const found = all.get(bucket);
      if (found?.delete(key) === true && found.size === 0) all.delete(bucket);
    },
    values: (bucket) => [...(all.get(bucket)?.values() ?? [])],
    size: (bucket) => all.get(bucket)?.size ?? 0,
  };
}
