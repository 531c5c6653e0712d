// Where everything is on a node: addresses, hardware addresses and sizes that follow from the node's name and ranges alone,
// so that every node knows them of every other without asking. What compile and a pod's sandbox (agent/) have to agree on.

import { familyOf, type Address, type Family } from "../ip/address.ts";
import { macBytes, macOfName, type Mac } from "../ip/mac.ts";
import { addressAt, contains, prefixAddress, type Prefix } from "../ip/prefix.ts";
import type { ClusterConfig, NetworkNode, Routing } from "../model/network.ts";
import { names, vxlanOverhead } from "./program.ts";

/** The node's address in a pod range, its pods' gateway: the first after the network address. */
export function gatewayOf(podCidr: Prefix): Address {
  return addressAt(podCidr, 1);
}

/** The node's address in a pod range as the end of a tunnel: the network address itself, which no pod gets. */
export function tunnelAddressOf(podCidr: Prefix): Address {
  return prefixAddress(podCidr);
}

/** The hardware address of a node's bridge, its pods' permanent neighbour. */
export function bridgeMac(node: string): Mac {
  return macOfName(`${node}/${names.bridge}`);
}

/** The hardware address of a node's VXLAN link. */
export function tunnelMac(node: string): Mac {
  return macOfName(`${node}/${names.vxlan}`);
}

/** The address tunnels start from: the first InternalIP. Undefined where the node has none: then it has no tunnel. */
export function tunnelEndpoint(node: NetworkNode): Address | undefined {
  return node.addresses[0];
}

/** How a node reaches other nodes' pods: what its own object says, else the cluster's way. */
export function routingOf(cluster: ClusterConfig, node: NetworkNode): Routing {
  return node.routing ?? cluster.routing ?? "vxlan";
}

/**
 * Do packets between the pods of two nodes go as they are? Only where both want it, so that a cluster whose nodes change their way one by one
 * stays whole: every node takes wrapped packets at any time (the tunnel stays), and unwrapped ones as soon as any node sends so (takesDirect).
 */
export function isDirect(cluster: ClusterConfig, a: NetworkNode, b: NetworkNode, family: Family): boolean {
  if (ofFamily(a.addresses, family) === undefined || ofFamily(b.addresses, family) === undefined) return false;
  return wantsDirect(cluster, a, b, family) && wantsDirect(cluster, b, a, family);
}

function wantsDirect(cluster: ClusterConfig, from: NetworkNode, to: NetworkNode, family: Family): boolean {
  const link = linkBetween(cluster, from, to, family);
  switch (routingOf(cluster, from)) {
    case "vxlan":
      return false;
    case "native":
      return link !== "routed";
    case "mixed":
      return link === "shared";
  }
}

/** What lies between two nodes, as far as it is known where they are. */
function linkBetween(
  cluster: ClusterConfig,
  a: NetworkNode,
  b: NetworkNode,
  family: Family,
): "shared" | "routed" | "unknown" {
  const subnets = subnetsOf(cluster, a, family);
  const others = subnetsOf(cluster, b, family);
  if (subnets.length === 0 || others.length === 0) return "unknown";
  return subnets.some((subnet) => others.includes(subnet)) ? "shared" : "routed";
}

/** The links that a node's address of a family is on. */
function subnetsOf(cluster: ClusterConfig, node: NetworkNode, family: Family): readonly Prefix[] {
  const address = ofFamily(node.addresses, family);
  const known = node.subnets ?? cluster.subnets ?? [];
  return address === undefined ? [] : known.filter((one) => familyOf(one) === family && contains(one, address));
}

/** Does a node take other nodes' pods' packets from the underlay as they are? Where any node sends so, or may before long. */
export function takesDirect(cluster: ClusterConfig, nodes: readonly NetworkNode[]): boolean {
  return cluster.direct === "taken" || nodes.some((node) => routingOf(cluster, node) !== "vxlan");
}

/** Those nodes whose pods' packets a node takes so: all but those that are known to be on another link. */
export function directNeighbours(
  cluster: ClusterConfig,
  node: NetworkNode,
  nodes: readonly NetworkNode[],
  family: Family,
): readonly NetworkNode[] {
  return nodes.filter((other) => other.name !== node.name && linkBetween(cluster, node, other, family) !== "routed");
}

/** The MTU of a node's pods in bytes: what the underlay carries, minus what the tunnel adds where packets may have to go through it. */
export function podMtu(cluster: ClusterConfig, node: NetworkNode): number {
  return routingOf(cluster, node) === "native" ? cluster.underlayMtu : tunnelMtu(cluster, node);
}

/** The MTU of a node's tunnel in bytes. */
export function tunnelMtu(cluster: ClusterConfig, node: NetworkNode): number {
  const endpoint = tunnelEndpoint(node);
  return cluster.underlayMtu - vxlanOverhead(endpoint === undefined ? 6 : familyOf(endpoint));
}

/** The range or address of a family, or undefined. */
export function ofFamily<T extends string>(values: readonly T[], family: Family): T | undefined {
  return values.find((value) => familyOf(value) === family);
}

/** RFC 4291 appendix A: the link-local address the kernel gives a link with this hardware address (modified EUI-64). */
export function linkLocalOf(mac: Mac): Address {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = macBytes(mac);
  const group = (high: number, low: number): string => ((high << 8) | low).toString(16);
  // The second group holds 0xff in its low byte, so no run of two zero groups can follow "::" but at the very start.
  const groups = [group(a ^ 0x02, b), group(c, 0xff), group(0xfe, d), group(e, f)];
  return `fe80::${groups.join(":")}`;
}
