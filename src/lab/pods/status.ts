// The status of a pod from the states of its containers. Pure; rules and words are upstream's (pkg/kubelet/kubelet_pods.go getPhase,
// pkg/kubelet/status/generate.go).

import { observed } from "../controllers/conditions.ts";
import type { Condition, Container, ContainerState, ContainerStatus, Pod, PodStatus } from "../../kube/kinds.ts";

/** What the kubelet knows of one container. */
export interface ContainerRecord {
  readonly spec: Container;
  /** A sidecar is an init container with restartPolicy Always; an ephemeral one (kubectl debug) has no part in the pod's state. */
  readonly role: "init" | "sidecar" | "app" | "ephemeral";
  readonly state: ContainerState;
  readonly lastState: ContainerState;
  readonly restartCount: number;
  /** Running, and its startup probe (if it has one) has succeeded. */
  readonly started: boolean;
  /** Started, and its readiness probe (if it has one) says so. */
  readonly ready: boolean;
  readonly image: string;
  readonly imageId: string;
  readonly id?: string;
}

export interface StatusInput {
  readonly pod: Pod;
  readonly records: readonly ContainerRecord[];
  /** The sandbox stands and has its addresses. */
  readonly sandboxReady: boolean;
  readonly podIps: readonly string[];
  readonly hostIps: readonly string[];
  readonly startTime: string;
  /** Now, as the API writes times. */
  readonly now: string;
  /** The pod was ended from outside: activeDeadlineSeconds, eviction. */
  readonly failed?: { readonly reason: string; readonly message: string };
  /** It is being deleted and nothing of it will run again. */
  readonly isOver?: boolean;
}

/** The whole status. Conditions that are not the kubelet's are kept; transition times change only with the status. */
export function podStatus(input: StatusInput): PodStatus {
  const { pod, records, podIps, hostIps, failed, isOver = false } = input;
  const phase = failed !== undefined ? "Failed" : isOver ? lastPhase(records) : podPhase(pod, records);
  const inits = records.filter(isBefore);
  const ephemeral = records.filter(({ role }) => role === "ephemeral");
  const apps = records.filter(({ role }) => role === "app");
  const previous = pod.status?.conditions ?? [];
  const own = kubeletConditions(input, phase).map((condition) => ({
    ...withTransition(condition, previous, input.now),
    ...observed(pod),
  }));
  const others = previous.filter(({ type }) => !own.some((condition) => condition.type === type));
  const [podIp] = podIps;
  const [hostIp] = hostIps;
  return {
    ...(pod.status?.qosClass === undefined ? {} : { qosClass: pod.status.qosClass }),
    ...(pod.status?.nominatedNodeName === undefined ? {} : { nominatedNodeName: pod.status.nominatedNodeName }),
    ...observed(pod),
    phase,
    conditions: [...own, ...others],
    ...(failed === undefined ? {} : failed),
    ...(hostIp === undefined ? {} : { hostIP: hostIp, hostIPs: hostIps.map((ip) => ({ ip })) }),
    ...(podIp === undefined ? {} : { podIP: podIp, podIPs: podIps.map((ip) => ({ ip })) }),
    startTime: input.startTime,
    ...(inits.length === 0 ? {} : { initContainerStatuses: inits.map(containerStatus) }),
    containerStatuses: apps.map(containerStatus),
    ...(ephemeral.length === 0 ? {} : { ephemeralContainerStatuses: ephemeral.map(containerStatus) }),
  };
}

/** Pending, Running, Succeeded or Failed. */
export function podPhase(pod: Pod, records: readonly ContainerRecord[]): NonNullable<PodStatus["phase"]> {
  const { restartPolicy = "Always" } = pod.spec;
  const inits = records.filter(({ role }) => role === "init");
  if (restartPolicy === "Never" && inits.some((record) => exitCode(record) !== undefined && exitCode(record) !== 0))
    return "Failed";
  const apps = records.filter(({ role }) => role === "app");
  const begun = apps.some(({ state, lastState }) => state.waiting === undefined || lastState.terminated !== undefined);
  if (!begun && records.some((record) => isBefore(record) && !isInitialized(record))) return "Pending";
  if (apps.some(({ state, lastState }) => state.waiting !== undefined && lastState.terminated === undefined))
    return "Pending";
  // A sidecar that still runs keeps the pod running, one that has ended does not count.
  if (records.some(({ role, state }) => (role === "app" || role === "sidecar") && state.running !== undefined))
    return "Running";
  if (restartPolicy === "Always") return "Running";
  const codes = apps.map((record) => exitCode(record) ?? record.lastState.terminated?.exitCode ?? 0);
  if (codes.every((code) => code === 0)) return "Succeeded";
  return restartPolicy === "Never" ? "Failed" : "Running";
}

/** Of a pod that has been stopped, whatever its restartPolicy (kubelet_pods.go getPhase, podIsTerminal). */
function lastPhase(records: readonly ContainerRecord[]): "Succeeded" | "Failed" {
  const apps = records.filter(({ role }) => role === "app");
  return apps.every((record) => exitCode(record) === 0) ? "Succeeded" : "Failed";
}

/** One of spec.initContainers. */
function isBefore({ role }: ContainerRecord): boolean {
  return role === "init" || role === "sidecar";
}

/** Has this init container done its part? */
export function isInitialized(record: ContainerRecord): boolean {
  return record.role === "sidecar" ? record.started : exitCode(record) === 0;
}

function exitCode({ state }: ContainerRecord): number | undefined {
  return state.terminated?.exitCode;
}

function containerStatus(record: ContainerRecord): ContainerStatus {
  const { spec, state, lastState, restartCount, started, ready, image, imageId, id } = record;
  return {
    name: spec.name,
    state,
    lastState,
    // A finished init container is ready: that is how upstream says "done".
    ready: record.role === "init" ? exitCode(record) === 0 : ready,
    started,
    restartCount,
    image,
    imageID: imageId,
    ...(id === undefined ? {} : { containerID: `fairlead://${id}` }),
  };
}

function kubeletConditions(input: StatusInput, phase: PodStatus["phase"]): readonly Condition[] {
  const { pod, records } = input;
  const done = phase === "Succeeded" ? "PodCompleted" : phase === "Failed" ? "PodFailed" : undefined;
  const uninitialized = records.filter((record) => isBefore(record) && !isInitialized(record)).map(nameOf);
  const unready = records.filter(({ role, ready }) => (role === "app" || role === "sidecar") && !ready).map(nameOf);
  const initialized: Condition =
    phase === "Succeeded" || uninitialized.length === 0
      ? { type: "Initialized", status: "True", ...(phase === "Succeeded" ? { reason: "PodCompleted" } : {}) }
      : {
          type: "Initialized",
          status: "False",
          reason: "ContainersNotInitialized",
          message: `containers with incomplete status: [${uninitialized.join(" ")}]`,
        };
  const containersReady: Condition =
    done !== undefined
      ? { type: "ContainersReady", status: "False", reason: done }
      : unready.length > 0
        ? {
            type: "ContainersReady",
            status: "False",
            reason: "ContainersNotReady",
            message: `containers with unready status: [${unready.join(" ")}]`,
          }
        : { type: "ContainersReady", status: "True" };
  return [
    { type: "PodReadyToStartContainers", status: input.sandboxReady ? "True" : "False" },
    initialized,
    readyCondition(pod, containersReady),
    containersReady,
    { type: "PodScheduled", status: "True" },
  ];
}

function readyCondition(pod: Pod, containersReady: Condition): Condition {
  if (containersReady.status !== "True") return { ...containersReady, type: "Ready" };
  const messages = (pod.spec.readinessGates ?? []).flatMap(({ conditionType }) => {
    const found = pod.status?.conditions?.find(({ type }) => type === conditionType);
    if (found === undefined)
      return [`corresponding condition of pod readiness gate "${conditionType}" does not exist.`];
    if (found.status === "True") return [];
    return [`the status of pod readiness gate "${conditionType}" is not "True", but ${found.status}`];
  });
  if (messages.length === 0) return { type: "Ready", status: "True" };
  return { type: "Ready", status: "False", reason: "ReadinessGatesNotReady", message: messages.join(", ") };
}

function withTransition(condition: Condition, previous: readonly Condition[], now: string): Condition {
  const before = previous.find(({ type }) => type === condition.type);
  const lastTransitionTime = before?.status === condition.status ? (before.lastTransitionTime ?? now) : now;
  return { ...condition, lastTransitionTime };
}

function nameOf({ spec }: ContainerRecord): string {
  return spec.name;
}
