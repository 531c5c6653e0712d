// Addresses for Services of type LoadBalancer, from LoadBalancerPools: one per family of the Service, kept for as long as it has it.
//
// Not here: who writes them to the Service's status (lab/controllers/load-balancers.ts, agent/load-balancer-status.ts), and which node answers
// for them (layer2.ts).

import { addressFromValue, familyOf, parseAddress, type Address, type Family } from "../ip/address.ts";
import { contains, parsePrefix, outermost, parseRanges, prefixRange, type Prefix } from "../ip/prefix.ts";
import type { LoadBalancerIngress, Node, Service } from "../kube/kinds.ts";
import { poolAnnotation, type LoadBalancerPool } from "../kube/load-balancer-pool.ts";
import { selects } from "../kube/selector.ts";

/** spec.loadBalancerClass of Services that want this one by name; those without a class get it too. */
export const loadBalancerClass = "fairlead.dev/layer2";

/** Is the Service ours to give an address? */
export function isBalancedHere({ spec }: Pick<Service, "spec">): boolean {
  return (
    spec.type === "LoadBalancer" &&
    (spec.loadBalancerClass === undefined || spec.loadBalancerClass === loadBalancerClass)
  );
}

/** What a Service's status.loadBalancer should say. */
export type Balance =
  /** Another's business: its class says so. */
  | { readonly kind: "others" }
  /** No load balancer, and no addresses. */
  | { readonly kind: "none"; readonly ingress: readonly [] }
  | { readonly kind: "given"; readonly addresses: readonly Address[]; readonly ingress: readonly LoadBalancerIngress[] }
  /** It keeps what a pool still has: what none has is announced by nobody. */
  | { readonly kind: "refused"; readonly reason: string; readonly ingress: readonly LoadBalancerIngress[] };

/** `isFree`: is the address nobody else's? */
export function balanceOf(
  service: Service,
  { pools, isFree }: { readonly pools: readonly LoadBalancerPool[]; readonly isFree: (address: Address) => boolean },
): Balance {
  if (service.spec.type !== "LoadBalancer") return { kind: "none", ingress: [] };
  if (!isBalancedHere(service)) return { kind: "others" };
  const held = heldAddresses(service);
  const addresses = chooseAddresses(service, { families: serviceFamilies(service), pools, held, isFree });
  if (typeof addresses !== "string") return { kind: "given", addresses, ingress: ingressOf(addresses) };
  const ranges = rangesOfPools(pools);
  const kept = held.filter((address) => ranges.some((range) => contains(range, address)));
  return { kind: "refused", reason: addresses, ingress: ingressOf(kept) };
}

/**
 * Is an address that a pool holds somebody's already, whom no Service may take off the link: a node, a pod, a Service's cluster address?
 * People write the very range into a pool that their machines are in.
 */
export function addressesInUse(
  nodes: readonly Pick<Node, "spec" | "status">[],
  serviceCidrs: readonly Prefix[],
): (address: Address) => boolean {
  const own = new Set(
    nodes.flatMap(({ status }) => (status?.addresses ?? []).flatMap(({ address }) => parseAddress(address) ?? [])),
  );
  const ranges = [
    ...nodes.flatMap(({ spec }) => (spec?.podCIDRs ?? []).flatMap((text) => parsePrefix(text) ?? [])),
    ...serviceCidrs,
  ];
  return (address) => own.has(address) || ranges.some((range) => contains(range, address));
}

/** The addresses in a Service's status. */
export function heldAddresses(service: Pick<Service, "status"> | undefined): readonly Address[] {
  return (service?.status?.loadBalancer?.ingress ?? []).flatMap(({ ip }) => parseAddress(ip ?? "") ?? []);
}

/** Those of a Service, the first one first: what it says, else those of its addresses; both where it has none. */
export function serviceFamilies({ spec }: Pick<Service, "spec">): readonly Family[] {
  const { ipFamilies = [], clusterIPs = [] } = spec;
  if (ipFamilies.length > 0) return ipFamilies.map((name) => (name === "IPv4" ? 4 : 6));
  const fromAddresses = clusterIPs.filter((ip) => ip !== "None" && ip !== "").map(familyOf);
  return fromAddresses.length > 0 ? fromAddresses : [4, 6];
}

/** All pools' ranges, each once, in order. */
export function rangesOfPools(pools: readonly LoadBalancerPool[]): readonly Prefix[] {
  const ranges = pools.flatMap(({ spec }) => spec.addresses.flatMap((entry) => parseRanges(entry) ?? []));
  return outermost(ranges);
}

/**
 * The addresses of a Service, one per family in that order, or why it gets none. What it holds it keeps while a pool has it for it; a
 * pool's first and last addresses are given like any other, except a prefix's own network address.
 */
export function chooseAddresses(
  service: Service,
  from: {
    readonly families: readonly Family[];
    readonly pools: readonly LoadBalancerPool[];
    readonly held: readonly Address[];
    readonly isFree: (address: Address) => boolean;
  },
): readonly Address[] | string {
  const { families, held, isFree } = from;
  const wishedPool = service.metadata.annotations?.[poolAnnotation];
  const pools = from.pools
    .filter(({ metadata }) => wishedPool === undefined || metadata.name === wishedPool)
    .filter(({ spec }) => spec.serviceSelector === undefined || selects(spec.serviceSelector, service.metadata.labels))
    .toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  if (pools.length === 0 && wishedPool !== undefined) return withoutPool(wishedPool, from.pools);
  const entries = pools.flatMap(({ spec }) => spec.addresses);
  const wished = parseAddress(service.spec.loadBalancerIP ?? "");
  const usableOf = (family: Family): readonly string[] =>
    entries.filter((entry) => familyOf(entry) === family && parseRanges(entry) !== undefined);
  // KEP-563: who only prefers two families takes the one that there is.
  const isContent =
    service.spec.ipFamilyPolicy === "PreferDualStack" && families.some((one) => usableOf(one).length > 0);
  const chosen: Address[] = [];
  for (const family of families) {
    const usable = usableOf(family);
    if (usable.length === 0 && isContent) continue;
    if (usable.length === 0) return `there is no IPv${family} pool of addresses for load balancers`;
    const isIn = (address: Address): boolean =>
      usable.some((entry) => parseRanges(entry)?.some((range) => contains(range, address)) === true);
    const isWished = wished !== undefined && familyOf(wished) === family;
    if (isWished && !(isIn(wished) && isFree(wished)))
      return `${wished} (spec.loadBalancerIP) is in no pool, or another's: a Service's, a node's or a pod's`;
    const kept = held.find((address) => familyOf(address) === family && isIn(address) && isFree(address));
    const address = isWished ? wished : (kept ?? firstFree(usable, isFree));
    if (address === undefined) return `the IPv${family} pool of addresses (${usable.join(", ")}) has none left`;
    chosen.push(address);
  }
  return chosen;
}

function ingressOf(addresses: readonly Address[]): readonly LoadBalancerIngress[] {
  return addresses.map((ip) => ({ ip, ipMode: "VIP" }));
}

function withoutPool(wished: string, pools: readonly LoadBalancerPool[]): string {
  const text = `LoadBalancerPool ${wished} (annotation ${poolAnnotation})`;
  return pools.some(({ metadata }) => metadata.name === wished)
    ? `${text} is not for this Service: its serviceSelector selects other labels`
    : `there is no ${text}`;
}

/** The first of a prefix is the network's own address to many programs, and not given. */
function firstFree(entries: readonly string[], isFree: (address: Address) => boolean): Address | undefined {
  for (const entry of entries) {
    const isWhole = parsePrefix(entry) !== undefined;
    for (const range of parseRanges(entry) ?? []) {
      const { family, first, last } = prefixRange(range);
      for (let value = first + (isWhole && last > first ? 1n : 0n); value <= last; value++) {
        const address = addressFromValue(family, value);
        if (isFree(address)) return address;
      }
    }
  }
  return undefined;
}
