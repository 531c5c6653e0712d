// The World a tracer looks at, made of a lab's (or an imagined lab's) parts.

import type { AttachmentStore } from "../agent/attachments.ts";
import { parseAddress, type Address } from "../ip/address.ts";
import type { Pod } from "../kube/kinds.ts";
import { holders } from "../model/layer2.ts";
import type { Network, NetworkPod } from "../model/network.ts";
import { compile } from "../program/compile.ts";
import type { Program } from "../program/program.ts";
import { compileZone, type Zone } from "../program/zone.ts";
import { parseCorefile } from "../serve/dns/corefile.ts";
import type { ResolverOfPod, World } from "../trace/world.ts";
import type { ObjectApi } from "./api/api.ts";
import { uplinkName } from "./node-object.ts";
import { hostsFile, parseResolvConf, resolvConf } from "./pods/identity-files.ts";

export interface WorldParts {
  readonly api: ObjectApi;
  readonly network: Network;
  readonly attachments: ReadonlyMap<string, AttachmentStore>;
  /** The Programs in force, where agents run; compiled here otherwise. */
  readonly programs?: ReadonlyMap<string, Program>;
  readonly outside: readonly Address[];
  readonly router?: readonly Address[];
  readonly cutOff?: ReadonlySet<string>;
  readonly listening?: World["listening"];
  /** Who answers for load balancers' addresses now; by the model where nobody announces anything. */
  readonly held?: ReadonlyMap<Address, string>;
}

export function makeWorld(parts: WorldParts): World {
  const { api, network, attachments } = parts;
  const places = new Map([...attachments].map(([node, store]) => [node, store.list()]));
  const programs =
    parts.programs ??
    new Map(network.nodes.map((node) => [node.name, compile(network, node.name, places.get(node.name) ?? [])]));
  const held = parts.held ?? holders(network, () => true);
  return {
    network,
    programs,
    attachments: places,
    zone: zoneOf(network),
    outside: parts.outside,
    ...(parts.router !== undefined && { router: parts.router }),
    ...(parts.cutOff !== undefined && { cutOff: parts.cutOff }),
    uplink: uplinkName,
    holder: (address) => held.get(address),
    listening: parts.listening ?? ((place, protocol, port) => declared(network, place, protocol, port)),
    autopath: walksSearchLists(api),
    resolver: (pod) => resolverOf(api, network, pod),
  };
}

// Cluster DNS reads this file; one that it cannot read leaves the one before in force, and that nobody here knows.
function walksSearchLists(api: ObjectApi): boolean {
  const key = { group: "", resource: "configmaps", namespace: "kube-system", name: "coredns" };
  const { data } = (api.get(key) ?? {}) as { readonly data?: Readonly<Record<string, string>> };
  try {
    return parseCorefile(data?.["Corefile"] ?? "").servers.some(({ autopath }) => autopath !== undefined);
  } catch {
    return false;
  }
}

let last: { readonly network: Network; readonly zone: Zone } | undefined;

/** The zone of a Network, made once per Network. */
export function zoneOf(network: Network): Zone {
  if (last?.network !== network) last = { network, zone: compileZone(network, { previous: last?.zone }) };
  return last.zone;
}

// Without a running container nobody can tell; a port that the pod declares is taken at its word by nobody.
function declared(
  network: Network,
  place: { readonly kind: "pod" | "node" | "outside"; readonly name: string },
  protocol: string,
  port: number,
): ReturnType<World["listening"]> {
  if (place.kind !== "pod") return { listening: "unknown" };
  const pod = network.pods.find((candidate) => `${candidate.namespace}/${candidate.name}` === place.name);
  const known = pod?.containerPorts.find((candidate) => candidate.port === port && candidate.protocol === protocol);
  return { listening: "unknown", ...(known !== undefined && { container: known.container }) };
}

function resolverOf(api: ObjectApi, network: Network, pod: NetworkPod): ResolverOfPod {
  const object = api.get({ group: "", resource: "pods", namespace: pod.namespace, name: pod.name }) as Pod | undefined;
  if (object === undefined) return { search: [], ndots: 1, servers: undefined, hosts: new Map() };
  const host = { nameservers: [], searches: [], options: [] };
  const { domain, dnsAddresses: addresses } = network.cluster;
  const settings = parseResolvConf(resolvConf(object, { domain, addresses, host }));
  const ndots = Number(settings.options.find((option) => option.startsWith("ndots:"))?.slice("ndots:".length) ?? 1);
  const servers = settings.nameservers.length === 0 ? undefined : settings.nameservers;
  const hosts = parseHosts(hostsFile(object, { podIps: pod.addresses, domain, nodeHosts: nodeHostsText }));
  return { search: settings.searches, ndots, servers, hosts };
}

// What of its node's file a hostNetwork pod can count on.
const nodeHostsText = "127.0.0.1 localhost\n::1 localhost\n";

function parseHosts(text: string): ReadonlyMap<string, readonly Address[]> {
  const hosts = new Map<string, Address[]>();
  for (const line of text.split("\n")) {
    const [first = "", ...names] = line.replace(/#.*/, "").trim().split(/\s+/);
    const address = parseAddress(first);
    if (address === undefined) continue;
    for (const name of names) hosts.set(name.toLowerCase(), [...(hosts.get(name.toLowerCase()) ?? []), address]);
  }
  return hosts;
}
