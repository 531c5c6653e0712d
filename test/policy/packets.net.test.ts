// NetworkPolicies by real packets: pods that serve, random policies over them, and every connection between pods and nodes asked of the
// oracle and then of the kernel. SEED=7 ROUNDS=1 runs one set of policies again.

import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";

import { stringify } from "yaml";

import { familyOf } from "../../src/ip/address.ts";
import type { NetworkNamespace } from "../../src/kernel/namespaces.ts";
import type { Namespace, NetworkPolicy, Node, Pod } from "../../src/kube/kinds.ts";
import type { ClusterNetworkPolicy } from "../../src/kube/policy-kinds.ts";
import type { KubeObject } from "../../src/kube/object.ts";
import { objectProblems } from "../../src/kube/check.ts";
import { applyObjects } from "../../src/lab/control-objects.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { ping, probeTcp, probeUdp } from "../../src/lab/network/probe.ts";
import { outsideAddresses } from "../../src/lab/node-object.ts";
import { readiness } from "../../src/lab/wait.ts";
import type { Network } from "../../src/model/network.ts";
import { createDice, randomClusterPolicies, randomPolicies, type Dice } from "./random.testing.ts";
import { addressOf, isOwnAddress, nodeAddress, oracleAnswer, type PolicyWorld } from "./worlds.testing.ts";
import type { Answer, End, Question } from "./oracle.ts";
import { listenForSctp, sendInit, type SctpEar } from "./sctp.testing.ts";
import { withLab } from "../kernel/lab.testing.ts";

const firstSeed = Number(process.env["SEED"] ?? 1);
const rounds = Number(process.env["ROUNDS"] ?? 5);

/** Silence longer than this is a drop: answers take less than a tenth of it on a busy machine. */
const silenceMs = 700;

void test("random policies: the oracle says what packets do", async (t) => {
  await withLab(
    async (lab) => {
      const dice = createDice(firstSeed);
      applyObjects(lab, { objects: manyPods(dice) });
      await ready(lab);
      let asked = 0;
      for (let seed = firstSeed; seed < firstSeed + rounds; seed++) {
        const places = worldOf(lab, [], []);
        const world = worldOf(
          lab,
          randomPolicies(createDice(seed), places),
          randomClusterPolicies(createDice(seed + 5000), places).filter(isValid),
        );
        const all = [...world.policies, ...world.clusterPolicies];
        applyObjects(lab, { objects: all });
        await lab.programmed();
        forgetConnections(lab);
        const wrong = await compare(lab, world);
        asked += wrong.asked;
        assert.deepEqual(
          wrong.found,
          [],
          `seed ${seed}:\n${wrong.found.join("\n")}\n${all.map((each) => stringify(each)).join("---\n")}`,
        );
        for (const { metadata } of world.policies)
          lab.api.delete({
            group: "networking.k8s.io",
            resource: "networkpolicies",
            namespace: metadata.namespace ?? "",
            name: metadata.name,
          });
        for (const { metadata } of world.clusterPolicies)
          lab.api.delete({
            group: "policy.networking.k8s.io",
            resource: "clusternetworkpolicies",
            name: metadata.name,
          });
      }
      t.diagnostic(`${rounds} sets of policies, ${asked} connections`);
    },
    { nodes: 2 },
  );
});

/** Connections go on when policies change: a source port that comes again by chance would be one of those. */
function forgetConnections(lab: Lab): void {
  // IANA: ICMP, TCP, UDP, ICMPv6, SCTP.
  for (const { machine } of lab.nodes().values())
    for (const protocol of [1, 6, 17, 58, 132]) machine?.kernel.flushConnections({ protocol });
}

function manyPods(dice: Dice): readonly KubeObject[] {
  const namespaces = [
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "red", labels: { team: "a" } } },
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "blue" } },
  ];
  const pods = Array.from({ length: 5 }, (_, index) => {
    const labels: Record<string, string> = { app: dice.pick(["web", "api", "db"]), only: `p${index}` };
    if (dice.once(2)) labels["tier"] = dice.pick(["front", "back"]);
    const http = dice.pick([80, 8080]);
    const server = (port: number, udp: number): object => ({
      name: `s-${port}`,
      image: "registry.k8s.io/e2e-test-images/agnhost:2.53",
      args: ["netexec", `--http-port=${port}`, `--udp-port=${udp}`],
      ports: [
        { containerPort: port, ...(port === http && { name: "http" }) },
        { containerPort: udp, protocol: "UDP", ...(udp === 53 && { name: "dns" }) },
      ],
    });
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: `p${index}`, namespace: index % 2 === 0 ? "red" : "blue", labels },
      spec: { nodeName: `node-${1 + (index % 3 === 0 ? 0 : 1)}`, containers: [server(80, 53), server(8080, 80)] },
    };
  });
  const services = pods.map(({ metadata }) => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: metadata.name, namespace: metadata.namespace },
    spec: {
      type: "NodePort",
      ipFamilyPolicy: "PreferDualStack",
      selector: { only: metadata.name },
      ports: [{ name: "http", port: 1000, targetPort: "http" }],
    },
  }));
  return [...namespaces, ...pods, ...services];
}

async function ready(lab: Lab): Promise<void> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    await lab.programmed();
    const { missing } = readiness(lab.api);
    if (missing.length === 0) return;
    assert.ok(performance.now() < deadline, `not ready: ${missing.join("; ")}`);
    await new Promise((resolve) => void setTimeout(resolve, 50));
  }
}

/** What the API takes: objects that are not understood are for the tests without a kernel. */
function isValid(policy: ClusterNetworkPolicy): boolean {
  return objectProblems(policy).length === 0;
}

function worldOf(
  lab: Lab,
  policies: readonly NetworkPolicy[],
  clusterPolicies: readonly ClusterNetworkPolicy[],
): PolicyWorld {
  const all = (resource: string): readonly KubeObject[] => lab.api.list({ group: "", resource }).items;
  const mine = ({ metadata }: KubeObject): boolean => ["red", "blue"].includes(metadata.namespace ?? metadata.name);
  return {
    nodes: all("nodes") as readonly Node[],
    namespaces: (all("namespaces") as readonly Namespace[]).filter(mine),
    pods: (all("pods") as readonly Pod[]).filter(mine),
    policies,
    clusterPolicies,
  };
}

async function compare(lab: Lab, world: PolicyWorld): Promise<{ asked: number; found: readonly string[] }> {
  const found: string[] = [];
  const note = ({ from, to, protocol, port }: Question, expected: Answer, passed: boolean): void => {
    if (passed === (expected.kind === "allowed")) return;
    found.push(
      `${nameOf(from)} -> ${nameOf(to)} ${to.address} ${protocol} ${port}: oracle ${JSON.stringify(expected)}, packet ${passed ? "passed" : "lost"}`,
    );
  };
  const probes = [4 as const, 6 as const].flatMap((family) => [
    ...questionsOf(world, family),
    ...serviceQuestions(world, lab.network().services, family),
  ]);
  const messages = probes.filter(({ question }) => question.protocol === "sctp");
  const arrivals = await sendMessages(lab, messages);
  for (const [index, { question }] of messages.entries())
    note(question, oracleAnswer(world, question), arrivals[index] === true);
  await Promise.all(
    probes.map(async ({ question, namespaceOf, target }) => {
      if (question.protocol === "sctp") return;
      const expected = oracleAnswer(world, question);
      const namespace = namespaceOf(lab);
      assert.ok(namespace);
      const asking = target ?? question;
      // Where an answer is expected, silence counts only when much patience does not help either: the machine may be busy.
      const passed =
        (await passes(namespace, asking, silenceMs)) ||
        (expected.kind === "allowed" && (await passes(namespace, asking, 10 * silenceMs)));
      note(question, expected, passed);
    }),
  );
  return { asked: probes.length, found: found.sort() };
}

/** The first messages of associations, each from a port of its own, and which of them came: this kernel need not have SCTP. */
async function sendMessages(lab: Lab, probes: readonly RealProbe[]): Promise<readonly boolean[]> {
  const ears = new Map<string, SctpEar>();
  const placeOf = ({ question: { to } }: RealProbe): string => `${nameOf(to)} ${familyOf(to.address)}`;
  try {
    for (const probe of probes) {
      const { to } = probe.question;
      if (ears.has(placeOf(probe)) || to.kind !== "pod") continue;
      const namespace = podNamespace(lab, to);
      assert.ok(namespace);
      ears.set(placeOf(probe), listenForSctp(namespace, familyOf(to.address)));
    }
    const isSent = probes.map(({ question: { from, to, port }, namespaceOf }, index) => {
      const namespace = namespaceOf(lab);
      assert.ok(namespace);
      return sendInit(namespace, { address: to.address, port, source: from.address, sourcePort: firstPort + index });
    });
    const came = (probe: RealProbe, index: number): boolean =>
      ears.get(placeOf(probe))?.heard.has(`${firstPort + index}>${probe.question.port}`) === true;
    const deadline = performance.now() + silenceMs;
    while (performance.now() < deadline && !probes.every(came))
      await new Promise((resolve) => void setTimeout(resolve, 20));
    return probes.map((probe, index) => isSent[index] === true && came(probe, index));
  } finally {
    for (const ear of ears.values()) ear.close();
  }
}

const firstPort = 20_000;

function podNamespace(lab: Lab, { pod }: End & { readonly kind: "pod" }): NetworkNamespace | undefined {
  return lab
    .nodes()
    .get(pod.spec.nodeName ?? "")
    ?.kubelet?.sandboxOf({ namespace: pod.metadata.namespace ?? "", pod: pod.metadata.name });
}

/** An answer of any kind: a refusal comes from the pod as well. */
async function passes(
  namespace: NetworkNamespace,
  { to, protocol, port }: Pick<Question, "protocol" | "port"> & { readonly to: { readonly address: string } },
  timeoutMs: number,
): Promise<boolean> {
  const target = { address: to.address, port, timeoutMs };
  switch (protocol) {
    case "tcp":
      return (await probeTcp(namespace, target)).outcome !== "timeout";
    case "udp":
      return (await probeUdp(namespace, { ...target, send: "hostname" })).outcome !== "timeout";
    case "icmp":
      return (await ping(namespace, target)).outcome !== "timeout";
    case "sctp":
      throw new Error("SCTP messages are sent all together");
  }
}

interface RealProbe {
  readonly question: Question;
  readonly namespaceOf: (lab: Lab) => NetworkNamespace | undefined;
  /** What is asked instead of the pod itself: its Service, or a node port. */
  readonly target?: { readonly to: { readonly address: string }; readonly protocol: "tcp"; readonly port: number };
}

/** The same pods behind a Service, from pods, and behind node ports, from outside of the cluster: policies see pod and client all the same. */
function serviceQuestions(world: PolicyWorld, services: Network["services"], family: 4 | 6): readonly RealProbe[] {
  const isOfFamily = (address: string): boolean => address.includes(":") === (family === 6);
  const pods = world.pods.filter(isOwnAddress);
  return pods.flatMap((pod) => {
    const service = services.find(
      ({ namespace, name }) => namespace === pod.metadata.namespace && name === pod.metadata.name,
    );
    const [open] = service?.ports ?? [];
    const http = pod.spec.containers
      .flatMap(({ ports = [] }) => ports)
      .find(({ name }) => name === "http")?.containerPort;
    const vip = service?.clusterIps.find(isOfFamily);
    assert.ok(service && open?.nodePort !== undefined && http !== undefined && vip !== undefined);
    const { nodePort } = open;
    const to: End = { kind: "pod", pod, address: addressOf(pod, family) };
    const byService = pods.map((client) => ({
      ...byServiceOf(podProbe({ kind: "pod", pod: client, address: addressOf(client, family) }, to, ["tcp", http])),
      target: { to: { address: vip }, protocol: "tcp", port: open.port } as const,
    }));
    const byNodePort = world.nodes.map((node): RealProbe => {
      const range = (node.spec.podCIDRs ?? []).find(isOfFamily) ?? "";
      const isHere = node.metadata.name === pod.spec.nodeName;
      const client = outsideAddresses.find(isOfFamily) ?? "";
      const from: End = isHere
        ? { kind: "outside", address: client }
        : { kind: "node", node, address: range.slice(0, range.indexOf("/")) };
      return {
        question: { from, to, protocol: "tcp", port: http, byService: true },
        namespaceOf: (lab) => lab.topology?.internet.namespace,
        target: { to: { address: nodeAddress(node, family) }, protocol: "tcp", port: nodePort },
      };
    });
    return [...byService, ...byNodePort];
  });
}

function questionsOf(world: PolicyWorld, family: 4 | 6): readonly RealProbe[] {
  const asked = [
    ["tcp", 80],
    ["tcp", 8080],
    ["tcp", 90],
    ["udp", 53],
    ["udp", 80],
    ["icmp", 0],
    ["sctp", 80],
    ["sctp", 90],
  ] as const;
  const pods = world.pods.filter(isOwnAddress);
  const ends = pods.map((pod): End => ({ kind: "pod", pod, address: addressOf(pod, family) }));
  const machines = world.nodes.map((node): End => ({ kind: "node", node, address: nodeAddress(node, family) }));
  return ends.flatMap((to) => [
    // A pod hears what it sends to itself by a raw socket as well: no policy has a say there.
    ...ends.flatMap((from) =>
      asked.filter(([protocol]) => protocol !== "sctp" || from !== to).map((what) => podProbe(from, to, what)),
    ),
    ...machines.flatMap((from) => asked.map((what) => nodeProbe(from, to, what, family))),
    // From this pod to the nodes, its own as well: nothing listens there, which is an answer.
    ...machines.flatMap((node) => ([asked[0], asked[5]] as const).map((what) => podProbe(to, node, what))),
  ]);
}

function byServiceOf(probe: RealProbe): RealProbe {
  return { ...probe, question: { ...probe.question, byService: true } };
}

function podProbe(from: End, to: End, [protocol, port]: readonly [Question["protocol"], number]): RealProbe {
  return {
    question: { from, to, protocol, port },
    namespaceOf: (lab) => (from.kind !== "pod" ? undefined : podNamespace(lab, from)),
  };
}

function nodeProbe(
  from: End,
  to: End,
  [protocol, port]: readonly [Question["protocol"], number],
  family: 4 | 6,
): RealProbe {
  const podCidrs = from.kind === "node" ? (from.node.spec.podCIDRs ?? []) : [];
  const range = podCidrs.find((each) => each.includes(":") === (family === 6)) ?? "";
  // A node speaks to other nodes' pods from its end of the tunnel.
  const seen: End = from.kind === "node" ? { ...from, address: range.slice(0, range.indexOf("/")) } : from;
  return {
    question: { from: seen, to, protocol, port },
    namespaceOf: (lab) =>
      from.kind !== "node" ? undefined : lab.nodes().get(from.node.metadata.name)?.machine?.namespace,
  };
}

function nameOf(end: End): string {
  switch (end.kind) {
    case "pod":
      return `${end.pod.metadata.namespace}/${end.pod.metadata.name}`;
    case "node":
      return end.node.metadata.name;
    case "outside":
      return "outside";
  }
}
