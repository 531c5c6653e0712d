// Which Services give an address a name: an index of each namespace, made by the first question about an address.
// A namespace with a few changed Services takes the index over from the namespace before, which loses it: nobody asks that one any more,
// and where somebody does, it is made anew. So what is answered never depends on who had it.
//
// Not here: the names (zone-service.ts).

import type { Address } from "../ip/address.ts";
import type { NetworkService } from "../model/network.ts";
import type { NamespaceZone } from "./zone.ts";

/** The Services of a namespace that have the address, or an endpoint with it, in order of name. */
export function servicesWith(namespace: NamespaceZone, address: Address): readonly NetworkService[] {
  let index = known.get(namespace);
  if (index === undefined) {
    known.set(namespace, (index = new Map()));
    for (const service of namespace.services.values()) add(index, service);
  }
  const found = index.get(address);
  return found === undefined ? [] : "length" in found ? found : [found];
}

/** Makes the index of `before` that of `after`. */
export function movePointers(
  before: NamespaceZone,
  after: NamespaceZone,
  changes: { readonly removed: readonly NetworkService[]; readonly added: readonly NetworkService[] },
): void {
  const index = known.get(before);
  if (index === undefined) return;
  known.delete(before);
  for (const service of changes.removed) remove(index, service);
  for (const service of changes.added) add(index, service);
  known.set(after, index);
}

/** Nearly every address has one Service. */
type Index = Map<Address, NetworkService | readonly NetworkService[]>;

const known = new WeakMap<NamespaceZone, Index>();

function addressesOf(service: NetworkService): ReadonlySet<Address> {
  const endpoints = service.endpoints ?? service.ports.flatMap((port) => port.endpoints);
  return new Set([...service.clusterIps, ...endpoints.map(({ address }) => address)]);
}

function add(index: Index, service: NetworkService): void {
  for (const address of addressesOf(service)) {
    const found = index.get(address);
    if (found === undefined) index.set(address, service);
    else {
      const all = "length" in found ? [...found, service] : [found, service];
      index.set(
        address,
        all.sort((a, b) => (a.name < b.name ? -1 : 1)),
      );
    }
  }
}

function remove(index: Index, service: NetworkService): void {
  for (const address of addressesOf(service)) {
    const found = index.get(address);
    if (found === undefined) continue;
    const rest = ("length" in found ? found : [found]).filter((each) => each !== service);
    const [only] = rest;
    if (only === undefined) index.delete(address);
    else index.set(address, rest.length === 1 ? only : rest);
  }
}
