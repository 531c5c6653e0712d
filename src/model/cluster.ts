// The cluster's configuration: defaults, and what cannot work refused before anything is made.
//
// Not here: where options come from (cli/), and who hands out addresses of these ranges (the controllers).

import { familyOf, type Family } from "../ip/address.ts";
import {
  addressAt,
  addressBits,
  contains,
  overlaps,
  parseInterfaceAddress,
  parsePrefix,
  prefixAddress,
  prefixBits,
  type Prefix,
} from "../ip/prefix.ts";
import { reservedRanges } from "../ip/reserved.ts";
import type { ClusterConfig, Routing } from "./network.ts";
import { isRouting, routings } from "./node.ts";

/** kube-apiserver's --service-node-port-range where nothing is said. */
export const defaultNodePorts: ClusterConfig["nodePorts"] = { first: 30_000, last: 32_767 };

/** What may be chosen. Ranges given replace the default of their own family only. */
export interface ClusterOptions {
  /** Primary first. */
  readonly families?: readonly Family[];
  readonly podCidrs?: readonly string[];
  readonly serviceCidrs?: readonly string[];
  readonly nodeCidrs?: readonly string[];
  readonly domain?: string;
  readonly routing?: Routing;
  /** Parts of the node ranges, each a link of its own. */
  readonly subnets?: readonly string[];
  /** Bytes. */
  readonly underlayMtu?: number;
  readonly nodePorts?: { readonly first: number; readonly last: number };
  readonly policy?: "on" | "off";
  readonly establishedConnections?: "keep" | "strict";
  readonly policyLog?: "drops" | "accepts";
}

/** A configuration that cannot work. The message says which option to change. */
export class ClusterConfigError extends Error {
  override readonly name = "ClusterConfigError";
}

/**
 * How long a node's own pod range is, per family: every node gets a /23 and a /64.
 * kube-controller-manager gives a /24, which holds 110 pods well and 300 not at all; a lab's node is meant to hold some hundreds.
 */
export function nodePodCidrBits(family: Family): number {
  return family === 4 ? 23 : 64;
}

/** The configuration of a cluster, checked: one range per kind and family, none overlapping. Throws ClusterConfigError. */
export function clusterConfig(options: ClusterOptions = {}): ClusterConfig {
  const families = checkedFamilies(options.families ?? [4, 6]);
  const podCidrs = rangesOf(pods, options.podCidrs ?? [], families);
  const serviceCidrs = rangesOf(services, options.serviceCidrs ?? [], families);
  const nodeCidrs = rangesOf(nodes, options.nodeCidrs ?? [], families);
  refuseOverlaps([
    ...podCidrs.map((range) => ({ kind: pods, range })),
    ...serviceCidrs.map((range) => ({ kind: services, range })),
    ...nodeCidrs.map((range) => ({ kind: nodes, range })),
  ]);
  return {
    domain: checkedDomain(options.domain ?? "cluster.local"),
    families,
    podCidrs,
    serviceCidrs,
    nodeCidrs,
    dnsAddresses: serviceCidrs.map((range) => addressAt(range, 10)),
    overlay: "vxlan",
    ...(options.routing !== undefined && { routing: checkedRouting(options.routing) }),
    ...(options.subnets !== undefined && { subnets: checkedSubnets(options.subnets, nodeCidrs) }),
    underlayMtu: checkedMtu(options.underlayMtu ?? 1500, families),
    loadBalancerCidrs: nodeCidrs.flatMap(poolOf),
    nodePorts: checkedNodePorts(options.nodePorts ?? defaultNodePorts),
    ...(options.policy !== undefined && { policy: options.policy }),
    ...(options.establishedConnections !== undefined && { establishedConnections: options.establishedConnections }),
    ...(options.policyLog !== undefined && { policyLog: options.policyLog }),
  };
}

/**
 * A pool of 256 addresses for load balancers in a range of nodes: from its 65,280th address on (172.18.255.0/24), or its last ones; nodes
 * have the first ones. None where the range is too small for both.
 */
function poolOf(range: Prefix): readonly Prefix[] {
  const hostBits = addressBits(familyOf(range)) - prefixBits(range);
  if (hostBits < 10) return [];
  const offset = 2 ** Math.min(hostBits, 16) - 256;
  return [`${addressAt(range, offset)}/${addressBits(familyOf(range)) - 8}`];
}

interface RangeKind {
  readonly name: string;
  readonly option: string;
  readonly defaults: Readonly<Record<Family, Prefix>>;
  /** The longest prefix that still holds what must be in it, and what that is. */
  readonly bitsMax: Readonly<Record<Family, number>>;
  readonly content: Readonly<Record<Family, string>>;
}

const pods: RangeKind = {
  name: "pod",
  option: "--pod-cidr",
  defaults: { 4: "10.244.0.0/16", 6: "fd00:10:244::/56" },
  bitsMax: { 4: nodePodCidrBits(4), 6: nodePodCidrBits(6) },
  content: { 4: "one node's /23", 6: "one node's /64" },
};
const services: RangeKind = {
  name: "service",
  option: "--service-cidr",
  defaults: { 4: "10.96.0.0/16", 6: "fd00:10:96::/112" },
  bitsMax: { 4: 28, 6: 124 },
  content: { 4: "16 addresses (the tenth is DNS)", 6: "16 addresses (the tenth is DNS)" },
};
const nodes: RangeKind = {
  name: "node",
  option: "--node-cidr",
  defaults: { 4: "172.18.0.0/16", 6: "fd00:172:18::/64" },
  bitsMax: { 4: 28, 6: 124 },
  content: { 4: "16 addresses", 6: "16 addresses" },
};

function rangesOf(kind: RangeKind, given: readonly string[], families: readonly Family[]): readonly Prefix[] {
  const chosen = new Map<Family, Prefix>();
  for (const text of given) {
    const range = checkedRange(kind, text);
    const family = familyOf(range);
    if (!families.includes(family))
      fail(
        `${kind.name} range ${range} is IPv${family}, but the cluster has only IPv${families.join(", IPv")}: ` +
          `leave it out or add ipv${family} to --ip-families`,
      );
    const other = chosen.get(family);
    if (other !== undefined)
      fail(`two IPv${family} ${kind.name} ranges, ${other} and ${range}: give ${kind.option} once per family`);
    chosen.set(family, range);
  }
  return families.map((family) => chosen.get(family) ?? kind.defaults[family]);
}

function checkedRange(kind: RangeKind, text: string): Prefix {
  const range = parsePrefix(text);
  if (range === undefined)
    return fail(
      `${kind.name} range ${JSON.stringify(text)} is no CIDR such as ${kind.defaults[4]}: mend ${kind.option}`,
    );
  const family = familyOf(range);
  const first = range.slice(0, range.lastIndexOf("/"));
  if (parseInterfaceAddress(text)?.address !== first)
    fail(`${kind.name} range ${text} has bits beyond its length: did you mean ${range}?`);
  if (prefixBits(range) > kind.bitsMax[family])
    fail(
      `${kind.name} range ${range} is too small for ${kind.content[family]}: ` +
        `give ${kind.option} a /${kind.bitsMax[family]} or larger`,
    );
  for (const { range: other, what } of reservedRanges) {
    if (overlaps(range, other))
      fail(`${kind.name} range ${range} overlaps ${other}, ${what}: choose another ${kind.option}`);
  }
  return range;
}

function refuseOverlaps(ranges: readonly { readonly kind: RangeKind; readonly range: Prefix }[]): void {
  for (const [index, a] of ranges.entries()) {
    for (const b of ranges.slice(index + 1)) {
      if (overlaps(a.range, b.range))
        fail(
          `${a.kind.name} range ${a.range} overlaps ${b.kind.name} range ${b.range}: choose another ${a.kind.option}`,
        );
    }
  }
}

function checkedFamilies(families: readonly Family[]): readonly Family[] {
  if (families.length === 0) fail("no IP family: give --ip-families ipv4, ipv6 or ipv4,ipv6");
  for (const family of families) {
    if (family !== 4 && family !== 6)
      fail(`IP family ${String(family)} is unknown: give --ip-families ipv4, ipv6 or ipv4,ipv6`);
  }
  if (new Set(families).size !== families.length)
    fail(`IP families ${families.join(",")} name one twice: give --ip-families ipv4, ipv6 or ipv4,ipv6`);
  return [...families];
}

// RFC 1123 2.1: labels of letters, digits and inner hyphens, at most 63 octets each; RFC 1035 2.3.4: 255 octets in all.
function checkedDomain(domain: string): string {
  const name = domain.replace(/\.$/, "").toLowerCase();
  if (name.length > 200 || !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/.test(name))
    fail(
      `cluster domain ${JSON.stringify(domain)} is no DNS name such as cluster.local: choose another --domain`,
      "dns",
    );
  return name;
}

function checkedMtu(mtu: number, families: readonly Family[]): number {
  // RFC 8200 5: IPv6 needs links of 1280 bytes; RFC 791: IPv4 needs 68, and 576 in practice. VXLAN takes up to 70 away.
  const least = (families.includes(6) ? 1280 : 576) + 70;
  if (!Number.isInteger(mtu) || mtu < least || mtu > 65535)
    fail(`underlay MTU ${mtu} is not between ${least} and 65535 bytes: choose another --mtu`, "mtu");
  return mtu;
}

function checkedRouting(routing: Routing): Routing {
  if (!isRouting(routing))
    fail(`routing ${JSON.stringify(routing)} is none of ${routings.join(", ")}: choose another --routing`, "routing");
  return routing;
}

function checkedSubnets(texts: readonly string[], nodeCidrs: readonly Prefix[]): readonly Prefix[] {
  const subnets = texts.map((text) => {
    const range = parsePrefix(text);
    const inside = range !== undefined && nodeCidrs.some((node) => contains(node, prefixAddress(range)));
    return inside ? range : fail(`subnet ${JSON.stringify(text)} is no part of ${nodeCidrs.join(", ")}`, "routing");
  });
  for (const [index, a] of subnets.entries())
    for (const b of subnets.slice(index + 1)) if (overlaps(a, b)) fail(`subnets ${a} and ${b} overlap`, "routing");
  return subnets;
}

/** Throws ClusterConfigError. */
export function checkedNodePorts({ first, last }: ClusterConfig["nodePorts"]): ClusterConfig["nodePorts"] {
  const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65535;
  if (!isPort(first) || !isPort(last) || first > last)
    fail(
      `node ports ${first}-${last} are no range of ports from 1 to 65535: choose another --service-node-port-range`,
      "node ports",
    );
  return { first, last };
}

function fail(message: string, subject = "ipam"): never {
  throw new ClusterConfigError(`${subject}: ${message}`);
}
