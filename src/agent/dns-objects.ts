// What a DNS server keeps of the objects that come in: names, addresses, ports, readiness. Of 10,000 Services that is a third of what the
// nodes' agents keep (watch/cluster/lean.ts), and a DNS server has nothing else in its memory.
//
// Not here: what the fields mean (model/).

import type { EndpointSlice, Service } from "../kube/kinds.ts";
import type { KubeObject, ObjectMeta } from "../kube/object.ts";
import { leanObject, sharedText } from "../watch/cluster/lean.ts";

/** The object without what names do not need: the same kind and shape, smaller. */
export function dnsObject(object: KubeObject): KubeObject {
  switch (object.kind) {
    case "Service":
      return dnsServiceObject(object as Service);
    case "EndpointSlice":
      return dnsSliceObject(object as EndpointSlice);
    case "Pod": {
      const { spec, ...rest } = leanObject(object) as KubeObject & { readonly spec: { readonly containers: unknown } };
      return { ...rest, spec: { ...spec, containers: noContainers } };
    }
    default:
      return leanObject(object);
  }
}

const noContainers: readonly never[] = [];

/** What tells an object from others, and from itself before. */
function identity({ name, namespace, uid, resourceVersion, labels }: ObjectMeta): ObjectMeta {
  return {
    name,
    ...(namespace !== undefined && { namespace: sharedText(namespace) }),
    ...(uid !== undefined && { uid }),
    ...(resourceVersion !== undefined && { resourceVersion }),
    ...(labels !== undefined && { labels }),
  };
}

function dnsServiceObject({ metadata, spec }: Service): Service {
  const { type, clusterIP, clusterIPs, externalName, publishNotReadyAddresses, ports } = spec;
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: identity(metadata),
    spec: {
      ...(type !== undefined && { type: sharedText(type) as typeof type }),
      // The list has it too.
      ...(clusterIPs === undefined && clusterIP !== undefined && { clusterIP }),
      ...(clusterIPs !== undefined && { clusterIPs }),
      ...(externalName !== undefined && { externalName }),
      ...(publishNotReadyAddresses === true && { publishNotReadyAddresses }),
      ...(ports !== undefined && {
        ports: ports.map(({ name, port, protocol }) => ({
          ...(name !== undefined && { name: sharedText(name) }),
          port,
          ...(protocol !== undefined && { protocol: sharedText(protocol) as typeof protocol }),
        })),
      }),
    },
  };
}

function dnsSliceObject({ metadata, addressType, endpoints, ports }: EndpointSlice): EndpointSlice {
  const labels = Object.entries(metadata.labels ?? {}).filter(([name]) => name.includes("kubernetes.io/"));
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      ...identity(metadata),
      // The Service's name, and whose slice it is; not what its Service's own labels left in it.
      labels: Object.fromEntries(labels),
    },
    addressType: sharedText(addressType) as typeof addressType,
    // A slice without any has null there.
    ...((endpoints ?? undefined) !== undefined && {
      endpoints: (endpoints ?? []).map(({ addresses, conditions, hostname, targetRef }) => ({
        addresses: addresses.length > 1 ? addresses.slice(0, 1) : addresses,
        // Absent conditions mean ready (KEP-1669).
        ...(conditions !== undefined && !isPlainReady(conditions) && { conditions }),
        ...(hostname !== undefined && { hostname }),
        ...(targetRef?.kind === "Pod" && {
          targetRef: {
            kind: "Pod",
            ...(targetRef.name !== undefined && { name: targetRef.name }),
            ...(targetRef.namespace !== undefined && { namespace: sharedText(targetRef.namespace) }),
          },
        }),
      })),
    }),
    ...((ports ?? undefined) !== undefined && {
      ports: (ports ?? []).map(({ name, port, protocol }) => ({
        ...(name !== undefined && { name: sharedText(name) }),
        ...(port !== undefined && { port }),
        ...(protocol !== undefined && { protocol: sharedText(protocol) as typeof protocol }),
      })),
    }),
  };
}

function isPlainReady({ ready, serving, terminating }: NonNullable<Conditions>): boolean {
  return ready !== false && serving !== false && terminating !== true;
}

type Conditions = NonNullable<EndpointSlice["endpoints"]>[number]["conditions"];
