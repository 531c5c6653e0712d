// Fairlead in kube-proxy's place on a real cluster, whose pods have another network (Debian's bridge plugin): from the real kube-proxy to the
// agent by hand with kube-proxy's own kubeconfig, from kube-proxies to the chart, and back, under traffic all the time.

import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";

import { chartDefinitions } from "../../scripts/chart.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { parseManifests } from "../../src/watch/manifests.ts";
import { ranges, startRealCluster, until, type RealCluster, type RealNode } from "./cluster.testing.ts";
import { kubeProxyConfiguration } from "../kube-proxy.testing.ts";
import { makeTestImage } from "./image.testing.ts";
import { peer } from "./peers.testing.ts";
import {
  bracketed,
  clusterChart,
  commands,
  fetchFrom,
  fetchFromOutside,
  getter,
  makeOwnImage,
  workloads,
} from "./workloads.testing.ts";

const folder = mkdtempSync(path.join(tmpdir(), "fairlead-kube-proxy-"));
const namespace = "shop";
const webPort = 30_080;
/** Of Service `echoes`, so that `asks` and `keeps` know them before they are made. */
const [webAddress, echoesAddress] = ["10.96.7.1", "10.96.7.2"] as const;
const fairlead = [process.execPath, path.resolve("src/cli/main.ts")] as const;

let cluster: RealCluster;
/** kube-proxy of each node that has one. */
const proxies = new Map<string, ChildProcess>();
const { pods, podNamed, nodeOf, allReady, nodesReady, podOn, ...rest } = workloads(namespace, () => cluster);
const underTraffic = (work: () => Promise<void>): Promise<void> => rest.underTraffic(work, () => cluster.tails());

before(async () => {
  const tools = path.join(folder, "tools.tar");
  writeFileSync(tools, makeTestImage());
  cluster = await startRealCluster({ folder, nodes: 2, images: [tools, makeOwnImage(folder)] });
});

after(async () => {
  await cluster?.close();
  rmSync(folder, { recursive: true, force: true });
});

test("a cluster with the bridge plugin and the real kube-proxy", async () => {
  await givePodsABridge();
  await until("two nodes to be ready", 120, () => nodesReady(2));
  await Promise.all(cluster.nodes.map(startKubeProxy));
  await cluster.apply([
    { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } },
    ...cluster.nodes.map(({ name }) => podOn(name, `web-${name}`, { app: "web" }, commands.web)),
    podOn("node-1", "client", { app: "client" }, commands.idle),
    podOn("node-2", "echoes", { app: "echoes" }, commands.echoes),
    service("web", webAddress, { port: 80, targetPort: 8080, nodePort: webPort }),
    service("echoes", echoesAddress, { port: 9000 }),
  ]);
  await until("pods to be ready", 180, () => allReady(namespace, "app", 4));
  await cluster.apply([
    podOn("node-1", "asks", { app: "traffic" }, commands.asks(webAddress)),
    podOn("node-1", "keeps", { app: "traffic" }, commands.keeps(echoesAddress)),
  ]);
  await until("traffic to begin", 60, () => allReady(namespace, "app=traffic", 2));
  await everybodyIsAnswered();
});

test("by hand, with kube-proxy's own kubeconfig: takes over, tells, puts back what others change, and leaves nothing", async () => {
  const [node] = cluster.nodes;
  assert.ok(node);
  await underTraffic(async () => {
    await stopKubeProxy(node);
    const agent = await startAgent(node);
    assert.match(agent.log(), /took over from kube-proxy: removed .*ip kube-proxy/);
    assert.doesNotMatch(node.run("nft", "list", "tables"), /kube-proxy/);
    await everybodyIsAnswered();

    for (const path of ["healthz", "livez"])
      assert.match(get(node, `http://${node.addresses[0]}:10256/${path}`), /"lastUpdated"/);
    assert.equal(get(node, "http://127.0.0.1:10249/proxyMode"), "nftables");
    const metrics = get(node, "http://127.0.0.1:10249/metrics");
    assert.match(metrics, /^kubeproxy_sync_proxy_rules_duration_seconds_count [1-9]/m);
    await toldOfNode("TookOverFromKubeProxy");

    const shown = node.run(...fairlead, "show", "services", "--here");
    assert.match(shown, /^10\.96\.7\.1:80\/tcp +one of 2 +# Service shop\/web spec\.ports\[0\]$/m);
    assert.match(shown, /^ +10\.96\.7\.1:80\/tcp +\d+ connections$/m);

    // Somebody else's hand: an endpoint's element is taken out of the map.
    const map = node.run("nft", "-j", "list", "map", "ip", "fairlead", "services");
    assert.match(map, new RegExp(webAddress.replaceAll(".", "\\.")));
    node.run("nft", "flush", "map", "ip", "fairlead", "services");
    await until("the map to be put back", 30, () =>
      node.run("nft", "-j", "list", "map", "ip", "fairlead", "services").includes(webAddress),
    );
    await toldOfNode("DriftPutBack");
    assert.deepEqual(refusals(agent.log()), []);

    // Back: kube-proxy first, so that no new connection is lost either.
    await startKubeProxy(node);
    await toldOfNode("KubeProxyRuns");
    await agent.end();
    node.run(...fairlead, "agent", "cleanup");
    nothingIsLeft(node);
    await everybodyIsAnswered();
  });
});

test("the chart with agent.servicesOnly in place of all kube-proxies, and back", async () => {
  await underTraffic(async () => {
    for (const node of cluster.nodes) await stopKubeProxy(node);
    const chart = `${chartDefinitions()}\n---\n${clusterChart({ servicesOnly: true }, { enabled: false })}`;
    await cluster.apply(parseManifests(chart, "deploy/chart").objects);
    await until("the agents to be ready", 120, () => allReady("kube-system", "k8s-app=fairlead-agent", 2));
    for (const node of cluster.nodes) assert.doesNotMatch(node.run("nft", "list", "tables"), /kube-proxy/);
    await everybodyIsAnswered();
    for (const node of cluster.nodes)
      assert.deepEqual(
        refusals(node.run("sh", "-c", "cat /run/pod-logs/kube-system_fairlead-agent-*/agent/*.log")),
        [],
      );

    await cluster.client.request({
      method: "DELETE",
      path: "/apis/apps/v1/namespaces/kube-system/daemonsets/fairlead-agent",
    });
    await until(
      "the agents to be gone",
      120,
      async () => (await pods("kube-system", "k8s-app=fairlead-agent")).length === 0,
    );
    await Promise.all(cluster.nodes.map(startKubeProxy));
    for (const node of cluster.nodes) {
      node.run(...fairlead, "agent", "cleanup");
      nothingIsLeft(node);
    }
    await everybodyIsAnswered();
  });
});

/** What a cluster with the bridge plugin and routes between its nodes has: no policies, no Services. */
async function givePodsABridge(): Promise<void> {
  const rangesOf = new Map<string, readonly string[]>();
  await until("nodes to have ranges for pods", 60, async () => {
    const { items } = await cluster.client.request<{
      readonly items: readonly (KubeObject & { readonly spec: { readonly podCIDRs?: readonly string[] } })[];
    }>({ path: "/api/v1/nodes" });
    for (const { metadata, spec } of items) if (spec.podCIDRs?.length === 2) rangesOf.set(metadata.name, spec.podCIDRs);
    return rangesOf.size === cluster.nodes.length;
  });
  for (const node of cluster.nodes) {
    for (const other of cluster.nodes)
      for (const [index, range] of (rangesOf.get(other.name) ?? []).entries())
        if (other !== node) node.run("ip", "route", "add", range, "via", other.addresses[index] ?? "");
    const conflist = {
      cniVersion: "1.0.0",
      name: "bridge",
      plugins: [
        {
          type: "bridge",
          bridge: "cni0",
          isDefaultGateway: true,
          hairpinMode: true,
          ipam: {
            type: "host-local",
            dataDir: "/run/cni-addresses",
            ranges: (rangesOf.get(node.name) ?? []).map((subnet) => [{ subnet }]),
          },
        },
      ],
    };
    // docs/agent.md, "Beside a bridge".
    const settings = [
      "net/bridge/bridge-nf-call-iptables",
      "net/bridge/bridge-nf-call-ip6tables",
      "net/ipv4/ip_forward",
      "net/ipv6/conf/all/forwarding",
    ];
    node.run("ip", "link", "add", "cni0", "type", "bridge");
    for (const setting of settings) node.run("sh", "-c", `echo 1 > /proc/sys/${setting}`);
    node.run("cp", "/usr/lib/cni/bridge", "/usr/lib/cni/host-local", "/opt/cni/bin/");
    node.run("sh", "-c", `echo '${JSON.stringify(conflist)}' > /etc/cni/net.d/10-bridge.conflist`);
  }
}

function service(name: string, clusterIP: string, port: Readonly<Record<string, number>>): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace },
    spec: {
      type: "nodePort" in port ? "NodePort" : "ClusterIP",
      selector: { app: name },
      clusterIP,
      ipFamilyPolicy: "RequireDualStack",
      ports: [port],
    },
  };
}

/** Pods by the Service's addresses, the outside by every node's. */
async function everybodyIsAnswered(): Promise<void> {
  const { spec } = await cluster.client.request<{ readonly spec: { readonly clusterIPs: readonly string[] } }>({
    path: `/api/v1/namespaces/${namespace}/services/web`,
  });
  const home = nodeOf(await podNamed("client"));
  const answer = /^web-node-[12]$/;
  for (const address of spec.clusterIPs)
    await until(`an answer to a pod from ${address}`, 30, () => {
      const { output } = fetchFrom(home, "client", `http://${bracketed(address)}/hostname`);
      return answer.test(output) || output;
    });
  for (const { addresses } of cluster.nodes)
    for (const address of addresses)
      await until(`an answer to the outside at ${address}`, 30, () =>
        answer.test(fetchFromOutside(`http://${bracketed(address)}:${webPort}/hostname`)),
      );
}

async function startKubeProxy(node: RealNode): Promise<void> {
  const config = path.join(folder, `kube-proxy-${node.name}.yaml`);
  const kubeconfig = path.join(cluster.folder, "kube-proxy.kubeconfig");
  const clusterCidr = ranges.pods.join(",");
  writeFileSync(config, kubeProxyConfiguration({ mode: "nftables", kubeconfig, node: node.name, clusterCidr }));
  const child = node.start("kube-proxy", peer("kube-proxy"), "--config", config, "--v", "2");
  proxies.set(node.name, child);
  await until(`kube-proxy of ${node.name} to have written its tables`, 60, () =>
    ["ip", "ip6"].every((family) => hasTable(node, `${family} kube-proxy`)),
  );
}

/** As its DaemonSet is deleted: it leaves its rules behind. */
async function stopKubeProxy(node: RealNode): Promise<void> {
  const child = proxies.get(node.name);
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  await once(child, "exit");
}

interface HandAgent {
  log(): string;
  end(): Promise<void>;
}

async function startAgent(node: RealNode): Promise<HandAgent> {
  const kubeconfig = path.join(cluster.folder, "kube-proxy.kubeconfig");
  const words = ["agent", "--kubeconfig", kubeconfig, "--node", node.name, "--only", "services"];
  const child = node.start("agent", ...fairlead, ...words, "--cluster-cidr", ranges.pods.join(","));
  const log = (): string => readFileSync(path.join(cluster.folder, "logs", `agent-${node.name}.log`), "utf8");
  await until("the agent to have taken over", 60, () => log().includes("took over from kube-proxy") || log());
  return {
    log,
    async end() {
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
}

/** What a URL answers to a program on the node. */
function get(node: RealNode, url: string): string {
  return node.run(process.execPath, "-e", getter, url).trim();
}

/** Resolves when an Event of the first node has this reason. */
async function toldOfNode(reason: string): Promise<void> {
  await until(`Event ${reason}`, 90, async () => {
    const { items } = await cluster.client.request<{
      readonly items: readonly {
        readonly involvedObject: { readonly kind: string; readonly name: string };
        readonly reason: string;
      }[];
    }>({ path: "/api/v1/events" });
    const told = items
      .filter(({ involvedObject }) => involvedObject.kind === "Node" && involvedObject.name === "node-1")
      .map((event) => event.reason);
    return told.includes(reason) || told;
  });
}

function refusals(log: string): readonly string[] {
  return log.split("\n").filter((line) => /\b403\b|forbidden/i.test(line));
}

function hasTable(node: RealNode, name: string): boolean {
  return node.run("nft", "list", "tables").split("\n").includes(`table ${name}`);
}

function nothingIsLeft(node: RealNode): void {
  assert.doesNotMatch(node.run("nft", "list", "tables"), /fairlead/);
  assert.doesNotMatch(node.run("ip", "-o", "link"), /cbr0|fl\./);
  assert.equal(node.run("sh", "-c", "ip route show proto 241; ip -6 route show proto 241"), "");
  assert.doesNotMatch(node.run("sh", "-c", "ls /etc/cni/net.d /opt/cni/bin"), /fairlead/);
}
