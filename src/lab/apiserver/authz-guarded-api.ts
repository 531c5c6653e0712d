// The API as one request may write to it: the guard sees every write before it is made, also those of patches and subresources.

import type { ServedApi } from "../api/api.ts";
import type { Kind } from "../api/kinds.ts";
import type { ObjectKey } from "../api/store.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { Guard, User } from "./hooks.ts";
import type { Target } from "./target.ts";

/** The same API with a guard before its writes. */
export function guardedApi(
  api: ServedApi,
  request: { readonly guard: Guard; readonly kind: Kind; readonly user: User; readonly target: Target },
): ServedApi {
  const { guard, kind, user, target } = request;
  const { group, resource } = kind.stored;
  const keyOf = ({ metadata: { name, namespace } }: KubeObject): ObjectKey => ({
    group,
    resource,
    name,
    ...(namespace !== undefined && { namespace }),
  });
  const writes: Pick<ServedApi, "create" | "update" | "updateStatus" | "delete"> = {
    create(object) {
      guard({ user, target, operation: "create", object });
      return api.create(object);
    },
    update(object) {
      guard({ user, target, operation: "update", object, previous: api.get(keyOf(object)) });
      return api.update(object);
    },
    updateStatus(object, options) {
      guard({ user, target, operation: "update", object, previous: api.get(keyOf(object)) });
      return api.updateStatus(object, options);
    },
    delete(key, options) {
      guard({ user, target, operation: "delete", previous: api.get(key) });
      return api.delete(key, options);
    },
  };
  // Everything else, and what is computed when asked for, comes from the API itself.
  return Object.assign(Object.create(api) as ServedApi, writes);
}
