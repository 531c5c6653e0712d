// How an agent's watches are, and how long changes of endpoints took to arrive here, in Prometheus' text format.

import { programmingBuckets, type ProgrammingRecord } from "../serve/proxy/policy-metrics.ts";
import type { InformerStatus } from "../watch/cluster/informer.ts";

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
