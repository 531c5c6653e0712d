// What a tracer looks at: the Network, every node's Program, and what is known about sockets. A value; the lab and the manifests-only
// command line both make one.

import type { Address, Family } from "../ip/address.ts";
import { familyOf } from "../ip/address.ts";
import { contains, prefixBits } from "../ip/prefix.ts";
import type { Origin } from "../kube/object.ts";
import type { Attachment, Network, NetworkNode, NetworkPod, Protocol } from "../model/network.ts";
import type { Program, Route } from "../program/program.ts";
import type { Zone } from "../program/zone.ts";

export interface World {
  readonly network: Network;
  readonly programs: ReadonlyMap<string, Program>;
  readonly attachments: ReadonlyMap<string, readonly Attachment[]>;
  readonly zone: Zone;
  /** Addresses of the external client `internet`, one per family at most; empty where there is no such place. */
  readonly outside: readonly Address[];
  /** The underlay's router, where the lab's API server answers too. None unless given. */
  readonly router?: readonly Address[];
  /** Nodes whose way out is cut: what goes there, or comes from there, is gone. None unless given. */
  readonly cutOff?: ReadonlySet<string>;
  /** The node that answers for a load balancer's address on the underlay. */
  holder?(address: Address): string | undefined;
  /** The node's way out and what it is called there. */
  readonly uplink: string;
  /** Does something listen? `unknown` where nobody can tell (manifests alone). */
  listening(
    place: { readonly kind: "pod" | "node" | "outside"; readonly name: string },
    protocol: Protocol,
    port: number,
    address: Address,
  ): {
    readonly listening: "yes" | "no" | "unknown";
    readonly container?: string;
    readonly instead?: readonly string[];
  };
  /** Cluster DNS walks pods' search lists itself and answers their first question with the result. Not so unless given. */
  readonly autopath?: boolean;
  /** What others' name servers say of names that are not the cluster's, in lower case and without a final dot. Nothing unless given. */
  readonly others?: ReadonlyMap<string, readonly Address[]>;
  /** The resolver settings a pod gets. */
  resolver(pod: NetworkPod): ResolverOfPod;
}

export interface ResolverOfPod {
  readonly search: readonly string[];
  readonly ndots: number;
  /** Name servers in the order in which they are asked; undefined: those of the pod's machine, which are not the cluster's. */
  readonly servers: readonly Address[] | undefined;
  /** /etc/hosts, which is asked first: addresses by name, in lower case. */
  readonly hosts: ReadonlyMap<string, readonly Address[]>;
}

/** The pod that has an address of its own (hostNetwork pods have their node's). */
export function podAt(world: World, address: Address): NetworkPod | undefined {
  return indexOf(world.network).podByAddress.get(address);
}

export function nodeAt(world: World, address: Address): NetworkNode | undefined {
  return indexOf(world.network).nodeByAddress.get(address);
}

export function nodeNamed(world: World, name: string): NetworkNode | undefined {
  return world.network.nodes.find((node) => node.name === name);
}

/** The address of a family, or undefined. */
export function ofFamily(addresses: readonly Address[], family: Family): Address | undefined {
  return addresses.find((address) => familyOf(address) === family);
}

interface Index {
  readonly podByAddress: ReadonlyMap<Address, NetworkPod>;
  readonly nodeByAddress: ReadonlyMap<Address, NetworkNode>;
}

const indexes = new WeakMap<Network, Index>();

function indexOf(network: Network): Index {
  let index = indexes.get(network);
  if (index === undefined) {
    index = {
      podByAddress: new Map(
        network.pods
          .filter((pod) => !pod.hostNetwork)
          .flatMap((pod) => pod.addresses.map((address) => [address, pod] as const)),
      ),
      nodeByAddress: new Map(
        network.nodes.flatMap((node) => node.addresses.map((address) => [address, node] as const)),
      ),
    };
    indexes.set(network, index);
  }
  return index;
}

/** Where a node sends a packet for an address. */
export type RouteDecision =
  | { readonly kind: "local" }
  | {
      readonly kind: "forward";
      readonly link: string;
      readonly via: Address | undefined;
      readonly mtu: number;
      readonly origin: Origin;
      readonly to: string;
    }
  | { readonly kind: "unreachable"; readonly origin: Origin | undefined };

/** The kernel's decision: own addresses, then the longest prefix, then the way out. */
export function routeOn(world: World, node: NetworkNode, program: Program, address: Address): RouteDecision {
  if (isLocal(node, program, address)) return { kind: "local" };
  const route = longestMatch(program.routes, address);
  if (route !== undefined) {
    // A next hop without a link is on the underlay.
    const name = route.link ?? (route.via === undefined ? undefined : world.uplink);
    if (route.action === "unreachable" || name === undefined) return { kind: "unreachable", origin: route.origin };
    const link = program.links.find((candidate) => candidate.name === name);
    return {
      kind: "forward",
      link: name,
      via: route.via,
      mtu: route.mtu ?? link?.mtu ?? world.network.cluster.underlayMtu,
      origin: route.origin,
      to: route.to,
    };
  }
  // The uplink's own subnet, and the default route behind it: made by the machine (or the lab), not by a Program.
  const mtu = world.network.cluster.underlayMtu;
  const subnet = world.network.cluster.nodeCidrs.find((prefix) => contains(prefix, address));
  if (subnet !== undefined)
    return { kind: "forward", link: world.uplink, via: undefined, mtu, origin: node.origin, to: subnet };
  if (ofFamily(node.addresses, familyOf(address)) === undefined) return { kind: "unreachable", origin: node.origin };
  return { kind: "forward", link: world.uplink, via: undefined, mtu, origin: node.origin, to: "default" };
}

/** Does everybody mean himself by it? */
export function isLoopback(address: Address): boolean {
  return address === "::1" || address.startsWith("127.");
}

/** Is it an address of the node itself? */
export function isLocal(node: NetworkNode, program: Program, address: Address): boolean {
  if (isLoopback(address)) return true;
  return node.addresses.includes(address) || program.addresses.some((entry) => entry.address === address);
}

function longestMatch(routes: readonly Route[], address: Address): Route | undefined {
  let best: Route | undefined;
  for (const route of routes) {
    if (!contains(route.to, address)) continue;
    const longer = best === undefined ? 1 : prefixBits(route.to) - prefixBits(best.to);
    if (longer > 0 || (longer === 0 && best !== undefined && route.metric < best.metric)) best = route;
  }
  return best;
}
