// Where packets go from a node: its own pods, other nodes' pods, Services, and what must go nowhere. Routes, neighbours and
// forwarding entries belong together: every next hop's hardware address is written down, nothing is learned or asked for.
//
// Not here: the default route and the underlay (the machine's own).

import { familyOf, type Address } from "../ip/address.ts";
import { hostPrefix } from "../ip/prefix.ts";
import type { Origin } from "../kube/object.ts";
import type { Attachment, ClusterConfig, NetworkNode } from "../model/network.ts";
import { clusterOrigin } from "../model/origin.ts";
import { compareText } from "../model/table.ts";
import { memoized } from "./memo.ts";
import { gatewayOf, isDirect, ofFamily, tunnelAddressOf, tunnelEndpoint, tunnelMac } from "./places.ts";
import { podOrigin, sortedOfEach } from "./pods.ts";
import { names, type ForwardingEntry, type LinkAddress, type Neighbour, type Route } from "./program.ts";

/** The kernel's default for IPv6 (IP6_RT_PRIO_USER), for both families: one number in both kinds of `ip route`. */
export const routeMetric = 1024;

interface Ways {
  readonly routes: readonly Route[];
  readonly neighbours: readonly Neighbour[];
  readonly forwarding: readonly ForwardingEntry[];
}

/** Ways to the node's own pods, sorted. A pod's are the same values while it and the node are. */
export function podWays(node: NetworkNode, attachments: readonly Attachment[]): Ways {
  return {
    routes: podRoutes(attachments, node),
    neighbours: podNeighbours(attachments),
    forwarding: podForwarding(attachments),
  };
}

const podRoutes = sortedOfEach(byPrefix, (attachment, node: NetworkNode): readonly Route[] => {
  const origin = podOrigin(attachment);
  return attachment.addresses.map((address) => ({
    to: hostPrefix(address),
    action: "forward",
    link: names.bridge,
    ...sourceOf(gatewayFor(node, address)),
    metric: routeMetric,
    origin,
  }));
});
const podNeighbours = sortedOfEach(byLink, (attachment): readonly Neighbour[] => {
  const origin = podOrigin(attachment);
  return attachment.addresses.map((address) => ({ link: names.bridge, address, mac: attachment.mac, origin }));
});
const podForwarding = sortedOfEach(byPort, (attachment): readonly ForwardingEntry[] => [
  { link: attachment.link, mac: attachment.mac, origin: podOrigin(attachment) },
]);

/** Ways to the pods of the other nodes. Unready nodes keep theirs: readiness is the endpoints' business. */
export function nodeWays(cluster: ClusterConfig, node: NetworkNode, nodes: readonly NetworkNode[]): Ways {
  const local = tunnelEndpoint(node);
  const others = local === undefined ? [] : nodes.filter(({ name }) => name !== node.name);
  const ways = others.flatMap((other) => {
    const remote = remoteEnd(node, other);
    return remote === undefined ? [] : [wayTo(cluster, node, other)];
  });
  return {
    routes: ways.flatMap(({ routes }) => routes),
    neighbours: ways.flatMap(({ neighbours }) => neighbours),
    forwarding: ways.flatMap(({ forwarding }) => forwarding),
  };
}

/**
 * Through the tunnel the other node's tunnel address is the next hop, on the tunnel though no prefix says so (onlink); neighbour and forwarding
 * entry are there for every node, whichever way its pods' packets go now. Else the node's own address is the next hop, on whichever link it is.
 */
const wayTo = memoized((cluster: ClusterConfig, node: NetworkNode, other: NetworkNode): Ways => {
  const remote = remoteEnd(node, other);
  const mac = tunnelMac(other.name);
  const origin = (index: number): Origin => ({ ...other.origin, field: `spec.podCIDRs[${index}]` });
  return {
    routes: other.podCidrs.flatMap((range, index): readonly Route[] => {
      const family = familyOf(range);
      const gateway = ofFamily(other.addresses, family);
      if (gateway !== undefined && isDirect(cluster, node, other, family)) {
        const way: Route = { to: range, action: "forward", via: gateway, metric: routeMetric, origin: origin(index) };
        return family === 4 ? [way] : [way, wayBack(tunnelAddressOf(range), origin(index))];
      }
      const own = ofFamily(node.podCidrs, family);
      return [
        {
          to: range,
          action: "forward",
          link: names.vxlan,
          via: tunnelAddressOf(range),
          onlink: true,
          // The tunnel's own address: replies to the node itself come back through the tunnel, as they must where the underlay drops pod addresses.
          ...sourceOf(own === undefined ? undefined : tunnelAddressOf(own)),
          metric: routeMetric,
          origin: origin(index),
        },
      ];
    }),
    neighbours: other.podCidrs.map((range, index): Neighbour => ({
      link: names.vxlan,
      address: tunnelAddressOf(range),
      mac,
      origin: origin(index),
    })),
    forwarding:
      remote === undefined
        ? []
        : [{ link: names.vxlan, mac, remote, origin: { ...other.origin, field: "status.addresses" } }],
  };
});

/** Where the tunnel to another node ends: its address of the family in which ours begins. */
function remoteEnd(node: NetworkNode, other: NetworkNode): Address | undefined {
  const local = tunnelEndpoint(node);
  return local === undefined ? undefined : ofFamily(other.addresses, familyOf(local));
}

/**
 * IPv6 takes a next hop on a link, onlink or not, only where no route says that it is on another one: without this route, a range that is reached
 * over the underlay could not be given back to the tunnel without a moment in which it is not reached at all.
 */
function wayBack(tunnelAddress: Address, origin: Origin): Route {
  return { to: hostPrefix(tunnelAddress), action: "forward", link: names.vxlan, metric: routeMetric, origin };
}

/**
 * Routes that keep packets from leaving by the default route: addresses of the node's range that no pod has (they would bounce between
 * node and gateway), of the cluster's range that no node has, and Service addresses. A node's own connection to a Service needs some route before it
 * is translated; that one leads to the bridge, where an address that was not translated finds no neighbour.
 */
export function boundaryRoutes(cluster: ClusterConfig, node: NetworkNode): readonly Route[] {
  return [
    ...node.podCidrs.map((range, index): Route => ({
      to: range,
      action: "unreachable",
      metric: routeMetric,
      origin: { ...node.origin, field: `spec.podCIDRs[${index}]` },
    })),
    ...cluster.podCidrs
      .filter((range) => !node.podCidrs.includes(range))
      .map((range, index): Route => ({
        to: range,
        action: "unreachable",
        metric: routeMetric,
        origin: clusterOrigin(cluster, `podCidrs[${index}]`),
      })),
    ...cluster.serviceCidrs.map((range, index): Route => ({
      to: range,
      action: "forward",
      link: names.bridge,
      ...sourceOf(gatewayFor(node, range)),
      metric: routeMetric,
      origin: clusterOrigin(cluster, `serviceCidrs[${index}]`),
    })),
  ];
}

function gatewayFor(node: NetworkNode, destination: string): Address | undefined {
  const range = ofFamily(node.podCidrs, familyOf(destination));
  return range === undefined ? undefined : gatewayOf(range);
}

function sourceOf(source: Address | undefined): Pick<Route, "source"> {
  return source === undefined ? {} : { source };
}

// ---------------------------------------------------------------- the order of each list

export function byPrefix(a: Route, b: Route): number {
  return compareText(a.to, b.to);
}

export function byLink(a: LinkAddress | Neighbour, b: LinkAddress | Neighbour): number {
  return compareText(a.link, b.link) || compareText(a.address, b.address);
}

export function byPort(a: ForwardingEntry, b: ForwardingEntry): number {
  return compareText(a.link, b.link) || compareText(a.mac, b.mac);
}
