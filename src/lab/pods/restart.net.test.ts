// Containers that end and are started again: back-off, restart policies, a lab that ended without notice, a node that was cut off.

import { afterEach, test } from "node:test";
import assert from "node:assert/strict";
import type { Pod } from "../../kube/kinds.ts";
import { createFakeClock, type FakeClock } from "../controllers/clock.testing.ts";
import { startTestNode, type TestNode } from "./kubelet.testing.ts";

let node: TestNode | undefined;

afterEach(async () => {
  await node?.close();
  node = undefined;
});

async function start(clock?: FakeClock): Promise<TestNode> {
  node = await startTestNode(clock === undefined ? {} : { clock });
  return node;
}

const first = (pod: Pod | undefined) => pod?.status?.containerStatuses?.[0];
const runs = (count: number) => (pod: Pod | undefined) =>
  first(pod)?.restartCount === count && first(pod)?.state?.running !== undefined;
const crash = { name: "c", image: "busybox", command: ["sh", "-c", "echo run; exit 3"] };

test("a crashing container is started again at once, then after 10 s, 20 s, 40 s", async () => {
  const clock = createFakeClock();
  const { run, until } = await start(clock);
  run("crash", { containers: [crash] });
  const delays: string[] = [];
  for (const [restarts, delay] of [
    [1, "10s"],
    [2, "20s"],
    [3, "40s"],
  ] as const) {
    const pod = await until(
      "crash",
      (now) => first(now)?.state?.waiting?.reason === "CrashLoopBackOff" && first(now)?.restartCount === restarts,
    );
    assert.equal(first(pod)?.lastState?.terminated?.exitCode, 3);
    assert.equal(pod.status?.phase, "Running");
    delays.push(
      /back-off (\S+) restarting failed container=c pod=crash_default/.exec(
        first(pod)?.state?.waiting?.message ?? "",
      )?.[1] ?? "",
    );
    clock.advance(Number.parseInt(delay, 10) * 1000);
  }
  assert.deepEqual(delays, ["10s", "20s", "40s"]);
});

test("OnFailure starts again until it succeeds; the previous run's log is kept", async () => {
  const { run, until, kubelet } = await start();
  run("retry", {
    restartPolicy: "OnFailure",
    volumes: [{ name: "v", emptyDir: {} }],
    containers: [
      {
        name: "c",
        image: "busybox",
        command: ["sh", "-c", "test -e /v/seen && echo good && exit 0; touch /v/seen; echo bad; exit 1"],
        volumeMounts: [{ name: "v", mountPath: "/v" }],
      },
    ],
  });
  const pod = await until("retry", (now) => now?.status?.phase === "Succeeded");
  assert.equal(first(pod)?.restartCount, 1);
  const read = async (previous: boolean): Promise<string> => {
    let text = "";
    await kubelet.logs({ namespace: "default", pod: "retry" }, { previous }).each((chunk) => (text += chunk));
    return text;
  };
  assert.deepEqual([await read(true), await read(false)], ["bad\n", "good\n"]);
});

test("after the lab has ended without notice its pods run again, counted, and pods that must not have failed", async () => {
  const lab = await start();
  lab.run("server", { containers: [{ name: "c", image: "nginx" }] });
  lab.run("process", { containers: [{ name: "c", image: "busybox", command: ["sleep", "100"] }] });
  lab.run("once", { restartPolicy: "Never", containers: [{ name: "c", image: "busybox", command: ["sleep", "100"] }] });
  for (const name of ["server", "process", "once"]) await lab.until(name, runs(0));
  await lab.restart("kill");
  const { conditions = [], podIP } = lab.get("server")?.status ?? {};
  assert.equal(conditions.find(({ type }) => type === "Ready")?.status, "False", "not ready from the first moment on");
  assert.equal(podIP, undefined);
  for (const name of ["server", "process"]) {
    const pod = await lab.until(name, runs(1));
    assert.equal(first(pod)?.lastState?.terminated?.reason, "ContainerStatusUnknown");
  }
  await lab.until("once", (pod) => pod?.status?.phase === "Failed");
  assert.deepEqual(lab.lines, []);
});

test("a node that was cut off has its pods still when it comes back", async () => {
  const lab = await start();
  lab.run("server", { containers: [{ name: "c", image: "nginx" }] });
  lab.run("process", { containers: [{ name: "c", image: "busybox", command: ["sh", "-c", "echo up; sleep 100"] }] });
  for (const name of ["server", "process"]) await lab.until(name, runs(0));
  const before = lab.kubelet.sandboxOf({ namespace: "default", pod: "process" });
  await lab.restart("keep");
  assert.equal(lab.kubelet.sandboxOf({ namespace: "default", pod: "process" }), before);
  assert.equal(first(lab.get("process"))?.restartCount, 0);
  lab.api.delete({ group: "", resource: "pods", namespace: "default", name: "process" }, { gracePeriodSeconds: 0 });
  await lab.until("process", (pod) => pod === undefined);
});

test("a startup probe comes before the liveness probe, whose failure restarts; Events say why", async () => {
  const lab = await start();
  lab.run("sick", {
    terminationGracePeriodSeconds: 0,
    containers: [
      {
        name: "c",
        image: "nginx",
        startupProbe: { httpGet: { path: "/", port: 80 } },
        livenessProbe: { httpGet: { path: "/nowhere", port: 80 }, failureThreshold: 1 },
      },
    ],
  });
  await lab.until("sick", (pod) => first(pod)?.restartCount === 1);
  await lab.restart("keep");
  const told = lab.events("sick");
  assert.ok(told.includes("Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 404"), told.join("\n"));
  assert.ok(told.includes("Killing: Container c failed liveness probe, will be restarted"), told.join("\n"));
});
