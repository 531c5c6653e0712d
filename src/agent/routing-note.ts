// What a node's agent says on its Node object about how it reaches other nodes' pods, for all agents to act on: the annotations
// fairlead.dev/routing and fairlead.dev/subnets (model/node.ts). What they say goes, for the node itself as well: whoever writes them by hand
// changes the node's way.
//
// Not here: what follows from it (program/places.ts).

import type { Prefix } from "../ip/prefix.ts";
import type { Node } from "../kube/kinds.ts";
import type { Routing } from "../model/network.ts";
import { routingAnnotation, subnetsAnnotation } from "../model/node.ts";
import { resourcePath, type ClusterClient } from "../watch/cluster/client.ts";

/** Writes both where they say something else. Rejects as `request` does. */
export async function noteRouting(
  client: ClusterClient,
  node: Node,
  { routing, subnets }: { readonly routing: Routing; readonly subnets: readonly Prefix[] },
): Promise<"written" | "as it was"> {
  const wanted: Readonly<Record<string, string>> = {
    [routingAnnotation]: routing,
    [subnetsAnnotation]: subnets.join(","),
  };
  const { annotations = {} } = node.metadata;
  if (Object.entries(wanted).every(([name, value]) => (annotations[name] ?? "") === value)) return "as it was";
  await client.request({
    method: "PATCH",
    // The permission that every agent has anyway (least privilege): the status' writer may annotate, as kubelets do.
    path: resourcePath(
      { group: "", version: "v1", resource: "nodes" },
      { name: node.metadata.name, subresource: "status" },
    ),
    contentType: "application/strategic-merge-patch+json",
    body: { metadata: { annotations: wanted } },
  });
  return "written";
}
