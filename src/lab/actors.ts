// Who writes inside of the lab, as a cluster's parts are named there: by their user, and by the name that managed fields remember.

import type { Actor, ObjectApi, ServedApi } from "./api/api.ts";
import { createSession } from "./api/admission/pending.ts";

/** A controller or the scheduler. Both wait for admission webhooks. */
export function controllerActor(name: string): Actor {
  const isScheduler = name === "default-scheduler";
  return {
    username: isScheduler ? "system:kube-scheduler" : `system:serviceaccount:kube-system:${name}`,
    groups: isScheduler
      ? ["system:authenticated"]
      : ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
    // A binding is nobody's field, and the scheduler writes little else.
    ...(isScheduler ? {} : { manager: "kube-controller-manager" }),
    session: createSession(false),
  };
}

/** A node's kubelet. What it reports is not shown to webhooks. */
export function kubeletActor(node: string): Actor {
  return { username: `system:node:${node}`, groups: ["system:nodes", "system:authenticated"], manager: "kubelet" };
}

/** An API whose writes are an actor's. */
export function actingAs<Api extends ObjectApi & Pick<ServedApi, "within">>(api: Api, actor: Actor): Api {
  const writes: Pick<ObjectApi, "create" | "update" | "updateStatus" | "apply" | "applyAll" | "delete"> = {
    create: (object) => api.within(actor, () => api.create(object)),
    update: (object) => api.within(actor, () => api.update(object)),
    updateStatus: (object, options) => api.within(actor, () => api.updateStatus(object, options)),
    apply: (object) => api.within(actor, () => api.apply(object)),
    applyAll: (objects) => api.within(actor, () => api.applyAll(objects)),
    delete: (key, options) => api.within(actor, () => api.delete(key, options)),
  };
  // Reads, and what is computed when asked for, come from the API itself.
  return Object.assign(Object.create(api) as Api, writes);
}
