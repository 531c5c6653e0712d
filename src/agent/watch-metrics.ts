// How an agent's watches are, what came by them and how long it took to arrive here, and what the process uses, in Prometheus' text format.

import { performance } from "node:perf_hooks";
import process from "node:process";

import { programmingBuckets, type ProgrammingRecord } from "../serve/proxy/policy-metrics.ts";
import type { InformerStatus } from "../watch/cluster/informer.ts";
import type { SourceChanges } from "./cluster-source.ts";

/** kube-proxy's: from what changed an endpoint to the kernel's having it, by the EndpointSlice controller's clock and ours. */
export function networkProgrammingText({ counts, sum, count }: ProgrammingRecord): string {
  const name = "kubeproxy_network_programming_duration_seconds";
  return [
    `# HELP ${name} From the change of an endpoint, as its controller tells it, to the kernel.`,
    `# TYPE ${name} histogram`,
    ...programmingBuckets.map((bound, index) => `${name}_bucket{le="${bound}"} ${counts[index]}`),
    `${name}_bucket{le="+Inf"} ${count}`,
    `${name}_sum ${sum}`,
    `${name}_count ${count}`,
    "",
  ].join("\n");
}

/** kube-proxy's: changes of Services and EndpointSlices, and those that are not on their way to the kernel yet. */
export function changesText({ services, endpointSlices, lastAt }: SourceChanges): string {
  const base = "kubeproxy_sync_proxy_rules";
  const text = (name: string, type: string, help: string, value: number): string =>
    `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} ${value}\n`;
  return [
    text(`${base}_service_changes_total`, "counter", "Changes of Services that came.", services.total),
    text(`${base}_service_changes_pending`, "gauge", "Of these, not yet looked at.", services.pending),
    text(`${base}_endpoint_changes_total`, "counter", "Changes of EndpointSlices that came.", endpointSlices.total),
    text(`${base}_endpoint_changes_pending`, "gauge", "Of these, not yet looked at.", endpointSlices.pending),
    text(
      `${base}_last_queued_timestamp_seconds`,
      "gauge",
      "When the last change of either came.",
      (lastAt ?? 0) / 1000,
    ),
  ].join("");
}

/** What every process that is watched by Prometheus says of itself (its client libraries' process collector). */
export function processText(): string {
  const { user, system } = process.cpuUsage();
  const figures = [
    ["process_cpu_seconds_total", "counter", "Processor time, kernel included.", (user + system) / 1e6],
    ["process_resident_memory_bytes", "gauge", "Resident memory.", process.memoryUsage.rss()],
    ["process_start_time_seconds", "gauge", "When the process started, since 1970.", performance.timeOrigin / 1000],
  ] as const;
  return figures
    .map(([name, type, help, value]) => `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} ${value}\n`)
    .join("");
}

/** `now`: by the clock of the informers. */
export function watchMetricsText(watches: ReadonlyMap<string, InformerStatus>, now: number): string {
  const lines = (name: string, value: (status: InformerStatus) => number): readonly string[] =>
    [...watches].map(([resource, status]) => `${name}{resource="${resource}"} ${value(status)}`);
  return [
    "# HELP fairlead_watch_connected Is the watch of a resource open?",
    "# TYPE fairlead_watch_connected gauge",
    ...lines("fairlead_watch_connected", ({ connected }) => (connected ? 1 : 0)),
    "# HELP fairlead_watch_heard_seconds How long ago the API server was last heard of.",
    "# TYPE fairlead_watch_heard_seconds gauge",
    ...lines("fairlead_watch_heard_seconds", ({ heardAt }) => (heardAt === undefined ? -1 : (now - heardAt) / 1000)),
    "# HELP fairlead_watch_lists_total How often everything of a resource was read.",
    "# TYPE fairlead_watch_lists_total counter",
    ...lines("fairlead_watch_lists_total", ({ lists }) => lists),
    "",
  ].join("\n");
}
