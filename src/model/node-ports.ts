// Where node ports answer: which of a node's addresses its user has chosen (kube-proxy's --nodeport-addresses).
// Not here: the addresses a node has (agent/machine.ts, lab/network), and what it takes to answer at loopback (program/sysctls.ts, guard.ts).

import { contains, type Prefix } from "../ip/prefix.ts";
import { familyOf, type Address, type Family } from "../ip/address.ts";
import type { NetworkNode } from "./network.ts";

/** Those in one of the ranges, sorted, each once. Never ::1: no packet leaves the kernel's loopback with it, whatever it is translated to. */
export function addressesIn(ranges: readonly Prefix[], addresses: readonly Address[]): readonly Address[] {
  const chosen = addresses.filter((address) => address !== "::1" && ranges.some((range) => contains(range, address)));
  return [...new Set(chosen)].sort();
}

/** Where its node ports answer in a family: at the chosen addresses, or at the primary one. */
export function nodePortAddresses(node: NetworkNode, family: Family): readonly Address[] {
  const { nodePortAddresses: chosen, addresses } = node;
  const own = (chosen ?? addresses).filter((address) => familyOf(address) === family);
  return chosen === undefined ? own.slice(0, 1) : own;
}

/** Do its node ports answer at IPv4's loopback, too? */
export function answersAtLoopback({ nodePortAddresses = [] }: NetworkNode): boolean {
  return nodePortAddresses.some((address) => address.startsWith("127."));
}
