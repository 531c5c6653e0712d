// Nodes and namespaces: objects -> Network.
//
// Not here: which node wins where two claim the same addresses (claims.ts).

import { familyOf, parseAddress, type Address, type Family } from "../ip/address.ts";
import { parsePrefix, type Prefix } from "../ip/prefix.ts";
import type { Namespace, Node } from "../kube/kinds.ts";
import { annotations, type KubeObject } from "../kube/object.ts";
import type { NetworkNamespace, NetworkNode, Routing } from "./network.ts";
import { originOf } from "./origin.ts";

/** How the node's agent reaches other nodes' pods: `vxlan`, `native` or `mixed`. */
export const routingAnnotation = "fairlead.dev/routing";
/** The ranges of the node's link to the others, separated by commas: `172.18.0.0/17,fd00:172:18::/65`. */
export const subnetsAnnotation = "fairlead.dev/subnets";

/** The node's pod ranges in a cluster whose controllers give none (no Node.spec.podCIDRs): `10.244.7.0/24,fd00:10:244:7::/64`. */
export const podCidrsAnnotation = "fairlead.dev/pod-cidrs";

/** Whether the node's kernel holds the policies as the agent knows them: `in-force` or `failing`; absent where Fairlead does not enforce them. */
export const policiesAnnotation = "fairlead.dev/policies";

/** `announces`: the node's agent answers for load balancers' addresses on the node's link; absent where it does not. */
export const layer2Annotation = "fairlead.dev/layer2";

/** All there are. */
export const routings: readonly Routing[] = ["vxlan", "native", "mixed"];

export function isRouting(value: unknown): value is Routing {
  return (routings as readonly unknown[]).includes(value);
}

const zoneLabel = "topology.kubernetes.io/zone";

/** What the network has to know of a Node. Addresses and ranges that cannot be read are left out. */
export function networkNode(node: Node): NetworkNode {
  const internal = (node.status?.addresses ?? []).filter(({ type }) => type === "InternalIP");
  const labels = node.metadata.labels ?? {};
  const addresses = onePerFamily(internal.map(({ address }): Address | undefined => parseAddress(address)));
  const others = (node.status?.addresses ?? [])
    .flatMap(({ address }) => parseAddress(address) ?? [])
    .filter((address, index, all) => !addresses.includes(address) && all.indexOf(address) === index);
  const zone = labels[zoneLabel];
  return {
    name: node.metadata.name,
    labels,
    addresses,
    ...(others.length > 0 && { otherAddresses: others }),
    podCidrs: onePerFamily(podCidrsOf(node).map((text): Prefix | undefined => parsePrefix(text))),
    ready: isReady(node),
    ...(zone === undefined ? {} : { zone }),
    ...routingFacts(node),
    origin: originOf(node),
  };
}

/** A Namespace with its labels. */
export function networkNamespace(namespace: Namespace): NetworkNamespace {
  return {
    name: namespace.metadata.name,
    labels: namespace.metadata.labels ?? {},
    ...(logsAccepts(namespace) && { logsAccepts: true as const }),
    origin: originOf(namespace),
  };
}

/** Does the object's annotation ask for a line per connection that its policies let through? */
export function logsAccepts({ metadata }: KubeObject): boolean {
  return metadata.annotations?.[annotations.policyLog] === "accepts";
}

/** What a node's agent says of itself. Words that cannot be read are as none. */
function routingFacts({ metadata: { annotations = {} } }: Node): Pick<NetworkNode, "routing" | "subnets"> {
  const routing = annotations[routingAnnotation];
  const subnets = (annotations[subnetsAnnotation] ?? "").split(",").flatMap((text) => parsePrefix(text.trim()) ?? []);
  return {
    ...(isRouting(routing) && { routing }),
    ...(subnets.length > 0 && { subnets }),
  };
}

/** The node controller's ranges; where there is none of its, those that the node's agent was given. */
function podCidrsOf({ spec, metadata }: Node): readonly string[] {
  if (spec?.podCIDRs !== undefined && spec.podCIDRs.length > 0) return spec.podCIDRs;
  if (spec?.podCIDR !== undefined && spec.podCIDR !== "") return [spec.podCIDR];
  return (metadata.annotations?.[podCidrsAnnotation] ?? "").split(",").map((text) => text.trim());
}

function isReady(node: Node): boolean {
  const ready = node.status?.conditions?.find(({ type }) => type === "Ready");
  return ready?.status === "True" && node.metadata.deletionTimestamp === undefined;
}

/** The first of each family, in the given order: the primary family stays first. */
function onePerFamily(values: readonly (string | undefined)[]): readonly string[] {
  const seen = new Set<Family>();
  return values.filter((value): value is string => {
    if (value === undefined || seen.has(familyOf(value))) return false;
    seen.add(familyOf(value));
    return true;
  });
}
