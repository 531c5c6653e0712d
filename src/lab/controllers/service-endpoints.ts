// What a pod contributes to a Service: addresses, ports and conditions (k8s.io/endpointslice utils.go, pkg/controller/util/endpoint).

import { familyOf, type Family } from "../../ip/address.ts";
import type { Endpoint, EndpointSlicePort, IpFamily, Node, Pod, Service, ServicePort } from "../../kube/kinds.ts";
import { serviceFamilies } from "../../model/load-balancer-pools.ts";
import type { Objects } from "./objects.ts";
import { isFinished, isReady, isTerminating } from "./pod-state.ts";
import { nodes } from "./resources.ts";

export const sliceLabels = {
  serviceName: "kubernetes.io/service-name",
  managedBy: "endpointslice.kubernetes.io/managed-by",
  headless: "service.kubernetes.io/headless",
} as const;

const zoneLabel = "topology.kubernetes.io/zone";

export function isHeadless(service: Service): boolean {
  return service.spec.clusterIP === "None" || service.spec.clusterIPs?.[0] === "None";
}

/** The families in which a Service has endpoints; the first one is its primary family. */
export function familiesOf(service: Service): readonly IpFamily[] {
  return serviceFamilies(service).map(familyName);
}

export function familyName(family: Family): IpFamily {
  return family === 4 ? "IPv4" : "IPv6";
}

/** The pods a Service selects that have addresses and have not ended, sorted by name. */
export function podsBehind(objects: Objects, service: Service): readonly Pod[] {
  return objects
    .podsLabelled(service.metadata.namespace ?? "", service.spec.selector ?? {})
    .filter((pod) => !isFinished(pod) && addressesOf(pod).length > 0)
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}

function addressesOf(pod: Pod): readonly string[] {
  const { podIP, podIPs } = pod.status ?? {};
  if (podIPs !== undefined && podIPs.length > 0) return podIPs.map(({ ip }) => ip);
  return podIP === undefined || podIP === "" ? [] : [podIP];
}

/** A pod's addresses of one family. */
export function addressesIn(pod: Pod, family: IpFamily): readonly string[] {
  return addressesOf(pod).filter((ip) => familyName(familyOf(ip)) === family);
}

/** The ports of a Service as this pod has them; named target ports that it does not have are left out. */
export function portsFor(service: Service, pod: Pod): readonly EndpointSlicePort[] {
  return (service.spec.ports ?? []).flatMap((port) => {
    const number = targetPortOf(port, pod);
    if (number === undefined) return [];
    const { name = "", protocol = "TCP", appProtocol } = port;
    return [{ name, port: number, protocol, ...(appProtocol === undefined ? {} : { appProtocol }) }];
  });
}

/** pkg/api/v1/pod FindPort: a number stands for itself, a name is looked up in containers and sidecars. */
function targetPortOf({ port, targetPort, protocol = "TCP" }: ServicePort, pod: Pod): number | undefined {
  if (targetPort === undefined || targetPort === 0 || targetPort === "") return port;
  if (typeof targetPort === "number") return targetPort;
  const sidecars = (pod.spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === "Always");
  for (const container of [...pod.spec.containers, ...sidecars]) {
    for (const { name, containerPort, protocol: theirs = "TCP" } of container.ports ?? []) {
      if (name === targetPort && theirs === protocol) return containerPort;
    }
  }
  return undefined;
}

/** The hostname a pod has under a Service's name: its own where its subdomain is the Service. */
export function hostnameUnder(service: Service, pod: Pod): string | undefined {
  const { hostname, subdomain } = pod.spec;
  const isUnder = subdomain === service.metadata.name && service.metadata.namespace === pod.metadata.namespace;
  return hostname !== undefined && hostname !== "" && isUnder ? hostname : undefined;
}

/**
 * The endpoint of a pod; undefined while its node is not known, unless the Service asks for addresses that are not ready (reconciler.go).
 * KEP-1669: ready is serving and not terminating.
 */
export function endpointOf(
  service: Service,
  pod: Pod,
  addresses: readonly string[],
  objects: Objects,
): Endpoint | undefined {
  const nodeName = pod.spec.nodeName ?? "";
  const node = nodeName === "" ? undefined : objects.get(nodes, undefined, nodeName);
  if (node === undefined && service.spec.publishNotReadyAddresses !== true) return undefined;
  const serving = isReady(pod);
  const terminating = isTerminating(pod);
  const ready = service.spec.publishNotReadyAddresses === true || (serving && !terminating);
  const zone = node && zoneOf(node);
  const hostname = hostnameUnder(service, pod);
  const { namespace, name, uid } = pod.metadata;
  return {
    addresses,
    conditions: { ready, serving, terminating },
    ...(nodeName === "" ? {} : { nodeName }),
    ...(zone === undefined ? {} : { zone }),
    ...(hostname === undefined ? {} : { hostname }),
    targetRef: {
      kind: "Pod",
      ...(namespace === undefined ? {} : { namespace }),
      name,
      ...(uid === undefined ? {} : { uid }),
    },
    ...hintsFor(service, ready, nodeName, zone),
  };
}

export function zoneOf(node: Node): string | undefined {
  return node.metadata.labels?.[zoneLabel];
}

// KEP-4444, KEP-3015: a ready endpoint is meant for its own zone, and with PreferSameNode for its own node.
function hintsFor(
  service: Service,
  ready: boolean,
  nodeName: string,
  zone: string | undefined,
): Pick<Endpoint, "hints"> {
  const { trafficDistribution } = service.spec;
  if (trafficDistribution === undefined || !ready) return {};
  const forZones = zone === undefined ? {} : { forZones: [{ name: zone }] };
  const forNodes =
    trafficDistribution === "PreferSameNode" && nodeName !== "" ? { forNodes: [{ name: nodeName }] } : {};
  const hints = { ...forNodes, ...forZones };
  return Object.keys(hints).length === 0 ? {} : { hints };
}
