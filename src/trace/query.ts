// From what a person types to a Trace: `production/frontend`, `http://api-server`, `node/node-1:30080`, `internet`.

import { familyOf, parseAddress, type Address } from "../ip/address.ts";
import type { Origin } from "../kube/object.ts";
import type { NetworkNode, NetworkPod, NetworkService, Protocol } from "../model/network.ts";
import { withIdleEndpoints } from "./idle.ts";
import { hostsFileCode, resolveName } from "./names.ts";
import { policyCures } from "./policy-cure.ts";
import { isUnasked, type EndpointChoice, type Packet, type Step, type Trace, type TracePath } from "./trace.ts";
import { walkAll, type Start } from "./walk.ts";
import { nodeNamed, isLoopback, ofFamily, type World } from "./world.ts";

/** What is asked. `namespace` is for names that say none. */
export interface TraceQuery {
  readonly from: string;
  readonly to: string;
  readonly namespace: string;
  readonly protocol: Protocol;
}

/** A question that cannot be traced: a name nobody has. The message says what there is instead. */
export class TraceQueryError extends Error {
  override readonly name = "TraceQueryError";
}

/** Where the packet goes. Throws TraceQueryError where `from` or `to` names nothing. */
export function trace(world: World, query: TraceQuery): Trace {
  const start = findStart(world, query);
  const target = findTarget(world, query, start);
  if (target.port !== undefined && (target.port < 1 || target.port > 65_535))
    throw new TraceQueryError(`${query.to}: port ${target.port} must be between 1 and 65535`);
  const from = startName(start);
  const to = `${target.label}${target.port === undefined ? "/icmp" : `:${target.port}/${query.protocol}`}`;
  const isAsked = target.name !== undefined && target.name.rcode !== hostsFileCode;
  const questions = !isAsked ? [] : questionsOf(world, query, start);
  const name = target.name === undefined ? {} : { name: target.name, ...(questions.length > 0 && { questions }) };
  if (target.addresses.length === 0) return { from, to, ...name, paths: [], disposition: "unresolved" };
  const sources = sourceAddresses(world, start);
  const family = [4 as const, 6 as const].find(
    (candidate) => ofFamily(sources, candidate) !== undefined && ofFamily(target.addresses, candidate) !== undefined,
  );
  if (family === undefined) return { from, to, ...name, paths: [], disposition: "unreachable" };
  // RFC 6724: unique local IPv6 addresses come after IPv4, so clients with both take IPv4 first.
  const source = ofFamily(sources, family) ?? "";
  const packets = target.addresses
    .filter((address) => familyOf(address) === family)
    .map((destination) => packetOf(sourceFor(destination, source), destination, target.port, query.protocol));
  const walks = packets.map((packet) => ({ packet, paths: walkAll(world, start, packet) }));
  const paths = walks.flatMap((each) => each.paths);
  const [packet] = packets;
  const cures = curesOf(world, start, walks);
  return {
    from,
    to,
    ...name,
    ...(packet && { packet }),
    paths: withIdleEndpoints(world.network, withAllChoices(paths), query.protocol),
    disposition: isUnasked({ questions }) ? "unresolved" : dispositionOf(paths),
    ...(cures.length > 0 && { cures }),
  };
}

/**
 * A question to cluster DNS is a packet like any other: the Service may have no endpoint, a policy may have forgotten it. Empty where each of
 * them arrives, and where the client asks nobody of the cluster.
 */
function questionsOf(world: World, query: TraceQuery, start: Start): readonly Trace[] {
  if (start.kind !== "pod") return [];
  const { servers = [] } = world.resolver(start.pod);
  if (!servers.some((server) => world.network.cluster.dnsAddresses.includes(server))) return [];
  const questions = servers.map((server) =>
    trace(world, { ...query, to: familyOf(server) === 6 ? `[${server}]:53` : `${server}:53`, protocol: "udp" }),
  );
  return questions.every(({ disposition }) => disposition === "delivered") ? [] : questions;
}

/** Of the first way that a policy ends. */
function curesOf(
  world: World,
  start: Start,
  walks: readonly { readonly packet: Packet; readonly paths: readonly TracePath[] }[],
): readonly string[] {
  for (const { packet, paths } of walks)
    for (const path of paths) {
      const last = path.hops.at(-1)?.steps.at(-1);
      if (last?.kind === "policy") return policyCures(world, start, packet, path);
    }
  return [];
}

interface Target {
  readonly label: string;
  readonly addresses: readonly Address[];
  readonly port: number | undefined;
  readonly name?: Step & { kind: "name" };
}

/** Where the question starts. Throws TraceQueryError. */
export function findStart(world: World, query: TraceQuery): Start {
  if (query.from === "internet" || query.from === "outside") return { kind: "outside" };
  const node = /^node\/(.+)$/.exec(query.from)?.[1];
  if (node !== undefined) return { kind: "node", node: nodeOrThrow(world, node) };
  const { namespace, name } = splitName(query.from, query.namespace);
  const pod = findPod(world, namespace, name);
  if (pod === undefined) throw new TraceQueryError(`no pod ${namespace}/${name}${suggestion(world, namespace)}`);
  return { kind: "pod", pod };
}

function findTarget(world: World, query: TraceQuery, start: Start): Target {
  const url = /^(https?):\/\/(\[[^\]]+\]|[^/:]+)(?::(\d+))?(?:\/.*)?$/.exec(query.to);
  if (url) {
    const port = url[3] === undefined ? (url[1] === "https" ? 443 : 80) : Number(url[3]);
    return hostTarget(world, start, query, (url[2] ?? "").replace(/^\[|\]$/g, ""), port);
  }
  if (/^https?:/.test(query.to)) throw new TraceQueryError(`${query.to} is no URL such as http://api-server:8080/path`);
  const [head, port] = splitPort(query.to);
  const nodeName = /^node\/(.+)$/.exec(head)?.[1];
  if (nodeName !== undefined) {
    return { label: `node/${nodeName}`, addresses: nodeOrThrow(world, nodeName).addresses, port };
  }
  if (head === "internet" || head === "outside") return { label: "internet", addresses: world.outside, port };
  if (head.includes("/")) return objectTarget(world, start, query, head, port);
  return hostTarget(world, start, query, head, port);
}

function objectTarget(world: World, start: Start, query: TraceQuery, head: string, port: number | undefined): Target {
  const { namespace, name } = splitName(head, query.namespace);
  const service = world.network.services.find(
    (candidate) => candidate.namespace === namespace && candidate.name === name,
  );
  if (service?.type === "ExternalName") {
    const full = `${service.name}.${service.namespace}.svc.${world.zone.settings.domain}`;
    return { ...hostTarget(world, start, query, full, port), label: service.name };
  }
  if (service !== undefined) {
    const addresses = service.headless ? headlessAddresses(service) : addressesFor(service, start);
    const chosen = port ?? portOf(service, query.protocol);
    return { label: service.name, addresses, port: service.headless ? targetPortOf(service, chosen) : chosen };
  }
  const pod = findPod(world, namespace, name);
  if (pod === undefined)
    throw new TraceQueryError(
      `no Service and no pod ${namespace}/${name}${servicesIn(world, namespace)}${suggestion(world, namespace)}`,
    );
  const first = pod.containerPorts.find((candidate) => candidate.protocol === query.protocol);
  return { label: pod.name, addresses: pod.addresses, port: port ?? first?.port };
}

function hostTarget(world: World, start: Start, query: TraceQuery, host: string, port: number | undefined): Target {
  const address = parseAddress(host);
  if (address !== undefined) return { label: address, addresses: [address], port };
  const name = resolveName(world, start, host);
  const service = world.network.services.find(
    (candidate) =>
      name.origin?.kind === "Service" &&
      candidate.namespace === name.origin.namespace &&
      candidate.name === name.origin.name,
  );
  const known = port ?? (service && portOf(service, query.protocol));
  return { label: host, addresses: name.answers, port: known, name };
}

function portOf(service: NetworkService, protocol: string): number | undefined {
  return (service.ports.find((port) => port.protocol === protocol) ?? service.ports[0])?.port;
}

// A headless Service has no address of its own: a client meets the endpoint's own port.
function targetPortOf(service: NetworkService, port: number | undefined): number | undefined {
  return service.ports.find((candidate) => candidate.port === port)?.endpoints[0]?.port ?? port;
}

/** From outside a Service is asked at its load balancer's or external addresses, where it has any. */
function addressesFor(service: NetworkService, start: Start): readonly Address[] {
  const external = service.ports.flatMap((port) => (port.external ?? []).map(({ address }) => address));
  return start.kind === "outside" && external.length > 0 ? [...new Set(external)] : service.clusterIps;
}

function headlessAddresses(service: NetworkService): readonly Address[] {
  const ready = service.ports.flatMap((port) => port.endpoints.filter((endpoint) => endpoint.ready));
  return [...new Set(ready.map((endpoint) => endpoint.address))];
}

/** The pod of that name, or the first whose name starts with it: `frontend` finds `frontend-7d4b9-abcde`. */
export function findPod(world: World, namespace: string, name: string): NetworkPod | undefined {
  const inside = world.network.pods.filter((pod) => pod.namespace === namespace);
  const bare = name.replace(/^(deploy(ment)?s?|po(ds?)?|sts|statefulsets?|ds|daemonsets?)\//, "");
  return inside.find((pod) => pod.name === bare) ?? inside.find((pod) => pod.name.startsWith(`${bare}-`));
}

function splitName(text: string, namespace: string): { namespace: string; name: string } {
  const [first = "", ...rest] = text.split("/");
  return rest.length === 0 ? { namespace, name: first } : { namespace: first, name: rest.join("/") };
}

function splitPort(text: string): [string, number | undefined] {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  if (bracketed) return [bracketed[1] ?? "", bracketed[2] === undefined ? undefined : Number(bracketed[2])];
  if (parseAddress(text) !== undefined) return [text, undefined];
  const plain = /^(.*?)(?::(\d+))?$/.exec(text);
  return [plain?.[1] ?? text, plain?.[2] === undefined ? undefined : Number(plain[2])];
}

function nodeOrThrow(world: World, name: string): NetworkNode {
  const node = nodeNamed(world, name);
  if (node === undefined)
    throw new TraceQueryError(`no node ${name}; there are: ${world.network.nodes.map((each) => each.name).join(", ")}`);
  return node;
}

function servicesIn(world: World, namespace: string): string {
  const names = world.network.services.filter((service) => service.namespace === namespace).map(({ name }) => name);
  return names.length === 0 ? "" : `; Services there: ${names.slice(0, 8).join(", ")}${names.length > 8 ? " …" : ""}`;
}

function suggestion(world: World, namespace: string): string {
  const pods = world.network.pods.filter((pod) => pod.namespace === namespace).map((pod) => pod.name);
  if (pods.length > 0) return `; pods there: ${pods.slice(0, 8).join(", ")}${pods.length > 8 ? " …" : ""}`;
  return `; no pod has an address in namespace ${namespace}`;
}

function sourceAddresses(world: World, start: Start): readonly Address[] {
  switch (start.kind) {
    case "pod":
      return start.pod.addresses;
    case "node":
      return start.node.addresses;
    case "outside":
      return world.outside;
  }
}

function startName(start: Start): string {
  switch (start.kind) {
    case "pod":
      return `${start.pod.namespace}/${start.pod.name}`;
    case "node":
      return `node/${start.node.name}`;
    case "outside":
      return "internet";
  }
}

/** Who talks to a loopback does so from it: `ip route get 127.0.0.1`. */
function sourceFor(destination: Address, source: Address): Address {
  if (!isLoopback(destination)) return source;
  return familyOf(destination) === 4 ? "127.0.0.1" : destination;
}

function packetOf(source: Address, destination: Address, port: number | undefined, protocol: Protocol): Packet {
  if (port === undefined) return { protocol: "icmp", source, destination, sourcePort: 0, destinationPort: 0 };
  // IANA's ephemeral range starts at 49152 (RFC 6335 6): no rule of ours depends on a source port.
  return { protocol, source, destination, sourcePort: 49152, destinationPort: port };
}

function dispositionOf(paths: readonly TracePath[]): Trace["disposition"] {
  const all = new Set(paths.map((path) => path.disposition));
  return all.size === 1 ? ([...all][0] ?? "unreachable") : "mixed";
}

/** Every path's service step shows all endpoints that the same step chose on any path. */
function withAllChoices(paths: readonly TracePath[]): readonly TracePath[] {
  const choices = new Map<string, EndpointChoice[]>();
  const keyOf = (step: Step & { kind: "service" }): string => `${step.address} ${step.port} ${originKey(step.origin)}`;
  for (const step of paths.flatMap(serviceSteps)) {
    const all = choices.get(keyOf(step)) ?? [];
    for (const choice of step.choices)
      if (!all.some((known) => known.address === choice.address && known.port === choice.port)) all.push(choice);
    choices.set(keyOf(step), all);
  }
  return paths.map((path) => ({
    ...path,
    hops: path.hops.map((hop) => ({
      ...hop,
      steps: hop.steps.flatMap((step): readonly Step[] => {
        if (step.kind !== "service") return [step];
        const [chosen] = step.choices;
        if (chosen === undefined) return [step];
        return [
          { ...step, choices: choices.get(keyOf(step)) ?? step.choices },
          {
            kind: "dnat",
            from: hostPort(step.address, step.port),
            to: hostPort(chosen.address, chosen.port),
            origin: chosen.origin,
          },
        ];
      }),
    })),
  }));
}

function serviceSteps(path: TracePath): readonly (Step & { kind: "service" })[] {
  return path.hops.flatMap((hop) => hop.steps).filter((step) => step.kind === "service");
}

function originKey(origin: Origin): string {
  return `${origin.kind}/${origin.namespace ?? ""}/${origin.name}`;
}

function hostPort(address: Address, port: number): string {
  return familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}
