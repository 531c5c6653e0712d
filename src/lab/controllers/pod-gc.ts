// Pods that nobody else will clear away: of nodes that are gone, deleted before they had a node, and ended ones beyond a number.
// Upstream: pkg/controller/podgc.

import type { Pod } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { observed, withCondition } from "./conditions.ts";
import { isFinished, isTerminating } from "./pod-state.ts";
import { nodes, pods } from "./resources.ts";
import { on, type Cluster, type Controller } from "./runtime.ts";

/** kube-controller-manager --terminated-pod-gc-threshold. */
const finishedKept = 12_500;
/** quarantineTime: a pod may name a node that is only about to come. A node that was seen to go needs no such patience. */
const unknownNodeMs = 40_000;

export function podGarbageCollector(cluster: Cluster): Controller {
  const { objects, clock } = cluster;
  const gone = new Set<string>();
  const since = new Map<string, number>();
  const finished = new Map<string, Pod>();

  const orphanIn = (pod: Pod): number | undefined => {
    const node = pod.spec.nodeName ?? "";
    if (node === "" || objects.get(nodes, undefined, node) !== undefined) {
      since.delete(keyOf(pod));
      return undefined;
    }
    if (gone.has(node)) return 0;
    const first = since.get(keyOf(pod)) ?? clock.now();
    since.set(keyOf(pod), first);
    return Math.max(0, first + unknownNodeMs - clock.now());
  };
  const fail = (pod: Pod): Pod => {
    if (isFinished(pod)) return pod;
    const conditions = withCondition(
      pod.status?.conditions,
      {
        type: "DisruptionTarget",
        status: "True",
        reason: "DeletionByPodGC",
        message: "PodGC: node no longer exists",
        ...observed(pod),
      },
      clock.now(),
    );
    return objects.updateStatus(pods, { ...pod, status: { ...pod.status, phase: "Failed", conditions } });
  };

  return {
    name: "pod-garbage-collector",
    watches: [
      on(pods, ({ object, previous }, enqueue) => {
        const key = keyOf(object ?? (previous as Pod));
        if (object !== undefined && isFinished(object)) finished.set(key, object);
        else finished.delete(key);
        if (object === undefined) since.delete(key);
        else if (previous?.spec.nodeName !== object.spec.nodeName || isTerminating(object)) enqueue(key);
        if (finished.size > finishedKept) enqueue("");
      }),
      on(nodes, ({ object, previous }, enqueue) => {
        const name = (object ?? previous)?.metadata.name ?? "";
        if (object !== undefined) {
          gone.delete(name);
          return;
        }
        gone.add(name);
        for (const pod of objects.podsOnNode(name)) enqueue(keyOf(pod));
      }),
    ],
    reconcile(key, requeue) {
      if (key === "") return dropFinished(cluster, finished);
      const pod = objects.byKey(pods, key);
      if (pod === undefined) return;
      const isUnplaced = isTerminating(pod) && (pod.spec.nodeName ?? "") === "";
      const waitMs = isUnplaced ? 0 : orphanIn(pod);
      if (waitMs === undefined) return;
      if (waitMs > 0) return requeue(waitMs);
      objects.delete(pods, isUnplaced ? pod : fail(pod), { gracePeriodSeconds: 0 });
    },
  };
}

/** Deletes the oldest of the ended pods until few enough are left. */
function dropFinished({ objects }: Cluster, finished: ReadonlyMap<string, Pod>): void {
  const byAge = [...finished.values()].sort((a, b) =>
    (a.metadata.creationTimestamp ?? "") < (b.metadata.creationTimestamp ?? "") ? -1 : 1,
  );
  for (const pod of byAge.slice(0, Math.max(0, byAge.length - finishedKept))) {
    objects.delete(pods, pod, { gracePeriodSeconds: 0 });
  }
}
