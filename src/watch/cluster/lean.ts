// What an agent keeps of the objects that come in: the fields the model reads, and what identifies the object. A cluster's pods are
// mostly things that nobody here looks at (volumes, environment, container statuses, managedFields), and every node would hold all of them.
//
// Not here: what the fields mean (model/).

import type { KubeObject, Labels, ObjectMeta } from "../../kube/object.ts";
import type {
  Container,
  Endpoint,
  EndpointConditions,
  EndpointSlice,
  EndpointSlicePort,
  Node,
  Pod,
  Service,
  ServicePort,
} from "../../kube/kinds.ts";

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

/** Defaults are left out: absent means them, to whoever reads it. */
function leanService(service: Service): Service {
  const { metadata, spec, status } = service;
  const { clusterIP, clusterIPs, ipFamilies: _families, ipFamilyPolicy: _policy, ports, type, ...rest } = spec;
  const { sessionAffinity, internalTrafficPolicy, externalTrafficPolicy, ...others } = rest;
  const loadBalancer = status?.loadBalancer;
  const hasIngress = (loadBalancer?.ingress?.length ?? 0) > 0;
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: leanIdentity(metadata),
    spec: {
      ...others,
      // The list has it too.
      ...(clusterIPs === undefined && clusterIP !== undefined && { clusterIP }),
      ...(clusterIPs !== undefined && { clusterIPs }),
      ...(type !== undefined && type !== "ClusterIP" && { type }),
      ...(sessionAffinity !== undefined && sessionAffinity !== "None" && { sessionAffinity }),
      ...(internalTrafficPolicy === "Local" && { internalTrafficPolicy }),
      ...(externalTrafficPolicy === "Local" && { externalTrafficPolicy }),
      ...(ports !== undefined && {
        ports: ports.map(leanServicePort),
      }),
    },
    ...(hasIngress && loadBalancer !== undefined ? { status: { loadBalancer } } : {}),
  };
}

function leanServicePort(of: ServicePort): ServicePort {
  const { name, protocol, port, targetPort, ...rest } = of;
  // In one piece, as endpoints below.
  if (name !== undefined && protocol !== undefined && targetPort !== undefined && Object.keys(rest).length === 0)
    return { name: sharedText(name), protocol: sharedText(protocol) as typeof protocol, port, targetPort };
  return {
    ...(name !== undefined && { name: sharedText(name) }),
    ...(protocol !== undefined && { protocol: sharedText(protocol) as typeof protocol }),
    port,
    ...(targetPort !== undefined && { targetPort }),
    ...rest,
  };
}

function leanSlice(slice: EndpointSlice): EndpointSlice {
  const { metadata, addressType, endpoints, ports } = slice;
  const { creationTimestamp: _created, labels, ...identity } = leanIdentity(metadata);
  const read = Object.entries(labels ?? {}).filter(([name]) => isReadOfSlice(name));
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { ...identity, ...(read.length > 0 && { labels: leanSliceLabels(read) }) },
    addressType: sharedText(addressType) as typeof addressType,
    // A slice without any has null there.
    endpoints: (endpoints ?? []).map((one) => leanEndpoint(one, metadata.namespace)),
    ports: sharedPorts(ports ?? []),
  };
}

function leanSliceLabels(read: readonly (readonly [string, string])[]): Labels {
  const [first] = read;
  // In one piece, as endpoints below.
  return read.length === 1 && first?.[0] === "kubernetes.io/service-name"
    ? { "kubernetes.io/service-name": first[1] }
    : Object.fromEntries(read);
}

/** The Service's name, and what makes a proxy leave the slice alone; its Service's own labels are in it as well. */
function isReadOfSlice(label: string): boolean {
  return label === "kubernetes.io/service-name" || label.startsWith("service.kubernetes.io/");
}

/** What tells an object from others, from itself before (its version is the cluster's, as its uid is), which of two is the older; its labels. */
function leanIdentity(metadata: ObjectMeta): ObjectMeta {
  const { name, namespace, resourceVersion, creationTimestamp, deletionTimestamp, labels, annotations } =
    leanMetadata(metadata);
  return {
    name,
    ...(namespace !== undefined && { namespace: sharedText(namespace) }),
    ...(resourceVersion !== undefined && { resourceVersion }),
    ...(creationTimestamp !== undefined && { creationTimestamp }),
    ...(deletionTimestamp !== undefined && { deletionTimestamp }),
    ...(labels !== undefined && { labels }),
    ...(annotations !== undefined && { annotations }),
  };
}

/** discovery/v1: only the first address counts. */
function leanEndpoint(endpoint: Endpoint, namespace: string | undefined): Endpoint {
  const { addresses, conditions, nodeName, zone, hostname, hints, targetRef } = endpoint;
  const isUsual =
    nodeName !== undefined &&
    addresses.length === 1 &&
    (conditions === undefined || isPlain(conditions)) &&
    (zone ?? hostname ?? hints) === undefined &&
    targetRef?.kind === "Pod" &&
    targetRef.name !== undefined &&
    targetRef.namespace === namespace;
  // In one piece: what is added to an object later lies beside it, and there are a hundred thousand of these.
  if (isUsual) return { addresses, nodeName: sharedText(nodeName), targetRef: { kind: "Pod", name: targetRef.name } };
  return {
    addresses: addresses.length > 1 ? addresses.slice(0, 1) : addresses,
    ...(conditions !== undefined && !isPlain(conditions) && { conditions: sharedConditions(conditions) }),
    ...(nodeName !== undefined && { nodeName: sharedText(nodeName) }),
    ...(zone !== undefined && { zone: sharedText(zone) }),
    ...(hostname !== undefined && { hostname }),
    ...(hints !== undefined && { hints }),
    ...(targetRef?.kind === "Pod" && {
      targetRef: {
        kind: "Pod",
        ...(targetRef.name !== undefined && { name: targetRef.name }),
        // The slice's own where absent.
        ...(targetRef.namespace !== undefined &&
          targetRef.namespace !== namespace && { namespace: sharedText(targetRef.namespace) }),
      },
    }),
  };
}

/** KEP-1669: absent conditions mean ready, serving and not terminating. */
function isPlain({ ready, serving, terminating }: EndpointConditions): boolean {
  return ready !== false && serving !== false && terminating !== true;
}

function sharedConditions({ ready, serving, terminating }: EndpointConditions): EndpointConditions {
  const key = `${ready} ${serving} ${terminating}`;
  let known = conditionsMade.get(key);
  if (known === undefined)
    conditionsMade.set(
      key,
      (known = {
        ...(ready !== undefined && { ready }),
        ...(serving !== undefined && { serving }),
        ...(terminating !== undefined && { terminating }),
      }),
    );
  return known;
}

const conditionsMade = new Map<string, EndpointConditions>();

/** Most slices have one port, and there are few different ones: one list for all that are equal. */
function sharedPorts(ports: readonly EndpointSlicePort[]): readonly EndpointSlicePort[] {
  const key = JSON.stringify(ports);
  const known = portsMade.get(key);
  if (known !== undefined) return known;
  if (portsMade.size < sharedMax) portsMade.set(key, ports);
  return ports;
}

const portsMade = new Map<string, readonly EndpointSlicePort[]>();

/** The one string for all that are equal to it, for those of which there are few: namespaces, nodes, zones, names of ports. */
export function sharedText(text: string): string {
  const known = words.get(text);
  if (known !== undefined) return known;
  if (words.size < sharedMax) words.set(text, text);
  return text;
}

const words = new Map<string, string>();
const sharedMax = 10_000;
