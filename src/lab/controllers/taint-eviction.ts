// Eviction by taint: a pod leaves a node whose NoExecute taints it does not tolerate, at once or when its tolerationSeconds are over.
// Upstream: pkg/controller/tainteviction.
//
// Not here: the tolerations every pod gets (admissions.ts).

import type { Node, Pod, Taint } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { sameJson } from "../../kube/equal.ts";
import { timeMs } from "../../watch/clock.ts";
import { observed, withCondition } from "./conditions.ts";
import { isFinished, isTerminating } from "./pod-state.ts";
import { nodes, pods } from "./resources.ts";
import { on, type Cluster, type Controller } from "./runtime.ts";
import { tolerates } from "./taints.ts";

export function taintEvictionController(cluster: Cluster): Controller {
  const { objects, clock } = cluster;
  const events = cluster.events("taint-eviction-controller");
  return {
    name: "taint-eviction-controller",
    watches: [
      on(pods, ({ object, previous }, enqueue) => {
        if (object === undefined || (object.spec.nodeName ?? "") === "") return;
        const isNew = previous?.spec.nodeName !== object.spec.nodeName;
        if (isNew || !sameJson(previous?.spec.tolerations, object.spec.tolerations)) enqueue(keyOf(object));
      }),
      on(nodes, ({ object, previous }, enqueue) => {
        if (object === undefined || sameJson(noExecute(object), previous && noExecute(previous))) return;
        for (const pod of objects.podsOnNode(object.metadata.name)) enqueue(keyOf(pod));
      }),
    ],
    reconcile(key, requeue) {
      const pod = objects.byKey(pods, key);
      if (pod === undefined || isTerminating(pod) || isFinished(pod)) return;
      const node = objects.get(nodes, undefined, pod.spec.nodeName ?? "");
      const waitMs = node && staysForMs(pod, noExecute(node), clock.now());
      if (waitMs === undefined) return;
      if (waitMs > 0) return requeue(waitMs);
      const message = `Taint manager: deleting due to NoExecute taint`;
      const marked = objects.updateStatus(pods, {
        ...pod,
        status: {
          ...pod.status,
          conditions: withCondition(
            pod.status?.conditions,
            { type: "DisruptionTarget", status: "True", reason: "DeletionByTaintManager", message, ...observed(pod) },
            clock.now(),
          ),
        },
      });
      events.record(pod, "Normal", "TaintManagerEviction", `Marking for deletion Pod ${key}`);
      objects.delete(pods, marked);
    },
  };
}

function noExecute(node: Node): readonly Taint[] {
  return (node.spec.taints ?? []).filter(({ effect }) => effect === "NoExecute");
}

/** How long a pod may still stay under these taints: 0 is not at all, undefined for ever. */
function staysForMs(pod: Pod, taints: readonly Taint[], nowMs: number): number | undefined {
  const tolerations = pod.spec.tolerations ?? [];
  let shortest: number | undefined;
  for (const taint of taints) {
    const used = tolerations.filter((toleration) => tolerates(toleration, taint));
    if (used.length === 0) return 0;
    const seconds = used.flatMap(({ tolerationSeconds }) =>
      tolerationSeconds === undefined ? [] : [tolerationSeconds],
    );
    if (seconds.length === 0) continue;
    const since = timeMs(taint.timeAdded) ?? nowMs;
    const left = Math.max(0, since + Math.max(0, Math.min(...seconds)) * 1000 - nowMs);
    shortest = Math.min(shortest ?? left, left);
  }
  return shortest;
}
