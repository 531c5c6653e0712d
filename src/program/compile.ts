// Network + node + the node's pods -> Program. Pure: the same arguments give an equal Program, in whatever order things came to be.
// Whole in meaning and small in practice: each piece remembers what it made of the very same values (memo.ts).
//
// Not here: what the kernel can do (apply/ asks), and why each hook is the right one (docs/pipeline.md).

import type { Attachment, ClusterConfig, Network, NetworkNode, PodNetwork } from "../model/network.ts";
import { guardTable } from "./guard.ts";
import { ipTable } from "./ip-table.ts";
import { nodeAddresses, nodeLinks } from "./links.ts";
import { memoized } from "./memo.ts";
import type { NftTable } from "./nftables/ruleset.ts";
import { soundAttachments } from "./pods.ts";
import type { Decision } from "./policy-decisions.ts";
import { policyDecisions } from "./policy.ts";
import type { Program } from "./program.ts";
import { boundaryRoutes, byLink, byPort, byPrefix, nodeWays, podWays } from "./routes.ts";
import { merged } from "./sorted.ts";
import { loopbackSysctls, nodeSysctls } from "./sysctls.ts";

/**
 * The Program of one node. `attachments` are the pods that have a place in it.
 * A node that the Network does not know has an empty Program: nothing of ours stays on it.
 */
export function compile(network: Network, node: string, attachments: readonly Attachment[]): Program {
  const self = network.nodes.find(({ name }) => name === node);
  if (self === undefined) return emptyProgram(node);
  const { cluster, nodes } = network;
  const pods = sound(attachments);
  const part = podNetworkParts[cluster.podNetwork?.kind ?? "own"];
  return {
    node,
    ...part.frame(cluster, nodes, self, pods),
    tables: [...cluster.families.map((family) => ipTable[family](network, self, pods)), ...part.tables(pods)],
  };
}

/** What policies can decide at a node with these pods: of the Program that `compile` makes of the same arguments, by a packet's mark. */
export function policyDecisionsAt(
  network: Network,
  node: string,
  attachments: readonly Attachment[],
): ReadonlyMap<string, Decision> {
  const self = network.nodes.find(({ name }) => name === node);
  return self === undefined ? noDecisions : policyDecisions(network, self, sound(attachments));
}

const noDecisions: ReadonlyMap<string, Decision> = new Map();

/** What a Program has beside the tables of the IP families. */
type Frame = Omit<Program, "node" | "tables">;

function emptyProgram(node: string): Program {
  return { node, ...emptyFrame, tables: [] };
}

const emptyFrame: Frame = { sysctls: [], links: [], addresses: [], routes: [], neighbours: [], forwarding: [] };

const sound = memoized(soundAttachments);
const guard = memoized(guardTable);
const sysctls = memoized(nodeSysctls);
const addresses = memoized((node: NetworkNode) => nodeAddresses(node).toSorted(byLink));
const others = memoized(nodeWays);
const boundary = memoized(boundaryRoutes);

/** Everything but nftables. */
const compileFrame = memoized(
  (
    cluster: ClusterConfig,
    nodes: readonly NetworkNode[],
    self: NetworkNode,
    attachments: readonly Attachment[],
  ): Frame => {
    const pods = podWays(self, attachments);
    const remote = remoteFrame(cluster, self, nodes);
    return {
      sysctls: sysctls(self),
      links: nodeLinks(cluster, self, attachments),
      addresses: addresses(self),
      routes: merged(remote.routes, pods.routes, byPrefix),
      neighbours: merged(remote.neighbours, pods.neighbours, byLink),
      forwarding: merged(remote.forwarding, pods.forwarding, byPort),
    };
  },
);

/** What does not depend on the node's own pods, sorted: thousands of nodes, and a pod's coming is none of their business. */
const remoteFrame = memoized((cluster: ClusterConfig, self: NetworkNode, nodes: readonly NetworkNode[]) => {
  const remote = others(cluster, self, nodes);
  return {
    // Two nodes' ranges may repeat the cluster's own.
    routes: uniqueBy([...boundary(cluster, self), ...remote.routes].sort(byPrefix), ({ to }) => to),
    neighbours: remote.neighbours.toSorted(byLink),
    forwarding: remote.forwarding.toSorted(byPort),
  };
});

/** Beside another program's pod network. */
const othersFrame = memoized((self: NetworkNode): Frame => ({ ...emptyFrame, sysctls: loopbackSysctls(self) }));

/** Whose the pod network is decides what there is to make. */
const podNetworkParts: Readonly<
  Record<
    PodNetwork["kind"],
    {
      readonly frame: typeof compileFrame;
      readonly tables: (attachments: readonly Attachment[]) => readonly NftTable[];
    }
  >
> = {
  own: { frame: compileFrame, tables: (attachments) => [guard(attachments)] },
  others: { frame: (_cluster, _nodes, self) => othersFrame(self), tables: () => [] },
};

/** Of equal keys the first. */
function uniqueBy<T>(sorted: readonly T[], keyOf: (value: T) => string): readonly T[] {
  return sorted.filter((value, index) => {
    const previous = sorted[index - 1];
    return previous === undefined || keyOf(previous) !== keyOf(value);
  });
}
