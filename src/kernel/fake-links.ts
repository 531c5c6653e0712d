// The rtnetlink half of the fake kernel: links, addresses, routes, neighbours and forwarding entries of one namespace, with the
// kernel's own rules about them (what disappears with what, which errno answers what). The conformance suite holds it to the real one.
//
// Not here: nftables (fake-nftables.ts), monitors and injected faults (fake.ts).

import { familyOf, type Address, type Family } from "../ip/address.ts";
import { macOfName, type Mac } from "../ip/mac.ts";
import { addressBits, contains, hostPrefix, prefixOf } from "../ip/prefix.ts";
import {
  KernelError,
  type AddressState,
  type BridgePortSettings,
  type Change,
  type ForwardingState,
  type LinkState,
  type NeighbourState,
  type RouteState,
} from "./kernel.ts";

/** One namespace's links and what hangs on them. Plain mutable state: only `applyChange` writes it. */
export interface FakeLinks {
  readonly owner: string;
  nextIndex: number;
  readonly links: FakeLink[];
  addresses: AddressState[];
  routes: RouteState[];
  neighbours: NeighbourState[];
  forwarding: ForwardingState[];
  /** Finds the namespace behind a file descriptor; undefined where it is none. */
  readonly namespaceOf: (fd: number) => FakeLinks | undefined;
  /** Told of every namespace a change touched beside its own: the other end of a veth pair may live elsewhere. */
  readonly touched: (other: FakeLinks) => void;
}

interface FakeLink {
  index: number;
  name: string;
  kind: string;
  mac: Mac;
  mtu: number;
  up: boolean;
  alias?: string;
  group?: number;
  master?: number;
  peer?: { readonly home: FakeLinks; readonly link: FakeLink };
  /** Of a macvlan link: the one whose wire it shares. */
  lower?: FakeLink;
  /** Macvlan links that share its wire, and go when it goes. */
  uppers?: { home: FakeLinks; readonly link: FakeLink }[];
  protoDown?: boolean;
  bridgePort?: BridgePortSettings;
  vxlan?: { vni: number; port: number; local: Address; learning: boolean };
}

type ChangeOf<K extends Change["kind"]> = Extract<Change, { kind: K }>;

// linux/rtnetlink.h
const RT_TABLE_MAIN = 254;
const RT_TABLE_LOCAL = 255;
const RTPROT_KERNEL = 2;
const RT_SCOPE_GLOBAL = 0;
const RT_SCOPE_LINK = 253;
const RT_SCOPE_HOST = 254;
// linux/if.h: IFNAMSIZ is 16 with the terminating zero.
const nameLengthMax = 15;

/** A fresh namespace: `lo`, down. */
export function createLinks(
  owner: string,
  namespaceOf: FakeLinks["namespaceOf"],
  touched: FakeLinks["touched"],
): FakeLinks {
  const loopback: FakeLink = {
    index: 1,
    name: "lo",
    kind: "loopback",
    mac: "00:00:00:00:00:00",
    mtu: 65536,
    up: false,
  };
  return {
    owner,
    nextIndex: 2,
    links: [loopback],
    addresses: [],
    routes: [],
    neighbours: [],
    forwarding: [],
    namespaceOf,
    touched,
  };
}

/** Does one change, or throws the KernelError the kernel would answer and leaves everything as it was. */
export function applyChange(state: FakeLinks, change: Change): void {
  switch (change.kind) {
    case "create-bridge":
      return void addLink(state, change, { kind: "bridge", mac: change.mac, mtu: change.mtu, alias: change.alias });
    case "create-vxlan":
      return createVxlan(state, change);
    case "create-veth":
      return createVeth(state, change);
    case "create-macvlan":
      return createMacvlan(state, change);
    case "set-link":
      return setLink(state, change);
    case "set-bridge-port":
      return setBridgePort(state, change);
    case "delete-link":
      return deleteLink(state, change.name);
    case "delete-link-group":
      for (const link of state.links.filter((one) => one.group === change.group)) removeLink(state, link);
      return;
    case "set-address":
      return setAddress(state, change);
    case "delete-address":
      return deleteAddress(state, change);
    case "set-route":
      return setRoute(state, change);
    case "delete-route":
      state.routes = state.routes.filter((route) => !(sameRoute(route, change) && route.protocol === change.protocol));
      return;
    case "set-neighbour":
      return setNeighbour(state, change);
    case "delete-neighbour":
      state.neighbours = state.neighbours.filter((n) => !(n.link === change.link && n.address === change.address));
      return;
    case "set-forwarding":
      return setForwarding(state, change);
    case "delete-forwarding":
      state.forwarding = state.forwarding.filter((entry) => entry.own || !sameForwarding(entry, change));
      return;
  }
}

/** The links as the kernel's dump gives them. */
export function linkStates(state: FakeLinks): LinkState[] {
  return state.links.map((link) => ({
    index: link.index,
    name: link.name,
    kind: link.kind,
    mac: link.mac,
    mtu: link.mtu,
    up: link.up,
    running: isRunning(link),
    ...(link.alias === undefined ? {} : { alias: link.alias }),
    ...(link.master === undefined ? {} : { master: link.master }),
    ...(link.peer === undefined ? {} : { peer: link.peer.link.index }),
    ...(link.lower === undefined ? {} : { peer: link.lower.index }),
    ...(link.bridgePort === undefined ? {} : { bridgePort: link.bridgePort }),
    ...(link.vxlan === undefined ? {} : { vxlan: link.vxlan }),
  }));
}

function isRunning(link: FakeLink): boolean {
  if (!link.up || link.protoDown === true) return false;
  if (link.lower !== undefined) return isRunning(link.lower);
  return link.peer === undefined || link.peer.link.up;
}

/** The namespace ends: its links go, and the other ends of its veth pairs with them. */
export function destroyLinks(state: FakeLinks): void {
  for (const link of state.links.filter((link) => link.kind !== "loopback")) removeLink(state, link);
}

// ---------------------------------------------------------------- links

function addLink(
  state: FakeLinks,
  change: Change & { readonly name: string },
  settings: { kind: string; mac: Mac; mtu: number; alias: string | undefined },
): FakeLink {
  if (change.name.length > nameLengthMax) throw refuse(change, "ERANGE", "Attribute failed policy validation");
  if (find(state, change.name)) throw refuse(change, "EEXIST");
  const link: FakeLink = {
    index: state.nextIndex++,
    name: change.name,
    kind: settings.kind,
    mac: settings.mac,
    mtu: settings.mtu,
    up: false,
    ...(settings.alias === undefined ? {} : { alias: settings.alias }),
  };
  state.links.push(link);
  return link;
}

function createVxlan(state: FakeLinks, change: ChangeOf<"create-vxlan">): void {
  const taken = state.links.some((l) => l.vxlan?.vni === change.vni && l.vxlan.port === change.port);
  if (taken) throw refuse(change, "EEXIST", "A VXLAN device with the specified VNI already exists");
  const link = addLink(state, change, { kind: "vxlan", mac: change.mac, mtu: change.mtu, alias: change.alias });
  link.vxlan = { vni: change.vni, port: change.port, local: change.local, learning: false };
}

function createVeth(state: FakeLinks, change: ChangeOf<"create-veth">): void {
  const { peer } = change;
  const home = peer.namespaceFd === undefined ? state : state.namespaceOf(peer.namespaceFd);
  if (home === undefined) throw refuse(change, "EBADF");
  if (find(home, peer.name) || (home === state && peer.name === change.name)) throw refuse(change, "EEXIST");
  const mac = (given: Mac | undefined, name: string): Mac =>
    given ?? macOfName(`${state.owner} ${change.name} ${name}`);
  const near = addLink(state, change, {
    kind: "veth",
    mac: mac(change.mac, change.name),
    mtu: change.mtu,
    alias: change.alias,
  });
  const far = addLink(
    home,
    { ...change, name: peer.name },
    {
      kind: "veth",
      mac: mac(peer.mac, peer.name),
      mtu: change.mtu,
      alias: undefined,
    },
  );
  near.peer = { home, link: far };
  far.peer = { home: state, link: near };
  if (home !== state) state.touched(home);
}

function createMacvlan(state: FakeLinks, change: ChangeOf<"create-macvlan">): void {
  const lower = must(state, change, change.lower);
  const home = change.namespaceFd === undefined ? state : state.namespaceOf(change.namespaceFd);
  if (home === undefined) throw refuse(change, "EBADF");
  if (lower.kind === "loopback") throw refuse(change, "EINVAL");
  const link = addLink(home, change, { kind: "macvlan", mac: change.mac, mtu: change.mtu, alias: undefined });
  link.lower = lower;
  (lower.uppers ??= []).push({ home, link });
  if (home !== state) state.touched(home);
}

function setLink(state: FakeLinks, change: ChangeOf<"set-link">): void {
  const link = must(state, change, change.name);
  const master = typeof change.master === "string" ? must(state, change, change.master) : undefined;
  if (master && master.kind !== "bridge") throw refuse(change, "EOPNOTSUPP");
  if (change.macvlanMode !== undefined && link.kind !== "macvlan") throw refuse(change, "EOPNOTSUPP");
  // net/core/dev.c, dev_change_proto_down: only macvlan and vxlan links take it.
  if (change.protoDown !== undefined && !["macvlan", "vxlan"].includes(link.kind)) throw refuse(change, "EOPNOTSUPP");
  if (change.rename !== undefined && change.rename !== link.name && find(state, change.rename))
    throw refuse(change, "EEXIST");
  const destination = change.namespaceFd === undefined ? undefined : state.namespaceOf(change.namespaceFd);
  if (change.namespaceFd !== undefined && destination === undefined) throw refuse(change, "EBADF");

  if (change.alias !== undefined) link.alias = change.alias;
  if (change.group !== undefined) link.group = change.group;
  if (change.mtu !== undefined) link.mtu = change.mtu;
  if (change.mac !== undefined) link.mac = change.mac;
  if (change.rename !== undefined) rename(state, link, change.rename);
  if (change.master !== undefined) enslave(state, link, master);
  if (change.protoDown !== undefined) link.protoDown = change.protoDown;
  if (destination !== undefined && destination !== state) return moveLink(state, link, destination);
  if (change.up !== undefined && change.up !== link.up) setUp(state, link, change.up);
}

function rename(state: FakeLinks, link: FakeLink, name: string): void {
  const from = link.name;
  link.name = name;
  const follow = <T extends { readonly link?: string }>(entries: T[]): T[] =>
    entries.map((entry) => (entry.link === from ? { ...entry, link: name } : entry));
  state.addresses = follow(state.addresses);
  state.routes = follow(state.routes);
  state.neighbours = follow(state.neighbours);
  state.forwarding = follow(state.forwarding);
}

function enslave(state: FakeLinks, link: FakeLink, master: FakeLink | undefined): void {
  if (link.master === master?.index) return;
  // net/bridge/br_if.c, del_nbp: a port that leaves takes its forwarding entries along.
  state.forwarding = state.forwarding.filter((entry) => entry.link !== link.name || entry.remote !== undefined);
  delete link.master;
  delete link.bridgePort;
  if (master === undefined) return;
  link.master = master.index;
  link.bridgePort = {
    isolated: false,
    hairpin: false,
    learning: true,
    unicastFlood: true,
    multicastFlood: true,
    broadcastFlood: true,
    neighbourSuppression: false,
  };
  state.forwarding.push({ link: link.name, mac: link.mac, static: true, own: true });
}

function setUp(state: FakeLinks, link: FakeLink, up: boolean): void {
  link.up = up;
  if (link.peer && link.peer.home !== state) state.touched(link.peer.home);
  if (!up) {
    // net/ipv4/fib_frontend.c fib_disable_ip; net/ipv6/addrconf.c addrconf_ifdown: IPv6 addresses go, IPv4 addresses stay.
    state.routes = state.routes.filter((route) => route.link !== link.name);
    state.neighbours = state.neighbours.filter((neighbour) => neighbour.link !== link.name);
    state.addresses = state.addresses.filter((a) => a.link !== link.name || familyOf(a.address) === 4);
    return;
  }
  if (link.kind === "loopback") {
    addAddress(state, link, { link: "lo", address: "127.0.0.1", bits: 8, scope: "host", tentative: false });
    addAddress(state, link, { link: "lo", address: "::1", bits: 128, scope: "host", tentative: false });
  }
  for (const address of state.addresses.filter((a) => a.link === link.name)) connectedRoutes(state, address);
}

function moveLink(state: FakeLinks, link: FakeLink, destination: FakeLinks): void {
  if (find(destination, link.name)) throw new KernelError(`move link ${link.name}: EEXIST`, { code: "EEXIST" });
  dropEverythingOf(state, link);
  state.links.splice(state.links.indexOf(link), 1);
  delete link.master;
  delete link.bridgePort;
  link.up = false;
  link.index = destination.nextIndex++;
  destination.links.push(link);
  if (link.peer) {
    // The other end must find this one in its new home.
    link.peer.link.peer = { home: destination, link };
  }
  const shared = link.lower?.uppers?.find((upper) => upper.link === link);
  if (shared) shared.home = destination;
  state.touched(destination);
}

function setBridgePort(state: FakeLinks, change: ChangeOf<"set-bridge-port">): void {
  const link = must(state, change, change.name);
  // net/core/rtnetlink.c, __rtnl_newlink: a link that is no port has no port settings.
  if (link.bridgePort === undefined) throw refuse(change, "EOPNOTSUPP");
  link.bridgePort = { ...link.bridgePort, ...change.settings };
}

function deleteLink(state: FakeLinks, name: string): void {
  const link = find(state, name);
  if (link === undefined) return;
  if (link.kind === "loopback") {
    throw new KernelError(`delete link ${name}: EOPNOTSUPP: the loopback link cannot be deleted`, {
      code: "EOPNOTSUPP",
    });
  }
  removeLink(state, link);
}

function removeLink(state: FakeLinks, link: FakeLink): void {
  const at = state.links.indexOf(link);
  if (at < 0) return;
  state.links.splice(at, 1);
  dropEverythingOf(state, link);
  for (const port of state.links.filter((other) => other.master === link.index)) enslave(state, port, undefined);
  const going = [...(link.peer === undefined ? [] : [link.peer]), ...(link.uppers ?? [])];
  for (const { home, link: other } of going) {
    removeLink(home, other);
    if (home !== state) state.touched(home);
  }
}

function dropEverythingOf(state: FakeLinks, link: FakeLink): void {
  state.addresses = state.addresses.filter((entry) => entry.link !== link.name);
  state.routes = state.routes.filter((entry) => entry.link !== link.name);
  state.neighbours = state.neighbours.filter((entry) => entry.link !== link.name);
  state.forwarding = state.forwarding.filter((entry) => entry.link !== link.name);
}

// ---------------------------------------------------------------- addresses

function setAddress(state: FakeLinks, change: ChangeOf<"set-address">): void {
  const link = must(state, change, change.link);
  const scope = change.scope ?? "global";
  addAddress(state, link, { link: change.link, address: change.address, bits: change.bits, scope, tentative: false });
}

function addAddress(state: FakeLinks, link: FakeLink, address: AddressState): void {
  const same = (a: AddressState): boolean =>
    a.link === address.link && a.address === address.address && a.bits === address.bits;
  state.addresses = [...state.addresses.filter((a) => !same(a)), address];
  if (link.up) connectedRoutes(state, address);
}

/** The kernel's own routes of an address: itself in the local table, and its prefix in the main table. */
function connectedRoutes(state: FakeLinks, address: AddressState): void {
  const family = familyOf(address.address);
  addKernelRoute(state, {
    table: RT_TABLE_LOCAL,
    to: hostPrefix(address.address),
    family,
    action: "local",
    link: address.link,
    onlink: false,
    metric: 0,
    protocol: RTPROT_KERNEL,
    scope: family === 4 ? RT_SCOPE_HOST : RT_SCOPE_GLOBAL,
    ...(family === 4 ? { source: address.address } : {}),
  });
  // net/ipv4/fib_frontend.c, fib_add_ifaddr: no prefix route for /32; net/ipv6/addrconf.c: always one, metric 256.
  if (address.link === "lo" || (family === 4 && address.bits === 32)) return;
  addKernelRoute(state, {
    table: RT_TABLE_MAIN,
    to: prefixOf(address.address, address.bits),
    family,
    action: "forward",
    link: address.link,
    onlink: false,
    metric: family === 4 ? 0 : 256,
    protocol: RTPROT_KERNEL,
    scope: family === 4 ? RT_SCOPE_LINK : RT_SCOPE_GLOBAL,
    ...(family === 4 ? { source: address.address } : {}),
  });
}

function addKernelRoute(state: FakeLinks, route: RouteState): void {
  const same = (r: RouteState): boolean => r.table === route.table && r.to === route.to && r.link === route.link;
  if (!state.routes.some((r) => same(r) && r.protocol === RTPROT_KERNEL)) state.routes.push(route);
}

function deleteAddress(state: FakeLinks, change: ChangeOf<"delete-address">): void {
  const same = (a: AddressState): boolean =>
    a.link === change.link && a.address === change.address && a.bits === change.bits;
  if (!state.addresses.some(same)) return;
  state.addresses = state.addresses.filter((a) => !same(a));
  const to = [hostPrefix(change.address), prefixOf(change.address, change.bits)];
  state.routes = state.routes.filter(
    (route) =>
      !(route.protocol === RTPROT_KERNEL && route.link === change.link && to.includes(route.to)) &&
      // net/ipv4/fib_semantics.c, fib_sync_down_addr; net/ipv6/route.c, rt6_remove_prefsrc keeps the route without its source.
      !(familyOf(change.address) === 4 && route.source === change.address),
  );
  state.routes = state.routes.map((route) => {
    if (route.source !== change.address) return route;
    const { source: _source, ...rest } = route;
    return rest;
  });
  const isBare = !state.addresses.some((a) => a.link === change.link && familyOf(a.address) === 4);
  if (familyOf(change.address) !== 4 || !isBare) return;
  // net/ipv4/fib_frontend.c, fib_disable_ip: without an address the link speaks no IPv4 any more.
  state.neighbours = state.neighbours.filter((n) => n.link !== change.link || familyOf(n.address) !== 4);
  state.routes = state.routes.filter((route) => route.link !== change.link || familyOf(route.to) !== 4);
}

// ---------------------------------------------------------------- routes

function setRoute(state: FakeLinks, change: ChangeOf<"set-route">): void {
  const family = familyOf(change.to);
  const nexthop = change.action === "forward" ? checkNexthop(state, change, family) : {};
  if (change.source !== undefined && !state.addresses.some((a) => a.address === change.source))
    throw refuse(change, "EINVAL", family === 4 ? "Invalid prefsrc address" : "Invalid source address");
  const route: RouteState = {
    table: RT_TABLE_MAIN,
    to: change.to,
    family,
    action: change.action,
    ...nexthop,
    onlink: change.onlink ?? false,
    ...(change.source === undefined ? {} : { source: change.source }),
    ...(change.mtu === undefined ? {} : { mtu: change.mtu }),
    // net/ipv6/route.c: IP6_RT_PRIO_USER where no metric is given.
    metric: change.metric === 0 && family === 6 ? 1024 : change.metric,
    protocol: change.protocol,
    scope: change.scope === "link" && family === 4 ? RT_SCOPE_LINK : RT_SCOPE_GLOBAL,
  };
  const at = state.routes.findIndex((other) => sameRoute(other, route));
  if (at < 0) state.routes.push(route);
  else state.routes[at] = route;
}

function checkNexthop(
  state: FakeLinks,
  change: ChangeOf<"set-route">,
  family: Family,
): { link?: string; via?: Address } {
  const link = change.link === undefined ? undefined : must(state, change, change.link);
  if (link && !link.up) throw refuse(change, "ENETDOWN", family === 4 ? "Device for nexthop is not up" : undefined);
  if (change.via === undefined) {
    if (link === undefined) throw refuse(change, "ENODEV");
    return { link: link.name };
  }
  if (change.onlink === true && link) return { link: link.name, via: change.via };
  const via = change.via;
  const hop = state.routes.find(
    (route) =>
      route.table === RT_TABLE_MAIN &&
      route.action === "forward" &&
      route.via === undefined &&
      (link === undefined || route.link === link.name) &&
      contains(route.to, via),
  );
  // net/ipv4/fib_semantics.c, fib_check_nh_v4_gw; net/ipv6/route.c, ip6_route_check_nh.
  if (hop?.link === undefined) {
    throw family === 4
      ? refuse(change, "ENETUNREACH", "Nexthop has invalid gateway")
      : refuse(change, "EHOSTUNREACH", "No route to host");
  }
  return { link: hop.link, via };
}

/** A route's key in the kernel is destination and metric within a table. */
function sameRoute(route: RouteState, other: { readonly to: string; readonly metric: number }): boolean {
  const metric = other.metric === 0 && familyOf(other.to) === 6 ? 1024 : other.metric;
  return route.table === RT_TABLE_MAIN && route.to === other.to && route.metric === metric;
}

// ---------------------------------------------------------------- neighbours, forwarding

function setNeighbour(state: FakeLinks, change: ChangeOf<"set-neighbour">): void {
  must(state, change, change.link);
  const { link, address, mac } = change;
  const rest = state.neighbours.filter((n) => !(n.link === link && n.address === address));
  state.neighbours = [...rest, { link, address, mac, permanent: true }];
}

function setForwarding(state: FakeLinks, change: ChangeOf<"set-forwarding">): void {
  const link = must(state, change, change.link);
  // net/core/rtnetlink.c, rtnl_fdb_add: only ports of a bridge, or links with a table of their own.
  if (link.vxlan === undefined && link.master === undefined) throw refuse(change, "EOPNOTSUPP");
  // drivers/net/vxlan: an entry for a unicast address has one destination; a new one replaces it.
  const same = (entry: ForwardingState): boolean => entry.link === change.link && entry.mac === change.mac;
  const ofBridge = (entry: ForwardingState): boolean =>
    entry.remote === undefined && entry.mac === change.mac && masterOf(state, entry.link) === link.master;
  state.forwarding = state.forwarding.filter(
    (entry) => entry.own || !(link.vxlan === undefined ? ofBridge(entry) : same(entry)),
  );
  state.forwarding.push({
    link: change.link,
    mac: change.mac,
    ...(change.remote === undefined ? {} : { remote: change.remote }),
    static: true,
    own: false,
  });
}

function sameForwarding(entry: ForwardingState, change: ChangeOf<"delete-forwarding">): boolean {
  return (
    entry.link === change.link &&
    entry.mac === change.mac &&
    (change.remote === undefined || entry.remote === change.remote)
  );
}

// ---------------------------------------------------------------- look-ups

function find(state: FakeLinks, name: string): FakeLink | undefined {
  return state.links.find((link) => link.name === name);
}

function masterOf(state: FakeLinks, name: string): number | undefined {
  return find(state, name)?.master;
}

function must(state: FakeLinks, change: Change, name: string): FakeLink {
  const link = find(state, name);
  if (link === undefined) throw refuse(change, "ENODEV", undefined, `there is no link ${name} in ${state.owner}`);
  return link;
}

function refuse(change: Change, code: string, kernelText?: string, hint?: string): KernelError {
  const reason = kernelText ?? hint;
  return new KernelError(
    `${subject(change)}: ${code}${reason === undefined ? "" : `: ${reason}`}`,
    kernelText === undefined ? { code } : { code, kernelText },
  );
}

function subject(change: Change): string {
  const words = change.kind.replaceAll("-", " ");
  if ("to" in change) return `${words} ${change.to}`;
  if ("name" in change) return `${words} ${change.name}`;
  if ("group" in change) return `${words} ${change.group}`;
  if ("address" in change) {
    const bits = "bits" in change && change.bits !== addressBits(familyOf(change.address)) ? `/${change.bits}` : "";
    return `${words} ${change.address}${bits} on ${change.link}`;
  }
  return `${words} ${change.mac} on ${change.link}`;
}
