// Load balancers on a real node: while the cluster has LoadBalancerPools, this agent takes part in giving Services addresses
// (load-balancer-status.ts) and in answering for them on the node's link (layer2.ts). Without pools it does nothing.
//
// Not here: what the node does with packets to these addresses (program/services.ts).

import { familyOf, type Address, type Family } from "../ip/address.ts";
import { addressBits, contains, prefixBits, type Prefix } from "../ip/prefix.ts";
import type { NetworkKernel } from "../kernel/kernel.ts";
import type { NetworkNamespace } from "../kernel/namespaces.ts";
import type { Node } from "../kube/kinds.ts";
import { announcedAddresses, candidates, isAnnouncer } from "../model/layer2.ts";
import type { Network, NetworkNode, NetworkService } from "../model/network.ts";
import { layer2Annotation, networkNode } from "../model/node.ts";
import { servicesOf } from "../model/services-list.ts";
import type { ClusterClient } from "../watch/cluster/client.ts";
import { startInformer, type Informer } from "../watch/cluster/informer.ts";
import type { AgentScope, ClusterSource } from "./cluster-source.ts";
import { startLayer2, type Layer2, type Layer2View } from "./layer2.ts";
import type { PortPlace } from "./layer2-port.ts";
import { startLoadBalancerStatus, type LoadBalancerStatus } from "./load-balancer-status.ts";
import type { MachineFacts } from "./machine.ts";
import type { NodeNotes } from "./node-notes.ts";

export interface LoadBalancers {
  /** What this node answers for now. */
  announced(): readonly Address[];
  /** What the Node is to say. */
  note(): NodeNotes["layer2"];
  /** In Prometheus' text format; empty without pools. */
  metrics(): string;
  close(): Promise<void>;
}

export interface LoadBalancersOptions {
  readonly client: ClusterClient;
  /** This node's name. */
  readonly node: string;
  readonly scope: AgentScope["kind"];
  readonly source: Pick<ClusterSource, "current" | "subscribe" | "objects" | "node">;
  readonly machine: Pick<MachineFacts, "placesOf">;
  readonly namespace: NetworkNamespace;
  readonly kernel: NetworkKernel;
  /** What `note` says is another thing. */
  readonly noteChanged: () => void;
  readonly log: (line: string) => void;
}

/** Each address has so many nodes that watch each other. */
const candidatesMax = 3;
/** Changes are gathered for so long. */
const gatherMs = 50;
/** A note that is missing on the Node (made anew, or edited) is written again, at most so often. */
const noteAgainMs = 5_000;

/** Takes part from now on: the kernel must hold the Services already. */
export function startLoadBalancers(options: LoadBalancersOptions): LoadBalancers {
  const { source, noteChanged } = options;
  let parts: Parts | undefined;
  let closing: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;
  let note: NodeNotes["layer2"] = "silent";
  let notedMs = -Infinity;

  const lookSoon = (): void => {
    timer ??= setTimeout(look, gatherMs);
    timer.unref();
  };
  const look = (): void => {
    timer = undefined;
    const hasPools = source.objects("loadBalancerPools").length > 0;
    if (!hasPools && parts !== undefined) {
      closing = parts.close();
      parts = undefined;
    }
    if (hasPools) {
      parts ??= startParts(options, lookSoon);
      parts.update();
    }
    const before = note;
    note = parts?.note() ?? "silent";
    const isMissing =
      note === "announces" && !saysAnnounces(source.node()) && performance.now() - notedMs > noteAgainMs;
    if (note === before && !isMissing) return;
    notedMs = performance.now();
    noteChanged();
  };
  const subscription = source.subscribe(lookSoon);
  look();
  return {
    announced: () => parts?.announced() ?? [],
    note: () => note,
    metrics: () => (parts === undefined ? "" : metricsText(parts.announced().length)),
    async close() {
      clearTimeout(timer);
      subscription.close();
      await Promise.all([closing, parts?.close()]);
      parts = undefined;
    },
  };
}

/** What runs while there are pools. */
interface Parts extends Pick<LoadBalancers, "announced" | "note" | "close"> {
  update(): void;
}

function startParts(
  { client, node, scope, source, machine, namespace, kernel, log }: LoadBalancersOptions,
  changed: () => void,
): Parts {
  let others: readonly Node[] | undefined;
  // Beside another pod network only this node is watched, until others matter.
  const informer: Informer<Node> | undefined =
    scope === "all"
      ? undefined
      : startInformer<Node>({
          client,
          resource: { group: "", version: "v1", resource: "nodes" },
          changed() {
            others = undefined;
            changed();
          },
          log,
        });
  const nodes = (): readonly Node[] =>
    informer === undefined ? (source.objects("nodes") as readonly Node[]) : (others ??= [...informer.objects.values()]);
  const layer2: Layer2 = startLayer2({ node, namespace, kernel, log });
  const status: LoadBalancerStatus = startLoadBalancerStatus({
    client,
    node,
    source,
    nodeCount: () => nodes().length,
    log,
  });
  const places = (): readonly NodePlace[] => placesOf(source.node(), machine);
  const announcersOf = remembered((list: readonly Node[]) =>
    list.filter(saysAnnounces).map(networkNode).filter(isAnnouncer),
  );
  const viewOf = createViews(node);
  return {
    update() {
      status.lookSoon();
      const view = viewOf(source.current(), places(), announcersOf(nodes()));
      if (view !== undefined) layer2.update(view);
    },
    announced: () => layer2.held(),
    note: () => (places().length > 0 ? "announces" : "silent"),
    async close() {
      informer?.close();
      layer2.close();
      await status.close();
    },
  };
}

/** This node too: who is a candidate is the same for all who look at the same objects. */
function saysAnnounces(node: Node | undefined): boolean {
  return node?.metadata.annotations?.[layer2Annotation] === "announces";
}

/** Where the node's own addresses are, one per family: on a link whose range says who else is there. */
function placesOf(self: Node | undefined, machine: Pick<MachineFacts, "placesOf">): readonly NodePlace[] {
  const addresses = self === undefined ? [] : networkNode(self).addresses;
  return machine.placesOf(addresses).flatMap(({ address, range, link: { index, name, mac } }) => {
    // An address that is a range of its own says nothing of neighbours: each node would think itself alone.
    if (mac === undefined || prefixBits(range) === addressBits(familyOf(range))) return [];
    return [{ index, name, mac, address, range }];
  });
}

interface NodePlace extends PortPlace {
  /** Of the link: who is in it is a neighbour. */
  readonly range: Prefix;
}

/** A function that gives what there is to answer for; undefined where it is as it was. */
function createViews(
  self: string,
): (network: Network, places: readonly NodePlace[], nodes: readonly NetworkNode[]) => Layer2View | undefined {
  let before: { readonly places: string; readonly nodes: readonly NetworkNode[] } = { places: "", nodes: [] };
  let cluster: Network["cluster"] | undefined;
  let neighbours: Readonly<Record<Family, readonly NetworkNode[]>> = { 4: [], 6: [] };
  let ranked = new WeakMap<NetworkService, ReadonlyMap<Address, readonly string[]>>();
  let told: ReadonlyMap<Address, readonly string[]> | undefined;
  return (network, places, nodes) => {
    const now = { places: JSON.stringify(places), nodes };
    const isSamePlace = now.places === before.places && now.nodes === before.nodes;
    before = now;
    if (!isSamePlace) {
      const onLink = (family: Family): readonly NetworkNode[] => {
        const range = places.find(({ address }) => familyOf(address) === family)?.range;
        return nodes.filter(({ addresses }) => addresses.some((each) => range !== undefined && contains(range, each)));
      };
      neighbours = { 4: onLink(4), 6: onLink(6) };
    }
    if (!isSamePlace || cluster !== network.cluster) ranked = new WeakMap();
    cluster = network.cluster;
    const all = new Map<Address, readonly string[]>();
    servicesOf(network).forEach((service) => {
      if (service.type !== "LoadBalancer") return;
      let own = ranked.get(service);
      if (own === undefined) {
        own = new Map(
          announcedAddresses(service, network.cluster).map((address) => [
            address,
            candidates(address, service, neighbours[familyOf(address)], candidatesMax),
          ]),
        );
        ranked.set(service, own);
      }
      for (const [address, names] of own) if (!all.has(address)) all.set(address, names);
    });
    if (isSamePlace && told !== undefined && isSameRanking(told, all)) return undefined;
    told = all;
    const inRange = (address: Address): boolean => places.some(({ range }) => contains(range, address));
    return {
      places,
      candidates: all,
      ranges: network.cluster.loadBalancerCidrs ?? [],
      nodes: new Map(
        nodes.filter(({ name }) => name !== self).map(({ name, addresses }) => [name, addresses.filter(inRange)]),
      ),
    };
  };
}

function isSameRanking(
  a: ReadonlyMap<Address, readonly string[]>,
  b: ReadonlyMap<Address, readonly string[]>,
): boolean {
  if (a.size !== b.size) return false;
  for (const [address, names] of a) {
    const others = b.get(address);
    if (others !== names && (others === undefined || others.join(" ") !== names.join(" "))) return false;
  }
  return true;
}

/** A function of an object, made once for the last one. */
function remembered<T extends object, R>(make: (value: T) => R): (value: T) => R {
  let last: { readonly from: T; readonly value: R } | undefined;
  return (from) => {
    if (last?.from !== from) last = { from, value: make(from) };
    return last.value;
  };
}

function metricsText(announced: number): string {
  return [
    "# HELP fairlead_load_balancer_addresses Load balancers' addresses that this node answers for.",
    "# TYPE fairlead_load_balancer_addresses gauge",
    `fairlead_load_balancer_addresses ${announced}`,
    "",
  ].join("\n");
}
