// The Network of the lab, made from the store: watches what matters to the network, rebuilds when somebody asks after a change.
// One for all nodes of the lab, so that the pure work is done once.

import { createObjectsSource, createPoolConfig, createServiceRangesConfig } from "../agent/network-source.ts";
import type { KubeObject } from "../kube/object.ts";
import { keyOf } from "../kube/object.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { ClusterObjects } from "../model/build.ts";
import type { ClusterConfig, Network, NetworkNode } from "../model/network.ts";
import { withNodes } from "../model/services-list.ts";
import type { NetworkSource } from "../model/source.ts";
import { addressesIn } from "../model/node-ports.ts";
import { memoized } from "../program/memo.ts";
import type { ObjectApi } from "./api/api.ts";

const watched = {
  nodes: { group: "", resource: "nodes" },
  namespaces: { group: "", resource: "namespaces" },
  pods: { group: "", resource: "pods" },
  services: { group: "", resource: "services" },
  endpointSlices: { group: "discovery.k8s.io", resource: "endpointslices" },
  networkPolicies: { group: "networking.k8s.io", resource: "networkpolicies" },
  clusterNetworkPolicies: { group: "policy.networking.k8s.io", resource: "clusternetworkpolicies" },
  loadBalancerPools: { group: "fairlead.dev", resource: "loadbalancerpools" },
  serviceCidrs: { group: "networking.k8s.io", resource: "servicecidrs" },
} as const;

type Kind = keyof typeof watched;

/** Watches the API until closed. `current()` is rebuilt lazily and keeps its identity while nothing changed. */
export function createNetworkSource(
  api: ObjectApi,
  cluster: ClusterConfig,
  nodePortCidrs: readonly Prefix[] = [],
): NetworkSource & { close(): void } {
  const objects = new Map<Kind, Map<string, KubeObject>>();
  const watches = (Object.keys(watched) as Kind[]).map((kind) => {
    const byKey = new Map(api.list(watched[kind]).items.map((object) => [keyOf(object), object]));
    objects.set(kind, byKey);
    return api.watch(watched[kind], api.revision, (event) => {
      if (event.type === "BOOKMARK") return;
      if (event.type === "DELETED") byKey.delete(keyOf(event.object));
      else byKey.set(keyOf(event.object), event.object);
      source.changed();
    });
  });

  const all = (kind: Kind): readonly KubeObject[] => [...(objects.get(kind)?.values() ?? [])];
  const snapshot = (): ClusterObjects => {
    return {
      nodes: all("nodes"),
      namespaces: all("namespaces"),
      pods: all("pods"),
      services: all("services"),
      endpointSlices: all("endpointSlices"),
      networkPolicies: all("networkPolicies"),
      clusterNetworkPolicies: all("clusterNetworkPolicies"),
    } as ClusterObjects;
  };
  const withPools = createPoolConfig();
  const withServiceRanges = createServiceRangesConfig();
  const source = createObjectsSource({
    cluster: () => withPools(withServiceRanges(cluster, all("serviceCidrs")), all("loadBalancerPools")),
    objects: snapshot,
    ...(nodePortCidrs.length > 0 && { finish: nodePortFinish(nodePortCidrs) }),
  });

  return {
    current: source.current,
    subscribe: source.subscribe,
    close() {
      for (const watch of watches) watch.close();
      source.close();
    },
  };
}

/** Gives each node the addresses its node ports answer at: those in the ranges, of its own and its loopback's. The same values for the same nodes. */
function nodePortFinish(ranges: readonly Prefix[]): (network: Network) => Network {
  const chosen = memoized((node: NetworkNode): NetworkNode => ({
    ...node,
    nodePortAddresses: addressesIn(ranges, [...node.addresses, ...(node.otherAddresses ?? []), "127.0.0.1"]),
  }));
  const all = memoized((nodes: readonly NetworkNode[]): readonly NetworkNode[] => nodes.map((node) => chosen(node)));
  return (network) => withNodes(network, all(network.nodes));
}
