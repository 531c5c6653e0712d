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

/** Everything a Service adds to the zone. */
export interface ServiceNames {
  /** By the part of the name in front of the Service's own, which is the empty string: `db-0`, `_tcp`, `_http._tcp`. */
  readonly nodes: ReadonlyMap<string, ZoneNode>;
  /** Names of addresses: of the Service's own, and of headless endpoints that have a hostname. */
  readonly pointers: readonly { readonly address: Address; readonly target: DnsName; readonly origin: Origin }[];
}

/** The names of a Service; the same value for the same Service and settings. */
export function serviceNames(service: NetworkService, settings: ZoneSettings): ServiceNames {
  let known = knownNames.get(settings);
  if (known === undefined) knownNames.set(settings, (known = new WeakMap()));
  let names = known.get(service);
  if (names === undefined) known.set(service, (names = makeNames(service, settings)));
  return names;
}

/** The Service's own name: `api-server.production.svc.cluster.local`. */
export function serviceName(service: NetworkService, settings: ZoneSettings): DnsName {
  return `${service.name}.${service.namespace}.svc.${settings.domain}`;
}

const knownNames = new WeakMap<ZoneSettings, WeakMap<NetworkService, ServiceNames>>();

function makeNames(service: NetworkService, settings: ZoneSettings): ServiceNames {
  const names: NamesBeingMade = {
    service,
    settings,
    own: serviceName(service, settings),
    nodes: new Map(),
    pointers: [],
  };
  if (service.type === "ExternalName") addExternalName(names);
  else if (service.headless) addHeadless(names);
  else addClusterIps(names);
  return { nodes: names.nodes, pointers: names.pointers };
}

interface NamesBeingMade {
  readonly service: NetworkService;
  readonly settings: ZoneSettings;
  readonly own: DnsName;
  readonly nodes: Map<string, ZoneNode & { readonly records: ZoneRecord[] }>;
  readonly pointers: ServiceNames["pointers"][number][];
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
  const { service, own } = names;
  addName(names, "");
  for (const [index, address] of service.clusterIps.entries()) {
    const origin = { ...service.origin, field: index === 0 ? "spec.clusterIP" : `spec.clusterIPs[${index}]` };
    addRecord(names, "", addressData(address), origin);
    names.pointers.push({ address, target: own, origin });
  }
  const weight = shareOf(service.ports.length);
  for (const port of service.ports) {
    const data = { kind: "SRV", priority: 0, port: port.port, target: own } as const;
    addRecord(names, "", { ...data, weight }, port.origin);
    if (port.name !== "") addRecord(names, portName(port), { ...data, weight: shareOf(1) }, port.origin);
  }
  for (const endpoint of distinctEndpoints(service, service.ports))
    addRecord(names, endpointLabel(endpoint), addressData(endpoint.address), endpoint.origin);
}

// 2.4.1: without ready endpoints the name does not exist at all.
function addHeadless(names: NamesBeingMade): void {
  const { service, own } = names;
  const endpoints = distinctEndpoints(service, service.ports);
  for (const endpoint of endpoints) {
    const data = addressData(endpoint.address);
    const label = endpointLabel(endpoint);
    addRecord(names, "", data, endpoint.origin);
    addRecord(names, label, data, endpoint.origin);
    if (endpoint.hostname !== undefined && endpoint.hostname !== "")
      names.pointers.push({ address: endpoint.address, target: `${label}.${own}`, origin: endpoint.origin });
  }
  const all = service.ports.flatMap((port) => targetsOf(service, port, own));
  for (const target of all) addRecord(names, "", { ...target.data, weight: shareOf(all.length) }, target.origin);
  for (const port of service.ports) {
    if (port.name === "") continue;
    const targets = targetsOf(service, port, own);
    for (const { data, origin } of targets)
      addRecord(names, portName(port), { ...data, weight: shareOf(targets.length) }, origin);
  }
}

type SrvTarget = {
  readonly data: Omit<RecordData & { kind: "SRV" }, "weight">;
  readonly origin: Origin;
};

// Both addresses of a dual-stack endpoint with a hostname are one target.
function targetsOf(service: NetworkService, port: ServicePort, own: DnsName): SrvTarget[] {
  const targets = new Map<string, SrvTarget>();
  for (const endpoint of port.endpoints) {
    if (!isPublished(service, endpoint)) continue;
    const target = `${endpointLabel(endpoint)}.${own}`;
    const key = `${target} ${endpoint.port}`;
    if (targets.has(key)) continue;
    targets.set(key, { data: { kind: "SRV", priority: 0, port: endpoint.port, target }, origin: endpoint.origin });
  }
  return [...targets.values()];
}

/** The endpoints that names are given to, each address and hostname once, although each port lists them. */
function distinctEndpoints(service: NetworkService, ports: readonly ServicePort[]): Endpoint[] {
  const distinct = new Map<string, Endpoint>();
  for (const port of ports) {
    for (const endpoint of port.endpoints) {
      const key = `${endpoint.address} ${endpoint.hostname ?? ""}`;
      if (isPublished(service, endpoint) && !distinct.has(key)) distinct.set(key, endpoint);
    }
  }
  return [...distinct.values()];
}

function isPublished(service: NetworkService, endpoint: Endpoint): boolean {
  return endpoint.ready || service.publishNotReadyAddresses;
}

function endpointLabel(endpoint: Endpoint): string {
  const { hostname } = endpoint;
  return hostname === undefined || hostname === "" ? dashedAddress(endpoint.address) : hostname.toLowerCase();
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
