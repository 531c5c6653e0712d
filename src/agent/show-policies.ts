// `fairlead show policies`: what policies decided at a node so far, one line a decision; where several policies' elements are one, all of
// them are named.

import { readPolicyCounts, untoldLines, type PolicyCount } from "./policy-counts.ts";
import type { NetworkKernel } from "../kernel/kernel.ts";
import type { Attachment, Network, NetworkNode } from "../model/network.ts";
import { policyName } from "../program/policy-decisions.ts";
import { policyDecisionsAt } from "../program/compile.ts";

export interface PoliciesSeen {
  readonly network: Network;
  readonly node: NetworkNode | undefined;
  readonly attachments: readonly Attachment[];
  /** Undefined where packets are off: nothing was counted. */
  readonly kernel: NetworkKernel | undefined;
}

/** In the order of what was decided, then of policies. */
export function countsAt({ network, node, attachments, kernel }: PoliciesSeen): readonly PolicyCount[] {
  const decisions = node === undefined ? [] : [...policyDecisionsAt(network, node.name, attachments).values()];
  const counts =
    kernel === undefined
      ? decisions.map((decision) => ({ decision, packets: 0, connections: 0, lines: 0 }))
      : readPolicyCounts(kernel, network.cluster.families, decisions);
  const rank = ({ decision: { verdict, direction, policies } }: PolicyCount): string =>
    `${policies.map(policyName).join(",")} ${direction} ${verdict}`;
  return counts.toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1));
}

export function policiesText(counts: readonly PolicyCount[]): string {
  if (counts.length === 0) return "no policy concerns a pod of this node\n";
  const rows = counts.map((count) => {
    const { verdict, direction, policies } = count.decision;
    const isAccept = verdict === "accept";
    const untold = untoldLines(count);
    return [
      policies.map(policyName).join(", "),
      direction,
      verdict,
      String(count.packets),
      isAccept ? String(count.connections) : "-",
      untold === 0 ? String(count.lines) : `${count.lines}, ${untold} more untold`,
    ];
  });
  const table = [["POLICY", "DIRECTION", "VERDICT", "PACKETS", "CONNECTIONS", "LOG LINES"], ...rows];
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((row) => (row[column] ?? "").length)));
  return table
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join("");
}

/** The same for programs. */
export function policiesValue(counts: readonly PolicyCount[]): unknown {
  return counts.map((count) => {
    const { decision, packets, connections, lines } = count;
    const { verdict, direction, policies } = decision;
    return { verdict, direction, policies, packets, connections, lines, untoldLines: untoldLines(count) };
  });
}
