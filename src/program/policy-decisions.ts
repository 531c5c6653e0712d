// What policies can decide at a node: each decision has a number, which the packet's mark carries from the moment it is decided. Packets and
// connections are counted under it, and NFLOG tells it, so that a line of the flow log names what the kernel itself decided by.
//
// Not here: reading the counters (agent/policy-counts.ts), writing the lines (agent/policy-flows.ts).

import type { Origin } from "../kube/object.ts";
import type { NftElement, NftSet } from "./nftables/ruleset.ts";
import type { Direction } from "./policy-grants.ts";

/** One thing that policies decide. */
export interface Decision {
  /** As nft writes a mark. */
  readonly mark: string;
  readonly verdict: "accept" | "drop" | "pass";
  readonly direction: Direction;
  /**
   * NetworkPolicies: all that let it through where their elements are one, or all that isolate the pod. A ClusterNetworkPolicy: the one,
   * with the field of its rule.
   */
  readonly policies: readonly Origin[];
  /** What it lets through is told. */
  readonly isTold: boolean;
}

/** Names of the sets that count, by what an element counts: packets that were judged, connections let through, lines told. */
export const countingSets = {
  packets: "policy-packets",
  connections: "policy-connections",
  lines: "policy-lines",
  /** Counts nothing: decisions whose connections are told. */
  told: "policy-told",
} as const;

/** The sets for these decisions, in order of mark. */
export function decisionSets(decisions: readonly Decision[]): readonly NftSet[] {
  const set = (name: string, which: (decision: Decision) => boolean): NftSet => ({
    name,
    key: ["mark"],
    flags: [],
    ...(name !== countingSets.told && { counter: true }),
    elements: decisions.filter(which).map(decisionElement),
  });
  return [
    set(countingSets.packets, () => true),
    set(countingSets.connections, ({ verdict }) => verdict === "accept"),
    set(countingSets.lines, ({ verdict, isTold }) => verdict === "drop" || isTold),
    set(countingSets.told, ({ isTold }) => isTold),
  ];
}

/** `accept egress production/a, production/b` */
export function decisionText({ verdict, direction, policies }: Decision): string {
  return `${verdict} ${direction} ${policies.map(policyName).join(", ")}`;
}

/** `production/db`, and for a ClusterNetworkPolicy `isolate spec.egress[2]`. */
export function policyName({ namespace, name, field, kind }: Origin): string {
  if (kind === "ClusterNetworkPolicy") return field === undefined ? name : `${name} ${field}`;
  return namespace === undefined ? name : `${namespace}/${name}`;
}

const commentBytesMax = 128;

function decisionElement(decision: Decision): NftElement {
  const text = decisionText(decision);
  return {
    key: [decision.mark],
    comment: text.length > commentBytesMax ? `${text.slice(0, commentBytesMax - 4)} ...` : text,
    origin: decision.policies[0] ?? { kind: "NetworkPolicy", name: "" },
  };
}
