// Where node ports answer: which of a node's addresses its user has chosen (kube-proxy's --nodeport-addresses).
// Not here: the addresses a node has (agent/machine.ts, lab/network), and what it takes to answer at loopback (program/sysctls.ts, guard.ts).

import { contains, type Prefix } from "../ip/prefix.ts";
import type { Address } from "../ip/address.ts";
import type { NetworkNode } from "./network.ts";

/** Those in one of the ranges, sorted, each once. Never ::1: no packet leaves the kernel's loopback with it, whatever it is translated to. */
export function addressesIn(ranges: readonly Prefix[], addresses: readonly Address[]): readonly Address[] {
  const chosen = addresses.filter((address) => address !== "::1" && ranges.some((range) => contains(range, address)));
  return [...new Set(chosen)].sort();
}

/** Do its node ports answer at IPv4's loopback, too? */
export function answersAtLoopback({ nodePortAddresses = [] }: NetworkNode): boolean {
  return nodePortAddresses.some((address) => address.startsWith("127."));
}
