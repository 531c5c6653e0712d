// A Network's Services as a list that shares with the last Network's all that stayed (blocks.ts). The array, `network.services`, is made when
// somebody asks for it: who follows tens of thousands of Services and asks for what changed does without.
//
// Not here: what Services are (network.ts), who makes the list (build.ts).

import type { BlockList } from "./blocks.ts";
import type { Network, NetworkNode, NetworkService } from "./network.ts";
import type { Sequence } from "./stretch.ts";

/** The Network's Services, in their order; the same value while they are the same. */
export function servicesOf(network: Network): Sequence<NetworkService> {
  return lists.get(network) ?? network.services;
}

/** A Network with these Services. */
export function networkOf(parts: Omit<Network, "services">, services: BlockList<NetworkService>): Network {
  const network: Network = {
    ...parts,
    get services() {
      return services.all();
    },
  };
  lists.set(network, services);
  return network;
}

/** The Network with other nodes. */
export function withNodes(network: Network, nodes: readonly NetworkNode[]): Network {
  const list = lists.get(network);
  if (list === undefined) return { ...network, nodes };
  const { cluster, pods, namespaces, policies, clusterPolicies, problems } = network;
  return networkOf({ cluster, nodes, pods, namespaces, policies, clusterPolicies, problems }, list);
}

const lists = new WeakMap<Network, BlockList<NetworkService>>();
