// The node's links and the node's own addresses on them: the pods' bridge, the tunnel, the host's end of each pod's veth pair.
//
// Not here: the pod's end (agent/pod-network.ts makes it), the uplink (the machine's own).

import type { Attachment, ClusterConfig, NetworkNode } from "../model/network.ts";
import { compareText } from "../model/table.ts";
import { memoized } from "./memo.ts";
import { bridgeMac, gatewayOf, podMtu, tunnelAddressOf, tunnelEndpoint, tunnelMac, tunnelMtu } from "./places.ts";
import { ofEach, podOrigin } from "./pods.ts";
import { names, type Link, type LinkAddress } from "./program.ts";
import { merged } from "./sorted.ts";

/** VXLAN network identifier and UDP port of the overlay (IANA vxlan). */
export const vxlan = { vni: 1, port: 4789 } as const;

/** The links of a node with these pods. Sorted by name. */
export function nodeLinks(
  cluster: ClusterConfig,
  node: NetworkNode,
  attachments: readonly Attachment[],
): readonly Link[] {
  return merged(makers(cluster, node), podLinks(attachments, cluster, node), byName);
}

/** What the agent makes: the bridge, and the tunnel where the node has an address. */
const makers = memoized((cluster: ClusterConfig, node: NetworkNode): readonly Link[] => {
  const bridge: Link = {
    kind: "bridge",
    name: names.bridge,
    mac: bridgeMac(node.name),
    mtu: podMtu(cluster, node),
    origin: { ...node.origin, field: "spec.podCIDRs" },
  };
  const local = tunnelEndpoint(node);
  if (local === undefined) return [bridge];
  const tunnel: Link = {
    kind: "vxlan",
    name: names.vxlan,
    mac: tunnelMac(node.name),
    mtu: tunnelMtu(cluster, node),
    vni: vxlan.vni,
    port: vxlan.port,
    local,
    origin: { ...node.origin, field: "status.addresses" },
  };
  return [bridge, tunnel].sort(byName);
});

function byName(a: Link, b: Link): number {
  return compareText(a.name, b.name);
}

const podLinks = ofEach((attachment, cluster: ClusterConfig, node: NetworkNode): readonly Link[] => [
  {
    kind: "pod",
    name: attachment.link,
    bridge: names.bridge,
    isolated: true,
    mtu: podMtu(cluster, node),
    origin: podOrigin(attachment),
  },
]);

/**
 * The node's own addresses: each pod range's gateway on the bridge and tunnel address on the tunnel. All as single addresses (/32, /128):
 * the bridge's "subnet" is made of one route per pod, so that nobody asks for neighbours.
 */
export function nodeAddresses(node: NetworkNode): readonly LinkAddress[] {
  const origin = (index: number): LinkAddress["origin"] => ({ ...node.origin, field: `spec.podCIDRs[${index}]` });
  const gateways = node.podCidrs.map((range, index): LinkAddress => ({
    link: names.bridge,
    address: gatewayOf(range),
    bits: range.includes(":") ? 128 : 32,
    origin: origin(index),
  }));
  if (tunnelEndpoint(node) === undefined) return gateways;
  const tunnels = node.podCidrs.map((range, index): LinkAddress => ({
    link: names.vxlan,
    address: tunnelAddressOf(range),
    bits: range.includes(":") ? 128 : 32,
    origin: origin(index),
  }));
  return [...gateways, ...tunnels];
}
