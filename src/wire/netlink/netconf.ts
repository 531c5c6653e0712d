// What the kernel tells of a few settings of its IP stacks when they change (linux/netconf.h): forwarding and reverse path filters.
// Other sysctls are not told.

import { NetlinkFormatError, parseAttributes, readI32 } from "./attributes.ts";
import type { NetlinkMessage } from "./message.ts";

/** linux/rtnetlink.h: RTM_NEWNETCONF */
export const netconfMessage = { new: 80 } as const;

/** One setting, where one has changed; a link that comes tells all of its own at once. */
export interface NetconfInfo {
  readonly family: 4 | 6;
  /** -1: of `all` links. */
  readonly index: number;
  readonly settings: readonly { readonly name: "forwarding" | "rp_filter"; readonly value: number }[];
}

/** linux/netconf.h: NETCONFA_IFINDEX_ALL */
export const allLinks = -1;

/** Undefined for other families (MPLS). Throws NetlinkFormatError. */
export function decodeNetconf(message: NetlinkMessage): NetconfInfo | undefined {
  const family = families[message.body[0] ?? 0];
  if (family === undefined) return undefined;
  const attributes = parseAttributes(message.body, netconfmsgBytes);
  const index = attributes.get(NETCONFA_IFINDEX);
  if (index === undefined) throw new NetlinkFormatError("netconf: no index");
  const settings = Object.entries(settingAttributes).flatMap(([name, type]) => {
    const value = attributes.get(type);
    return value === undefined ? [] : [{ name: name as keyof typeof settingAttributes, value: readI32(value) }];
  });
  return { family, index: readI32(index), settings };
}

// struct netconfmsg: the family, padded.
const netconfmsgBytes = 4;
const NETCONFA_IFINDEX = 1;
const settingAttributes = { forwarding: 2, rp_filter: 3 } as const;
// AF_INET, AF_INET6
const families: Readonly<Record<number, 4 | 6 | undefined>> = { 2: 4, 10: 6 };
