// How an agent's watches are, in Prometheus' text format.

import type { InformerStatus } from "../watch/cluster/informer.ts";

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
