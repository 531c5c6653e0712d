import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { Affinity, Node, Pod, TopologySpreadConstraint } from "../../../kube/kinds.ts";
import { deployment, testCluster, testNode, type TestCluster } from "../cluster.testing.ts";
import { conditionOf } from "../conditions.ts";
import { events, nodes, pods } from "../resources.ts";

type Spec = Partial<Pod["spec"]>;

function pod(name: string, spec: Spec = {}, labels: Readonly<Record<string, string>> = {}): Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels },
    spec: { containers: [{ name: "main", image: "nginx" }], ...spec },
  };
}

const zone = (name: string): Readonly<Record<string, string>> => ({ "topology.kubernetes.io/zone": name });
const hostPort = (port: number, hostIP?: string): Spec => ({
  containers: [
    {
      name: "main",
      image: "nginx",
      ports: [{ containerPort: 80, hostPort: port, ...(hostIP === undefined ? {} : { hostIP }) }],
    },
  ],
});
const required = (key: string, values: readonly string[]): Affinity => ({
  nodeAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: {
      nodeSelectorTerms: [{ matchExpressions: [{ key, operator: "In", values }] }],
    },
  },
});
const near = (app: string, topologyKey: string): Affinity => ({
  podAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: [{ labelSelector: { matchLabels: { app } }, topologyKey }],
  },
});
const far = (app: string, topologyKey: string): Affinity => ({
  podAntiAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: [{ labelSelector: { matchLabels: { app } }, topologyKey }],
  },
});
const spread = (more: Partial<TopologySpreadConstraint>): Spec => ({
  topologySpreadConstraints: [
    {
      maxSkew: 1,
      topologyKey: "topology.kubernetes.io/zone",
      whenUnsatisfiable: "DoNotSchedule",
      labelSelector: { matchLabels: { app: "web" } },
      ...more,
    },
  ],
});

const hostname = "kubernetes.io/hostname";
const zoneKey = "topology.kubernetes.io/zone";
const none = (reason: string, count = 3): string =>
  `0/${count} nodes are available: ${reason}. preemption: 0/${count} nodes are available: ${count} Preemption is not helpful for scheduling.`;

interface Case {
  readonly what: string;
  readonly nodes?: readonly Node[];
  /** Pods that are there first, already placed. */
  readonly there?: readonly Pod[];
  readonly pod: Pod;
  /** The node, or the scheduler's message. */
  readonly expected: string;
}

const three = [testNode("node-1"), testNode("node-2"), testNode("node-3")];
const zones = [
  testNode("a1", { labels: zone("a") }),
  testNode("a2", { labels: zone("a") }),
  testNode("b1", { labels: zone("b") }),
];
const web = { app: "web" };

const cases: readonly Case[] = [
  { what: "an empty cluster: the first by name", pod: pod("p"), expected: "node-1" },
  {
    what: "the emptiest node",
    there: [pod("x", { nodeName: "node-1" }), pod("y", { nodeName: "node-2" })],
    pod: pod("p"),
    expected: "node-3",
  },
  { what: "no nodes", nodes: [], pod: pod("p"), expected: "no nodes available to schedule pods" },
  {
    what: "nodeSelector",
    nodes: [...three, testNode("ssd", { labels: { disk: "ssd" } })],
    pod: pod("p", { nodeSelector: { disk: "ssd" } }),
    expected: "ssd",
  },
  {
    what: "a nodeSelector that nothing has",
    pod: pod("p", { nodeSelector: { disk: "ssd" } }),
    expected: none("3 node(s) didn't match Pod's node affinity/selector"),
  },
  { what: "required node affinity", pod: pod("p", { affinity: required(hostname, ["node-2"]) }), expected: "node-2" },
  {
    what: "preferred node affinity",
    there: [pod("x", { nodeName: "node-3" })],
    pod: pod("p", {
      affinity: {
        nodeAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            { weight: 10, preference: { matchExpressions: [{ key: hostname, operator: "In", values: ["node-3"] }] } },
          ],
        },
      },
    }),
    expected: "node-3",
  },
  {
    what: "taints",
    nodes: [
      testNode("node-1", { spec: { taints: [{ key: "dedicated", value: "db", effect: "NoSchedule" }] } }),
      testNode("node-2", { spec: { unschedulable: true } }),
      testNode("node-3", { spec: { taints: [{ key: "broken", effect: "NoExecute" }] } }),
    ],
    pod: pod("p"),
    expected: none(
      "1 node(s) had untolerated taint {broken: }, 1 node(s) had untolerated taint {dedicated: db}, 1 node(s) were unschedulable",
    ),
  },
  {
    what: "a tolerated taint",
    nodes: [testNode("node-1", { spec: { taints: [{ key: "dedicated", value: "db", effect: "NoSchedule" }] } })],
    pod: pod("p", { tolerations: [{ key: "dedicated", value: "db" }] }),
    expected: "node-1",
  },
  {
    what: "PreferNoSchedule is the last choice",
    nodes: [
      testNode("node-1", { spec: { taints: [{ key: "slow", effect: "PreferNoSchedule" }] } }),
      testNode("node-2"),
    ],
    there: [pod("x", { nodeName: "node-2" }), pod("y", { nodeName: "node-2" })],
    pod: pod("p"),
    expected: "node-2",
  },
  {
    what: "a host port that is taken everywhere",
    there: three.map(({ metadata }) => pod(`x-${metadata.name}`, { nodeName: metadata.name, ...hostPort(80) })),
    pod: pod("p", hostPort(80, "10.0.0.1")),
    expected: none("3 node(s) didn't have free ports for the requested pod ports"),
  },
  {
    what: "the same host port on another address",
    nodes: [testNode("node-1")],
    there: [pod("x", { nodeName: "node-1", ...hostPort(80, "10.0.0.1") })],
    pod: pod("p", hostPort(80, "10.0.0.2")),
    expected: "node-1",
  },
  {
    what: "near to another pod's zone",
    nodes: zones,
    there: [pod("x", { nodeName: "b1" }, web)],
    pod: pod("p", { affinity: near("web", zoneKey) }),
    expected: "b1",
  },
  {
    what: "near to nobody",
    pod: pod("p", { affinity: near("web", hostname) }),
    expected: none("3 node(s) didn't match pod affinity rules"),
  },
  {
    what: "near to its own kind, as the first of them",
    pod: pod("p", { affinity: near("web", hostname) }, web),
    expected: "node-1",
  },
  {
    what: "away from another pod's zone",
    nodes: zones,
    there: [pod("x", { nodeName: "a2" }, web)],
    pod: pod("p", { affinity: far("web", zoneKey) }),
    expected: "b1",
  },
  {
    what: "away from pods that are everywhere",
    there: three.map(({ metadata }) => pod(`x-${metadata.name}`, { nodeName: metadata.name }, web)),
    pod: pod("p", { affinity: far("web", hostname) }),
    expected: none("3 node(s) didn't match pod anti-affinity rules"),
  },
  {
    what: "pods that want to be away from this one",
    there: three.map(({ metadata }) =>
      pod(`x-${metadata.name}`, { nodeName: metadata.name, affinity: far("web", hostname) }),
    ),
    pod: pod("p", {}, web),
    expected: none("3 node(s) didn't satisfy existing pods anti-affinity rules"),
  },
  {
    what: "preferably away",
    there: [pod("x", { nodeName: "node-1" }, web), pod("y", { nodeName: "node-2" }), pod("z", { nodeName: "node-2" })],
    pod: pod("p", {
      affinity: {
        podAntiAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            { weight: 100, podAffinityTerm: { labelSelector: { matchLabels: web }, topologyKey: hostname } },
          ],
        },
      },
    }),
    expected: "node-3",
  },
  {
    what: "topology spread keeps the skew",
    nodes: zones,
    there: [pod("x", { nodeName: "b1" }, web), pod("y", { nodeName: "a1", ...hostPort(1) })],
    pod: pod("p", spread({}), web),
    expected: "a2",
  },
  {
    what: "topology spread with all allowed nodes too full",
    nodes: zones,
    there: [pod("x", { nodeName: "b1" }, web)],
    pod: pod("p", { ...spread({ nodeAffinityPolicy: "Ignore" }), nodeSelector: zone("b") }, web),
    expected: none(
      "1 node(s) didn't match pod topology spread constraints, 2 node(s) didn't match Pod's node affinity/selector",
    ),
  },
  {
    what: "topology spread over a label that nodes lack",
    pod: pod("p", spread({}), web),
    expected: none("3 node(s) didn't match pod topology spread constraints (missing required label)"),
  },
  {
    what: "topology spread that may be violated",
    nodes: zones,
    there: [pod("x", { nodeName: "b1" }, web), pod("y", { nodeName: "a1" }), pod("z", { nodeName: "a2" })],
    pod: pod("p", spread({ whenUnsatisfiable: "ScheduleAnyway" }), web),
    expected: "a1",
  },
  {
    what: "minDomains not reached",
    nodes: zones,
    there: [pod("x", { nodeName: "b1" }, web), pod("y", { nodeName: "a1" }, web)],
    pod: pod("p", spread({ minDomains: 3 }), web),
    expected: none("3 node(s) didn't match pod topology spread constraints"),
  },
  {
    what: "scheduling gates",
    pod: pod("p", { schedulingGates: [{ name: "example.com/wait" }] }),
    expected: "Scheduling is blocked due to non-empty scheduling gates",
  },
];

const outcome = (cluster: TestCluster, name: string): string => {
  const { spec, status } = cluster.must(pods, name);
  return spec.nodeName ?? conditionOf(status?.conditions, "PodScheduled")?.message ?? "";
};

void describe("scheduler", () => {
  for (const each of cases) {
    void test(each.what, async () => {
      const cluster = await testCluster({ nodes: each.nodes ?? three });
      cluster.create(...(each.there ?? []));
      await cluster.idle();
      cluster.create(each.pod);
      await cluster.idle();
      assert.equal(outcome(cluster, each.pod.metadata.name), each.expected);
      cluster.close();
    });
  }

  void test("pods of a Deployment spread evenly over nodes, and over zones first", async () => {
    const cluster = await testCluster({
      nodes: ["a1", "a2", "b1", "b2"].map((name) => testNode(name, { labels: zone(name.slice(0, 1)) })),
    });
    cluster.create(deployment("two", 2), deployment("eight", 8));
    await cluster.idle();
    const counts = (app: string): Readonly<Record<string, number>> => {
      const found = cluster.list(pods).filter(({ metadata }) => metadata.labels?.["app"] === app);
      return Object.fromEntries(
        Object.entries(Object.groupBy(found, ({ spec }) => spec.nodeName ?? "")).map(([node, list]) => [
          node,
          list?.length ?? 0,
        ]),
      );
    };
    assert.deepEqual(counts("eight"), { a1: 2, a2: 2, b1: 2, b2: 2 });
    assert.deepEqual(new Set(Object.keys(counts("two")).map((node) => node.slice(0, 1))), new Set(["a", "b"]));
    cluster.close();
  });

  void test("a pod that waits is placed when a node comes that does, and says once why it waits", async () => {
    const cluster = await testCluster();
    cluster.create(pod("p", { nodeSelector: { disk: "ssd" } }));
    await cluster.idle();
    assert.equal(conditionOf(cluster.must(pods, "p").status?.conditions, "PodScheduled")?.reason, "Unschedulable");
    cluster.create(pod("q"));
    await cluster.idle();
    cluster.edit(nodes, "node-2", (node) => ({ ...node, metadata: { ...node.metadata, labels: { disk: "ssd" } } }));
    await cluster.idle();
    assert.equal(outcome(cluster, "p"), "node-2");
    assert.equal(conditionOf(cluster.must(pods, "p").status?.conditions, "PodScheduled")?.status, "True");
    const said = cluster.list(events).filter(({ involvedObject }) => involvedObject.name === "p");
    assert.deepEqual(
      new Map(said.map(({ type, reason, count }) => [`${type} ${reason}`, count])),
      new Map([
        ["Normal Scheduled", 1],
        ["Warning FailedScheduling", 1],
      ]),
    );
    cluster.close();
  });

  void test("pods that wait for each other's room are placed when room is made", async () => {
    const cluster = await testCluster({ nodes: 1 });
    cluster.create(pod("p", hostPort(80)));
    await cluster.idle();
    cluster.create(pod("q", hostPort(80)));
    await cluster.settle();
    assert.equal(cluster.must(pods, "q").spec.nodeName, undefined);
    cluster.remove(pods, "p");
    await cluster.settle();
    assert.equal(cluster.must(pods, "q").spec.nodeName, "node-1");
    cluster.close();
  });

  void test("pods of another scheduler are left alone, and say so", async () => {
    const cluster = await testCluster();
    cluster.create(pod("p", { schedulerName: "mine" }));
    await cluster.settle();
    assert.equal(cluster.must(pods, "p").spec.nodeName, undefined);
    assert.deepEqual(
      cluster.list(events).map(({ reason }) => reason),
      ["NotImplemented"],
    );
    cluster.close();
  });
});
