// What policies decide is seen: counted by policy in the kernel, told line by line, and given as metrics; and what counts is no drift.
// Needs: nft

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";

import { untoldLines } from "../../src/agent/policy-counts.ts";
import type { NetworkNamespace } from "../../src/kernel/namespaces.ts";
import { tcpSocketFd } from "../../src/kernel/sockets.ts";
import type { Pod } from "../../src/kube/kinds.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { applyObjects } from "../../src/lab/control-objects.ts";
import type { Lab, LabNode } from "../../src/lab/lab.ts";
import { probeTcp, probeUdp } from "../../src/lab/network/probe.ts";
import { countsAt } from "../../src/agent/show-policies.ts";
import { readiness } from "../../src/lab/wait.ts";
import { decisionText } from "../../src/program/policy-decisions.ts";
import { nft } from "../../src/program/nftables/nft.testing.ts";
import { clusterPolicy, policy } from "./worlds.testing.ts";
import { withLab } from "../kernel/lab.testing.ts";

void test("connections and drops are counted and told by the policy that decided", async (t) => {
  await withLab(
    async (lab) => {
      const told = {
        ...policy("let", "default", {
          podSelector: { matchLabels: { app: "server" } },
          ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }], ports: [{ port: 8080 }] }],
        }),
        metadata: { name: "let", namespace: "default", annotations: { "fairlead.dev/policy-log": "accepts" } },
      };
      const same = policy("same", "default", told.spec);
      const guard = clusterPolicy("guard", {
        tier: "Admin",
        priority: 1,
        subject: { pods: { podSelector: { matchLabels: { app: "client" } } } },
        egress: [
          {
            name: "no-90",
            action: "Deny",
            to: [{ namespaces: {} }],
            protocols: [{ tcp: { destinationPort: { number: 90 } } }],
          },
          { action: "Pass", to: [{ namespaces: {} }], protocols: [{ tcp: { destinationPort: { number: 8080 } } }] },
        ],
      });
      applyObjects(lab, { objects: [pod("client", "node-1"), pod("server", "node-2"), told, guard] });
      await ready(lab);
      const [client, server] = [nodeOf(lab, "node-1"), nodeOf(lab, "node-2")];
      const from = sandbox(lab, "client");
      const to = { address: addressOf(lab, "server"), timeoutMs: 400 };
      // More than the kernel tells at once, also of a machine with much else to do.
      const outcomes = await Promise.all(
        Array.from({ length: many }, async () => probeTcp(from, { ...to, timeoutMs: 20_000, port: 8080 })),
      );
      for (const { outcome } of outcomes) assert.equal(outcome, "answered");
      for (const port of [90, 81, 82]) assert.equal((await probeTcp(from, { ...to, port })).outcome, "timeout");
      assert.equal((await probeUdp(from, { ...to, port: 53, send: "x" })).outcome, "timeout");

      assert.deepEqual(seen(lab, client), [
        { what: "drop egress guard spec.egress[0]", packets: 1, connections: 0, lines: 1, untold: 0 },
        { what: "pass egress guard spec.egress[1]", packets: many, connections: 0, lines: 0, untold: 0 },
      ]);
      const [accepts, drops] = seen(lab, server);
      assert.deepEqual(drops, { what: "drop ingress default/let", packets: 3, connections: 0, lines: 3, untold: 0 });
      assert.equal(accepts?.what, "accept ingress default/let");
      assert.deepEqual([accepts.packets, accepts.connections], [many, many]);
      assert.equal(accepts.lines + accepts.untold, many);
      assert.ok(accepts.untold > 0, "so many at once are more than the limit");

      await t.test("a line names both ends, node, port, direction and who decided", () => {
        const ends = `default/client (${addressOf(lab, "client")}) → default/server (${addressOf(lab, "server")})`;
        assert.deepEqual(flows(client), [
          `policy drop: ${ends} 90/tcp, egress of default/client on node-1: denied by ClusterNetworkPolicy guard spec.egress[0] "no-90" (tier Admin)`,
        ]);
        const lines = flows(server);
        assert.equal(lines.filter((line) => line.startsWith("policy accept: ")).length, accepts.lines);
        assert.ok(
          lines.includes(
            `policy accept: ${ends} 8080/tcp, ingress of default/server on node-2: let in by NetworkPolicy default/let`,
          ),
        );
        assert.ok(
          lines.includes(
            `policy drop: ${ends} 53/udp, ingress of default/server on node-2: isolated by NetworkPolicy default/let, which does not let it in`,
          ),
        );
      });

      await t.test("metrics of the node", async () => {
        const namespace = server.machine?.namespace ?? assert.fail("no machine");
        const text = await get(namespace, "127.0.0.1", 10249, "/metrics");
        const labels = 'node="node-2",kind="NetworkPolicy",policy="default/let",direction="ingress"';
        assert.match(text, new RegExp(`^fairlead_policy_packets_total\\{${labels},verdict="drop"\\} 3$`, "m"));
        assert.match(text, new RegExp(`^fairlead_policy_connections_total\\{${labels}\\} ${many}$`, "m"));
        const lost = `fairlead_policy_log_lines_lost_total{node="node-2",reason="limit"} ${accepts.untold}`;
        assert.ok(text.includes(`${lost}\n`), text);
        assert.match(text, /^fairlead_programming_duration_seconds_count\{node="node-2"\} [1-9]\d*$/m);
      });

      await t.test("counters stay when nft lists and loads them again, and are no drift", () => {
        assert.deepEqual(server.agent?.drift(), []);
        const namespace = server.machine?.namespace ?? assert.fail("no machine");
        const before = seen(lab, server);
        const text = namespace.run(() => nft(["list", "table", "ip", "fairlead"]));
        assert.match(text, /0x[0-9a-f]{8} counter packets 100 bytes \d+ comment "accept ingress default\/let"/);
        namespace.run(() => nft(["-f", "-"], `delete table ip fairlead\n${text}`));
        assert.deepEqual(seen(lab, server), before);
      });

      await t.test(
        "where several policies' elements are one, all are named; what was counted before is told apart",
        async () => {
          applyObjects(lab, { objects: [same] });
          await lab.programmed();
          assert.equal((await probeTcp(from, { ...to, port: 8080 })).outcome, "answered");
          const both = seen(lab, server).find(({ what }) => what === "accept ingress default/let, default/same");
          assert.deepEqual([both?.packets, both?.connections], [1, 1]);
        },
      );
    },
    { nodes: 2 },
  );
});

const many = 100;

interface Seen {
  readonly what: string;
  readonly packets: number;
  readonly connections: number;
  readonly lines: number;
  readonly untold: number;
}

function seen(lab: Lab, node: LabNode): readonly Seen[] {
  const network = lab.network();
  const counts = countsAt({
    network,
    node: network.nodes.find(({ name }) => name === node.name),
    attachments: node.attachments.list(),
    kernel: node.machine?.kernel,
  });
  return counts
    .map((count) => {
      const { decision, packets, connections, lines } = count;
      return { what: decisionText(decision), packets, connections, lines, untold: untoldLines(count) };
    })
    .sort((a, b) => (a.what < b.what ? -1 : 1));
}

/** The flow log's lines, without time. */
function flows(node: LabNode): readonly string[] {
  const lines: string[] = [];
  node.log.follow((line) => void lines.push(line)).close();
  return lines.flatMap((line) => /^\S+ (policy (?:drop|accept): .*)$/.exec(line)?.[1] ?? []);
}

function pod(name: string, nodeName: string): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", labels: { app: name } },
    spec: {
      nodeName,
      containers: [
        { name: "main", image: "registry.k8s.io/e2e-test-images/agnhost:2.53", args: ["netexec", "--http-port=8080"] },
      ],
    },
  };
}

function nodeOf(lab: Lab, name: string): LabNode {
  return lab.nodes().get(name) ?? assert.fail(`no node ${name}`);
}

function sandbox(lab: Lab, name: string): NetworkNamespace {
  const found = [...lab.nodes().values()].map((node) => node.kubelet?.sandboxOf({ namespace: "default", pod: name }));
  return found.find((each) => each !== undefined) ?? assert.fail(`no pod ${name}`);
}

function addressOf(lab: Lab, name: string): string {
  const found = lab.api.get({ group: "", resource: "pods", namespace: "default", name }) as Pod | undefined;
  return found?.status?.podIP ?? assert.fail(`${name} has no address`);
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

async function get(namespace: NetworkNamespace, host: string, port: number, path: string): Promise<string> {
  const socket = new net.Socket({ fd: tcpSocketFd(namespace, 4) });
  socket.connect({ host, port });
  socket.end(`GET ${path} HTTP/1.0\r\nhost: test\r\n\r\n`);
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
  await once(socket, "close");
  return text;
}
