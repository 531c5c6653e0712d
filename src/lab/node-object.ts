// The Node objects of a lab, before their kubelets say more: name, addresses, zone.

import { addressAt, contains, prefixAddress } from "../ip/prefix.ts";
import type { Address } from "../ip/address.ts";
import type { Node } from "../kube/kinds.ts";
import type { KubeObject } from "../kube/object.ts";
import type { ClusterConfig } from "../model/network.ts";
import type { ObjectApi } from "./api/api.ts";

/**
 * Addresses of the node with this index (0 is the first): one per family, from the eleventh address of the node range on. Where the underlay has
 * several links, the nodes are on them in turn.
 */
export function nodeAddressesOf(cluster: ClusterConfig, index: number): readonly Address[] {
  return cluster.nodeCidrs.map((range) => {
    const links = (cluster.subnets ?? []).filter((subnet) => contains(range, prefixAddress(subnet)));
    return addressAt(links[index % links.length] ?? range, 11 + index);
  });
}

/** A node's link to the underlay, in every lab. */
export const uplinkName = "eth0";

/** Addresses of the external client outside of every lab (RFC 5737, RFC 3849). */
export const outsideAddresses: readonly Address[] = ["203.0.113.10", "2001:db8:1::10"];

/** Labs have three zones, so that topology has something to tell apart. */
export function zoneOfNode(index: number): string {
  return `zone-${"abc"[index % 3]}`;
}

export function nodeObject(name: string, index: number, addresses: readonly Address[]): KubeObject {
  const ready = {
    type: "Ready",
    status: "True",
    reason: "KubeletReady",
    message: "a record",
    lastHeartbeatTime: "1970-01-01T00:00:00Z",
    lastTransitionTime: "1970-01-01T00:00:00Z",
  };
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      labels: {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/region": "lab",
        "topology.kubernetes.io/zone": zoneOfNode(index),
      },
    },
    spec: {},
    status: {
      addresses: [
        ...addresses.map((address) => ({ type: "InternalIP", address })),
        { type: "Hostname", address: name },
      ],
      conditions: [ready],
    },
  };
}

/** Node.spec.podCIDRs, empty until they are given. */
export function podCidrsOf(api: ObjectApi, name: string): readonly string[] {
  const node = api.get({ group: "", resource: "nodes", name }) as Node | undefined;
  return node?.spec?.podCIDRs ?? [];
}
