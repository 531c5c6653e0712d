// What policies decided at one node, counted by the kernel (program/policy-decisions.ts): read from three small sets, however many pods and
// policies there are, and only when somebody asks.
//
// Not here: Prometheus' text (serve/proxy/policy-metrics.ts), tables for people (show-policies.ts).

import type { NetworkKernel } from "../kernel/kernel.ts";
import type { Family } from "../ip/address.ts";
import { countingSets, decisionSets, type Decision } from "../program/policy-decisions.ts";
import { encodeElements } from "../program/nftables/encode.ts";
import { names } from "../program/program.ts";

/** A decision and how often it was taken, in both IP families together, since its policies are in force here. */
export interface PolicyCount {
  readonly decision: Decision;
  /** Packets that were judged: every one that was dropped; of connections let through those until they are answered. */
  readonly packets: number;
  /** Connections let through. */
  readonly connections: number;
  /** Lines of the flow log that the kernel told. */
  readonly lines: number;
}

/** In the order of the decisions. */
export function readPolicyCounts(
  kernel: Pick<NetworkKernel, "nftElements">,
  families: readonly Family[],
  decisions: readonly Decision[],
): readonly PolicyCount[] {
  if (decisions.length === 0) return [];
  const sets = decisionSets(decisions).filter(({ counter }) => counter === true);
  const counts = new Map<string, Map<string, number>>(sets.map(({ name }) => [name, new Map()]));
  for (const family of families) {
    const found = kernel.nftElements(
      family === 4 ? "ip" : "ip6",
      names.table,
      sets.map(({ name }) => name),
    );
    for (const set of sets) {
      const marks = new Map(
        encodeElements(set, set.elements).map(({ key }, index) => [textOf(key), set.elements[index]?.key[0] ?? ""]),
      );
      const counted = counts.get(set.name);
      for (const { key, packets = 0n } of found.get(set.name) ?? []) {
        const mark = marks.get(textOf(key));
        if (mark !== undefined) counted?.set(mark, (counted.get(mark) ?? 0) + Number(packets));
      }
    }
  }
  const count = (set: string, { mark }: Decision): number => counts.get(set)?.get(mark) ?? 0;
  return decisions.map((decision) => ({
    decision,
    packets: count(countingSets.packets, decision),
    connections: count(countingSets.connections, decision),
    lines: count(countingSets.lines, decision),
  }));
}

/** Lines that the kernel did not tell, as they came too fast. */
export function untoldLines({ decision, packets, connections, lines }: PolicyCount): number {
  const worth = decision.verdict === "drop" ? packets : decision.isTold ? connections : 0;
  return Math.max(0, worth - lines);
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key).toString("hex");
}
