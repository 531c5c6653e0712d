// Random Services and EndpointSlices, and random edits of them: what users write, what controllers write, and what nobody should.

import type { KubeObject } from "../../../src/kube/object.ts";
import { farPods, nodeAddresses, otherAddresses, outsideAddresses, podAddress } from "./world.testing.ts";

export interface Dice {
  /** 0 … n-1 */
  below(n: number): number;
  chance(probability: number): boolean;
  one<T>(list: readonly T[]): T;
}

/** mulberry32 */
export function diceOf(seed: number): Dice {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const below = (n: number): number => Math.floor(next() * n);
  return {
    below,
    chance: (probability) => next() < probability,
    one: (list) => list[below(list.length)] as (typeof list)[number],
  };
}

export interface ServicePort {
  readonly name: string;
  readonly port: number;
  readonly protocol: "TCP" | "UDP";
  readonly nodePort?: number;
}

/** A Service's spec as far as it is looked at here. */
export interface ServiceSpec {
  readonly type: string;
  readonly clusterIPs?: readonly string[];
  readonly ports?: readonly ServicePort[];
  readonly externalIPs?: readonly string[];
  readonly sessionAffinity?: string;
  readonly healthCheckNodePort?: number;
}

export interface OneService {
  readonly service: KubeObject & { readonly spec: ServiceSpec };
  readonly ingress: readonly { readonly ip?: string; readonly hostname?: string; readonly ipMode?: string }[];
  readonly slices: readonly KubeObject[];
}

export const servicesMax = 6;

/** A Service's external addresses and its load balancer's, where it has any. */
export function externalAddresses(index: number): readonly string[] {
  return [50 + index, `10${index}`].flatMap((n) => [`198.51.100.${n}`, `2001:db8:5::${n}`]);
}

export function randomService(dice: Dice, index: number): OneService {
  const service = randomServiceObject(dice, index);
  return {
    service,
    ingress: randomIngress(dice, index, service.spec),
    slices: randomSlices(dice, index, service.spec),
  };
}

/** The same Service with other slices, another spec, another status, or an endpoint in another condition. */
export function edited(dice: Dice, index: number, { service, ingress, slices }: OneService): OneService {
  switch (dice.below(6)) {
    case 0: {
      const other = randomServiceObject(dice, index);
      return { service: other, ingress: randomIngress(dice, index, other.spec), slices };
    }
    case 1:
      return { service, ingress: randomIngress(dice, index, service.spec), slices };
    case 2:
      return { service, ingress, slices: [] };
    case 3:
    case 4:
      return { service, ingress, slices: turned(dice, slices) };
    default:
      return { service, ingress, slices: randomSlices(dice, index, service.spec) };
  }
}

function randomServiceObject(dice: Dice, index: number): OneService["service"] {
  const name = `s${index}`;
  const families = dice.one([["IPv4", "IPv6"], ["IPv4", "IPv6"], ["IPv6", "IPv4"], ["IPv4"], ["IPv6"]]);
  const address = { IPv4: `10.96.0.${10 + index}`, IPv6: `fd00:10:96::${10 + index}` } as Record<string, string>;
  const labels = dice.chance(0.04)
    ? {
        [dice.one(["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"])]: dice.one(["", "x"]),
      }
    : {};
  const metadata = { name, namespace: "default", labels };
  const base = { apiVersion: "v1", kind: "Service", metadata };
  if (dice.chance(0.03)) return { ...base, spec: { type: "ExternalName", externalName: "example.com" } as never };
  const type = dice.one(["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer"]);
  const headless = type === "ClusterIP" && dice.chance(0.06);
  const clusterIPs = headless ? ["None"] : families.map((family) => address[family] ?? "");
  const withNodePorts = type === "NodePort" || (type === "LoadBalancer" && dice.chance(0.6));
  const externalIPs = dice.chance(0.35) ? someOf(dice, externalPool(index)) : [];
  const isExternal = type !== "ClusterIP" || externalIPs.length > 0;
  const isLocal = isExternal && !headless && dice.chance(0.45);
  const ports = randomPorts(dice).map((port, at) => ({
    ...port,
    targetPort: 8080,
    ...(withNodePorts ? { nodePort: 30_000 + index * 10 + (port.name === "twin" ? 0 : at) } : {}),
  }));
  const affinity = dice.chance(0.25);
  return {
    ...base,
    spec: {
      type,
      clusterIP: clusterIPs[0],
      clusterIPs,
      ipFamilies: families,
      ipFamilyPolicy: families.length === 2 ? "RequireDualStack" : "SingleStack",
      ports,
      ...(isExternal ? { externalTrafficPolicy: isLocal ? "Local" : "Cluster" } : {}),
      internalTrafficPolicy: dice.chance(0.25) ? "Local" : "Cluster",
      ...(externalIPs.length === 0 ? {} : { externalIPs }),
      ...(affinity
        ? {
            sessionAffinity: "ClientIP",
            sessionAffinityConfig: { clientIP: { timeoutSeconds: dice.one([10_800, 86_400, 600]) } },
          }
        : {}),
      ...(dice.chance(0.2) ? { publishNotReadyAddresses: true } : {}),
      ...(dice.chance(0.2)
        ? { trafficDistribution: dice.one(["PreferClose", "PreferSameNode", "PreferSameZone"]) }
        : {}),
      ...(type !== "LoadBalancer"
        ? {}
        : {
            allocateLoadBalancerNodePorts: withNodePorts,
            ...(dice.chance(0.35) ? { loadBalancerSourceRanges: dice.one(sourceRanges) } : {}),
            ...(isLocal ? { healthCheckNodePort: 31_000 + index } : {}),
          }),
    } as ServiceSpec,
  };
}

// Always of both families: those of one only close the other one here, and leave it open with kube-proxy (docs/agent.md).
const sourceRanges = [
  ["203.0.113.0/24", "2001:db8:1::/64"],
  ["10.244.0.0/16", "fd00:10:244::/56"],
  ["0.0.0.0/0", "::/0"],
  ["203.0.113.0/24", "0.0.0.0/0", "2001:db8:1::/64"],
  ["172.18.0.0/16", "fd00:172:18::/64"],
  [" 2001:db8:1::/64 ", "10.244.2.5/32", "10.244.0.0/16", "10.244.2.0/24"],
  ["192.0.2.0/24", "2001:db8:9::/64"],
];

function externalPool(index: number): readonly string[] {
  return [
    `198.51.100.${50 + index}`,
    `2001:db8:5::${50 + index}`,
    `198.51.100.${50 + index}`,
    `2001:db8:5::${50 + index}`,
    // Whose one address and port is, of several that name it, is not for packets to say.
    ...(index === 0 ? [nodeAddresses[0], nodeAddresses[1], otherAddresses[0]] : []),
  ];
}

function randomIngress(dice: Dice, index: number, { type }: ServiceSpec): OneService["ingress"] {
  if (type !== "LoadBalancer" || dice.chance(0.1)) return [];
  const mode = (): object => (dice.chance(0.25) ? { ipMode: dice.one(["Proxy", "VIP"]) } : {});
  return someOf(dice, [
    { ip: `198.51.100.10${index}`, ...mode() },
    { ip: `198.51.100.10${index}`, ...mode() },
    { ip: `2001:db8:5::10${index}`, ...mode() },
    { ip: `2001:db8:5::10${index}`, ...mode() },
    { ip: `198.51.100.${50 + index}`, ...mode() },
    ...(index === 0 ? [{ ip: nodeAddresses[0], ...mode() }] : []),
    { hostname: "lb.example.com" },
  ]);
}

function randomPorts(dice: Dice): readonly ServicePort[] {
  const all: readonly ServicePort[] = [
    { name: "http", port: 80, protocol: "TCP" },
    { name: "twin", port: 80, protocol: "UDP" },
    { name: "more", port: 5300, protocol: "UDP" },
    // None is one that servers listen on: kube-proxy asks of a packet that it has translated whether its new destination has endpoints.
    { name: "alt", port: 8090, protocol: "TCP" },
  ];
  if (dice.chance(0.2)) return [{ name: "", port: 80, protocol: dice.one(["TCP", "UDP"]) }];
  const chosen = all.filter(() => dice.chance(0.5));
  return chosen.length === 0 ? all.slice(0, 2) : chosen;
}

/** 1 to 3 of them, each once. */
function someOf<T>(dice: Dice, list: readonly T[]): readonly T[] {
  const chosen = new Map(
    Array.from({ length: 1 + dice.below(3) }, () => dice.one(list)).map((each) => [key(each), each]),
  );
  return [...chosen.values()];
}

function key(value: unknown): string {
  return typeof value === "object" && value !== null && "ip" in value ? String(value.ip) : JSON.stringify(value);
}

interface Place {
  readonly addresses: readonly string[];
  readonly nodeName?: string;
  readonly zone?: string;
}

const endpointPlaces: readonly Place[] = [
  { addresses: podAddress(1, 5), nodeName: "node-1", zone: "a" },
  { addresses: podAddress(1, 6), nodeName: "node-1", zone: "a" },
  { addresses: nodeAddresses, nodeName: "node-1", zone: "a" },
  ...farPods.map((n) => ({ addresses: podAddress(2, n), nodeName: "node-2", zone: "b" })),
  { addresses: otherAddresses, nodeName: "node-2", zone: "b" },
];
/** An address outside of the cluster. Those in the Services' own range are dropped or refused, which is all the same. */
const oddPlaces: readonly Place[] = [{ addresses: outsideAddresses }];

function randomSlices(dice: Dice, index: number, spec: ServiceSpec): readonly KubeObject[] {
  if (dice.chance(0.1)) return [];
  const hints = dice.one(["none", "none", "none", "zones", "nodes", "both", "some"]);
  const favourite = dice.one(["near", "far", "any", "any"]);
  const slices: KubeObject[] = [];
  for (const [at, addressType] of ["IPv4", "IPv6"].entries()) {
    const hintsAt = new Map<string, object | undefined>();
    const conditionsOf = new Map<string, Endpoint["conditions"]>();
    for (let count = dice.below(3); count >= 0; count--) {
      const isOdd = dice.chance(0.1);
      const pool = endpointPlaces.filter(
        ({ nodeName }) => favourite === "any" || (nodeName === "node-1") === (favourite === "near"),
      );
      const chosen = Array.from({ length: dice.below(4) }, () =>
        dice.one(isOdd && dice.chance(0.5) ? oddPlaces : pool),
      );
      const endpoints = chosen.map((place) => {
        const address = place.addresses[at] ?? "";
        const conditions = conditionsOf.get(address) ?? randomConditions(dice);
        conditionsOf.set(address, conditions);
        // Which of two accounts of one endpoint is the newer one, nobody knows: they agree.
        const hint = hintsAt.get(address) ?? hintsOf(dice, hints, place);
        hintsAt.set(address, hint);
        // A pod that ends, whose address another one has by now.
        const isOld = conditionsOf.has(address) && conditions.terminating !== true && dice.chance(0.15);
        return endpointAt(
          place,
          address,
          isOld ? { ready: false, serving: true, terminating: true } : conditions,
          hint,
        );
      });
      // The API takes an address once a slice.
      const once = [...new Map(endpoints.map((endpoint) => [endpoint.addresses[0], endpoint])).values()];
      slices.push(
        sliceObject(dice, `s${index}-${addressType.toLowerCase()}-${count}`, {
          index,
          addressType,
          spec,
          endpoints: once,
        }),
      );
    }
  }
  return slices;
}

interface Endpoint {
  readonly addresses: readonly string[];
  readonly conditions: { readonly ready?: boolean; readonly serving?: boolean; readonly terminating?: boolean };
}

/** Is there an endpoint that serves behind this address and UDP port, for the family; this very one, where it is given as `address:port`? */
export function isServed(services: readonly OneService[], address: string, port: number, endpoint?: string): boolean {
  const addressType = address.includes(":") ? "IPv6" : "IPv4";
  return services.some(({ service, ingress, slices }) => {
    const { clusterIPs = [], externalIPs = [], ports = [] } = service.spec;
    const own = [...clusterIPs, ...externalIPs, ...ingress.map(({ ip }) => ip)];
    const udp = ports.filter(({ protocol }) => protocol === "UDP");
    const asked = udp.filter((one) => one.nodePort === port || (one.port === port && own.includes(address)));
    const all = slices as readonly (KubeObject & {
      readonly addressType: string;
      readonly endpoints: readonly Endpoint[];
      readonly ports: readonly { readonly name: string; readonly protocol: string; readonly port?: number }[];
    })[];
    return all.some(
      (slice) =>
        slice.addressType === addressType &&
        slice.metadata.labels?.["service.kubernetes.io/headless"] === undefined &&
        slice.ports.some(
          (one) =>
            one.port !== undefined &&
            asked.some(({ name }) => name === one.name) &&
            slice.endpoints.some(
              ({ addresses, conditions }) =>
                conditions.serving !== false && (endpoint === undefined || endpoint === `${addresses[0]}:${one.port}`),
            ),
        ),
    );
  });
}

function endpointAt(
  place: Place,
  address: string,
  conditions: Endpoint["conditions"],
  hints: object | undefined,
): Endpoint {
  const { nodeName, zone } = place;
  return {
    addresses: [address],
    conditions,
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(zone === undefined ? {} : { zone }),
    ...(hints === undefined ? {} : { hints }),
  };
}

function hintsOf(dice: Dice, kind: string, { zone = "c", nodeName = "node-3" }: Place): object | undefined {
  const forZones = [{ name: zone }, ...(zone === "b" && dice.chance(0.2) ? [{ name: "a" }] : [])];
  const forNodes = [{ name: nodeName }];
  switch (kind) {
    case "zones":
      return { forZones };
    case "nodes":
      return { forNodes };
    case "both":
      return { forZones, forNodes };
    case "some":
      return dice.chance(0.8) ? { forZones } : undefined;
    default:
      return undefined;
  }
}

// Never ready and not serving: kube-proxy forgets UDP flows to such endpoints with every change, though it chooses them.
function randomConditions(dice: Dice): Endpoint["conditions"] {
  return dice.one<Endpoint["conditions"]>([
    { ready: true, serving: true, terminating: false },
    { ready: true, serving: true, terminating: false },
    { ready: true },
    {},
    { ready: false, serving: false, terminating: false },
    { ready: false, serving: true, terminating: true },
    { ready: false, serving: true, terminating: true },
    { ready: false, serving: false, terminating: true },
    { ready: true, serving: true, terminating: true },
    { ready: false, serving: true, terminating: false },
    { ready: false, terminating: true },
  ]);
}

function sliceObject(
  dice: Dice,
  name: string,
  from: {
    readonly index: number;
    readonly addressType: string;
    readonly spec: ServiceSpec;
    readonly endpoints: readonly Endpoint[];
  },
): KubeObject {
  const { index, addressType, spec, endpoints } = from;
  const port = dice.one([8080, 8080, 8081]);
  const ports = (spec.ports ?? [])
    .filter(() => dice.chance(0.93))
    .map((each) => ({ name: each.name, protocol: each.protocol, ...(dice.chance(0.03) ? {} : { port }) }));
  const isOfNames = dice.chance(0.03);
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: isOfNames ? `${name}-names` : name,
      namespace: "default",
      labels: {
        "kubernetes.io/service-name": `s${index}`,
        ...(dice.chance(0.03) ? { "service.kubernetes.io/service-proxy-name": "x" } : {}),
        ...(dice.chance(0.03) ? { "service.kubernetes.io/headless": "" } : {}),
      },
    },
    addressType: isOfNames ? "FQDN" : addressType,
    ports,
    endpoints: isOfNames ? endpoints.map((each, at) => ({ ...each, addresses: [`h${at}.example.com`] })) : endpoints,
  };
}

/** An endpoint is in another condition now, in all slices that have it. */
function turned(dice: Dice, slices: readonly KubeObject[]): readonly KubeObject[] {
  const all = slices as readonly (KubeObject & { readonly endpoints: readonly Endpoint[] })[];
  const addresses = all.flatMap(({ endpoints }) => endpoints.map((endpoint) => endpoint.addresses[0]));
  if (addresses.length === 0) return slices;
  const [turning, conditions] = [dice.one(addresses), randomConditions(dice)];
  return all.map((slice) => ({
    ...slice,
    endpoints: slice.endpoints.map((endpoint) =>
      endpoint.addresses[0] === turning ? { ...endpoint, conditions } : endpoint,
    ),
  }));
}
