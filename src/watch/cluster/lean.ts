// What an agent keeps of the objects that come in: the fields the model reads, and what identifies the object. A cluster's pods are
// mostly things that nobody here looks at (volumes, environment, container statuses, managedFields), and every node would hold all of them.
//
// Not here: what the fields mean (model/).

import type { KubeObject, Labels, ObjectMeta } from "../../kube/object.ts";
import type { Container, EndpointSlice, Node, Pod, Service } from "../../kube/kinds.ts";

/** The object without what nobody reads: the same kind and shape, smaller. */
export function leanObject(object: KubeObject): KubeObject {
  switch (object.kind) {
    case "Pod":
      return leanPod(object as Pod);
    case "Node":
      return leanNode(object as Node);
    case "Service":
      return leanService(object as Service);
    case "EndpointSlice":
      return leanSlice(object as EndpointSlice);
    default:
      return { ...object, metadata: leanMetadata(object.metadata) };
  }
}

/** Whose annotations are kept: our own, and those that Services and EndpointSlices are read by. */
function isRead(annotation: string): boolean {
  return annotation.startsWith("fairlead.dev/") || annotation.startsWith("service.kubernetes.io/");
}

function leanMetadata(metadata: ObjectMeta): ObjectMeta {
  const { managedFields: _managed, ownerReferences: _owners, finalizers: _finalizers, annotations, ...rest } = metadata;
  if (annotations === undefined) return rest;
  const kept = Object.entries(annotations).filter(([name]) => isRead(name));
  return kept.length === 0 ? rest : { ...rest, annotations: Object.fromEntries(kept) as Labels };
}

function leanPod(pod: Pod): Pod {
  const { apiVersion, kind, metadata, spec, status } = pod;
  const { nodeName, hostNetwork, hostname, subdomain, containers, initContainers } = spec;
  return {
    apiVersion,
    kind,
    metadata: leanMetadata(metadata),
    spec: {
      ...(nodeName === undefined ? {} : { nodeName }),
      ...(hostNetwork === undefined ? {} : { hostNetwork }),
      ...(hostname === undefined ? {} : { hostname }),
      ...(subdomain === undefined ? {} : { subdomain }),
      containers: containers.map(leanContainer),
      ...(initContainers === undefined ? {} : { initContainers: initContainers.map(leanContainer) }),
    },
    ...(status === undefined
      ? {}
      : {
          status: {
            ...(status.phase === undefined ? {} : { phase: status.phase }),
            ...(status.podIP === undefined ? {} : { podIP: status.podIP }),
            ...(status.podIPs === undefined ? {} : { podIPs: status.podIPs }),
            ...(status.conditions === undefined
              ? {}
              : {
                  conditions: status.conditions
                    .filter(({ type }) => type === "Ready")
                    .map(({ type, status }) => ({ type, status })),
                }),
          },
        }),
  };
}

function leanContainer({ name, ports, restartPolicy }: Container): Container {
  return {
    name,
    ...(ports === undefined ? {} : { ports }),
    ...(restartPolicy === undefined ? {} : { restartPolicy }),
  };
}

function leanNode(node: Node): Node {
  const { apiVersion, kind, metadata, spec, status } = node;
  const { podCIDR, podCIDRs, taints } = spec ?? {};
  const { addresses, conditions } = status ?? {};
  return {
    apiVersion,
    kind,
    metadata: leanMetadata(metadata),
    spec: {
      ...(podCIDR === undefined ? {} : { podCIDR }),
      ...(podCIDRs === undefined ? {} : { podCIDRs }),
      ...(taints === undefined ? {} : { taints }),
    },
    status: {
      ...(addresses === undefined ? {} : { addresses }),
      // A heartbeat is no news: without its times the object stays equal.
      ...(conditions === undefined
        ? {}
        : {
            conditions: conditions
              .filter(({ type }) => type === "Ready" || type === "NetworkUnavailable")
              .map(({ type, status, reason }) => ({ type, status, reason })),
          }),
    },
  } as unknown as Node;
}

function leanService(service: Service): Service {
  const { apiVersion, kind, metadata, spec, status } = service;
  const loadBalancer = status?.loadBalancer;
  const hasIngress = (loadBalancer?.ingress?.length ?? 0) > 0;
  return {
    apiVersion,
    kind,
    metadata: leanMetadata(metadata),
    spec,
    ...(hasIngress && loadBalancer !== undefined ? { status: { loadBalancer } } : {}),
  };
}

function leanSlice(slice: EndpointSlice): EndpointSlice {
  const { apiVersion, kind, metadata, addressType, endpoints, ports } = slice;
  return {
    apiVersion,
    kind,
    metadata: leanMetadata(metadata),
    addressType,
    ...(endpoints === undefined ? {} : { endpoints }),
    ...(ports === undefined ? {} : { ports }),
  };
}
