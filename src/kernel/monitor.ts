// Notices when something other than this program changes a namespace's network: multicast notifications by netlink.
// libuv waits for the sockets, so an idle monitor costs nothing and keeps no process alive.
//
// How our own changes are told from others': nf_tables, routes and neighbours carry the port of the socket that asked, and ours
// are known. Links, bridge ports, IPv6 addresses and forwarding entries often carry 0; what arrives while one of our requests
// is under way is ours, and of the rest only what differs from what is known counts (a carrier that comes up does not).
// Not here: what exactly changed. Whoever is called back looks for himself (apply/).

import koffi from "koffi";

import { familyOf } from "../ip/address.ts";
import {
  NetlinkFormatError,
  parseAttributes,
  readBe32,
  readString,
  type Attributes,
} from "../wire/netlink/attributes.ts";
import {
  decodeBridgePort,
  decodeLink,
  getLinks,
  linkFlag,
  linkMessage,
  type BridgePort,
  type LinkInfo,
} from "../wire/netlink/link.ts";
import type { NetlinkMessage, NetlinkRequest } from "../wire/netlink/message.ts";
import { allLinks, decodeNetconf, netconfMessage } from "../wire/netlink/netconf.ts";
import { decodeNeighbour, neighbourMessage, neighbourState } from "../wire/netlink/neighbour.ts";
import {
  addressMessage,
  decodeAddress,
  decodeRoute,
  getAddresses,
  routeMessage,
  routeScope,
  type AddressInfo,
} from "../wire/netlink/route.ts";
import { KernelError, type Closable, type MonitorEvent } from "./kernel.ts";
import type { NetworkNamespace } from "./namespaces.ts";
import { isOwnPort, openNetlinkSocket, protocol, watchSockets, type NetlinkSocket } from "./netlink-socket.ts";

/** Starts a monitor. Callbacks come from the event loop, equal events once for each time it looks. Throws KernelError. */
export function openMonitor(
  namespace: NetworkNamespace,
  kernelName: string,
  changed: (what: MonitorEvent) => void,
): Closable {
  const doing = `monitor the network of ${kernelName}`;
  const route = openNetlinkSocket(namespace, protocol.route, { groups: routeGroups });
  const netfilter = openNetlinkSocket(namespace, protocol.netfilter, { groups: [NFNLGRP_NFTABLES] });
  // Members of groups read notifications only: an answer would have to be picked from among them.
  const routeQueries = openNetlinkSocket(namespace, protocol.route);
  const queries = openNetlinkSocket(namespace, protocol.netfilter);
  const known = learn(routeQueries, doing);
  routeQueries.close();
  let generation = readGeneration(queries, doing);
  const events = new Map<string, MonitorEvent>();
  let scheduled: NodeJS.Immediate | undefined;
  let busy = false;

  const note = (event: MonitorEvent | undefined): void => {
    if (event === undefined) return;
    events.set(`${event.kind} ${event.detail}`, event);
    scheduled ??= setImmediate(deliver);
  };
  const drainRoute = (who: "others" | "us"): void => {
    const { messages, overrun } = route.receive(saysSomething(namespace.id));
    for (const message of messages) note(readable(() => routeEvent(known, message, namespace.id, who)));
    if (overrun) for (const kind of routeKinds) note({ kind, detail: lost });
  };
  const drainNetfilter = (): void => {
    const { messages, overrun } = netfilter.receive();
    for (const message of messages) {
      if (message.type !== newGeneration) continue;
      const attributes = parseAttributes(message.body, nfgenmsgBytes);
      generation = generationOf(attributes) ?? generation;
      if (!isOwnPort(namespace.id, protocol.netfilter, message.port)) note(nftablesEvent(attributes));
    }
    if (overrun) note({ kind: "nftables", detail: lost });
  };
  const look = (): void => {
    drainRoute("others");
    drainNetfilter();
  };
  const deliver = (): void => {
    scheduled = undefined;
    const batch = [...events.values()];
    events.clear();
    for (const event of batch) changed(event);
  };
  // The kernel would tell us every element of our own transactions. So we do not listen while they run, and count generations.
  const before = (protocolNumber: number): void => {
    if (busy) return;
    if (protocolNumber === protocol.netfilter) netfilter.setMembership(NFNLGRP_NFTABLES, "leave");
    look();
  };
  const after = (protocolNumber: number): void => {
    if (busy) return;
    if (protocolNumber !== protocol.netfilter) {
      drainRoute("us");
      return;
    }
    netfilter.setMembership(NFNLGRP_NFTABLES, "join");
    busy = true;
    const now = readGeneration(queries, doing);
    busy = false;
    if (now > generation + 1) note({ kind: "nftables", detail: "ruleset changed at the same time as by us" });
    generation = now;
  };

  const made = (protocolNumber: number, requests: readonly NetlinkRequest[]): void => {
    if (protocolNumber === protocol.route) for (const request of requests) rememberRequest(known, request);
  };

  const unwatch = watchSockets(namespace.id, { before, made, after, closing: look });
  const polls = [route, netfilter].map((socket) => {
    const poll = koffi.node.poll(socket.fd, { readable: true }, look);
    poll.unref();
    return poll;
  });
  let open = true;
  return {
    close() {
      if (!open) return;
      open = false;
      unwatch();
      clearImmediate(scheduled);
      for (const poll of polls) poll.close();
      for (const socket of [route, netfilter, queries]) socket.close();
    },
  };
}

/** One socket that hears of links and tells nobody's changes from anybody's. Throws KernelError. */
export function openLinkMonitor(namespace: NetworkNamespace, changed: () => void): Closable {
  const socket = openNetlinkSocket(namespace, protocol.route, { groups: [RTNLGRP_LINK] });
  const poll = koffi.node.poll(socket.fd, { readable: true }, () => {
    const { messages, overrun } = socket.receive();
    if (messages.length > 0 || overrun) changed();
  });
  poll.unref();
  let open = true;
  return {
    close() {
      if (!open) return;
      open = false;
      poll.close();
      socket.close();
    },
  };
}

/** What is known of a namespace, to recognise notifications that say nothing new. */
interface Known {
  /** By index. */
  readonly links: Map<number, { readonly name: string; readonly settings: string }>;
  readonly ports: Map<number, string>;
  readonly addresses: Set<string>;
}

// linux/rtnetlink.h
const RTNLGRP_LINK = 1;
// and RTNLGRP_NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE, _IPV4_NETCONF, _IPV6_NETCONF
const routeGroups = [RTNLGRP_LINK, 3, 5, 7, 9, 11, 24, 25];
const routeKinds = ["link", "address", "route", "neighbour", "sysctl"] as const;
const lost = "notifications were lost";
// linux/netfilter/nfnetlink.h, nf_tables.h: NFT_MSG_NEWGEN of NFNL_SUBSYS_NFTABLES ends every transaction, GETGEN asks for it.
const NFNLGRP_NFTABLES = 7;
const newGeneration = (10 << 8) | 15;
const getGeneration = (10 << 8) | 16;
const NFTA_GEN_ID = 1;
const NFTA_GEN_PROC_PID = 2;
const NFTA_GEN_PROC_NAME = 3;
const nfgenmsgBytes = 4;

/** What is there at the start. What the dumps race with is in the monitor's queue already. */
function learn(socket: NetlinkSocket, doing: string): Known {
  const known: Known = { links: new Map(), ports: new Map(), addresses: new Set() };
  for (const message of socket.dump(getLinks(), doing)) rememberLink(known, decodeLink(message));
  for (const message of socket.dump(getAddresses(), doing)) {
    const address = decodeAddress(message);
    if (address !== undefined) known.addresses.add(addressKey(address));
  }
  return known;
}

/** The number of the newest nf_tables transaction. */
function readGeneration(socket: NetlinkSocket, doing: string): number {
  const request = { type: getGeneration, flags: 0, body: new Uint8Array(nfgenmsgBytes) };
  for (const message of socket.request(request, doing)) {
    const generation = generationOf(parseAttributes(message.body, nfgenmsgBytes));
    if (generation !== undefined) return generation;
  }
  throw new KernelError(`${doing}: ENODATA: nf_tables gave no generation`, { code: "ENODATA" });
}

function generationOf(attributes: Attributes): number | undefined {
  const value = attributes.get(NFTA_GEN_ID);
  return value === undefined ? undefined : readBe32(value);
}

/** Thousands of our own routes and neighbours are told back to us: which notifications are worth reading, by type and port. */
function saysSomething(namespaceId: string): (type: number, port: number) => boolean {
  let known: { readonly port: number; readonly own: boolean } | undefined;
  return (type, port) => {
    if (known?.port !== port) known = { port, own: isOwnPort(namespaceId, protocol.route, port) };
    switch (type) {
      case routeMessage.new:
      case routeMessage.delete:
        return port !== 0 && !known.own;
      case neighbourMessage.new:
      case neighbourMessage.delete:
        return !known.own;
      default:
        return true;
    }
  };
}

/** What an rtnetlink notification means for others: undefined where it is ours or says nothing new. */
function routeEvent(
  known: Known,
  message: NetlinkMessage,
  namespaceId: string,
  who: "others" | "us",
): MonitorEvent | undefined {
  const own = isOwnPort(namespaceId, protocol.route, message.port);
  const foreign = message.port !== 0 && !own;
  // Port 0 is the kernel itself: on behalf of whoever is acting right now.
  const ours = own || (message.port === 0 && who === "us");
  switch (message.type) {
    case linkMessage.new:
    case linkMessage.delete: {
      const news = linkNews(known, message);
      return news === undefined || ours ? undefined : { kind: "link", ...news };
    }
    case addressMessage.new:
    case addressMessage.delete: {
      const news = addressNews(known, message, foreign);
      return news === undefined || ours ? undefined : { kind: "address", ...news };
    }
    case routeMessage.new:
    case routeMessage.delete: {
      const to = foreign ? decodeRoute(message)?.to : undefined;
      return to === undefined
        ? undefined
        : { kind: "route", detail: `route to ${to} ${verb(message, routeMessage.new)}` };
    }
    case neighbourMessage.new:
    case neighbourMessage.delete: {
      const news = ours ? undefined : neighbourNews(known, message, foreign);
      return news === undefined ? undefined : { kind: "neighbour", ...news };
    }
    case netconfMessage.new:
      return ours ? undefined : netconfNews(message);
    default:
      return undefined;
  }
}

/** A notification this program cannot read is a change all the same, and no reason to end. */
function readable(read: () => MonitorEvent | undefined): MonitorEvent | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof NetlinkFormatError)) throw error;
    return { kind: "link", detail: `a notification could not be read: ${error.message}` };
  }
}

function nftablesEvent(attributes: Attributes): MonitorEvent {
  const name = attributes.get(NFTA_GEN_PROC_NAME);
  const pid = attributes.get(NFTA_GEN_PROC_PID);
  const by = name === undefined || pid === undefined ? "" : ` by ${readString(name)} (process ${readBe32(pid)})`;
  return { kind: "nftables", detail: `ruleset changed${by}` };
}

type LinkNews = Pick<MonitorEvent, "detail" | "link">;

/** Keeps `known` up to date; what is new, or undefined. */
function linkNews(known: Known, message: NetlinkMessage): LinkNews | undefined {
  const port = decodeBridgePort(message);
  if (port !== undefined) return rememberPort(known, message, port);
  const link = decodeLink(message);
  if (link === undefined) return undefined;
  const before = known.links.get(link.index);
  if (message.type === linkMessage.delete) {
    known.ports.delete(link.index);
    return known.links.delete(link.index) ? newsOf("deleted", link.name) : undefined;
  }
  const after = rememberLink(known, link);
  if (before === undefined) return newsOf("created", link.name);
  return before.settings === after ? undefined : newsOf("changed", before.name, link.name);
}

function newsOf(what: "created" | "changed" | "deleted", ...names: readonly string[]): LinkNews {
  return { detail: `link ${names[0]} ${what}`, link: { names, isNew: what === "created" } };
}

function rememberLink(known: Known, link: LinkInfo | undefined): string | undefined {
  if (link === undefined) return undefined;
  const { name, mtu, mac, master, alias, flags } = link;
  const settings = JSON.stringify([name, mtu, mac, master, alias, flags & linkFlag.up]);
  known.links.set(link.index, { name, settings });
  if (link.bridgePort !== undefined) known.ports.set(link.index, JSON.stringify(link.bridgePort));
  return settings;
}

function rememberPort(
  known: Known,
  message: NetlinkMessage,
  { index, bridgePort }: { index: number; bridgePort: BridgePort },
): LinkNews | undefined {
  // Leaving a bridge changes the link's master too, and is noticed there.
  if (message.type === linkMessage.delete) return void known.ports.delete(index);
  const settings = JSON.stringify(bridgePort);
  const before = known.ports.get(index);
  known.ports.set(index, settings);
  if (before === undefined || before === settings) return undefined;
  const name = linkName(known, index);
  return { detail: `bridge port ${name} changed`, link: { names: [name], isNew: false } };
}

/** The kernel tells of a new IPv6 address when its duplicate detection is over, even where there is none: from a worker of its own, later. */
function rememberRequest(known: Known, request: NetlinkRequest): void {
  if (request.type !== addressMessage.new && request.type !== addressMessage.delete) return;
  const address = decodeAddress({ ...request, sequence: 0, port: 0 });
  if (address === undefined) return;
  if (request.type === addressMessage.new) known.addresses.add(addressKey(address));
  else known.addresses.delete(addressKey(address));
}

function addressKey(info: AddressInfo): string {
  return `${info.address}/${info.bits} on #${info.index}`;
}

function addressNews(known: Known, message: NetlinkMessage, foreign: boolean): LinkNews | undefined {
  const info = decodeAddress(message);
  if (info === undefined) return undefined;
  const key = addressKey(info);
  const isNew = message.type === addressMessage.new;
  const news = isNew ? !known.addresses.has(key) : known.addresses.has(key);
  if (isNew) known.addresses.add(key);
  else known.addresses.delete(key);
  // The kernel gives and takes link-local addresses as links come and go.
  const automatic = !foreign && familyOf(info.address) === 6 && info.scope === routeScope.link;
  if (!news || automatic) return undefined;
  return on(known, info.index, `address ${info.address}/${info.bits}`, verb(message, addressMessage.new));
}

function neighbourNews(known: Known, message: NetlinkMessage, foreign: boolean): LinkNews | undefined {
  const info = decodeNeighbour(message);
  if (info === undefined) return undefined;
  const what = info.kind === "neighbour" ? `neighbour ${info.address}` : `forwarding of ${info.mac}`;
  // What the kernel learns and forgets by itself is no change of configuration. Forwarding entries never name who asked.
  const configured = (info.state & (neighbourState.noarp | neighbourState.permanent)) !== 0;
  if (!foreign && !(info.kind === "forwarding" && configured)) return undefined;
  return on(known, info.index, what, verb(message, neighbourMessage.new));
}

/** Settings of single links are none of ours, and every link that comes tells its own. */
function netconfNews(message: NetlinkMessage): MonitorEvent | undefined {
  const info = decodeNetconf(message);
  const [setting] = info?.settings ?? [];
  if (info?.index !== allLinks || setting === undefined) return undefined;
  return { kind: "sysctl", detail: `net.ipv${info.family}.conf.all.${setting.name} set to ${setting.value}` };
}

/** Of something on a link; whose link it is cannot be said where the link is not known yet, or any more. */
function on(known: Known, index: number, what: string, done: "set" | "deleted"): LinkNews {
  const name = linkName(known, index);
  return {
    detail: `${what} on ${name} ${done}`,
    ...(known.links.has(index) && { link: { names: [name], isNew: false } }),
  };
}

function linkName(known: Known, index: number): string {
  return known.links.get(index)?.name ?? `#${index}`;
}

function verb(message: NetlinkMessage, added: number): "set" | "deleted" {
  return message.type === added ? "set" : "deleted";
}
