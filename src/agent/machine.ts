// What the machine itself has and the cluster's objects do not say: addresses on its links, and what its uplink carries.
// Read when somebody asks, remembered until the kernel tells of a change.

import { performance } from "node:perf_hooks";

import { familyOf, type Address } from "../ip/address.ts";
import type { Mac } from "../ip/mac.ts";
import { addressBits, prefixBits, prefixOf, type Prefix } from "../ip/prefix.ts";
import type { NetworkKernel } from "../kernel/kernel.ts";

export interface MachineFacts {
  /** Global addresses of links that are not ours, loopback's included. */
  addresses(): readonly Address[];
  /** The MTU in bytes of the link that has one of these addresses; undefined where none has. */
  mtuOf(addresses: readonly Address[]): number | undefined;
  /** Where these addresses are; those that no link has are left out. */
  placesOf(addresses: readonly Address[]): readonly AddressPlace[];
  /** The ranges of the links that have one of these addresses: who is in them is reached without a router. */
  subnetsOf(addresses: readonly Address[]): readonly Prefix[];
}

/** An address of the machine, with its link. */
export interface AddressPlace {
  readonly address: Address;
  /** The link's range. */
  readonly range: Prefix;
  readonly link: { readonly index: number; readonly name: string; readonly mac?: Mac };
}

/** A link that comes or goes with every pod is looked at once in this time. */
const settleMs = 500;

/** Watches the machine; `changed` is called when a fact is another one. Links for which `isOurs` holds are none of the machine's. */
export function watchMachine(
  kernel: NetworkKernel,
  options: { readonly isOurs: (link: string) => boolean; readonly changed: () => void },
): MachineFacts & { close(): void } {
  const read = (): {
    readonly addresses: readonly Address[];
    readonly mtus: ReadonlyMap<Address, number>;
    readonly places: ReadonlyMap<Address, AddressPlace>;
  } => {
    const links = new Map(kernel.links().map((link) => [link.name, link]));
    const found = kernel.addresses().filter(({ link, scope }) => scope !== "link" && !options.isOurs(link));
    return {
      addresses: found.map(({ address }) => address).sort(),
      mtus: new Map(found.map(({ address, link }) => [address, links.get(link)?.mtu ?? 1500])),
      places: new Map(
        found.flatMap(({ address, bits, link: name }) => {
          const { index, mac } = links.get(name) ?? {};
          if (index === undefined) return [];
          const link = { index, name, ...(mac === undefined ? {} : { mac }) };
          return [[address, { address, range: prefixOf(address, bits), link }] as const];
        }),
      ),
    };
  };
  let facts = read();
  let timer: NodeJS.Timeout | undefined;
  let readAt = performance.now();
  const look = (): void => {
    timer = undefined;
    readAt = performance.now();
    const before = JSON.stringify([...facts.mtus, ...facts.places]);
    facts = read();
    if (JSON.stringify([...facts.mtus, ...facts.places]) !== before) options.changed();
  };
  const monitor = kernel.monitor(({ kind }) => {
    if (kind !== "link" && kind !== "address") return;
    timer ??= setTimeout(look, Math.max(0, readAt + settleMs - performance.now()));
  });
  return {
    addresses: () => facts.addresses,
    mtuOf(addresses) {
      const [first] = addresses.filter((address) => facts.mtus.has(address));
      return first === undefined ? undefined : facts.mtus.get(first);
    },
    placesOf: (addresses) => addresses.flatMap((address) => facts.places.get(address) ?? []),
    subnetsOf(addresses) {
      const ranges = addresses.flatMap((address) => facts.places.get(address)?.range ?? []);
      // A single address is nobody's link.
      return ranges.filter((range) => prefixBits(range) < addressBits(familyOf(range)));
    },
    close() {
      clearTimeout(timer);
      monitor.close();
    },
  };
}
