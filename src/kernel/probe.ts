// What this kernel can do, found out by doing it in a scratch namespace: yes, no with the reason, or a thrown ProbeError for "could not tell".
// A Program is never compiled by what a probe says; apply/ and the lab use it to refuse with the missing feature's name.
//
// Not here: whether a user may make namespaces at all (refusal.ts).

import type { NftBatchItem, NftExpression } from "../wire/netlink/nftables.ts";
import { KernelError, mustChange, type NetworkKernel } from "./kernel.ts";
import { openKernel } from "./linux.ts";
import { createNetworkNamespace } from "./namespaces.ts";
import type { Answer } from "./refusal.ts";

/** What a node's network is made of. */
export type Feature =
  | "network namespaces"
  | "veth"
  | "bridge"
  | "vxlan"
  | "connection tracking"
  | "nf_tables"
  | "nf_tables nat"
  | "nf_tables fib"
  | "nf_tables numgen";

/** In the order in which they need one another. */
export const features: readonly Feature[] = [
  "network namespaces",
  "veth",
  "bridge",
  "vxlan",
  "connection tracking",
  "nf_tables",
  "nf_tables nat",
  "nf_tables fib",
  "nf_tables numgen",
];

/** The probe itself failed, so neither yes nor no is known. */
export class ProbeError extends Error {
  override readonly name = "ProbeError";
  readonly feature: Feature;

  constructor(feature: Feature, cause: unknown) {
    super(`find out whether this kernel has ${feature}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
    this.feature = feature;
  }
}

/** Tries one feature in a namespace of its own: about a millisecond. Throws ProbeError. */
export function probe(feature: Feature): Answer {
  try {
    const namespace = createNetworkNamespace();
    try {
      const kernel = openKernel("a scratch namespace", namespace);
      try {
        attempt(kernel, feature);
      } finally {
        kernel.close();
      }
    } finally {
      namespace.close();
    }
    return { available: true };
  } catch (error) {
    if (
      error instanceof KernelError &&
      (absent.has(error.code) || (error.code === "EINVAL" && subsystems.has(feature)))
    )
      return { available: false, reason: `${error.message}; this kernel lacks it, or its module is not loaded` };
    throw new ProbeError(feature, error);
  }
}

/** errno's names for "there is no such thing": link kinds, expressions, chain types, netlink families. */
const absent: ReadonlySet<string> = new Set(["EOPNOTSUPP", "ENOENT", "ENOSYS", "EPROTONOSUPPORT", "EAFNOSUPPORT"]);

/** nfnetlink says EINVAL where a whole subsystem is missing. */
const subsystems: ReadonlySet<Feature> = new Set<Feature>(["connection tracking", "nf_tables"]);

function attempt(kernel: NetworkKernel, feature: Feature): void {
  switch (feature) {
    case "network namespaces":
      kernel.links();
      return;
    case "veth":
      return mustChange(kernel, [{ kind: "create-veth", name: "probe0", mtu: 1500, peer: { name: "probe1" } }]);
    case "bridge":
      return mustChange(kernel, [{ kind: "create-bridge", name: "probe0", mac, mtu: 1500 }]);
    case "vxlan": {
      const local = "127.0.0.1";
      return mustChange(kernel, [{ kind: "create-vxlan", name: "probe0", mac, mtu: 1450, vni: 1, port: 8472, local }]);
    }
    case "connection tracking":
      kernel.connections();
      return;
    case "nf_tables":
      return kernel.nftCommit([table]);
    case "nf_tables nat":
      return kernel.nftCommit([table, chainOf("nat")]);
    case "nf_tables fib":
      // NFT_FIB_RESULT_ADDRTYPE 3, NFTA_FIB_F_DADDR 2
      return tryExpression(kernel, { kind: "fib", dreg: 1, result: 3, flags: 2 });
    case "nf_tables numgen":
      // NFT_NG_RANDOM 1
      return tryExpression(kernel, { kind: "numgen", dreg: 1, modulus: 2, type: 1 });
  }
}

const mac = "02:00:00:00:00:01";
const table: NftBatchItem = { kind: "add-table", family: "inet", table: "probe" };

/** A base chain at prerouting (NF_INET_PRE_ROUTING 0, policy NF_ACCEPT 1). */
function chainOf(type: "nat" | "filter"): NftBatchItem {
  const chain = { name: "probe", base: { type, hook: 0, priority: 0, policy: 1 } };
  return { kind: "add-chain", family: "inet", table: "probe", chain };
}

function tryExpression(kernel: NetworkKernel, expression: NftExpression): void {
  const rule = { expressions: [expression] };
  kernel.nftCommit([
    table,
    chainOf("filter"),
    { kind: "add-rule", family: "inet", table: "probe", chain: "probe", rule },
  ]);
}
