// A zone as one server shows it: with its TTL, its way with pods' names, its namespaces, its domain. Everything else is the zone's own values.

import { matches, type Requirement } from "../kube/selector.ts";
import type { DnsName } from "../wire/dns/name.ts";
import { settingsOf, type NamespaceZone, type Zone, type ZoneSettings } from "./zone.ts";

export interface ZoneViewOptions extends ZoneSettings {
  /** Only these; empty: all. */
  readonly namespaces: readonly string[];
  /** Only namespaces with such labels. */
  readonly namespaceLabels?: readonly Requirement[];
  /** Only Services and pods with such labels. */
  readonly labels?: readonly Requirement[];
}

/** The view, a new value each time. */
export function viewZone(zone: Zone, options: ZoneViewOptions): Zone {
  const { namespaces, namespaceLabels = [], labels = [], ...settings } = options;
  const named = new Set(namespaces);
  const isShown = ({ name, labels }: NamespaceZone): boolean =>
    (named.size === 0 || named.has(name)) && matches(namespaceLabels, labels);
  const all = named.size === 0 && namespaceLabels.length === 0;
  return {
    ...zone,
    settings: settingsOf(settings),
    namespaces:
      all && labels.length === 0
        ? zone.namespaces
        : new Map(
            [...zone.namespaces]
              .filter(([, namespace]) => isShown(namespace))
              .map(([name, namespace]) => [name, labels.length === 0 ? namespace : labelled(namespace, labels)]),
          ),
  };
}

/** What of a namespace has such labels; the same value for the same namespace. */
function labelled(namespace: NamespaceZone, requirements: readonly Requirement[]): NamespaceZone {
  let known = knownLabelled.get(requirements);
  if (known === undefined) knownLabelled.set(requirements, (known = new WeakMap()));
  let shown = known.get(namespace);
  if (shown === undefined) {
    shown = {
      ...namespace,
      services: new Map([...namespace.services].filter(([, service]) => matches(requirements, service.labels ?? {}))),
      pods: namespace.pods.filter((pod) => matches(requirements, pod.labels)),
    };
    known.set(namespace, shown);
  }
  return shown;
}

const knownLabelled = new WeakMap<readonly Requirement[], WeakMap<NamespaceZone, NamespaceZone>>();

/** Pods by address: who a client is. Pods of the host's network are left out, for they share their node's address. */
export function clientNamespace(zone: Zone, address: string): string | undefined {
  let clients = known.get(zone.pods);
  if (clients === undefined) {
    clients = new Map();
    for (const pod of zone.pods)
      if (!pod.hostNetwork) for (const each of pod.addresses) clients.set(each, pod.namespace);
    known.set(zone.pods, clients);
  }
  return clients.get(address);
}

const known = new WeakMap<Zone["pods"], Map<string, string>>();

/** The search list that kubelet gives to pods of a namespace (dnsPolicy ClusterFirst). */
export function clusterSearch(namespace: string, domain: DnsName): readonly DnsName[] {
  return [`${namespace}.svc.${domain}`, `svc.${domain}`, domain];
}
