import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { text } from "node:stream/consumers";
import type { Pod, PodSpec } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import { startTestNode, type TestNode } from "./kubelet.testing.ts";

let node: TestNode;

before(async () => {
  node = await startTestNode();
});
after(() => node.close());

const condition = (pod: Pod | undefined, type: string): string | undefined =>
  pod?.status?.conditions?.find((one) => one.type === type)?.status;
const isReady = (pod: Pod | undefined): boolean => condition(pod, "Ready") === "True";
const isGone = (pod: Pod | undefined): boolean => pod === undefined;
const phaseIs =
  (phase: string) =>
  (pod: Pod | undefined): boolean =>
    pod?.status?.phase === phase;
const waitsFor =
  (reason: string) =>
  (pod: Pod | undefined): boolean =>
    pod?.status?.containerStatuses?.[0]?.state?.waiting?.reason === reason;
const shell = (script: string): { readonly image: string; readonly command: readonly string[] } => ({
  image: "busybox:1.36",
  command: ["sh", "-c", script],
});

async function exec(pod: string, ...argv: readonly string[]): Promise<string> {
  const process = node.kubelet.exec({ namespace: "default", pod }, { argv, tty: false, stdin: false });
  const [out, errors] = await Promise.all([text(process.stdout!), text(process.stderr!)]);
  const { code } = await process.ended;
  return `${out}${errors}${code === 0 ? "" : `exit ${code}`}`;
}

async function logs(pod: string, options: { readonly previous?: boolean } = {}, container?: string): Promise<string> {
  let all = "";
  const where = { namespace: "default", pod, ...(container === undefined ? {} : { container }) };
  await node.kubelet.logs(where, options).each((chunk) => (all += chunk));
  return all;
}

async function remove(name: string, gracePeriodSeconds = 1): Promise<void> {
  node.api.delete({ group: "", resource: "pods", namespace: "default", name }, { gracePeriodSeconds });
  await node.until(name, isGone);
}

/** Runs a script to its end and gives what it wrote. */
async function output(
  name: string,
  script: string,
  spec: Partial<PodSpec> & { readonly container?: object } = {},
  metadata = {},
): Promise<string> {
  const { container, ...rest } = spec;
  node.run(
    name,
    { restartPolicy: "Never", containers: [{ name: "c", ...shell(script), ...container }], ...rest },
    metadata,
  );
  await node.until(name, (pod) => phaseIs("Succeeded")(pod) || phaseIs("Failed")(pod));
  const text = await logs(name);
  await remove(name);
  return text;
}

test("the node is registered, ready, and has a Lease", () => {
  const found = node.api.get({ group: "", resource: "nodes", name: "node-1" }) as KubeObject & {
    status: { conditions: { type: string; status: string }[]; addresses: unknown };
  };
  assert.equal(found.metadata.labels?.["kubernetes.io/hostname"], "node-1");
  assert.equal(found.status.conditions.find(({ type }) => type === "Ready")?.status, "True");
  assert.deepEqual(found.status.addresses, [
    { type: "InternalIP", address: "10.0.0.1" },
    { type: "Hostname", address: "node-1" },
  ]);
  const lease = { group: "coordination.k8s.io", resource: "leases", namespace: "kube-node-lease", name: "node-1" };
  assert.ok(node.api.get(lease));
});

test("a built-in server runs without a process, is ready, and can be entered", async () => {
  node.run("web", { containers: [{ name: "nginx", image: "nginx:1.27" }] });
  const pod = await node.until("web", isReady);
  assert.equal(pod.status?.phase, "Running");
  assert.match(pod.status?.podIP ?? "", /^10\.1\.0\.\d+$/);
  assert.deepEqual(node.kubelet.listeners({ namespace: "default", pod: "web" }), [
    { protocol: "tcp", address: "::", port: 80, container: "nginx" },
  ]);
  assert.equal(await exec("web", "sh", "-c", "echo hi from $HOSTNAME; cat /etc/hostname"), "hi from web\nweb\n");
  const resolv = await exec("web", "cat", "/etc/resolv.conf");
  assert.equal(
    resolv,
    "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
  );
  await remove("web");
});

test("a command's output is kept, also after the pod has completed", async () => {
  node.run("job", { restartPolicy: "Never", containers: [{ name: "c", ...shell("echo one; echo two >&2") }] });
  const pod = await node.until("job", phaseIs("Succeeded"));
  assert.equal(pod.status?.containerStatuses?.[0]?.state?.terminated?.reason, "Completed");
  assert.equal(condition(pod, "Ready"), "False");
  assert.deepEqual((await logs("job")).trim().split("\n").sort(), ["one", "two"]);
  await remove("job");
});

test("containers of a pod share localhost, host name and volumes, and have ports of their own", async () => {
  node.run("pair", {
    volumes: [{ name: "shared", emptyDir: {} }],
    containers: [
      { name: "server", image: "hashicorp/http-echo", args: ["-text=from the other container", "-listen=:5678"] },
      {
        name: "client",
        ...shell("/opt/fairlead/bin/curl -s localhost:5678 > /data/answer; sleep 100"),
        volumeMounts: [{ name: "shared", mountPath: "/data" }],
        readinessProbe: { exec: { command: ["grep", "-q", "other", "/data/answer"] }, periodSeconds: 1 },
      },
    ],
  });
  await node.until("pair", isReady);
  const where = { namespace: "default", pod: "pair", container: "client" };
  const process = node.kubelet.exec(where, { argv: ["cat", "/data/answer"], tty: false, stdin: false });
  assert.equal(await text(process.stdout!), "from the other container\n");
  await remove("pair");
});

test("init containers run in order, a sidecar stays beside them, and the rest waits", async () => {
  node.run("ordered", {
    restartPolicy: "Never",
    terminationGracePeriodSeconds: 1,
    volumes: [{ name: "v", emptyDir: {} }],
    initContainers: [
      { name: "first", ...shell("echo first >> /v/log"), volumeMounts: [{ name: "v", mountPath: "/v" }] },
      {
        name: "side",
        restartPolicy: "Always",
        ...shell("echo side >> /v/log; sleep 100"),
        volumeMounts: [{ name: "v", mountPath: "/v" }],
        startupProbe: { exec: { command: ["grep", "side", "/v/log"] }, periodSeconds: 1 },
      },
      { name: "second", ...shell("echo second >> /v/log"), volumeMounts: [{ name: "v", mountPath: "/v" }] },
    ],
    containers: [{ name: "main", ...shell("cat /v/log"), volumeMounts: [{ name: "v", mountPath: "/v" }] }],
  });
  const pod = await node.until("ordered", phaseIs("Succeeded"));
  assert.equal(await logs("ordered"), "first\nside\nsecond\n");
  const [first, side] = pod.status?.initContainerStatuses ?? [];
  assert.equal(first?.state?.terminated?.exitCode, 0);
  assert.equal(side?.state?.terminated?.exitCode, 137);
  await node.until("ordered", (now) => now?.status?.initContainerStatuses?.[1]?.state?.terminated !== undefined);
  await remove("ordered");
});

test("a failed init container with restartPolicy Never fails the pod", async () => {
  node.run("badinit", {
    restartPolicy: "Never",
    initContainers: [{ name: "i", ...shell("exit 7") }],
    containers: [{ name: "c", image: "nginx" }],
  });
  const pod = await node.until("badinit", phaseIs("Failed"));
  assert.equal(pod.status?.initContainerStatuses?.[0]?.state?.terminated?.exitCode, 7);
  assert.equal(pod.status?.containerStatuses?.[0]?.state?.waiting?.reason, "PodInitializing");
  await remove("badinit");
});

test("an unknown image says what to do; mapped, it runs", async () => {
  node.run("unknown", { containers: [{ name: "c", image: "example.com/my/app:v1", command: ["sleep", "100"] }] });
  const pod = await node.until("unknown", waitsFor("ErrImagePull"));
  assert.match(
    pod.status?.containerStatuses?.[0]?.state?.waiting?.message ?? "",
    /fairlead image add example\.com\/my\/app:v1 PATH/,
  );
  assert.equal(pod.status?.phase, "Pending");
  node.images.add({ name: "example.com/my/app:*", path: "/bin/sh" });
  await node.until("unknown", isReady);
  await remove("unknown");
});

test("environment: fields, references, expansion, services, imports", async () => {
  node.create({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "settings", namespace: "default" },
    data: { color: "blue", SIZE: "9" },
  });
  node.create({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "keys", namespace: "default" },
    data: { token: Buffer.from("s3cret").toString("base64") },
  });
  node.create({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "api-server", namespace: "default" },
    spec: { clusterIP: "10.96.0.7", clusterIPs: ["10.96.0.7"], ports: [{ port: 80, name: "http", protocol: "TCP" }] },
  });
  const out = await output(
    "env",
    'echo "$POD $NODE $IP $LABEL|$COLOR $TOKEN $PRE_SIZE|$BOTH $COST|$API_SERVER_SERVICE_HOST:$API_SERVER_PORT_80_TCP_PORT|$LIMIT $1"',
    {
      container: {
        args: ["x", "$(COLOR)"],
        resources: { limits: { memory: "64Mi" } },
        envFrom: [{ prefix: "PRE_", configMapRef: { name: "settings" } }],
        env: [
          { name: "POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
          { name: "NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
          { name: "IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
          { name: "LABEL", valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } },
          { name: "COLOR", valueFrom: { configMapKeyRef: { name: "settings", key: "color" } } },
          { name: "TOKEN", valueFrom: { secretKeyRef: { name: "keys", key: "token" } } },
          { name: "BOTH", value: "$(POD)/$(COLOR)" },
          { name: "COST", value: "$$(POD) $(NOBODY)" },
          { name: "LIMIT", valueFrom: { resourceFieldRef: { resource: "limits.memory", divisor: "1Mi" } } },
        ],
      },
    },
    { labels: { app: "shop" } },
  );
  assert.match(
    out,
    /^env node-1 10\.1\.0\.\d+ shop\|blue s3cret 9\|env\/blue \$\(POD\) \$\(NOBODY\)\|10\.96\.0\.7:80\|64 blue\n$/,
  );
});

test("volumes: ConfigMap and Secret files, subPath, downward API, projections; a change reaches the container", async () => {
  node.create({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "files", namespace: "default" },
    data: { "a.txt": "one", "b.txt": "two" },
  });
  node.run(
    "volumes",
    {
      volumes: [
        { name: "files", configMap: { name: "files" } },
        {
          name: "all",
          projected: {
            sources: [
              { configMap: { name: "files", items: [{ key: "b.txt", path: "sub/b" }] } },
              { downwardAPI: { items: [{ path: "labels", fieldRef: { fieldPath: "metadata.labels" } }] } },
              { serviceAccountToken: { path: "token" } },
            ],
          },
        },
      ],
      containers: [
        {
          name: "c",
          ...shell("sleep 100"),
          volumeMounts: [
            { name: "files", mountPath: "/files" },
            { name: "files", mountPath: "/one/file", subPath: "a.txt" },
            { name: "all", mountPath: "/all" },
          ],
        },
      ],
    },
    { labels: { app: "x" } },
  );
  await node.until("volumes", isReady);
  assert.equal(
    await exec(
      "volumes",
      "sh",
      "-c",
      "ls /files; cat /files/a.txt /one/file /all/sub/b /all/labels; touch /files/x 2>/dev/null || echo ' ro'",
    ),
    'a.txt\nb.txt\noneonetwoapp="x" ro\n',
  );
  assert.match(await exec("volumes", "cat", "/all/token"), /no token/);
  const current = node.api.get({ group: "", resource: "configmaps", namespace: "default", name: "files" });
  node.api.update({ ...current!, data: { "a.txt": "changed", "c.txt": "new" } });
  await node.api.flushed();
  assert.equal(await exec("volumes", "sh", "-c", "ls /files; cat /files/a.txt /one/file"), "a.txt\nc.txt\nchangedone");
  await remove("volumes");
});

test("a missing ConfigMap holds the container back until it is there", async () => {
  node.run("needs", {
    containers: [
      { name: "c", image: "nginx", env: [{ name: "A", valueFrom: { configMapKeyRef: { name: "later", key: "a" } } }] },
    ],
  });
  const pod = await node.until("needs", waitsFor("CreateContainerConfigError"));
  assert.equal(pod.status?.containerStatuses?.[0]?.state?.waiting?.message, 'configmap "later" not found');
  node.create({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "later", namespace: "default" },
    data: { a: "1" },
  });
  const ready = await node.until("needs", isReady);
  assert.equal(ready.status?.containerStatuses?.[0]?.restartCount, 0);
  await remove("needs");
});

test("a program that is not there: StartError with its name", async () => {
  node.run("nothere", { restartPolicy: "Never", containers: [{ name: "c", image: "busybox", command: ["nosuch"] }] });
  const pod = await node.until("nothere", phaseIs("Failed"));
  const state = pod.status?.containerStatuses?.[0]?.state?.terminated;
  assert.equal(state?.reason, "StartError");
  assert.equal(state?.exitCode, 128);
  assert.match(state?.message ?? "", /exec: "nosuch": executable file not found in \$PATH/);
  await remove("nothere");
});

test("two servers of one pod on one port: the second ends as it would", async () => {
  node.run("clash", {
    restartPolicy: "Never",
    containers: [
      { name: "a", image: "nginx" },
      { name: "b", image: "nginx" },
    ],
  });
  await node.until("clash", (pod) => pod?.status?.containerStatuses?.[1]?.state?.terminated !== undefined);
  assert.match(await logs("clash", {}, "b"), /EADDRINUSE/);
  await remove("clash");
});

test("the termination message is read; deletion gives the process its time", async () => {
  node.run("last", {
    restartPolicy: "Never",
    terminationGracePeriodSeconds: 3,
    containers: [{ name: "c", ...shell("echo wrong > /dev/termination-log; exit 4") }],
  });
  const pod = await node.until("last", phaseIs("Failed"));
  assert.equal(pod.status?.containerStatuses?.[0]?.state?.terminated?.message, "wrong\n");
  await remove("last");

  node.run("polite", {
    volumes: [{ name: "v", hostPath: { path: "/marks", type: "DirectoryOrCreate" } }],
    containers: [
      {
        name: "c",
        ...shell("trap 'echo term >> /v/m; exit 0' TERM; echo up; while :; do sleep 0.05; done"),
        volumeMounts: [{ name: "v", mountPath: "/v" }],
        lifecycle: { preStop: { exec: { command: ["sh", "-c", "echo hook >> /v/m"] } } },
      },
    ],
  });
  await node.until("polite", isReady);
  await remove("polite", 5);
  assert.equal(
    await output("marks", "cat /v/m", {
      volumes: [{ name: "v", hostPath: { path: "/marks" } }],
      container: { volumeMounts: [{ name: "v", mountPath: "/v" }] },
    }),
    "hook\nterm\n",
  );
});

test("a process that ignores SIGTERM is killed after the grace period, or at once by force", async () => {
  for (const grace of [1, 0]) {
    node.run("stubborn", { containers: [{ name: "c", ...shell("trap '' TERM; while :; do sleep 0.05; done") }] });
    await node.until("stubborn", isReady);
    await remove("stubborn", grace);
  }
});

test("readiness gates and the readiness probe decide over Ready", async () => {
  node.run("gated", {
    readinessGates: [{ conditionType: "example.com/gate" }],
    containers: [{ name: "c", image: "nginx", readinessProbe: { httpGet: { path: "/", port: 80 }, periodSeconds: 1 } }],
  });
  const pod = await node.until("gated", (now) => condition(now, "ContainersReady") === "True");
  assert.equal(condition(pod, "Ready"), "False");
  const status = {
    ...pod.status,
    conditions: [...(pod.status?.conditions ?? []), { type: "example.com/gate", status: "True" }],
  };
  node.api.updateStatus({ ...pod, status });
  await node.until("gated", isReady);
  await remove("gated");
});

test("a condition that others write while the kubelet is about to write its own stays", async () => {
  node.run("contended", {
    readinessGates: ["first", "second"].map((gate) => ({ conditionType: `example.com/${gate}` })),
    containers: [{ name: "c", image: "nginx" }],
  });
  const give = (pod: Pod, gate: string): void => {
    const given = { type: `example.com/${gate}`, status: "True" };
    const status = { ...pod.status, conditions: [...(pod.status?.conditions ?? []), given] };
    node.api.updateStatus({ ...pod, status });
  };
  // The kubelet hears of the first gate before this watch does, and answers when the second one is written and nobody has been told.
  let isGiven = false;
  const watch = node.api.watch({ group: "", resource: "pods" }, undefined, (event) => {
    if (isGiven || event.type === "BOOKMARK" || condition(event.object as Pod, "example.com/first") !== "True") return;
    isGiven = true;
    give(node.get("contended") ?? assert.fail("it is gone"), "second");
  });
  try {
    give(await node.until("contended", (now) => condition(now, "ContainersReady") === "True"), "first");
    await node.until("contended", isReady);
  } finally {
    watch.close();
  }
  await remove("contended");
});

test("probes: HTTP, TCP and command; a failed liveness probe restarts the container", async () => {
  node.run("probed", {
    terminationGracePeriodSeconds: 0,
    containers: [
      {
        name: "http",
        image: "agnhost",
        args: ["netexec"],
        readinessProbe: { httpGet: { path: "/healthz", port: "web" } },
        ports: [{ name: "web", containerPort: 8080 }],
      },
      { name: "tcp", image: "redis", readinessProbe: { tcpSocket: { port: 6379 } } },
      {
        name: "alive",
        ...shell("sleep 100"),
        livenessProbe: { exec: { command: ["false"] }, periodSeconds: 1, failureThreshold: 1 },
      },
    ],
  });
  // Which of them comes first is the machine's affair.
  await node.until("probed", (now) => {
    const [http, tcp, alive] = now?.status?.containerStatuses ?? [];
    return http?.ready === true && tcp?.ready === true && (alive?.restartCount ?? 0) > 0;
  });
  await remove("probed", 0);
});

test("a pod that is to go is not asked whether it lives", async () => {
  const leaving = "trap 'rm /tmp/alive; sleep 2.5; exit 0' TERM; touch /tmp/alive; while true; do sleep 0.1; done";
  const test = (path: string): object => ({ exec: { command: ["test", "-e", path] }, periodSeconds: 1 });
  node.run("leaving", {
    containers: [
      {
        name: "c",
        ...shell(leaving),
        livenessProbe: { ...test("/tmp/alive"), failureThreshold: 1 },
        readinessProbe: { ...test("/tmp/alive"), failureThreshold: 1 },
      },
    ],
  });
  await node.until("leaving", isReady);
  await remove("leaving", 20);
  const said = node.events("leaving");
  assert.deepEqual(
    said.filter((text) => text.includes("iveness")),
    [],
  );
});

test("shareProcessNamespace: containers see each other's processes", async () => {
  node.run("shared", {
    shareProcessNamespace: true,
    terminationGracePeriodSeconds: 0,
    containers: [
      { name: "a", ...shell("exec sleep 4711") },
      { name: "b", ...shell("sleep 100") },
    ],
  });
  await node.until("shared", isReady);
  const where = { namespace: "default", pod: "shared", container: "b" };
  const process = node.kubelet.exec(where, {
    argv: ["sh", "-c", "cat /proc/*/cmdline | tr '\\0' ' '"],
    tty: false,
    stdin: false,
  });
  assert.match(await text(process.stdout!), /hold.*sleep 4711/);
  await remove("shared", 0);
});

test("pods that come and go leave no descriptor and no process", async () => {
  const count = (): number => readdirSync("/proc/self/fd").length;
  const processes = (): number => readdirSync("/proc").filter((name) => /^\d+$/.test(name)).length;
  const round = async (): Promise<void> => {
    node.run("leak-1", {
      containers: [
        { name: "c", image: "nginx" },
        { name: "d", ...shell("sleep 100") },
      ],
    });
    node.run("leak-2", { restartPolicy: "Never", containers: [{ name: "c", ...shell("echo x") }] });
    await node.until("leak-1", isReady);
    await node.until("leak-2", phaseIs("Succeeded"));
    await exec("leak-1", "true");
    await remove("leak-1", 0);
    await remove("leak-2", 0);
  };
  await round();
  const before = { descriptors: count(), processes: processes() };
  for (let rounds = 0; rounds < 5; rounds++) await round();
  // Fewer is fine: what an earlier test has left may have ended meanwhile. What has just ended is taken away a moment later.
  const isAsBefore = (): boolean => count() <= before.descriptors && processes() <= before.processes;
  for (let looks = 0; looks < 100 && !isAsBefore(); looks++)
    await new Promise((resolve) => void setTimeout(resolve, 50));
  assert.ok(count() <= before.descriptors, `${before.descriptors} descriptors became ${count()}`);
  assert.ok(processes() <= before.processes, `${before.processes} processes became ${processes()}`);
});

test(
  "the shell of busybox images knows what busybox's knows",
  { skip: existsSync("/bin/bash") ? false : "needs a bash to stand for it" },
  async () => {
    const script = `if [[ a == a ]]; then echo -e 'x\\ty'; fi`;
    node.run("ash", {
      restartPolicy: "Never",
      containers: [{ name: "c", image: "busybox", command: ["sh", "-c", script] }],
    });
    await node.until("ash", phaseIs("Succeeded"));
    assert.equal(await logs("ash"), "x\ty\n");
    await remove("ash");
  },
);

test("an ephemeral container joins a running pod and leaves its state alone", async () => {
  node.run("debugged", { containers: [{ name: "c", image: "agnhost", args: ["netexec"] }] });
  const pod = await node.until("debugged", isReady);
  const script = shell("/opt/fairlead/bin/curl -s localhost:8080/hostname; exit 3");
  const ephemeralContainers = [
    { name: "debug", ...script, imagePullPolicy: "IfNotPresent" as const, terminationMessagePolicy: "File" as const },
  ];
  node.api.update({ ...pod, spec: { ...pod.spec, ephemeralContainers } });
  const after = await node.until(
    "debugged",
    (now) => now?.status?.ephemeralContainerStatuses?.[0]?.state?.terminated !== undefined,
  );
  assert.equal(after.status?.ephemeralContainerStatuses?.[0]?.state?.terminated?.exitCode, 3);
  assert.ok(isReady(after));
  assert.equal(await logs("debugged", {}, "debug"), "debugged\n");
  await remove("debugged");
});

test("hostNetwork: the pod is in the node's network", async () => {
  const seen = await output("host", "readlink /proc/self/ns/net; cat /etc/hosts", { hostNetwork: true });
  assert.match(seen, new RegExp(`^${node.node.id.replaceAll(/[[\]]/g, "\\$&")}\n127.0.0.1\tlocalhost`));
});

test("a pod's own sysctls; others are refused", async () => {
  assert.equal(
    await output("sysctl", "cat /proc/sys/net/ipv4/ip_local_port_range | tr '\\t' ' '", {
      securityContext: { sysctls: [{ name: "net.ipv4.ip_local_port_range", value: "2000 3000" }] },
    }),
    "2000 3000\n",
  );
});

test("activeDeadlineSeconds ends a pod", async () => {
  node.run("late", {
    activeDeadlineSeconds: 1,
    restartPolicy: "Never",
    terminationGracePeriodSeconds: 0,
    containers: [{ name: "c", ...shell("sleep 100") }],
  });
  const pod = await node.until("late", phaseIs("Failed"));
  assert.equal(pod.status?.reason, "DeadlineExceeded");
  await remove("late");
});

test("a deadline may come later, and a changed pod is seen to have been seen", async () => {
  node.run("shortened", {
    restartPolicy: "Never",
    terminationGracePeriodSeconds: 0,
    containers: [{ name: "c", ...shell("sleep 100") }],
  });
  const running = await node.until("shortened", isReady);
  node.api.update({
    ...running,
    spec: { ...running.spec, activeDeadlineSeconds: 60 },
  });
  const seen = await node.until("shortened", (pod) => pod?.status?.observedGeneration === 2);
  node.api.update({ ...seen, spec: { ...seen.spec, activeDeadlineSeconds: 1 } });
  const pod = await node.until("shortened", phaseIs("Failed"));
  assert.equal(pod.status?.reason, "DeadlineExceeded");
  await remove("shortened");
});

test("Events tell the story", async () => {
  node.run("told", { containers: [{ name: "c", image: "nginx" }] });
  await node.until("told", isReady);
  await node.restart("keep");
  assert.deepEqual(node.events("told").slice(0, 3), [
    'Pulled: Container image "nginx" already present on machine',
    "Created: Container created",
    "Started: Container started",
  ]);
  await remove("told");
});

test("agnhost connect in a built-in agnhost: the same words as the process, without one", async () => {
  node.run("served", { containers: [{ name: "c", image: "agnhost", args: ["netexec"] }] });
  node.run("asking", { containers: [{ name: "c", image: "agnhost" }] });
  const host = (await node.until("served", isReady)).status?.podIP ?? "";
  await node.until("asking", isReady);
  const connect = (...words: readonly string[]): Promise<string> => exec("asking", "/agnhost", "connect", ...words);
  assert.equal(await connect(`${host}:8080`, "--timeout=3s", "--protocol=tcp"), "");
  assert.equal(await connect(`${host}:8081`, "--timeout=3s", "--protocol=udp"), "");
  assert.equal(await connect(`${host}:81`, "--timeout=3s"), "REFUSED\nexit 1");
  assert.equal(await connect(`${host}:81`, "--timeout=3s", "--protocol=udp"), "REFUSED\nexit 1");
  assert.equal(await connect(`${host}:8081`, "--timeout=100ms", "--protocol=udp", "--udp-data=x"), "TIMEOUT\nexit 1");
  assert.match(await connect(`${host}:81`, "--protocol=sctp"), /^OTHER: .*exit 1$/s);
  // By name it is a process: names are looked up in the container.
  assert.equal(await connect("localhost:81", "--timeout=3s"), "REFUSED\nexit 1");
  const { pid, stdout } = node.kubelet.exec(
    { namespace: "default", pod: "asking" },
    { argv: ["/agnhost", "connect", `${host}:81`], tty: true, stdin: false },
  );
  assert.deepEqual([pid, await text(stdout!)], [0, "REFUSED\r\n"]);
  await remove("served", 0);
  await remove("asking", 0);
});

test("a pod whose host port another one has is rejected, as the kubelet does it", async () => {
  const spec = { containers: [{ name: "c", image: "pause", ports: [{ containerPort: 1, hostPort: 4711 }] }] };
  node.run("first-there", spec);
  await node.until("first-there", isReady);
  node.run("too-late", spec);
  const late = await node.until("too-late", phaseIs("Failed"));
  assert.equal(late.status?.reason, "NodePorts");
  await remove("first-there", 0);
  await remove("too-late", 0);
  node.run("in-time", spec);
  await node.until("in-time", isReady);
  await remove("in-time", 0);
});

test("an image's own file may be removed, and is then not served any more", async () => {
  node.run("probed", { containers: [{ name: "c", image: "agnhost", args: ["test-webserver"] }] });
  const host = (await node.until("probed", isReady)).status?.podIP ?? "";
  const status = (): Promise<string> =>
    exec(
      "probed",
      "/opt/fairlead/bin/curl",
      "-s",
      "-o",
      "/dev/null",
      "-w",
      "%{http_code}",
      `http://${host}/localhost.crt`,
    );
  assert.equal(await status(), "200");
  await exec("probed", "mv", "/localhost.crt", "/tmp/");
  assert.equal(await status(), "404");
  await exec("probed", "mv", "/tmp/localhost.crt", "/");
  assert.equal(await status(), "200");
  await remove("probed", 0);
});
