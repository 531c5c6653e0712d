// Network + node + the node's pods -> Program. Pure: the same arguments give an equal Program, in whatever order things came to be.
// Whole in meaning and small in practice: each piece remembers what it made of the very same values (memo.ts).
//
// Not here: what the kernel can do (apply/ asks), and why each hook is the right one (docs/pipeline.md).

import type { Family } from "../ip/address.ts";
import type { Attachment, ClusterConfig, Network, NetworkNode, NetworkService } from "../model/network.ts";
import { clusterSets, podSets } from "./addresses.ts";
import { createAssembler, type Assembly } from "./assemble.ts";
import { guardChains, guardTable } from "./guard.ts";
import { hostPortTranslation } from "./hostports.ts";
import { nodeAddresses, nodeLinks } from "./links.ts";
import { masqueradeChain } from "./masquerade.ts";
import { memoized } from "./memo.ts";
import type { NftElement, NftSet, NftTable } from "./nftables/ruleset.ts";
import { soundAttachments } from "./pods.ts";
import { names, type Program } from "./program.ts";
import { boundaryRoutes, nodeWays, podWays } from "./routes.ts";
import { serviceSets, translationOf, translationParts, type Translation, type TranslationPart } from "./services.ts";
import { nodeSysctls } from "./sysctls.ts";

/**
 * The Program of one node. `attachments` are the pods that have a place in it.
 * A node that the Network does not know has an empty Program: nothing of ours stays on it.
 */
export function compile(network: Network, node: string, attachments: readonly Attachment[]): Program {
  const self = network.nodes.find(({ name }) => name === node);
  if (self === undefined) return emptyProgram(node);
  const { cluster, nodes, services } = network;
  const frame = compileFrame(cluster, nodes, self, attachments);
  return {
    node,
    ...frame,
    tables: [
      ...cluster.families.map((family) => ipTables[family](cluster, nodes, self, services, attachments)),
      guard(sound(attachments)),
    ],
  };
}

function emptyProgram(node: string): Program {
  return { node, sysctls: [], links: [], addresses: [], routes: [], neighbours: [], forwarding: [], tables: [] };
}

const sound = memoized(soundAttachments);
const guard = memoized(guardTable);
const sysctls = memoized(nodeSysctls);
const addresses = memoized(nodeAddresses);
const others = memoized(nodeWays);
const boundary = memoized(boundaryRoutes);

/** Everything but nftables. */
const compileFrame = memoized(
  (
    cluster: ClusterConfig,
    nodes: readonly NetworkNode[],
    self: NetworkNode,
    attachments: readonly Attachment[],
  ): Omit<Program, "node" | "tables"> => {
    const pods = podWays(self, sound(attachments));
    const remote = others(self, nodes);
    const routes = [...boundary(cluster, self), ...remote.routes, ...pods.routes];
    return {
      sysctls: sysctls(self),
      links: nodeLinks(cluster, self, sound(attachments)),
      addresses: sortBy(addresses(self), ({ link, address }) => `${link} ${address}`),
      routes: uniqueBy(
        sortBy(routes, ({ to }) => to),
        ({ to }) => to,
      ),
      neighbours: sortBy([...remote.neighbours, ...pods.neighbours], ({ link, address }) => `${link} ${address}`),
      forwarding: sortBy([...remote.forwarding, ...pods.forwarding], ({ link, mac }) => `${link} ${mac}`),
    };
  },
);

const ipTables = { 4: memoized(ipTable(4)), 6: memoized(ipTable(6)) };

function ipTable(
  family: Family,
): (
  cluster: ClusterConfig,
  nodes: readonly NetworkNode[],
  self: NetworkNode,
  services: readonly NetworkService[],
  attachments: readonly Attachment[],
) => NftTable {
  const ofCluster = memoized((cluster: ClusterConfig, nodes: readonly NetworkNode[]) =>
    clusterSets(cluster, nodes, family),
  );
  const ofPods = memoized((attachments: readonly Attachment[]): readonly NftSet[] => podSets(attachments, family));
  const assembler = memoized((self: NetworkNode) =>
    createAssembler(translationParts, (service: NetworkService) => translationOf(service, self, family)),
  );
  const ofServices = memoized((self: NetworkNode, services: readonly NetworkService[]) => assembler(self)(services));
  const hostPorts = memoized(
    (frontends: readonly NftElement[], self: NetworkNode, attachments: readonly Attachment[]) => {
      const taken = new Set(frontends.map(({ key }) => key.join(" ")));
      return hostPortTranslation(self, attachments, family, (frontend) => taken.has(frontend.join(" ")));
    },
  );
  const withHostPorts = (
    assembly: Assembly<TranslationPart>,
    self: NetworkNode,
    attachments: readonly Attachment[],
  ): Assembly<TranslationPart> => {
    if (!attachments.some(({ hostPorts }) => hostPorts.length > 0)) return assembly;
    return joined(assembly, hostPorts(assembly.elements.services, self, attachments));
  };
  const fixedChains = [...guardChains(family), masqueradeChain(family)];
  return (cluster, nodes, self, services, attachments) => {
    const pods = sound(attachments);
    const translation = serviceSets(cluster, family, withHostPorts(ofServices(self, services), self, pods));
    return {
      family: family === 4 ? "ip" : "ip6",
      name: names.table,
      // NetworkPolicy's chains belong between guard and masquerade: forward and input at filter priority, after destinations are final.
      chains: [...fixedChains, ...translation.chains],
      sets: [...ofCluster(cluster, nodes), ...ofPods(pods), ...translation.sets],
    };
  };
}

const joinedList = memoized((a: readonly NftElement[], b: readonly NftElement[]): readonly NftElement[] => [
  ...a,
  ...b,
]);

function joined(assembly: Assembly<TranslationPart>, more: Translation): Assembly<TranslationPart> {
  const parts = translationParts.map((part) => {
    const [all, added] = [assembly.elements[part], more.elements[part]];
    return [part, added.length === 0 ? all : joinedList(all, added)] as const;
  });
  return {
    elements: Object.fromEntries(parts) as Assembly<TranslationPart>["elements"],
    counts: [...new Set([...assembly.counts, ...more.counts])].sort((a, b) => a - b),
  };
}

function sortBy<T>(values: readonly T[], keyOf: (value: T) => string): readonly T[] {
  return values
    .map((value) => ({ value, key: keyOf(value) }))
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    .map(({ value }) => value);
}

/** Of equal keys the first: two nodes' ranges may repeat the cluster's own. */
function uniqueBy<T>(sorted: readonly T[], keyOf: (value: T) => string): readonly T[] {
  return sorted.filter((value, index) => {
    const previous = sorted[index - 1];
    return previous === undefined || keyOf(previous) !== keyOf(value);
  });
}
