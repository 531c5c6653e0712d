// What policies did at a node, in Prometheus' text format (exposition format 0.0.4), beside kube-proxy's metrics (metrics.ts).
//
// Not here: reading the counters (agent/policy-counts.ts).

import type { Decision } from "../../program/policy-decisions.ts";

/** How long changes took to be in force: from their being known here to the kernel's having them. */
export interface ProgrammingRecord {
  programmed(tookMs: number): void;
  /** Cumulative, by the bounds of `programmingBuckets`. */
  readonly counts: readonly number[];
  readonly sum: number;
  readonly count: number;
}

/** Seconds. */
export const programmingBuckets: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

export function createProgrammingRecord(): ProgrammingRecord {
  const record = {
    counts: programmingBuckets.map(() => 0),
    sum: 0,
    count: 0,
    programmed(tookMs: number): void {
      const seconds = tookMs / 1000;
      record.sum += seconds;
      record.count++;
      for (const [index, bound] of programmingBuckets.entries())
        if (seconds <= bound) record.counts[index] = (record.counts[index] ?? 0) + 1;
    },
  };
  return record;
}

/** A decision with what was counted. */
export interface CountedDecision {
  readonly decision: Decision;
  readonly packets: number;
  readonly connections: number;
  readonly lines: number;
}

export function policyMetricsText(seen: {
  readonly node: string;
  readonly counts: readonly CountedDecision[];
  /** Lines of the flow log that were not told because they came too fast, and that were told and not read. */
  readonly lost: { readonly limited: number; readonly unread: number };
  readonly programming: ProgrammingRecord;
}): string {
  const { node, counts, lost, programming } = seen;
  const latency = "fairlead_programming_duration_seconds";
  const at = (labels: Readonly<Record<string, string>>): string => labelText({ node, ...labels });
  const of = ({ decision }: CountedDecision): Readonly<Record<string, string>> => ({
    ...policyLabels(decision),
    direction: decision.direction,
  });
  return [
    ...heading(
      "fairlead_policy_packets_total",
      "counter",
      "Packets that policies judged: all that were dropped, and those that begin a connection.",
    ),
    ...counts.map(
      (count) =>
        `fairlead_policy_packets_total${at({ ...of(count), verdict: count.decision.verdict })} ${count.packets}`,
    ),
    ...heading("fairlead_policy_connections_total", "counter", "Connections that policies let through."),
    ...counts
      .filter(({ decision }) => decision.verdict === "accept")
      .map((count) => `fairlead_policy_connections_total${at(of(count))} ${count.connections}`),
    ...heading("fairlead_policy_log_lines_total", "counter", "Lines of the flow log that the kernel told."),
    ...counts
      .filter(({ decision }) => decision.verdict === "drop" || decision.isTold)
      .map((count) => `fairlead_policy_log_lines_total${at(of(count))} ${count.lines}`),
    ...heading(
      "fairlead_policy_log_lines_lost_total",
      "counter",
      "Lines of the flow log that nobody got: over the limit, or told faster than they were read.",
    ),
    `fairlead_policy_log_lines_lost_total${at({ reason: "limit" })} ${lost.limited}`,
    `fairlead_policy_log_lines_lost_total${at({ reason: "unread" })} ${lost.unread}`,
    ...heading(latency, "histogram", "From a change's being known here to its being in force in the kernel."),
    ...programmingBuckets.map(
      (bound, index) => `${latency}_bucket${at({ le: String(bound) })} ${programming.counts[index]}`,
    ),
    `${latency}_bucket${at({ le: "+Inf" })} ${programming.count}`,
    `${latency}_sum${at({})} ${programming.sum}`,
    `${latency}_count${at({})} ${programming.count}`,
    "",
  ].join("\n");
}

/** Where several policies decided as one, all their names. */
function policyLabels({ policies }: Decision): Readonly<Record<string, string>> {
  const [first] = policies;
  return {
    kind: first?.kind ?? "NetworkPolicy",
    policy: policies.map(({ namespace, name }) => (namespace === undefined ? name : `${namespace}/${name}`)).join(","),
    ...(first?.kind === "ClusterNetworkPolicy" && { rule: first.field ?? "" }),
  };
}

function heading(name: string, type: string, help: string): readonly string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const escaped = (text: string): string =>
    text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  return `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(",")}}`;
}
