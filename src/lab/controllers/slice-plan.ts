// How wanted endpoints are laid out in EndpointSlices: what stays in place stays, at most 100 to a slice, one set of ports a slice.
// Pure. Upstream: k8s.io/endpointslice reconciler.go reconcileByPortMapping.

import { sameJson } from "../../kube/equal.ts";
import type { Endpoint, EndpointSlice, EndpointSlicePort } from "../../kube/kinds.ts";
import type { Labels } from "../../kube/object.ts";

/** Endpoints that have the same ports. */
export interface EndpointGroup {
  readonly ports: readonly EndpointSlicePort[];
  readonly endpoints: readonly Endpoint[];
}

export interface SlicePlan {
  readonly create: readonly EndpointGroup[];
  readonly update: readonly EndpointSlice[];
  readonly delete: readonly EndpointSlice[];
}

/** kube-controller-manager --max-endpoints-per-slice. */
export const endpointsPerSlice = 100;

/** Which slices to make, change and remove so that `existing` (all of one Service and address type) hold exactly `wanted`. */
export function planSlices(options: {
  readonly wanted: readonly EndpointGroup[];
  readonly existing: readonly EndpointSlice[];
  /** The labels every slice has to have. */
  readonly labels: Labels;
  /** Is a slice without endpoints kept where there would be none at all? */
  readonly placeholder: boolean;
  readonly perSlice?: number;
}): SlicePlan {
  const { perSlice = endpointsPerSlice } = options;
  const plan = { create: [] as EndpointGroup[], update: [] as EndpointSlice[], delete: [] as EndpointSlice[] };
  const byPorts = Map.groupBy(options.existing, (slice) => portsKey(slice.ports ?? []));
  const wanted = new Map(options.wanted.map((group) => [portsKey(group.ports), group]));
  for (const [key, slices] of byPorts) if (!wanted.has(key)) plan.delete.push(...slices);
  for (const [key, group] of wanted)
    planGroup(group, byPorts.get(key) ?? [], { labels: options.labels, perSlice }, plan);

  const left = options.existing.length - plan.delete.length + plan.create.length;
  if (options.placeholder && left === 0) keepPlaceholder(options.existing, options.labels, plan);
  return plan;
}

/** The same text for the same ports in any order (PortMapKey). */
export function portsKey(ports: readonly EndpointSlicePort[]): string {
  return JSON.stringify(
    ports
      .map(({ name = "", port, protocol = "TCP", appProtocol }) => [name, port ?? null, protocol, appProtocol ?? null])
      .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)),
  );
}

function endpointKey({ targetRef, addresses }: Endpoint): string {
  return `${targetRef?.uid ?? ""}|${addresses.join(",")}`;
}

interface Mutable {
  readonly create: EndpointGroup[];
  readonly update: EndpointSlice[];
  readonly delete: EndpointSlice[];
}

/** One slice on its way to what it will be. */
interface Draft {
  readonly slice: EndpointSlice;
  endpoints: Endpoint[];
  changed: boolean;
}

function planGroup(
  group: EndpointGroup,
  slices: readonly EndpointSlice[],
  { labels, perSlice }: { readonly labels: Labels; readonly perSlice: number },
  plan: Mutable,
): void {
  const pending = new Map(group.endpoints.map((endpoint) => [endpointKey(endpoint), endpoint]));
  const drafts = slices.map((slice): Draft => {
    const before = slice.endpoints ?? [];
    const endpoints = before.flatMap((endpoint) => take(pending, endpoint));
    const changed =
      endpoints.length !== before.length ||
      endpoints.some((endpoint, i) => endpoint !== before[i]) ||
      !sameJson(slice.metadata.labels, labels);
    return { slice, endpoints, changed };
  });
  let rest = [...pending.values()];
  // Slices that are written anyway take new endpoints first, the fullest of them first.
  for (const draft of drafts.filter((each) => each.changed).sort((a, b) => b.endpoints.length - a.endpoints.length)) {
    rest = fill(draft, rest, perSlice);
  }
  // What is left goes into the fullest slice that holds all of it, else into new slices.
  if (rest.length > 0 && rest.length < perSlice) {
    const roomy = drafts
      .filter((draft) => !draft.changed && draft.endpoints.length + rest.length <= perSlice)
      .sort((a, b) => b.endpoints.length - a.endpoints.length)[0];
    if (roomy !== undefined) rest = fill(roomy, rest, perSlice);
  }
  for (let at = 0; at < rest.length; at += perSlice) {
    plan.create.push({ ports: group.ports, endpoints: rest.slice(at, at + perSlice) });
  }
  for (const { slice, endpoints, changed } of drafts) {
    if (endpoints.length === 0) plan.delete.push(slice);
    else if (changed) plan.update.push(withContent(slice, endpoints, labels));
  }
}

/** The wanted endpoint in place of the one that is there; the very same where nothing changed. */
function take(pending: Map<string, Endpoint>, endpoint: Endpoint): readonly Endpoint[] {
  const key = endpointKey(endpoint);
  const wanted = pending.get(key);
  if (wanted === undefined) return [];
  pending.delete(key);
  return [sameJson(wanted, endpoint) ? endpoint : wanted];
}

function fill(draft: Draft, endpoints: readonly Endpoint[], perSlice: number): Endpoint[] {
  const room = perSlice - draft.endpoints.length;
  if (room <= 0 || endpoints.length === 0) return [...endpoints];
  draft.endpoints = [...draft.endpoints, ...endpoints.slice(0, room)];
  draft.changed = true;
  return endpoints.slice(room);
}

function withContent(slice: EndpointSlice, endpoints: readonly Endpoint[], labels: Labels): EndpointSlice {
  return { ...slice, metadata: { ...slice.metadata, labels }, endpoints };
}

/** An empty slice says that somebody looked and found nobody. One that would be deleted is emptied rather than replaced. */
function keepPlaceholder(existing: readonly EndpointSlice[], labels: Labels, plan: Mutable): void {
  const kept = existing.find((slice) => (slice.ports ?? []).length === 0) ?? existing[0];
  if (kept === undefined) {
    plan.create.push({ ports: [], endpoints: [] });
    return;
  }
  plan.delete.splice(plan.delete.indexOf(kept), 1);
  const empty = { ...withContent(kept, [], labels), ports: [] };
  if (!sameJson(empty, kept)) plan.update.push(empty);
}
