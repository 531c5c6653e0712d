// Which node answers for a load balancer's address on the nodes' own network (layer 2): one at a time, another one when it goes.
//
// A function of what is there, without memory: every reader comes to the same answer, and nothing has to be agreed upon. Each address
// ranks the nodes by a hash of its own (highest random weight), so that addresses spread and only those of a node that goes move.
// Not here: how neighbours learn of it (the lab's underlay, an agent's ARP), and how addresses are given (lab/controllers).

import type { Address } from "../ip/address.ts";
import { contains } from "../ip/prefix.ts";
import type { Network, NetworkNode, NetworkService } from "./network.ts";

// core/v1 well-known label: cloud providers leave such nodes out as well.
const excludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers";

/** Every announced address with the node that answers for it; absent where no node can. `isReachable`: does the node's link carry? */
export function holders(network: Network, isReachable: (node: string) => boolean): ReadonlyMap<Address, string> {
  const pools = network.cluster.loadBalancerCidrs ?? [];
  const found = new Map<Address, string>();
  if (pools.length === 0) return found;
  for (const service of network.services) {
    if (service.type !== "LoadBalancer") continue;
    for (const { kind, address } of service.ports.flatMap(({ external }) => external ?? [])) {
      if (kind !== "load-balancer" || found.has(address) || !pools.some((pool) => contains(pool, address))) continue;
      const candidates = network.nodes.filter(
        (node) => node.ready && isReachable(node.name) && node.labels[excludeLabel] === undefined,
      );
      const chosen = highest(address, preferred(service, candidates));
      if (chosen !== undefined) found.set(address, chosen);
    }
  }
  return found;
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

function highest(address: Address, nodes: readonly NetworkNode[]): string | undefined {
  let best: { readonly name: string; readonly weight: number } | undefined;
  for (const { name } of nodes) {
    const weight = mix(`${address} ${name}`);
    if (best === undefined || weight > best.weight || (weight === best.weight && name < best.name))
      best = { name, weight };
  }
  return best?.name;
}

/** FNV-1a, then the finalizer of MurmurHash3: neighbouring names must not get neighbouring weights. */
function mix(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
