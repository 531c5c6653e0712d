// IPAddress and ServiceCIDR objects (KEP-1880): one IPAddress for every cluster address of a Service, and the configured ranges as
// ServiceCIDR `kubernetes`. They follow the Services (service-addresses.ts decides), and are made anew from them at every start.

import { contains } from "../../ip/prefix.ts";
import { familyOf } from "../../ip/address.ts";
import { sameJson } from "../../kube/equal.ts";
import type { IPAddress, Service, ServiceCIDR } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { timeMs } from "../../watch/clock.ts";
import { withCondition } from "./conditions.ts";
import type { Change } from "./objects.ts";
import { ipAddresses, serviceCidrs, services } from "./resources.ts";
import { on, type Cluster, type Controller, type Enqueue } from "./runtime.ts";
import { familyName } from "./service-endpoints.ts";

const managedBy = "ipaddress.kubernetes.io/managed-by";
const familyLabel = "ipaddress.kubernetes.io/ip-family";
const allocator = "ipallocator.k8s.io";
const cidrFinalizer = "networking.k8s.io/service-cidr-finalizer";
const defaultCidr = "kubernetes";
/** A ServiceCIDR on its way out rests, so that Services just being written still meet it (servicecidrs controller's deletionGracePeriod). */
const graceMs = 10_000;

/** Keeps IPAddress objects 1:1 with the addresses of Services. */
export function ipAddressController(cluster: Cluster): Controller {
  const { objects } = cluster;
  const holder = (address: IPAddress): Service | undefined => {
    const { parentRef } = address.spec;
    if ((parentRef.group ?? "") !== "" || parentRef.resource !== "services") return undefined;
    const service = objects.get(services, parentRef.namespace, parentRef.name);
    return addressesOf(service).includes(address.metadata.name) ? service : undefined;
  };
  const serviceChanged = ({ object, previous }: Change<Service>, enqueue: Enqueue): void => {
    const [before, after] = [addressesOf(previous), addressesOf(object)];
    for (const ip of before) if (!after.includes(ip)) enqueue(ip);
    for (const ip of after) if (!before.includes(ip)) enqueue(ip);
  };
  /** The Service that holds an address, by address. */
  const holders = new Map<string, string>();
  return {
    name: "service-ipaddress-controller",
    watches: [
      on(services, (change, enqueue) => {
        for (const ip of addressesOf(change.previous)) holders.delete(ip);
        for (const ip of addressesOf(change.object)) holders.set(ip, keyOf(change.object as Service));
        serviceChanged(change, enqueue);
      }),
      on(ipAddresses, ({ object, previous }, enqueue) => enqueue((object ?? previous)?.metadata.name ?? "")),
    ],
    reconcile(ip) {
      const key = holders.get(ip);
      const service = key === undefined ? undefined : objects.byKey(services, key);
      const there = objects.get(ipAddresses, undefined, ip);
      if (there !== undefined && holder(there) === undefined && isOurs(there)) objects.delete(ipAddresses, there);
      if (service === undefined || objects.get(ipAddresses, undefined, ip) !== undefined) return;
      const { namespace = "", name } = service.metadata;
      objects.create(ipAddresses, {
        apiVersion: "networking.k8s.io/v1",
        kind: "IPAddress",
        metadata: { name: ip, labels: { [managedBy]: allocator, [familyLabel]: familyName(familyOf(ip)) } },
        spec: { parentRef: { group: "", resource: "services", namespace, name } },
      });
    },
  };
}

function addressesOf(service: Service | undefined): readonly string[] {
  return (service?.spec.clusterIPs ?? []).filter((ip) => ip !== "None" && ip !== "");
}

function isOurs(address: IPAddress): boolean {
  return address.metadata.labels?.[managedBy] === allocator;
}

/** Makes ServiceCIDR `kubernetes`, says of each range that it is ready, and holds back those that are deleted while addresses need them. */
export function serviceCidrController({ objects, clock, config }: Cluster): Controller {
  const isHeld = (range: ServiceCIDR): boolean => {
    const others = objects
      .all(serviceCidrs)
      .filter(({ metadata }) => metadata.name !== range.metadata.name && metadata.deletionTimestamp === undefined)
      .flatMap(({ spec }) => spec.cidrs ?? []);
    const own = range.spec.cidrs ?? [];
    return objects
      .all(ipAddresses)
      .some(
        ({ metadata }) =>
          own.some((prefix) => contains(prefix, metadata.name)) &&
          !others.some((prefix) => contains(prefix, metadata.name)),
      );
  };
  const write = (range: ServiceCIDR): void => {
    const finalizers = range.metadata.finalizers ?? [];
    if (!finalizers.includes(cidrFinalizer)) {
      objects.update(serviceCidrs, {
        ...range,
        metadata: { ...range.metadata, finalizers: [...finalizers, cidrFinalizer] },
      });
    }
    setReady(range, { status: "True", reason: "", message: "Kubernetes Service CIDR is ready" });
  };
  const setReady = (range: ServiceCIDR, text: { status: string; reason: string; message: string }): void => {
    const latest = objects.get(serviceCidrs, undefined, range.metadata.name);
    if (latest === undefined) return;
    const conditions = withCondition(latest.status?.conditions, { type: "Ready", ...text }, clock.now());
    if (!sameJson(conditions, latest.status?.conditions)) {
      objects.updateStatus(serviceCidrs, { ...latest, status: { ...latest.status, conditions } });
    }
  };
  return {
    name: "service-cidr-controller",
    watches: [
      // Also wakes the controller up when there is none yet: the range of addresses that are there is looked at.
      on(serviceCidrs, ({ object, previous }, enqueue) => enqueue((object ?? previous)?.metadata.name ?? "")),
      on(ipAddresses, ({ object }, enqueue) => {
        if (object !== undefined) return;
        for (const { metadata } of objects.all(serviceCidrs)) {
          if (metadata.deletionTimestamp !== undefined) enqueue(metadata.name);
        }
      }),
    ],
    startKeys: [defaultCidr],
    reconcile(name, requeue) {
      const range = objects.get(serviceCidrs, undefined, name);
      if (range === undefined) {
        if (name !== defaultCidr || config.serviceCidrs.length === 0) return;
        objects.create(serviceCidrs, {
          apiVersion: "networking.k8s.io/v1",
          kind: "ServiceCIDR",
          metadata: { name: defaultCidr },
          spec: { cidrs: config.serviceCidrs },
        });
        return;
      }
      if (range.metadata.deletionTimestamp === undefined) return write(range);
      const restMs = (timeMs(range.metadata.deletionTimestamp) ?? 0) + graceMs - clock.now();
      setReady(range, {
        status: "False",
        reason: "Terminating",
        message:
          "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
      });
      if (isHeld(range)) return;
      if (restMs > 0) return requeue(restMs);
      const latest = objects.get(serviceCidrs, undefined, name) ?? range;
      objects.update(serviceCidrs, {
        ...latest,
        metadata: {
          ...latest.metadata,
          finalizers: (latest.metadata.finalizers ?? []).filter((each) => each !== cidrFinalizer),
        },
      });
    },
  };
}
