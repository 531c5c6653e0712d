// Which node answers for a load balancer's address on the nodes' own network (layer 2): one at a time, another one when it goes.
//
// A function of what is there, without memory: every reader comes to the same answer, and nothing has to be agreed upon. Each address
// ranks the nodes by a hash of its own (highest random weight), so that addresses spread and only those of a node that goes move.
// Not here: how neighbours learn of it (lab/layer2.ts, agent/layer2.ts), and how addresses are given (load-balancer-pools.ts).

import type { Address } from "../ip/address.ts";
import { contains } from "../ip/prefix.ts";
import type { ClusterConfig, Network, NetworkNode, NetworkService } from "./network.ts";

// core/v1 well-known label: cloud providers leave such nodes out as well.
const excludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers";

/** Every announced address with the node that answers for it; absent where no node can. `isReachable`: does the node's link carry? */
export function holders(network: Network, isReachable: (node: string) => boolean): ReadonlyMap<Address, string> {
  const found = new Map<Address, string>();
  const nodes = network.nodes.filter((node) => isReachable(node.name) && isAnnouncer(node));
  for (const service of network.services) {
    for (const address of announcedAddresses(service, network.cluster)) {
      const [chosen] = found.has(address) ? [] : candidates(address, service, nodes, 1);
      if (chosen !== undefined) found.set(address, chosen);
    }
  }
  return found;
}

/** The addresses of a Service that nodes answer for: those that its status has from a pool. */
export function announcedAddresses(
  service: NetworkService,
  { loadBalancerCidrs = [] }: ClusterConfig,
): readonly Address[] {
  if (service.type !== "LoadBalancer" || loadBalancerCidrs.length === 0) return [];
  const found = new Set<Address>();
  for (const { external = [] } of service.ports)
    for (const { kind, address } of external)
      if (kind === "load-balancer" && loadBalancerCidrs.some((pool) => contains(pool, address))) found.add(address);
  return [...found];
}

/** May the node answer for anything? Whether its link carries is for the caller to know. */
export function isAnnouncer({ ready, labels }: NetworkNode): boolean {
  return ready && labels[excludeLabel] === undefined;
}

/** Of these nodes those that answer for an address, by rank: each while all before it are gone. At most so many. */
export function candidates(
  address: Address,
  service: NetworkService,
  nodes: readonly NetworkNode[],
  most: number,
): readonly string[] {
  const best: Ranked[] = [];
  for (const { name } of preferred(service, nodes)) {
    const one = { name, weight: mix(`${address} ${name}`) };
    const last = best.at(-1);
    if (best.length === most && last !== undefined && !isBefore(one, last)) continue;
    const at = best.findIndex((other) => isBefore(one, other));
    best.splice(at < 0 ? best.length : at, 0, one);
    best.length = Math.min(best.length, most);
  }
  return best.map(({ name }) => name);
}

interface Ranked {
  readonly name: string;
  readonly weight: number;
}

function isBefore(a: Ranked, b: Ranked): boolean {
  return a.weight > b.weight || (a.weight === b.weight && a.name < b.name);
}

/** With policy Local only a node with endpoints of its own is of use; where none has any, any node may say so. */
function preferred(service: NetworkService, nodes: readonly NetworkNode[]): readonly NetworkNode[] {
  if (service.externalTrafficPolicy !== "Local") return nodes;
  const serving = new Set(service.ports.flatMap(({ endpoints }) => endpoints.filter(isUseful).map(({ node }) => node)));
  const able = nodes.filter(({ name }) => serving.has(name));
  return able.length > 0 ? able : nodes;
}

function isUseful({ ready, terminating }: { readonly ready: boolean; readonly terminating: boolean }): boolean {
  return ready && !terminating;
}

/** FNV-1a, then the finalizer of MurmurHash3: neighbouring names must not get neighbouring weights. */
function mix(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
