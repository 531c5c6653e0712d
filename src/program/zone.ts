// The cluster's DNS zone: what the Network says about names ("Kubernetes DNS-Based Service Discovery", schema 1.1.0).
// A Zone is a function of the Network alone. It is cheap to make anew: it points at the Network's own values, and what is derived from
// one of them (zone-service.ts, zone-pod.ts) is made when somebody asks and kept for as long as that value lives.
//
// Not here: answering a question (zone-lookup.ts), answers as bytes (zone-answer.ts), the text form (zone-text.ts), the server (serve/dns).

import type { Address } from "../ip/address.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { Labels, Origin } from "../kube/object.ts";
import type { Network, NetworkPod, NetworkService } from "../model/network.ts";
import { clusterOrigin } from "../model/origin.ts";
import { lowerName, type DnsName } from "../wire/dns/name.ts";
import type { DnsRecord } from "../wire/dns/record.ts";

/** All names of the cluster. */
export interface Zone {
  readonly settings: ZoneSettings;
  /** By name, in the Network's order. */
  readonly namespaces: ReadonlyMap<string, NamespaceZone>;
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
  const before = options.previous?.namespaces;
  const namespaces = new Map<string, NamespaceZone>();
  for (const [name, parts] of groupByNamespace(network)) {
    const old = before?.get(name);
    namespaces.set(name, old !== undefined && isSame(old, parts) ? old : namespaceZone(name, parts));
  }
  const addresses = cluster.dnsAddresses;
  return {
    settings: settingsOf({
      domain: lowerName(cluster.domain),
      ttl: options.ttl ?? defaultTtl,
      pods: "verified",
      endpointPodNames: false,
      noEndpoints: false,
      ignoreEmptyService: false,
    }),
    namespaces,
    reverseRanges: [...cluster.serviceCidrs, ...cluster.podCidrs],
    server: { addresses, service: network.services.find((service) => serves(service, addresses)) },
    origin: clusterOrigin(cluster, "domain"),
  };
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
  return groups;
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
