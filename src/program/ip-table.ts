// The tables `ip fairlead` and `ip6 fairlead`: Services, masquerade and guard of one node and one family, put together.

import type { Family } from "../ip/address.ts";
import type { Attachment, Network, NetworkNode, NetworkPod, NetworkService } from "../model/network.ts";
import { servicesOf } from "../model/services-list.ts";
import type { Sequence } from "../model/stretch.ts";
import { clusterSets, directSet, podSets } from "./addresses.ts";
import { guardChains } from "./guard.ts";
import { hostPortTranslation } from "./hostports.ts";
import { masqueradeChain } from "./masquerade.ts";
import { memoized } from "./memo.ts";
import { arrayList } from "./nftables/element-list.ts";
import type { NftChain, NftElement, NftRule, NftSet, NftTable } from "./nftables/ruleset.ts";
import { othersPodPart, type PodPart } from "./others-pods.ts";
import { takesDirect } from "./places.ts";
import { policyPart, type PolicyPart } from "./policy.ts";
import { names } from "./program.ts";
import { createSharedAssembler, type SharedAssembly } from "./shared-assembler.ts";
import { serviceSets, translationOf } from "./services.ts";
import { translationParts, type Translation, type TranslationPart } from "./translation.ts";

/** The table of one family at a node with these pods. Pieces that did not change keep their identity. */
export const ipTable: Readonly<
  Record<Family, (network: Network, node: NetworkNode, attachments: readonly Attachment[]) => NftTable>
> = { 4: createIpTable(4), 6: createIpTable(6) };

function createIpTable(
  family: Family,
): (network: Network, node: NetworkNode, attachments: readonly Attachment[]) => NftTable {
  const clusterPart = memoized((cluster: Network["cluster"], nodes: Network["nodes"]) =>
    clusterSets(cluster, nodes, family),
  );
  const podPart = createPodPart(family);
  const servicePart = createServicePart(family);
  const guards = memoized(endingWith);
  const table = memoized(
    (
      cluster: Network["cluster"],
      nodes: Network["nodes"],
      pods: PodPart,
      translations: SharedAssembly<TranslationPart>,
      policies: PolicyPart,
    ): NftTable => {
      const services = serviceSets(cluster, family, translations);
      return {
        family: family === 4 ? "ip" : "ip6",
        name: names.table,
        chains: [...guards(pods.guard, policies.jumps), ...policies.chains, pods.source, ...services.chains],
        sets: [...clusterPart(cluster, nodes), ...pods.sets, ...policies.sets, ...services.sets],
      };
    },
  );
  return (network, node, attachments) =>
    table(
      network.cluster,
      network.nodes,
      podPart(network, node, attachments),
      servicePart(network, node, attachments),
      policyPart(network, node, attachments, family),
    );
}

/** Chains with more rules behind their own. */
function endingWith(
  chains: readonly NftChain[],
  more: Readonly<Record<string, readonly NftRule[]>>,
): readonly NftChain[] {
  return chains.map((chain) => {
    const rules = more[chain.name];
    return rules === undefined ? chain : { ...chain, rules: [...chain.rules, ...rules] };
  });
}

/** What the table has because of whoever connects the pods: we, or another program. */
function createPodPart(
  family: Family,
): (network: Network, node: NetworkNode, attachments: readonly Attachment[]) => PodPart {
  const guardsFor = (established: "keep" | "strict"): Record<"taken" | "refused", readonly NftChain[]> => ({
    taken: guardChains(family, { direct: "taken", established }),
    refused: guardChains(family, { direct: "refused", established }),
  });
  const guards = { keep: guardsFor("keep"), strict: guardsFor("strict") };
  const source = masqueradeChain(family);
  const refused: readonly NftSet[] = [];
  const direct = memoized((cluster: Network["cluster"], nodes: Network["nodes"], node: NetworkNode) =>
    takesDirect(cluster, nodes) ? [directSet(cluster, node, nodes, family)] : refused,
  );
  const own = memoized(
    (cluster: Network["cluster"], directSets: readonly NftSet[], attachments: readonly Attachment[]): PodPart => ({
      guard: guards[cluster.establishedConnections ?? "keep"][directSets.length > 0 ? "taken" : "refused"],
      source,
      sets: [...directSets, ...podSets(attachments, family)],
    }),
  );
  const others = othersPodPart(family);
  return (network, node, attachments) => {
    const { podNetwork = { kind: "own" } } = network.cluster;
    switch (podNetwork.kind) {
      case "own":
        return own(network.cluster, direct(network.cluster, network.nodes, node), attachments);
      case "others":
        return others(network, node, podNetwork);
    }
  };
}

/** Services, and hostPorts after them. */
function createServicePart(
  family: Family,
): (network: Network, node: NetworkNode, attachments: readonly Attachment[]) => SharedAssembly<TranslationPart> {
  const assembler = memoized((node: NetworkNode, cluster: Network["cluster"]) =>
    createSharedAssembler(translationParts, (service: NetworkService) => translationOf(service, node, cluster, family)),
  );
  const assembled = memoized((node: NetworkNode, cluster: Network["cluster"], services: Sequence<NetworkService>) =>
    assembler(node, cluster)(services),
  );
  const hostPorts = memoized(
    (
      frontends: readonly NftElement[],
      node: NetworkNode,
      pods: readonly NetworkPod[],
      attachments: readonly Attachment[],
    ) => {
      const taken = keysOf(frontends);
      return hostPortTranslation(node, {
        pods,
        attachments,
        family,
        isTaken: (frontend) => taken.has(frontend.join(" ")),
      });
    },
  );
  const both = memoized(joined);
  return (network, node, attachments) => {
    const services = assembled(node, network.cluster, servicesOf(network));
    if (!attachments.some((attachment) => attachment.hostPorts.length > 0)) return services;
    return both(services, hostPorts(services.lists.services.all(), node, network.pods, attachments));
  };
}

const keysOf = memoized(
  (elements: readonly NftElement[]): ReadonlySet<string> => new Set(elements.map(({ key }) => key.join(" "))),
);

const joinedList = memoized((a: readonly NftElement[], b: readonly NftElement[]): readonly NftElement[] => [
  ...a,
  ...b,
]);

function joined(assembly: SharedAssembly<TranslationPart>, more: Translation): SharedAssembly<TranslationPart> {
  const parts = translationParts.map((part) => {
    const [all, added] = [assembly.lists[part], more.elements[part]];
    return [part, added.length === 0 ? all : arrayList(joinedList(all.all(), added))] as const;
  });
  return {
    lists: Object.fromEntries(parts) as SharedAssembly<TranslationPart>["lists"],
    chains: [...new Set([...assembly.chains, ...more.chains])].sort(),
  };
}
