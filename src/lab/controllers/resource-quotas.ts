// ResourceQuotas: their status says what their namespace uses (pkg/controller/resourcequota). Admission counts by itself, so the status is
// for people to read.

import { quotaStatus, type ResourceQuota } from "../api/admission/quotas.ts";
import { keyOf } from "../../kube/object.ts";
import { sameJson } from "../../kube/equal.ts";
import type { TypedResource } from "./resources.ts";
import { on, type Cluster, type Controller } from "./runtime.ts";

const resourceQuotas: TypedResource<ResourceQuota> = {
  group: "",
  resource: "resourcequotas",
  apiVersion: "v1",
  kind: "ResourceQuota",
  namespaced: true,
};

export function resourceQuotaController({ objects }: Cluster): Controller {
  /** The keys of quotas by their namespace: most have none, and then a change costs one look. */
  const byNamespace = new Map<string, Set<string>>();
  return {
    name: "resourcequota-controller",
    watches: [
      on(resourceQuotas, ({ object, previous }, enqueue) => {
        const quota = object ?? previous;
        if (quota === undefined) return;
        const { namespace = "" } = quota.metadata;
        const keys = byNamespace.get(namespace) ?? new Set<string>();
        if (object === undefined) keys.delete(keyOf(quota));
        else {
          keys.add(keyOf(quota));
          enqueue(keyOf(quota));
        }
        if (keys.size > 0) byNamespace.set(namespace, keys);
        else byNamespace.delete(namespace);
      }),
      {
        resource: undefined,
        changed({ object, previous, resource }, enqueue) {
          if (byNamespace.size === 0 || resource.resource === "resourcequotas") return;
          const namespace = (object ?? previous)?.metadata.namespace;
          if (namespace !== undefined) for (const key of byNamespace.get(namespace) ?? []) enqueue(key);
        },
      },
    ],
    reconcile(key) {
      const quota = objects.byKey(resourceQuotas, key);
      if (quota === undefined || quota.metadata.deletionTimestamp !== undefined) return;
      const status = quotaStatus(quota, (resource, namespace) =>
        objects.inNamespace({ ...resourceQuotas, ...resource }, namespace),
      );
      if (!sameJson(status, quota.status)) objects.updateStatus(resourceQuotas, { ...quota, status });
    },
  };
}
