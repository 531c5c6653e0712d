// What one agent does for all of them: the one that holds a Lease, which the chart's Role names too.

import { randomUUID } from "node:crypto";

import type { ClusterClient } from "../watch/cluster/client.ts";
import { holdLease, type HeldLease } from "../watch/cluster/lease.ts";

export interface DutyOptions {
  readonly client: ClusterClient;
  /** This agent's node. */
  readonly node: string;
  /** The Lease, and where it is; `kube-system` where absent. */
  readonly lease: { readonly name: string; readonly seconds: number };
  readonly namespace?: string | undefined;
  /** How often who does not hold it asks, at the least; less often in large clusters: 5,000 agents ask 80 times a second. */
  readonly lookMs: number;
  readonly nodeCount: () => number;
  readonly acquired: () => void;
  readonly lost: () => void;
  readonly log: (line: string) => void;
}

const lookMsPerNode = 12;

/** Asks for it until closed; another agent may go on at once then. */
export function takeDuty({ node, lease, namespace = "kube-system", nodeCount, ...options }: DutyOptions): HeldLease {
  return holdLease({
    ...options,
    ...lease,
    namespace,
    identity: `${node}_${randomUUID()}`,
    lookEveryMs: () => options.lookMs + lookMsPerNode * nodeCount(),
  });
}

const reasonsMax = 1000;

/** Says why something could not be done: each reason once, whatever it was. */
export function tellOnce(log: (line: string) => void): (what: string, error: unknown) => void {
  const told = new Set<string>();
  return (what, error) => {
    const text = error instanceof Error ? error.message : String(error);
    if (told.has(text) || told.size >= reasonsMax) return;
    told.add(text);
    log(`${what}: ${text}`);
  };
}
