// What an agent tells the cluster of its node: Events on the Node object (for `kubectl describe node`), and the condition
// NetworkUnavailable, which keeps pods away until somebody says that the network is there.
//
// Not here: what goes to the agent's own log.

import type { Drift } from "../apply/report.ts";
import type { Node } from "../kube/kinds.ts";
import { ApiError, resourcePath, type ClusterClient } from "../watch/cluster/client.ts";
import type { AgentEvent } from "./agent.ts";
import { postEvent } from "./cluster-events.ts";

export interface NodeEvents {
  /** Tells the cluster; never waits and never throws. The same reason and message are one Event with a count. */
  tell(event: NodeEvent): void;
}

export interface NodeEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
}

/** What of an agent's work the cluster should know: what others changed and was put back, and what could not be done. */
export function eventsOf(event: AgentEvent): readonly NodeEvent[] {
  switch (event.kind) {
    case "reconciled": {
      const { drift, failures } = event.report;
      const [failure] = failures;
      return [
        ...driftEvents(drift),
        ...(failure === undefined
          ? []
          : [
              {
                type: "Warning",
                reason: "NotProgrammed",
                message: `${failure.text}: ${failure.error.message}`,
              } as const,
            ]),
      ];
    }
    case "compile-failed":
      return [{ type: "Warning", reason: "CompileFailed", message: String(event.error) }];
  }
}

/** What others changed, as one Event. */
export function driftEvents(drift: readonly Drift[]): readonly NodeEvent[] {
  const [first] = drift;
  if (first === undefined) return [];
  const more = drift.length > 1 ? `, and ${drift.length - 1} more` : "";
  return [{ type: "Warning", reason: "DriftPutBack", message: `${first.kind}: ${first.text}${more}` }];
}

/** Events of a kind are told at most this often. */
const sameReasonMs = 10_000;

/** Events about a node. `now`: milliseconds since 1970; `node` gives the object as far as it is known. */
export function createNodeEvents(options: {
  readonly client: ClusterClient;
  readonly name: string;
  readonly node: () => Node | undefined;
  readonly log: (line: string) => void;
  readonly now?: () => number;
}): NodeEvents {
  const { client, name, node, log, now = Date.now } = options;
  const toldAt = new Map<string, number>();
  let isRefused = false;
  return {
    tell(event) {
      const nowMs = now();
      const before = toldAt.get(event.reason);
      if (before !== undefined && nowMs - before < sameReasonMs) return;
      toldAt.set(event.reason, nowMs);
      // kubelet's and kube-proxy's way: Events about nodes have the name as uid, so that `describe node` finds them.
      const about = { apiVersion: "v1", kind: "Node", metadata: { name, uid: node()?.metadata.uid ?? name } };
      postEvent(client, { ...event, about, node: name, atMs: nowMs }).catch((error: unknown) => {
        if (isRefused) return;
        isRefused = error instanceof ApiError && error.status === 403;
        log(`tell the cluster ${event.reason}: ${error instanceof Error ? error.message : String(error)}`);
      });
    },
  };
}

/**
 * Says on the Node that its network works (NetworkUnavailable=False, reason FairleadIsUp), as cloud routes and other networks do;
 * where it says so already nothing is written. Rejects as `request` does.
 */
export async function clearNetworkUnavailable(
  client: ClusterClient,
  node: Node,
  now: () => number = Date.now,
): Promise<"written" | "as it was"> {
  const reason = "FairleadIsUp";
  const current = node.status?.conditions?.find(({ type }) => type === "NetworkUnavailable");
  if (current?.status === "False" && current.reason === reason) return "as it was";
  const time = new Date(now()).toISOString().replace(/\.\d+Z$/, "Z");
  await client.request({
    method: "PATCH",
    path: resourcePath(
      { group: "", version: "v1", resource: "nodes" },
      { name: node.metadata.name, subresource: "status" },
    ),
    contentType: "application/strategic-merge-patch+json",
    body: {
      status: {
        conditions: [
          {
            type: "NetworkUnavailable",
            status: "False",
            reason,
            message: "Fairlead has programmed this node's network",
            lastHeartbeatTime: time,
            lastTransitionTime: time,
          },
        ],
      },
    },
  });
  return "written";
}
