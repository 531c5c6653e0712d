// The cluster's addresses as sets that several chains ask: who is a node, what is a pod's, which pods are here.

import { familyOf, type Address, type Family } from "../ip/address.ts";
import { overlaps, type Prefix } from "../ip/prefix.ts";
import type { Attachment, ClusterConfig, NetworkNode } from "../model/network.ts";
import { clusterOrigin } from "../model/origin.ts";
import { memoized } from "./memo.ts";
import type { KeyType, NftElement, NftSet } from "./nftables/ruleset.ts";
import { directNeighbours } from "./places.ts";
import { ofEach, podOrigin } from "./pods.ts";

/** Sets `nodes` (every node's InternalIP) and `pod-ranges` (where all pods' addresses come from). */
export function clusterSets(cluster: ClusterConfig, nodes: readonly NetworkNode[], family: Family): readonly NftSet[] {
  const type: KeyType = family === 4 ? "ipv4_addr" : "ipv6_addr";
  return [
    { name: "nodes", key: [type], flags: [], elements: nodeElements(nodes, family) },
    { name: "pod-ranges", key: [type], flags: ["interval"], elements: rangeElements(cluster, nodes, family) },
  ];
}

function nodeElements(nodes: readonly NetworkNode[], family: Family): readonly NftElement[] {
  return nodes.flatMap((node) => addressElements[family](node));
}

/** A node's elements stay the same values as long as the node does: a cluster of thousands costs what changed. */
const addressElements = { 4: memoized(addressesIn(4)), 6: memoized(addressesIn(6)) };

function addressesIn(family: Family): (node: NetworkNode) => readonly NftElement[] {
  return (node) =>
    node.addresses
      .filter((address) => familyOf(address) === family)
      .map((address) => ({ key: [address], origin: { ...node.origin, field: "status.addresses" } }));
}

/** The cluster's range, and nodes' ranges outside of it: interval sets must not overlap. */
function rangeElements(cluster: ClusterConfig, nodes: readonly NetworkNode[], family: Family): readonly NftElement[] {
  const ranges = cluster.podCidrs.flatMap((range, index) =>
    familyOf(range) === family ? [{ key: [range], origin: clusterOrigin(cluster, `podCidrs[${index}]`) }] : [],
  );
  return [...ranges, ...nodes.flatMap((node) => strays(cluster, node)[family])];
}

const strays = memoized((cluster: ClusterConfig, node: NetworkNode) => {
  const of = (family: Family): readonly NftElement[] =>
    node.podCidrs.flatMap((range, index) =>
      familyOf(range) === family && !cluster.podCidrs.some((known) => overlaps(known, range))
        ? [rangeElement(node, range, index)]
        : [],
    );
  return { 4: of(4), 6: of(6) };
});

function rangeElement(node: NetworkNode, range: Prefix, index: number): NftElement {
  return { key: [range], origin: { ...node.origin, field: `spec.podCIDRs[${index}]` } };
}

/** Set `direct-ranges`: where the pods are whose packets come by the underlay as they are. */
export function directSet(
  cluster: ClusterConfig,
  node: NetworkNode,
  nodes: readonly NetworkNode[],
  family: Family,
): NftSet {
  return {
    name: "direct-ranges",
    key: [family === 4 ? "ipv4_addr" : "ipv6_addr"],
    flags: ["interval"],
    elements: directNeighbours(cluster, node, nodes, family).flatMap((other) => podRanges(other)[family]),
  };
}

const podRanges = memoized((node: NetworkNode) => {
  const of = (family: Family): readonly NftElement[] =>
    node.podCidrs.flatMap((range, index) => (familyOf(range) === family ? [rangeElement(node, range, index)] : []));
  return { 4: of(4), 6: of(6) };
});

/** Sets `local-pods` (the node's own pods) and `hairpin` (each of them to itself). */
export function podSets(attachments: readonly Attachment[], family: Family): readonly NftSet[] {
  const type: KeyType = family === 4 ? "ipv4_addr" : "ipv6_addr";
  return [
    { name: "local-pods", key: [type], flags: [], elements: local[family](attachments) },
    { name: "hairpin", key: [type, type], flags: [], elements: hairpin[family](attachments) },
  ];
}

const local = perFamily((address) => [address]);
const hairpin = perFamily((address) => [address, address]);

function perFamily(
  key: (address: Address) => readonly string[],
): Readonly<Record<Family, ReturnType<typeof ofEach<NftElement>>>> {
  const elements = (family: Family): ReturnType<typeof ofEach<NftElement>> =>
    ofEach((attachment) => {
      const origin = podOrigin(attachment);
      return attachment.addresses
        .filter((address) => familyOf(address) === family)
        .map((address) => ({ key: key(address), origin }));
    });
  return { 4: elements(4), 6: elements(6) };
}
