// How addresses, neighbours, forwarding entries and routes of a Program are compared with the kernel's, written and removed.
// Each says which of the kernel's entries are ours: only those are ever swept.

import type { AddressState, Change, ForwardingState, NeighbourState, RouteState } from "../kernel/kernel.ts";
import {
  routeProtocol,
  type ForwardingEntry,
  type LinkAddress,
  type Neighbour,
  type Route,
} from "../program/program.ts";
import { describeRoute } from "./change-text.ts";
import type { EntryKind } from "./entries.ts";

/** Is a link, by its name, one that we make? What hangs on such a link is ours too. */
export type OwnLink = (name: string) => boolean;

/** Addresses on our links; those the kernel makes itself (scope link) are its own. */
export function addressKind(ownLink: OwnLink): EntryKind<LinkAddress, AddressState> {
  const set = (e: LinkAddress): Change => ({
    kind: "set-address",
    link: e.link,
    address: e.address,
    bits: e.bits,
  });
  const remove = (e: LinkAddress | AddressState): Change => ({
    kind: "delete-address",
    link: e.link,
    address: e.address,
    bits: e.bits,
  });
  // The length is part of the key: two lengths of one address are two addresses to the kernel.
  const key = (e: LinkAddress | AddressState): string => `${e.link} ${e.address}/${e.bits}`;
  return {
    part: "addresses",
    key,
    stateKey: key,
    same: () => true,
    holds: () => true,
    ours: (state) => ownLink(state.link) && state.scope !== "link",
    set: (entry) => [set(entry)],
    remove: (entry) => [remove(entry)],
    removeState: (state) => [remove(state)],
    describe: (entry) => `addr ${entry.address}/${entry.bits} dev ${entry.link}`,
    describeState: (state) => `addr ${state.address}/${state.bits} dev ${state.link}`,
  };
}

/** Permanent neighbours on our links. What the kernel resolves by itself is not permanent and stays. */
export function neighbourKind(ownLink: OwnLink): EntryKind<Neighbour, NeighbourState> {
  const remove = (e: { link: string; address: string }): Change => ({
    kind: "delete-neighbour",
    link: e.link,
    address: e.address,
  });
  const key = (e: { link: string; address: string }): string => `${e.link} ${e.address}`;
  const text = (e: { link: string; address: string; mac?: string }): string =>
    `neigh ${e.address} lladdr ${e.mac ?? "unknown"} dev ${e.link}`;
  return {
    part: "neighbours",
    key,
    stateKey: key,
    same: (a, b) => a.mac === b.mac,
    holds: (entry, state) => state.permanent && state.mac === entry.mac,
    ours: (state) => state.permanent && ownLink(state.link),
    set: (e) => [{ kind: "set-neighbour", link: e.link, address: e.address, mac: e.mac }],
    remove: (entry) => [remove(entry)],
    removeState: (state) => [remove(state)],
    describe: text,
    describeState: text,
  };
}

/** Static forwarding entries of our links and ports, except those the kernel keeps for a link's own addresses. */
export function forwardingKind(ownLink: OwnLink): EntryKind<ForwardingEntry, ForwardingState> {
  type Key = { readonly link: string; readonly mac: string; readonly remote?: string };
  const remote = (e: Key): { remote: string } | Record<never, never> =>
    e.remote === undefined ? {} : { remote: e.remote };
  const set = (e: Key): Change => ({ kind: "set-forwarding", link: e.link, mac: e.mac, ...remote(e) });
  const remove = (e: Key): Change => ({ kind: "delete-forwarding", link: e.link, mac: e.mac, ...remote(e) });
  const key = (e: Key): string => `${e.link} ${e.mac} ${e.remote ?? ""}`;
  const text = (e: Key): string => `fdb ${e.mac} dev ${e.link}${e.remote === undefined ? "" : ` dst ${e.remote}`}`;
  return {
    part: "forwarding",
    key,
    stateKey: key,
    same: () => true,
    holds: (_entry, state) => state.static && !state.own,
    ours: (state) => state.static && !state.own && ownLink(state.link) && isUnicast(state.mac),
    set: (entry) => [set(entry)],
    remove: (entry) => [remove(entry)],
    removeState: (state) => [remove(state)],
    describe: text,
    describeState: text,
  };
}

/** Routes of our protocol number in the main table. */
export const routeKind: EntryKind<Route, RouteState> = {
  part: "routes",
  key: (route) => `${route.to} ${route.metric}`,
  stateKey: (state) => `${state.to} ${state.metric}`,
  same: sameRoute,
  holds: (route, state) => state.protocol === routeProtocol && sameRoute(route, state),
  ours: (state) => state.protocol === routeProtocol,
  set: (route) => {
    const { origin: _origin, ...rest } = route;
    return [{ kind: "set-route", protocol: routeProtocol, ...rest }];
  },
  remove: removeRoute,
  removeState: removeRoute,
  describe: (route) => `route ${describeRoute(route)}`,
  describeState: (state) => `route ${describeRoute(state)}`,
};

/** The routes we may own: the local table is the kernel's. */
export function mainTable(states: readonly RouteState[]): readonly RouteState[] {
  const RT_TABLE_MAIN = 254; // linux/rtnetlink.h
  return states.filter((state) => state.table === RT_TABLE_MAIN);
}

function sameRoute(a: Route, b: Route | RouteState): boolean {
  if (a.action !== b.action) return false;
  // An unreachable IPv6 route is on `lo` in the kernel's dump: its link says nothing.
  if (a.action === "unreachable") return true;
  // A next hop without a link is on whichever link the kernel has it.
  const link = a.link === b.link || (a.link === undefined && a.via !== undefined);
  return link && a.via === b.via && a.source === b.source && a.mtu === b.mtu;
}

function removeRoute(route: { readonly to: string; readonly metric: number }): readonly Change[] {
  return [{ kind: "delete-route", to: route.to, metric: route.metric, protocol: routeProtocol }];
}

// IEEE 802: the lowest bit of the first byte marks groups. Links carry the groups they listen to as entries of their own.
function isUnicast(mac: string): boolean {
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0;
}
