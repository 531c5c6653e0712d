import { test } from "node:test";
import assert from "node:assert/strict";
import type { ContainerState, Pod, PodSpec } from "../../kube/kinds.ts";
import { podPhase, podStatus, type ContainerRecord } from "./status.ts";

const waiting: ContainerState = { waiting: { reason: "ContainerCreating" } };
const running: ContainerState = { running: { startedAt: "2026-01-01T00:00:00Z" } };
const ended = (exitCode: number): ContainerState => ({
  terminated: { exitCode, reason: exitCode === 0 ? "Completed" : "Error" },
});

function record(state: ContainerState, changes: Partial<ContainerRecord> = {}): ContainerRecord {
  const isRunning = state.running !== undefined;
  return {
    spec: { name: changes.role ?? "app" },
    role: "app",
    state,
    lastState: {},
    restartCount: 0,
    started: isRunning,
    ready: isRunning,
    image: "x",
    imageId: "y",
    ...changes,
  };
}

function pod(spec: Partial<PodSpec> = {}, status = {}): Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "p", namespace: "n" },
    spec: { containers: [], ...spec },
    status,
  };
}

test("phases", () => {
  const init = (state: ContainerState): ContainerRecord => record(state, { role: "init" });
  const side = (state: ContainerState): ContainerRecord => record(state, { role: "sidecar" });
  const back: Partial<ContainerRecord> = { lastState: ended(1) };
  const cases: readonly (readonly [string, PodSpec["restartPolicy"], readonly ContainerRecord[]])[] = [
    ["Pending", "Always", [record(waiting)]],
    ["Pending", "Always", [init(running), record(waiting)]],
    ["Pending", "Always", [side({ ...waiting }), record(waiting)]],
    ["Pending", "OnFailure", [init(ended(1)), record(waiting)]],
    ["Failed", "Never", [init(ended(1)), record(waiting)]],
    ["Running", "Always", [init(ended(0)), record(running)]],
    ["Running", "Always", [record(running), record(ended(1))]],
    ["Running", "Always", [record(waiting, back)]],
    ["Pending", "Always", [record(running), record(waiting)]],
    ["Running", "Always", [record(ended(0))]],
    ["Succeeded", "Never", [record(ended(0)), record(ended(0))]],
    ["Failed", "Never", [record(ended(0)), record(ended(2))]],
    ["Running", "OnFailure", [record(ended(2))]],
    ["Running", "Never", [side(running), record(ended(0))]],
    ["Succeeded", "Never", [side(ended(137)), record(ended(0))]],
  ];
  for (const [phase, restartPolicy = "Always", records] of cases)
    assert.equal(
      podPhase(pod({ restartPolicy }), records),
      phase,
      JSON.stringify(records.map(({ role, state }) => [role, state])),
    );
});

test("a pod that was stopped has ended, whatever its restartPolicy and however far it came", () => {
  const cases: readonly (readonly [string, readonly ContainerRecord[]])[] = [
    ["Failed", [record(waiting)]],
    ["Failed", [record(ended(137))]],
    ["Failed", [record(ended(0)), record(waiting)]],
    ["Succeeded", [record(ended(0))]],
  ];
  for (const [phase, records] of cases)
    for (const restartPolicy of ["Always", "OnFailure", "Never"] as const)
      assert.equal(statusOf(records, pod({ restartPolicy }), undefined, true).phase, phase);
});

function statusOf(
  records: readonly ContainerRecord[],
  of: Pod = pod(),
  now = "2026-01-01T00:00:00Z",
  isOver: boolean = false,
) {
  return podStatus({
    isOver,
    pod: of,
    records,
    sandboxReady: true,
    podIps: ["10.0.0.2"],
    hostIps: ["10.0.0.1"],
    startTime: "2026-01-01T00:00:00Z",
    now,
  });
}

const short = (status: ReturnType<typeof statusOf>): readonly string[] =>
  (status.conditions ?? []).map(({ type, status: value, reason }) =>
    [type, value, ...(reason === undefined ? [] : [reason])].join(" "),
  );

test("conditions of a pod that comes up, runs and completes", () => {
  const init = record(running, { role: "init" });
  assert.deepEqual(short(statusOf([init, record(waiting)])), [
    "PodReadyToStartContainers True",
    "Initialized False ContainersNotInitialized",
    "Ready False ContainersNotReady",
    "ContainersReady False ContainersNotReady",
    "PodScheduled True",
  ]);
  assert.deepEqual(short(statusOf([record(running)])).slice(1, 4), [
    "Initialized True",
    "Ready True",
    "ContainersReady True",
  ]);
  assert.deepEqual(short(statusOf([record(ended(0))], pod({ restartPolicy: "Never" }))).slice(1, 4), [
    "Initialized True PodCompleted",
    "Ready False PodCompleted",
    "ContainersReady False PodCompleted",
  ]);
});

test("the status and each of the kubelet's conditions say of which generation they are", () => {
  const before = pod({}, { conditions: [{ type: "gate", status: "True", observedGeneration: 1 }] });
  const status = statusOf([record(running)], { ...before, metadata: { ...before.metadata, generation: 3 } });
  assert.equal(status.observedGeneration, 3);
  assert.deepEqual(
    status.conditions?.map(({ type, observedGeneration }) => `${type} ${observedGeneration}`),
    ["PodReadyToStartContainers 3", "Initialized 3", "Ready 3", "ContainersReady 3", "PodScheduled 3", "gate 1"],
  );
});

test("transition times change only with the status, conditions of others are kept", () => {
  const before = statusOf([record(running)]);
  const gate = { type: "example.com/gate", status: "True" } as const;
  const later = statusOf(
    [record(running, { ready: false })],
    pod({}, { ...before, conditions: [...(before.conditions ?? []), gate] }),
    "2026-01-01T00:05:00Z",
  );
  const time = (type: string): string | undefined =>
    later.conditions?.find((condition) => condition.type === type)?.lastTransitionTime;
  assert.equal(time("Initialized"), "2026-01-01T00:00:00Z");
  assert.equal(time("Ready"), "2026-01-01T00:05:00Z");
  assert.deepEqual(later.conditions?.at(-1), gate);
});

test("readiness gates", () => {
  const gated = pod(
    { readinessGates: [{ conditionType: "a" }, { conditionType: "b" }] },
    { conditions: [{ type: "a", status: "False" }] },
  );
  const ready = statusOf([record(running)], gated).conditions?.find(({ type }) => type === "Ready");
  assert.equal(ready?.reason, "ReadinessGatesNotReady");
  assert.equal(
    ready?.message,
    'the status of pod readiness gate "a" is not "True", but False, corresponding condition of pod readiness gate "b" does not exist.',
  );
});
