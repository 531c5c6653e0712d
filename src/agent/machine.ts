// What the machine itself has and the cluster's objects do not say: addresses on its links, and what its uplink carries.
// Read when somebody asks, remembered until the kernel tells of a change.

import { performance } from "node:perf_hooks";

import { familyOf, type Address } from "../ip/address.ts";
import { addressBits, prefixBits, prefixOf, type Prefix } from "../ip/prefix.ts";
import type { NetworkKernel } from "../kernel/kernel.ts";

export interface MachineFacts {
  /** Global addresses of links that are not ours, loopback's included. */
  addresses(): readonly Address[];
  /** The MTU in bytes of the link that has one of these addresses; undefined where none has. */
  mtuOf(addresses: readonly Address[]): number | undefined;
  /** The ranges of the links that have one of these addresses: who is in them is reached without a router. */
  subnetsOf(addresses: readonly Address[]): readonly Prefix[];
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
    readonly subnets: ReadonlyMap<Address, Prefix>;
  } => {
    const mtuOfLink = new Map(kernel.links().map(({ name, mtu }) => [name, mtu]));
    const found = kernel.addresses().filter(({ link, scope }) => scope !== "link" && !options.isOurs(link));
    return {
      addresses: found.map(({ address }) => address).sort(),
      mtus: new Map(found.map(({ address, link }) => [address, mtuOfLink.get(link) ?? 1500])),
      subnets: new Map(found.map(({ address, bits }) => [address, prefixOf(address, bits)])),
    };
  };
  let facts = read();
  let timer: NodeJS.Timeout | undefined;
  let readAt = performance.now();
  const look = (): void => {
    timer = undefined;
    readAt = performance.now();
    const before = JSON.stringify([...facts.mtus, ...facts.subnets]);
    facts = read();
    if (JSON.stringify([...facts.mtus, ...facts.subnets]) !== before) options.changed();
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
    subnetsOf(addresses) {
      const ranges = addresses.flatMap((address) => facts.subnets.get(address) ?? []);
      // A single address is nobody's link.
      return ranges.filter((range) => prefixBits(range) < addressBits(familyOf(range)));
    },
    close() {
      clearTimeout(timer);
      monitor.close();
    },
  };
}
