// The trace's verdict is what the packet does: random clusters, random questions, each asked of the tracer and sent as a real packet.
// A failure names its seed: SEED=123 SHOPS=1 runs just that cluster again.

import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import type { KubeObject } from "../../src/kube/object.ts";
import { sendLive } from "../../src/lab/control-trace.ts";
import { applyObjects } from "../../src/lab/control-objects.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { trace, TraceQueryError, type TraceQuery } from "../../src/trace/query.ts";
import { renderFull, renderMinimal } from "../../src/trace/render.ts";
import type { Trace } from "../../src/trace/trace.ts";
import type { Network } from "../../src/model/network.ts";
import { atRest, withLab } from "./lab.testing.ts";

const firstSeed = Number(process.env["SEED"] ?? 1);
const shops = Number(process.env["SHOPS"] ?? (process.env["FAIRLEAD_LONG"] === "1" ? 30 : 2));
const questions = Number(process.env["QUESTIONS"] ?? 60);

for (let seed = firstSeed; seed < firstSeed + shops; seed++) {
  test(`random shop ${seed}: what the trace says is what the packet does`, async () => {
    await withLab(async (lab) => {
      const dice = createDice(seed);
      applyObjects(lab, { objects: randomShop(dice) });
      await atRest(lab);
      const asked = Array.from({ length: questions }, () => randomQuestion(dice, lab.network()));
      const seen = new Set<Trace["disposition"]>();
      const disagreements: string[] = [];
      for (let first = 0; first < asked.length; first += 20) {
        await Promise.all(
          asked.slice(first, first + 20).map(async (query) => {
            const value = traceOrNothing(lab, query);
            if (value === undefined) return;
            seen.add(value.disposition);
            let live = await sendLive(lab, query, value);
            // A busy machine may answer late, and nodes limit how many errors they send (RFC 4443 2.4): silence is asked again.
            for (let again = 0; again < 3 && !live.agrees && live.outcome === "timeout"; again++)
              live = await sendLive(lab, query, value);
            if (!live.agrees)
              disagreements.push(`${renderMinimal(value)}live: ${live.outcome} ${live.detail}\n${renderFull(value)}`);
          }),
        );
      }
      assert.deepEqual(disagreements, [], `seed ${seed}:\n${disagreements.join("\n")}`);
      assert.ok(
        seen.has("delivered") && seen.size > 1,
        `the questions of seed ${seed} had one kind of answer only: ${[...seen].join(", ")}`,
      );
    }, labOf(seed));
  });
}

/** Every other one's node ports answer at loopback, too. */
function labOf(seed: number): Parameters<typeof withLab>[1] {
  return seed % 2 === 0 ? { nodePortCidrs: ["127.0.0.0/8", "172.18.0.0/16", "fd00::/8"] } : {};
}

function traceOrNothing(lab: Lab, query: TraceQuery): Trace | undefined {
  try {
    return trace(lab.world(), query);
  } catch (error) {
    if (error instanceof TraceQueryError) return undefined;
    throw error;
  }
}

interface Dice {
  /** A whole number from 0 to below `below`. */
  roll(below: number): number;
  pick<T>(values: readonly T[]): T;
  /** True once in `n`. */
  once(n: number): boolean;
}

// mulberry32
function createDice(seed: number): Dice {
  let state = (seed * 0x9e3779b9) >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const roll = (below: number): number => Math.floor(next() * below);
  return {
    roll,
    pick: (values) => values[roll(values.length)] as (typeof values)[number],
    once: (n) => roll(n) === 0,
  };
}

const namespaces = ["red", "blue"] as const;

function randomShop(dice: Dice): readonly KubeObject[] {
  const objects: KubeObject[] = namespaces.map((name) => ({ apiVersion: "v1", kind: "Namespace", metadata: { name } }));
  const names = ["web", "api", "users", "db", "cache"].slice(0, 3 + dice.roll(3));
  for (const name of names) {
    const namespace = dice.pick(namespaces);
    objects.push(deployment(dice, namespace, name), service(dice, namespace, name));
    if (dice.once(2)) objects.push(service(dice, namespace, `${name}-two`, name));
  }
  objects.push(hostPod(dice.pick(namespaces)));
  return objects;
}

function deployment(dice: Dice, namespace: string, name: string): KubeObject {
  const port = 8000 + dice.roll(50);
  const silent = dice.once(5);
  const hostPort = dice.once(4) ? { hostPort: 9000 + dice.roll(900) } : {};
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { namespace, name },
    spec: {
      replicas: dice.pick([0, 1, 1, 2, 3]),
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          containers: [
            {
              name: "server",
              ...(silent
                ? { image: "registry.k8s.io/pause:3.10" }
                : {
                    image: "registry.k8s.io/e2e-test-images/agnhost:2.53",
                    args: ["netexec", `--http-port=${port}`, `--udp-port=${port}`],
                  }),
              ports: [
                { name: "http", containerPort: port, ...hostPort },
                { name: "udp", containerPort: port, protocol: "UDP" },
              ],
              ...(dice.once(4) && { readinessProbe: { httpGet: { path: "/no-such-page", port } } }),
            },
          ],
        },
      },
    },
  };
}

function service(dice: Dice, namespace: string, name: string, app: string = name): KubeObject {
  const type = dice.pick(["ClusterIP", "ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "headless"] as const);
  const isExternal = type === "NodePort" || type === "LoadBalancer";
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace, name },
    spec: {
      ...(type === "headless" ? { clusterIP: "None" } : { type }),
      ipFamilyPolicy: dice.pick(["SingleStack", "PreferDualStack"]),
      ipFamilies: dice.once(3) ? ["IPv6"] : ["IPv4"],
      selector: { app },
      ...(isExternal && dice.once(2) && { externalTrafficPolicy: "Local" }),
      ...(type !== "headless" && dice.once(4) && { internalTrafficPolicy: "Local" }),
      ...(type !== "headless" && dice.once(4) && { externalIPs: [`192.0.2.${1 + dice.roll(3)}`] }),
      ...(dice.once(4) && { sessionAffinity: "ClientIP" }),
      ...(dice.once(4) && { publishNotReadyAddresses: true }),
      ...(dice.once(3) && { trafficDistribution: dice.pick(["PreferClose", "PreferSameZone", "PreferSameNode"]) }),
      ...(type === "LoadBalancer" && {
        ...(dice.once(3) && { allocateLoadBalancerNodePorts: false }),
        ...(dice.once(3) && {
          loadBalancerSourceRanges: dice.pick([
            ["203.0.113.0/24"],
            ["10.244.0.0/16", "fd00:10:244::/56"],
            ["198.51.100.7/32"],
          ]),
        }),
      }),
      ports: [
        { name: "http", port: 80 + dice.roll(3), targetPort: dice.once(6) ? 7 : "http" },
        { name: "udp", port: 53, protocol: "UDP", targetPort: "udp" },
      ],
    },
  };
}

function hostPod(namespace: string): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace, name: "on-the-node" },
    spec: { hostNetwork: true, containers: [{ name: "server", image: "nginx", ports: [{ containerPort: 80 }] }] },
  };
}

function randomQuestion(dice: Dice, network: Network): TraceQuery {
  const pods = network.pods.filter((pod) => pod.namespace !== "kube-system");
  const pod = dice.pick(pods);
  const node = dice.pick(network.nodes);
  const service = dice.pick(network.services);
  const port = dice.pick(service.ports);
  const from = dice.pick([
    `${pod.namespace}/${pod.name}`,
    `${pod.namespace}/${pod.name}`,
    `${pod.namespace}/${pod.name}`,
    `node/${node.name}`,
    "internet",
  ]);
  const target = dice.pick(pods);
  const nodeAddress = dice.pick(dice.pick(network.nodes).addresses);
  const bracket = (address: string): string => (address.includes(":") ? `[${address}]` : address);
  const external = network.services.flatMap((each) =>
    each.ports.flatMap((one) => (one.external ?? []).map(({ address }) => `${bracket(address)}:${one.port}`)),
  );
  const addresses = [...service.clusterIps, ...target.addresses];
  const to = dice.pick([
    `${service.namespace}/${service.name}:${port.port}`,
    `http://${service.name}.${service.namespace}:${port.port}/`,
    `${target.namespace}/${target.name}:${dice.pick([...target.containerPorts.map((each) => each.port), 7])}`,
    `${target.namespace}/${target.name}`,
    `${bracket(nodeAddress)}:${port.nodePort ?? dice.pick(network.services.flatMap((each) => each.ports.map((one) => one.nodePort ?? 30999)))}`,
    `${bracket(dice.pick(addresses.length > 0 ? addresses : ["10.96.200.200"]))}:${dice.pick([port.port, 81, 4444])}`,
    "10.96.222.222:80",
    dice.pick(external.length > 0 ? external : ["172.18.255.99:80"]),
    dice.pick(external.length > 0 ? external : ["172.18.255.99:80"]),
    `172.18.255.${1 + dice.roll(3)}:${dice.pick([port.port, 4444])}`,
    `${bracket(nodeAddress)}:${dice.pick(pods.flatMap((each) => each.containerPorts.map((one) => one.hostPort ?? 80)))}`,
    `127.0.0.1:${dice.pick(network.services.flatMap((each) => each.ports.map((one) => one.nodePort ?? 30999)))}`,
    `127.0.0.1:${dice.pick(pods.flatMap((each) => each.containerPorts.map((one) => one.hostPort ?? one.port)))}`,
    "internet:80",
  ]);
  return { from, to, namespace: pod.namespace, protocol: dice.once(4) ? "udp" : "tcp" };
}
