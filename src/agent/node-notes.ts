// What a node's agent says on its Node object for all agents to act on, itself included: how it reaches other nodes' pods, and its pods' ranges
// where the cluster gives none; whether policies are in force there, and whether it
// announces load balancers' addresses (annotations of model/node.ts). What stands there goes: whoever writes it by hand changes the node.
//
// Not here: what follows from it (program/places.ts, agent/ipam.ts).

import type { Prefix } from "../ip/prefix.ts";
import type { Node } from "../kube/kinds.ts";
import type { Routing } from "../model/network.ts";
import {
  layer2Annotation,
  podCidrsAnnotation,
  policiesAnnotation,
  routingAnnotation,
  subnetsAnnotation,
} from "../model/node.ts";
import { resourcePath, type ClusterClient } from "../watch/cluster/client.ts";

export interface NodeNotes {
  readonly routing?: { readonly mode: Routing; readonly subnets: readonly Prefix[] } | undefined;
  /** Own pools. Empty: none. */
  readonly podCidrs: readonly Prefix[];
  /** Undefined: policies are not enforced here, or nothing was written yet. */
  readonly policies?: "in-force" | "failing" | undefined;
  /** Does it answer for load balancers' addresses? What stands there is taken away where it does not. */
  readonly layer2: "announces" | "silent";
}

/** Writes what stands there otherwise; gives it in words, empty where all stood there. Rejects as `request` does. */
export async function noteOnNode(client: ClusterClient, node: Node, notes: NodeNotes): Promise<string> {
  const { routing, podCidrs, policies, layer2 } = notes;
  // null takes an annotation away.
  const wanted = new Map<string, string | null>();
  if (routing !== undefined)
    wanted.set(routingAnnotation, routing.mode).set(subnetsAnnotation, routing.subnets.join(","));
  if (podCidrs.length > 0) wanted.set(podCidrsAnnotation, podCidrs.join(","));
  if (policies !== undefined) wanted.set(policiesAnnotation, policies);
  wanted.set(layer2Annotation, layer2 === "announces" ? layer2 : null);
  const { annotations = {} } = node.metadata;
  const missing = [...wanted].filter(([name, value]) => (annotations[name] ?? "") !== (value ?? ""));
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
    ...(missing.some(([name]) => name === layer2Annotation) ? [`layer 2: ${layer2}`] : []),
  ].join(", ");
}
