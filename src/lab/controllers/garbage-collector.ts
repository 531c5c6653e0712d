// The garbage collector: what belongs to an object that is gone goes too. In the background (the owner first), in the foreground (the
// owner waits for what blocks it), or not at all (orphaned). Upstream: pkg/controller/garbagecollector.

import type { KubeObject, OwnerReference } from "../../kube/object.ts";
import { resourceOf } from "../../kube/resources.ts";
import type { ObjectApi } from "../api/api.ts";
import type { Kinds } from "../api/kinds.ts";
import { StatusError, type ResourceName } from "../api/store.ts";
import type { Change, Objects } from "./objects.ts";
import type { TypedResource } from "./resources.ts";
import type { Cluster, Controller, Enqueue } from "./runtime.ts";

const foreground = "foregroundDeletion";
const orphan = "orphan";

/** Where owners are looked up; with `kinds` also those of custom resources. */
type OwnerApi = Pick<ObjectApi, "get"> & { readonly kinds?: Pick<Kinds, "of"> };

/** `api` is asked for owners, so that one that was not seen yet is not taken for gone. */
export function garbageCollector(api: OwnerApi): (cluster: Cluster) => Controller {
  return ({ objects }) => {
    const enqueueDependents = (uid: string | undefined, enqueue: Enqueue): void => {
      for (const [resource, object] of objects.dependentsOf(uid ?? "")) enqueue(keyFor(resource, object));
    };
    /** Owners that may have waited for an object. */
    const enqueueOwners = (of: KubeObject | undefined, enqueue: Enqueue): void => {
      for (const owner of of?.metadata.ownerReferences ?? []) {
        const found = ownerOf(api, owner, of?.metadata.namespace);
        if (found.kind === "there") enqueue(keyFor(found.resource, found.object));
      }
    };
    const changed = ({ resource, object, previous }: Change, enqueue: Enqueue): void => {
      if (object === undefined) {
        enqueueDependents(previous?.metadata.uid, enqueue);
        enqueueOwners(previous, enqueue);
        return;
      }
      const { metadata } = object;
      const isNew =
        previous === undefined ||
        previous.metadata.ownerReferences !== metadata.ownerReferences ||
        previous.metadata.deletionTimestamp !== metadata.deletionTimestamp ||
        previous.metadata.finalizers !== metadata.finalizers;
      if (!isNew) return;
      if (previous !== undefined && previous.metadata.ownerReferences !== metadata.ownerReferences)
        enqueueOwners(previous, enqueue);
      const isLeaving = metadata.deletionTimestamp !== undefined && hasFinalizer(object, foreground, orphan);
      if (isLeaving || (metadata.ownerReferences ?? []).length > 0) enqueue(keyFor(resource, object));
      if (isLeaving) enqueueDependents(metadata.uid, enqueue);
    };
    return {
      name: "garbage-collector",
      watches: [{ resource: undefined, changed }],
      reconcile(key) {
        const found = find(objects, key);
        if (found === undefined) return;
        const { resource, object } = found;
        if (object.metadata.deletionTimestamp !== undefined) {
          if (hasFinalizer(object, orphan)) return orphanDependents(objects, resource, object);
          if (hasFinalizer(object, foreground)) return deleteDependents(objects, resource, object);
          return;
        }
        collect(api, objects, resource, object);
      },
    };
  };
}

function keyFor({ group, resource }: ResourceName, { metadata }: KubeObject): string {
  return [group, resource, metadata.namespace ?? "", metadata.name].join("|");
}

function find(objects: Objects, key: string): { resource: TypedResource; object: KubeObject } | undefined {
  const [group = "", plural = "", namespace = "", name = ""] = key.split("|");
  const resource: TypedResource = { group, resource: plural, apiVersion: "", kind: "", namespaced: namespace !== "" };
  const object = objects.get(resource, namespace === "" ? undefined : namespace, name);
  return object && { resource, object };
}

function hasFinalizer(object: KubeObject, ...names: readonly string[]): boolean {
  return object.metadata.finalizers?.some((name) => names.includes(name)) === true;
}

type Owner =
  | { readonly kind: "there"; readonly resource: ResourceName; readonly object: KubeObject }
  | { readonly kind: "gone" }
  /** A kind the API does not know: nothing can be said about it. */
  | { readonly kind: "unknown" };

function ownerOf(api: OwnerApi, owner: OwnerReference, namespace: string | undefined): Owner {
  const resource = resourceOf(owner.apiVersion, owner.kind) ?? customResourceOf(api, owner);
  if (resource === undefined) return { kind: "unknown" };
  const object = api.get({
    group: resource.group,
    resource: resource.resource,
    name: owner.name,
    ...(resource.namespaced && namespace !== undefined ? { namespace } : {}),
  });
  return object?.metadata.uid === owner.uid ? { kind: "there", resource, object } : { kind: "gone" };
}

function customResourceOf(
  { kinds }: OwnerApi,
  { apiVersion, kind }: OwnerReference,
): (ResourceName & { readonly namespaced: boolean }) | undefined {
  const found = kinds?.of(apiVersion, kind);
  return found && { ...found.stored, namespaced: found.namespaced };
}

/** attemptToDeleteItem: an object without any owner left goes; owners that are gone are forgotten where others remain. */
function collect(api: OwnerApi, objects: Objects, resource: TypedResource, object: KubeObject): void {
  const references = object.metadata.ownerReferences ?? [];
  if (references.length === 0) return;
  const owners = references.map((reference) => ({
    reference,
    owner: ownerOf(api, reference, object.metadata.namespace),
  }));
  const isWaiting = (owner: Owner): boolean => owner.kind === "there" && isDeletingDependents(owner.object);
  const solid = owners.filter(({ owner }) => owner.kind !== "gone" && !isWaiting(owner));
  const isBlocking = owners.some(({ owner }) => isWaiting(owner));
  if (solid.length === owners.length) return;
  if (solid.length > 0) {
    writeOwners(
      objects,
      resource,
      object,
      solid.map(({ reference }) => reference),
    );
    return;
  }
  const dependents = objects.dependentsOf(object.metadata.uid ?? "");
  const hasDependents = dependents.length > 0;
  // A circle of owners would wait for itself: one of them stops holding up its own.
  if (isBlocking && dependents.some(([, dependent]) => isDeletingDependents(dependent)))
    writeOwners(
      objects,
      resource,
      object,
      references.map((reference) => ({ ...reference, blockOwnerDeletion: false })),
    );
  const propagation = hasFinalizer(object, orphan)
    ? "Orphan"
    : hasFinalizer(object, foreground) || (isBlocking && hasDependents)
      ? "Foreground"
      : "Background";
  remove(objects, resource, object, propagation);
}

function isDeletingDependents(object: KubeObject): boolean {
  return object.metadata.deletionTimestamp !== undefined && hasFinalizer(object, foreground);
}

/** processDeletingDependentsItem: the owner may go when nothing that blocks it is left. */
function deleteDependents(objects: Objects, resource: TypedResource, owner: KubeObject): void {
  const uid = owner.metadata.uid ?? "";
  const dependents = objects.dependentsOf(uid);
  const blocks = ([, { metadata }]: readonly [ResourceName, KubeObject]): boolean =>
    metadata.ownerReferences?.some((reference) => reference.uid === uid && reference.blockOwnerDeletion === true) ===
    true;
  if (!dependents.some(blocks)) dropFinalizer(objects, resource, owner, foreground);
}

function orphanDependents(objects: Objects, resource: TypedResource, owner: KubeObject): void {
  const uid = owner.metadata.uid ?? "";
  for (const [of, dependent] of objects.dependentsOf(uid)) {
    const others = (dependent.metadata.ownerReferences ?? []).filter((reference) => reference.uid !== uid);
    writeOwners(objects, { ...of, apiVersion: "", kind: "", namespaced: true }, dependent, others);
  }
  dropFinalizer(objects, resource, owner, orphan);
}

function writeOwners(
  objects: Objects,
  resource: TypedResource,
  object: KubeObject,
  ownerReferences: readonly OwnerReference[],
): void {
  objects.update(resource, { ...object, metadata: { ...object.metadata, ownerReferences } });
}

function dropFinalizer(objects: Objects, resource: TypedResource, object: KubeObject, name: string): void {
  const finalizers = (object.metadata.finalizers ?? []).filter((each) => each !== name);
  objects.update(resource, { ...object, metadata: { ...object.metadata, finalizers } });
}

function remove(
  objects: Objects,
  resource: ResourceName,
  object: KubeObject,
  propagation: "Background" | "Foreground" | "Orphan",
): void {
  try {
    objects.delete(resource, object, { propagation });
  } catch (error) {
    // Gone already, or another object under the same name by now.
    if (!(error instanceof StatusError) || (error.code !== 404 && error.code !== 409)) throw error;
  }
}
