// A real cluster's load balancer: one agent, by a Lease, gives Services of type LoadBalancer addresses from the LoadBalancerPools, for all of
// them. A lab's counterpart is lab/controllers/load-balancers.ts.
//
// Invariants: without a pool nothing is asked for and nothing written; a Service that another controller looks after (by its class, or by
// the finalizer that cloud controllers set) is left alone.
// Not here: which address that is (model/load-balancer-pools.ts), and who answers for it (layer2.ts).

import type { Address } from "../ip/address.ts";
import { contains } from "../ip/prefix.ts";
import { sameJson } from "../kube/equal.ts";
import type { LoadBalancerIngress, Node, Service } from "../kube/kinds.ts";
import type { LoadBalancerPool } from "../kube/load-balancer-pool.ts";
import { keyOf } from "../kube/object.ts";
import { addressesInUse, balanceOf, heldAddresses, rangesOfPools } from "../model/load-balancer-pools.ts";
import { ApiError, resourcePath, type ClusterClient } from "../watch/cluster/client.ts";
import { leanObject } from "../watch/cluster/lean.ts";
import { takeDuty, tellOnce } from "./cluster-duty.ts";
import { eventName, postEvent } from "./cluster-events.ts";
import type { ClusterSource } from "./cluster-source.ts";
import { serviceRangesOf } from "./network-source.ts";

const lease = { name: "fairlead-load-balancers", seconds: 15 };
const lookMs = 3_000;
/** Changes are gathered for so long. */
const gatherMs = 50;
const retryMs = 5_000;
/** So many writes at a time. */
const writesMax = 8;

/** KEP-980: set by k8s.io/cloud-provider's service controller before it asks its cloud for a balancer. */
const cloudFinalizer = "service.kubernetes.io/load-balancer-cleanup";

export interface LoadBalancerStatus {
  /** Services or pools may have changed. */
  lookSoon(): void;
  /** Another agent may go on at once. */
  close(): Promise<void>;
}

export interface LoadBalancerStatusOptions {
  readonly client: ClusterClient;
  /** This agent's node. */
  readonly node: string;
  readonly source: Pick<ClusterSource, "objects">;
  readonly nodeCount: () => number;
  /** Where the Lease is. */
  readonly namespace?: string;
  readonly log: (line: string) => void;
}

/** Takes part until closed; gives addresses while it holds the Lease. */
export function startLoadBalancerStatus(options: LoadBalancerStatusOptions): LoadBalancerStatus {
  const { client, node, source, nodeCount, namespace, log } = options;
  let isHolder = false;
  let timer: NodeJS.Timeout | undefined;
  /** Being written, or written and not seen yet: what the Service gets, and the object that was to be changed. */
  const pending = new Map<
    string,
    { readonly addresses: readonly Address[]; readonly from: Service; isDone: boolean }
  >();
  /** Services that others look after, as long as they are these objects. */
  const others = new WeakSet<Service>();
  const told = new Map<string, string>();
  const fail = tellOnce(log);

  const later = (delayMs: number): void => {
    timer ??= setTimeout(() => {
      timer = undefined;
      if (isHolder) look();
    }, delayMs);
    timer.unref();
  };
  const look = (): void => {
    const pools = source.objects("loadBalancerPools") as readonly LoadBalancerPool[];
    if (pools.length === 0) return;
    const services = (source.objects("services") as readonly Service[])
      .filter((service) => service.spec.type === "LoadBalancer" || heldAddresses(service).length > 0)
      .toSorted(byAge);
    const today = new Map(services.map((service) => [keyOf(service), service]));
    for (const [key, { from, isDone }] of pending) if (isDone && today.get(key) !== from) pending.delete(key);
    for (const key of told.keys()) if (!today.has(key)) told.delete(key);
    const owners = new Map<Address, string>();
    const own = (key: string, addresses: readonly Address[]): void => {
      for (const address of addresses) if (!owners.has(address)) owners.set(address, key);
    };
    for (const [key, { addresses }] of pending) own(key, addresses);
    for (const service of services) own(keyOf(service), heldAddresses(service));
    const ranges = rangesOfPools(pools);
    const isInUse = addressesInUse(
      source.objects("nodes") as readonly Node[],
      serviceRangesOf(source.objects("serviceCidrs")),
    );
    for (const service of services) {
      const key = keyOf(service);
      if (pending.has(key) || others.has(service) || service.metadata.deletionTimestamp !== undefined) continue;
      const isFree = (address: Address): boolean => (owners.get(address) ?? key) === key && !isInUse(address);
      const balance = balanceOf(service, { pools, isFree });
      switch (balance.kind) {
        case "others":
          continue;
        case "none":
          // Addresses of no pool are none of ours.
          if (!heldAddresses(service).every((address) => ranges.some((range) => contains(range, address)))) continue;
          break;
        case "refused":
          refuse(service, balance.reason);
          break;
        case "given":
          told.delete(key);
          own(key, balance.addresses);
      }
      if (isSaid(service, balance.ingress)) continue;
      if (pending.size >= writesMax) return later(gatherMs);
      write(service, balance.ingress);
    }
  };
  const refuse = (service: Service, reason: string): void => {
    if (told.get(keyOf(service)) === reason) return;
    told.set(keyOf(service), reason);
    const message = `no address for the load balancer: ${reason}`;
    log(`Service ${keyOf(service)}: ${message}`);
    tellRefusal(client, { node, service, message }).catch((error: unknown) =>
      fail(`tell Service ${keyOf(service)} SyncLoadBalancerFailed`, error),
    );
  };
  const write = (service: Service, ingress: readonly LoadBalancerIngress[]): void => {
    const key = keyOf(service);
    const entry = { addresses: ingress.flatMap(({ ip }) => ip ?? []), from: service, isDone: false };
    pending.set(key, entry);
    patch(client, service, ingress).then(
      (result) => {
        entry.isDone = true;
        if (result === "written") log(`Service ${key}: ${entry.addresses.join(", ") || "no addresses any more"}`);
        else pending.delete(key);
        if (result === "another's") {
          others.add(service);
          log(`Service ${key}: left to the controller that set ${cloudFinalizer}; spec.loadBalancerClass decides`);
        }
        // Seen too early or too late: what is watched will say so.
        later(result === "as it was" ? retryMs : gatherMs);
      },
      (error: unknown) => {
        pending.delete(key);
        // Somebody else's write came first: what it changed is seen soon.
        const isConflict = error instanceof ApiError && (error.status === 409 || error.status === 404);
        if (!isConflict) fail(`write status of Service ${key}`, error);
        later(isConflict ? gatherMs : retryMs);
      },
    );
  };
  const duty = takeDuty({
    client,
    node,
    lease,
    namespace,
    lookMs,
    nodeCount,
    acquired() {
      log("gives Services of type LoadBalancer their addresses, for all nodes");
      isHolder = true;
      later(0);
    },
    lost() {
      log("another agent gives Services of type LoadBalancer their addresses from now on");
      isHolder = false;
    },
    log,
  });
  return {
    lookSoon() {
      if (isHolder) later(gatherMs);
    },
    async close() {
      isHolder = false;
      clearTimeout(timer);
      await duty.close();
    },
  };
}

/** The oldest first: of two that hold one address it keeps it. */
function byAge(a: Service, b: Service): number {
  const [left, right] = [a, b].map((each) => `${each.metadata.creationTimestamp ?? ""} ${keyOf(each)}`);
  return (left ?? "") < (right ?? "") ? -1 : 1;
}

function isSaid(service: Pick<Service, "status">, ingress: readonly LoadBalancerIngress[]): boolean {
  return sameJson(service.status?.loadBalancer?.ingress ?? [], ingress);
}

/** What is kept of a spec by who watches, of either. */
function leanSpec(service: Service): Service["spec"] {
  return (leanObject(service) as Service).spec;
}

/** With the Service's uid, by which `kubectl describe` finds its Events; what is watched is kept without. */
async function tellRefusal(
  client: ClusterClient,
  { node, service, message }: { readonly node: string; readonly service: Service; readonly message: string },
): Promise<void> {
  const { apiVersion, kind } = service;
  const { metadata } = await client.request<Service>({ path: pathOf(service) });
  await postEvent(client, {
    type: "Warning",
    reason: "SyncLoadBalancerFailed",
    message,
    about: { apiVersion, kind, metadata },
    name: eventName(metadata, message),
    node,
    atMs: Date.now(),
  });
}

function pathOf({ metadata }: Service, subresource?: string): string {
  const resource = { group: "", version: "v1", resource: "services" };
  const { namespace = "default", name } = metadata;
  return resourcePath(resource, { namespace, name, ...(subresource === undefined ? {} : { subresource }) });
}

/**
 * Writes the status of the Service as it is now, if that is still the one that was looked at. What is watched is not all of it
 * (watch/cluster/lean.ts): versions and finalizers are read here.
 */
async function patch(
  client: ClusterClient,
  seen: Service,
  ingress: readonly LoadBalancerIngress[],
): Promise<"written" | "as it was" | "another's"> {
  const service = await client.request<Service>({ path: pathOf(seen) });
  const { resourceVersion, finalizers = [], deletionTimestamp } = service.metadata;
  // The uid is none of what is watched.
  const isSame =
    service.metadata.creationTimestamp === seen.metadata.creationTimestamp &&
    sameJson(leanSpec(service), leanSpec(seen));
  if (!isSame || deletionTimestamp !== undefined || isSaid(service, ingress)) return "as it was";
  if (finalizers.includes(cloudFinalizer)) return "another's";
  await client.request({
    method: "PATCH",
    path: pathOf(seen, "status"),
    contentType: "application/merge-patch+json",
    body: {
      metadata: { resourceVersion },
      status: { loadBalancer: ingress.length === 0 ? null : { ingress } },
    },
  });
  return "written";
}
