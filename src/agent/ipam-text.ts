// `show ipam`: every address of a node's pod ranges that is not simply free, and why.

import { compareAddresses, type Address } from "../ip/address.ts";
import { contains } from "../ip/prefix.ts";
import type { Attachment } from "../model/network.ts";
import { interfaceOf } from "../serve/cni/cni.ts";
import { gatewayOf, tunnelAddressOf } from "../program/places.ts";
import { restMs, type Ipam, type RangeUsage } from "./ipam.ts";

/** What an address is for. */
export interface AddressUse {
  readonly address: Address;
  readonly kind: "tunnel" | "gateway" | "pod" | "resting";
  /** In words. */
  readonly what: string;
  /** `pod` only. */
  readonly pod?: string;
  readonly sandbox?: string;
}

export interface IpamView {
  readonly ranges: readonly (RangeUsage & { readonly addresses: readonly AddressUse[] })[];
}

/** Explains a node's ranges, addresses in order. */
export function ipamView(ipam: Ipam, attachments: readonly Attachment[]): IpamView {
  const pods = attachments.flatMap((attachment) =>
    attachment.addresses.map((address): AddressUse => {
      const { id, link } = attachment;
      const pod = attachment.namespace === "" ? attachment.name : `${attachment.namespace}/${attachment.name}`;
      const name = interfaceOf(id);
      const what = `pod ${pod}${name === "eth0" ? "" : `, its ${name}`} (sandbox ${id.slice(0, 13)}, link ${link})`;
      return { address, kind: "pod", what, pod, sandbox: id };
    }),
  );
  const resting = ipam.resting().map(({ address, forMs }): AddressUse => {
    const left = Math.max(1, Math.round((restMs - forMs) / 1000));
    return { address, kind: "resting", what: `was a pod's; rests for another ${left} s before it is another's` };
  });
  return {
    ranges: ipam.usage().map((usage) => {
      const { range } = usage;
      const own: readonly AddressUse[] = [
        { address: tunnelAddressOf(range), kind: "tunnel", what: "the node's end of the tunnel" },
        { address: gatewayOf(range), kind: "gateway", what: "the node, its pods' gateway" },
      ];
      const addresses = [...own, ...pods, ...resting].filter(({ address }) => contains(range, address));
      return { ...usage, addresses: addresses.sort((a, b) => compareAddresses(a.address, b.address)) };
    }),
  };
}

/** The same for people. */
export function ipamText({ ranges }: IpamView): string {
  return ranges
    .map(({ range, used, resting, size, next, addresses }) => {
      const rest = resting === 0 ? "" : `, ${resting} resting`;
      const ahead = next === undefined ? "none is free" : `next is ${next}`;
      const width = Math.max(...addresses.map(({ address }) => address.length));
      const lines = addresses.map(({ address, what }) => `  ${address.padEnd(width)}  ${what}\n`);
      return `${range}  ${used} of ${size} addresses in use${rest}; ${ahead}\n${lines.join("")}`;
    })
    .join("");
}
