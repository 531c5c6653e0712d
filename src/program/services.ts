// Services as nftables maps: which backend a new connection gets.
// The set of rules is constant but for one short chain per number of endpoints in use; every Service and endpoint is a map element
// (docs/pipeline.md#services says why).
//
// Not here: which endpoints are eligible (model/eligible.ts), whose source address is rewritten (masquerade.ts), and how elements reach
// the kernel (apply/). When one address needs two lists of endpoints (externalTrafficPolicy of load balancers), the keys of both maps get a
// leading `mark` that says from where the connection comes; until then the address alone decides.

import { familyOf, type Address, type Family } from "../ip/address.ts";
import type { Origin } from "../kube/object.ts";
import { eligibleEndpoints, isSameEverywhere, type EndpointScope } from "../model/eligible.ts";
import type { ClusterConfig, NetworkNode, NetworkService, Protocol, ServicePort } from "../model/network.ts";
import { clusterOrigin } from "../model/origin.ts";
import type { Assembly, Piece } from "./assemble.ts";
import { memoized } from "./memo.ts";
import type { KeyType, NftChain, NftElement, NftSet, NftVerdict } from "./nftables/ruleset.ts";
import { ofFamily } from "./places.ts";
import { counter, drop, goTo, is, isIn, key, rule } from "./statements.ts";

/** The sets and maps that Services and hostPorts fill. */
export type TranslationPart = (typeof translationParts)[number];
export const translationParts = [
  /** Map: address . protocol . port -> what is done with a connection to it. */
  "services",
  /** Map: address . protocol . port . index -> endpoint. */
  "backends",
  /** Set: addresses that belong to Services alone, so that other ports of them are refused. */
  "service-addresses",
  /** Set: address . protocol . port whose clients must not be seen by the endpoint. */
  "masquerade-ports",
] as const;

/** What one Service, or a node's hostPorts, add to one family's sets; `counts` are the numbers of endpoints to choose from. */
export type Translation = Piece<TranslationPart>;

/** One family's Services at one node: sets, maps, and the chains that use them. */
export function serviceSets(
  cluster: ClusterConfig,
  family: Family,
  { elements, counts }: Assembly<TranslationPart>,
): { readonly sets: readonly NftSet[]; readonly chains: readonly NftChain[] } {
  const address: KeyType = family === 4 ? "ipv4_addr" : "ipv6_addr";
  const target: readonly KeyType[] = [address, "inet_proto", "inet_service"];
  return {
    sets: [
      { name: "services", key: target, data: "verdict", flags: [], elements: elements.services },
      {
        name: "backends",
        key: [...target, "index"],
        data: [address, "inet_service"],
        flags: [],
        elements: elements.backends,
      },
      { name: "service-addresses", key: [address], flags: [], elements: elements["service-addresses"] },
      { name: "service-ranges", key: [address], flags: ["interval"], elements: serviceRanges(cluster, family) },
      { name: "masquerade-ports", key: target, flags: [], elements: elements["masquerade-ports"] },
    ],
    chains: [...(family === 4 ? chains4 : chains6), ...counts.map((count) => pickChain(family, count))],
  };
}

/** What a Service adds at a node, per family. */
export function translationOf(service: NetworkService, node: NetworkNode, family: Family): Translation {
  if (ofFamily(service.clusterIps, family) === undefined && !hasNodePorts(service)) return nothing;
  return isSameOnAllNodes(service) ? everywhere[family](service) : atNode[family](service, node);
}

const nothing: Translation = {
  elements: { services: [], backends: [], "service-addresses": [], "masquerade-ports": [] },
  counts: [],
};

const everywhere = { 4: memoized(clusterTranslation(4)), 6: memoized(clusterTranslation(6)) };
const atNode = { 4: memoized(nodeTranslation(4)), 6: memoized(nodeTranslation(6)) };

function hasNodePorts(service: NetworkService): boolean {
  return service.ports.some(({ nodePort }) => nodePort !== undefined);
}

/** Then its elements are made once and shared by the Programs of all nodes. */
function isSameOnAllNodes(service: NetworkService): boolean {
  return (
    service.internalTrafficPolicy === "Cluster" &&
    service.ports.every(({ nodePort, endpoints }) => nodePort === undefined && isSameEverywhere(endpoints))
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

function clusterTranslation(family: Family): (service: NetworkService) => Translation {
  const translate = nodeTranslation(family);
  return (service) => translate(service, anyNode);
}

function nodeTranslation(family: Family): (service: NetworkService, node: NetworkNode) => Translation {
  return (service, node) => {
    const collected = collector();
    for (const [index, address] of service.clusterIps.entries()) {
      if (familyOf(address) !== family) continue;
      collected.address(address, { ...service.origin, field: `spec.clusterIPs[${index}]` });
      for (const port of service.ports)
        collected.frontend(
          { address, protocol: port.protocol, port: port.port },
          choiceOf(port, family, node, scopeOf(service.internalTrafficPolicy)),
        );
    }
    const nodeAddress = ofFamily(node.addresses, family);
    for (const port of service.ports) {
      if (nodeAddress === undefined || port.nodePort === undefined) continue;
      const origin = { ...port.origin, field: `${port.origin.field ?? "spec.ports"}.nodePort` };
      const frontend = { address: nodeAddress, protocol: port.protocol, port: port.nodePort };
      collected.frontend(frontend, { ...choiceOf(port, family, node, scopeOf(service.externalTrafficPolicy)), origin });
      // With policy Local the endpoint is on this node, so that the answer passes here and the client may be seen.
      if (service.externalTrafficPolicy === "Cluster") collected.masquerade(frontend, origin);
    }
    return collected.result;
  };
}

function scopeOf(policy: "Cluster" | "Local"): EndpointScope {
  return policy === "Local" ? "local" : "cluster";
}

/** An address and port that clients connect to. */
export interface Frontend {
  readonly address: Address;
  readonly protocol: Protocol;
  readonly port: number;
}

/** What a connection to a frontend gets. */
interface Choice {
  readonly backends: readonly { readonly address: Address; readonly port: number; readonly origin: Origin }[];
  /** Without backends: `refuse`, or `drop` where another node could serve it (traffic policy Local). */
  readonly otherwise: "refuse" | "drop";
  readonly origin: Origin;
}

function choiceOf(port: ServicePort, family: Family, node: NetworkNode, scope: EndpointScope): Choice {
  const backends = eligibleEndpoints(port.endpoints, family, { scope, node });
  const elsewhere =
    scope === "local" &&
    backends.length === 0 &&
    eligibleEndpoints(port.endpoints, family, { scope: "cluster", node }).length > 0;
  return { backends, otherwise: elsewhere ? "drop" : "refuse", origin: port.origin };
}

/** Gathers elements; a key that came before wins, so that keys stay unique whatever the objects say. */
export function collector(): {
  address(address: Address, origin: Origin): void;
  frontend(frontend: Frontend, choice: Choice): boolean;
  masquerade(frontend: Frontend, origin: Origin): void;
  readonly result: Translation;
} {
  const services: NftElement[] = [];
  const backends: NftElement[] = [];
  const addresses: NftElement[] = [];
  const masquerade: NftElement[] = [];
  const counts: number[] = [];
  const seen = new Set<string>();
  return {
    address(address, origin) {
      addresses.push({ key: [address], origin });
    },
    frontend(frontend, choice) {
      const target = targetOf(frontend);
      const name = target.join(" ");
      if (seen.has(name)) return false;
      seen.add(name);
      const count = choice.backends.length;
      services.push({ key: target, data: verdictOf(choice), origin: choice.origin });
      for (const [index, { address, port, origin }] of choice.backends.entries())
        backends.push({ key: [...target, String(index)], data: [address, String(port)], origin });
      if (count > 0 && !counts.includes(count)) counts.push(count);
      return true;
    },
    masquerade(frontend, origin) {
      masquerade.push({ key: targetOf(frontend), origin });
    },
    result: {
      elements: { services, backends, "service-addresses": addresses, "masquerade-ports": masquerade },
      counts,
    },
  };
}

function targetOf({ address, protocol, port }: Frontend): readonly string[] {
  return [address, protocol, String(port)];
}

function verdictOf(choice: Choice): NftVerdict {
  if (choice.backends.length > 0) return { kind: "goto", chain: pickName(choice.backends.length) };
  return choice.otherwise === "drop" ? { kind: "drop" } : { kind: "goto", chain: "refuse" };
}

function pickName(count: number): string {
  return `pick-${count}`;
}

function pickChain(family: Family, count: number): NftChain {
  return (family === 4 ? pickChains4 : pickChains6)(count);
}

const pickChains4 = pickChains(4);
const pickChains6 = pickChains(6);

function pickChains(family: Family): (count: number) => NftChain {
  const made = new Map<number, NftChain>();
  return (count) => {
    let chain = made.get(count);
    if (chain === undefined) made.set(count, (chain = makePickChain(family, count)));
    return chain;
  };
}

function makePickChain(family: Family, count: number): NftChain {
  const lookup = [...key(targetFields(family)), { kind: "random", below: count } as const];
  return {
    name: pickName(count),
    rules: [rule(`one of ${count}`, [{ kind: "dnat", key: lookup, map: "backends" }])],
  };
}

function targetFields(family: Family): readonly ["ip daddr" | "ip6 daddr", "meta l4proto", "th dport"] {
  return [family === 4 ? "ip daddr" : "ip6 daddr", "meta l4proto", "th dport"];
}

/**
 * The constant chains. A new connection is judged in nat prerouting (from pods and from outside) and nat output (from the node itself):
 * before the routing decision, which must already see the endpoint. nat chains see only the first packet of a connection; conntrack
 * does the rest, both ways, until it ends.
 */
function chains(family: Family): readonly NftChain[] {
  const destination = family === 4 ? "ip daddr" : "ip6 daddr";
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
      rules: [rule("from the node itself", [goTo("services")])],
    },
    {
      name: "services",
      rules: [
        rule("a Service, node port or host port", [{ kind: "vmap", key: key(targetFields(family)), map: "services" }]),
        rule("a Service, but no port of it", [isIn("service-addresses", destination), goTo("refuse")]),
        // A Service so new that we have not heard of it: silence makes clients try again, a refusal makes them fail.
        rule("no Service (yet)", [isIn("service-ranges", destination), counter, drop]),
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

const chains4 = chains(4);
const chains6 = chains(6);

function serviceRanges(cluster: ClusterConfig, family: Family): readonly NftElement[] {
  return cluster.serviceCidrs
    .map((range, index) => ({ key: [range], origin: clusterOrigin(cluster, `serviceCidrs[${index}]`) }))
    .filter(({ key }) => familyOf(key[0] ?? "") === family);
}
