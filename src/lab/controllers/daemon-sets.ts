// DaemonSets: a pod on every node that it fits. The scheduler places each where node affinity pins it.
// Upstream: pkg/controller/daemon (daemon_controller.go, update.go).

import { sameJson } from "../../kube/equal.ts";
import type {
  ControllerRevision,
  DaemonSet,
  DaemonSetStatus,
  Node,
  Pod,
  PodSpec,
  Taint,
  Toleration,
} from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { selects } from "../../kube/selector.ts";
import { StatusError } from "../api/store.ts";
import { dropRevisions, hashOfRevision, revisionFor, revisionLabel } from "./controller-revisions.ts";
import type { EventRecorder } from "./events.ts";
import { matchesRequiredNodeAffinity } from "./node-affinity.ts";
import type { Change } from "./objects.ts";
import { claim } from "./ownership.ts";
import { availableInMs, controllerOf, isReady, isTerminating, podFromTemplate } from "./pod-state.ts";
import { isNamespaceTerminating, messageOf } from "./errors.ts";
import { controllerRevisions, daemonSets, nodes, pods } from "./resources.ts";
import { scaledValue } from "./rolling-update.ts";
import { on, type Cluster, type Controller, type Enqueue } from "./runtime.ts";
import { nodeTaints, tolerates, untolerated } from "./taints.ts";

export function daemonSetController(cluster: Cluster): Controller {
  const { objects, clock } = cluster;
  const events = cluster.events("daemonset-controller");
  const podChanged = ({ object, previous }: Change<Pod>, enqueue: Enqueue): void => {
    for (const pod of [object, previous]) {
      const owner = pod && controllerOf(pod);
      if (owner?.kind === "DaemonSet") enqueue(`${pod?.metadata.namespace}/${owner.name}`);
    }
    if (object === undefined || controllerOf(object) !== undefined) return;
    for (const set of objects.inNamespace(daemonSets, object.metadata.namespace ?? "")) {
      if (selects(set.spec.selector, object.metadata.labels)) enqueue(keyOf(set));
    }
  };
  const nodeChanged = ({ object, previous }: Change<Node>, enqueue: Enqueue): void => {
    const isSame =
      sameJson(object?.metadata.labels, previous?.metadata.labels) && sameJson(object?.spec, previous?.spec);
    if (!isSame) for (const set of objects.all(daemonSets)) enqueue(keyOf(set));
  };
  return {
    name: "daemonset-controller",
    watches: [
      on(daemonSets, ({ object }, enqueue) => object && enqueue(keyOf(object))),
      on(pods, podChanged),
      on(nodes, nodeChanged),
    ],
    reconcile(key, requeue) {
      const set = objects.byKey(daemonSets, key);
      if (set === undefined || set.metadata.deletionTimestamp !== undefined) return;
      const collisionCount = set.status?.collisionCount ?? 0;
      const labels = set.spec.selector.matchLabels ?? {};
      const version = revisionFor(
        { cluster, owner: set, resource: daemonSets, labels, hashLabel: revisionLabel, collisionCount },
        set.spec.template,
      );
      if (version === undefined) {
        const status = { ...emptyStatus, ...set.status, collisionCount: collisionCount + 1 };
        objects.updateStatus(daemonSets, { ...set, status });
        return;
      }
      const work: Work = {
        cluster,
        events,
        set,
        version,
        hash: hashOfRevision(version),
        byNode: podsByNode(cluster, set),
      };
      let trouble: unknown;
      try {
        placePods(work);
        if (set.spec.updateStrategy?.type !== "OnDelete") replaceOld({ ...work, byNode: podsByNode(cluster, set) });
      } catch (error) {
        trouble = error;
      }
      const after = { ...work, byNode: podsByNode(cluster, set) };
      writeStatus(after);
      dropHistory(after);
      const all = [...after.byNode.values()].flat();
      const wait = all
        .map((pod) => availableInMs(pod, set.spec.minReadySeconds ?? 0, clock.now()) ?? 0)
        .filter((ms) => ms > 0);
      if (wait.length > 0) requeue(Math.min(...wait));
      if (trouble !== undefined && !isNamespaceTerminating(trouble)) throw trouble;
    },
  };
}

interface Work {
  readonly cluster: Cluster;
  readonly events: EventRecorder;
  readonly set: DaemonSet;
  readonly version: ControllerRevision;
  readonly hash: string;
  /** The set's pods by the node they are on or meant for, oldest first. */
  readonly byNode: ReadonlyMap<string, readonly Pod[]>;
}

const emptyStatus: DaemonSetStatus = {
  currentNumberScheduled: 0,
  numberMisscheduled: 0,
  desiredNumberScheduled: 0,
  numberReady: 0,
};

function podsByNode({ objects }: Cluster, set: DaemonSet): ReadonlyMap<string, readonly Pod[]> {
  const claimed = claim({
    objects,
    owner: set,
    ownerResource: daemonSets,
    selector: set.spec.selector,
    resource: pods,
    candidates: objects.podsLabelled(set.metadata.namespace ?? "", set.spec.selector.matchLabels ?? {}),
  });
  const oldestFirst = [...claimed].sort(
    (a, b) =>
      (a.metadata.creationTimestamp ?? "").localeCompare(b.metadata.creationTimestamp ?? "") ||
      (a.metadata.name < b.metadata.name ? -1 : 1),
  );
  return Map.groupBy(oldestFirst, targetNode);
}

/** Where a daemon pod is, or which node its affinity names (util GetTargetNodeName). */
function targetNode(pod: Pod): string {
  if ((pod.spec.nodeName ?? "") !== "") return pod.spec.nodeName ?? "";
  const terms =
    pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  for (const { matchFields } of terms) {
    const name = matchFields?.find(({ key, operator }) => key === "metadata.name" && operator === "In")?.values?.[0];
    if (name !== undefined) return name;
  }
  return "";
}

/** What every daemon pod tolerates (util AddOrUpdateDaemonPodTolerations). */
function tolerationsOf(spec: PodSpec): readonly Toleration[] {
  const add = (key: string, effect: Taint["effect"]): Toleration => ({ key, operator: "Exists", effect });
  const own = spec.tolerations ?? [];
  const daemon = [
    add(nodeTaints.notReady, "NoExecute"),
    add(nodeTaints.unreachable, "NoExecute"),
    add("node.kubernetes.io/disk-pressure", "NoSchedule"),
    add("node.kubernetes.io/memory-pressure", "NoSchedule"),
    add("node.kubernetes.io/pid-pressure", "NoSchedule"),
    add(nodeTaints.unschedulable, "NoSchedule"),
    ...(spec.hostNetwork === true ? [add("node.kubernetes.io/network-unavailable", "NoSchedule")] : []),
  ];
  return [...own, ...daemon.filter((each) => !own.some((mine) => sameJson(mine, each)))];
}

/** NodeShouldRunDaemonPod: may a pod be made there, and may one that is there stay? */
function fitOf(set: DaemonSet, node: Node): { readonly run: boolean; readonly stay: boolean } {
  const { template } = set.spec;
  const pod: Pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "" }, spec: template.spec };
  const isNamed = (template.spec.nodeName ?? "") === "" || template.spec.nodeName === node.metadata.name;
  if (!isNamed || !matchesRequiredNodeAffinity(pod, node)) return { run: false, stay: false };
  const tolerations = tolerationsOf(template.spec);
  const cordoned =
    node.spec.unschedulable === true &&
    !tolerations.some((each) => tolerates(each, { key: nodeTaints.unschedulable, effect: "NoSchedule" }));
  if (untolerated(tolerations, node, ["NoExecute"]) !== undefined) return { run: false, stay: false };
  return { run: !cordoned && untolerated(tolerations, node, ["NoSchedule"]) === undefined, stay: true };
}

/** Makes pods where they are missing, removes those that have no business on their node, failed ones and duplicates. */
function placePods(work: Work): void {
  const { cluster, events, set, byNode } = work;
  const { objects } = cluster;
  const surging = surgeOf(work) > 0;
  for (const node of objects.all(nodes)) {
    const { run, stay } = fitOf(set, node);
    const there = (byNode.get(node.metadata.name) ?? []).filter((pod) => !isTerminating(pod));
    const failed = there.filter((pod) => pod.status?.phase === "Failed" || pod.status?.phase === "Succeeded");
    for (const pod of failed) {
      const message = `Found failed daemon pod ${keyOf(pod)} on node ${node.metadata.name}, will try to kill it`;
      events.record(set, "Warning", "FailedDaemonPod", message);
      deletePod(work, pod);
    }
    const alive = there.filter((pod) => !failed.includes(pod));
    if (!stay) for (const pod of alive) deletePod(work, pod);
    else if (run && alive.length === 0 && !hasLeaving(byNode, node)) createPod(work, node.metadata.name);
    // One pod a node; during a surge one of each version.
    else if (!surging) for (const pod of alive.slice(1)) deletePod(work, pod);
    else for (const pod of duplicates(work, alive)) deletePod(work, pod);
  }
}

/** A new pod waits until the old one has left the node, whose host ports it may want. */
function hasLeaving(byNode: ReadonlyMap<string, readonly Pod[]>, node: Node): boolean {
  return (byNode.get(node.metadata.name) ?? []).some(isTerminating);
}

function duplicates({ hash }: Work, alive: readonly Pod[]): readonly Pod[] {
  const isNew = (pod: Pod): boolean => pod.metadata.labels?.[revisionLabel] === hash;
  return [...alive.filter(isNew).slice(1), ...alive.filter((pod) => !isNew(pod)).slice(1)];
}

function surgeOf({ set, cluster }: Work): number {
  const wanted = cluster.objects.all(nodes).filter((node) => fitOf(set, node).run).length;
  return scaledValue(set.spec.updateStrategy?.rollingUpdate?.maxSurge, wanted, "up", 0);
}

/** rollingUpdate: old pods go at most maxUnavailable at a time, or new ones come first at most maxSurge at a time. */
function replaceOld(work: Work): void {
  const { cluster, set, hash, byNode } = work;
  const now = cluster.clock.now();
  const wanted = cluster.objects.all(nodes).filter((node) => fitOf(set, node).run);
  const isNew = (pod: Pod): boolean => pod.metadata.labels?.[revisionLabel] === hash;
  const isAvailable = (pod: Pod): boolean =>
    availableInMs(pod, set.spec.minReadySeconds ?? 0, now) === 0 && !isTerminating(pod);
  const rolling = set.spec.updateStrategy?.rollingUpdate;
  const surge = surgeOf(work);
  const places = wanted.map((node) => {
    const all = byNode.get(node.metadata.name) ?? [];
    return {
      name: node.metadata.name,
      old: all.find((pod) => !isNew(pod) && !isTerminating(pod)),
      fresh: all.find(isNew),
      all,
    };
  });
  if (surge > 0) {
    let surging = places.filter(({ old, fresh }) => old !== undefined && fresh !== undefined).length;
    for (const { name, old, fresh } of places) {
      if (old === undefined) continue;
      if (fresh !== undefined && isAvailable(fresh)) deletePod(work, old);
      else if (fresh === undefined && (surging < surge || !isAvailable(old))) {
        createPod(work, name);
        surging++;
      }
    }
    return;
  }
  const allowed = Math.max(1, scaledValue(rolling?.maxUnavailable, wanted.length, "up", 1));
  let unavailable = places.filter(({ all }) => !all.some(isAvailable)).length;
  for (const { old } of places) {
    if (old === undefined) continue;
    if (!isAvailable(old)) deletePod(work, old);
    else if (unavailable < allowed) {
      deletePod(work, old);
      unavailable++;
    }
  }
}

function createPod({ cluster, events, set, hash }: Work, node: string): void {
  const { template } = set.spec;
  const pod = podFromTemplate({
    template: { ...template, spec: pinned(template.spec, node) },
    owner: set,
    resource: daemonSets,
    name: { random: cluster.random },
    labels: { [revisionLabel]: hash, "pod-template-generation": String(set.metadata.generation ?? 1) },
  });
  try {
    cluster.objects.create(pods, pod);
    events.record(set, "Normal", "SuccessfulCreate", `Created pod: ${pod.metadata.name}`);
  } catch (error) {
    if (!isNamespaceTerminating(error)) {
      events.record(set, "Warning", "FailedCreate", `Error creating: ${messageOf(error)}`);
    }
    throw error;
  }
}

/** The template's specification for one node: pinned by affinity, with the tolerations of daemons (ReplaceDaemonSetPodNodeNameNodeAffinity). */
function pinned(spec: PodSpec, node: string): PodSpec {
  const nodeSelectorTerms = [{ matchFields: [{ key: "metadata.name", operator: "In" as const, values: [node] }] }];
  const nodeAffinity = {
    ...spec.affinity?.nodeAffinity,
    requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms },
  };
  return { ...spec, affinity: { ...spec.affinity, nodeAffinity }, tolerations: tolerationsOf(spec) };
}

function deletePod({ cluster, events, set }: Work, pod: Pod): void {
  try {
    cluster.objects.delete(pods, pod);
    events.record(set, "Normal", "SuccessfulDelete", `Deleted pod: ${pod.metadata.name}`);
  } catch (error) {
    if (!(error instanceof StatusError) || error.code !== 404) throw error;
  }
}

function writeStatus({ cluster, set, hash, byNode }: Work): void {
  const { objects, clock } = cluster;
  const latest = objects.get(daemonSets, set.metadata.namespace, set.metadata.name);
  if (latest === undefined || latest.metadata.uid !== set.metadata.uid) return;
  const count = { desired: 0, current: 0, misscheduled: 0, ready: 0, available: 0, updated: 0 };
  for (const node of objects.all(nodes)) {
    const { run } = fitOf(set, node);
    const there = (byNode.get(node.metadata.name) ?? []).filter((pod) => !isTerminating(pod));
    if (!run) {
      if (there.length > 0) count.misscheduled++;
      continue;
    }
    count.desired++;
    if (there.length === 0) continue;
    count.current++;
    if (there.some(isReady)) count.ready++;
    if (there.some((pod) => availableInMs(pod, set.spec.minReadySeconds ?? 0, clock.now()) === 0)) count.available++;
    if (there.some(({ metadata }) => metadata.labels?.[revisionLabel] === hash)) count.updated++;
  }
  const status: DaemonSetStatus = {
    ...(latest.status?.collisionCount === undefined ? {} : { collisionCount: latest.status.collisionCount }),
    currentNumberScheduled: count.current,
    desiredNumberScheduled: count.desired,
    numberMisscheduled: count.misscheduled,
    numberReady: count.ready,
    numberAvailable: count.available,
    numberUnavailable: count.desired - count.available,
    updatedNumberScheduled: count.updated,
    observedGeneration: set.metadata.generation ?? 0,
  };
  if (!sameJson(status, latest.status)) objects.updateStatus(daemonSets, { ...latest, status });
}

function dropHistory({ cluster, set, version, byNode }: Work): void {
  const hashes = new Set([...byNode.values()].flat().map(({ metadata }) => metadata.labels?.[revisionLabel]));
  const used = cluster.objects
    .controlledBy(controllerRevisions, set.metadata.uid ?? "")
    .filter((revision) => hashes.has(hashOfRevision(revision)))
    .map(({ metadata }) => metadata.name);
  dropRevisions(
    { cluster, owner: set },
    new Set([...used, version.metadata.name]),
    set.spec.revisionHistoryLimit ?? 10,
  );
}
