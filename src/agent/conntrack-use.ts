// How full the kernel's table of connections is: a metric, and a warning while there is still time. When it is full, new connections are
// dropped without a word to anybody but the kernel's log ("nf_conntrack: table full, dropping packet").
//
// Not here: which entries are removed when Services change (apply/).

import type { NetworkKernel } from "../kernel/kernel.ts";
import type { NodeEvent } from "./node-events.ts";

interface ConntrackUse {
  /** Connections the kernel keeps track of, in the kernel's namespace. */
  readonly entries: number;
  readonly limit: number;
}

/** Told from this share on, and again after it was below the other in between. */
const warnAt = 0.8;
const goodBelow = 0.7;
const lookMs = 10_000;

/** Undefined where connection tracking is not loaded. */
function readConntrackUse(kernel: Pick<NetworkKernel, "readSysctl">): ConntrackUse | undefined {
  const [entries, limit] = ["count", "max"].map((name) =>
    Number(kernel.readSysctl(`net/netfilter/nf_conntrack_${name}`) ?? Number.NaN),
  );
  if (entries === undefined || limit === undefined || Number.isNaN(entries) || Number.isNaN(limit)) return undefined;
  return { entries, limit };
}

/** What to tell the cluster of it (an Event on the Node). */
export function conntrackEvent(message: string): NodeEvent {
  return { type: "Warning", reason: "ConntrackNearlyFull", message };
}

/** Looks from time to time until closed. `warn` gets what to say and what to do about it. */
export function watchConntrackUse(options: {
  readonly kernel: Pick<NetworkKernel, "readSysctl">;
  readonly node: string;
  readonly warn: (message: string) => void;
  readonly every?: (ms: number, look: () => void) => { close(): void };
}): { close(): void } {
  const { kernel, node, warn, every = interval } = options;
  let isWarned = false;
  return every(lookMs, () => {
    const use = readConntrackUse(kernel);
    if (use === undefined || use.limit === 0) return;
    if (shareOf(use) < goodBelow) isWarned = false;
    const message = warningOf(use, node);
    if (message === undefined || isWarned) return;
    isWarned = true;
    warn(message);
  });
}

/** What to say of a node's table as it is now; undefined where there is room, and where connections are not tracked. */
export function conntrackWarning(kernel: Pick<NetworkKernel, "readSysctl">, node: string): string | undefined {
  const use = readConntrackUse(kernel);
  return use === undefined || use.limit === 0 ? undefined : warningOf(use, node);
}

function warningOf(use: ConntrackUse, node: string): string | undefined {
  if (shareOf(use) < warnAt) return undefined;
  return (
    `${use.entries} of ${use.limit} connections are tracked on node ${node}: when there is no room, new connections are dropped; ` +
    "raise sysctl net.netfilter.nf_conntrack_max, or find who opens so many (conntrack -L)"
  );
}

function shareOf({ entries, limit }: ConntrackUse): number {
  return entries / limit;
}

/** Prometheus' text format. */
export function conntrackUseText(kernel: Pick<NetworkKernel, "readSysctl">): string {
  const use = readConntrackUse(kernel);
  if (use === undefined) return "";
  return [
    "# HELP fairlead_conntrack_entries Connections that the kernel keeps track of.",
    "# TYPE fairlead_conntrack_entries gauge",
    `fairlead_conntrack_entries ${use.entries}`,
    "# HELP fairlead_conntrack_entries_limit How many it can: nf_conntrack_max.",
    "# TYPE fairlead_conntrack_entries_limit gauge",
    `fairlead_conntrack_entries_limit ${use.limit}`,
    "",
  ].join("\n");
}

function interval(ms: number, look: () => void): { close(): void } {
  const timer = setInterval(look, ms);
  timer.unref();
  return { close: () => clearInterval(timer) };
}
