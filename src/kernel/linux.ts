// The kernel of a network namespace by netlink: the real one behind the interface of kernel.ts.
// Dumps become values here, changes go through changes.ts, nf_tables through nftables.ts.

import type { Address, Family } from "../ip/address.ts";
import { decodeLink, getLinks, linkFlag, type LinkInfo } from "../wire/netlink/link.ts";
import type { NetlinkRequest } from "../wire/netlink/message.ts";
import { decodeNeighbour, getForwarding, getNeighbours, neighbourState } from "../wire/netlink/neighbour.ts";
import {
  addressFlag,
  decodeAddress,
  decodeRoute,
  getAddresses,
  getRoutes,
  routeScope,
  routeTable,
  routeType,
  type RouteInfo,
} from "../wire/netlink/route.ts";
import { idleLinks } from "./carrier.ts";
import { makeChanges } from "./changes.ts";
import { deleteConnections, listConnections } from "./connections.ts";
import {
  KernelError,
  type AddressState,
  type ForwardingState,
  type LinkState,
  type NeighbourState,
  type NetworkKernel,
  type RouteState,
} from "./kernel.ts";
import { openLinkMonitor, openMonitor } from "./monitor.ts";
import type { NetworkNamespace } from "./namespaces.ts";
import { openNetlinkSocket, protocol, type NetlinkSocket } from "./netlink-socket.ts";
import { createNftablesSocket } from "./nftables.ts";
import { readSysctl, writeSysctl } from "./sysctls.ts";

/** Opens the kernel of a namespace, which must stay open as long; `closed` is called after `close`. `name` is for messages. Throws KernelError. */
export function openKernel(name: string, namespace: NetworkNamespace, closed: () => void = () => {}): NetworkKernel {
  const route = openNetlinkSocket(namespace, protocol.route);
  // A pod's own namespace is asked for neither.
  const netfilter = whenAsked(() => openNetlinkSocket(namespace, protocol.netfilter));
  const nftables = whenAsked(() => createNftablesSocket(namespace));
  const indexes = createWorkMemory(() => new Map<string, number>());
  const names = createLinkNames(() => dumpLinks(route, name));
  return {
    name,
    links: () => dumpLinks(route, name).map(linkState),
    idleLinks: (links) => idleLinks(route, name, links),
    addresses: () => dumpAddresses(route, name, names),
    routes: () => dumpRoutes(route, name, names),
    neighbours: () => dumpNeighbours(route, name, names),
    forwarding: () => dumpForwarding(route, name, names),
    change(changes) {
      names.forget();
      return makeChanges(route, name, changes, indexes.now());
    },
    readSysctl: (path) => readSysctl(namespace, name, path),
    writeSysctl: (path, value) => writeSysctl(namespace, name, path, value),
    nftTable: (family, table) => nftables.get().table(family, table),
    nftElements: (family, table, sets) => nftables.get().elements(family, table, sets),
    nftCommit: (batch) => nftables.get().commit(batch),
    get nftBatchBytesMax() {
      return nftables.get().batchBytesMax;
    },
    flushConnections: (match) => deleteConnections(netfilter.get(), name, match),
    connections: () => listConnections(netfilter.get(), name),
    monitor: (changed) => openMonitor(namespace, name, changed),
    monitorLinks: (changed) => openLinkMonitor(namespace, changed),
    close() {
      route.close();
      netfilter.close();
      nftables.close();
      closed();
    },
  };
}

/** One value for the current work, which is synchronous; the next begins with another. */
function createWorkMemory<T>(make: () => T): { now(): T } {
  let value: T | undefined;
  return {
    now() {
      if (value === undefined) queueMicrotask(() => (value = undefined));
      return (value ??= make());
    },
  };
}

/** Opened with the first use, and closed if it was opened. */
function whenAsked<T extends { close(): void }>(open: () => T): { get(): T; close(): void } {
  let value: T | undefined;
  return {
    get: () => (value ??= open()),
    close: () => value?.close(),
  };
}

/** Names of links by index, for dumps that give indexes. */
interface LinkNames {
  /** `#7` where there is no such link any more. */
  of(index: number): string;
  forget(): void;
}

/** Remembers one list of links until the current work ends: whoever reads a kernel reads all of it at once. */
function createLinkNames(list: () => readonly LinkInfo[]): LinkNames {
  let names: ReadonlyMap<number, string> | undefined;
  const refresh = (): ReadonlyMap<number, string> => {
    if (names === undefined) queueMicrotask(() => (names = undefined));
    return (names = new Map(list().map((link) => [link.index, link.name])));
  };
  return {
    of(index) {
      names ??= refresh();
      return names.get(index) ?? refresh().get(index) ?? `#${index}`;
    },
    forget() {
      names = undefined;
    },
  };
}

/** Runs a dump and keeps what the decoder understands. */
function dump<T>(
  socket: NetlinkSocket,
  request: NetlinkRequest,
  decode: (message: Parameters<typeof decodeLink>[0]) => T | undefined,
  doing: string,
): T[] {
  const values: T[] = [];
  for (const message of socket.dump(request, doing)) {
    const value = decode(message);
    if (value !== undefined) values.push(value);
  }
  return values;
}

function dumpLinks(socket: NetlinkSocket, name: string): LinkInfo[] {
  return dump(socket, getLinks(), decodeLink, `list links of ${name}`);
}

function linkState(link: LinkInfo): LinkState {
  const { flags, peer, ...rest } = link;
  const up = (flags & linkFlag.up) !== 0;
  return {
    ...rest,
    up,
    running: up && (flags & linkFlag.lowerUp) !== 0,
    // A VXLAN link without a lower link says 0.
    ...(peer === undefined || peer === 0 ? {} : { peer }),
  };
}

function dumpAddresses(socket: NetlinkSocket, name: string, names: LinkNames): AddressState[] {
  return dump(socket, getAddresses(), decodeAddress, `list addresses of ${name}`).map((info) => ({
    link: names.of(info.index),
    address: info.address,
    bits: info.bits,
    scope: scopeNames.get(info.scope) ?? String(info.scope),
    tentative: (info.flags & addressFlag.tentative) !== 0,
  }));
}

const scopeNames: ReadonlyMap<number, string> = new Map(
  Object.entries(routeScope).map(([name, scope]) => [scope, name]),
);

function dumpRoutes(socket: NetlinkSocket, name: string, names: LinkNames): RouteState[] {
  const families: readonly Family[] = [4, 6];
  return families.flatMap((family) =>
    [routeTable.main, routeTable.local].flatMap((table) =>
      dumpTable(socket, family, table, name)
        .filter((route) => route.table === table && isUnicast(route))
        .map((route) => routeState(route, names)),
    ),
  );
}

function dumpTable(socket: NetlinkSocket, family: Family, table: number, name: string): RouteInfo[] {
  try {
    return dump(socket, getRoutes(family, table), decodeRoute, `list routes of ${name}`);
  } catch (error) {
    // A namespace that never had a route of the family has no table for it either.
    if (error instanceof KernelError && error.code === "ENOENT") return [];
    throw error;
  }
}

function isUnicast(route: RouteInfo): boolean {
  return route.type !== routeType.multicast && route.type !== routeType.anycast;
}

function routeState(route: RouteInfo, names: LinkNames): RouteState {
  const { type, index, ...rest } = route;
  // The kernel hangs unreachable IPv6 routes on `lo`; the link means nothing there.
  const hasLink =
    index !== undefined && (type === routeType.unicast || type === routeType.local || type === routeType.broadcast);
  return {
    ...rest,
    action: actions.get(type) ?? "other",
    ...(hasLink ? { link: names.of(index) } : {}),
  };
}

const actions: ReadonlyMap<number, RouteState["action"]> = new Map([
  [routeType.unicast, "forward"],
  [routeType.local, "local"],
  [routeType.broadcast, "broadcast"],
  [routeType.blackhole, "blackhole"],
  [routeType.unreachable, "unreachable"],
  [routeType.prohibit, "prohibit"],
]);

function dumpNeighbours(socket: NetlinkSocket, name: string, names: LinkNames): NeighbourState[] {
  const states: NeighbourState[] = [];
  for (const entry of dump(socket, getNeighbours(), decodeNeighbour, `list neighbours of ${name}`)) {
    // NOARP entries are the kernel's own, for multicast and loopback.
    if (entry.kind !== "neighbour" || (entry.state & neighbourState.noarp) !== 0) continue;
    states.push({
      link: names.of(entry.index),
      address: entry.address,
      ...(entry.mac === undefined ? {} : { mac: entry.mac }),
      permanent: (entry.state & neighbourState.permanent) !== 0,
    });
  }
  return states;
}

function dumpForwarding(socket: NetlinkSocket, name: string, names: LinkNames): ForwardingState[] {
  const states: ForwardingState[] = [];
  for (const entry of dump(socket, getForwarding(), decodeNeighbour, `list forwarding entries of ${name}`)) {
    if (entry.kind !== "forwarding") continue;
    // Without a bridge and without a remote it is the address filter of some other link.
    if (entry.master === undefined && entry.remote === undefined) continue;
    // A bridge that does not filter VLANs never looks at these copies for its default VLAN.
    if (entry.vlan !== undefined) continue;
    const permanent = (entry.state & neighbourState.permanent) !== 0;
    states.push({
      link: names.of(entry.index),
      mac: entry.mac,
      ...remoteOf(entry.remote),
      static: permanent || (entry.state & neighbourState.noarp) !== 0,
      own: entry.remote === undefined && permanent,
    });
  }
  return states;
}

function remoteOf(remote: Address | undefined): { remote?: Address } {
  return remote === undefined ? {} : { remote };
}
