// The policies' status of a real cluster: one of the agents, by a Lease, writes Events and conditions for all of them. Each agent says on its
// Node whether its kernel holds the policies (node-notes.ts), so that the one can say on how many nodes they are in force.
//
// Not here: the statements (model/policy-status.ts), and when they are told (policy-status.ts).

import { randomUUID } from "node:crypto";

import type { Condition } from "../kube/kinds.ts";
import type { KubeObject } from "../kube/object.ts";
import type { ClusterNetworkPolicy } from "../kube/policy-kinds.ts";
import { policiesAnnotation } from "../model/node.ts";
import type { Force } from "../model/policy-status.ts";
import { ApiError, resourcePath, type ClusterClient } from "../watch/cluster/client.ts";
import { holdLease } from "../watch/cluster/lease.ts";
import { eventName, postEvent } from "./cluster-events.ts";
import type { ClusterSource } from "./cluster-source.ts";
import { startPolicyStatus, type PolicyStatus } from "./policy-status.ts";

/** The Lease's name; the chart's Role names it too. */
const leaseName = "fairlead-policy-status";
const leaseSeconds = 30;
/** Who does not hold it asks every so often, and less often in large clusters: 5,000 agents ask 80 times a second. */
const lookMs = { least: 4_000, perNode: 12 };

export interface PolicyReports {
  /** Another agent may go on at once. */
  close(): Promise<void>;
}

/** Takes part until closed; tells while it holds the Lease. */
export function startPolicyReports(options: {
  readonly client: ClusterClient;
  /** This agent's node. */
  readonly node: string;
  readonly source: Pick<ClusterSource, "current" | "subscribe" | "objects">;
  /** Where the Lease is. */
  readonly namespace?: string;
  readonly log: (line: string) => void;
}): PolicyReports {
  const { client, node, source, namespace = "kube-system", log } = options;
  const told = new Set<string>();
  /** Why something cannot be told; each reason once. */
  const failed = (what: string, error: unknown): void => {
    const text = error instanceof Error ? error.message : String(error);
    if (!told.has(text)) log(`${what}: ${text}`);
    told.add(text);
  };
  let status: PolicyStatus | undefined;
  const start = (): void => {
    log("tells all policies' owners what is in force, for all nodes");
    status = startPolicyStatus({
      source,
      clock: statusClock,
      objects: () => [...source.objects("networkPolicies"), ...source.objects("clusterNetworkPolicies")],
      force: () => Promise.resolve(forceOf(source.objects("nodes"))),
      tell(object, statement) {
        const { name, namespace: place } = object.metadata;
        const about = { apiVersion: object.apiVersion, kind: object.kind, metadata: object.metadata };
        const event = { ...statement, about, name: eventName(object.metadata, statement.id), node, atMs: Date.now() };
        postEvent(client, event).catch((error: unknown) =>
          failed(`tell ${object.kind} ${place === undefined ? "" : `${place}/`}${name} ${statement.reason}`, error),
        );
      },
      writeConditions(object, conditions) {
        patchConditions(client, object, conditions).catch((error: unknown) => {
          // Somebody else's write came first: that change calls again.
          if (error instanceof ApiError && error.status === 409) return;
          failed(`write status of ClusterNetworkPolicy ${object.metadata.name}`, error);
        });
      },
      log,
    });
  };
  const lease = holdLease({
    client,
    namespace,
    name: leaseName,
    identity: `${node}_${randomUUID()}`,
    seconds: leaseSeconds,
    lookEveryMs: () => lookMs.least + lookMs.perNode * source.objects("nodes").length,
    acquired: start,
    lost() {
      log("another agent tells policies' owners from now on");
      status?.close();
    },
    log,
  });
  return {
    async close() {
      status?.close();
      await lease.close();
    },
  };
}

const statusClock = {
  now: () => Date.now(),
  after(delayMs: number, run: () => void) {
    const timer = setTimeout(run, delayMs);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

function forceOf(nodes: readonly KubeObject[]): Force {
  const inForce = nodes.filter(({ metadata }) => metadata.annotations?.[policiesAnnotation] === "in-force");
  return { inForce: inForce.length, nodes: nodes.length };
}

async function patchConditions(
  client: ClusterClient,
  { metadata }: ClusterNetworkPolicy,
  conditions: readonly Condition[],
): Promise<void> {
  await client.request({
    method: "PATCH",
    path: resourcePath(
      { group: "policy.networking.k8s.io", version: "v1alpha2", resource: "clusternetworkpolicies" },
      { name: metadata.name, subresource: "status" },
    ),
    contentType: "application/merge-patch+json",
    // Of the object that was read, so that a condition written meanwhile is not lost.
    body: { metadata: { resourceVersion: metadata.resourceVersion }, status: { conditions } },
  });
}
