// A CustomResourceDefinition that is deleted takes its objects with it: they go first, then its finalizer
// (apiextensions-apiserver pkg/controller/finalizer).

import type { KubeObject } from "../../kube/object.ts";
import type { ServedApi } from "../api/api.ts";
import { cleanupFinalizer, definitionsResource, type CustomResourceDefinition } from "../api/custom-definitions.ts";
import { StatusError, type ObjectKey, type ResourceName, type WatchEvent } from "../api/store.ts";

/** Watches definitions until it is closed. */
export function startCustomCleanup(api: ServedApi): { close(): void } {
  /** Watches on the objects of definitions that are going. */
  const watches = new Map<string, { close(): void }>();
  const step = (name: string): void => {
    const definition = api.get({ ...definitionsResource, name }) as CustomResourceDefinition | undefined;
    const isGoing =
      definition?.metadata.deletionTimestamp !== undefined &&
      (definition.metadata.finalizers ?? []).includes(cleanupFinalizer);
    if (definition === undefined || !isGoing) {
      watches.get(name)?.close();
      watches.delete(name);
      return;
    }
    const resource: ResourceName = { group: definition.spec.group, resource: definition.spec.names.plural };
    deleteAll(api, resource);
    if (api.list(resource).items.length === 0) release(api, definition);
    else if (!watches.has(name))
      watches.set(
        name,
        api.watch(resource, undefined, ({ type }) => {
          if (type === "DELETED") step(name);
        }),
      );
  };
  const onEvent = (event: WatchEvent): void => {
    if (event.type !== "BOOKMARK" && event.object.metadata.deletionTimestamp !== undefined)
      step(event.object.metadata.name);
  };
  const definitions = api.watch(definitionsResource, 0, onEvent);
  return {
    close() {
      definitions.close();
      for (const watch of watches.values()) watch.close();
    },
  };
}

function deleteAll(api: ServedApi, resource: ResourceName): void {
  for (const object of api.list(resource).items)
    if (object.metadata.deletionTimestamp === undefined) ignoringRefusal(() => api.delete(keyOf(resource, object)));
}

function release(api: ServedApi, definition: CustomResourceDefinition): void {
  const finalizers = (definition.metadata.finalizers ?? []).filter((name) => name !== cleanupFinalizer);
  ignoringRefusal(() => api.update({ ...definition, metadata: { ...definition.metadata, finalizers } }));
}

/** Somebody else may have changed it meanwhile, or the disk may be full: the next event tries again. */
function ignoringRefusal(write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
  }
}

function keyOf({ group, resource }: ResourceName, { metadata }: KubeObject): ObjectKey {
  const { name, namespace } = metadata;
  return { group, resource, name, ...(namespace === undefined ? {} : { namespace }) };
}
