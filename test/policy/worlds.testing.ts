// Small clusters with policies: every connection that can be asked of them; the compiled Programs' answer by the tracer; and how a world that
// two judges disagree about becomes small.
//
// Not here: which clusters there are to ask about (random.testing.ts).

import type { Namespace, NetworkPolicy, Node, Pod } from "../../src/kube/kinds.ts";
import type { ClusterNetworkPolicy } from "../../src/kube/policy-kinds.ts";
import { buildNetwork, createNetworkBuilder, type ClusterObjects } from "../../src/model/build.ts";
import { clusterConfig } from "../../src/model/cluster.ts";
import type { Attachment, Network } from "../../src/model/network.ts";
import { objects, service, slice } from "../../src/model/objects.testing.ts";
import { compile } from "../../src/program/compile.ts";
import { tunnelAddressOf } from "../../src/program/places.ts";
import { compileZone } from "../../src/program/zone.ts";
import { walkAll, type Start } from "../../src/trace/walk.ts";
import type { Packet, Step } from "../../src/trace/trace.ts";
import type { World } from "../../src/trace/world.ts";
import { judge, type Answer, type End, type Question } from "./oracle.ts";

export const cluster = clusterConfig();
export const outsideAddresses = ["203.0.113.10", "2001:db8::10"] as const;

/** Objects of one small cluster; pods have addresses as if they ran. */
export interface PolicyWorld {
  readonly nodes: readonly Node[];
  readonly namespaces: readonly Namespace[];
  readonly pods: readonly Pod[];
  readonly policies: readonly NetworkPolicy[];
  readonly clusterPolicies: readonly ClusterNetworkPolicy[];
}

export function pod(
  name: string,
  place: { readonly namespace: string; readonly node: number; readonly host: number },
  options: { readonly labels?: Record<string, string>; readonly http?: number; readonly hostNetwork?: boolean } = {},
): Pod {
  const { labels = {}, http = 80, hostNetwork = false } = options;
  const ips = hostNetwork
    ? [`172.18.0.${place.node + 1}`, `fd00:172:18::${place.node + 1}`]
    : [`10.244.${place.node}.${place.host}`, `fd00:10:244:${place.node}::${place.host.toString(16)}`];
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: place.namespace, labels },
    spec: {
      nodeName: `node-${place.node}`,
      ...(hostNetwork && { hostNetwork }),
      containers: [
        {
          name: "main",
          ports: [
            { name: "http", containerPort: http },
            { name: "dns", containerPort: 53, protocol: "UDP" },
          ],
        },
      ],
    },
    status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }], podIPs: ips.map((ip) => ({ ip })) },
  };
}

export function policy(name: string, namespaceName: string, spec: NetworkPolicy["spec"]): NetworkPolicy {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: namespaceName },
    spec,
  };
}

export function clusterPolicy(name: string, spec: ClusterNetworkPolicy["spec"]): ClusterNetworkPolicy {
  return {
    apiVersion: "policy.networking.k8s.io/v1alpha2",
    kind: "ClusterNetworkPolicy",
    metadata: { name },
    spec,
  };
}

export function clusterObjects(world: PolicyWorld): ClusterObjects {
  const services = world.pods.filter(isOwnAddress).map((each, index) => ({
    ...service(`s-${each.metadata.name}`, {
      clusterIPs: [`10.96.0.${20 + index}`, `fd00:10:96::${20 + index}`],
      type: "NodePort",
      selector: {},
      ports: servicePorts(each, index),
    }),
  }));
  const slices = world.pods.filter(isOwnAddress).flatMap((each) =>
    ([4, 6] as const).map((family) =>
      slice(
        `s-${each.metadata.name}`,
        [{ addresses: [addressOf(each, family)], conditions: { ready: true }, nodeName: each.spec.nodeName ?? "" }],
        {
          name: `s-${each.metadata.name}-${family}`,
          addressType: family === 4 ? "IPv4" : "IPv6",
          ports: [
            { name: "http", port: httpPort(each), protocol: "TCP" },
            { name: "dns", port: 53, protocol: "UDP" },
          ],
        },
      ),
    ),
  );
  return objects({
    nodes: world.nodes,
    namespaces: world.namespaces,
    pods: world.pods,
    services,
    endpointSlices: slices,
    networkPolicies: world.policies,
    clusterNetworkPolicies: world.clusterPolicies,
  });
}

function servicePorts(
  each: Pod,
  index: number,
): { name: string; port: number; protocol: "TCP" | "UDP"; nodePort: number }[] {
  void each;
  return [
    { name: "http", port: 1000, protocol: "TCP", nodePort: 30000 + index },
    { name: "dns", port: 1053, protocol: "UDP", nodePort: 31000 + index },
  ];
}

export function isOwnAddress(each: Pod): boolean {
  return each.spec.hostNetwork !== true;
}

export function addressOf(each: Pod, family: 4 | 6): string {
  return each.status?.podIPs?.find(({ ip }) => ip.includes(":") === (family === 6))?.ip ?? "";
}

function httpPort(each: Pod): number {
  return each.spec.containers[0]?.ports?.[0]?.containerPort ?? 80;
}

/** A question for the oracle, and how the same connection is begun: perhaps by a Service or a node port. */
export interface Probe {
  readonly question: Question;
  readonly start:
    | { readonly kind: "pod"; readonly name: string }
    | { readonly kind: "node"; readonly name: string }
    | { readonly kind: "outside" };
  readonly packet: Packet;
  readonly by: "address" | "service" | "node port";
}

/** Every connection worth asking about, in one family. */
export function probesOf(world: PolicyWorld, family: 4 | 6): readonly Probe[] {
  const outside = outsideAddresses[family === 4 ? 0 : 1];
  const podEnds = world.pods.filter(isOwnAddress);
  const targets = [
    ...podEnds.map((each): End => ({ kind: "pod", pod: each, address: addressOf(each, family) })),
    ...world.nodes.map((each): End => ({ kind: "node", node: each, address: nodeAddress(each, family) })),
    { kind: "outside", address: outside } satisfies End,
  ];
  const asked = [
    ["tcp", 80],
    ["tcp", 8080],
    ["tcp", 90],
    ["udp", 53],
    ["udp", 80],
    ["sctp", 80],
    ["icmp", 0],
  ] as const;
  const probes: Probe[] = [];
  const ask = (
    start: Probe["start"],
    from: End,
    to: End,
    [protocol, port]: readonly [Question["protocol"], number],
    packet: { readonly destination: string; readonly port: number; readonly by: Probe["by"] },
  ): void => {
    const source = start.kind === "node" ? sourceOfNode(world, start.name, to, family) : from.address;
    probes.push({
      question: {
        from: from.kind === "node" ? { ...from, address: source } : from,
        to,
        protocol,
        port,
        ...(packet.by !== "address" && { byService: true }),
      },
      start,
      packet: {
        protocol,
        source: start.kind === "outside" ? outside : source,
        destination: packet.destination,
        sourcePort: protocol === "icmp" ? 0 : 49152,
        destinationPort: packet.port,
      },
      by: packet.by,
    });
  };
  const services = new Map(podEnds.map((each, index) => [each, index]));
  for (const to of targets) {
    for (const each of podEnds) {
      const from: End = { kind: "pod", pod: each, address: addressOf(each, family) };
      const start = { kind: "pod", name: keyOf(each) } as const;
      for (const what of asked) ask(start, from, to, what, { destination: to.address, port: what[1], by: "address" });
      if (to.kind !== "pod") continue;
      const index = services.get(to.pod) ?? 0;
      const vip = family === 4 ? `10.96.0.${20 + index}` : `fd00:10:96::${20 + index}`;
      ask(start, from, to, ["tcp", httpPort(to.pod)], { destination: vip, port: 1000, by: "service" });
      ask(start, from, to, ["udp", 53], { destination: vip, port: 1053, by: "service" });
    }
    if (to.kind !== "pod") continue;
    for (const each of world.nodes) {
      const from: End = { kind: "node", node: each, address: nodeAddress(each, family) };
      const start = { kind: "node", name: each.metadata.name } as const;
      for (const what of asked) ask(start, from, to, what, { destination: to.address, port: what[1], by: "address" });
      // From outside through a node's port: where the pod is elsewhere it sees that node, else the client.
      const index = services.get(to.pod) ?? 0;
      const isHere = to.pod.spec.nodeName === each.metadata.name;
      const podCidr = each.spec.podCIDRs?.find((range) => range.includes(":") === (family === 6)) ?? "";
      const seen: End = isHere
        ? { kind: "outside", address: outside }
        : { kind: "node", node: each, address: tunnelAddressOf(podCidr) };
      ask({ kind: "outside" }, seen, to, ["tcp", httpPort(to.pod)], {
        destination: nodeAddress(each, family),
        port: 30000 + index,
        by: "node port",
      });
    }
  }
  return probes;
}

/** A node speaks to its own pods as their gateway, to other nodes' pods by its end of the tunnel. */
function sourceOfNode(world: PolicyWorld, name: string, to: End, family: 4 | 6): string {
  const found = world.nodes.find((each) => each.metadata.name === name);
  const podCidr = found?.spec.podCIDRs?.find((range) => range.includes(":") === (family === 6)) ?? "";
  const tunnel = tunnelAddressOf(podCidr);
  if (to.kind !== "pod") return found === undefined ? "" : nodeAddress(found, family);
  return to.pod.spec.nodeName === name ? tunnel.replace(/0$|$/, "1") : tunnel;
}

export function nodeAddress(each: Node, family: 4 | 6): string {
  return (
    each.status?.addresses?.find(
      ({ type, address }) => type === "InternalIP" && address.includes(":") === (family === 6),
    )?.address ?? ""
  );
}

function keyOf(each: Pod): string {
  return `${each.metadata.namespace ?? ""}/${each.metadata.name}`;
}

export function oracleAnswer(world: PolicyWorld, question: Question): Answer {
  return judge(
    {
      namespaces: world.namespaces.map(({ metadata }) => ({ name: metadata.name, labels: metadata.labels ?? {} })),
      policies: world.policies,
      clusterPolicies: world.clusterPolicies,
    },
    question,
  );
}

/** The compiled Programs of a world, to be asked with packets. */
export interface Compiled {
  readonly network: Network;
  readonly world: World;
  answer(probe: Probe): { readonly answer: Answer; readonly other?: string };
}

export function compileWorld(
  world: PolicyWorld,
  build: (objects: ClusterObjects) => Network = (all) => buildNetwork(cluster, all),
): Compiled {
  const network = build(clusterObjects(world));
  const attachments = attachmentsOf(world);
  const programs = new Map(
    network.nodes.map(({ name }) => [name, compile(network, name, attachments.get(name) ?? [])]),
  );
  const made = tracerWorld(network, programs, attachments);
  return { network, world: made, answer: (probe) => answerIn(made, probe) };
}

/** A world for the tracer in which every port is listened on. */
export function tracerWorld(network: Network, programs: World["programs"], attachments: World["attachments"]): World {
  return {
    network,
    programs,
    attachments,
    zone: emptyZone(network),
    outside: [...outsideAddresses],
    uplink: "eth0",
    listening: () => ({ listening: "yes" }),
    resolver: () => ({ search: [], ndots: 1, servers: network.cluster.dnsAddresses, hosts: new Map() }),
  };
}

/** What the Programs do with a probe's first packet and its answer; `other`: it does not arrive, for a reason that is no policy. */
export function answerIn(world: World, probe: Probe): { readonly answer: Answer; readonly other?: string } {
  const [path] = walkAll(world, startOf(world.network, probe.start), probe.packet);
  const steps = (path?.hops ?? []).flatMap((hop) => hop.steps);
  const trail = steps.flatMap((step) => (step.kind === "policy" ? trailOf(world.network, step) : []));
  const last = steps.at(-1);
  if (last?.kind === "policy" && last.verdict === "denied") {
    const isolatedBy = (last.causes ?? []).flatMap(
      ({ text }) => /^NetworkPolicy \S+\/(\S+) isolates/.exec(text)?.[1] ?? [],
    );
    return { answer: { kind: "denied", by: last.direction, isolatedBy: isolatedBy.sort(), trail } };
  }
  const answer = { kind: "allowed", trail } as const;
  if (path?.disposition === "delivered") return { answer };
  return { answer, other: `${path?.disposition}: ${JSON.stringify(last)}` };
}

/** The rules of ClusterNetworkPolicies in a step, as the oracle names them. */
function trailOf(
  network: Network,
  { direction, passed = [], tier, origin }: Step & { readonly kind: "policy" },
): readonly string[] {
  const rules = passed.filter((cause) => cause.text.startsWith("and ")).map((cause) => cause.origin);
  return [...rules, ...(tier === undefined || origin === undefined ? [] : [origin])].map((each) => {
    const found = network.clusterPolicies.find(({ name }) => name === each.name);
    const index = Number(/\[(\d+)\]/.exec(each.field ?? "")?.[1]);
    const action = { accept: "Accept", deny: "Deny", pass: "Pass" }[found?.[direction][index]?.action ?? "pass"];
    return `${direction} ${found?.tier === "admin" ? "Admin" : "Baseline"} ${each.name} ${index} ${action}`;
  });
}

let zone: World["zone"] | undefined;
function emptyZone(network: Network): World["zone"] {
  return (zone ??= compileZone({ ...network, services: [], pods: [] }, { previous: undefined }));
}

function startOf(network: Network, start: Probe["start"]): Start {
  switch (start.kind) {
    case "outside":
      return start;
    case "pod": {
      const found = network.pods.find((each) => `${each.namespace}/${each.name}` === start.name);
      if (found === undefined) throw new Error(`no pod ${start.name}`);
      return { kind: "pod", pod: found };
    }
    case "node": {
      const found = network.nodes.find(({ name }) => name === start.name);
      if (found === undefined) throw new Error(`no node ${start.name}`);
      return { kind: "node", node: found };
    }
  }
}

export function attachmentsOf(world: PolicyWorld): ReadonlyMap<string, readonly Attachment[]> {
  const all = new Map<string, Attachment[]>();
  for (const each of world.pods.filter(isOwnAddress)) {
    const addresses = each.status?.podIPs?.map(({ ip }) => ip) ?? [];
    const bytes = (addresses[0] ?? "").split(".").map((byte) => Number(byte).toString(16).padStart(2, "0"));
    const list = all.get(each.spec.nodeName ?? "") ?? [];
    list.push({
      id: keyOf(each),
      namespace: each.metadata.namespace ?? "",
      name: each.metadata.name,
      uid: keyOf(each),
      link: `flp${bytes.join("")}`,
      mac: `0a:58:${bytes.join(":")}`,
      addresses,
      hostPorts: [],
    });
    all.set(each.spec.nodeName ?? "", list);
  }
  return all;
}

/** Where oracle and Programs differ; empty where they agree on every probe of both families. */
export function disagreements(
  world: PolicyWorld,
  build?: (objects: ClusterObjects) => Network,
): { readonly asked: number; readonly found: readonly string[] } {
  const compiled = compileWorld(world, build);
  const found: string[] = [];
  let asked = 0;
  for (const family of [4, 6] as const) {
    for (const probe of probesOf(world, family)) {
      asked++;
      const expected = oracleAnswer(world, probe.question);
      const { answer, other } = compiled.answer(probe);
      if (other === undefined && JSON.stringify(answer) === JSON.stringify(expected)) continue;
      const { packet, by } = probe;
      const name = probe.start.kind === "outside" ? "outside" : probe.start.name;
      found.push(
        `${name} -> ${packet.protocol} ${packet.destination} ${packet.destinationPort} (by ${by}): ` +
          `oracle ${JSON.stringify(expected)}, program ${other ?? JSON.stringify(answer)}`,
      );
    }
  }
  return { asked, found };
}

/** The smallest world, by leaving things out one after another, about which `fails` still says true. */
export function shrink(world: PolicyWorld, fails: (world: PolicyWorld) => boolean): PolicyWorld {
  let small = world;
  for (let progress = true; progress;) {
    progress = false;
    for (const candidate of smaller(small)) {
      if (!fails(candidate)) continue;
      small = candidate;
      progress = true;
      break;
    }
  }
  return small;
}

function* smaller(world: PolicyWorld): Iterable<PolicyWorld> {
  for (const index of world.clusterPolicies.keys())
    yield { ...world, clusterPolicies: without(world.clusterPolicies, index) };
  for (const index of world.policies.keys()) yield { ...world, policies: without(world.policies, index) };
  for (const index of world.pods.keys()) yield { ...world, pods: without(world.pods, index) };
  for (const [index, each] of world.policies.entries())
    for (const spec of smallerValues(each.spec))
      yield { ...world, policies: world.policies.with(index, { ...each, spec: spec as NetworkPolicy["spec"] }) };
  for (const [index, each] of world.clusterPolicies.entries())
    for (const spec of smallerValues(each.spec)) {
      const small = spec as ClusterNetworkPolicy["spec"];
      const isWhole =
        small.subject !== undefined &&
        small.tier !== undefined &&
        small.priority !== undefined &&
        [...(small.egress ?? []), ...(small.ingress ?? [])].every(
          (rule) => rule.action !== undefined && ("to" in rule || "from" in rule),
        );
      if (isWhole) yield { ...world, clusterPolicies: world.clusterPolicies.with(index, { ...each, spec: small }) };
    }
}

/** The same value with one item or field less, at any depth. */
function* smallerValues(value: unknown): Iterable<unknown> {
  if (Array.isArray(value)) {
    for (const index of value.keys()) {
      yield without(value, index);
      for (const inner of smallerValues(value[index])) yield value.with(index, inner);
    }
  } else if (typeof value === "object" && value !== null) {
    for (const [key, inner] of Object.entries(value)) {
      const { [key]: _, ...rest } = value as Record<string, unknown>;
      yield rest;
      for (const small of smallerValues(inner)) yield { ...value, [key]: small };
    }
  }
}

function without<T>(list: readonly T[], index: number): T[] {
  return list.filter((_, at) => at !== index);
}

/** A builder that remembers, as a lab's does. */
export function rememberingBuilder(): (objects: ClusterObjects) => Network {
  return createNetworkBuilder(cluster);
}
