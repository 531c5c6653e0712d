// The lab's load balancer: gives Services of type LoadBalancer addresses from the cluster's pools, one per family of the Service, and
// writes them to status.loadBalancer.ingress. What a Service has it keeps; what nobody asks for any more is free again.
// Upstream's counterpart: the service controller of k8s.io/cloud-provider, which asks a cloud.
//
// Not here: which node answers for an address (model/layer2.ts), and how its neighbours learn of it (lab/layer2.ts).

import { familyOf, parseAddress, type Address } from "../../ip/address.ts";
import { addressAt, contains, prefixRange } from "../../ip/prefix.ts";
import { sameJson } from "../../kube/equal.ts";
import type { LoadBalancerIngress, Service } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { services } from "./resources.ts";
import { on, type Cluster, type Controller } from "./runtime.ts";
import { familiesOf, familyName } from "./service-endpoints.ts";

/** spec.loadBalancerClass of Services that want this one by name; those without a class get it too. */
export const loadBalancerClass = "fairlead.dev/layer2";

/** Is the Service ours to give an address? */
export function isBalancedHere({ spec }: Pick<Service, "spec">): boolean {
  return (
    spec.type === "LoadBalancer" &&
    (spec.loadBalancerClass === undefined || spec.loadBalancerClass === loadBalancerClass)
  );
}

/** KEP-980: a Service stays until its load balancer has been taken down. */
const cleanupFinalizer = "service.kubernetes.io/load-balancer-cleanup";

export function loadBalancerController({ objects, config, ...cluster }: Cluster): Controller {
  const pools = config.loadBalancerCidrs ?? [];
  const events = cluster.events("service-controller");
  const owners = new Map<Address, string>();
  const waiting = new Set<string>();

  const held = (service: Service | undefined): readonly Address[] =>
    (service?.status?.loadBalancer?.ingress ?? []).flatMap(({ ip }) => parseAddress(ip ?? "") ?? []);
  const isFree = (address: Address, key: string): boolean => (owners.get(address) ?? key) === key;

  const choose = (service: Service, key: string): readonly LoadBalancerIngress[] | string => {
    const chosen: LoadBalancerIngress[] = [];
    const wished = parseAddress(service.spec.loadBalancerIP ?? "");
    for (const family of familiesOf(service)) {
      const inFamily = pools.filter((pool) => familyName(familyOf(pool)) === family);
      if (inFamily.length === 0) return `there is no ${family} pool of addresses for load balancers`;
      const usable = (address: Address): boolean =>
        inFamily.some((pool) => contains(pool, address)) && isFree(address, key);
      const isWished = wished !== undefined && familyName(familyOf(wished)) === family;
      if (isWished && !usable(wished)) return `${wished} (spec.loadBalancerIP) is in no pool, or another Service's`;
      const kept = held(service).find((address) => usable(address));
      const address = isWished ? wished : (kept ?? firstFree(inFamily, (candidate) => isFree(candidate, key)));
      if (address === undefined) return `the ${family} pool of addresses (${inFamily.join(", ")}) has none left`;
      chosen.push({ ip: address, ipMode: "VIP" });
    }
    return chosen;
  };
  const write = (service: Service, ingress: readonly LoadBalancerIngress[]): void => {
    const loadBalancer = ingress.length === 0 ? {} : { ingress };
    if (sameJson(service.status?.loadBalancer ?? {}, loadBalancer)) return;
    objects.updateStatus(services, { ...service, status: { ...service.status, loadBalancer } });
  };

  const isHeld = ({ metadata }: Service): boolean => metadata.finalizers?.includes(cleanupFinalizer) === true;
  const withFinalizers = (service: Service, finalizers: readonly string[]): Service =>
    objects.update(services, { ...service, metadata: { ...service.metadata, finalizers } });
  const hold = (service: Service): Service =>
    isHeld(service) ? service : withFinalizers(service, [...(service.metadata.finalizers ?? []), cleanupFinalizer]);
  /** Addresses are free as soon as nobody has them: there is nothing else to take down. */
  const letGo = (service: Service): void => {
    if (isHeld(service))
      withFinalizers(service, service.metadata.finalizers?.filter((name) => name !== cleanupFinalizer) ?? []);
  };

  return {
    name: "service-lb-controller",
    watches: [
      on(services, ({ object, previous }, enqueue) => {
        const key = keyOf((object ?? previous) as Service);
        const before = held(previous);
        const after = held(object);
        for (const address of before) if (owners.get(address) === key) owners.delete(address);
        for (const address of after) if (!owners.has(address)) owners.set(address, key);
        if (object === undefined) waiting.delete(key);
        if (object !== undefined && (isBalancedHere(object) || after.length > 0 || isHeld(object))) enqueue(key);
        // Somebody waits for what has just become free.
        if (before.some((address) => !after.includes(address))) for (const other of waiting) enqueue(other);
      }),
    ],
    reconcile(key) {
      const service = objects.byKey(services, key);
      if (service === undefined) return;
      if (service.metadata.deletionTimestamp !== undefined) return letGo(service);
      if (!isBalancedHere(service)) {
        waiting.delete(key);
        // Another class is somebody else's business; a Service that is no load balancer has no such addresses.
        if (service.spec.type === "LoadBalancer") return;
        write(service, []);
        return letGo(objects.byKey(services, key) ?? service);
      }
      if (pools.length === 0) return;
      const chosen = choose(service, key);
      if (typeof chosen === "string") {
        waiting.add(key);
        events.record(service, "Warning", "SyncLoadBalancerFailed", `no address for the load balancer: ${chosen}`);
        return;
      }
      waiting.delete(key);
      for (const { ip } of chosen) owners.set(ip ?? "", key);
      write(hold(service), chosen);
    },
  };
}

/** Pools hold some hundreds of addresses; the first one of each, a network's address to many programs, is not given. */
function firstFree(pools: readonly string[], isFree: (address: Address) => boolean): Address | undefined {
  for (const pool of pools) {
    const { first, last } = prefixRange(pool);
    for (let offset = 1; BigInt(offset) <= last - first; offset++) {
      const address = addressAt(pool, offset);
      if (isFree(address)) return address;
    }
  }
  return undefined;
}
