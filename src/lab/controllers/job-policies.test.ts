// What Jobs say of failure and success, with the real controllers and a kubelet that only reports.

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Job, Pod } from "../../kube/kinds.ts";
import { timeText } from "../../watch/clock.ts";
import { job, testCluster, type TestCluster } from "./cluster.testing.ts";
import { indexOf } from "./job-indexes.ts";
import { isActive } from "./pod-state.ts";
import { jobs, pods } from "./resources.ts";

const indexed = { completionMode: "Indexed" } as const;
const onCode = (action: "Count" | "FailIndex" | "FailJob" | "Ignore", ...values: number[]) =>
  ({ action, onExitCodes: { operator: "In", values } }) as const;

async function started(spec: Partial<Job["spec"]>): Promise<TestCluster> {
  const cluster = await testCluster();
  cluster.create(job("once", spec));
  await cluster.idle();
  await cluster.kubelet();
  return cluster;
}

const active = (cluster: TestCluster): readonly Pod[] => cluster.list(pods).filter(isActive);
const indexes = (cluster: TestCluster): readonly (number | undefined)[] =>
  active(cluster)
    .map(indexOf)
    .sort((a, b) => (a ?? 0) - (b ?? 0));

/** The active pod (of an index) ends with this code; the cluster comes to rest. */
async function end(cluster: TestCluster, exitCode: number, index?: number): Promise<void> {
  const pod = active(cluster).find((each) => index === undefined || indexOf(each) === index);
  assert.ok(pod, `an active pod of index ${index}`);
  const state = { terminated: { exitCode, finishedAt: timeText(cluster.clock.now()) } };
  const containerStatuses = [{ name: "main", image: "", imageID: "", ready: false, restartCount: 0, state }];
  const phase = exitCode === 0 ? "Succeeded" : "Failed";
  cluster.api.updateStatus({ ...pod, status: { ...pod.status, phase, containerStatuses } });
  await cluster.idle();
}

/** The next pod comes, however long it was to wait. */
async function wait(cluster: TestCluster, ms = 600_000): Promise<void> {
  await cluster.pass(ms);
  await cluster.kubelet();
}

function conditions(cluster: TestCluster): readonly (readonly (string | undefined)[])[] {
  return (cluster.must(jobs, "once").status?.conditions ?? []).map(({ type, reason, message }) => [
    type,
    reason,
    message,
  ]);
}

const restless = { template: { spec: { restartPolicy: "Never", containers: [{ name: "main", image: "busybox" }] } } };
const jobSpec = (spec: Partial<Job["spec"]>): Partial<Job["spec"]> => ({ ...(restless as object), ...spec });

test("podFailurePolicy FailJob: one such failure is the end, in the words of the rule", async () => {
  const cluster = await started(
    jobSpec({
      parallelism: 2,
      completions: 2,
      podFailurePolicy: { rules: [onCode("Ignore", 7), onCode("FailJob", 3)] },
    }),
  );
  const [failing] = active(cluster);
  await end(cluster, 3);
  await cluster.kubelet();
  const message = `Container main for pod default/${failing?.metadata.name} failed with exit code 3 matching FailJob rule at index 1`;
  assert.deepEqual(conditions(cluster), [
    ["FailureTarget", "PodFailurePolicy", message],
    ["Failed", "PodFailurePolicy", message],
  ]);
  assert.equal(active(cluster).length, 0);
  cluster.close();
});

test("podFailurePolicy Ignore: such failures do not count, others do, and pods come again", async () => {
  const cluster = await started(jobSpec({ backoffLimit: 1, podFailurePolicy: { rules: [onCode("Ignore", 7)] } }));
  for (let times = 0; times < 3; times++) {
    await end(cluster, 7);
    assert.equal(cluster.must(jobs, "once").status?.failed, undefined);
    await wait(cluster);
  }
  await end(cluster, 1);
  assert.equal(cluster.must(jobs, "once").status?.failed, 1);
  await wait(cluster);
  await end(cluster, 1);
  assert.equal(conditions(cluster).at(-1)?.[1], "BackoffLimitExceeded");
  cluster.close();
});

test("podFailurePolicy by condition: a pod that is disrupted is not counted", async () => {
  const rules = [{ action: "Ignore", onPodConditions: [{ type: "DisruptionTarget" }] }] as const;
  const cluster = await started(jobSpec({ backoffLimit: 0, podFailurePolicy: { rules } }));
  const [pod] = active(cluster);
  assert.ok(pod);
  const disrupted = { type: "DisruptionTarget", status: "True" } as const;
  cluster.api.updateStatus({ ...pod, status: { ...pod.status, phase: "Failed", conditions: [disrupted] } });
  await cluster.idle();
  await wait(cluster);
  assert.equal(active(cluster).length, 1);
  await end(cluster, 0);
  assert.equal(conditions(cluster).at(-1)?.[0], "Complete");
  cluster.close();
});

test("backoffLimitPerIndex: each index has its own count, delay and end; the others go on", async () => {
  const cluster = await started(jobSpec({ ...indexed, completions: 3, parallelism: 3, backoffLimitPerIndex: 1 }));
  const mark = (index: number): string | undefined =>
    active(cluster).find((pod) => indexOf(pod) === index)?.metadata.annotations?.[
      "batch.kubernetes.io/job-index-failure-count"
    ];
  assert.equal(mark(0), "0");
  await end(cluster, 1, 0);
  await cluster.pass(9000);
  assert.deepEqual(indexes(cluster), [1, 2]);
  await wait(cluster, 1000);
  assert.deepEqual(indexes(cluster), [0, 1, 2]);
  assert.deepEqual([mark(0), mark(1)], ["1", "0"]);
  assert.equal(cluster.must(jobs, "once").status?.failedIndexes, "");
  await end(cluster, 1, 0);
  await wait(cluster);
  assert.deepEqual(indexes(cluster), [1, 2]);
  assert.equal(cluster.must(jobs, "once").status?.failedIndexes, "0");
  await end(cluster, 0, 1);
  await end(cluster, 0, 2);
  const { status } = cluster.must(jobs, "once");
  assert.deepEqual([status?.failedIndexes, status?.completedIndexes, status?.failed], ["0", "1,2", 2]);
  assert.deepEqual(conditions(cluster).at(-1), ["Failed", "FailedIndexes", "Job has failed indexes"]);
  assert.ok(cluster.list(pods).every(({ metadata }) => (metadata.finalizers ?? []).length === 0));
  cluster.close();
});

test("maxFailedIndexes: one more ends the Job; failures that wait for their next pod are counted then", async () => {
  const cluster = await started(
    jobSpec({ ...indexed, completions: 3, parallelism: 3, backoffLimitPerIndex: 1, maxFailedIndexes: 0 }),
  );
  await end(cluster, 1, 0);
  await wait(cluster, 10_000);
  await end(cluster, 1, 1);
  await end(cluster, 1, 0);
  await cluster.kubelet();
  const message = "Job has exceeded the specified maximal number of failed indexes";
  assert.deepEqual(conditions(cluster).at(-1), ["Failed", "MaxFailedIndexesExceeded", message]);
  // Two of index 0, one of index 1, and that of index 2, which was stopped.
  assert.equal(cluster.must(jobs, "once").status?.failed, 4);
  cluster.close();
});

test("FailIndex: such a failure ends its index at once; an ignored one is only waited for", async () => {
  const cluster = await started(
    jobSpec({
      ...indexed,
      completions: 2,
      parallelism: 2,
      backoffLimitPerIndex: 1,
      podFailurePolicy: { rules: [onCode("FailIndex", 42), onCode("Ignore", 7)] },
    }),
  );
  await end(cluster, 42, 0);
  for (let times = 0; times < 3; times++) {
    await end(cluster, 7, 1);
    await wait(cluster);
  }
  const [pod] = active(cluster);
  assert.equal(pod?.metadata.annotations?.["batch.kubernetes.io/job-index-ignored-failure-count"], "3");
  assert.equal(pod.metadata.annotations["batch.kubernetes.io/job-index-failure-count"], "0");
  assert.deepEqual(indexes(cluster), [1]);
  assert.equal(cluster.must(jobs, "once").status?.failedIndexes, "0");
  cluster.close();
});

test("successPolicy: enough of the named indexes succeed, the others are stopped", async () => {
  const cluster = await started(
    jobSpec({
      ...indexed,
      completions: 4,
      parallelism: 4,
      successPolicy: { rules: [{ succeededCount: 4 }, { succeededIndexes: "0-2", succeededCount: 2 }] },
    }),
  );
  await end(cluster, 0, 3);
  await end(cluster, 0, 0);
  assert.deepEqual(conditions(cluster), []);
  await end(cluster, 0, 2);
  assert.deepEqual(conditions(cluster), [["SuccessCriteriaMet", "SuccessPolicy", "Matched rules at index 1"]]);
  await cluster.kubelet();
  assert.deepEqual(conditions(cluster).at(-1), ["Complete", "SuccessPolicy", "Matched rules at index 1"]);
  const { status } = cluster.must(jobs, "once");
  assert.deepEqual([status?.succeeded, status?.completedIndexes], [3, "0,2,3"]);
  assert.ok(status?.completionTime !== undefined);
  cluster.close();
});
