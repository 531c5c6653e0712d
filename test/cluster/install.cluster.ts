// Fairlead as the only network of a real cluster, as deploy/ installs it: from nothing to pods, Services, names and policies, under traffic
// through restarts, an upgrade, a lost node and a lost API server, and away again.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";

import { chartDefinitions } from "../../scripts/chart.ts";
import { parseManifests } from "../../src/watch/manifests.ts";
import { startRealCluster, underlay, until, type RealCluster, type RealNode } from "./cluster.testing.ts";
import { makeTestImage } from "./image.testing.ts";
import { peer } from "./peers.testing.ts";
import {
  addressesOf,
  bracketed,
  clusterChart,
  commands,
  fetchFrom,
  fetchFromOutside,
  makeOwnImage,
  workloads,
} from "./workloads.testing.ts";

const folder = mkdtempSync(path.join(tmpdir(), "fairlead-cluster-"));
let cluster: RealCluster;
const namespace = "shop";
const {
  pods,
  podNamed,
  nodeOf,
  allReady,
  nodesReady,
  podOn,
  linesOf,
  underTraffic: whileTrafficGoes,
} = workloads(namespace, () => cluster);

before(async () => {
  const tools = path.join(folder, "tools.tar");
  writeFileSync(tools, makeTestImage());
  cluster = await startRealCluster({ folder, nodes: 3, images: [tools, makeOwnImage(folder)] });
});

after(async () => {
  await cluster?.close();
  rmSync(folder, { recursive: true, force: true });
});

function install(dns: Readonly<Record<string, unknown>> = {}): Promise<void> {
  return cluster.apply(parseManifests(`${chartDefinitions()}\n---\n${clusterChart({}, dns)}`, "deploy/chart").objects);
}

test("installed by the chart: nodes get ready, agents and DNS run", async () => {
  await install();
  try {
    await until("three nodes to be ready", 240, () => nodesReady(3));
    await until("the agents to be ready", 120, () => allReady("kube-system", "k8s-app=fairlead-agent", 3));
    await until("cluster DNS to be ready", 120, () => allReady("kube-system", "k8s-app=kube-dns", 2));
  } catch (error) {
    console.error(cluster.tails());
    throw error;
  }
});

/** Does something under traffic, of which nothing may fail. */
function underTraffic(work: () => Promise<void>): Promise<void> {
  return whileTrafficGoes(work, () =>
    cluster.nodes.map((node) => `== ${node.name}\n${agentLog(node).split("\n").slice(-60).join("\n")}`).join("\n"),
  );
}

test("pods on one node and across nodes, both families, each seen under its own address", async () => {
  await cluster.apply([
    { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } },
    ...cluster.nodes.map(({ name }) => podOn(name, `web-${name}`, { app: "web" }, commands.web)),
    podOn("node-1", "client", { app: "client" }, commands.idle),
    podOn("node-2", "echoes", { app: "echo" }, commands.echoes),
  ]);
  await until("pods to be ready", 180, () => allReady(namespace, "app", 5));
  const client = await podNamed("client");
  for (const web of await pods(namespace, "app=web")) {
    assert.equal(addressesOf(web).length, 2);
    for (const [index, address] of addressesOf(web).entries()) {
      const { output } = fetchFrom(nodeOf(client), "client", `http://${bracketed(address)}:8080/clientip`);
      assert.equal(
        output.replace(/:\d+$/, ""),
        bracketed(addressesOf(client)[index] ?? ""),
        `asked ${web.metadata.name} at ${address}`,
      );
    }
  }
});

test("Services by name and in both families; node ports from outside; pods reach the outside as their node", async () => {
  const spec = { selector: { app: "web" }, ipFamilyPolicy: "RequireDualStack" };
  await cluster.apply([
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web", namespace },
      spec: { ...spec, type: "NodePort", ports: [{ name: "http", port: 80, targetPort: 8080, nodePort: 30_080 }] },
    },
  ]);
  const { spec: made } = await cluster.client.request<{ readonly spec: { readonly clusterIPs: readonly string[] } }>({
    path: `/api/v1/namespaces/${namespace}/services/web`,
  });
  const home = nodeOf(await podNamed("client"));
  const names = new Set<string>();
  for (const host of ["web", `web.${namespace}.svc.cluster.local`, ...made.clusterIPs.map(bracketed)]) {
    await until(`an answer from ${host}`, 30, () => fetchFrom(home, "client", `http://${host}/hostname`).status === 0);
    for (let i = 0; i < 10; i++) names.add(fetchFrom(home, "client", `http://${host}/hostname`).output);
  }
  assert.deepEqual([...names].toSorted(), ["web-node-1", "web-node-2", "web-node-3"]);

  for (const { addresses } of cluster.nodes)
    for (const address of addresses)
      assert.match(fetchFromOutside(`http://${bracketed(address)}:30080/hostname`), /^web-node-[123]$/);

  const server = spawn("nsenter", ["--net=/run/netns/outside", peer("agnhost"), "netexec", "--http-port=8080"], {
    stdio: "ignore",
  });
  try {
    for (const [index, address] of underlay.outside.entries()) {
      const ask = (): { readonly status: number | null; readonly output: string } =>
        fetchFrom(home, "client", `http://${bracketed(address)}:8080/clientip`);
      await until(`the outside at ${address} to answer`, 30, () => ask().status === 0 || ask().output);
      assert.equal(ask().output.replace(/:\d+$/, ""), bracketed(home.addresses[index] ?? ""));
    }
  } finally {
    server.kill("SIGKILL");
  }
});

test("a LoadBalancerPool gives a Service its addresses, and one node answers for each on the link", async () => {
  interface LoadBalanced {
    readonly status: { readonly loadBalancer?: { readonly ingress?: readonly { readonly ip: string }[] } };
  }
  await cluster.apply([
    {
      apiVersion: "fairlead.dev/v1alpha1",
      kind: "LoadBalancerPool",
      metadata: { name: "link" },
      spec: { addresses: ["10.77.0.100-10.77.0.109", "fd77::100-fd77::109"] },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "balanced", namespace },
      spec: {
        type: "LoadBalancer",
        selector: { app: "web" },
        ipFamilyPolicy: "RequireDualStack",
        ports: [{ name: "http", port: 80, targetPort: 8080 }],
      },
    },
  ]);
  let addresses: readonly string[] = [];
  await until("the Service to have an address of each family", 60, async () => {
    const service = await cluster.client.request<LoadBalanced>({
      path: `/api/v1/namespaces/${namespace}/services/balanced`,
    });
    addresses = (service.status.loadBalancer?.ingress ?? []).map(({ ip }) => ip);
    return addresses.length === 2 || addresses;
  });
  for (const address of addresses) {
    const ask = (): string => fetchFromOutside(`http://${bracketed(address)}/hostname`);
    await until(`an answer at ${address}`, 30, () => /^web-node-[123]$/.test(ask()) || ask());
  }
});

test("a NetworkPolicy bites, and lets in whom it names", async () => {
  await cluster.apply([
    podOn("node-2", "friend", { app: "client", role: "friend" }, commands.idle),
    {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "friends-only", namespace },
      spec: {
        podSelector: { matchLabels: { app: "web" } },
        ingress: [{ from: [{ podSelector: { matchLabels: { role: "friend" } } }] }],
      },
    },
  ]);
  await until("the friend to be ready", 60, () => allReady(namespace, "role=friend", 1));
  const [web] = await pods(namespace, "app=web");
  assert.ok(web);
  const ask = (pod: string, at: RealNode | undefined) => (): boolean =>
    at !== undefined && fetchFrom(at, pod, `http://${addressesOf(web)[0]}:8080/hostname`).status === 0;
  const [first, second] = cluster.nodes;
  await until("strangers to be kept out", 30, () => !ask("client", first)());
  assert.equal(ask("friend", second)(), true);
  await until("its owner to be told where it is in force", 60, async () => {
    const { items } = await cluster.client.request<{
      readonly items: readonly {
        readonly involvedObject: { readonly kind: string; readonly name: string };
        readonly type: string;
        readonly reason: string;
        readonly message: string;
      }[];
    }>({ path: `/api/v1/namespaces/${namespace}/events` });
    const told = items.filter(({ involvedObject }) => involvedObject.kind === "NetworkPolicy");
    const words = told.map(({ type, reason, message }) => `${type} ${reason}: ${message}`);
    return words.includes("Normal Enforced: isolates 3 pods for ingress; in force on 3 of 3 nodes") || words;
  });
  await cluster.client.request({
    method: "DELETE",
    path: `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies/friends-only`,
  });
  await until("strangers to be let in again", 30, ask("client", first));
});

test("agents that are killed and come back: no request and no connection is lost", async () => {
  const [address = ""] = addressesOf(await podNamed("echoes"));
  await cluster.apply([
    podOn("node-1", "asks", { app: "traffic" }, commands.asks("web")),
    podOn("node-1", "keeps", { app: "traffic" }, commands.keeps(address)),
  ]);
  await until("traffic to begin", 60, () => allReady(namespace, "app=traffic", 2));
  await underTraffic(async () => {
    const restarts = async (): Promise<number> =>
      (await pods("kube-system", "k8s-app=fairlead-agent"))
        .flatMap(({ status }) => status?.containerStatuses ?? [])
        .reduce((sum, { restartCount }) => sum + restartCount, 0);
    const before = await restarts();
    cluster.nodes[0]?.run("pkill", "-9", "-f", "cli/main.ts agent");
    await until("three restarts", 120, async () => (await restarts()) >= before + 3);
    await until("the agents to be ready", 120, () => allReady("kube-system", "k8s-app=fairlead-agent", 3));
  });
});

test("without the API server everything goes on; back, pods come and go as before", async () => {
  agentsAreRefusedNothing();
  await underTraffic(async () => {
    await cluster.stopApiServer();
    await new Promise((resolve) => void setTimeout(resolve, 15_000));
    await cluster.startApiServer();
    await cluster.apply([podOn("node-3", "late", { app: "late" }, commands.idle)]);
    await until("a new pod to be ready", 120, () => allReady(namespace, "app=late", 1));
    const late = await podNamed("late");
    const { status, output } = fetchFrom(nodeOf(late), "late", "http://web/hostname");
    assert.equal(status, 0, output);
  });
});

const daemonSet = "/apis/apps/v1/namespaces/kube-system/daemonsets/fairlead-agent";

function newAgents(): Promise<void> {
  return until("the new agents", 300, async () => {
    const { metadata, status } = await cluster.client.request<{
      readonly metadata: { readonly generation: number };
      readonly status: {
        readonly observedGeneration: number;
        readonly updatedNumberScheduled?: number;
        readonly numberAvailable?: number;
      };
    }>({ path: daemonSet });
    const isDone =
      status.observedGeneration === metadata.generation &&
      status.updatedNumberScheduled === 3 &&
      status.numberAvailable === 3;
    return isDone || status;
  });
}

test("an upgrade, node by node: no request and no connection is lost", async () => {
  await underTraffic(async () => {
    await cluster.client.request({
      method: "PATCH",
      path: daemonSet,
      contentType: "application/merge-patch+json",
      body: { spec: { template: { metadata: { annotations: { "example.org/version": "2" } } } } },
    });
    await newAgents();
  });
});

test("a node that is lost and comes back", async () => {
  const lost = cluster.nodes[2];
  assert.ok(lost);
  const isReady = async (): Promise<boolean> => {
    const { status } = await cluster.client.request<{
      readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string }[] };
    }>({ path: `/api/v1/nodes/${lost.name}` });
    return status.conditions.some(({ type, status: is }) => type === "Ready" && is === "True");
  };
  lost.cut(true);
  await until("its silence to be noticed", 120, async () => !(await isReady()));
  // Its endpoints are gone: requests go to the others.
  await until(
    "its endpoints to be left out",
    60,
    async () =>
      (await pods(namespace, "app=web")).filter((pod) => pod.status?.containerStatuses?.every(({ ready }) => ready))
        .length <= 3,
  );
  lost.cut(false);
  await until("it to be back", 180, isReady);
  const web = await podNamed(`web-${lost.name}`);
  const [first] = cluster.nodes;
  assert.ok(first);
  for (const address of addressesOf(web))
    await until(
      `${address} to be reachable again`,
      60,
      () => fetchFrom(first, "client", `http://${bracketed(address)}:8080/hostname`).output === `web-${lost.name}`,
    );
  // What was asked while it was away has its end by then.
  await until(
    "requests of the meantime to end",
    60,
    () =>
      !linesOf(first, "asks")
        .slice(-70)
        .some((line) => line.includes("FAIL")),
  );
  await underTraffic(() => Promise.resolve());
});

test("with dns.nodeLocal each node answers its own pods: names go on without a single DNS pod", async () => {
  await underTraffic(async () => {
    await install({ nodeLocal: true });
    await newAgents();
    await until("DNS to be taken over on every node", 60, () =>
      cluster.nodes.every((node) => agentLog(node).includes("DNS: this node's pods are answered here")),
    );
    await cluster.client.request({
      method: "PATCH",
      path: "/apis/apps/v1/namespaces/kube-system/deployments/coredns",
      contentType: "application/merge-patch+json",
      body: { spec: { replicas: 0 } },
    });
    await until(
      "the last DNS pod to be gone",
      120,
      async () => (await pods("kube-system", "k8s-app=kube-dns")).length === 0,
    );
  });
  agentsAreRefusedNothing();
});

/** What the agent of a node has logged, as long as kubelet keeps it. */
function agentLog(node: RealNode): string {
  return node.run("sh", "-c", "cat /run/pod-logs/kube-system_fairlead-agent-*/agent/*.log");
}

/** The chart's roles are enough for all that the agents have done since they were started. Not to be asked of those who have seen an API server start: it refuses all until it has read the roles. */
function agentsAreRefusedNothing(): void {
  for (const node of cluster.nodes) {
    const lines = agentLog(node).split("\n");
    assert.notEqual(lines.length, 0);
    assert.deepEqual(
      lines.filter((line) => /\b403\b(?! ms)|forbidden/i.test(line)),
      [],
    );
  }
}

test("away again: nothing of Fairlead is left on a node", async () => {
  await cluster.client.request({ method: "DELETE", path: daemonSet });
  await until(
    "the agents to be gone",
    120,
    async () => (await pods("kube-system", "k8s-app=fairlead-agent")).length === 0,
  );
  for (const node of cluster.nodes) {
    node.run(process.execPath, path.resolve("src/cli/main.ts"), "uninstall");
    assert.doesNotMatch(node.run("ip", "-o", "link"), /cbr0|fl\./);
    assert.equal(node.run("sh", "-c", "ip route show proto 241; ip -6 route show proto 241"), "");
    assert.doesNotMatch(node.run("nft", "list", "tables"), /fairlead/);
    assert.doesNotMatch(node.run("sh", "-c", "ls /etc/cni/net.d /opt/cni/bin /run /var/lib"), /fairlead/);
  }
});
