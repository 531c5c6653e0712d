// Pods: objects -> Network.
//
// Not here: a pod's place in a node's kernel (Attachment in network.ts: the node knows it, no object does).

import { parseAddress, type Address } from "../ip/address.ts";
import type { Container, ContainerPort as KubePort, Pod, Protocol as KubeProtocol } from "../kube/kinds.ts";
import type { ContainerPort, NetworkPod, Protocol } from "./network.ts";
import { originOf } from "./origin.ts";

/**
 * What the network has to know of a Pod; undefined where it has no network: no node yet, or completed (phase Succeeded or Failed:
 * its address may already be another's).
 * `nodeAddresses` gives a node's addresses: those of a hostNetwork pod, until its status has some.
 */
export function networkPod(pod: Pod, nodeAddresses: (node: string) => readonly Address[]): NetworkPod | undefined {
  const { metadata, spec, status } = pod;
  if (spec.nodeName === undefined || spec.nodeName === "" || isCompleted(pod)) return undefined;
  const hostNetwork = spec.hostNetwork === true;
  const assigned = podAddresses(pod);
  return {
    namespace: metadata.namespace ?? "default",
    name: metadata.name,
    labels: metadata.labels ?? {},
    node: spec.nodeName,
    addresses: hostNetwork && assigned.length === 0 ? nodeAddresses(spec.nodeName) : assigned,
    hostNetwork,
    ready: status?.conditions?.some(({ type, status: value }) => type === "Ready" && value === "True") === true,
    containerPorts: containerPorts(pod),
    ...(spec.hostname === undefined ? {} : { hostname: spec.hostname }),
    ...(spec.subdomain === undefined ? {} : { subdomain: spec.subdomain }),
    origin: originOf(pod),
  };
}

/** Has the pod ended for good? Its address is free then. */
export function isCompleted({ status }: Pod): boolean {
  return status?.phase === "Succeeded" || status?.phase === "Failed";
}

/** The protocol in our spelling; absent is TCP (core/v1 defaults). */
export function protocolOf(protocol: KubeProtocol | undefined): Protocol {
  return protocols[protocol ?? "TCP"];
}

const protocols: Readonly<Record<KubeProtocol, Protocol>> = { TCP: "tcp", UDP: "udp", SCTP: "sctp" };

/** The ports a pod's containers declare: containers and restartable init containers (KEP-753: sidecars serve as containers do). */
export function containerPorts(pod: Pod): readonly ContainerPort[] {
  const sidecars = (pod.spec.initContainers ?? []).map((container, index) => ({ container, index }));
  return [
    ...pod.spec.containers.flatMap((container, index) => portsOf(pod, container, `spec.containers[${index}]`)),
    ...sidecars
      .filter(({ container }) => container.restartPolicy === "Always")
      .flatMap(({ container, index }) => portsOf(pod, container, `spec.initContainers[${index}]`)),
  ];
}

function portsOf(pod: Pod, container: Container, path: string): readonly ContainerPort[] {
  return (container.ports ?? []).map((port, index) =>
    containerPort(pod, container.name, port, `${path}.ports[${index}]`),
  );
}

function containerPort(pod: Pod, container: string, port: KubePort, field: string): ContainerPort {
  const hostIp = port.hostIP === undefined ? undefined : parseAddress(port.hostIP);
  return {
    container,
    ...(port.name === undefined ? {} : { name: port.name }),
    port: port.containerPort,
    protocol: protocolOf(port.protocol),
    ...(port.hostPort === undefined || port.hostPort === 0 ? {} : { hostPort: port.hostPort }),
    ...(hostIp === undefined ? {} : { hostIp }),
    origin: originOf(pod, field),
  };
}

function podAddresses({ status }: Pod): readonly Address[] {
  const texts = status?.podIPs?.map(({ ip }) => ip) ?? (status?.podIP === undefined ? [] : [status.podIP]);
  return texts.map((text) => parseAddress(text)).filter((address) => address !== undefined);
}
