// Where pods are, as the scheduler counts them: kept up to date from changes, so that placing a pod costs what the nodes are, not what the pods are.

import type { ContainerPort, Pod, PodAffinityTerm } from "../../../kube/kinds.ts";
import { keyOf } from "../../../kube/object.ts";
import type { Change } from "../objects.ts";
import { controllerOf, isFinished } from "../pod-state.ts";

/** The pods that take part in scheduling on one node: assigned and not finished. */
export interface NodePods {
  readonly pods: Map<string, Pod>;
  /** By the uid of their controller. */
  readonly byOwner: Map<string, number>;
  /** Pods that claim host ports. */
  readonly withHostPorts: Map<string, Pod>;
}

export interface Placements {
  on(node: string): NodePods;
  /** Assigned pods whose own terms bear on others: required anti-affinity, and preferred or required affinity of any kind. */
  readonly withAffinity: ReadonlyMap<string, Pod>;
  /** Takes in a change; tells whether room was made or pods appeared that others' affinity may look at. */
  changed(change: Change<Pod>): "freed" | "placed" | undefined;
}

export function createPlacements(): Placements {
  const nodes = new Map<string, NodePods>();
  const withAffinity = new Map<string, Pod>();

  const on = (node: string): NodePods => {
    let found = nodes.get(node);
    if (found === undefined)
      nodes.set(node, (found = { pods: new Map(), byOwner: new Map(), withHostPorts: new Map() }));
    return found;
  };
  const count = (pod: Pod, by: 1 | -1): void => {
    const owner = controllerOf(pod)?.uid;
    if (owner === undefined) return;
    const { byOwner } = on(pod.spec.nodeName ?? "");
    const after = (byOwner.get(owner) ?? 0) + by;
    if (after === 0) byOwner.delete(owner);
    else byOwner.set(owner, after);
  };
  const remove = (pod: Pod): void => {
    const key = keyOf(pod);
    const place = on(pod.spec.nodeName ?? "");
    if (!place.pods.delete(key)) return;
    count(pod, -1);
    place.withHostPorts.delete(key);
    withAffinity.delete(key);
  };
  const add = (pod: Pod): void => {
    const key = keyOf(pod);
    const place = on(pod.spec.nodeName ?? "");
    place.pods.set(key, pod);
    count(pod, 1);
    if (hostPortsOf(pod).length > 0) place.withHostPorts.set(key, pod);
    if (pod.spec.affinity?.podAffinity !== undefined || pod.spec.affinity?.podAntiAffinity !== undefined) {
      withAffinity.set(key, pod);
    }
  };

  return {
    on,
    withAffinity,
    changed({ object, previous }) {
      const was = previous !== undefined && takesPart(previous);
      const is = object !== undefined && takesPart(object);
      if (was) remove(previous);
      if (is) add(object);
      if (was && !is) return "freed";
      if (!is) return undefined;
      return !was || previous?.metadata.labels !== object.metadata.labels ? "placed" : undefined;
    },
  };
}

function takesPart(pod: Pod): boolean {
  return (pod.spec.nodeName ?? "") !== "" && !isFinished(pod);
}

/** The host ports a pod claims; hostNetwork pods claim every container port. */
export function hostPortsOf(pod: Pod): readonly Required<Pick<ContainerPort, "hostIP" | "hostPort" | "protocol">>[] {
  const sidecars = (pod.spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === "Always");
  return [...pod.spec.containers, ...sidecars].flatMap(({ ports }) =>
    (ports ?? [])
      .map(({ containerPort, hostPort = 0, hostIP = "", protocol = "TCP" }) => ({
        hostPort: hostPort === 0 && pod.spec.hostNetwork === true ? containerPort : hostPort,
        hostIP,
        protocol,
      }))
      .filter(({ hostPort }) => hostPort > 0),
  );
}

/** Do two pods claim the same host port? The wildcard address meets every other. */
export function hostPortsClash(a: Pod, b: Pod): boolean {
  const theirs = hostPortsOf(b);
  const isAny = (ip: string): boolean => ip === "" || ip === "0.0.0.0" || ip === "::";
  return hostPortsOf(a).some((mine) =>
    theirs.some(
      ({ hostIP, hostPort, protocol }) =>
        hostPort === mine.hostPort &&
        protocol === mine.protocol &&
        (hostIP === mine.hostIP || isAny(hostIP) || isAny(mine.hostIP)),
    ),
  );
}

export type AffinityKind = "podAffinity" | "podAntiAffinity";

/** The required terms of a pod's affinity or anti-affinity. */
export function requiredTerms(pod: Pod, kind: AffinityKind): readonly PodAffinityTerm[] {
  return pod.spec.affinity?.[kind]?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
}

/** The preferred terms with their weights; anti-affinity's are negative. */
export function preferredTerms(pod: Pod): readonly { readonly term: PodAffinityTerm; readonly weight: number }[] {
  const of = (kind: AffinityKind, sign: 1 | -1): { term: PodAffinityTerm; weight: number }[] =>
    (pod.spec.affinity?.[kind]?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(
      ({ podAffinityTerm, weight }) => ({ term: podAffinityTerm, weight: sign * weight }),
    );
  return [...of("podAffinity", 1), ...of("podAntiAffinity", -1)];
}
