// Why a packet to a Service does not get an endpoint that is there: each endpoint that was left out, with its reason, and what keeps all of
// them away where the Service refuses or is silent.
//
// Not here: which endpoints get connections (model/eligible.ts), nor what policies forbid (policy-explain.ts).

import { familyOf, type Address, type Family } from "../ip/address.ts";
import type { Origin } from "../kube/object.ts";
import { ineligibleEndpoints, type EndpointScope } from "../model/eligible.ts";
import type { Network, NetworkNode, NetworkService, ServicePort } from "../model/network.ts";
import { podBehind } from "../model/service.ts";
import type { Packet, PolicyCause, Step, TracePath } from "./trace.ts";

/** More than these are counted. */
const toldMax = 4;

/** Each service step with the endpoints that it does not choose from. */
export function withIdleEndpoints(
  network: Network,
  paths: readonly TracePath[],
  protocol: string,
): readonly TracePath[] {
  // There is a path for each endpoint, and all ask the same Service.
  const known = new Map<string, readonly PolicyCause[]>();
  const withIdle = (node: NetworkNode, step: Step): Step => {
    if (step.kind !== "service") return step;
    const key = `${node.name} ${step.address} ${step.port}`;
    const idle = known.get(key) ?? idleAt(network, node, step, protocol);
    known.set(key, idle);
    return idle.length === 0 ? step : { ...step, idle };
  };
  return paths.map((path) => ({
    ...path,
    hops: path.hops.map((hop) => {
      const node = network.nodes.find(({ name }) => name === hop.place.name);
      if (hop.place.kind !== "node" || node === undefined) return hop;
      return { ...hop, steps: hop.steps.map((step) => withIdle(node, step)) };
    }),
  }));
}

function idleAt(
  network: Network,
  node: NetworkNode,
  { address, port, choices, origin }: Step & { kind: "service" },
  protocol: string,
): readonly PolicyCause[] {
  const asked = portAsked(network, origin, { address, port, protocol });
  if (asked === undefined) return [];
  // Whoever is inside gets endpoints of other nodes as well, whatever the policy.
  const isLocal = asked.policy === "Local" && choices.every((choice) => choice.node === node.name);
  return idleCauses(asked.port, address, node, isLocal ? "local" : "cluster");
}

/** Why a Service's packet got no endpoint at all at a node; empty where `origin` is no Service that the packet asked for. */
export function causesOfNone(
  network: Network,
  node: NetworkNode,
  origin: Origin,
  { destination: address, destinationPort, protocol }: Packet,
): readonly PolicyCause[] {
  const asked = portAsked(network, origin, { address, port: destinationPort, protocol });
  if (asked === undefined) return [];
  const { service, port, policy, field } = asked;
  if (!port.endpoints.some((endpoint) => familyOf(endpoint.address) === familyOf(address)))
    return [missingCause(network, asked, familyOf(address))];
  if (policy !== "Local") return idleCauses(port, address, node, "cluster");
  const local = { text: `endpoints of ${node.name} only: ${field} is Local`, origin: { ...service.origin, field } };
  return [local, ...idleCauses(port, address, node, "local")];
}

/** A Service that was asked at a port that it does not have: those that it has. Empty where it is no Service, or has the port. */
export function portsInstead(
  { services }: Network,
  { kind, namespace, name }: Origin,
  { destinationPort, protocol }: Packet,
): readonly PolicyCause[] {
  const service = services.find((each) => kind === "Service" && each.name === name && each.namespace === namespace);
  if (service?.ports.some((port) => port.port === destinationPort && port.protocol === protocol) !== false) return [];
  const ports = service.ports.map((port) => `${port.port}/${port.protocol}`);
  return [{ text: `it has ${ports.join(", ")}`, origin: { ...service.origin, field: "spec.ports" } }];
}

/** What the Service itself does not get right, where that is known. */
function missingCause({ problems }: Network, { service, port }: Asked, family: Family): PolicyCause {
  const { kind, namespace, name } = service.origin;
  const known = problems.find(
    ({ origin }) => origin.kind === kind && origin.namespace === namespace && origin.name === name,
  );
  if (known !== undefined) return { text: known.message, origin: known.origin };
  const called = port.name === "" ? "without a name" : `named ${port.name}`;
  return {
    text: `no EndpointSlice of it has an IPv${family} endpoint with a ${port.protocol} port ${called}`,
    origin: port.origin,
  };
}

function idleCauses(
  { endpoints }: ServicePort,
  asked: Address,
  node: NetworkNode,
  scope: EndpointScope,
): readonly PolicyCause[] {
  const causes = ineligibleEndpoints(endpoints, { scope, node }).flatMap(({ endpoint, why }): PolicyCause[] =>
    familyOf(endpoint.address) === familyOf(asked)
      ? [{ text: `${podBehind(endpoint) ?? endpoint.address}: ${why}`, origin: endpoint.origin }]
      : [],
  );
  const [next] = causes.slice(toldMax);
  if (next === undefined) return causes;
  const { field: _field, ...origin } = next.origin;
  return [...causes.slice(0, toldMax), { text: `and ${causes.length - toldMax} more`, origin }];
}

interface Asked {
  readonly service: NetworkService;
  readonly port: ServicePort;
  readonly policy: "Cluster" | "Local";
  /** Of the Service, that says the policy. */
  readonly field: string;
}

/** Which port of the Service it is, and which of its two policies counts for the address. */
function portAsked(
  { services }: Network,
  { kind, namespace, name }: Origin,
  asked: { readonly address: Address; readonly port: number; readonly protocol: string },
): Asked | undefined {
  const service =
    kind === "Service" ? services.find((each) => each.name === name && each.namespace === namespace) : undefined;
  if (service === undefined) return undefined;
  const isInside = service.clusterIps.includes(asked.address);
  const port = service.ports.find(
    ({ protocol, port: number, nodePort, external = [] }) =>
      protocol === asked.protocol &&
      (isInside || external.some(({ address }) => address === asked.address)
        ? number === asked.port
        : nodePort === asked.port),
  );
  if (port === undefined) return undefined;
  return isInside
    ? { service, port, policy: service.internalTrafficPolicy, field: "spec.internalTrafficPolicy" }
    : { service, port, policy: service.externalTrafficPolicy, field: "spec.externalTrafficPolicy" };
}
