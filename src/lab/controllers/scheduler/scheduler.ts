// The scheduler: a node for every pod that has none. Resources are not weighed (lab nodes have no limits of their own); everything that
// says where a pod may or would rather be is: selectors, affinity, spread, taints, host ports. Otherwise pods of one controller spread evenly.
// Upstream: pkg/scheduler, and its plugins' words for why a node does not do.
//
// Not here: what each kind of rule means (inter-pod.ts, spread.ts, ../node-affinity.ts, ../taints.ts), and preemption: there is none.

import { sameJson } from "../../../kube/equal.ts";
import type { Node, Pod } from "../../../kube/kinds.ts";
import { keyOf } from "../../../kube/object.ts";
import { observed, withCondition } from "../conditions.ts";
import { matchesRequiredNodeAffinity, preferredNodeAffinity } from "../node-affinity.ts";
import type { Change, Objects } from "../objects.ts";
import { controllerOf, isFinished, isTerminating } from "../pod-state.ts";
import { nodes, pods } from "../resources.ts";
import { on, type Cluster, type Controller, type Enqueue } from "../runtime.ts";
import { nodeTaints, taintText, tolerates, untolerated } from "../taints.ts";
import { interPodFilter, interPodScore } from "./inter-pod.ts";
import { createPlacements, hostPortsClash, hostPortsOf, type Placements } from "./placements.ts";
import { spreadCost, spreadFilter } from "./spread.ts";

export const schedulerName = "default-scheduler";
const zoneLabel = "topology.kubernetes.io/zone";

export function schedulerController(cluster: Cluster): Controller {
  const { objects, clock } = cluster;
  const events = cluster.events(schedulerName);
  const placements = createPlacements();
  /** Pods for which no node did, by key. */
  const waiting = new Set<string>();
  const retryAll = (enqueue: Enqueue): void => {
    for (const key of waiting) enqueue(key);
  };

  const podChanged = (change: Change<Pod>, enqueue: Enqueue): void => {
    const { object, previous } = change;
    const effect = placements.changed(change);
    if (object === undefined) waiting.delete(keyOf(previous as Pod));
    else if (wantsNode(object) && isWorthATry(object, previous)) enqueue(keyOf(object));
    // Pods that wait for neighbours look again when pods appear; all look again when room is made.
    if (effect !== undefined && waiting.size > 0) retryAll(enqueue);
  };
  const nodeChanged = ({ object, previous }: Change<Node>, enqueue: Enqueue): void => {
    const isSame =
      sameJson(object?.metadata.labels, previous?.metadata.labels) && sameJson(object?.spec, previous?.spec);
    if (!isSame) retryAll(enqueue);
  };

  const bind = (pod: Pod, node: string): void => {
    objects.update(pods, { ...pod, spec: { ...pod.spec, nodeName: node } });
    const who = `${pod.metadata.namespace}/${pod.metadata.name}`;
    events.record(pod, "Normal", "Scheduled", `Successfully assigned ${who} to ${node}`);
  };
  const refuse = (pod: Pod, reason: "Unschedulable" | "SchedulingGated", message: string): void => {
    const conditions = withCondition(
      pod.status?.conditions,
      { type: "PodScheduled", status: "False", reason, message, ...observed(pod) },
      clock.now(),
    );
    if (conditions === pod.status?.conditions) return;
    objects.updateStatus(pods, {
      ...pod,
      status: { ...pod.status, phase: pod.status?.phase ?? "Pending", conditions },
    });
    if (reason === "Unschedulable") events.record(pod, "Warning", "FailedScheduling", message);
  };

  return {
    name: schedulerName,
    watches: [on(pods, podChanged), on(nodes, nodeChanged)],
    reconcile(key) {
      waiting.delete(key);
      const pod = objects.byKey(pods, key);
      if (pod === undefined || !wantsNode(pod)) return;
      if ((pod.spec.schedulingGates ?? []).length > 0) {
        return refuse(pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates");
      }
      const choice = chooseNode(pod, objects, placements);
      if (choice.kind === "node") return bind(pod, choice.name);
      waiting.add(key);
      refuse(pod, "Unschedulable", choice.message);
    },
  };
}

function wantsNode(pod: Pod): boolean {
  return (
    (pod.spec.nodeName ?? "") === "" &&
    (pod.spec.schedulerName ?? schedulerName) === schedulerName &&
    !isTerminating(pod) &&
    !isFinished(pod)
  );
}

/** New, or changed in something that scheduling looks at; a change of status is none. */
function isWorthATry(pod: Pod, previous: Pod | undefined): boolean {
  return (
    previous === undefined ||
    !sameJson(pod.spec, previous.spec) ||
    !sameJson(pod.metadata.labels, previous.metadata.labels)
  );
}

export type Choice =
  | { readonly kind: "node"; readonly name: string }
  | { readonly kind: "none"; readonly message: string };

/** The best node for a pod, or why there is none, in the scheduler's words. */
export function chooseNode(pod: Pod, objects: Objects, placements: Placements): Choice {
  const all = objects.all(nodes);
  if (all.length === 0) return { kind: "none", message: "no nodes available to schedule pods" };
  const why = createFilter(pod, objects, placements);
  const reasons = new Map<string, number>();
  const feasible: Node[] = [];
  for (const node of all) {
    const reason = why(node);
    if (reason === undefined) feasible.push(node);
    else reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  if (feasible.length === 0) return { kind: "none", message: fitError(all.length, reasons) };
  return { kind: "node", name: best(pod, feasible, objects, placements) };
}

/** framework.FitError: reasons with their counts, sorted as text. */
function fitError(total: number, reasons: ReadonlyMap<string, number>): string {
  const counted = [...reasons].map(([reason, count]) => `${count} ${reason}`).sort();
  const none = `0/${total} nodes are available`;
  return `${none}: ${counted.join(", ")}. preemption: ${none}: ${total} Preemption is not helpful for scheduling.`;
}

function createFilter(pod: Pod, objects: Objects, placements: Placements): (node: Node) => string | undefined {
  const interPod = interPodFilter(pod, objects, placements);
  const spread = spreadFilter(pod, objects);
  const hasHostPorts = hostPortsOf(pod).length > 0;
  const toleratesCordon = pod.spec.tolerations?.some((toleration) =>
    tolerates(toleration, { key: nodeTaints.unschedulable, effect: "NoSchedule" }),
  );
  return (node) => {
    if (node.spec.unschedulable === true && toleratesCordon !== true) return "node(s) were unschedulable";
    const taint = untolerated(pod.spec.tolerations, node, ["NoSchedule", "NoExecute"]);
    if (taint !== undefined) return `node(s) had untolerated taint ${taintText(taint)}`;
    if (!matchesRequiredNodeAffinity(pod, node)) return "node(s) didn't match Pod's node affinity/selector";
    if (node.metadata.deletionTimestamp !== undefined) return "node(s) were unschedulable";
    if (hasHostPorts) {
      for (const other of placements.on(node.metadata.name).withHostPorts.values()) {
        if (hostPortsClash(pod, other)) return "node(s) didn't have free ports for the requested pod ports";
      }
    }
    return spread?.(node) ?? interPod?.(node);
  };
}

interface Scored {
  readonly node: Node;
  /** Weighted points for what was asked for: more is better. */
  readonly points: number;
  /** Pods of the same controller here, in this zone, and all pods here: fewer is better, in this order. */
  readonly crowd: readonly number[];
}

/** Upstream's weights: taints 3, node affinity 2, pod affinity 2, spread 2; then even spreading, then the name. */
function best(pod: Pod, feasible: readonly Node[], objects: Objects, placements: Placements): string {
  if (feasible.length === 1) return feasible[0]?.metadata.name ?? "";
  const interPod = interPodScore(pod, objects, placements);
  const cost = spreadCost(pod, objects);
  const soft = (node: Node): number =>
    (node.spec.taints ?? []).filter(
      (taint) => taint.effect === "PreferNoSchedule" && !pod.spec.tolerations?.some((each) => tolerates(each, taint)),
    ).length;
  const parts = [
    { weight: 3, points: normalize(feasible.map((node) => -soft(node))) },
    { weight: 2, points: normalize(feasible.map((node) => preferredNodeAffinity(pod, node))) },
    { weight: 2, points: interPod === undefined ? undefined : normalize(feasible.map(interPod)) },
    { weight: 2, points: cost === undefined ? undefined : normalize(feasible.map((node) => -cost(node))) },
  ];
  const owner = controllerOf(pod)?.uid ?? "";
  const zones = zoneCounts(owner, objects, placements);
  const scored = feasible.map((node, i): Scored => {
    const here = placements.on(node.metadata.name);
    return {
      node,
      points: parts.reduce((sum, { weight, points }) => sum + weight * (points?.[i] ?? 0), 0),
      crowd: [here.byOwner.get(owner) ?? 0, zones?.get(node.metadata.labels?.[zoneLabel] ?? "") ?? 0, here.pods.size],
    };
  });
  return scored.reduce((a, b) => (compare(b, a) < 0 ? b : a)).node.metadata.name;
}

/** Pods of one controller by zone; undefined where nodes have no zones. */
function zoneCounts(owner: string, objects: Objects, placements: Placements): ReadonlyMap<string, number> | undefined {
  const counts = new Map<string, number>();
  for (const { metadata } of objects.all(nodes)) {
    const zone = metadata.labels?.[zoneLabel];
    if (zone === undefined) continue;
    counts.set(zone, (counts.get(zone) ?? 0) + (placements.on(metadata.name).byOwner.get(owner) ?? 0));
  }
  return counts.size === 0 ? undefined : counts;
}

function compare(a: Scored, b: Scored): number {
  if (a.points !== b.points) return b.points - a.points;
  for (const [i, count] of a.crowd.entries()) {
    const other = b.crowd[i] ?? 0;
    if (count !== other) return count - other;
  }
  return a.node.metadata.name < b.node.metadata.name ? -1 : 1;
}

/** 0 for the worst, 100 for the best; undefined where all are equal. */
function normalize(values: readonly number[]): readonly number[] | undefined {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return low === high ? undefined : values.map((value) => ((value - low) * 100) / (high - low));
}
