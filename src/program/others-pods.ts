// The part of an IP table that depends on who connects the pods, for a node where another program does: Services as kube-proxy does them,
// and nothing that presumes links, addresses or routes of ours. Which pods are the node's own is known by ranges or by links.
//
// Not here: the same part where the pods are ours (guard.ts, addresses.ts, masquerade.ts).

import { familyOf, type Address, type Family } from "../ip/address.ts";
import { overlaps } from "../ip/prefix.ts";
import type { Origin } from "../kube/object.ts";
import type { LocalPods, Network, NetworkNode, NetworkService, PodNetwork } from "../model/network.ts";
import { clusterOrigin } from "../model/origin.ts";
import { servicesOf } from "../model/services-list.ts";
import type { Sequence } from "../model/stretch.ts";
import { createAssembler } from "./assemble.ts";
import { loopbackGuard, preroutingGuard } from "./guard.ts";
import { loopbackRules, sourceChain } from "./masquerade.ts";
import { memoized } from "./memo.ts";
import type { KeyType, NftChain, NftElement, NftSet, Statement } from "./nftables/ruleset.ts";
import { counter, drop, is, isIn, isNot, isNotIn, rule } from "./statements.ts";

/** What an IP table has because of whoever connects the pods. */
export interface PodPart {
  readonly guard: readonly NftChain[];
  readonly source: NftChain;
  /** Sets `local-pods` and `hairpin`. */
  readonly sets: readonly NftSet[];
}

/** A function that gives that part for one family; the same value for the same arguments. */
export function othersPodPart(
  family: Family,
): (network: Network, node: NetworkNode, podNetwork: Extract<PodNetwork, { kind: "others" }>) => PodPart {
  const hairpin = memoized((node: NetworkNode) => createHairpin(node, family));
  const part = memoized(
    (cluster: Network["cluster"], node: NetworkNode, local: LocalPods, toItself: readonly NftElement[]): PodPart => {
      const ranges = localRanges(local, cluster, node).filter(({ range }) => familyOf(range) === family);
      const type: KeyType = family === 4 ? "ipv4_addr" : "ipv6_addr";
      return {
        guard: guard(family),
        source: sources(family, isForeign(local, ranges.length > 0, family)),
        sets: [
          {
            name: "local-pods",
            key: [type],
            flags: ["interval"],
            elements: ranges.map(({ range, origin }) => ({ key: [range], origin })),
          },
          { name: "hairpin", key: [type, type], flags: [], elements: toItself },
        ],
      };
    },
  );
  return (network, node, { local }) => part(network.cluster, node, local, hairpin(node)(servicesOf(network)));
}

function localRanges(
  local: LocalPods,
  cluster: Network["cluster"],
  node: NetworkNode,
): readonly { readonly range: string; readonly origin: Origin }[] {
  switch (local.kind) {
    case "cluster-ranges":
      return cluster.podCidrs.map((range, index) => ({ range, origin: clusterOrigin(cluster, `podCidrs[${index}]`) }));
    case "node-ranges":
      return node.podCidrs
        .filter((range, index) => !node.podCidrs.slice(0, index).some((other) => overlaps(range, other)))
        .map((range, index) => ({ range, origin: { ...node.origin, field: `spec.podCIDRs[${index}]` } }));
    case "link":
      return [];
  }
}

/** What says that a packet is none of our pods'. Undefined where nothing does: then all pass for ours, as with kube-proxy. */
function isForeign(local: LocalPods, hasRanges: boolean, family: Family): readonly Statement[] | undefined {
  switch (local.kind) {
    case "cluster-ranges":
    case "node-ranges":
      return hasRanges ? [isNotIn("local-pods", family === 4 ? "ip saddr" : "ip6 saddr")] : undefined;
    case "link":
      // The way in is known in postrouting too (since Linux 5.7); the node's own packets have none.
      return [isNot("meta iifname", local.name)];
  }
}

function sources(family: Family, isForeign: readonly Statement[] | undefined): PodPart["source"] {
  const asked = family === 4 ? "ct original ip daddr" : "ct original ip6 daddr";
  const masquerade = { kind: "masquerade", fullyRandom: true } as const;
  const foreign =
    isForeign === undefined
      ? []
      : [
          // The node itself, or somebody outside who has a route to Service addresses: the endpoint would answer past us.
          rule("Services, asked by other than our pods", [
            is("ct status", "dnat"),
            isIn("service-ranges", asked),
            ...isForeign,
            masquerade,
          ]),
        ];
  return sourceChain(family, [...foreign, ...loopbackRules(family)]);
}

/**
 * Loopback is guarded whether or not node ports answer there: a setting that once let it be reached (sysctls.ts) may still be there. Packets
 * outside of the window are called invalid and not translated back; the client would see them and reset (kubernetes#74839).
 */
function guard(family: Family): readonly NftChain[] {
  return guards[family];
}

const guards: Readonly<Record<Family, readonly NftChain[]>> = {
  4: [preroutingGuard(loopbackGuard(4)), invalidGuard()],
  6: [invalidGuard()],
};

function invalidGuard(): NftChain {
  return {
    name: "guard-forward",
    base: { type: "filter", hook: "forward", priority: 0, policy: "accept" },
    rules: [rule("what conntrack cannot place is translated for nobody", [is("ct state", "invalid"), counter, drop])],
  };
}

/** Set `hairpin`'s elements: endpoints on this node, each to itself. Made again at the cost of what changed. */
function createHairpin(
  node: NetworkNode,
  family: Family,
): (services: Sequence<NetworkService>) => readonly NftElement[] {
  const noPiece = { elements: { hairpin: none }, chains: [] };
  const assemble = createAssembler(["hairpin"], (service: NetworkService) => {
    const hairpin = localEndpoints(service, node, family);
    return hairpin.length === 0 ? noPiece : { elements: { hairpin }, chains: [] };
  });
  // A pod behind several Services is one element.
  const once = memoized((elements: readonly NftElement[]): readonly NftElement[] => {
    const seen = new Map<string, NftElement>();
    for (const element of elements) {
      const address = element.key[0] ?? "";
      if (!seen.has(address)) seen.set(address, element);
    }
    return [...seen.values()];
  });
  return (services) => once(assemble(services).elements.hairpin);
}

function localEndpoints(service: NetworkService, node: NetworkNode, family: Family): readonly NftElement[] {
  const own = new Map<Address, Origin>();
  for (const { endpoints } of service.ports) {
    for (const { address, node: place, origin } of endpoints) {
      if (place !== node.name || familyOf(address) !== family || node.addresses.includes(address)) continue;
      if (!own.has(address)) own.set(address, origin);
    }
  }
  if (own.size === 0) return none;
  return [...own].map(([address, origin]) => ({ key: [address, address], origin }));
}

const none: readonly NftElement[] = [];
