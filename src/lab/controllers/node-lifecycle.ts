// What becomes of nodes whose kubelet falls silent: Ready turns Unknown, taints follow the conditions, their pods stop being ready.
// Upstream: pkg/controller/nodelifecycle. Unlike there, a node that never had a Lease is not watched: nothing that lives stands behind it.
// Eviction by taint is taint-eviction.ts, pods of deleted nodes are pod-gc.ts.

import { sameJson } from "../../kube/equal.ts";
import type { Condition, Node, Pod, Taint } from "../../kube/kinds.ts";
import { timeMs, timeText } from "../../watch/clock.ts";
import { conditionOf, withCondition } from "./conditions.ts";
import { isFinished, isReady } from "./pod-state.ts";
import { leases, nodes, pods } from "./resources.ts";
import { on, type Cluster, type Controller } from "./runtime.ts";
import { nodeTaints } from "./taints.ts";

/** Where kubelets keep the Leases that say they are alive; each is named as its node. */
export const leaseNamespace = "kube-node-lease";

/** kube-controller-manager --node-monitor-grace-period and --node-startup-grace-period. */
export const nodeGrace = { silentMs: 50_000, startupMs: 60_000 } as const;

export interface NodeLifecycleOptions {
  /** How long a node may be silent before it counts as unreachable. */
  readonly silentMs: number;
}

export function nodeLifecycleController({ silentMs }: NodeLifecycleOptions): (cluster: Cluster) => Controller {
  return (cluster) => {
    const { objects, clock } = cluster;
    const events = cluster.events("node-controller");
    /** When a sign of life was last seen, by this clock and not by the node's. */
    const heard = new Map<string, number>();

    const judge = (node: Node): { readonly node: Node; readonly againInMs: number | undefined } => {
      const { name } = node.metadata;
      const now = clock.now();
      const ready = conditionOf(node.status?.conditions, "Ready");
      const started = timeMs(node.metadata.creationTimestamp) ?? now;
      // Without a Lease nobody ever promised to renew one: such a node (a record in an imagined lab) is what its status says.
      const promised = objects.get(leases, leaseNamespace, name) !== undefined;
      if (ready !== undefined && !promised) return { node, againInMs: undefined };
      const until =
        ready === undefined ? started + Math.max(nodeGrace.startupMs, silentMs) : (heard.get(name) ?? now) + silentMs;
      if (now < until) return { node, againInMs: ready?.status === "Unknown" ? undefined : until - now };
      if (ready?.status === "Unknown") return { node, againInMs: undefined };
      const silent = objects.updateStatus(nodes, {
        ...node,
        status: { ...node.status, conditions: silentConditions(node, now) },
      });
      return { node: silent, againInMs: undefined };
    };

    const markPods = (node: Node): void => {
      for (const pod of objects.podsOnNode(node.metadata.name)) {
        if (!isReady(pod) || isFinished(pod)) continue;
        objects.updateStatus(pods, notReady(pod, clock.now()));
        events.record(pod, "Warning", "NodeNotReady", "Node is not ready");
      }
    };

    return {
      name: "node-lifecycle-controller",
      watches: [
        on(nodes, ({ object, previous }, enqueue) => {
          const name = (object ?? previous)?.metadata.name ?? "";
          if (object === undefined) heard.delete(name);
          else if (isSignOfLife(object, previous)) heard.set(name, clock.now());
          enqueue(name);
        }),
        on(leases, ({ object, previous }, enqueue) => {
          const { name, namespace } = (object ?? previous)?.metadata ?? { name: "" };
          if (namespace !== leaseNamespace || object === undefined) return;
          if (object.spec.renewTime === previous?.spec.renewTime) return;
          heard.set(name, clock.now());
          // From the first Lease on there is always a next look planned; a node that was given up needs one now.
          const node = objects.get(nodes, undefined, name);
          const isGivenUp = conditionOf(node?.status?.conditions, "Ready")?.status === "Unknown";
          if (previous === undefined || isGivenUp) enqueue(name);
        }),
        // A pod that claims to be ready on a node that is not.
        on(pods, ({ object }, enqueue) => {
          const node = object && objects.get(nodes, undefined, object.spec.nodeName ?? "");
          if (object === undefined || node === undefined || !isReady(object)) return;
          const status = conditionOf(node.status?.conditions, "Ready")?.status;
          if (status === "False" || status === "Unknown") enqueue(node.metadata.name);
        }),
      ],
      reconcile(name, requeue) {
        const found = objects.get(nodes, undefined, name);
        if (found === undefined) return;
        const before = conditionOf(found.status?.conditions, "Ready")?.status;
        const { node, againInMs } = judge(found);
        if (againInMs !== undefined) requeue(againInMs);
        const tainted = withSystemTaints(node, clock.now());
        const written = tainted === node ? node : objects.update(nodes, tainted);
        const ready = conditionOf(written.status?.conditions, "Ready");
        if (ready === undefined || ready.status === "True") return;
        if (before === "True") {
          events.record(written, "Normal", "NodeNotReady", `Node ${name} status is now: NodeNotReady`);
        }
        markPods(written);
      },
    };
  };
}

/** A kubelet wrote the node's status (the heartbeat or any condition changed); what this controller writes is not a sign of life. */
function isSignOfLife(node: Node, previous: Node | undefined): boolean {
  if (previous === undefined) return true;
  const heartbeats = (each: Node): unknown =>
    each.status?.conditions?.map((condition) => [condition.type, condition["lastHeartbeatTime" as keyof Condition]]);
  const becameReady =
    conditionOf(node.status?.conditions, "Ready")?.status === "True" &&
    conditionOf(previous.status?.conditions, "Ready")?.status !== "True";
  return becameReady || !sameJson(heartbeats(node), heartbeats(previous));
}

const watchedConditions = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

function silentConditions(node: Node, nowMs: number): readonly Condition[] {
  let conditions: readonly Condition[] = node.status?.conditions ?? [];
  for (const type of watchedConditions) {
    const before = conditionOf(conditions, type);
    if (before?.status === "Unknown") continue;
    const text =
      before === undefined
        ? { reason: "NodeStatusNeverUpdated", message: "Kubelet never posted node status." }
        : { reason: "NodeStatusUnknown", message: "Kubelet stopped posting node status." };
    conditions = withCondition(conditions, { ...before, type, status: "Unknown", ...text }, nowMs);
  }
  return conditions;
}

/** nodeConditionToTaintKeyStatusMap and what Ready and spec.unschedulable mean for scheduling and running. */
function wantedTaints(node: Node): readonly Pick<Taint, "key" | "effect">[] {
  const status = (type: string): string | undefined => conditionOf(node.status?.conditions, type)?.status;
  const wanted: Pick<Taint, "key" | "effect">[] = [];
  const add = (key: string, ...effects: readonly Taint["effect"][]): void => {
    for (const effect of effects) wanted.push({ key, effect });
  };
  if (status("Ready") === "False") add(nodeTaints.notReady, "NoSchedule", "NoExecute");
  if (status("Ready") === "Unknown") add(nodeTaints.unreachable, "NoSchedule", "NoExecute");
  if (node.spec.unschedulable === true) add(nodeTaints.unschedulable, "NoSchedule");
  for (const [type, key] of Object.entries(pressureTaints)) if (status(type) === "True") add(key, "NoSchedule");
  return wanted;
}

const pressureTaints: Readonly<Record<string, string>> = {
  MemoryPressure: "node.kubernetes.io/memory-pressure",
  DiskPressure: "node.kubernetes.io/disk-pressure",
  PIDPressure: "node.kubernetes.io/pid-pressure",
  NetworkUnavailable: "node.kubernetes.io/network-unavailable",
};
const systemKeys = new Set<string>([...Object.values(nodeTaints), ...Object.values(pressureTaints)]);

/** The node with the system's taints as its conditions want them; the very node where they are right. */
function withSystemTaints(node: Node, nowMs: number): Node {
  const before = node.spec.taints ?? [];
  const wanted = wantedTaints(node).map(
    (taint): Taint =>
      before.find(({ key, effect }) => key === taint.key && effect === taint.effect) ?? {
        ...taint,
        timeAdded: timeText(nowMs),
      },
  );
  const taints = [...before.filter(({ key }) => !systemKeys.has(key)), ...wanted];
  const isSame =
    taints.length === before.length &&
    taints.every((taint) => before.some(({ key, effect }) => key === taint.key && effect === taint.effect));
  if (isSame) return node;
  const { taints: _taints, ...spec } = node.spec;
  return { ...node, spec: taints.length === 0 ? spec : { ...spec, taints } };
}

function notReady(pod: Pod, nowMs: number): Pod {
  const before = conditionOf(pod.status?.conditions, "Ready");
  const conditions = withCondition(
    pod.status?.conditions,
    { ...before, type: "Ready", status: "False", reason: "NodeNotReady" },
    nowMs,
  );
  return { ...pod, status: { ...pod.status, conditions } };
}
