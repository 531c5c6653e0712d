// The Network of a real cluster, for one of its nodes: what an API server's watches tell, and what the machine itself knows.
//
// Not here: how watches are kept going (watch/cluster/informer.ts), and what the objects mean (model/).

import { familyOf, type Address, type Family } from "../ip/address.ts";
import { outermost, type Prefix } from "../ip/prefix.ts";
import type { KubeObject } from "../kube/object.ts";
import type { Node } from "../kube/kinds.ts";
import type { ClusterObjects, ObjectChanges } from "../model/build.ts";
import { defaultNodePorts } from "../model/cluster.ts";
import type { ClusterConfig, LocalPods, Network, Routing } from "../model/network.ts";
import { addressesIn } from "../model/node-ports.ts";
import { withNodes } from "../model/services-list.ts";
import type { NetworkSource } from "../model/source.ts";
import type { ClusterClient, ResourceVersioned } from "../watch/cluster/client.ts";
import type { IntervalClock } from "../watch/cluster/clock.ts";
import { startInformer, type Change, type Informer, type InformerStatus } from "../watch/cluster/informer.ts";
import { leanObject } from "../watch/cluster/lean.ts";
import { createChangeLog } from "./change-log.ts";
import { createObjectsSource, createPoolConfig, serviceRangesOf } from "./network-source.ts";

/** What an agent does on its node. */
export type AgentScope =
  /** Pod network, Services and policies. */
  | { readonly kind: "all" }
  /** Services only, beside another program's pod network. */
  | { readonly kind: "services"; readonly local: LocalPods };

export interface ClusterSourceOptions {
  readonly client: ClusterClient;
  /** This node's name. */
  readonly node: string;
  readonly scope: AgentScope;
  /** Pods' ranges where the configuration names them; else those of the nodes stand for them. */
  readonly clusterCidrs: readonly Prefix[];
  /** Services' ranges where the configuration names them; else ServiceCIDR objects are asked. */
  readonly serviceCidrs: readonly Prefix[];
  /** Where node ports answer: on addresses of the machine in these ranges; absent: the node's own primary ones. */
  readonly nodePortCidrs?: readonly Prefix[];
  /** Where kube-apiserver has node ports, if it was told. */
  readonly nodePorts?: { readonly first: number; readonly last: number };
  readonly domain: string;
  /** What this node is about to say of its way to other nodes' pods. */
  readonly routing?: Routing;
  /** Today's addresses of the machine, and the MTU of the link that has one of the given addresses (undefined: none has). */
  readonly machine: {
    addresses(): readonly Address[];
    mtuOf(addresses: readonly Address[]): number | undefined;
  };
  readonly log: (line: string) => void;
  /** The watches' time. */
  readonly clock?: IntervalClock;
}

export interface ClusterSource extends NetworkSource {
  /** Resolves when everything is known: before, `current` would be a Network without objects. */
  readonly synced: Promise<void>;
  /** This node's object as last seen; it may be gone by now. */
  node(): Node | undefined;
  /** All of a kind, as last seen; none where it is not watched. */
  objects(kind: keyof ClusterObjects | "serviceCidrs" | "loadBalancerPools"): readonly KubeObject[];
  /** Per resource. */
  status(): ReadonlyMap<string, InformerStatus>;
  /** How many changes of Services and EndpointSlices came since the start, and how many of them no Network has yet; when the last one did. */
  changes(): SourceChanges;
  /** When the changes of endpoints that came since the last call began, in milliseconds since 1970, where their controller says so. */
  takeTriggers(): readonly number[];
  /** The machine's links or addresses changed. */
  machineChanged(): void;
  close(): void;
}

export interface SourceChanges {
  readonly services: { readonly total: number; readonly pending: number };
  readonly endpointSlices: { readonly total: number; readonly pending: number };
  /** In milliseconds since 1970; undefined before the first. */
  readonly lastAt: number | undefined;
}

interface Watched {
  readonly resource: ResourceVersioned;
  readonly exists?: "maybe" | "where-allowed";
  readonly fieldSelector?: string;
}

/** What the EndpointSlice controller writes: when the first change that a slice shows happened (EndpointsLastChangeTriggerTime). */
const triggerTime = "endpoints.kubernetes.io/last-change-trigger-time";
const triggersMax = 10_000;

type Kind = keyof ClusterObjects | "serviceCidrs" | "loadBalancerPools";

const core = (resource: string): Watched => ({ resource: { group: "", version: "v1", resource } });

/** What each scope has to know: nothing is watched that nobody asks for. */
function watchedBy(options: ClusterSourceOptions): Partial<Record<Kind, Watched>> {
  const services: Partial<Record<Kind, Watched>> = {
    services: core("services"),
    endpointSlices: { resource: { group: "discovery.k8s.io", version: "v1", resource: "endpointslices" } },
    ...(options.serviceCidrs.length === 0 && {
      serviceCidrs: {
        resource: { group: "networking.k8s.io", version: "v1", resource: "servicecidrs" },
        exists: "maybe" as const,
      },
    }),
    loadBalancerPools: {
      resource: { group: "fairlead.dev", version: "v1alpha1", resource: "loadbalancerpools" },
      // kube-proxy's own permissions are enough for Services.
      exists: "where-allowed",
    },
  };
  switch (options.scope.kind) {
    case "services":
      return { ...services, nodes: { ...core("nodes"), fieldSelector: `metadata.name=${options.node}` } };
    case "all":
      return {
        ...services,
        nodes: core("nodes"),
        namespaces: core("namespaces"),
        pods: core("pods"),
        networkPolicies: { resource: { group: "networking.k8s.io", version: "v1", resource: "networkpolicies" } },
        clusterNetworkPolicies: {
          resource: { group: "policy.networking.k8s.io", version: "v1alpha2", resource: "clusternetworkpolicies" },
          exists: "maybe",
        },
      };
  }
}

/** Starts watching at once. */
export function startClusterSource(options: ClusterSourceOptions): ClusterSource {
  const { client, node, log } = options;
  const watched = Object.entries(watchedBy(options)) as [Kind, Watched][];
  const informers = new Map<Kind, Informer<KubeObject>>();
  /** Each kind's objects as an array, until one of them changes. */
  const lists = new Map<Kind, readonly KubeObject[]>();
  let self: Node | undefined;
  let isKnown = false;

  const objectsOf = (kind: Kind): readonly KubeObject[] => {
    let list = lists.get(kind);
    if (list === undefined) lists.set(kind, (list = [...(informers.get(kind)?.objects.values() ?? [])]));
    return list;
  };
  const nodes = (): readonly KubeObject[] => {
    const all = objectsOf("nodes");
    // A node whose object is taken away and made anew (kubelet does so) goes on working meanwhile.
    return self === undefined || informers.get("nodes")?.objects.has(node) === true ? all : [...all, self];
  };
  let configured: ClusterConfig | undefined;
  const withPools = createPoolConfig();
  const cluster = (): ClusterConfig => {
    configured = sameOr(configured, configOf(options, objectsOf("serviceCidrs"), self));
    const pools = objectsOf("loadBalancerPools");
    return pools.length === 0 ? configured : withPools(configured, pools);
  };
  const counts = { services: { total: 0, pending: 0 }, endpointSlices: { total: 0, pending: 0 } };
  let lastAt: number | undefined;
  const services = createChangeLog();
  const endpointSlices = createChangeLog();
  const source = createObjectsSource({
    cluster,
    objects: () =>
      ({
        nodes: nodes(),
        namespaces: objectsOf("namespaces"),
        pods: objectsOf("pods"),
        // Lists of ten thousands: made where they are asked for.
        get services() {
          return objectsOf("services");
        },
        get endpointSlices() {
          return objectsOf("endpointSlices");
        },
        networkPolicies: objectsOf("networkPolicies"),
        clusterNetworkPolicies: objectsOf("clusterNetworkPolicies"),
      }) as ClusterObjects,
    takeChanges() {
      counts.services.pending = 0;
      counts.endpointSlices.pending = 0;
      return { services: services.take(), endpointSlices: endpointSlices.take() } as unknown as ObjectChanges;
    },
    finish: nodePortFinish(options),
  });
  let isReady = false;
  let triggers: number[] = [];
  const keepSlice = (slice: KubeObject): KubeObject => {
    const time = Date.parse(slice.metadata.annotations?.[triggerTime] ?? "");
    if (isReady && !Number.isNaN(time) && triggers.length < triggersMax) triggers.push(time);
    return leanObject(slice);
  };
  const changed = (kind: Kind, changes: readonly Change<KubeObject>[]): void => {
    lists.delete(kind);
    if (kind === "services" || kind === "endpointSlices") {
      (kind === "services" ? services : endpointSlices).note(changes);
      counts[kind].total += changes.length;
      counts[kind].pending += changes.length;
      lastAt = Date.now();
    }
    if (kind === "nodes") {
      const today = informers.get("nodes")?.objects.get(node) as Node | undefined;
      if (today === undefined && self !== undefined && isKnown)
        log(
          `node ${node} is no object of the cluster any more: what is programmed stays, until the agent is told to clean up`,
        );
      isKnown = today !== undefined;
      self = today ?? self;
    }
    if (isReady) source.changed();
  };
  for (const [kind, { resource, exists, fieldSelector }] of watched) {
    informers.set(
      kind,
      startInformer<KubeObject>({
        client,
        resource,
        ...(exists === undefined ? {} : { exists }),
        ...(fieldSelector === undefined ? {} : { fieldSelector }),
        ...(kind === "endpointSlices" ? { keep: keepSlice } : {}),
        changed: (changes) => changed(kind, changes),
        log,
        ...(options.clock === undefined ? {} : { clock: options.clock }),
      }),
    );
  }
  const synced = Promise.all([...informers.values()].map((informer) => informer.synced)).then(() => {
    isReady = true;
    source.changed();
  });

  return {
    current: source.current,
    subscribe: source.subscribe,
    synced,
    node: () => self,
    objects: objectsOf,
    changes: () => ({ ...counts, lastAt }),
    takeTriggers() {
      const taken = triggers;
      triggers = [];
      return taken;
    },
    status: () => new Map([...informers].map(([kind, informer]) => [kind, informer.status()])),
    machineChanged() {
      if (isReady) source.changed();
    },
    close() {
      for (const informer of informers.values()) informer.close();
      source.close();
    },
  };
}

function configOf(
  options: ClusterSourceOptions,
  serviceCidrObjects: readonly KubeObject[],
  self: Node | undefined,
): ClusterConfig {
  const { scope, clusterCidrs, domain, machine } = options;
  const serviceCidrs =
    options.serviceCidrs.length > 0 ? options.serviceCidrs : outermost(serviceRangesOf(serviceCidrObjects));
  const families = familiesOf(serviceCidrs);
  const own = (self?.status?.addresses ?? []).filter(({ type }) => type === "InternalIP").map(({ address }) => address);
  const common = {
    domain,
    families,
    podCidrs: clusterCidrs.filter((range) => families.includes(familyOf(range))),
    serviceCidrs,
    nodeCidrs: [],
    dnsAddresses: [],
    overlay: "vxlan",
    ...(options.routing !== undefined && options.routing !== "vxlan" && { direct: "taken" as const }),
    underlayMtu: machine.mtuOf(own) ?? 1500,
    nodePorts: options.nodePorts ?? defaultNodePorts,
  } as const;
  switch (scope.kind) {
    case "all":
      return common;
    case "services":
      return { ...common, policy: "off", podNetwork: { kind: "others", local: scope.local } };
  }
}

/** The families that Services can have; both where nothing says so. */
function familiesOf(serviceCidrs: readonly Prefix[]): readonly Family[] {
  const families = [...new Set(serviceCidrs.map((range) => familyOf(range)))];
  return families.length === 0 ? [4, 6] : families;
}

/** The configuration stays the same value while it says the same: everything built from it stays good. */
function sameOr(before: ClusterConfig | undefined, next: ClusterConfig): ClusterConfig {
  return before !== undefined && JSON.stringify(before) === JSON.stringify(next) ? before : next;
}

/**
 * A function that gives this node the addresses its node ports answer at. The same Network while network and addresses are the same:
 * readers go by identity.
 */
function nodePortFinish({ node, nodePortCidrs, machine }: ClusterSourceOptions): (network: Network) => Network {
  if (nodePortCidrs === undefined) return (network) => network;
  let last: { readonly from: Network; readonly addresses: string; readonly network: Network } | undefined;
  return (from) => {
    const nodePortAddresses = addressesIn(nodePortCidrs, machine.addresses());
    const addresses = nodePortAddresses.join(" ");
    if (last?.from === from && last.addresses === addresses) return last.network;
    const nodes =
      last?.from.nodes === from.nodes && last.addresses === addresses
        ? last.network.nodes
        : from.nodes.map((each) => (each.name === node ? { ...each, nodePortAddresses } : each));
    last = { from, addresses, network: withNodes(from, nodes) };
    return last.network;
  };
}
