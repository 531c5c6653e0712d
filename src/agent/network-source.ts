// Objects that somebody keeps current, as a NetworkSource: the Network is built when somebody asks after a change, once for all who ask.
//
// Not here: where the objects come from: the lab's store (lab/network-source.ts), an API server (cluster-source.ts).

import { outermost, parsePrefix, type Prefix } from "../ip/prefix.ts";
import type { LoadBalancerPool } from "../kube/load-balancer-pool.ts";
import type { KubeObject } from "../kube/object.ts";
import { createNetworkBuilder, type ClusterObjects, type ObjectChanges } from "../model/build.ts";
import { rangesOfPools } from "../model/load-balancer-pools.ts";
import type { ClusterConfig, Network } from "../model/network.ts";
import type { NetworkSource } from "../model/source.ts";

export interface ObjectsSource extends NetworkSource {
  /** To be called after each change of objects or configuration; cheap. */
  changed(): void;
  /** Nobody is told of anything any more. */
  close(): void;
}

/** `objects` gives today's objects and `cluster` today's configuration: the same value while it does not change. */
export function createObjectsSource(from: {
  readonly cluster: () => ClusterConfig;
  readonly objects: () => ClusterObjects;
  /** What changed since the last call of this function, for those kinds; without it, lists are compared. */
  readonly takeChanges?: () => ObjectChanges;
  /** The last touch: what only this node knows. */
  readonly finish?: (network: Network) => Network;
}): ObjectsSource {
  const listeners = new Set<() => void>();
  let cluster: ClusterConfig | undefined;
  let build: ReturnType<typeof createNetworkBuilder> | undefined;
  let network: Network | undefined;
  let announced = false;

  const current = (): Network => {
    if (network !== undefined) return network;
    const today = from.cluster();
    const changes = from.takeChanges?.();
    const isFresh = build === undefined || today !== cluster;
    if (build === undefined || isFresh) {
      build = createNetworkBuilder(today);
      cluster = today;
    }
    const used = build;
    // Should it throw, the next one begins with everything: these changes are not told again.
    build = undefined;
    const built = isFresh ? used(from.objects()) : used(from.objects(), changes);
    build = used;
    return (network = from.finish?.(built) ?? built);
  };
  return {
    current,
    subscribe(listener) {
      listeners.add(listener);
      return { close: () => void listeners.delete(listener) };
    },
    changed() {
      network = undefined;
      if (announced) return;
      announced = true;
      setImmediate(() => {
        announced = false;
        for (const listener of listeners) listener();
      });
    },
    close: () => listeners.clear(),
  };
}

/** ServiceCIDR (networking.k8s.io/v1, KEP-1880): spec.cidrs; those that are going away too, as long as they are there. */
export function serviceRangesOf(objects: readonly KubeObject[]): readonly Prefix[] {
  const texts = objects.flatMap((object) => (object as { spec?: { cidrs?: readonly string[] } }).spec?.cidrs ?? []);
  return texts.flatMap((text) => parsePrefix(text) ?? []);
}

/** The configuration with the ranges of today's ServiceCIDRs besides its own; the same value while it says the same. */
export function createServiceRangesConfig(): (config: ClusterConfig, objects: readonly KubeObject[]) => ClusterConfig {
  let made: { readonly from: ClusterConfig; readonly text: string; readonly config: ClusterConfig } | undefined;
  return (from, objects) => {
    const isOwn = (range: Prefix): boolean => from.serviceCidrs.includes(range);
    const all = outermost([...from.serviceCidrs, ...serviceRangesOf(objects)]);
    // The cluster's own first, in its order: the first family is the primary one.
    const serviceCidrs = [
      ...from.serviceCidrs.filter((range) => all.includes(range)),
      ...all.filter((one) => !isOwn(one)),
    ];
    const text = serviceCidrs.join(" ");
    if (made?.from !== from || made.text !== text)
      made = { from, text, config: text === from.serviceCidrs.join(" ") ? from : { ...from, serviceCidrs } };
    return made.config;
  };
}

/** The configuration with the ranges of today's LoadBalancerPools; the same value while it says the same. */
export function createPoolConfig(): (config: ClusterConfig, pools: readonly KubeObject[]) => ClusterConfig {
  let made: { readonly from: ClusterConfig; readonly text: string; readonly config: ClusterConfig } | undefined;
  return (from, pools) => {
    const loadBalancerCidrs = rangesOfPools(pools as readonly LoadBalancerPool[]);
    const text = loadBalancerCidrs.join(" ");
    if (made?.from !== from || made.text !== text) made = { from, text, config: { ...from, loadBalancerCidrs } };
    return made.config;
  };
}
