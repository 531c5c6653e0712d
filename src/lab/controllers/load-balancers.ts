// The lab's load balancer: gives Services of type LoadBalancer addresses from the LoadBalancerPools, one per family of the Service, and
// writes them to status.loadBalancer.ingress. What a Service has it keeps; what nobody asks for any more is free again.
// Upstream's counterpart: the service controller of k8s.io/cloud-provider, which asks a cloud.
//
// Not here: which address that is (model/load-balancer-pools.ts), which node answers for it (model/layer2.ts), and how its neighbours learn
// of it (lab/layer2.ts).

import { serviceRangesOf } from "../../agent/network-source.ts";
import type { Address } from "../../ip/address.ts";
import { addressAt } from "../../ip/prefix.ts";
import { sameJson } from "../../kube/equal.ts";
import type { LoadBalancerIngress, Service } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { addressesInUse, balanceOf, heldAddresses, isBalancedHere } from "../../model/load-balancer-pools.ts";
import { loadBalancerPools, nodes, serviceCidrs as serviceCidrResource, services } from "./resources.ts";
import { on, type Cluster, type Controller } from "./runtime.ts";

/** KEP-980: a Service stays until its load balancer has been taken down. */
const cleanupFinalizer = "service.kubernetes.io/load-balancer-cleanup";

export function loadBalancerController({ objects, config, ...cluster }: Cluster): Controller {
  const events = cluster.events("service-controller");
  const owners = new Map<Address, string>();
  const waiting = new Set<string>();

  const write = (service: Service, ingress: readonly LoadBalancerIngress[]): void => {
    const loadBalancer = ingress.length === 0 ? {} : { ingress };
    if (sameJson(service.status?.loadBalancer ?? {}, loadBalancer)) return;
    objects.updateStatus(services, { ...service, status: { ...service.status, loadBalancer } });
  };

  const isHeld = ({ metadata }: Service): boolean => metadata.finalizers?.includes(cleanupFinalizer) === true;
  const withFinalizers = ({ metadata, ...service }: Service, list: readonly string[]): Service => {
    const { finalizers: _before, ...rest } = metadata;
    const finalizers = list.length === 0 ? {} : { finalizers: list };
    return objects.update(services, { ...service, metadata: { ...rest, ...finalizers } });
  };
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
      on(loadBalancerPools, ({ object, previous }, enqueue) => {
        if (sameJson(object?.spec, previous?.spec)) return;
        for (const service of objects.all(services)) if (isBalancedHere(service)) enqueue(keyOf(service));
      }),
      on(services, ({ object, previous }, enqueue) => {
        const key = keyOf((object ?? previous) as Service);
        const before = heldAddresses(previous);
        const after = heldAddresses(object);
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
      const pools = objects.all(loadBalancerPools);
      // The first address of each link is the router's.
      const routers = [...config.nodeCidrs, ...(config.subnets ?? [])].map((range) => addressAt(range, 1));
      const serviceCidrs = [...config.serviceCidrs, ...serviceRangesOf(objects.all(serviceCidrResource))];
      const isInUse = addressesInUse(objects.all(nodes), serviceCidrs);
      const isFree = (address: Address): boolean =>
        (owners.get(address) ?? key) === key && !isInUse(address) && !routers.includes(address);
      const balance = balanceOf(service, { pools, isFree });
      if (balance.kind === "refused") waiting.add(key);
      else waiting.delete(key);
      switch (balance.kind) {
        case "others":
          return;
        case "none":
          write(service, balance.ingress);
          return letGo(objects.byKey(services, key) ?? service);
        case "refused":
          events.record(
            service,
            "Warning",
            "SyncLoadBalancerFailed",
            `no address for the load balancer: ${balance.reason}`,
          );
          return write(service, balance.ingress);
        case "given":
          for (const address of balance.addresses) owners.set(address, key);
          return write(hold(service), balance.ingress);
      }
    },
  };
}
