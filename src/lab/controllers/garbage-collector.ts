// The garbage collector: what belongs to an object that is gone goes too. In the background (the owner first), in the foreground (the
// owner waits for what blocks it), or not at all (orphaned). Upstream: pkg/controller/garbagecollector.

import type { KubeObject, OwnerReference } from "../../kube/object.ts";
import { resourceOf } from "../../kube/resources.ts";
import type { ObjectApi } from "../api/api.ts";
import { StatusError, type ResourceName } from "../api/store.ts";
import type { Change, Objects } from "./objects.ts";
import type { TypedResource } from "./resources.ts";
import type { Cluster, Controller, Enqueue } from "./runtime.ts";

const foreground = "foregroundDeletion";
const orphan = "orphan";

/** `api` is asked for owners, so that one that was not seen yet is not taken for gone. */
export function garbageCollector(api: Pick<ObjectApi, "get">): (cluster: Cluster) => Controller {
  return ({ objects }) => {
    const enqueueDependents = (uid: string | undefined, enqueue: Enqueue): void => {
      for (const [resource, object] of objects.dependentsOf(uid ?? "")) enqueue(keyFor(resource, object));
    };
    const changed = ({ resource, object, previous }: Change, enqueue: Enqueue): void => {
      if (object === undefined) {
        enqueueDependents(previous?.metadata.uid, enqueue);
        // Its owners may have waited for it.
        for (const owner of previous?.metadata.ownerReferences ?? []) {
          const found = ownerOf(api, owner, previous?.metadata.namespace);
          if (found.kind === "there") enqueue(keyFor(found.resource, found.object));
        }
        return;
      }
      const { metadata } = object;
      const isNew =
        previous === undefined ||
        previous.metadata.ownerReferences !== metadata.ownerReferences ||
        previous.metadata.deletionTimestamp !== metadata.deletionTimestamp ||
        previous.metadata.finalizers !== metadata.finalizers;
      if (!isNew) return;
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

function ownerOf(api: Pick<ObjectApi, "get">, owner: OwnerReference, namespace: string | undefined): Owner {
  const resource = resourceOf(owner.apiVersion, owner.kind);
  if (resource === undefined) return { kind: "unknown" };
  const object = api.get({
    group: resource.group,
    resource: resource.resource,
    name: owner.name,
    ...(resource.namespaced && namespace !== undefined ? { namespace } : {}),
  });
  return object?.metadata.uid === owner.uid ? { kind: "there", resource, object } : { kind: "gone" };
}

/** attemptToDeleteItem: an object without any owner left goes; owners that are gone are forgotten where others remain. */
function collect(api: Pick<ObjectApi, "get">, objects: Objects, resource: TypedResource, object: KubeObject): void {
  const references = object.metadata.ownerReferences ?? [];
  if (references.length === 0) return;
  const owners = references.map((reference) => ({
    reference,
    owner: ownerOf(api, reference, object.metadata.namespace),
  }));
  const isWaiting = (owner: Owner): boolean =>
    owner.kind === "there" &&
    owner.object.metadata.deletionTimestamp !== undefined &&
    hasFinalizer(owner.object, foreground);
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
  const hasDependents = objects.dependentsOf(object.metadata.uid ?? "").length > 0;
  const propagation = hasFinalizer(object, orphan)
    ? "Orphan"
    : hasFinalizer(object, foreground) || (isBlocking && hasDependents)
      ? "Foreground"
      : "Background";
  remove(objects, resource, object, propagation);
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
