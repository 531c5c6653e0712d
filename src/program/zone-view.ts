// A zone as one server shows it: with its TTL, its way with pods' names, its namespaces, its domain. Everything else is the zone's own values.

import { matches, type Requirement } from "../kube/selector.ts";
import type { DnsName } from "../wire/dns/name.ts";
import { settingsOf, type NamespaceZone, type Zone, type ZoneSettings } from "./zone.ts";

export interface ZoneViewOptions extends ZoneSettings {
  /** Only these; empty: all. */
  readonly namespaces: readonly string[];
  /** Only namespaces with such labels. */
  readonly namespaceLabels?: readonly Requirement[];
}

/** The view, a new value each time. */
export function viewZone(zone: Zone, options: ZoneViewOptions): Zone {
  const { namespaces, namespaceLabels = [], ...settings } = options;
  const named = new Set(namespaces);
  const isShown = ({ name, labels }: NamespaceZone): boolean =>
    (named.size === 0 || named.has(name)) && matches(namespaceLabels, labels);
  const all = named.size === 0 && namespaceLabels.length === 0;
  return {
    ...zone,
    settings: settingsOf(settings),
    namespaces: all ? zone.namespaces : new Map([...zone.namespaces].filter(([, namespace]) => isShown(namespace))),
  };
}

/** Pods by address: who a client is. Pods of the host's network are left out, for they share their node's address. */
export function clientNamespace(zone: Zone, address: string): string | undefined {
  let clients = known.get(zone.namespaces);
  if (clients === undefined) {
    clients = new Map();
    for (const namespace of zone.namespaces.values())
      for (const pod of namespace.pods)
        if (!pod.hostNetwork) for (const each of pod.addresses) clients.set(each, namespace.name);
    known.set(zone.namespaces, clients);
  }
  return clients.get(address);
}

const known = new WeakMap<Zone["namespaces"], Map<string, string>>();

/** The search list that kubelet gives to pods of a namespace (dnsPolicy ClusterFirst). */
export function clusterSearch(namespace: string, domain: DnsName): readonly DnsName[] {
  return [`${namespace}.svc.${domain}`, `svc.${domain}`, domain];
}
