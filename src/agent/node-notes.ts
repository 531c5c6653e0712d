// What a node's agent says on its Node object for all agents to act on, itself included: how it reaches other nodes' pods, and its pods' ranges
// where the cluster gives none; and whether policies are in force there (annotations of model/node.ts). What stands there goes: whoever writes it by hand changes the node.
//
// Not here: what follows from it (program/places.ts, agent/ipam.ts).

import type { Prefix } from "../ip/prefix.ts";
import type { Node } from "../kube/kinds.ts";
import type { Routing } from "../model/network.ts";
import { podCidrsAnnotation, policiesAnnotation, routingAnnotation, subnetsAnnotation } from "../model/node.ts";
import { resourcePath, type ClusterClient } from "../watch/cluster/client.ts";

export interface NodeNotes {
  readonly routing?: { readonly mode: Routing; readonly subnets: readonly Prefix[] } | undefined;
  /** Own pools. Empty: none. */
  readonly podCidrs: readonly Prefix[];
  /** Undefined: policies are not enforced here, or nothing was written yet. */
  readonly policies?: "in-force" | "failing" | undefined;
}

/** Writes what stands there otherwise; gives it in words, empty where all stood there. Rejects as `request` does. */
export async function noteOnNode(client: ClusterClient, node: Node, notes: NodeNotes): Promise<string> {
  const { routing, podCidrs, policies } = notes;
  const wanted = new Map<string, string>();
  if (routing !== undefined)
    wanted.set(routingAnnotation, routing.mode).set(subnetsAnnotation, routing.subnets.join(","));
  if (podCidrs.length > 0) wanted.set(podCidrsAnnotation, podCidrs.join(","));
  if (policies !== undefined) wanted.set(policiesAnnotation, policies);
  const { annotations = {} } = node.metadata;
  const missing = [...wanted].filter(([name, value]) => (annotations[name] ?? "") !== value);
  if (missing.length === 0) return "";
  await client.request({
    method: "PATCH",
    // The permission that every agent has anyway (least privilege): the status' writer may annotate, as kubelets do.
    path: resourcePath(
      { group: "", version: "v1", resource: "nodes" },
      { name: node.metadata.name, subresource: "status" },
    ),
    contentType: "application/strategic-merge-patch+json",
    body: { metadata: { annotations: Object.fromEntries(missing) } },
  });
  return [
    ...(routing === undefined ? [] : [`routing ${routing.mode}`]),
    ...(podCidrs.length === 0 ? [] : [`pod ranges ${podCidrs.join(", ")}`]),
    ...(policies === undefined ? [] : [`policies ${policies}`]),
  ].join(", ");
}
