// `fairlead agent` for everything: pods by CNI on two nodes, through restarts, until it is uninstalled.
// Needs: nft

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { after, afterEach, before, describe, test } from "node:test";

import { createNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import type { Node } from "../../src/kube/kinds.ts";
import type { ObjectKey } from "../../src/lab/api/store.ts";
import { createTopology, type Machine, type Topology } from "../../src/lab/network/topology.ts";
import { ask, closeServers, ownRoutes, serve, tables } from "./agent-node.testing.ts";
import { endAll, nodeObject, runFairlead, startApi, type AgentProcess, type TestApi } from "./agent.testing.ts";

describe("for everything", () => {
  let topology: Topology;
  let api: TestApi;
  const machines = new Map<string, Machine>();
  before(async () => {
    topology = createTopology({ families: [4, 6], nodeCidrs: ["172.18.0.0/16", "fd00:172:18::/64"] });
    for (const index of [1, 2]) {
      const name = `node-${index}`;
      machines.set(name, topology.addNode(name, [`172.18.0.1${index}`, `fd00:172:18::1${index}`]));
    }
    api = await startApi([...machines.values()].map(({ namespace }) => namespace));
    // The node controller has not come by yet: no ranges.
    for (const [name, { addresses }] of machines) api.api.create(nodeObject(name, addresses, []));
  });
  afterEach(endAll);
  after(() => {
    api.close();
    topology.close();
  });

  const machine = (name: string): Machine => {
    const found = machines.get(name);
    assert.ok(found);
    return found;
  };
  const places = (name: string): readonly string[] => [
    `--state-dir=${join(api.folder, name, "state")}`,
    `--cni-dir=${join(api.folder, name, "cni")}`,
    `--cni-bin-dir=${join(api.folder, name, "bin")}`,
    `--cni-conf-dir=${join(api.folder, name, "net.d")}`,
  ];
  const start = (name: string, ...more: readonly string[]): AgentProcess => {
    const reach = [`--kubeconfig=${api.kubeconfig}`, `--node=${name}`];
    return runFairlead(machine(name).namespace, "agent", ...reach, ...places(name), ...more);
  };
  const giveRange = (name: string, podCidrs: readonly string[]): void => {
    const key = { group: "", resource: "nodes", name };
    const object = api.api.get(key) as Node;
    api.api.update({ ...object, spec: { ...object.spec, podCIDRs: podCidrs } });
  };
  /** What a runtime does. */
  const cni = (
    name: string,
    command: string,
    pod: { readonly id: string; readonly namespace: NetworkNamespace; readonly path: string },
  ): { readonly status: number | null; readonly stdout: string } =>
    machine(name).namespace.run(() =>
      spawnSync(join(api.folder, name, "bin", "fairlead-cni"), [], {
        input: JSON.stringify({ cniVersion: "1.0.0", name: "fairlead", type: "fairlead-cni" }),
        env: {
          PATH: process.env.PATH,
          CNI_COMMAND: command,
          CNI_CONTAINERID: pod.id,
          CNI_NETNS: pod.path,
          CNI_IFNAME: "eth0",
          CNI_ARGS: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod.id};K8S_POD_UID=${pod.id}`,
        },
        encoding: "utf8",
      }),
    );

  const addPod = (
    name: string,
  ): {
    readonly id: string;
    readonly namespace: NetworkNamespace;
    readonly path: string;
    readonly addresses: readonly string[];
  } => {
    const namespace = createNetworkNamespace();
    const pod = { id: `on-${name}`, namespace, path: `/proc/${process.pid}/fd/${namespace.fd}` };
    const result = cni(name, "ADD", pod);
    assert.equal(result.status, 0, result.stdout);
    const ips = JSON.parse(result.stdout).ips as { address: string }[];
    serve(namespace, pod.id);
    return { ...pod, addresses: ips.map(({ address }) => address.split("/")[0] ?? "") };
  };

  void test("pods come when the node has ranges, reach each other across nodes, outlive their agent; uninstall leaves nothing", async () => {
    const before = machine("node-1").kernel.links().length;
    const agents = ["node-1", "node-2"].map((name) => start(name));
    await Promise.all(agents.map((agent) => agent.says(/has no pod ranges yet/)));
    assert.deepEqual(listOf(join(api.folder, "node-1", "net.d")), [], "no configuration before there is a network");
    giveRange("node-1", ["10.244.1.0/24", "fd00:10:244:1::/64"]);
    giveRange("node-2", ["10.244.2.0/24", "fd00:10:244:2::/64"]);
    await Promise.all(agents.map((agent) => agent.says(/NetworkUnavailable is False/)));
    const conditions = (api.api.get({ group: "", resource: "nodes", name: "node-1" }) as Node).status?.conditions;
    assert.equal(conditions?.find(({ type }) => type === "NetworkUnavailable")?.status, "False");
    assert.deepEqual(
      JSON.parse(readFileSync(join(api.folder, "node-1", "net.d", "05-fairlead.conflist"), "utf8")).plugins[0].type,
      "fairlead-cni",
    );
    const pods = ["node-1", "node-2"].map(addPod);
    const [one, two] = pods;
    assert.ok(one && two);
    for (const [family, address] of two.addresses.entries()) {
      const result = await ask(one.namespace, address, 8080);
      assert.equal(result.said?.trim(), `on-node-2 ${one.addresses[family]}`);
    }
    await agents[0]?.end("SIGKILL");
    assert.equal((await ask(one.namespace, two.addresses[0] ?? "", 8080)).outcome, "answered");
    const again = start("node-1");
    await again.says(/programmed 0 changes/);
    const showing = runFairlead(machine("node-1").namespace, "show", "ipam", "--here", ...places("node-1").slice(1, 2));
    assert.equal(await showing.ended, 0, showing.lines.join("\n"));
    assert.match(showing.lines.join("\n"), new RegExp(one.addresses[0] ?? "none"));
    await again.end();
    await agents[1]?.end();
    for (const name of machines.keys()) {
      // As an agent leaves them that is killed while it writes.
      for (const begun of ["state/attachments.json", "bin/fairlead-cni", "net.d/05-fairlead.conflist"])
        writeFileSync(join(api.folder, name, `${begun}.new`), "half");
      const uninstalling = runFairlead(machine(name).namespace, "uninstall", ...places(name));
      assert.equal(await uninstalling.ended, 0, uninstalling.lines.join("\n"));
      assert.deepEqual(tables(machine(name).namespace), []);
      assert.deepEqual(listOf(join(api.folder, name)), ["bin", "net.d"]);
      assert.deepEqual([...listOf(join(api.folder, name, "bin")), ...listOf(join(api.folder, name, "net.d"))], []);
      assert.deepEqual(ownRoutes(machine(name)), []);
    }
    assert.equal(machine("node-1").kernel.links().length, before);
    closeServers();
    for (const { namespace } of pods) namespace.close();
  });

  void test("a cluster that gives nodes no ranges: agents divide one among themselves, and say it again on a Node made anew", async ({
    signal,
  }) => {
    const key = (name: string): ObjectKey => ({ group: "", resource: "nodes", name });
    const makeAnew = (name: string): void => {
      api.api.delete(key(name));
      api.api.create(nodeObject(name, machine(name).addresses, []));
    };
    for (const name of machines.keys()) makeAnew(name);
    api.api.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: "kube-system" } });
    const pool = ["--allocate-node-cidrs", "--cluster-cidr=10.244.0.0/16,fd00:10:244::/56"];
    const agents = [...machines.keys()].map((name) => start(name, ...pool));
    await Promise.all(agents.map((agent) => agent.says(/NetworkUnavailable is False/)));
    const { data } = api.api.get({
      group: "",
      resource: "configmaps",
      namespace: "kube-system",
      name: "fairlead-node-ranges",
    }) as unknown as { readonly data: Readonly<Record<string, string>> };
    assert.deepEqual(Object.keys(data).toSorted(), ["node-1", "node-2"]);
    assert.deepEqual(Object.values(data).toSorted(), [
      "10.244.0.0/24,fd00:10:244::/64",
      "10.244.1.0/24,fd00:10:244:1::/64",
    ]);
    const pods = [...machines.keys()].map(addPod);
    const [one, two] = pods;
    assert.ok(one && two);
    await reaches(one, two, signal);
    makeAnew("node-2");
    const isSaid = (): boolean =>
      (api.api.get(key("node-2")) as Node).metadata.annotations?.["fairlead.dev/pod-cidrs"] === data["node-2"];
    await new Promise<void>((resolve) => {
      const look = (): void => void (isSaid() && resolve());
      const watch = api.api.watch({ group: "", resource: "nodes" }, api.api.revision, look);
      signal.addEventListener("abort", () => watch.close());
      look();
    });
    await reaches(one, two, signal);
    for (const agent of agents) await agent.end();
    for (const name of machines.keys())
      assert.equal(await runFairlead(machine(name).namespace, "uninstall", ...places(name)).ended, 0);
    closeServers();
    for (const { namespace } of pods) namespace.close();
  });

  /** In every family, sooner or later: nodes hear of each other one after another. */
  const reaches = async (
    from: { readonly namespace: NetworkNamespace },
    to: { readonly addresses: readonly string[] },
    signal: AbortSignal,
  ): Promise<void> => {
    for (const address of to.addresses) {
      let outcome = "";
      while (outcome !== "answered" && !signal.aborted) ({ outcome } = await ask(from.namespace, address, 8080));
    }
  };
});

function listOf(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
