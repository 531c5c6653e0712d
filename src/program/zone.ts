// The cluster's DNS zone: what the Network says about names ("Kubernetes DNS-Based Service Discovery", schema 1.1.0).
// A Zone is a function of the Network alone. It is cheap to make anew: it points at the Network's own values, and what is derived from
// one of them (zone-service.ts, zone-pointers.ts) is made when somebody asks and kept for as long as that value lives.
// Beside the zone before, only the namespaces of changed Services and pods are made anew, and of those only what changed.
//
// Not here: answering a question (zone-lookup.ts), answers as bytes (zone-answer.ts), the text form (zone-text.ts), the server (serve/dns).

import type { Address } from "../ip/address.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { Labels, Origin } from "../kube/object.ts";
import type { Network, NetworkNamespace, NetworkPod, NetworkService } from "../model/network.ts";
import { clusterOrigin } from "../model/origin.ts";
import { servicesOf } from "../model/services-list.ts";
import { stretchBetween, type Sequence } from "../model/stretch.ts";
import { compareText } from "../model/table.ts";
import { lowerName, type DnsName } from "../wire/dns/name.ts";
import type { DnsRecord } from "../wire/dns/record.ts";
import { createMemory } from "./zone-memory.ts";
import { movePointers } from "./zone-pointers.ts";
import { changedMap } from "./zone-services.ts";

/** All names of the cluster. */
export interface Zone {
  readonly settings: ZoneSettings;
  /** By name, in order. */
  readonly namespaces: ReadonlyMap<string, NamespaceZone>;
  /** Of all namespaces. */
  readonly pods: readonly NetworkPod[];
  /** Addresses in these ranges have their names here or nowhere: what is missing is NXDOMAIN, not a question for others. */
  readonly reverseRanges: readonly Prefix[];
  /** Where clients find the DNS server, and the Service that has these addresses. */
  readonly server: { readonly addresses: readonly Address[]; readonly service: NetworkService | undefined };
  readonly origin: Origin;
}

/** What every record of a zone shares. Equal settings are the same object, so they serve as a cache's key. */
export interface ZoneSettings {
  /** In lower case, no final dot: `cluster.local`. */
  readonly domain: DnsName;
  /** Seconds. */
  readonly ttl: number;
  /** `a-b-c-d.namespace.pod`: never, any address, or those that pods of the namespace have (CoreDNS's words). */
  readonly pods: "disabled" | "insecure" | "verified";
  /** Endpoints without a hostname are named by their pods instead of their addresses. */
  readonly endpointPodNames: boolean;
  /** Endpoints have no names, and headless Services therefore none either. */
  readonly noEndpoints: boolean;
  /** A Service without ready endpoints does not exist. */
  readonly ignoreEmptyService: boolean;
}

/** The names of one namespace: its Services by name, and its pods. */
export interface NamespaceZone {
  readonly name: string;
  readonly labels: Labels;
  readonly services: ReadonlyMap<string, NetworkService>;
  readonly pods: readonly NetworkPod[];
  readonly origin: Origin;
}

/** A name that exists. Without records it exists only because longer names do (an empty non-terminal, RFC 8020). */
export interface ZoneNode {
  readonly name: DnsName;
  readonly records: readonly ZoneRecord[];
  readonly origin: Origin;
}

/** A record and the object that caused it. */
export interface ZoneRecord extends DnsRecord {
  readonly origin: Origin;
}

/**
 * Seconds that clients may keep an answer. CoreDNS's kubernetes plugin has 5, kubeadm's Corefile makes that 30.
 * 5 it is here: an endpoint that is gone must not be handed out for half a minute, and answers cost next to nothing.
 */
const defaultTtl = 5;

/**
 * The zone of a Network. With `previous`, the namespaces in which nothing changed are the same values as before.
 * The result never depends on `previous` otherwise.
 */
export function compileZone(
  network: Network,
  options: { readonly previous?: Zone | undefined; readonly ttl?: number } = {},
): Zone {
  const { cluster } = network;
  const { previous } = options;
  const changes = previous && changesSince(previous, network);
  const addresses = cluster.dnsAddresses;
  const zone: Zone = {
    settings: settingsOf({
      domain: lowerName(cluster.domain),
      ttl: options.ttl ?? defaultTtl,
      pods: "verified",
      endpointPodNames: false,
      noEndpoints: false,
      ignoreEmptyService: false,
    }),
    namespaces:
      (previous && changes && changedNamespaces(previous, network, changes)) ?? allNamespaces(network, previous),
    pods: network.pods,
    reverseRanges: [...cluster.serviceCidrs, ...cluster.podCidrs],
    server: { addresses, service: serverOf(network, previous, changes) },
    origin: clusterOrigin(cluster, "domain"),
  };
  madeOf.set(zone, network);
  return zone;
}

/** What a Zone was made of. */
const madeOf = createMemory<Zone, Network>("network");

/** What may have other answers in one zone than in another. */
export interface ZoneChange {
  /** Each as it was and as it is. */
  readonly services: readonly NetworkService[];
  /** Did namespaces come or go? Then every name that did not exist may. */
  readonly namespaces: boolean;
}

/** Undefined where more than Services, pods and the existence of namespaces may be otherwise, or very many of them. */
export function zoneChange(from: Zone, to: Zone): ZoneChange | undefined {
  const network = madeOf.get(to);
  const changes = network && from.settings === to.settings ? changesSince(from, network) : undefined;
  if (changes === undefined) return undefined;
  const { services, namespaces } = changes;
  return {
    services: [...services.removed, ...services.added],
    namespaces: namespaces.removed.length + namespaces.added.length > 0,
  };
}

/** What two sorted lists do not have in common. */
interface Changes<T> {
  readonly removed: readonly T[];
  readonly added: readonly T[];
}

interface NetworkChanges {
  readonly services: Changes<NetworkService>;
  readonly pods: Changes<NetworkPod>;
  /** None is among both: its labels are the same. */
  readonly namespaces: Changes<NetworkNamespace>;
}

/** The one that was asked for last: by the zone, and then by who keeps its answers. */
let last:
  | { readonly previous: Zone; readonly network: Network; readonly changes: NetworkChanges | undefined }
  | undefined;

/** Undefined: too much, or other things than these. */
function changesSince(previous: Zone, network: Network): NetworkChanges | undefined {
  if (last?.previous !== previous || last.network !== network)
    last = { previous, network, changes: findChanges(previous, network) };
  return last.changes;
}

function findChanges(previous: Zone, network: Network): NetworkChanges | undefined {
  const before = madeOf.get(previous);
  if (before === undefined || before.cluster !== network.cluster) return undefined;
  // Not `network.services`: of ten thousands that array would be made anew for each change, and live long enough to become old.
  const services = changesOf(servicesOf(before), servicesOf(network), compareKeys);
  const pods = changesOf(before.pods, network.pods, compareKeys);
  const namespaces = changesOf(before.namespaces, network.namespaces, compareNames);
  const isKept = namespaces?.added.some(({ name }) => namespaces.removed.some((each) => each.name === name));
  return services && pods && namespaces && isKept === false ? { services, pods, namespaces } : undefined;
}

const changesMax = 256;

// A Network's lists are sorted, and what did not change is the same value.
function changesOf<T>(
  before: Sequence<T>,
  after: Sequence<T>,
  compare: (a: T, b: T) => number,
): Changes<T> | undefined {
  if (before === after) return noChanges;
  const removed: T[] = [];
  const added: T[] = [];
  const { start, endBefore, endAfter } = stretchBetween(before, after);
  const [gone, come] = [before.slice(start, endBefore), after.slice(start, endAfter)];
  for (let i = 0, j = 0; i < gone.length || j < come.length;) {
    const old = gone[i];
    const now = come[j];
    const order = old === now ? 0 : old === undefined ? 1 : now === undefined ? -1 : compare(old, now);
    if (order <= 0) i++;
    if (order >= 0) j++;
    if (old === now) continue;
    if (old !== undefined && order <= 0) removed.push(old);
    if (now !== undefined && order >= 0) added.push(now);
    if (removed.length + added.length > changesMax) return undefined;
  }
  return { removed, added };
}

const noChanges: Changes<never> = { removed: [], added: [] };

interface Named {
  readonly name: string;
}

interface Keyed extends Named {
  readonly namespace: string;
}

function compareKeys(a: Keyed, b: Keyed): number {
  return compareText(a.namespace, b.namespace) || compareNames(a, b);
}

function compareNames(a: Named, b: Named): number {
  return compareText(a.name, b.name);
}

/** Undefined where a namespace is nothing but its objects and the last of them goes, or the first comes: that is for `allNamespaces`. */
function changedNamespaces(
  previous: Zone,
  network: Network,
  { services, pods, namespaces: { removed, added } }: NetworkChanges,
): Zone["namespaces"] | undefined {
  let namespaces = new Map(previous.namespaces);
  if (removed.length + added.length > 0) {
    for (const { name } of removed) {
      const gone = namespaces.get(name);
      if (gone === undefined || gone.services.size + gone.pods.length > 0) return undefined;
      namespaces.delete(name);
    }
    for (const { name, labels, origin } of added) {
      if (namespaces.has(name)) return undefined;
      namespaces.set(name, { name, labels, services: noServices, pods: noPods, origin });
    }
    namespaces = sortedByName(namespaces);
  }
  const touched = new Set<string>();
  for (const list of [services.removed, services.added, pods.removed, pods.added])
    for (const { namespace } of list) touched.add(namespace);
  for (const name of touched) {
    const before = namespaces.get(name);
    if (before === undefined) return undefined;
    const after = changedNamespace(before, network, { services, pods });
    const isEmpty = after.services.size + after.pods.length === 0;
    if (isEmpty && !network.namespaces.some((each) => each.name === name)) return undefined;
    namespaces.set(name, after);
  }
  return namespaces;
}

const noServices: ReadonlyMap<string, NetworkService> = new Map();
const noPods: readonly NetworkPod[] = [];

function sortedByName<V>(map: ReadonlyMap<string, V>): Map<string, V> {
  return new Map([...map].toSorted(([a], [b]) => compareText(a, b)));
}

function changedNamespace(
  before: NamespaceZone,
  network: Network,
  { services, pods }: Pick<NetworkChanges, "services" | "pods">,
): NamespaceZone {
  const isHere = (each: Keyed): boolean => each.namespace === before.name;
  const removed = services.removed.filter(isHere);
  const added = services.added.filter(isHere);
  const changes = new Map<string, NetworkService | undefined>(removed.map((service) => [service.name, undefined]));
  for (const service of added) changes.set(service.name, service);
  const podsChanged = pods.removed.some(isHere) || pods.added.some(isHere);
  const after: NamespaceZone = {
    ...before,
    services: changes.size === 0 ? before.services : changedMap(before.services, changes),
    pods: podsChanged ? network.pods.filter(isHere) : before.pods,
  };
  movePointers(before, after, { removed, added });
  return after;
}

function allNamespaces(network: Network, previous: Zone | undefined): Zone["namespaces"] {
  const namespaces = new Map<string, NamespaceZone>();
  for (const [name, parts] of groupByNamespace(network)) {
    const old = previous?.namespaces.get(name);
    namespaces.set(name, old !== undefined && isSame(old, parts) ? old : namespaceZone(name, parts));
  }
  return namespaces;
}

function serverOf(
  network: Network,
  previous: Zone | undefined,
  changes: NetworkChanges | undefined,
): NetworkService | undefined {
  const addresses = network.cluster.dnsAddresses;
  if (addresses.length === 0) return undefined;
  const known = previous?.server.service;
  const isUntouched =
    changes !== undefined &&
    !changes.services.removed.some((service) => service === known) &&
    !changes.services.added.some((service) => serves(service, addresses));
  return isUntouched ? known : network.services.find((service) => serves(service, addresses));
}

function serves(service: NetworkService, addresses: readonly Address[]): boolean {
  return service.clusterIps.some((address) => addresses.includes(address));
}

interface NamespaceParts {
  readonly services: Map<string, NetworkService>;
  readonly pods: NetworkPod[];
  labels: Labels;
  origin: Origin;
}

function groupByNamespace(network: Network): Map<string, NamespaceParts> {
  const groups = new Map<string, NamespaceParts>();
  const groupOf = (name: string): NamespaceParts => {
    let group = groups.get(name);
    if (group === undefined)
      groups.set(name, (group = { services: new Map(), pods: [], labels: {}, origin: { kind: "Namespace", name } }));
    return group;
  };
  for (const { name, labels, origin } of network.namespaces) Object.assign(groupOf(name), { labels, origin });
  for (const service of network.services) groupOf(service.namespace).services.set(service.name, service);
  for (const pod of network.pods) groupOf(pod.namespace).pods.push(pod);
  return sortedByName(groups);
}

function namespaceZone(name: string, parts: NamespaceParts): NamespaceZone {
  return {
    name,
    labels: parts.labels,
    services: parts.services,
    pods: parts.pods,
    origin: parts.origin,
  };
}

function isSame(old: NamespaceZone, parts: NamespaceParts): boolean {
  if (old.origin.source !== parts.origin.source || old.services.size !== parts.services.size) return false;
  if (old.pods.length !== parts.pods.length || !haveSameLabels(old.labels, parts.labels)) return false;
  const today = parts.services.values();
  for (const service of old.services.values()) if (service !== today.next().value) return false;
  return old.pods.every((pod, at) => pod === parts.pods[at]);
}

function haveSameLabels(a: Labels, b: Labels): boolean {
  const keys = Object.keys(a);
  return a === b || (keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]));
}

const knownSettings = new Map<string, ZoneSettings>();

/** The one value for these settings. */
export function settingsOf(settings: ZoneSettings): ZoneSettings {
  const { domain, ttl, pods, endpointPodNames, noEndpoints, ignoreEmptyService } = settings;
  const key = [domain, ttl, pods, endpointPodNames, noEndpoints, ignoreEmptyService].join(" ");
  let known = knownSettings.get(key);
  if (known === undefined)
    knownSettings.set(key, (known = { domain, ttl, pods, endpointPodNames, noEndpoints, ignoreEmptyService }));
  return known;
}
