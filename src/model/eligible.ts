// Which of a Service's endpoints get new connections, seen from one node: readiness, termination, traffic policy, topology hints.
//
// Not here: how one of them is chosen (program/services.ts).

import { familyOf, type Family } from "../ip/address.ts";
import type { Endpoint, NetworkNode } from "./network.ts";

/** `cluster`: endpoints everywhere, or near ones where hints say so; `local`: those on the node itself only (traffic policy Local). */
export type EndpointScope = "cluster" | "local";

/**
 * The endpoints of one family that a new connection may get at this node, in the given order.
 * Ready ones; where none is, those that still serve while they terminate (KEP-1669). Never unready terminating ones.
 */
export function eligibleEndpoints(
  endpoints: readonly Endpoint[],
  family: Family,
  where: { readonly scope: EndpointScope; readonly node: NetworkNode },
): readonly Endpoint[] {
  const candidates = endpoints.filter(
    ({ address, node }) => familyOf(address) === family && (where.scope === "cluster" || node === where.node.name),
  );
  const ready = candidates.filter(({ ready }) => ready);
  if (ready.length > 0) return where.scope === "cluster" ? nearest(ready, where.node) : ready;
  return candidates.filter(({ serving, terminating }) => serving && terminating);
}

/** Endpoints of a port that get no new connections at this node, in the given order, and why, in words. */
export function ineligibleEndpoints(
  endpoints: readonly Endpoint[],
  where: { readonly scope: EndpointScope; readonly node: NetworkNode },
): readonly { readonly endpoint: Endpoint; readonly why: string }[] {
  const [four, six] = ([4, 6] as const).map((family) => new Set(eligibleEndpoints(endpoints, family, where)));
  return endpoints.flatMap((endpoint) => {
    const eligible = (familyOf(endpoint.address) === 4 ? four : six) ?? new Set();
    return eligible.has(endpoint) ? [] : [{ endpoint, why: reasonOf(endpoint, eligible.size > 0, where) }];
  });
}

/** `hasEligible`: others of its family get connections. */
function reasonOf(
  endpoint: Endpoint,
  hasEligible: boolean,
  where: { readonly scope: EndpointScope; readonly node: NetworkNode },
): string {
  if (endpoint.terminating && !endpoint.serving) return "terminating, and not serving any more";
  if (endpoint.terminating)
    return hasEligible ? "terminating, while others are ready" : `terminating, and not on ${where.node.name}`;
  if (!endpoint.ready) return "not ready";
  if (where.scope === "local" && endpoint.node !== where.node.name)
    return `on ${endpoint.node ?? "no node"}: policy Local uses endpoints of ${where.node.name} only`;
  const zones = endpoint.forZones?.join(", ");
  return `hints mean it for ${endpoint.forNodes?.join(", ") ?? `zone ${zones ?? "none"}`}, and there are nearer ones`;
}

/** Do the endpoints look alike from every node (scope cluster)? Not where they carry hints. */
export function isSameEverywhere(endpoints: readonly Endpoint[]): boolean {
  return endpoints.every(({ forZones, forNodes }) => forZones === undefined && forNodes === undefined);
}

/**
 * KEP-2433, KEP-4444, KEP-3015: hints count where every endpoint has them and one of them means us; node hints before zone hints.
 * One endpoint without a hint, and all are used.
 */
function nearest(endpoints: readonly Endpoint[], node: NetworkNode): readonly Endpoint[] {
  if (isSameEverywhere(endpoints)) return endpoints;
  const onNode = endpoints.filter(({ forNodes }) => forNodes?.includes(node.name));
  if (onNode.length > 0 && endpoints.every(({ forNodes }) => isGiven(forNodes))) return onNode;
  const { zone } = node;
  const inZone = zone === undefined ? [] : endpoints.filter(({ forZones }) => forZones?.includes(zone));
  return inZone.length > 0 && endpoints.every(({ forZones }) => isGiven(forZones)) ? inZone : endpoints;
}

function isGiven(hints: readonly string[] | undefined): boolean {
  return hints !== undefined && hints.length > 0;
}
