// How full the kernel's table of connections is: a metric, and a warning while there is still time. When it is full, new connections are
// dropped without a word to anybody but the kernel's log ("nf_conntrack: table full, dropping packet").
//
// Not here: which entries are removed when Services change (apply/).

import type { NetworkKernel } from "../kernel/kernel.ts";

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
export function readConntrackUse(kernel: Pick<NetworkKernel, "readSysctl">): ConntrackUse | undefined {
  const [entries, limit] = ["count", "max"].map((name) =>
    Number(kernel.readSysctl(`net/netfilter/nf_conntrack_${name}`) ?? Number.NaN),
  );
  if (entries === undefined || limit === undefined || Number.isNaN(entries) || Number.isNaN(limit)) return undefined;
  return { entries, limit };
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
    const share = use.entries / use.limit;
    if (share < goodBelow) isWarned = false;
    if (share < warnAt || isWarned) return;
    isWarned = true;
    warn(
      `${use.entries} of ${use.limit} connections are tracked on node ${node}: when there is no room, new connections are dropped; ` +
        "raise sysctl net.netfilter.nf_conntrack_max, or find who opens so many (conntrack -L)",
    );
  });
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
