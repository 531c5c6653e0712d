// Services with their endpoints: a Service and all of its EndpointSlices -> one NetworkService.
//
// Not here: which endpoints get a connection (eligible.ts), and what is odd about a Service (problems.ts).

import { compareAddresses, familyOf, parseAddress, type Address } from "../ip/address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import type {
  Endpoint as KubeEndpoint,
  EndpointSlice,
  EndpointSlicePort,
  Service,
  ServicePort as KubeServicePort,
} from "../kube/kinds.ts";
import type { Endpoint, ExternalAddress, NetworkService, ServicePort } from "./network.ts";
import { indexedField, originOf } from "./origin.ts";
import { protocolOf } from "./pod.ts";

/** The label that joins an EndpointSlice to its Service (discovery/v1 LabelServiceName). */
export const serviceNameLabel = "kubernetes.io/service-name";

/**
 * KEP-2447: the label of a Service, whatever its value, that another proxy serves. Its slices may carry it, too, as controllers copy labels;
 * on a slice alone it says nothing (kube-proxy since 1.36).
 */
export const proxyNameLabel = "service.kubernetes.io/service-proxy-name";

/** core/v1 IsHeadlessService: the label of a slice, whatever its value, that no proxy has a use for. On a Service it says nothing. */
const headlessLabel = "service.kubernetes.io/headless";

/** Does another proxy serve it? */
export function isLeft({ metadata }: Service): boolean {
  return metadata.labels?.[proxyNameLabel] !== undefined;
}

// core/v1 DefaultClientIPServiceAffinitySeconds
const affinitySecondsDefault = 10800;

/** One Service; `slices` are all EndpointSlices that carry its name, in any order. */
export function networkService(service: Service, slices: readonly EndpointSlice[]): NetworkService {
  const { metadata, spec } = service;
  const type = spec.type ?? "ClusterIP";
  const affinity = sessionAffinitySeconds(service);
  const texts = clusterIpTexts(service);
  const headless = type !== "ExternalName" && texts.includes("None");
  const sources = loadBalancerSources(service);
  const external = externalAddresses(service);
  const proxied = slices.filter(({ metadata: { labels } }) => labels?.[headlessLabel] === undefined);
  const made = (spec.ports ?? []).map((port, index) => {
    const field = indexedField("spec.ports", index);
    const result = servicePort(service, port, field, headless ? slices : proxied);
    return external.length === 0 ? result : { ...result, external };
  });
  // With room for what every Service has, and no more: there are tens of thousands.
  const result: { -readonly [Field in keyof NetworkService]: NetworkService[Field] } = {
    namespace: metadata.namespace ?? "default",
    name: metadata.name,
    type,
    clusterIps: type === "ExternalName" ? [] : texts.flatMap((text) => parseAddress(text) ?? []).slice(),
    headless,
    publishNotReadyAddresses: spec.publishNotReadyAddresses === true,
    internalTrafficPolicy: spec.internalTrafficPolicy ?? "Cluster",
    externalTrafficPolicy: spec.externalTrafficPolicy ?? "Cluster",
    ports: made,
    origin: originOf(service),
    ...(metadata.labels !== undefined && { labels: metadata.labels }),
  };
  if (!headless && isLeft(service)) result.leftTo = proxyNameLabel;
  if (type === "ExternalName" && spec.externalName !== undefined) result.externalName = spec.externalName;
  if (affinity !== undefined) result.sessionAffinitySeconds = affinity;
  // Whoever restricts something nobody can read has restricted it all the same.
  if (sources.length > 0 || hasSourceRanges(service)) result.loadBalancerSources = sources;
  if (spec.healthCheckNodePort !== undefined && spec.healthCheckNodePort !== 0)
    result.healthCheckNodePort = spec.healthCheckNodePort;
  if (headless) result.endpoints = joined(slices, () => 0);
  return result;
}

/** `Service.spec.clusterIPs`, or `clusterIP` of objects written before there were several. */
export function clusterIpTexts({ spec }: Service): readonly string[] {
  if (spec.clusterIPs !== undefined && spec.clusterIPs.length > 0) return spec.clusterIPs;
  return spec.clusterIP === undefined || spec.clusterIP === "" ? [] : [spec.clusterIP];
}

/**
 * Load balancers' addresses that nodes answer for, and external ones, each once. KEP-1860: with ipMode Proxy the balancer itself is to be
 * asked, so nodes leave those packets alone. A headless Service has no traffic to lead anywhere.
 */
function externalAddresses(service: Service): readonly ExternalAddress[] {
  const { spec, status } = service;
  if (spec.type === "ExternalName" || clusterIpTexts(service).includes("None")) return [];
  const ingress = spec.type === "LoadBalancer" ? (status?.loadBalancer?.ingress ?? []) : [];
  const given: (readonly [ExternalAddress["kind"], string | undefined, string])[] = [
    ...ingress.map(
      ({ ip, ipMode }, index) =>
        ["load-balancer", ipMode === "Proxy" ? undefined : ip, `status.loadBalancer.ingress[${index}].ip`] as const,
    ),
    ...(spec.externalIPs ?? []).map((ip, index) => ["external-ip", ip, `spec.externalIPs[${index}]`] as const),
  ];
  const found = new Map<Address, ExternalAddress>();
  for (const [kind, text, field] of given) {
    const address = canonicalAddress(text ?? "");
    if (address !== undefined && !found.has(address))
      found.set(address, { kind, address, origin: originOf(service, field) });
  }
  return [...found.values()];
}

function hasSourceRanges({ spec }: Service): boolean {
  return spec.type === "LoadBalancer" && (spec.loadBalancerSourceRanges ?? []).some((text) => text.trim() !== "");
}

function loadBalancerSources({ spec }: Service): readonly string[] {
  if (spec.type !== "LoadBalancer") return [];
  return (spec.loadBalancerSourceRanges ?? [])
    .map((text) => parsePrefix(withoutZeros(text.trim())))
    .filter((prefix) => prefix !== undefined);
}

function sessionAffinitySeconds({ spec }: Service): number | undefined {
  if (spec.sessionAffinity !== "ClientIP") return undefined;
  const seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? affinitySecondsDefault;
  // What the API takes, whoever wrote it: core/v1 MaxClientIPServiceAffinitySeconds.
  return Math.max(1, Math.min(Math.trunc(seconds), 86_400));
}

function servicePort(
  service: Service,
  port: KubeServicePort,
  field: string,
  slices: readonly EndpointSlice[],
): ServicePort {
  const result: { -readonly [Field in keyof ServicePort]: ServicePort[Field] } = {
    name: port.name ?? "",
    protocol: protocolOf(port.protocol),
    port: port.port,
    endpoints: endpointsOf(port, slices),
    origin: originOf(service, field),
  };
  if (port.nodePort !== undefined && port.nodePort !== 0) result.nodePort = port.nodePort;
  if (port.appProtocol !== undefined) result.appProtocol = port.appProtocol;
  return result;
}

/** One port's endpoints from all slices: each address and port once, in order of family, address, port. */
function endpointsOf(port: KubeServicePort, slices: readonly EndpointSlice[]): readonly Endpoint[] {
  const all = joined(slices, (slice) => slice.ports?.find((candidate) => isSamePort(candidate, port))?.port);
  // A copy has no room to grow.
  return all.filter((endpoint, index) => !isSameTarget(endpoint, all[index - 1])).slice();
}

/** The endpoints of the slices that have the port, in order, the more usable of the same first. */
function joined(slices: readonly EndpointSlice[], portOf: (slice: EndpointSlice) => number | undefined): Endpoint[] {
  const all: Endpoint[] = [];
  for (const slice of slices) {
    // A slice of names needs DNS to be of use: kube-proxy ignores it as well.
    if (slice.addressType === "FQDN") continue;
    const number = portOf(slice);
    if (number === undefined) continue;
    for (const [index, endpoint] of (slice.endpoints ?? []).entries()) {
      const result = networkEndpoint(slice, endpoint, index, number);
      if (result !== undefined) all.push(result);
    }
  }
  return all.sort(compareEndpoints);
}

/** Ports are matched by name and protocol, never by number: a name may stand for another number in every slice. */
function isSamePort(a: EndpointSlicePort, b: KubeServicePort): boolean {
  return (a.name ?? "") === (b.name ?? "") && protocolOf(a.protocol) === protocolOf(b.protocol);
}

function networkEndpoint(
  slice: EndpointSlice,
  endpoint: KubeEndpoint,
  index: number,
  port: number,
): Endpoint | undefined {
  // discovery/v1: only the first address counts; clients that took more were found to differ.
  const address = canonicalAddress(endpoint.addresses[0] ?? "");
  if (address === undefined || (familyOf(address) === 6) !== (slice.addressType === "IPv6")) return undefined;
  const { conditions, nodeName, zone, hostname, hints, targetRef } = endpoint;
  const pod = targetRef?.kind === "Pod" && targetRef.name !== undefined ? podText(slice, targetRef) : undefined;
  // KEP-1669: absent conditions mean ready, serving and not terminating.
  const ready = conditions?.ready ?? true;
  const serving = conditions?.serving ?? true;
  const terminating = conditions?.terminating ?? false;
  const origin = originOf(slice, indexedField("endpoints", index));
  const base = { address, port, ready, serving, terminating, origin };
  // The most usual one in one piece: what is added to an object later lies beside it.
  const result: { -readonly [Field in keyof Endpoint]: Endpoint[Field] } =
    nodeName === undefined || pod === undefined
      ? base
      : { address, port, ready, serving, terminating, origin, node: nodeName, pod };
  if (nodeName !== undefined) result.node = nodeName;
  if (pod !== undefined) result.pod = pod;
  if (zone !== undefined) result.zone = zone;
  if (hostname !== undefined) result.hostname = hostname;
  if (hints?.forZones !== undefined) result.forZones = hints.forZones.map(({ name }) => name);
  if (hints?.forNodes !== undefined) result.forNodes = hints.forNodes.map(({ name }) => name);
  return result;
}

/** The slice's own text of it where that says enough: there are a hundred thousand of these. */
function podText(
  { metadata }: EndpointSlice,
  { namespace, name = "" }: NonNullable<KubeEndpoint["targetRef"]>,
): string {
  return namespace === undefined || namespace === metadata.namespace ? name : `${namespace}/${name}`;
}

/** The pod behind an endpoint, as namespace/name. */
export function podBehind({ pod, origin }: Endpoint): string | undefined {
  return pod === undefined || pod.includes("/") ? pod : `${origin.namespace ?? "default"}/${pod}`;
}

function isSameTarget(a: Endpoint, b: Endpoint | undefined): boolean {
  return b !== undefined && a.address === b.address && a.port === b.port;
}

/**
 * While an endpoint moves from slice to slice it may be in both, with different conditions; and a pod that starts may have the address of one
 * that ends (kube-proxy: the one that does not end counts). What does not terminate comes first and so wins, then the more usable one, then
 * the slice's name decides, so that the order of slices means nothing.
 */
function compareEndpoints(a: Endpoint, b: Endpoint): number {
  return (
    compareAddressesQuickly(a.address, b.address) ||
    a.port - b.port ||
    Number(a.terminating) - Number(b.terminating) ||
    Number(b.ready) - Number(a.ready) ||
    Number(b.serving) - Number(a.serving) ||
    compareText(a.origin.name, b.origin.name) ||
    compareText(a.origin.field ?? "", b.origin.field ?? "")
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Equal text is equal, and canonical IPv4 needs no big numbers: sorting endpoints is most of the work of building a big Network. */
function compareAddressesQuickly(a: Address, b: Address): number {
  if (a === b) return 0;
  if (a.includes(":") || b.includes(":")) return compareAddresses(a, b);
  return ipv4Number(a) - ipv4Number(b);
}

function ipv4Number(address: Address): number {
  let number = 0;
  let part = 0;
  for (let index = 0; index < address.length; index++) {
    const code = address.charCodeAt(index);
    if (code === dot) {
      number = number * 256 + part;
      part = 0;
    } else {
      part = part * 10 + code - zero;
    }
  }
  return number * 256 + part;
}

const dot = ".".charCodeAt(0);
const zero = "0".charCodeAt(0);
const canonicalIpv4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)$/;

/** As parseAddress, and in older forms; most endpoints are IPv4 in canonical form as they stand. */
function canonicalAddress(text: string): Address | undefined {
  if (canonicalIpv4.test(text)) return text;
  return parseAddress(withoutZeros(text.replace(/^::ffff:(?=\d+\.)/i, "")));
}

/**
 * IPv4 without leading zeros, which mean nothing: API servers took them, and IPv4 as IPv6, until 1.36, and objects that hold them stay good
 * (KEP-4858).
 */
function withoutZeros(text: string): string {
  return text.includes(":") ? text : text.replaceAll(/(^|\.)0+(?=\d)/g, "$1");
}
