// The names of one Service ("Kubernetes DNS-Based Service Discovery" 2.3 to 2.5): addresses, named ports, endpoints, pointers.
// Where the specification leaves room, the answers are CoreDNS's: endpoints without a hostname are `a-b-c-d.service.namespace.svc`
// (of any Service, not only headless ones), the Service's own name has an SRV record for each port, weights share out 100.

import type { Address } from "../ip/address.ts";
import { familyOf, parseAddress } from "../ip/address.ts";
import type { Origin } from "../kube/object.ts";
import type { Endpoint, NetworkService, ServicePort } from "../model/network.ts";
import { lowerName, type DnsName } from "../wire/dns/name.ts";
import { classIn, type RecordData } from "../wire/dns/record.ts";
import { dashedAddress } from "./zone-reverse.ts";
import type { ZoneNode, ZoneRecord, ZoneSettings } from "./zone.ts";

/** A Service's names by the part in front of its own, which is the empty string: `db-0`, `_tcp`, `_http._tcp`. */
export type ServiceNames = ReadonlyMap<string, ZoneNode>;

/** The names of a Service; the same value for the same Service and settings while it is among the last that were asked for. */
export function serviceNames(service: NetworkService, settings: ZoneSettings): ServiceNames {
  let known = knownNames.get(settings);
  if (known === undefined) knownNames.set(settings, (known = { young: new Map(), old: new Map() }));
  let names = known.young.get(service);
  if (names !== undefined) return names;
  names = known.old.get(service) ?? makeNames(service, settings);
  if (known.young.size >= knownMax) {
    known.old = known.young;
    known.young = new Map();
  }
  known.young.set(service, names);
  return names;
}

/** The name of an address. */
export interface Pointer {
  readonly address: Address;
  readonly target: DnsName;
  readonly origin: Origin;
}

/**
 * The addresses that have their name from a Service: its own, and its endpoints. The specification asks for those of headless endpoints
 * that have a hostname; as CoreDNS does, every endpoint has one here.
 */
export function servicePointers(service: NetworkService, settings: ZoneSettings): Pointer[] {
  const own = serviceName(service, settings);
  return [
    ...service.clusterIps.map((address, index) => ({ address, target: own, origin: clusterIpOrigin(service, index) })),
    ...distinctEndpoints(service, settings).map((endpoint) => ({
      address: endpoint.address,
      target: `${endpointLabel(endpoint, settings)}.${own}`,
      origin: endpoint.origin,
    })),
  ];
}

/** The Service's own name: `api-server.production.svc.cluster.local`. */
export function serviceName(service: NetworkService, settings: ZoneSettings): DnsName {
  return `${service.name}.${service.namespace}.svc.${settings.domain}`;
}

/**
 * Names take some times the memory of their Service, and what is answered from them is kept as bytes by those who serve it: so the last few
 * Services' are kept, for the many names of one with many endpoints. More would outlive the collector's quick rounds.
 */
const knownMax = 16;

/** Bytes of a label (RFC 1035 2.3.4). */
const labelMax = 63;

interface KnownNames {
  young: Map<NetworkService, ServiceNames>;
  old: Map<NetworkService, ServiceNames>;
}

const knownNames = new WeakMap<ZoneSettings, KnownNames>();

function makeNames(service: NetworkService, settings: ZoneSettings): ServiceNames {
  const names: NamesBeingMade = {
    service,
    settings,
    own: serviceName(service, settings),
    nodes: new Map(),
  };
  if (service.type === "ExternalName") addExternalName(names);
  else if (service.headless) addHeadless(names);
  else addClusterIps(names);
  return names.nodes;
}

interface NamesBeingMade {
  readonly service: NetworkService;
  readonly settings: ZoneSettings;
  readonly own: DnsName;
  readonly nodes: Map<string, ZoneNode & { readonly records: ZoneRecord[] }>;
}

/** Makes the name exist, and its parents up to the Service with it (RFC 8020). */
function addName(names: NamesBeingMade, relative: string): ZoneRecord[] {
  const known = names.nodes.get(relative);
  if (known !== undefined) return known.records;
  const records: ZoneRecord[] = [];
  const name = relative === "" ? names.own : `${relative}.${names.own}`;
  names.nodes.set(relative, { name, records, origin: names.service.origin });
  const dot = relative.indexOf(".");
  if (relative !== "") addName(names, dot < 0 ? "" : relative.slice(dot + 1));
  return records;
}

function addRecord(names: NamesBeingMade, relative: string, data: RecordData, origin: Origin): void {
  const name = relative === "" ? names.own : `${relative}.${names.own}`;
  addName(names, relative).push({ name, class: classIn, ttl: names.settings.ttl, data, origin });
}

function addExternalName(names: NamesBeingMade): void {
  const { externalName, origin } = names.service;
  // An address is no name: CoreDNS answers NXDOMAIN for those, API validation warns about them.
  if (externalName === undefined || externalName === "" || parseAddress(externalName) !== undefined) return;
  addRecord(names, "", { kind: "CNAME", target: lowerName(externalName) }, { ...origin, field: "spec.externalName" });
}

function addClusterIps(names: NamesBeingMade): void {
  const { service, own, settings } = names;
  const endpoints = distinctEndpoints(service, settings);
  if (settings.ignoreEmptyService && endpoints.length === 0) return;
  addName(names, "");
  for (const [index, address] of service.clusterIps.entries()) {
    addRecord(names, "", addressData(address), clusterIpOrigin(service, index));
  }
  addServers(names, (port) => [{ port: port.port, target: own, origin: port.origin }]);
  for (const endpoint of endpoints)
    addRecord(names, endpointLabel(endpoint, settings), addressData(endpoint.address), endpoint.origin);
}

// 2.4.1: without ready endpoints the name does not exist at all.
function addHeadless(names: NamesBeingMade): void {
  const { service, own, settings } = names;
  const endpoints = distinctEndpoints(service, settings);
  const addresses = firstByKey(endpoints, (endpoint) => endpoint.address);
  for (const { address, origin } of addresses.values()) addRecord(names, "", addressData(address), origin);
  for (const endpoint of endpoints) {
    addRecord(names, endpointLabel(endpoint, settings), addressData(endpoint.address), endpoint.origin);
  }
  addServers(names, (port) =>
    (settings.noEndpoints ? [] : port.endpoints)
      .filter((endpoint) => isPublished(service, endpoint))
      .map((endpoint) => ({
        port: endpoint.port,
        target: `${endpointLabel(endpoint, settings)}.${own}`,
        origin: endpoint.origin,
      })),
  );
}

/** Where a port is served, for an SRV record. */
interface ServerPlace {
  readonly port: number;
  readonly target: DnsName;
  readonly origin: Origin;
}

/** SRV records: of each named port under its name, and of all ports under the Service's own. */
function addServers(names: NamesBeingMade, placesOf: (port: ServicePort) => ServerPlace[]): void {
  const all: ServerPlace[] = [];
  for (const port of names.service.ports) {
    const places = placesOf(port);
    all.push(...places);
    if (port.name !== "") addPlaces(names, portName(port), places);
  }
  addPlaces(names, "", all);
}

// The same place twice (both addresses of a dual-stack endpoint with a hostname, one number for TCP and UDP) is one record:
// a set of records has no duplicates (RFC 2181 5).
function addPlaces(names: NamesBeingMade, relative: string, places: readonly ServerPlace[]): void {
  const distinct = firstByKey(places, (place) => `${place.target} ${place.port}`);
  const weight = shareOf(distinct.size);
  for (const { port, target, origin } of distinct.values())
    addRecord(names, relative, { kind: "SRV", priority: 0, weight, port, target }, origin);
}

/** The endpoints that names are given to, each address and hostname once, although each port lists them. */
function distinctEndpoints(service: NetworkService, settings: ZoneSettings): Endpoint[] {
  if (settings.noEndpoints) return [];
  const all = service.endpoints ?? service.ports.flatMap((port) => port.endpoints);
  const published = all.filter((endpoint) => isPublished(service, endpoint));
  return [...firstByKey(published, ({ address, hostname }) => `${address} ${hostname ?? ""}`).values()];
}

/** The first of each key, in order. */
function firstByKey<T>(values: readonly T[], keyOf: (value: T) => string): Map<string, T> {
  const first = new Map<string, T>();
  for (const value of values) {
    const key = keyOf(value);
    if (!first.has(key)) first.set(key, value);
  }
  return first;
}

function clusterIpOrigin(service: NetworkService, index: number): Origin {
  return { ...service.origin, field: index === 0 ? "spec.clusterIP" : `spec.clusterIPs[${index}]` };
}

function isPublished(service: NetworkService, endpoint: Endpoint): boolean {
  return endpoint.ready || service.publishNotReadyAddresses;
}

function endpointLabel(endpoint: Endpoint, settings: ZoneSettings): string {
  const { hostname, pod } = endpoint;
  if (hostname !== undefined && hostname !== "") return hostname.toLowerCase();
  const podName = settings.endpointPodNames && pod !== undefined ? pod.slice(pod.indexOf("/") + 1) : "";
  // A pod's name may be longer than a label.
  return podName !== "" && podName.length <= labelMax ? podName : dashedAddress(endpoint.address);
}

function portName(port: ServicePort): string {
  return `_${port.name.toLowerCase()}._${port.protocol}`;
}

function addressData(address: Address): RecordData {
  return { kind: familyOf(address) === 4 ? "A" : "AAAA", address };
}

// RFC 2782: a larger weight is chosen more often, and 0 only where there is nothing to choose.
function shareOf(count: number): number {
  return Math.max(Math.floor(100 / count), 1);
}
