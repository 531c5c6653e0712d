// Walks one packet from its source to a socket and the answer back, node by node, by executing the nodes' Programs.
// Forks (a Service's endpoints) are explored one way each: the walk is straight-line code that asks `choose`.
//
// Not here: names and Services by name (query.ts), words for people (render.ts).

import { familyOf, type Address } from "../ip/address.ts";
import { macBytes, macFromBytes, type Mac } from "../ip/mac.ts";
import type { Origin } from "../kube/object.ts";
import type { NetworkNode, NetworkPod } from "../model/network.ts";
import type { Program, VxlanLink } from "../program/program.ts";
import { names } from "../program/program.ts";
import { causesOfNone, portsInstead } from "./idle.ts";
import { noEndpointReasons, runHook, type Hook, type HookResult, type NodeFacts, type PacketState } from "./machine.ts";
import { policySteps } from "./policy.ts";
import type { Disposition, Hop, Packet, Step, TracePath } from "./trace.ts";
import { podBehind } from "../model/service.ts";
import { isLocal, isLoopback, nodeAt, nodeNamed, ofFamily, podAt, routeOn, type World } from "./world.ts";

/** Where a packet starts. */
export type Start =
  | { readonly kind: "pod"; readonly pod: NetworkPod }
  | { readonly kind: "node"; readonly node: NetworkNode }
  | { readonly kind: "outside" };

/** Every way the packet can go; at most `waysMax` of them. */
export function walkAll(world: World, start: Start, packet: Packet, waysMax: number = 1024): readonly TracePath[] {
  const paths: TracePath[] = [];
  let choices: { taken: number; below: number }[] = [];
  for (;;) {
    let asked = 0;
    const path = walk(world, start, packet, (below) => {
      const at = asked++;
      const choice = (choices[at] ??= { taken: 0, below });
      return choice.taken;
    });
    paths.push(path);
    choices = choices.slice(0, asked);
    while (choices.length > 0 && (choices.at(-1)?.taken ?? 0) + 1 >= (choices.at(-1)?.below ?? 0)) choices.pop();
    const last = choices.at(-1);
    if (last === undefined || paths.length >= waysMax) return paths;
    last.taken++;
  }
}

/** A translation that a node's conntrack holds for this connection. */
interface Translation {
  readonly node: string;
  /** As the packet came to the node, and as it left. */
  readonly before: Packet;
  readonly after: Packet;
}

interface Walk {
  readonly world: World;
  readonly choose: (below: number) => number;
  readonly hops: { place: Hop["place"]; steps: Step[] }[];
  readonly translations: Translation[];
  readonly direction: "original" | "reply";
}

type Place =
  | { readonly kind: "pod"; readonly pod: NetworkPod }
  | { readonly kind: "node"; readonly node: NetworkNode }
  | { readonly kind: "outside" };

/** How a walk ended: where the packet is now, or why it is gone. */
type End =
  | { readonly kind: "arrived"; readonly place: Place; readonly packet: Packet }
  | { readonly kind: "gone"; readonly disposition: Disposition };

function walk(world: World, start: Start, packet: Packet, choose: (below: number) => number): TracePath {
  const forward: Walk = { world, choose, hops: [], translations: [], direction: "original" };
  const end = leavePlace(forward, start, packet);
  if (end.kind === "gone") return { disposition: end.disposition, hops: forward.hops };
  const socket = socketAt(world, end.place, end.packet);
  stepsOf(forward, end.place).push(socket);
  if (socket.listening === "no")
    return { disposition: end.packet.protocol === "icmp" ? "delivered" : "refused", hops: forward.hops };

  // The answer: the same programs, the connection established, translations taken back where they were made.
  const reply: Walk = { world, choose, hops: [], translations: forward.translations, direction: "reply" };
  const back = leavePlace(reply, end.place, reverse(end.packet));
  if (back.kind === "gone") {
    return { disposition: back.disposition, hops: [...forward.hops, ...reply.hops] };
  }
  const restored = back.packet.source === packet.destination && back.packet.destination === packet.source;
  const last = forward.hops.at(-1);
  if (!restored) {
    // An answer from an address that was not asked is thrown away by the asker's own kernel.
    last?.steps.push({
      kind: "drop",
      detail: `the answer comes from ${back.packet.source}, not from ${packet.destination}: the asker does not know it`,
      origin: { kind: "Node", name: placeName(end.place) },
    });
    return { disposition: "dropped", hops: forward.hops };
  }
  last?.steps.push({ kind: "reply", restored: packet.destination });
  return { disposition: "delivered", hops: forward.hops };
}

function leavePlace(walk: Walk, place: Place, packet: Packet): End {
  switch (place.kind) {
    case "pod":
      return leavePod(walk, place.pod, packet);
    case "node":
      return leaveNode(walk, place.node, packet);
    case "outside":
      enter(walk, place);
      return isLoopback(packet.destination) ? { kind: "arrived", place, packet } : crossUnderlay(walk, packet);
  }
}

function leavePod(walk: Walk, pod: NetworkPod, packet: Packet): End {
  const node = nodeNamed(walk.world, pod.node);
  if (node === undefined) return gone("unreachable");
  if (pod.hostNetwork) return leaveNode(walk, node, packet);
  enter(walk, { kind: "pod", pod });
  if (pod.addresses.includes(packet.destination) || isLoopback(packet.destination))
    return { kind: "arrived", place: { kind: "pod", pod }, packet };
  const attachment = walk.world.attachments
    .get(node.name)
    ?.find((candidate) => candidate.namespace === pod.namespace && candidate.name === pod.name);
  const program = walk.world.programs.get(node.name);
  if (program === undefined) return gone("unreachable");
  const steps = enter(walk, { kind: "node", node });
  const state = stateOf(walk, packet, {
    input: attachment?.link ?? names.podLinkPrefix,
    output: undefined,
    etherSource: attachment?.mac,
  });
  const guard = runHook(program.tables, "bridge", "prerouting", state, factsOf(walk, node, program));
  steps.push(...guard.steps);
  if (guard.verdict !== "accept") {
    const origin = guard.origin ?? pod.origin;
    steps.push({ kind: "guard", verdict: "denied", detail: `${packet.source} is not an address of this pod`, origin });
    return gone("dropped");
  }
  return throughNode(walk, node, program, packet, names.bridge);
}

/** A packet that came in by a link: prerouting, routing, then to a socket of the node or onwards. */
function throughNode(walk: Walk, node: NetworkNode, program: Program, incoming: Packet, input: string): End {
  const steps = stepsOf(walk, { kind: "node", node });
  let packet = takeBack(walk, node.name, incoming, "prerouting");
  const before = packet;
  const state = {
    ...stateOf(walk, packet, { input, output: undefined, original: incoming }),
    untracked: incoming,
  };
  const facts = factsOf(walk, node, program);
  const pre = runHook(program.tables, "ip", "prerouting", state, facts);
  steps.push(...pre.steps);
  if (pre.verdict !== "accept") return refused(steps, pre, node, { walk, packet });
  packet = applyDnat(walk, steps, node, packet, pre);
  const moved = translated(state, packet, pre);
  const route = routeOn(walk.world, node, program, packet.destination);
  switch (route.kind) {
    case "local":
      return deliverToNode(walk, node, program, moved, before);
    case "unreachable":
      steps.push({ kind: "no-route", to: packet.destination, ...(route.origin && { origin: route.origin }) });
      return gone("unreachable");
    case "forward": {
      const moving: PacketState = { ...moved, output: route.link };
      const forward = runHook(program.tables, "ip", "forward", moving, facts);
      steps.push(...forward.steps);
      if (judged(walk, steps, node, "forward", forward, moving.packet) === "denied") return gone("dropped");
      if (forward.verdict !== "accept") return refused(steps, forward, node);
      steps.push(routeStep(route));
      return sendOut(walk, node, program, moving, before, route);
    }
  }
}

/** A packet of the node's own processes: output, routing (again after a translation), out. */
function leaveNode(walk: Walk, node: NetworkNode, packet: Packet): End {
  const program = walk.world.programs.get(node.name);
  const steps = enter(walk, { kind: "node", node });
  if (program === undefined) return gone("unreachable");
  const first = routeOn(walk.world, node, program, packet.destination);
  const output = first.kind === "forward" ? first.link : "lo";
  const state = stateOf(walk, packet, { input: undefined, output });
  const facts = factsOf(walk, node, program);
  const out = runHook(program.tables, "ip", "output", state, facts);
  steps.push(...out.steps);
  if (out.verdict !== "accept") return refused(steps, out, node, { walk, packet });
  const moved = translated(state, applyDnat(walk, steps, node, packet, out), out);
  const destination = moved.packet.destination;
  const route = routeOn(walk.world, node, program, destination);
  switch (route.kind) {
    case "local":
      return deliverToNode(walk, node, program, { ...moved, input: "lo" }, packet);
    case "unreachable":
      steps.push({ kind: "no-route", to: destination, ...(route.origin && { origin: route.origin }) });
      return gone("unreachable");
    case "forward":
      // IPv4's loopback is let out by route_localnet and masqueraded; for IPv6's there is no such thing.
      if (moved.packet.source === "::1") {
        steps.push({ kind: "no-route", to: destination });
        return gone("unreachable");
      }
      steps.push(routeStep(route));
      return sendOut(walk, node, program, { ...moved, output: route.link }, packet, route);
  }
}

function deliverToNode(walk: Walk, node: NetworkNode, program: Program, state: PacketState, before: Packet): End {
  const steps = stepsOf(walk, { kind: "node", node });
  const input = runHook(program.tables, "ip", "input", { ...state, output: undefined }, factsOf(walk, node, program));
  steps.push(...input.steps);
  if (judged(walk, steps, node, "input", input, state.packet) === "denied") return gone("dropped");
  if (input.verdict !== "accept") return refused(steps, input, node);
  remember(walk, node.name, before, state.packet);
  const packet = walk.direction === "reply" ? takeBack(walk, node.name, state.packet, "postrouting") : state.packet;
  return { kind: "arrived", place: { kind: "node", node }, packet };
}

/** Tells what policies did to a connection's first packet. */
function judged(
  walk: Walk,
  steps: Step[],
  node: NetworkNode,
  hook: "forward" | "input",
  result: HookResult,
  packet: Packet,
): "denied" | "passed" {
  if (walk.direction === "reply") return "passed";
  const found = policySteps(walk.world, node, hook, result, packet);
  const isDenied = found.at(-1)?.verdict === "denied";
  // What another chain dropped before was not judged.
  if (result.verdict === "accept" || isDenied) steps.push(...found);
  return isDenied ? "denied" : "passed";
}

/** postrouting, then onto the link: to a pod of this node, through the tunnel, or to the underlay. */
function sendOut(
  walk: Walk,
  node: NetworkNode,
  program: Program,
  state: PacketState,
  before: Packet,
  route: { readonly link: string; readonly via: Address | undefined },
): End {
  const steps = stepsOf(walk, { kind: "node", node });
  const post = runHook(program.tables, "ip", "postrouting", state, factsOf(walk, node, program));
  steps.push(...post.steps);
  if (post.verdict !== "accept") return refused(steps, post, node);
  let packet = state.packet;
  if (post.snat !== undefined) {
    const source =
      post.snat.address === "masquerade"
        ? linkSource(node, program, route.link, packet.destination)
        : post.snat.address;
    if (source !== packet.source)
      steps.push({ kind: "snat", from: packet.source, to: source, origin: post.snat.origin });
    packet = { ...packet, source };
  }
  remember(walk, node.name, before, packet);
  packet = takeBack(walk, node.name, packet, "postrouting");
  if (route.link === names.bridge) {
    const pod = podAt(walk.world, packet.destination);
    if (pod === undefined || pod.node !== node.name) {
      steps.push({ kind: "no-route", to: packet.destination });
      return gone("unreachable");
    }
    enter(walk, { kind: "pod", pod });
    return { kind: "arrived", place: { kind: "pod", pod }, packet };
  }
  const tunnel = program.links.find((link): link is VxlanLink => link.kind === "vxlan" && link.name === route.link);
  if (tunnel !== undefined) return throughTunnel(walk, node, program, tunnel, packet, route.via);
  return crossUnderlay(walk, packet, { from: node, nextHop: route.via });
}

function throughTunnel(
  walk: Walk,
  node: NetworkNode,
  program: Program,
  tunnel: VxlanLink,
  packet: Packet,
  via: Address | undefined,
): End {
  const steps = stepsOf(walk, { kind: "node", node });
  const neighbour = program.neighbours.find(
    (entry) => entry.link === tunnel.name && entry.address === (via ?? packet.destination),
  );
  const entry =
    neighbour &&
    program.forwarding.find((candidate) => candidate.link === tunnel.name && candidate.mac === neighbour.mac);
  if (entry?.remote === undefined) {
    steps.push({ kind: "no-route", to: via ?? packet.destination });
    return gone("unreachable");
  }
  const remote = nodeAt(walk.world, entry.remote);
  const remoteProgram = remote && walk.world.programs.get(remote.name);
  steps.push({
    kind: "tunnel",
    link: tunnel.name,
    remote: entry.remote,
    node: remote?.name ?? entry.remote,
    origin: entry.origin,
  });
  if (remote === undefined || remoteProgram === undefined) return gone("dropped");
  const cut = cutOff(walk.world, node, remote);
  if (cut !== undefined) return droppedByCut(walk.world, steps, cut);
  const remoteSteps = enter(walk, { kind: "node", node: remote });
  // The outer packet is UDP to the other node and passes that node's input rules like any other.
  const outer: Packet = {
    protocol: "udp",
    source: tunnel.local,
    destination: entry.remote,
    sourcePort: 49152,
    destinationPort: tunnel.port,
  };
  const outerState = stateOf({ ...walk, direction: "original" }, outer, {
    input: walk.world.uplink,
    output: undefined,
  });
  const facts = factsOf(walk, remote, remoteProgram);
  for (const hook of ["prerouting", "input"] satisfies Hook[]) {
    const result = runHook(remoteProgram.tables, "ip", hook, outerState, facts);
    if (result.verdict !== "accept") {
      remoteSteps.push({
        kind: "guard",
        verdict: "denied",
        detail: `VXLAN from ${tunnel.local}`,
        origin: result.origin ?? remote.origin,
      });
      return gone("dropped");
    }
  }
  return throughNode(walk, remote, remoteProgram, packet, tunnel.name);
}

/** The underlay knows nodes and the outside, no pods and no Services; a node that is the next hop gets whatever is for it. */
function crossUnderlay(
  walk: Walk,
  packet: Packet,
  { from, nextHop }: { readonly from?: NetworkNode; readonly nextHop?: Address | undefined } = {},
): End {
  const holder = walk.world.holder?.(packet.destination);
  const node =
    nodeAt(walk.world, nextHop ?? packet.destination) ??
    (holder === undefined ? undefined : nodeNamed(walk.world, holder));
  const cut = cutOff(walk.world, from, node);
  if (cut !== undefined && node !== from) {
    const last = walk.hops.at(-1)?.steps ?? enter(walk, { kind: "outside" });
    return droppedByCut(walk.world, last, cut);
  }
  if (node !== undefined && node !== from) {
    const program = walk.world.programs.get(node.name);
    enter(walk, { kind: "node", node });
    if (program === undefined) return gone("unreachable");
    return throughNode(walk, node, program, packet, walk.world.uplink);
  }
  if (walk.world.outside.includes(packet.destination) || walk.world.router?.includes(packet.destination) === true) {
    enter(walk, { kind: "outside" });
    return { kind: "arrived", place: { kind: "outside" }, packet };
  }
  const steps = enter(walk, { kind: "outside" });
  steps.push({ kind: "no-route", to: packet.destination });
  return gone("unreachable");
}

/** The one of the two that has no carrier. */
function cutOff(world: World, ...nodes: readonly (NetworkNode | undefined)[]): NetworkNode | undefined {
  return nodes.find((node) => node !== undefined && world.cutOff?.has(node.name) === true);
}

function droppedByCut(world: World, steps: Step[], node: NetworkNode): End {
  steps.push({
    kind: "drop",
    detail: `link ${world.uplink} of ${node.name} is down: the node is cut off`,
    origin: node.origin,
  });
  return gone("dropped");
}

function applyDnat(walk: Walk, steps: Step[], node: NetworkNode, packet: Packet, result: HookResult): Packet {
  if (result.dnat === undefined) return packet;
  const { address, port, origin, service } = result.dnat;
  const moved = { ...packet, destination: address, destinationPort: port ?? packet.destinationPort };
  const pod = podAt(walk.world, address) ?? hostPodAt(walk.world, address, moved.destinationPort);
  steps.push({
    kind: "service",
    address: packet.destination,
    port: packet.destinationPort,
    choices: [
      {
        address,
        port: moved.destinationPort,
        ...(pod && { pod: `${pod.namespace}/${pod.name}`, node: pod.node }),
        origin,
      },
    ],
    origin: service ?? result.origin ?? node.origin,
  });
  return moved;
}

/** Pods of one node's network share its addresses: which of them is meant, the EndpointSlices say. */
function hostPodAt({ network }: World, address: Address, port: number): NetworkPod | undefined {
  const endpoints = network.services.flatMap((service) => service.ports.flatMap((each) => each.endpoints));
  const found = endpoints.find((each) => each.address === address && each.port === port && each.pod !== undefined);
  const behind = found && podBehind(found);
  return network.pods.find((pod) => `${pod.namespace}/${pod.name}` === behind);
}

/** The state behind a hook that may have translated the destination: conntrack remembers that it did. */
function translated(state: PacketState, packet: Packet, result: HookResult): PacketState {
  const status = result.dnat === undefined ? state.connection.status : [...state.connection.status, "dnat"];
  return { ...state, packet, connection: { ...state.connection, status } };
}

function refused(steps: Step[], result: HookResult, node: NetworkNode, at?: { walk: Walk; packet: Packet }): End {
  const { origin = node.origin, reason } = result;
  const isNone = reason === noEndpointReasons.refuse || reason === noEndpointReasons.drop;
  const network = at?.walk.world.network;
  const found =
    at === undefined || network === undefined
      ? []
      : isNone
        ? causesOfNone(network, node, origin, at.packet)
        : portsInstead(network, origin, at.packet);
  const causes = found.length === 0 ? {} : { causes: found };
  if (result.verdict === "reject") {
    const { rejectWith = "port-unreachable" } = result;
    steps.push({ kind: "reject", with: rejectWith, ...(reason !== undefined && { reason }), ...causes, origin });
    return gone("refused");
  }
  steps.push({ kind: "drop", detail: reason ?? "dropped by a rule", ...causes, origin });
  return gone("dropped");
}

// conntrack: a reply's destination is restored before routing (it was the source once), its source after (it was the destination).
function takeBack(walk: Walk, node: string, packet: Packet, hook: "prerouting" | "postrouting"): Packet {
  if (walk.direction === "original") return packet;
  const translation = walk.translations.find((entry) => entry.node === node);
  if (translation === undefined) return packet;
  const { before, after } = translation;
  if (hook === "prerouting" && packet.destination === after.source)
    return { ...packet, destination: before.source, destinationPort: before.sourcePort };
  if (hook === "postrouting" && packet.source === after.destination && packet.sourcePort === after.destinationPort)
    return { ...packet, source: before.destination, sourcePort: before.destinationPort };
  return packet;
}

function remember(walk: Walk, node: string, before: Packet, after: Packet): void {
  if (walk.direction === "reply") return;
  if (
    before.source !== after.source ||
    before.destination !== after.destination ||
    before.destinationPort !== after.destinationPort
  )
    walk.translations.push({ node, before, after });
}

function stateOf(
  walk: Walk,
  packet: Packet,
  way: {
    readonly input: string | undefined;
    readonly output: string | undefined;
    readonly etherSource?: Mac | undefined;
    readonly original?: Packet;
  },
): PacketState {
  const reply = walk.direction === "reply";
  return {
    packet,
    input: way.input,
    output: way.output,
    ...(way.etherSource !== undefined && { etherSource: macFromBytes(macBytes(way.etherSource)) }),
    mark: 0,
    priority: 0,
    connectionMark: 0,
    connection: {
      state: reply ? "established" : "new",
      direction: walk.direction,
      original: reply ? reverse(packet) : (way.original ?? packet),
      status: [],
    },
  };
}

function factsOf(walk: Walk, node: NetworkNode, program: Program): NodeFacts {
  return {
    choose: walk.choose,
    addressType(address) {
      if (isLocal(node, program, address)) return "local";
      if (address.startsWith("ff") || /^2(2[4-9]|3\d)\./.test(address)) return "multicast";
      return routeOn(walk.world, node, program, address).kind === "unreachable" ? "unreachable" : "unicast";
    },
  };
}

// nf_nat_masquerade: the primary address of the link the packet leaves by.
function linkSource(node: NetworkNode, program: Program, link: string, destination: Address): Address {
  const family = familyOf(destination);
  const own = program.addresses.filter((entry) => entry.link === link).map((entry) => entry.address);
  return ofFamily(own, family) ?? ofFamily(node.addresses, family) ?? destination;
}

function socketAt(world: World, place: Place, packet: Packet): Step & { kind: "socket" } {
  const port = packet.destinationPort;
  if (packet.protocol === "icmp") return { kind: "socket", port, listening: "yes" };
  switch (place.kind) {
    case "outside":
      return {
        kind: "socket",
        port,
        ...world.listening({ kind: "outside", name: "internet" }, packet.protocol, port, packet.destination),
      };
    case "pod": {
      const name = `${place.pod.namespace}/${place.pod.name}`;
      return {
        kind: "socket",
        port,
        pod: name,
        ...world.listening({ kind: "pod", name }, packet.protocol, port, packet.destination),
      };
    }
    case "node":
      return {
        kind: "socket",
        port,
        ...world.listening({ kind: "node", name: place.node.name }, packet.protocol, port, packet.destination),
      };
  }
}

function routeStep(route: {
  readonly link: string;
  readonly via: Address | undefined;
  readonly mtu: number;
  readonly origin: Origin;
  readonly to: string;
}): Step {
  return {
    kind: "route",
    to: route.to,
    link: route.link,
    ...(route.via !== undefined && { via: route.via }),
    mtu: route.mtu,
    origin: route.origin,
  };
}

function enter(walk: Walk, place: Place): Step[] {
  const named = hopPlace(place);
  const last = walk.hops.at(-1);
  if (last?.place.kind === named.kind && last.place.name === named.name) return last.steps;
  const steps: Step[] = [];
  walk.hops.push({ place: named, steps });
  return steps;
}

function stepsOf(walk: Walk, place: Place): Step[] {
  return enter(walk, place);
}

function hopPlace(place: Place): Hop["place"] {
  switch (place.kind) {
    case "pod":
      return { kind: "pod", name: `${place.pod.namespace}/${place.pod.name}`, node: place.pod.node };
    case "node":
      return { kind: "node", name: place.node.name };
    case "outside":
      return { kind: "outside", name: "internet" };
  }
}

function placeName(place: Place): string {
  return hopPlace(place).name;
}

function reverse(packet: Packet): Packet {
  return {
    protocol: packet.protocol,
    source: packet.destination,
    destination: packet.source,
    sourcePort: packet.destinationPort,
    destinationPort: packet.sourcePort,
  };
}

function gone(disposition: Disposition): End {
  return { kind: "gone", disposition };
}
