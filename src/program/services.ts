// Services as nftables maps: which backend a new connection gets.
// The set of rules is constant but for a short chain per number of endpoints in use (choice.ts); every Service and endpoint is a map
// element (docs/pipeline.md#services says why).
//
// Not here: which endpoints are eligible (model/eligible.ts), whose source address is rewritten (masquerade.ts), and how elements reach
// the kernel (apply/). When one address needs two lists of endpoints (externalTrafficPolicy of load balancers), the keys of both maps get a
// leading `mark` that says from where the connection comes; until then the address alone decides.

import { familyOf, type Family } from "../ip/address.ts";
import { eligibleEndpoints, isSameEverywhere, type EndpointScope } from "../model/eligible.ts";
import type { ClusterConfig, NetworkNode, NetworkService, ServicePort } from "../model/network.ts";
import { clusterOrigin } from "../model/origin.ts";
import type { Assembly } from "./assemble.ts";
import { choiceChain, rememberedSet, targetFields } from "./choice.ts";
import { memoized } from "./memo.ts";
import type { KeyType, NftChain, NftElement, NftSet } from "./nftables/ruleset.ts";
import { ofFamily } from "./places.ts";
import { counter, drop, goTo, is, isIn, key, rule } from "./statements.ts";
import { collector, noTranslation, type Choice, type Translation, type TranslationPart } from "./translation.ts";

/**
 * One family's Services at one node: sets, maps, and the chains that use them. Sets are filled in this order where they do not fit one
 * transaction: every connection that finds its Service also finds its backends.
 */
export function serviceSets(
  cluster: ClusterConfig,
  family: Family,
  { elements, chains }: Assembly<TranslationPart>,
): { readonly sets: readonly NftSet[]; readonly chains: readonly NftChain[] } {
  const address: KeyType = family === 4 ? "ipv4_addr" : "ipv6_addr";
  const target: readonly KeyType[] = [address, "inet_proto", "inet_service"];
  const endpoint: readonly KeyType[] = [address, "inet_service"];
  const set = (name: TranslationPart, key: readonly KeyType[], data?: NftSet["data"]): NftSet => ({
    name,
    key,
    ...(data === undefined ? {} : { data }),
    flags: [],
    elements: elements[name],
  });
  const affine = hasAffinity({ elements })
    ? [
        rememberedSet(family),
        set("affine-choices", [...target, "index"], ["classid"]),
        set("affine-backends", [...target, "classid"], endpoint),
      ]
    : [];
  return {
    sets: [
      set("backends", [...target, "index"], endpoint),
      ...affine,
      set("masquerade-ports", target),
      { name: "service-ranges", key: [address], flags: ["interval"], elements: serviceRanges(cluster, family) },
      set("services", target, "verdict"),
      set("service-addresses", [address], "verdict"),
    ],
    chains: [...(family === 4 ? chains4 : chains6), ...chains.map((name) => choiceChain(family, name))],
  };
}

/** Does any Service keep its clients with their endpoints? Then there are maps for that, and postrouting cleans up. */
export function hasAffinity({ elements }: Pick<Assembly<TranslationPart>, "elements">): boolean {
  return elements["affine-backends"].length > 0;
}

/** What a Service adds at a node, per family. */
export function translationOf(service: NetworkService, node: NetworkNode, family: Family): Translation {
  // A Service without an address of the family has no node port in it either: the families of a Service are those of its addresses.
  if (ofFamily(service.clusterIps, family) === undefined) return noTranslation;
  return isSameOnAllNodes(service) ? everywhere[family](service) : atNode[family](service, node);
}

const everywhere = { 4: memoized(clusterTranslation(4)), 6: memoized(clusterTranslation(6)) };
const atNode = { 4: memoized(nodeTranslation(4)), 6: memoized(nodeTranslation(6)) };

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
          choiceOf(service, port, { family, node, scope: scopeOf(service.internalTrafficPolicy) }),
        );
    }
    const nodeAddress = ofFamily(node.addresses, family);
    for (const port of service.ports) {
      if (nodeAddress === undefined || port.nodePort === undefined) continue;
      const origin = { ...port.origin, field: `${port.origin.field ?? "spec.ports"}.nodePort` };
      const frontend = { address: nodeAddress, protocol: port.protocol, port: port.nodePort };
      const choice = {
        ...choiceOf(service, port, { family, node, scope: scopeOf(service.externalTrafficPolicy) }),
        origin,
      };
      const isNew = collected.frontend(frontend, choice);
      // With policy Local the endpoint is on this node, so that the answer passes here and the client may be seen.
      if (isNew && choice.backends.length > 0 && service.externalTrafficPolicy === "Cluster")
        collected.masquerade(frontend, origin);
    }
    return collected.result;
  };
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
        rule("a Service, but no port of it", [{ kind: "vmap", key: key([destination]), map: "service-addresses" }]),
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
