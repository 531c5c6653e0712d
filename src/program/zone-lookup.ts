// Answering a question from the zone: which name it is, which records it has, and what "no" means.
// NXDOMAIN only where neither the name nor anything below it exists; NODATA (NOERROR without answers) where the name has no such type.
// The DNS server and `fairlead trace` both answer by this function.

import type { Address } from "../ip/address.ts";
import { compareAddresses, familyOf } from "../ip/address.ts";
import type { Origin } from "../kube/object.ts";
import type { NetworkPod } from "../model/network.ts";
import { isWithin, lowerName, type DnsName } from "../wire/dns/name.ts";
import { classIn, type RecordData, type RecordType } from "../wire/dns/record.ts";
import { createMemory } from "./zone-memory.ts";
import { servicesWith } from "./zone-pointers.ts";
import { addressOfDashed, addressOfReverseName, dashedAddress, reverseName, reverseZoneOf } from "./zone-reverse.ts";
import { serviceName, serviceNames, servicePointers, type Pointer } from "./zone-service.ts";
import type { NamespaceZone, Zone, ZoneNode, ZoneRecord, ZoneSettings } from "./zone.ts";

/** What the zone says to a question. */
export interface ZoneAnswer {
  readonly rcode: "NOERROR" | "NXDOMAIN";
  readonly answers: readonly ZoneRecord[];
  readonly authority: readonly ZoneRecord[];
  readonly additional: readonly ZoneRecord[];
  /** The object behind the name; undefined where there is no such name. */
  readonly origin: Origin | undefined;
  /** The last CNAME of `answers` leads out of the zone: whoever wants the whole answer asks others for this name. */
  readonly continueAt?: DnsName;
}

/**
 * The answer to a question (any case, final dot allowed), or undefined where the name is not the zone's and others must be asked.
 * With `cut`, a reverse zone, all names in it are the zone's.
 */
export function lookup(zone: Zone, name: DnsName, type: RecordType, cut?: DnsName): ZoneAnswer | undefined {
  const asked = lowerName(name);
  const authority = cut ?? authorityOf(zone, asked);
  const node = asked === cut ? apexNode(zone, cut) : findNode(zone, asked);
  // An address of ours may have a name although its range is another's (host network pods).
  if (authority === undefined && (node === undefined || node.records.length === 0)) return undefined;
  return follow(zone, asked, node, type, authority ?? asked);
}

/** Every name of the zone, in an order fit for reading. */
export function zoneNodes(zone: Zone): ZoneNode[] {
  const { settings } = zone;
  const nodes = [...fixedNodes(zone).values()];
  for (const namespace of zone.namespaces.values()) {
    for (const service of namespace.services.values()) nodes.push(...serviceNames(service, settings).values());
    if (settings.pods !== "disabled") nodes.push(...podNodes(namespace, zone).values());
  }
  nodes.push(...reverseNodes(zone));
  return nodes;
}

// CoreDNS follows eight.
const chainMax = 8;

function follow(zone: Zone, asked: DnsName, first: ZoneNode | undefined, type: RecordType, cut: DnsName): ZoneAnswer {
  const answers: ZoneRecord[] = [];
  let name = asked;
  let node = first;
  for (let i = 0; i < chainMax; i++) {
    const alias = node?.records.find((record) => record.data.kind === "CNAME");
    if (alias === undefined || alias.data.kind !== "CNAME" || type === "CNAME" || type === "ANY") break;
    answers.push(renamed(alias, name));
    name = alias.data.target;
    if (authorityOf(zone, name) === undefined) {
      return { rcode: "NOERROR", answers, authority: [], additional: [], origin: first?.origin, continueAt: name };
    }
    node = findNode(zone, name);
  }
  const records = recordsOfType(node, type);
  for (const record of records) answers.push(renamed(record, name));
  const origin = (answers[0] ?? node)?.origin;
  if (records.length > 0) {
    return { rcode: "NOERROR", answers, authority: [], additional: additionalOf(zone, records), origin };
  }
  // RFC 6604: the rcode is about the last name of the chain. RFC 2308 2: the SOA says how long "no" may be kept.
  const rcode = node === undefined ? "NXDOMAIN" : "NOERROR";
  return { rcode, answers, authority: [soaOf(zone, cut)], additional: [], origin };
}

// RFC 8482 4.1: a question for ANY gets one set of records, not all.
function recordsOfType(node: ZoneNode | undefined, type: RecordType): readonly ZoneRecord[] {
  const wanted = type === "ANY" ? node?.records[0]?.data.kind : type;
  return node?.records.filter((record) => record.data.kind === wanted) ?? [];
}

// RFC 2782: the addresses of SRV targets come along. The question and the answer spell the name alike.
function additionalOf(zone: Zone, records: readonly ZoneRecord[]): ZoneRecord[] {
  const additional: ZoneRecord[] = [];
  const seen = new Set<DnsName>();
  for (const { data } of records) {
    if ((data.kind !== "SRV" && data.kind !== "NS") || seen.has(data.target)) continue;
    seen.add(data.target);
    // The server's own name has its addresses also where its Service is not shown.
    const node = findNode(zone, data.target) ?? (data.kind === "NS" ? serverNode(zone, data.target) : undefined);
    for (const record of node?.records ?? [])
      if (record.data.kind === "A" || record.data.kind === "AAAA") additional.push(record);
  }
  return additional;
}

function renamed(record: ZoneRecord, name: DnsName): ZoneRecord {
  return record.name === name ? record : { ...record, name };
}

/** The zone cut above a name of ours: the domain, or a reverse zone. */
function authorityOf(zone: Zone, name: DnsName): DnsName | undefined {
  if (isWithin(name, zone.settings.domain)) return zone.settings.domain;
  return reverseZoneOf(name, zone.reverseRanges);
}

function findNode(zone: Zone, name: DnsName): ZoneNode | undefined {
  const { domain } = zone.settings;
  if (!isWithin(name, domain)) return findReverse(zone, name);
  const fixed = fixedNodes(zone).get(name);
  if (fixed !== undefined) return fixed;
  // No name of Kubernetes has a dot or any other odd byte inside a label.
  if (name.length === domain.length || name.includes("\\")) return undefined;
  const labels = name.slice(0, -domain.length - 1).split(".");
  const kind = labels.pop();
  const namespace = zone.namespaces.get(labels.pop() ?? "");
  if (namespace === undefined || (kind !== "svc" && kind !== "pod")) return undefined;
  const last = labels.pop();
  if (last === undefined) return emptyNode(name, namespace.origin);
  if (kind === "pod") return labels.length > 0 ? undefined : findPod(namespace, zone, last);
  const service = namespace.services.get(last);
  return service === undefined ? undefined : serviceNames(service, zone.settings).get(labels.join("."));
}

// An IPv6 address may be spelled in any way.
function findPod(namespace: NamespaceZone, zone: Zone, label: string): ZoneNode | undefined {
  const { settings } = zone;
  if (settings.pods === "disabled") return undefined;
  const nodes = podNodes(namespace, zone);
  const exact = nodes.get(label);
  if (exact !== undefined) return exact;
  const address = addressOfDashed(label);
  if (address === undefined) return undefined;
  const verified = nodes.get(dashedAddress(address));
  if (verified !== undefined || settings.pods === "verified") return verified;
  const name = `${label}.${namespace.name}.pod.${settings.domain}`;
  const { origin } = namespace;
  return { name, origin, records: [recordOf(zone, name, addressData(address), origin)] };
}

const knownPods = new WeakMap<ZoneSettings, WeakMap<readonly NetworkPod[], Map<string, ZoneNode>>>();

// By label. Pods of one namespace that share an address (host network) share the name.
function podNodes(namespace: NamespaceZone, zone: Zone): ReadonlyMap<string, ZoneNode> {
  const { settings } = zone;
  const known = knownFor(knownPods, settings);
  const made = known.get(namespace.pods);
  if (made !== undefined) return made;
  const nodes = new Map<string, ZoneNode>();
  for (const pod of namespace.pods) {
    for (const [index, address] of pod.addresses.entries()) {
      const label = dashedAddress(address);
      if (nodes.has(label)) continue;
      const name = `${label}.${namespace.name}.pod.${settings.domain}`;
      const origin = { ...pod.origin, field: `status.podIPs[${index}]` };
      nodes.set(label, { name, origin, records: [recordOf(zone, name, addressData(address), origin)] });
    }
  }
  known.set(namespace.pods, nodes);
  return nodes;
}

// Part of an address inside our ranges: some name below may exist, and a needless NODATA harms nobody, while a wrong NXDOMAIN would
// hide all names below (RFC 8020).
function findReverse(zone: Zone, name: DnsName): ZoneNode | undefined {
  const address = addressOfReverseName(name);
  if (address === undefined)
    return reverseZoneOf(name, zone.reverseRanges) === undefined ? undefined : emptyNode(name, zone.origin);
  const pointers: Pointer[] = [];
  for (const namespace of zone.namespaces.values())
    for (const service of servicesWith(namespace, address))
      pointers.push(...servicePointers(service, zone.settings).filter((pointer) => pointer.address === address));
  return pointers.length === 0 ? undefined : reverseNode(zone, name, pointers);
}

function reverseNode(zone: Zone, name: DnsName, pointers: readonly Pointer[]): ZoneNode {
  const records = pointers.map(({ target, origin }) => recordOf(zone, name, { kind: "PTR", target }, origin));
  return { name, records, origin: records[0]?.origin ?? zone.origin };
}

/** What is known under these settings. */
function knownFor<K extends object, V>(
  all: WeakMap<ZoneSettings, WeakMap<K, V>>,
  settings: ZoneSettings,
): WeakMap<K, V> {
  let known = all.get(settings);
  if (known === undefined) all.set(settings, (known = new WeakMap()));
  return known;
}

// All of them, for reading.
function reverseNodes(zone: Zone): ZoneNode[] {
  const all = new Map<Address, Pointer[]>();
  for (const namespace of zone.namespaces.values()) {
    for (const service of namespace.services.values()) {
      for (const pointer of servicePointers(service, zone.settings)) {
        const list = all.get(pointer.address);
        if (list === undefined) all.set(pointer.address, [pointer]);
        else list.push(pointer);
      }
    }
  }
  return [...all]
    .toSorted(([a], [b]) => compareAddresses(a, b))
    .map(([address, pointers]) => reverseNode(zone, reverseName(address), pointers));
}

const knownFixed = createMemory<Zone, ReadonlyMap<DnsName, ZoneNode>>("fixed nodes");

// The names that exist in every cluster: the apex, its name server, the version, and the parents of all else.
function fixedNodes(zone: Zone): ReadonlyMap<DnsName, ZoneNode> {
  const known = knownFixed.get(zone);
  if (known !== undefined) return known;
  const { domain } = zone.settings;
  const origin = zone.server.service?.origin ?? zone.origin;
  const nodes = new Map<DnsName, ZoneNode>();
  const add = (name: DnsName, ...data: RecordData[]): void => {
    nodes.set(name, { name, origin, records: data.map((each) => recordOf(zone, name, each, origin)) });
  };
  nodes.set(domain, apexNode(zone, domain));
  add(`dns.${domain}`);
  nodes.set(`ns.dns.${domain}`, serverNode(zone, `ns.dns.${domain}`));
  // 2.2: the version of the schema that the zone follows.
  add(`dns-version.${domain}`, { kind: "TXT", strings: ["1.1.0"] });
  add(`svc.${domain}`);
  add(`pod.${domain}`);
  knownFixed.set(zone, nodes);
  return nodes;
}

function apexNode(zone: Zone, name: DnsName): ZoneNode {
  const { service } = zone.server;
  const origin = service?.origin ?? zone.origin;
  const nameServer = service === undefined ? `ns.dns.${zone.settings.domain}` : serviceName(service, zone.settings);
  const records = [soaOf(zone, name), recordOf(zone, name, { kind: "NS", target: nameServer }, origin)];
  return { name, origin, records };
}

/** The addresses of the DNS server under a name of it. */
function serverNode(zone: Zone, name: DnsName): ZoneNode {
  const { addresses, service } = zone.server;
  const origin = service?.origin ?? zone.origin;
  return { name, origin, records: addresses.map((each) => recordOf(zone, name, addressData(each), origin)) };
}

/** Only those who copy a zone compare serials, and they are told one that grows (zone-transfer.ts): a constant keeps equal clusters equal. */
const serial = 1;

function soaOf(zone: Zone, owner: DnsName): ZoneRecord {
  return recordOf(
    zone,
    owner,
    {
      kind: "SOA",
      primary: `ns.dns.${owner}`,
      mailbox: `hostmaster.${owner}`,
      serial,
      refresh: 7200,
      retry: 1800,
      expire: 86_400,
      minimum: zone.settings.ttl,
    },
    zone.server.service?.origin ?? zone.origin,
  );
}

function emptyNode(name: DnsName, origin: Origin): ZoneNode {
  return { name, records: [], origin };
}

function recordOf(zone: Zone, name: DnsName, data: RecordData, origin: Origin): ZoneRecord {
  return { name, class: classIn, ttl: zone.settings.ttl, data, origin };
}

function addressData(address: Address): RecordData {
  return { kind: familyOf(address) === 4 ? "A" : "AAAA", address };
}
