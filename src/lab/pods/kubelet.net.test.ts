import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { text } from "node:stream/consumers";
import type { Pod } from "../../kube/kinds.ts";
import { startTestNode, type TestNode } from "./kubelet.testing.ts";

let node: TestNode;

before(async () => {
  node = await startTestNode();
});
after(() => node.close());

const isReady = (pod: Pod | undefined): boolean =>
  pod?.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") === true;
const isGone = (pod: Pod | undefined): boolean => pod === undefined;
const phaseIs =
  (phase: string) =>
  (pod: Pod | undefined): boolean =>
    pod?.status?.phase === phase;

async function exec(pod: string, ...argv: readonly string[]): Promise<string> {
  const process = node.kubelet.exec({ namespace: "default", pod }, { argv, tty: false, stdin: false });
  const [out, errors] = await Promise.all([text(process.stdout!), text(process.stderr!)]);
  const { code } = await process.ended;
  return `${out}${errors}${code === 0 ? "" : `exit ${code}`}`;
}

async function logs(pod: string, options = {}): Promise<string> {
  let all = "";
  await node.kubelet.logs({ namespace: "default", pod }, options).each((chunk) => (all += chunk));
  return all;
}

async function remove(name: string, gracePeriodSeconds = 1): Promise<void> {
  node.api.delete({ group: "", resource: "pods", namespace: "default", name }, { gracePeriodSeconds });
  await node.until(name, isGone);
}

test("the node is registered, ready, and has a Lease", () => {
  const found = node.api.get({ group: "", resource: "nodes", name: "node-1" });
  assert.equal(found?.metadata.labels?.["kubernetes.io/hostname"], "node-1");
  assert.ok(
    node.api.get({ group: "coordination.k8s.io", resource: "leases", namespace: "kube-node-lease", name: "node-1" }),
  );
});

test("a built-in server runs without a process, is ready, and can be asked and entered", async () => {
  node.run("web", { containers: [{ name: "nginx", image: "nginx:1.27" }] });
  const pod = await node.until("web", isReady);
  assert.equal(pod.status?.phase, "Running");
  assert.match(pod.status?.podIP ?? "", /^10\.1\.0\.\d+$/);
  assert.deepEqual(node.kubelet.listeners({ namespace: "default", pod: "web" }), [
    { protocol: "tcp", address: "::", port: 80, container: "nginx" },
  ]);
  assert.equal(await exec("web", "sh", "-c", "echo hi from $HOSTNAME; cat /etc/hostname"), "hi from web\nweb\n");
  assert.match(
    await exec("web", "cat", "/etc/resolv.conf"),
    /^search default.svc.cluster.local .*\nnameserver 10.96.0.10\noptions ndots:5\n$/,
  );
  await remove("web");
});

test("a command's output is kept, also after the pod has completed", async () => {
  node.run("job", {
    restartPolicy: "Never",
    containers: [{ name: "c", image: "busybox", command: ["sh", "-c", "echo one; echo two >&2"] }],
  });
  const pod = await node.until("job", phaseIs("Succeeded"));
  assert.equal(pod.status?.containerStatuses?.[0]?.state?.terminated?.reason, "Completed");
  assert.deepEqual((await logs("job")).trim().split("\n").sort(), ["one", "two"]);
  await remove("job");
});
