// EndpointSlices of Endpoints that people wrote by hand, for Services without selectors. Upstream: pkg/controller/endpointslicemirroring.

import { familyOf, parseAddress } from "../../ip/address.ts";
import { sameJson } from "../../kube/equal.ts";
import type {
  Endpoint,
  EndpointAddress,
  Endpoints,
  EndpointSlice,
  EndpointSlicePort,
  IpFamily,
  Service,
} from "../../kube/kinds.ts";
import { annotations as ours, keyOf, type Labels } from "../../kube/object.ts";
import { createSlicesByService } from "./endpoint-slices.ts";
import { endpointsManagedBy } from "./endpoints.ts";
import { generateName } from "./names.ts";
import { controllerReference } from "./pod-state.ts";
import { endpointSlices, endpoints, services } from "./resources.ts";
import { on, type Cluster, type Controller } from "./runtime.ts";
import { familyName, sliceLabels } from "./service-endpoints.ts";
import { planSlices, portsKey, type EndpointGroup } from "./slice-plan.ts";

export const mirroringController = "endpointslicemirroring-controller.k8s.io";
const skipMirror = "endpointslice.kubernetes.io/skip-mirror";
const leaderElection = "control-plane.alpha.kubernetes.io/leader";
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";
const triggeredAt = "endpoints.kubernetes.io/last-change-trigger-time";
/** --mirroring-max-endpoints-per-subset: more are left out, and so many fit one slice. */
const perSubset = 1000;

export function endpointSliceMirroringController(cluster: Cluster): Controller {
  const { objects, random } = cluster;
  const events = cluster.events("endpoint-slice-mirroring-controller");
  const slices = createSlicesByService(mirroringController);
  let writing = false;

  const isMirrored = (object: Endpoints): boolean => {
    const service = objects.byKey(services, keyOf(object));
    return (
      service !== undefined &&
      service.spec.selector === undefined &&
      object.metadata.deletionTimestamp === undefined &&
      object.metadata.labels?.[skipMirror] !== "true" &&
      object.metadata.annotations?.[leaderElection] === undefined
    );
  };

  return {
    name: "endpointslice-mirroring-controller",
    watches: [
      on(endpoints, ({ object, previous }, enqueue) => enqueue(keyOf((object ?? previous) as Endpoints))),
      on(services, ({ object, previous }, enqueue) => {
        const key = keyOf((object ?? previous) as Service);
        if (objects.byKey(endpoints, key) !== undefined) enqueue(key);
      }),
      on(endpointSlices, (change, enqueue) => {
        const service = slices.changed(change);
        if (service !== undefined && !writing) enqueue(service);
      }),
    ],
    reconcile(key) {
      const object = objects.byKey(endpoints, key);
      const existing = slices.of(key);
      const { groups, skipped } =
        object !== undefined && isMirrored(object) ? mirrorOf(object) : { groups: [], skipped: 0 };
      if (object !== undefined && skipped > 0) {
        const limit = `A max of ${perSubset} addresses can be mirrored to EndpointSlices per Endpoints subset.`;
        events.record(object, "Warning", "TooManyAddressesToMirror", `${limit} ${skipped} addresses were skipped`);
      }
      writing = true;
      try {
        for (const family of ["IPv4", "IPv6"] as const) {
          const labels = object === undefined ? {} : labelsFor(object);
          const there = existing.filter(({ addressType }) => addressType === family);
          const wanted = groupsFor(groups, family);
          const plan = planSlices({ wanted, existing: there, labels, placeholder: false, perSlice: perSubset });
          for (const group of plan.create) if (object !== undefined) create(object, family, labels, group);
          for (const slice of plan.delete) objects.delete(endpointSlices, slice);
          const planned = new Map(plan.update.map((slice) => [slice.metadata.name, slice]));
          for (const slice of there) {
            if (object === undefined || plan.delete.includes(slice)) continue;
            const next = withAnnotations(planned.get(slice.metadata.name) ?? slice, annotationsFor(object));
            if (next !== slice) objects.update(endpointSlices, next);
          }
        }
      } finally {
        writing = false;
      }
    },
  };

  function create(object: Endpoints, family: IpFamily, labels: Labels, group: EndpointGroup): void {
    const { namespace, name } = object.metadata;
    const base = `${name}-`;
    const slice: EndpointSlice = {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: {
        name: generateName(base, random),
        generateName: base,
        ...(namespace === undefined ? {} : { namespace }),
        labels,
        ownerReferences: [controllerReference(endpoints, object)],
      },
      addressType: family,
      endpoints: group.endpoints,
      ports: group.ports,
    };
    objects.create(endpointSlices, withAnnotations(slice, annotationsFor(object)));
  }
}

function labelsFor(object: Endpoints): Labels {
  const { [endpointsManagedBy]: _managedBy, ...labels } = object.metadata.labels ?? {};
  return { ...labels, [sliceLabels.serviceName]: object.metadata.name, [sliceLabels.managedBy]: mirroringController };
}

type Annotations = NonNullable<Endpoints["metadata"]["annotations"]>;

/** What is said of the Endpoints themselves is not said of their slices. */
function annotationsFor(object: Endpoints): Annotations {
  const {
    [ours.source]: _source,
    [lastApplied]: _applied,
    [triggeredAt]: _triggered,
    ...annotations
  } = object.metadata.annotations ?? {};
  return annotations;
}

/** The very same slice where it has them. */
function withAnnotations(slice: EndpointSlice, annotations: Annotations): EndpointSlice {
  const { annotations: before = {}, ...metadata } = slice.metadata;
  if (sameJson(before, annotations)) return slice;
  return { ...slice, metadata: { ...metadata, ...(Object.keys(annotations).length > 0 && { annotations }) } };
}

interface Mirrored {
  readonly ports: readonly EndpointSlicePort[];
  readonly endpoints: readonly Endpoint[];
}

/** What of Endpoints is mirrored, a group for each slice and family, and how many addresses were too many. */
function mirrorOf(object: Endpoints): { readonly groups: readonly Mirrored[]; readonly skipped: number } {
  let skipped = 0;
  const groups = repacked(object.subsets ?? []).map(({ ports, endpoints }): Mirrored => {
    skipped += Math.max(0, endpoints.length - perSubset);
    return { ports, endpoints: endpoints.slice(0, perSubset) };
  });
  return { groups, skipped };
}

/** Those of one family. */
function groupsFor(groups: readonly Mirrored[], family: IpFamily): readonly EndpointGroup[] {
  return groups
    .map(({ ports, endpoints }) => ({
      ports,
      endpoints: endpoints.filter(({ addresses }) => addresses.every((ip) => isOf(ip, family))),
    }))
    .filter(({ endpoints }) => endpoints.length > 0);
}

/** An address as one port has it. */
interface Holder {
  readonly key: string;
  readonly address: EndpointAddress;
  ready: boolean;
}

/**
 * Each port with all of its addresses, then each set of addresses with all of its ports (pkg/api/v1/endpoints RepackSubsets). An address
 * that a port has as ready and as not ready is not ready. Ready ones come first, each by their text.
 */
function repacked(subsets: NonNullable<Endpoints["subsets"]>): readonly Mirrored[] {
  const byPort = new Map<string, { readonly port: EndpointSlicePort | undefined; readonly has: Map<string, Holder> }>();
  const first = new Map<string, EndpointAddress>();
  for (const { addresses = [], notReadyAddresses = [], ports = [] } of subsets) {
    const slicePorts = ports.map(({ name = "", protocol = "TCP", ...rest }) => ({ name, protocol, ...rest }));
    // Addresses without a port are kept.
    for (const port of slicePorts.length === 0 ? [undefined] : slicePorts) {
      const text = port === undefined ? "" : portsKey([port]);
      const { has } = byPort.get(text) ?? byPort.set(text, { port, has: new Map() }).get(text) ?? { has: new Map() };
      for (const [list, ready] of [
        [addresses, true],
        [notReadyAddresses, false],
      ] as const)
        for (const given of list) {
          const key = `${given.ip} ${given.targetRef?.uid ?? ""}`;
          const address = first.get(key) ?? given;
          first.set(key, address);
          const known = has.get(key);
          if (known === undefined) has.set(key, { key, address, ready });
          else known.ready &&= ready;
        }
    }
  }
  const bySet = Map.groupBy(byPort.values(), ({ has }) =>
    JSON.stringify([...has.values()].map(({ key, ready }) => `${key} ${ready}`).sort()),
  );
  return [...bySet.values()].map((alike) => ({
    ports: alike.flatMap(({ port }) => port ?? []),
    endpoints: [...(alike[0]?.has.values() ?? [])]
      .sort((a, b) => Number(b.ready) - Number(a.ready) || (a.key < b.key ? -1 : 1))
      .map(({ address, ready }) => endpointOf(address, ready)),
  }));
}

function isOf(ip: string, family: IpFamily): boolean {
  const address = parseAddress(ip);
  return address !== undefined && familyName(familyOf(address)) === family;
}

function endpointOf({ ip, hostname, nodeName, targetRef }: EndpointAddress, ready: boolean): Endpoint {
  return {
    addresses: [parseAddress(ip) ?? ip],
    conditions: { ready },
    ...(hostname === undefined ? {} : { hostname }),
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(targetRef === undefined ? {} : { targetRef }),
  };
}
