// Topology aware routing by annotation (KEP-2433): each zone gets as many of a Service's endpoints as it has of the nodes' processors, its
// own first. Pure. Upstream: k8s.io/endpointslice topologycache; unlike there, what hints were before has no say.
//
// Not here: spec.trafficDistribution, which knows an endpoint's own zone only (service-endpoints.ts).

import type { Endpoint, IpFamily, Node, Service } from "../../kube/kinds.ts";
import { keyOf } from "../../kube/object.ts";
import { parseQuantity } from "../../kube/quantity.ts";
import type { EventRecorder } from "./events.ts";
import { zoneOf } from "./service-endpoints.ts";

/** The deprecated one wins where both are given (k8s.io/endpointslice utils.go, hintsEnabled). */
const annotations = ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];

/** Does a Service ask for hints by annotation? Then spec.trafficDistribution has no say. */
export function asksForHints({ metadata }: Service): boolean {
  const given = annotations.map((name) => metadata.annotations?.[name]).find((value) => value !== undefined);
  return given === "Auto" || given === "auto";
}

/** Each zone's part of the ready nodes' processors; undefined where a node does not say its zone or number. */
export function processorsByZone(nodes: readonly Node[]): ReadonlyMap<string, number> | undefined {
  const sums = new Map<string, number>();
  for (const node of nodes) {
    if (isControlPlane(node) || !isReadyNode(node)) continue;
    const zone = zoneOf(node);
    const processors = parseQuantity(node.status?.allocatable?.["cpu"] ?? 0) ?? 0;
    if (zone === undefined || zone === "" || !(processors > 0)) return undefined;
    sums.set(zone, (sums.get(zone) ?? 0) + processors);
  }
  const total = [...sums.values()].reduce((sum, each) => sum + each, 0);
  return new Map([...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([zone, sum]) => [zone, sum / total]));
}

/** What a node says that the zones' parts come from, as text to compare. */
export function processorsText(node: Node): string {
  return `${zoneOf(node)} ${isReadyNode(node)} ${isControlPlane(node)} ${node.status?.allocatable?.["cpu"]}`;
}

export interface Hinted {
  readonly endpoints: readonly Endpoint[];
  /** Why there are none, in the words of upstream's Event TopologyAwareHintsDisabled. */
  readonly refusal?: string;
}

/** The endpoints (of one family, all of a Service) with hints; without any where a zone would be overloaded or get nothing. */
export function withTopologyHints(
  endpoints: readonly Endpoint[],
  zones: ReadonlyMap<string, number> | undefined,
): Hinted {
  const plain = endpoints.map(({ hints: _hints, ...endpoint }) => endpoint);
  const ready = plain.filter(({ conditions }) => conditions?.ready !== false);
  const without = (refusal: string): Hinted => ({ endpoints: plain, refusal });
  if (zones === undefined || zones.size < 2)
    return without("Insufficient Node information: allocatable CPU or zone not specified on one or more nodes");
  const numbers = `(${ready.length} endpoints, ${zones.size} zones)`;
  if (zones.size > ready.length) return without(`Insufficient number of endpoints ${numbers}`);
  const desired = desiredByZone(zones, ready.length);
  if (desired === undefined)
    return without(
      `Unable to allocate minimum required endpoints to each zone without exceeding overload threshold ${numbers}`,
    );
  if (ready.some(({ zone }) => zone === undefined || zone === ""))
    return without("One or more endpoints do not have a zone specified");
  const { giving, receiving } = exchange(
    desired,
    Map.groupBy(ready, ({ zone = "" }) => zone),
  );
  const hinted = plain.map((endpoint) => {
    if (endpoint.conditions?.ready === false) return endpoint;
    const own = endpoint.zone ?? "";
    const gives = (giving.get(own) ?? 0) > 0;
    const other = gives ? [...receiving].find(([, count]) => count > 0)?.[0] : undefined;
    if (other !== undefined) {
      giving.set(own, (giving.get(own) ?? 0) - 1);
      receiving.set(other, (receiving.get(other) ?? 0) - 1);
    }
    return { ...endpoint, hints: { forZones: [{ name: other ?? own }] } };
  });
  return { endpoints: hinted };
}

export interface HintsTelling {
  /** What has come of the annotation, in one family; undefined where the Service has it not. Told when it changes. */
  tell(service: Service, family: IpFamily, hinted: Hinted | undefined): void;
  forget(key: string): void;
}

/** Says on Services whether they have the hints that they ask for, and why not. */
export function createHintsTelling(events: EventRecorder): HintsTelling {
  const told = new Map<string, Map<IpFamily, string>>();
  const enabled = "has been enabled";
  return {
    tell(service, family, hinted) {
      const key = keyOf(service);
      const known = told.get(key);
      if (hinted === undefined && known === undefined) return;
      const before = known?.get(family);
      const now = hinted === undefined ? undefined : (hinted.refusal ?? enabled);
      if (before === now) return;
      const say = (type: "Normal" | "Warning", reason: string, text: string): void =>
        events.record(service, type, `TopologyAwareHints${reason}`, `${text}, addressType: ${family}`);
      if (now === enabled) say("Normal", "Enabled", "Topology Aware Hints has been enabled");
      else if (now !== undefined) say("Warning", "Disabled", now);
      else if (before === enabled) say("Warning", "Disabled", "Topology Aware Hints has been disabled");
      const next = new Map(known);
      if (now === undefined) next.delete(family);
      else next.set(family, now);
      if (next.size === 0) told.delete(key);
      else told.set(key, next);
    },
    forget: (key) => void told.delete(key),
  };
}

/** By how much an endpoint may get more than its part of the connections. */
const overloadMax = 0.2;

function desiredByZone(zones: ReadonlyMap<string, number>, count: number): ReadonlyMap<string, number> | undefined {
  let left = count;
  const desired = new Map<string, number>();
  for (const [zone, part] of zones) {
    const least = Math.ceil((part * count) / (1 + overloadMax));
    left -= least;
    desired.set(zone, Math.max(part * count, least));
  }
  return left < 0 ? undefined : desired;
}

/** How many endpoints zones with too many give, and those with too few get. */
function exchange(
  desired: ReadonlyMap<string, number>,
  byZone: ReadonlyMap<string, readonly Endpoint[]>,
): { readonly giving: Map<string, number>; readonly receiving: Map<string, number> } {
  const surplus = new Map([...desired].map(([zone, target]) => [zone, (byZone.get(zone)?.length ?? 0) - target]));
  // Endpoints in zones without nodes serve others.
  for (const [zone, { length }] of byZone) if (!surplus.has(zone)) surplus.set(zone, length);
  const giving = new Map<string, number>();
  const receiving = new Map<string, number>();
  for (;;) {
    const [from = "", more = 0] = most(surplus, 1);
    const [to = "", less = 0] = most(surplus, -1);
    if ((more < 1 && -less < 1) || more < 0.5 || -less < 0.5) return { giving, receiving };
    surplus.set(from, more - 1);
    surplus.set(to, less + 1);
    giving.set(from, (giving.get(from) ?? 0) + 1);
    receiving.set(to, (receiving.get(to) ?? 0) + 1);
  }
}

function most(surplus: ReadonlyMap<string, number>, sign: 1 | -1): readonly [string, number] | [] {
  return [...surplus].sort(([a, x], [b, y]) => (y - x) * sign || (a < b ? -1 : 1))[0] ?? [];
}

function isControlPlane({ metadata }: Node): boolean {
  return ["control-plane", "master"].some((role) => metadata.labels?.[`node-role.kubernetes.io/${role}`] !== undefined);
}

function isReadyNode({ status }: Node): boolean {
  return (status?.conditions ?? []).some(({ type, status: value }) => type === "Ready" && value === "True");
}
