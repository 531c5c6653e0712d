// The Network of a node that answers DNS itself: its server is one more pod of the cluster's DNS Service, and this node's clients of the
// Service get it alone. Everything else follows: translation, NetworkPolicies of and for DNS pods, sources, the guard, traces.
//
// Connections that exist stay where they are: a question under way comes back from whoever was asked. UDP connections whose endpoint is no
// longer chosen here but still answers are therefore left alone (`answers`).
// Not here: the server and its place (node-dns.ts).

import { familyOf, type Address } from "../ip/address.ts";
import type { ConnectionMatch, NetworkKernel } from "../kernel/kernel.ts";
import type { Labels } from "../kube/object.ts";
import type { ClusterConfig, Endpoint, Network, NetworkPod, NetworkService, ServicePort } from "../model/network.ts";
import type { NetworkSource } from "../model/source.ts";
import { isSameValue } from "../model/table.ts";
import { podBehind } from "../model/service.ts";
import { isServing } from "./spared.ts";

/** Where a node's DNS server is. */
export interface DnsPlace {
  /** The pod's name, in kube-system. */
  readonly name: string;
  /** At most one per family. */
  readonly addresses: readonly Address[];
  readonly port: number;
}

export interface NodeDnsSource extends NetworkSource {
  /** From now on this node's clients are answered there; undefined: by the Service's pods again. */
  place(place: DnsPlace | undefined): void;
  /** See AgentOptions. */
  answers(match: ConnectionMatch): boolean;
  /** Forgets connections to a place that answers no more. */
  forget(place: DnsPlace): void;
  close(): void;
}

export const dnsNamespace = "kube-system";
export const dnsService = "kube-dns";
// linux/in.h
const IPPROTO_UDP = 17;

/** What DNS is asked at; other ports of the Service (metrics) lead where they led. */
const dnsPort = 53;

/** Puts a node's own server between its clients and the Service, once `place` is told. */
export function createNodeDnsSource(options: {
  readonly node: string;
  readonly source: NetworkSource;
  readonly kernel: Pick<NetworkKernel, "flushConnections">;
}): NodeDnsSource {
  const { node, source, kernel } = options;
  const listeners = new Set<() => void>();
  let own: DnsPlace | undefined;
  let made: { readonly from: Network; readonly own: DnsPlace; readonly network: Network } | undefined;
  /** Places that were left and answer a little longer. */
  const leaving = new Set<DnsPlace>();

  const current = (): Network => {
    const from = source.current();
    if (own === undefined) return from;
    if (made?.from !== from || made.own !== own) made = { from, own, network: withOwnDns(from, { node, place: own }) };
    return made.network;
  };
  const subscription = source.subscribe(() => {
    for (const listener of listeners) listener();
  });
  return {
    current,
    subscribe(listener) {
      listeners.add(listener);
      return { close: () => void listeners.delete(listener) };
    },
    place(place) {
      if (own !== undefined) leaving.add(own);
      own = place;
      for (const listener of listeners) listener();
    },
    answers: (match) =>
      isServing(source.current(), node, match) ||
      [...leaving, ...(own === undefined ? [] : [own])].some(
        ({ addresses, port }) => addresses.includes(match.replySource ?? "") && match.replySourcePort === port,
      ),
    forget(place) {
      leaving.delete(place);
      const addresses = dnsServiceOf(source.current())?.clusterIps ?? [];
      for (const destination of addresses) {
        for (const replySource of place.addresses)
          if (familyOf(replySource) === familyOf(destination))
            kernel.flushConnections({
              protocol: IPPROTO_UDP,
              destination,
              destinationPort: dnsPort,
              replySource,
              replySourcePort: place.port,
            });
      }
    },
    close() {
      subscription.close();
      listeners.clear();
    },
  };
}

function dnsServiceOf({ services }: Network): NetworkService | undefined {
  return services.find(({ namespace, name }) => name === dnsService && namespace === dnsNamespace);
}

function isDns(port: ServicePort): boolean {
  return port.port === dnsPort;
}

/** The Network in which the Service's DNS ports lead to this place; as it is where there is no such Service. */
export function withOwnDns(network: Network, at: { readonly node: string; readonly place: DnsPlace }): Network {
  const { node, place } = at;
  const service = dnsServiceOf(network);
  if (service === undefined) return network;
  const endpoints = place.addresses.map((address): Endpoint => ({
    address,
    port: place.port,
    ready: true,
    serving: true,
    terminating: false,
    node,
    pod: `${dnsNamespace}/${place.name}`,
    origin: service.origin,
  }));
  const families = new Set(place.addresses.map(familyOf));
  const led = (port: ServicePort): ServicePort =>
    isDns(port)
      ? {
          ...port,
          endpoints: [...endpoints, ...port.endpoints.filter(({ address }) => !families.has(familyOf(address)))],
        }
      : port;
  return {
    ...withDnsPods(network, [at]),
    services: network.services.map((each) => (each === service ? { ...each, ports: each.ports.map(led) } : each)),
  };
}

/** The Network with these servers among its pods; what leads to them is as it was. */
export function withDnsPods(
  network: Network,
  servers: readonly { readonly node: string; readonly place: DnsPlace }[],
): Network {
  const service = dnsServiceOf(network);
  if (service === undefined || servers.length === 0) return network;
  const labels = labelsOfDns(network, service);
  const pods = servers.map(({ node, place }): NetworkPod => ({
    namespace: dnsNamespace,
    name: place.name,
    labels,
    node,
    addresses: place.addresses,
    hostNetwork: false,
    ready: true,
    containerPorts: [],
    origin: service.origin,
  }));
  return { ...network, pods: [...network.pods, ...pods] };
}

/** The Network of a cluster that says nowhere where its DNS is: the Service's addresses, for the zone's own names (NS). */
export function withDnsAddresses(network: Network): Network {
  const dnsAddresses = dnsServiceOf(network)?.clusterIps ?? [];
  let cluster = configured.get(network.cluster);
  if (cluster === undefined || !isSameValue(cluster.dnsAddresses, dnsAddresses))
    configured.set(network.cluster, (cluster = { ...network.cluster, dnsAddresses }));
  return { ...network, cluster };
}

/** The same configuration as long as nothing of it changes: a zone is then made beside the one before. */
const configured = new WeakMap<ClusterConfig, ClusterConfig>();

/** What policies know DNS pods by: the labels that all of them have, but for those that tell generations apart. */
function labelsOfDns(network: Network, service: NetworkService): Labels {
  const behind = new Set(
    service.ports.flatMap(({ endpoints }) => endpoints.flatMap((endpoint) => podBehind(endpoint) ?? [])),
  );
  const pods = network.pods.filter(({ namespace, name }) => behind.has(`${namespace}/${name}`));
  const [first, ...others] = pods;
  const shared = Object.entries(first?.labels ?? {}).filter(
    ([name, value]) => !generations.has(name) && others.every(({ labels }) => labels[name] === value),
  );
  return { "k8s-app": "kube-dns", ...Object.fromEntries(shared) };
}

/** Written by the controllers of Deployments, DaemonSets and StatefulSets. */
const generations: ReadonlySet<string> = new Set([
  "pod-template-hash",
  "controller-revision-hash",
  "pod-template-generation",
]);
