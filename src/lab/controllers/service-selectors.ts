// Which Services select a pod: found by one label of each selector, so that a pod's change does not look at every Service.

import type { Pod, Service } from "../../kube/kinds.ts";
import { keyOf, type Labels } from "../../kube/object.ts";
import { selectsMap } from "../../kube/selector.ts";
import { buckets, type Change } from "./objects.ts";

export interface ServiceSelectors {
  changed(change: Change<Service>): void;
  /** Keys of the Services that select the pod as it is or as it was. */
  selecting(change: Change<Pod>): ReadonlySet<string>;
}

export function createServiceSelectors(): ServiceSelectors {
  const byLabel = buckets<Service>();
  const bucketOf = (service: Service): string | undefined => {
    const first = Object.entries(service.spec.selector ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))[0];
    return first && `${service.metadata.namespace}\n${first[0]}\n${first[1]}`;
  };
  const collect = (namespace: string, labels: Labels, into: Set<string>): void => {
    for (const [key, value] of Object.entries(labels)) {
      for (const service of byLabel.values(`${namespace}\n${key}\n${value}`)) {
        if (selectsMap(service.spec.selector, labels)) into.add(keyOf(service));
      }
    }
  };
  return {
    changed({ object, previous }) {
      const before = previous && bucketOf(previous);
      if (previous !== undefined && before !== undefined) byLabel.remove(before, keyOf(previous));
      const after = object && bucketOf(object);
      if (object !== undefined && after !== undefined) byLabel.add(after, keyOf(object), object);
    },
    selecting({ object, previous }) {
      const found = new Set<string>();
      for (const pod of [object, previous]) {
        if (pod !== undefined) collect(pod.metadata.namespace ?? "", pod.metadata.labels ?? {}, found);
      }
      return found;
    },
  };
}

/** Can this change of a pod change any endpoint? */
export function bearsOnEndpoints({ object, previous }: Change<Pod>): boolean {
  if (object === undefined || previous === undefined) {
    const only = object ?? previous;
    return (only?.status?.podIPs ?? []).length > 0 || only?.status?.podIP !== undefined;
  }
  return (
    object.status !== previous.status ||
    object.metadata.labels !== previous.metadata.labels ||
    object.metadata.deletionTimestamp !== previous.metadata.deletionTimestamp ||
    object.spec !== previous.spec
  );
}
