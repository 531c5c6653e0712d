// Services as nftables maps: which backend a new connection gets.
// The set of rules is constant but for a short chain per number of endpoints in use (choice.ts); every Service and endpoint is a map
// element (docs/pipeline.md#services says why).
//
// Where one address has two lists of endpoints (externalTrafficPolicy Local: the node's own for clients from outside, all of them for pods
// and the node itself), a second pair of maps, asked first, holds the second list.
//
// Not here: which endpoints are eligible (model/eligible.ts), whose source address is rewritten (masquerade.ts), and how elements reach
// the kernel (apply/).

import { familyOf, type Address, type Family } from "../ip/address.ts";
import { contains, hostPrefix, overlaps, prefixBits, type Prefix } from "../ip/prefix.ts";
import type { Origin } from "../kube/object.ts";
import { eligibleEndpoints, isSameEverywhere, type EndpointScope } from "../model/eligible.ts";
import type { ClusterConfig, ExternalAddress, NetworkNode, NetworkService, ServicePort } from "../model/network.ts";
import { nodePortAddresses } from "../model/node-ports.ts";
import { clusterOrigin, indexedField } from "../model/origin.ts";
import { choiceChain, choiceElements, mapNames, rememberedSets, targetFields, type ChoiceScope } from "./choice.ts";
import { memoized } from "./memo.ts";
import { setOf } from "./nftables/element-list.ts";
import type { KeyType, NftChain, NftElement, NftRule, NftSet, Statement } from "./nftables/ruleset.ts";
import { ofFamily } from "./places.ts";
import type { SharedAssembly } from "./shared-assembler.ts";
import { counter, drop, goTo, is, isIn, isNotIn, key, rule } from "./statements.ts";
import {
  collector,
  noTranslation,
  type Choice,
  type Collector,
  type Frontend,
  type Translation,
  type TranslationPart,
} from "./translation.ts";

/**
 * One family's Services at one node: sets, maps, and the chains that use them. Sets are filled in this order where they do not fit one
 * transaction: every connection that finds its Service also finds its backends.
 */
export function serviceSets(
  cluster: ClusterConfig,
  family: Family,
  { lists, chains }: SharedAssembly<TranslationPart>,
): { readonly sets: readonly NftSet[]; readonly chains: readonly NftChain[] } {
  const address: KeyType = family === 4 ? "ipv4_addr" : "ipv6_addr";
  const target: readonly KeyType[] = [address, "inet_proto", "inet_service"];
  const endpoint: readonly KeyType[] = [address, "inet_service"];
  const set = (
    name: TranslationPart,
    key: readonly KeyType[],
    more: Partial<Pick<NftSet, "data" | "flags" | "counter" | "filled">> = {},
  ): NftSet => setOf({ name, key, flags: [], ...more }, lists[name]);
  const affine = (scope: ChoiceScope): readonly NftSet[] => {
    const maps = mapNames[scope];
    if (lists[maps.affineBackends].length === 0) return [];
    return [
      set(maps.affineChoices, [...target, "index"], { data: ["classid"] }),
      set(maps.affineBackends, [...target, "classid"], { data: endpoint }),
    ];
  };
  const indexed = (name: TranslationPart): NftSet => set(name, [...target, "index"], { data: endpoint });
  const many = (["backends-many", "backends-inside-many"] as const).filter((name) => lists[name].length > 0);
  return {
    sets: [
      indexed("backends"),
      indexed("backends-inside"),
      ...many.map(indexed),
      ...(hasAffinity(lists) ? rememberedSets(family) : []),
      ...(hasAffinity(lists) && family === 6 ? [set("affine-frontends", target, { data: ["mark"] })] : []),
      ...affine("all"),
      ...affine("inside"),
      set("masquerade-ports", target),
      { name: "service-ranges", key: [address], flags: ["interval"], elements: serviceRanges(cluster, family) },
      set("allowed", [...target, address], { flags: ["interval"] }),
      set("restricted", target),
      set("inside-ports", target),
      { name: "choices", key: ["classid"], data: "verdict", flags: [], elements: choiceElements(chains) },
      // Each element counts the connections it decided about: what `show services` tells as hits.
      set("services-inside", target, { data: ["classid"], counter: true, filled: "last" }),
      set("services", target, { data: ["classid"], counter: true, filled: "last" }),
      set("service-addresses", [address], { filled: "last" }),
    ],
    chains: [...(family === 4 ? chains4 : chains6), ...chains.map((name) => choiceChain(family, name))],
  };
}

/** Does any Service keep its clients with their endpoints? Then there are maps for that. */
function hasAffinity(lists: SharedAssembly<TranslationPart>["lists"]): boolean {
  return lists["affine-backends"].length > 0 || lists["affine-backends-inside"].length > 0;
}

/** What a Service adds at a node, per family. */
export function translationOf(
  service: NetworkService,
  node: NetworkNode,
  cluster: ClusterConfig,
  family: Family,
): Translation {
  // A Service without an address of the family has no node port in it either: the families of a Service are those of its addresses.
  if (ofFamily(service.clusterIps, family) === undefined || service.leftTo !== undefined) return noTranslation;
  return isSameOnAllNodes(service) ? everywhere[family](cluster, service) : atNode[family](cluster, node, service);
}

const everywhere = { 4: memoized(clusterTranslation(4)), 6: memoized(clusterTranslation(6)) };
const atNode = { 4: memoized(nodeTranslation(4)), 6: memoized(nodeTranslation(6)) };

/** Then its elements are made once and shared by the Programs of all nodes. */
function isSameOnAllNodes(service: NetworkService): boolean {
  return (
    service.internalTrafficPolicy === "Cluster" &&
    service.ports.every(
      ({ nodePort, external, endpoints }) =>
        nodePort === undefined && external === undefined && isSameEverywhere(endpoints),
    )
  );
}

// A node that stands for any: what is the same everywhere does not ask it.
const anyNode: NetworkNode = {
  name: "",
  labels: {},
  addresses: [],
  podCidrs: [],
  ready: true,
  origin: { kind: "Node", name: "" },
};

// The Service comes last: a table of all Services, not a table for each.
function clusterTranslation(family: Family): (cluster: ClusterConfig, service: NetworkService) => Translation {
  const translate = nodeTranslation(family);
  return (cluster, service) => translate(cluster, anyNode, service);
}

function nodeTranslation(
  family: Family,
): (cluster: ClusterConfig, node: NetworkNode, service: NetworkService) => Translation {
  return (cluster, node, service) => {
    const collected = collector();
    for (const [index, address] of service.clusterIps.entries()) {
      if (familyOf(address) !== family) continue;
      collected.address(address, fieldOf(service.origin, indexedField("spec.clusterIPs", index)));
      for (const port of service.ports)
        collected.frontend(
          { address, protocol: port.protocol, port: port.port },
          choiceOf(service, port, { family, node, scope: scopeOf(service.internalTrafficPolicy) }),
        );
    }
    for (const { address, origin } of ownBalancers(service, node, cluster, family)) collected.address(address, origin);
    for (const port of service.ports) {
      for (const door of doorsOf(port, node, cluster, family)) {
        const frontend = { address: door.address, protocol: port.protocol, port: door.port };
        addDoor(collected, frontend, door, { service, port, node, family });
      }
    }
    return collected.result;
  };
}

/**
 * Load balancers' addresses that are this Service's as a whole, so that their other ports are refused: those of the pools, for which our
 * nodes answer. Others may be anybody's, and never a pool as a whole: people put the very range into it that their machines are in.
 */
function ownBalancers(
  { ports: [port] }: NetworkService,
  node: NetworkNode,
  { loadBalancerCidrs = [] }: ClusterConfig,
  family: Family,
): readonly ExternalAddress[] {
  return (port?.external ?? []).filter(
    ({ kind, address, isShared }) =>
      kind === "load-balancer" &&
      isShared === undefined &&
      familyOf(address) === family &&
      !node.addresses.includes(address) &&
      loadBalancerCidrs.some((range) => contains(range, address)),
  );
}

/** Another field of the same object, in one piece: what is added to an object later lies beside it. */
function fieldOf({ kind, namespace, name, source }: Origin, field: string): Origin {
  return namespace !== undefined && source === undefined
    ? { kind, namespace, name, field }
    : { kind, name, field, ...(namespace !== undefined && { namespace }), ...(source !== undefined && { source }) };
}

/** Where a port of a Service answers besides the cluster addresses: at a node's own, a load balancer's, or an external address. */
interface Door {
  readonly kind: "node-port" | "load-balancer" | "external-ip";
  readonly address: Address;
  readonly port: number;
  readonly origin: Origin;
}

function doorsOf(port: ServicePort, node: NetworkNode, cluster: ClusterConfig, family: Family): readonly Door[] {
  const nodeAddresses = nodePortAddresses(node, family);
  const { nodePort, external = [], origin } = port;
  const doors: Door[] = [];
  for (const address of nodePort === undefined ? [] : nodeAddresses)
    doors.push({
      kind: "node-port",
      address,
      port: nodePort ?? 0,
      origin: { ...origin, field: `${origin.field ?? "spec.ports"}.nodePort` },
    });
  for (const { kind, address, origin } of external) {
    if (familyOf(address) !== family) continue;
    // Cluster addresses and node ports have owners of their own, whatever another Service writes down.
    if (cluster.serviceCidrs.some((range) => contains(range, address))) continue;
    const { first, last } = cluster.nodePorts;
    if (nodeAddresses.includes(address) && port.port >= first && port.port <= last) continue;
    doors.push({ kind, address, port: port.port, origin });
  }
  return doors;
}

function addDoor(
  collected: Collector,
  frontend: Frontend,
  door: Door,
  from: {
    readonly service: NetworkService;
    readonly port: ServicePort;
    readonly node: NetworkNode;
    readonly family: Family;
  },
): void {
  const { service, port, node, family } = from;
  const { origin } = door;
  const isLocal = service.externalTrafficPolicy === "Local";
  const choice = choiceOf(service, port, { family, node, scope: isLocal ? "local" : "cluster" });
  if (!collected.frontend(frontend, { ...choice, origin })) return;
  const everywhere = isLocal ? choiceOf(service, port, { family, node, scope: "cluster" }) : choice;
  if (!isSameList(everywhere.backends, choice.backends))
    // Whoever is inside need not go up to a balancer and back: all endpoints (virtual-ips.md), and no policy of either kind.
    collected.inside(frontend, { ...everywhere, origin });
  // With policy Local the endpoint is on this node, so that the answer passes here and the client may be seen.
  if (!isLocal && choice.backends.length > 0) collected.masquerade(frontend, origin);
  const { loadBalancerSources } = service;
  if (door.kind === "load-balancer" && loadBalancerSources !== undefined)
    collected.restrict(frontend, sourcesOf(loadBalancerSources, frontend.address, node), {
      ...service.origin,
      field: "spec.loadBalancerSourceRanges",
    });
}

/**
 * Who may connect to a load balancer's address: the ranges, of its family. Where they hold the node, the address itself may, too: clouds'
 * agents put it on nodes' links, and a node that has it asks with it.
 */
function sourcesOf(ranges: readonly Prefix[], address: Address, node: NetworkNode): readonly Prefix[] {
  const family = familyOf(address);
  const primary = ofFamily(node.addresses, family);
  const holdNode = primary !== undefined && ranges.some((range) => contains(range, primary));
  return widest(holdNode ? [...ranges, hostPrefix(address)] : ranges, family);
}

function isSameList(a: Choice["backends"], b: Choice["backends"]): boolean {
  return a.length === b.length && a.every((each, index) => each === b[index]);
}

/** The ranges of a family that no other one holds: an interval set takes no overlaps. */
function widest(ranges: readonly Prefix[], family: Family): readonly Prefix[] {
  const own = [...new Set(ranges.filter((range) => familyOf(range) === family))];
  return own.filter((range) => !own.some((other) => other !== range && isWithin(range, other)));
}

/** Of two ranges one holds the other, or they have nothing in common. */
function isWithin(range: Prefix, other: Prefix): boolean {
  return overlaps(range, other) && prefixBits(other) < prefixBits(range);
}

function scopeOf(policy: "Cluster" | "Local"): EndpointScope {
  return policy === "Local" ? "local" : "cluster";
}

function choiceOf(
  service: NetworkService,
  port: ServicePort,
  where: { readonly family: Family; readonly node: NetworkNode; readonly scope: EndpointScope },
): Choice {
  const { family, node, scope } = where;
  const { sessionAffinitySeconds } = service;
  const backends = eligibleEndpoints(port.endpoints, family, { scope, node });
  const elsewhere =
    scope === "local" &&
    backends.length === 0 &&
    eligibleEndpoints(port.endpoints, family, { scope: "cluster", node }).length > 0;
  return {
    backends,
    otherwise: elsewhere ? "drop" : "refuse",
    ...(sessionAffinitySeconds === undefined ? {} : { affinitySeconds: sessionAffinitySeconds }),
    origin: port.origin,
  };
}

/**
 * The constant chains. A new connection is judged in nat prerouting (from pods and from outside) and nat output (from the node itself):
 * before the routing decision, which must already see the endpoint. nat chains see only the first packet of a connection; conntrack
 * does the rest, both ways, until it ends.
 */
function chains(family: Family): readonly NftChain[] {
  const source = family === 4 ? "ip saddr" : "ip6 saddr";
  const destination = family === 4 ? "ip daddr" : "ip6 daddr";
  const target = targetFields(family);
  // What to do as a number, then what the number means: see choice.ts.
  const asks = (map: TranslationPart): readonly Statement[] => [
    { kind: "set-mark-from", target: "meta priority", key: key(target), map },
    { kind: "vmap", key: key(["meta priority"]), map: "choices" },
  ];
  const inside = asks("services-inside");
  return [
    {
      name: "services-prerouting",
      // NF_IP_PRI_NAT_DST
      base: { type: "nat", hook: "prerouting", priority: -100, policy: "accept" },
      rules: [rule("from pods and from outside", [goTo("services")])],
    },
    {
      name: "services-output",
      base: { type: "nat", hook: "output", priority: -100, policy: "accept" },
      rules: [
        strangers(family),
        rule("all endpoints for the node itself", inside),
        rule("from the node itself", [goTo("services")]),
      ],
    },
    {
      name: "services",
      rules: [
        strangers(family),
        // This node's pods; those of other nodes that ask this one's address come as from outside, as behind nodes that rewrite their source.
        rule("all endpoints for our pods", [isIn("local-pods", source), ...inside]),
        rule("a Service, node port or host port", asks("services")),
        rule("a Service, but no port of it", [isIn("service-addresses", destination), goTo("refuse")]),
        // A Service so new that we have not heard of it: silence makes clients try again, a refusal makes them fail.
        rule("no Service has this address (yet)", [isIn("service-ranges", destination), counter, drop]),
      ],
    },
    {
      name: "refuse",
      rules: [
        rule("connection refused", [is("meta l4proto", "tcp"), counter, { kind: "reject", with: "tcp-reset" }]),
        rule("connection refused", [counter, { kind: "reject", with: "port-unreachable" }]),
      ],
      comment: "no endpoint is ready",
    },
  ];
}

/** spec.loadBalancerSourceRanges. */
function strangers(family: Family): NftRule {
  const target = targetFields(family);
  return rule("the load balancer's address does not answer to this source", [
    isIn("restricted", ...target),
    isNotIn("allowed", ...target, family === 4 ? "ip saddr" : "ip6 saddr"),
    counter,
    drop,
  ]);
}

const chains4 = chains(4);
const chains6 = chains(6);

function serviceRanges(cluster: ClusterConfig, family: Family): readonly NftElement[] {
  return cluster.serviceCidrs
    .map((range, index) => ({ key: [range], origin: clusterOrigin(cluster, `serviceCidrs[${index}]`) }))
    .filter(({ key }) => familyOf(key[0] ?? "") === family);
}
