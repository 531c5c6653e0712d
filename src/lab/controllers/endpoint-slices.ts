// EndpointSlices of Services with selectors. Upstream: pkg/controller/endpointslice, k8s.io/endpointslice.
//
// Not here: what a pod contributes (service-endpoints.ts), how entries are laid out in slices (slice-plan.ts), Endpoints objects
// (endpoints.ts) and slices of Services without selectors (endpoint-slice-mirroring.ts).

import type { EndpointSlice, IpFamily, Node, Pod, Service } from "../../kube/kinds.ts";
import { keyOf, type Labels } from "../../kube/object.ts";
import { generateName } from "./names.ts";
import { controllerReference } from "./pod-state.ts";
import { endpointSlices, nodes, pods, services } from "./resources.ts";
import { on, type Cluster, type Controller, type Enqueue } from "./runtime.ts";
import {
  addressesIn,
  endpointOf,
  familiesOf,
  isHeadless,
  podsBehind,
  portsFor,
  sliceLabels,
  zoneOf,
} from "./service-endpoints.ts";
import { bearsOnEndpoints, createServiceSelectors } from "./service-selectors.ts";
import { planSlices, portsKey, type EndpointGroup, type SlicePlan } from "./slice-plan.ts";
import type { Change } from "./objects.ts";
import {
  asksForHints,
  createHintsTelling,
  processorsByZone,
  processorsText,
  withTopologyHints,
  type HintsTelling,
} from "./topology-hints.ts";

export const sliceController = "endpointslice-controller.k8s.io";

export function endpointSliceController(cluster: Cluster): Controller {
  const { objects } = cluster;
  const selectors = createServiceSelectors();
  const slices = createSlicesByService(sliceController);
  const hints = createHintsTelling(cluster.events("endpoint-slice-controller"));
  let writing = false;

  const podChanged = (change: Change<Pod>, enqueue: Enqueue): void => {
    if (!bearsOnEndpoints(change)) return;
    for (const key of selectors.selecting(change)) enqueue(key);
  };
  const nodeChanged = ({ object, previous }: Change<Node>, enqueue: Enqueue): void => {
    const isSameZone = object !== undefined && previous !== undefined && zoneOf(object) === zoneOf(previous);
    if (isSameZone && processorsText(object) === processorsText(previous)) return;
    for (const service of objects.all(services)) if (!isSameZone || asksForHints(service)) enqueue(keyOf(service));
  };

  return {
    name: "endpointslice-controller",
    watches: [
      on(services, (change, enqueue) => {
        selectors.changed(change);
        enqueue(keyOf(change.object ?? (change.previous as Service)));
      }),
      on(pods, podChanged),
      on(nodes, nodeChanged),
      on(endpointSlices, (change, enqueue) => {
        const service = slices.changed(change);
        if (service !== undefined && !writing) enqueue(service);
      }),
    ],
    reconcile(key) {
      const service = objects.byKey(services, key);
      // Slices of a Service that is gone go with their owner (garbage collector).
      if (service === undefined || service.metadata.deletionTimestamp !== undefined) return hints.forget(key);
      if (service.spec.type === "ExternalName" || service.spec.selector === undefined) return;
      const existing = slices.of(key);
      const families = familiesOf(service);
      const labels = labelsFor(service);
      writing = true;
      try {
        for (const slice of existing) {
          if (!(families as readonly string[]).includes(slice.addressType)) objects.delete(endpointSlices, slice);
        }
        for (const family of families) {
          const plan = planSlices({
            wanted: groupsFor(cluster, service, family, hints),
            existing: existing.filter(({ addressType }) => addressType === family),
            labels,
            placeholder: true,
          });
          carryOut(cluster, service, family, labels, plan);
        }
      } finally {
        writing = false;
      }
    },
  };
}

/** The wanted endpoints of a Service in one family, by the ports they have. */
export function groupsFor(
  { objects }: Pick<Cluster, "objects">,
  service: Service,
  family: IpFamily,
  hints?: HintsTelling,
): readonly EndpointGroup[] {
  const groups = new Map<string, { ports: EndpointGroup["ports"]; endpoints: EndpointGroup["endpoints"][number][] }>();
  const all = podsBehind(objects, service).flatMap((pod) => {
    const addresses = addressesIn(pod, family);
    const endpoint = addresses.length === 0 ? undefined : endpointOf(service, pod, addresses, objects);
    return endpoint === undefined ? [] : [{ pod, endpoint }];
  });
  const hinted = asksForHints(service)
    ? withTopologyHints(
        all.map(({ endpoint }) => endpoint),
        processorsByZone(objects.all(nodes)),
      )
    : undefined;
  hints?.tell(service, family, hinted);
  for (const [index, { pod, endpoint: plain }] of all.entries()) {
    const endpoint = hinted?.endpoints[index] ?? plain;
    const ports = portsFor(service, pod);
    const key = portsKey(ports);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { ports, endpoints: [endpoint] });
    else group.endpoints.push(endpoint);
  }
  return [...groups.values()];
}

/** A Service's own labels on its slices, and those that say whose they are. */
function labelsFor(service: Service): Labels {
  const reserved: readonly string[] = Object.values(sliceLabels);
  const own = Object.entries(service.metadata.labels ?? {}).filter(([key]) => !reserved.includes(key));
  return {
    ...Object.fromEntries(own),
    ...(isHeadless(service) ? { [sliceLabels.headless]: "" } : {}),
    [sliceLabels.serviceName]: service.metadata.name,
    [sliceLabels.managedBy]: sliceController,
  };
}

function carryOut(
  { objects, random }: Cluster,
  service: Service,
  family: IpFamily,
  labels: Labels,
  plan: SlicePlan,
): void {
  const { namespace, name } = service.metadata;
  for (const { ports, endpoints } of plan.create) {
    const base = `${name}-`;
    objects.create(endpointSlices, {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: {
        name: generateName(base, random),
        generateName: base,
        ...(namespace === undefined ? {} : { namespace }),
        labels,
        ownerReferences: [controllerReference(services, service)],
      },
      addressType: family,
      endpoints,
      ports,
    });
  }
  for (const slice of plan.update) objects.update(endpointSlices, slice);
  for (const slice of plan.delete) objects.delete(endpointSlices, slice);
}

export interface SlicesByService {
  /** Takes in a change; gives the key of the Service it concerns when the slice is one of this manager's. */
  changed(change: Change<EndpointSlice>): string | undefined;
  of(service: string): readonly EndpointSlice[];
}

/** The slices of one manager, by the Service that their label names. */
export function createSlicesByService(manager: string): SlicesByService {
  const byService = new Map<string, Map<string, EndpointSlice>>();
  const serviceOf = (slice: EndpointSlice | undefined): string | undefined => {
    const labels = slice?.metadata.labels;
    const name = labels?.[sliceLabels.serviceName];
    if (name === undefined || labels?.[sliceLabels.managedBy] !== manager) return undefined;
    return `${slice?.metadata.namespace}/${name}`;
  };
  return {
    changed({ object, previous }) {
      const [before, after] = [serviceOf(previous), serviceOf(object)];
      if (previous !== undefined && before !== undefined) byService.get(before)?.delete(previous.metadata.name);
      if (object !== undefined && after !== undefined) {
        const slices = byService.get(after);
        if (slices === undefined) byService.set(after, new Map([[object.metadata.name, object]]));
        else slices.set(object.metadata.name, object);
      }
      if (before !== undefined && byService.get(before)?.size === 0) byService.delete(before);
      return after ?? before;
    },
    of: (service) =>
      [...(byService.get(service)?.values() ?? [])].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1)),
  };
}
