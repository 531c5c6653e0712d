// Whose pod (or ReplicaSet) is it: a controller adopts orphans its selector matches and releases its own that no longer match.
// The rules are upstream's controller_ref_manager.go.

import type { LabelSelector } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import { selects } from "../../kube/selector.ts";
import { StatusError } from "../api/store.ts";
import type { Objects } from "./objects.ts";
import { controllerOf, controllerReference } from "./pod-state.ts";
import type { TypedResource } from "./resources.ts";

/**
 * The objects that `owner` controls after adopting and releasing. `candidates` are the orphans worth a look; those of other
 * controllers are left alone, a deleting owner adopts and releases nothing.
 */
export function claim<T extends KubeObject>(options: {
  readonly objects: Objects;
  readonly owner: KubeObject;
  readonly ownerResource: TypedResource;
  readonly selector: LabelSelector;
  readonly resource: TypedResource<T>;
  readonly candidates: readonly T[];
}): readonly T[] {
  const { objects, owner, selector, resource } = options;
  const uid = owner.metadata.uid ?? "";
  const deleting = owner.metadata.deletionTimestamp !== undefined;
  const claimed: T[] = [];
  for (const object of objects.controlledBy(resource, uid)) {
    if (selects(selector, object.metadata.labels)) claimed.push(object);
    else if (!deleting) release(objects, resource, object, uid);
  }
  if (deleting) return claimed;
  for (const object of options.candidates) {
    if (controllerOf(object) !== undefined || object.metadata.deletionTimestamp !== undefined) continue;
    if (object.metadata.namespace !== owner.metadata.namespace || !selects(selector, object.metadata.labels)) continue;
    claimed.push(
      objects.update(resource, {
        ...object,
        metadata: {
          ...object.metadata,
          ownerReferences: [
            ...(object.metadata.ownerReferences ?? []),
            controllerReference(options.ownerResource, owner),
          ],
        },
      }),
    );
  }
  return claimed;
}

function release<T extends KubeObject>(objects: Objects, resource: TypedResource<T>, object: T, uid: string): void {
  try {
    objects.update(resource, {
      ...object,
      metadata: {
        ...object.metadata,
        ownerReferences: object.metadata.ownerReferences?.filter((owner) => owner.uid !== uid) ?? [],
      },
    });
  } catch (error) {
    // Gone already: nothing to release.
    if (!(error instanceof StatusError) || error.code !== 404) throw error;
  }
}
