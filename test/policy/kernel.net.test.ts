// What random policies do not show: connections that outlive a change, what a drop says, nft beside us, a pod's first packet.
// Needs: nft

import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";

import { createNetworkNamespace, type NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { createNftablesSocket } from "../../src/kernel/nftables.ts";
import { tcpSocketFd } from "../../src/kernel/sockets.ts";
import type { Event, NetworkPolicy, Pod } from "../../src/kube/kinds.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { applyObjects } from "../../src/lab/control-objects.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { probeTcp } from "../../src/lab/network/probe.ts";
import { readiness } from "../../src/lab/wait.ts";
import { buildNetwork } from "../../src/model/build.ts";
import { compile } from "../../src/program/compile.ts";
import { diffTables, planTable, splitPlan } from "../../src/program/nftables/diff.ts";
import { nft, nftMissing } from "../../src/program/nftables/nft.testing.ts";
import { randomWorld } from "./random.testing.ts";
import { attachmentsOf, clusterObjects, cluster, policy } from "./worlds.testing.ts";
import { withLab } from "../kernel/lab.testing.ts";

void test("nft lists the tables of policies and loads them again to the same", { skip: nftMissing() }, () => {
  const namespace = createNetworkNamespace();
  const socket = createNftablesSocket(namespace);
  try {
    for (const seed of [3, 5, 11]) {
      const world = randomWorld(seed);
      const network = buildNetwork(cluster, clusterObjects(world));
      const program = compile(network, "node-1", attachmentsOf(world).get("node-1") ?? []);
      for (const table of program.tables.filter(({ family }) => family !== "bridge")) {
        for (const batch of splitPlan(diffTables(undefined, table), socket.batchBytesMax)) socket.commit(batch);
        const text = namespace.run(() => nft(["list", "ruleset"]));
        namespace.run(() => nft(["flush", "ruleset"]));
        namespace.run(() => nft(["-f", "-"], text));
        assert.equal(
          namespace.run(() => nft(["list", "ruleset"])),
          text,
        );
        assert.deepEqual(planTable(table, socket.table(table.family, table.name)), [], `seed ${seed}`);
        namespace.run(() => nft(["flush", "ruleset"]));
      }
    }
  } finally {
    socket.close();
    namespace.close();
  }
});

for (const mode of ["keep", "strict"] as const) {
  void test(`a connection that began before its policy: ${mode}`, async () => {
    await withLab(
      async (lab) => {
        applyObjects(lab, { objects: twoPods });
        await ready(lab);
        const connection = await open(sandbox(lab, "client"), addressOf(lab, "server"));
        assert.match(await connection.ask("GET /hostname HTTP/1.1\r\nHost: a\r\n\r\n"), /server/);
        applyObjects(lab, { objects: [denyAll] });
        await lab.programmed();
        const answer = await Promise.race([
          connection.ask("GET /hostname HTTP/1.1\r\nHost: a\r\n\r\n"),
          new Promise<string>((resolve) => void setTimeout(resolve, mode === "keep" ? 20_000 : 600, "silence").unref()),
        ]);
        if (mode === "keep") assert.match(answer, /server/);
        else assert.equal(answer, "silence");
        const fresh = await probeTcp(sandbox(lab, "client"), {
          address: addressOf(lab, "server"),
          port: 8080,
          timeoutMs: 400,
        });
        assert.equal(fresh.outcome, "timeout");
        connection.close();
      },
      { nodes: 2, establishedConnections: mode },
    );
  });
}

void test("a pod that a policy selects gets no packet from its first moment on", async (t) => {
  await withLab(
    async (lab) => {
      applyObjects(lab, { objects: [{ ...twoPods[0] } as KubeObject, denyAll] });
      await ready(lab);
      // Every change of the pod is looked at as it comes: once there is an address, nobody may reach it.
      const outcomes: Promise<string>[] = [];
      const watch = lab.api.watch({ group: "", resource: "pods" }, lab.api.revision, (event) => {
        if (event.type === "BOOKMARK" || event.object.metadata.name !== "late") return;
        const address = (event.object as Pod).status?.podIP;
        if (address === undefined) return;
        const target = { address, port: 8080, timeoutMs: 400 };
        outcomes.push(probeTcp(sandbox(lab, "client"), target).then(({ outcome }) => outcome));
      });
      const late = { ...twoPods[1], metadata: { name: "late", namespace: "default" } } as KubeObject;
      applyObjects(lab, { objects: [late] });
      await ready(lab);
      // A watch tells a little later than a list.
      await t.waitFor(() => assert.ok(outcomes.length > 0), { timeout: 10_000 });
      watch.close();
      assert.deepEqual([...new Set(await Promise.all(outcomes))], ["timeout"]);
    },
    { nodes: 2 },
  );
});

void test("drops are counted by the rule that says so, and policies that are off stop nothing and are said", async () => {
  await withLab(
    async (lab) => {
      applyObjects(lab, { objects: [...twoPods, denyAll] });
      await ready(lab);
      const target = { address: addressOf(lab, "server"), port: 8080, timeoutMs: 400 };
      assert.equal((await probeTcp(sandbox(lab, "client"), target)).outcome, "timeout");
      const text = await eventually(() => dropEvents(lab)[0]);
      const ends = [addressOf(lab, "client"), addressOf(lab, "server")];
      assert.equal(
        text,
        `policy drop: default/client (${ends[0]}) → default/server (${ends[1]}) 8080/tcp, ingress of default/server on node-2: ` +
          "isolated by NetworkPolicy default/deny, which does not let it in",
      );
      const dropped = lab
        .nodes()
        .get("node-2")
        ?.machine?.namespace.run(() => nft(["list", "chain", "ip", "fairlead", "policy-dropped"]));
      assert.match(dropped ?? "", /counter packets [1-9]/);
    },
    { nodes: 2 },
  );
  await withLab(
    async (lab) => {
      applyObjects(lab, { objects: [...twoPods, denyAll] });
      await ready(lab);
      const target = { address: addressOf(lab, "server"), port: 8080, timeoutMs: 2000 };
      assert.equal((await probeTcp(sandbox(lab, "client"), target)).outcome, "answered");
      assert.match(
        lab
          .network()
          .problems.map(({ message }) => message)
          .join("\n"),
        /is not enforced/,
      );
    },
    { nodes: 2, policy: "off" },
  );
});

const denyAll: NetworkPolicy = policy("deny", "default", { podSelector: {}, policyTypes: ["Ingress"] });

const twoPods: readonly KubeObject[] = [
  ["client", "node-1"],
  ["server", "node-2"],
].map(([name, nodeName]) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: name ?? "", namespace: "default" },
  spec: {
    nodeName,
    containers: [
      { name: "main", image: "registry.k8s.io/e2e-test-images/agnhost:2.53", args: ["netexec", "--http-port=8080"] },
    ],
  },
}));

function dropEvents(lab: Lab): readonly string[] {
  const events = lab.api.list({ group: "", resource: "events" }).items as readonly Event[];
  return events.filter(({ reason }) => reason === "PolicyDrop").map(({ message }) => message ?? "");
}

async function eventually<T>(look: () => T | undefined): Promise<T> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    assert.ok(performance.now() < deadline, "it did not come");
    await new Promise((resolve) => void setTimeout(resolve, 20));
  }
}

async function ready(lab: Lab): Promise<void> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    await lab.programmed();
    const { missing } = readiness(lab.api);
    // A watch tells a little later than a list.
    const isKnown = lab.network().pods.every(({ addresses }) => addresses.length > 0);
    if (missing.length === 0 && isKnown) return;
    assert.ok(performance.now() < deadline, `not ready: ${missing.join("; ")}`);
    await new Promise((resolve) => void setTimeout(resolve, 50));
  }
}

function sandbox(lab: Lab, pod: string): NetworkNamespace {
  const found = [...lab.nodes().values()].map((node) => node.kubelet?.sandboxOf({ namespace: "default", pod }));
  return found.find((each) => each !== undefined) ?? assert.fail(`no pod ${pod}`);
}

function addressOf(lab: Lab, name: string): string {
  const pod = lab.api.get({ group: "", resource: "pods", namespace: "default", name }) as Pod | undefined;
  return pod?.status?.podIP ?? assert.fail(`${name} has no address`);
}

async function open(
  namespace: NetworkNamespace,
  address: string,
): Promise<{ ask(text: string): Promise<string>; close(): void }> {
  const socket = new net.Socket({ fd: tcpSocketFd(namespace, 4) });
  socket.setEncoding("utf8");
  socket.on("error", () => {});
  await new Promise<void>((resolve) => void socket.connect({ host: address, port: 8080 }, resolve));
  return {
    ask(text) {
      const answer = new Promise<string>((resolve) => void socket.once("data", (data) => resolve(String(data))));
      socket.write(text);
      return answer;
    },
    close: () => void socket.destroy(),
  };
}
