// The policies' status of a real cluster: one of the agents, by a Lease, writes Events and conditions for all of them. Each agent says on its
// Node whether its kernel holds the policies (node-notes.ts), so that the one can say on how many nodes they are in force.
//
// Not here: the statements (model/policy-status.ts), and when they are told (policy-status.ts).

import type { Condition } from "../kube/kinds.ts";
import type { KubeObject } from "../kube/object.ts";
import type { ClusterNetworkPolicy } from "../kube/policy-kinds.ts";
import { policiesAnnotation } from "../model/node.ts";
import type { Force } from "../model/policy-status.ts";
import { systemClock } from "../watch/clock.ts";
import { ApiError, resourcePath, type ClusterClient } from "../watch/cluster/client.ts";
import { takeDuty, tellOnce } from "./cluster-duty.ts";
import { eventName, postEvent } from "./cluster-events.ts";
import type { ClusterSource } from "./cluster-source.ts";
import { startPolicyStatus, type PolicyStatus } from "./policy-status.ts";

const lease = { name: "fairlead-policy-status", seconds: 30 };
const lookMs = 4_000;

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
  const { client, node, source, namespace, log } = options;
  const failed = tellOnce(log);
  let status: PolicyStatus | undefined;
  const start = (): void => {
    log("tells all policies' owners what is in force, for all nodes");
    status = startPolicyStatus({
      source,
      clock: systemClock,
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
  const duty = takeDuty({
    client,
    node,
    lease,
    namespace,
    lookMs,
    nodeCount: () => source.objects("nodes").length,
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
      await duty.close();
    },
  };
}

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
