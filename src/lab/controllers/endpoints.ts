// Endpoints objects of Services with selectors, for clients that still read them (KEP-4974). Upstream: pkg/controller/endpoint.

import { compareAddresses } from "../../ip/address.ts";
import { sameJson } from "../../kube/equal.ts";
import type { EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Pod, Service } from "../../kube/kinds.ts";
import { keyOf, type ObjectMeta } from "../../kube/object.ts";
import { isReady, isTerminating } from "./pod-state.ts";
import { endpoints, pods, services } from "./resources.ts";
import { on, type Cluster, type Controller } from "./runtime.ts";
import {
  addressesIn,
  familiesOf,
  hostnameUnder,
  isHeadless,
  podsBehind,
  portsFor,
  sliceLabels,
} from "./service-endpoints.ts";
import { bearsOnEndpoints, createServiceSelectors } from "./service-selectors.ts";
import { portsKey } from "./slice-plan.ts";
import type { Objects } from "./objects.ts";

export const endpointsManagedBy = "endpoints.kubernetes.io/managed-by";
const overCapacity = "endpoints.kubernetes.io/over-capacity";
/** maxCapacity: an Endpoints object holds no more addresses. */
const capacity = 1000;

export function endpointsController({ objects }: Cluster): Controller {
  const selectors = createServiceSelectors();
  return {
    name: "endpoint-controller",
    watches: [
      on(services, (change, enqueue) => {
        selectors.changed(change);
        enqueue(keyOf(change.object ?? (change.previous as Service)));
      }),
      on(pods, (change, enqueue) => {
        if (bearsOnEndpoints(change)) for (const key of selectors.selecting(change)) enqueue(key);
      }),
      on(endpoints, ({ object, previous }, enqueue) => {
        const key = keyOf((object ?? previous) as Endpoints);
        // Ours and changed by somebody, or gone: looked at again.
        if (previous !== undefined && objects.byKey(services, key)?.spec.selector !== undefined) enqueue(key);
      }),
    ],
    reconcile(key) {
      const service = objects.byKey(services, key);
      const there = objects.byKey(endpoints, key);
      if (service === undefined) {
        // The Service went, and its Endpoints with it, whoever wrote them.
        if (there !== undefined) objects.delete(endpoints, there);
        return;
      }
      if (service.metadata.deletionTimestamp !== undefined || service.spec.type === "ExternalName") return;
      if (service.spec.selector === undefined) return;
      const wanted = endpointsOf(objects, service, there);
      if (there === undefined) objects.create(endpoints, wanted);
      else if (!sameJson(content(wanted), content(there))) objects.update(endpoints, wanted);
    },
  };
}

function content({ metadata, subsets }: Endpoints): unknown {
  return [metadata.labels ?? {}, metadata.annotations ?? {}, subsets ?? []];
}

function endpointsOf(objects: Objects, service: Service, there: Endpoints | undefined): Endpoints {
  const { namespace, name } = service.metadata;
  const { subsets, truncated } = subsetsOf(objects, service);
  const reserved: readonly string[] = [sliceLabels.headless, endpointsManagedBy];
  const labels = Object.fromEntries(
    Object.entries(service.metadata.labels ?? {}).filter(([key]) => !reserved.includes(key)),
  );
  const { [overCapacity]: _before, ...annotations } = there?.metadata.annotations ?? {};
  const kept = { ...annotations, ...(truncated ? { [overCapacity]: "truncated" } : {}) };
  return {
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: {
      ...withoutAnnotations(there),
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: {
        ...labels,
        ...(isHeadless(service) ? { [sliceLabels.headless]: "" } : {}),
        [endpointsManagedBy]: "endpoint-controller",
      },
      ...(Object.keys(kept).length === 0 ? {} : { annotations: kept }),
    },
    subsets,
  };
}

function withoutAnnotations(there: Endpoints | undefined): Partial<ObjectMeta> {
  const { annotations: _annotations, ...metadata } = there?.metadata ?? { name: "" };
  return metadata;
}

interface Subset {
  readonly ports: readonly EndpointPort[];
  readonly ready: EndpointAddress[];
  readonly notReady: EndpointAddress[];
}

/** The addresses of a Service by the ports they have, in its primary family (RepackSubsets). */
function subsetsOf(
  objects: Objects,
  service: Service,
): { readonly subsets: readonly EndpointSubset[]; readonly truncated: boolean } {
  const publishes = service.spec.publishNotReadyAddresses === true;
  const family = familiesOf(service)[0] ?? "IPv4";
  const behind = podsBehind(objects, service)
    .filter((pod) => publishes || !isTerminating(pod))
    .flatMap((pod) =>
      addressesIn(pod, family)
        .slice(0, 1)
        .map((ip) => ({ pod, ip })),
    )
    .sort((a, b) => compareAddresses(a.ip, b.ip));
  const isShown = ({ pod }: { pod: Pod }): boolean => publishes || isReady(pod);
  // Ready ones come first where not all fit.
  const kept = new Set([...behind.filter(isShown), ...behind.filter((each) => !isShown(each))].slice(0, capacity));
  const byPorts = new Map<string, Subset>();
  for (const each of behind) {
    if (!kept.has(each)) continue;
    const ports = portsFor(service, each.pod).map(namedPort);
    if (ports.length === 0 && !isHeadless(service)) continue;
    const key = portsKey(ports);
    let subset = byPorts.get(key);
    if (subset === undefined) byPorts.set(key, (subset = { ports, ready: [], notReady: [] }));
    (isShown(each) ? subset.ready : subset.notReady).push(addressOf(service, each.pod, each.ip));
  }
  const subsets = [...byPorts.values()].map(({ ports, ready, notReady }) => ({
    ...(ready.length === 0 ? {} : { addresses: ready }),
    ...(notReady.length === 0 ? {} : { notReadyAddresses: notReady }),
    ...(ports.length === 0 ? {} : { ports }),
  }));
  return { subsets, truncated: behind.length > kept.size };
}

function namedPort({ name = "", port = 0, ...rest }: Partial<EndpointPort>): EndpointPort {
  return { ...(name === "" ? {} : { name }), port, ...rest };
}

function addressOf(service: Service, pod: Pod, ip: string): EndpointAddress {
  const { namespace, name, uid } = pod.metadata;
  const hostname = hostnameUnder(service, pod);
  return {
    ip,
    ...(hostname === undefined ? {} : { hostname }),
    ...((pod.spec.nodeName ?? "") === "" ? {} : { nodeName: pod.spec.nodeName ?? "" }),
    targetRef: {
      kind: "Pod",
      ...(namespace === undefined ? {} : { namespace }),
      name,
      ...(uid === undefined ? {} : { uid }),
    },
  };
}
