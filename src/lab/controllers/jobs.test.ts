import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { Job, Pod } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import { job, testCluster, type TestCluster } from "./cluster.testing.ts";
import { timeText } from "../../watch/clock.ts";
import { conditionOf } from "./conditions.ts";
import { formatIndexes, parseIndexes } from "./job-indexes.ts";
import { isFinished, isTerminating } from "./pod-state.ts";
import { cronJobs, events, jobs, pods } from "./resources.ts";

const active = (cluster: TestCluster): readonly Pod[] =>
  cluster.list(pods).filter((pod) => !isFinished(pod) && !isTerminating(pod));

function end(cluster: TestCluster, pod: Pod | undefined, phase: "Succeeded" | "Failed"): void {
  assert.ok(pod);
  const finishedAt = timeText(cluster.clock.now());
  const state = { terminated: { exitCode: phase === "Failed" ? 1 : 0, finishedAt } };
  const containerStatuses = [{ name: "main", image: "", imageID: "", ready: false, restartCount: 0, state }];
  cluster.api.updateStatus({ ...pod, status: { ...pod.status, phase, containerStatuses } });
}

const verdict = (cluster: TestCluster, name: string): readonly (string | undefined)[] => {
  const { status } = cluster.must(jobs, name);
  const found = conditionOf(status?.conditions, "Complete") ?? conditionOf(status?.conditions, "Failed");
  return [found?.type, found?.reason];
};

async function started(spec: Partial<Job["spec"]>): Promise<TestCluster> {
  const cluster = await testCluster();
  cluster.create(job("once", spec));
  await cluster.idle();
  await cluster.kubelet();
  return cluster;
}

void describe("Job", () => {
  void test("runs as many pods at a time as parallelism until enough succeeded, and counts each once", async () => {
    const cluster = await started({ completions: 5, parallelism: 2 });
    const running: number[] = [];
    for (let round = 0; round < 5; round++) {
      running.push(active(cluster).length);
      end(cluster, active(cluster)[0], "Succeeded");
      await cluster.idle();
      await cluster.kubelet();
    }
    assert.deepEqual(running, [2, 2, 2, 2, 1]);
    const { status } = cluster.must(jobs, "once");
    assert.deepEqual([status?.succeeded, status?.failed, status?.active], [5, undefined, undefined]);
    assert.deepEqual(verdict(cluster, "once"), ["Complete", "CompletionsReached"]);
    assert.ok(status?.completionTime !== undefined);
    assert.ok(cluster.list(pods).every(({ metadata }) => (metadata.finalizers ?? []).length === 0));
    cluster.close();
  });

  void test("failures are tried again after 10, 20, … seconds, until backoffLimit is passed", async () => {
    const cluster = await started({ backoffLimit: 2 });
    for (const wait of [10_000, 20_000]) {
      end(cluster, active(cluster)[0], "Failed");
      await cluster.idle();
      assert.equal(active(cluster).length, 0);
      await cluster.pass(wait - 1_000);
      assert.equal(active(cluster).length, 0);
      await cluster.pass(1_000);
      await cluster.kubelet();
      assert.equal(active(cluster).length, 1);
    }
    end(cluster, active(cluster)[0], "Failed");
    await cluster.idle();
    assert.deepEqual(verdict(cluster, "once"), ["Failed", "BackoffLimitExceeded"]);
    assert.equal(cluster.must(jobs, "once").status?.failed, 3);
    cluster.close();
  });

  void test("is stopped at its deadline", async () => {
    const cluster = await started({ activeDeadlineSeconds: 30 });
    await cluster.pass(30_000);
    assert.deepEqual(verdict(cluster, "once"), [undefined, undefined]);
    assert.equal(
      conditionOf(cluster.must(jobs, "once").status?.conditions, "FailureTarget")?.reason,
      "DeadlineExceeded",
    );
    await cluster.kubelet();
    assert.deepEqual(verdict(cluster, "once"), ["Failed", "DeadlineExceeded"]);
    cluster.close();
  });

  void test("Indexed: every index once, with name, host name and variable", async () => {
    const cluster = await started({ completionMode: "Indexed", completions: 3, parallelism: 3 });
    const at = (index: number): Pod | undefined =>
      active(cluster).find(
        ({ metadata }) => metadata.labels?.["batch.kubernetes.io/job-completion-index"] === String(index),
      );
    assert.match(at(1)?.metadata.name ?? "", /^once-1-[a-z0-9]{5}$/);
    assert.equal(at(1)?.spec.hostname, "once-1");
    assert.equal(at(1)?.spec.containers[0]?.env?.[0]?.name, "JOB_COMPLETION_INDEX");
    end(cluster, at(0), "Succeeded");
    end(cluster, at(2), "Succeeded");
    end(cluster, at(1), "Failed");
    await cluster.idle();
    assert.equal(cluster.must(jobs, "once").status?.completedIndexes, "0,2");
    await cluster.pass(10_000);
    await cluster.kubelet();
    assert.equal(active(cluster).length, 1);
    end(cluster, at(1), "Succeeded");
    await cluster.idle();
    assert.equal(cluster.must(jobs, "once").status?.completedIndexes, "0-2");
    assert.deepEqual(verdict(cluster, "once"), ["Complete", "CompletionsReached"]);
    cluster.close();
  });

  void test("suspended it has no pods, resumed it has", async () => {
    const cluster = await started({ suspend: true });
    assert.equal(active(cluster).length, 0);
    const suspend = (value: boolean): void =>
      cluster.edit(jobs, "once", (object) => ({ ...object, spec: { ...object.spec, suspend: value } }));
    suspend(false);
    await cluster.idle();
    assert.equal(active(cluster).length, 1);
    suspend(true);
    await cluster.settle();
    assert.equal(cluster.list(pods).length, 0);
    assert.equal(conditionOf(cluster.must(jobs, "once").status?.conditions, "Suspended")?.status, "True");
    cluster.close();
  });

  void test("goes with its pods ttlSecondsAfterFinished after its end", async () => {
    const cluster = await started({ ttlSecondsAfterFinished: 60 });
    end(cluster, active(cluster)[0], "Succeeded");
    await cluster.idle();
    await cluster.pass(59_000);
    assert.equal(cluster.list(jobs).length, 1);
    await cluster.pass(1_000);
    await cluster.settle();
    assert.deepEqual([cluster.list(jobs).length, cluster.list(pods).length], [0, 0]);
    cluster.close();
  });

  void test("deleted while it runs, nothing holds its pods", async () => {
    const cluster = await started({ parallelism: 2, completions: 4 });
    cluster.remove(jobs, "once");
    await cluster.settle();
    assert.deepEqual([cluster.list(jobs).length, cluster.list(pods).length], [0, 0]);
    cluster.close();
  });

  void test("indexes are written in runs and read back", () => {
    for (const [indexes, text] of [
      [[], ""],
      [[3], "3"],
      [[1, 2], "1,2"],
      [[5, 0, 1, 2, 9, 8, 7], "0-2,5,7-9"],
    ] as const) {
      assert.equal(formatIndexes(indexes), text);
      assert.deepEqual(parseIndexes(text), new Set(indexes));
    }
  });
});

void describe("CronJob", () => {
  const cronJob = (spec: object): KubeObject => ({
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: { name: "tick" },
    spec: { schedule: "*/5 * * * *", jobTemplate: { spec: job("x").spec }, ...spec },
  });
  const jobNames = (cluster: TestCluster): readonly string[] => cluster.list(jobs).map(({ metadata }) => metadata.name);
  // 2026-01-01T00:00:00Z in minutes.
  const minute = Date.parse("2026-01-01T00:00:00Z") / 60_000;

  void test("starts a Job at every time of its schedule", async () => {
    const cluster = await testCluster();
    cluster.create(cronJob({}));
    await cluster.idle();
    await cluster.pass(4 * 60_000);
    assert.deepEqual(jobNames(cluster), []);
    await cluster.pass(60_000);
    assert.deepEqual(jobNames(cluster), [`tick-${minute + 5}`]);
    await cluster.pass(5 * 60_000);
    assert.deepEqual(jobNames(cluster), [`tick-${minute + 5}`, `tick-${minute + 10}`]);
    const { status } = cluster.must(cronJobs, "tick");
    assert.equal(status?.active?.length, 2);
    assert.equal(status.lastScheduleTime, "2026-01-01T00:10:00Z");
    cluster.close();
  });

  for (const [concurrencyPolicy, expected] of [
    ["Forbid", [`tick-${minute + 5}`]],
    ["Replace", [`tick-${minute + 10}`]],
  ] as const) {
    void test(`${concurrencyPolicy}: what happens while a Job still runs`, async () => {
      const cluster = await testCluster();
      cluster.create(cronJob({ concurrencyPolicy }));
      await cluster.idle();
      await cluster.pass(10 * 60_000);
      await cluster.settle();
      assert.deepEqual(jobNames(cluster), expected);
      cluster.close();
    });
  }

  void test("says what became of its active Jobs", async () => {
    const cluster = await testCluster();
    cluster.create(cronJob({}));
    await cluster.idle();
    await cluster.pass(10 * 60_000);
    end(cluster, active(cluster)[0], "Succeeded");
    await cluster.settle();
    cluster.remove(jobs, `tick-${minute + 10}`);
    await cluster.settle();
    assert.equal(cluster.must(cronJobs, "tick").status?.active, undefined);
    const said = cluster
      .list(events)
      .filter(({ involvedObject, reason }) => involvedObject.kind === "CronJob" && reason !== "SuccessfulCreate")
      .map(({ reason, message = "" }) => `${reason} ${message}`);
    assert.deepEqual(said.sort(), [
      `MissingJob Active job went missing: tick-${minute + 10}`,
      `SawCompletedJob Saw completed job: tick-${minute + 5}, condition: Complete`,
    ]);
    cluster.close();
  });

  void test("keeps only so many Jobs that succeeded", async () => {
    const cluster = await testCluster();
    cluster.create(cronJob({ successfulJobsHistoryLimit: 2 }));
    await cluster.idle();
    for (let round = 0; round < 4; round++) {
      await cluster.pass(5 * 60_000);
      end(cluster, active(cluster)[0], "Succeeded");
      await cluster.settle();
    }
    assert.deepEqual(jobNames(cluster), [`tick-${minute + 15}`, `tick-${minute + 20}`]);
    cluster.close();
  });
});
