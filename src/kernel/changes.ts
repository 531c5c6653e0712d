// Changes by rtnetlink: from what is wanted (kernel.ts, names) to messages (indexes), in order, many to a sendmsg.
// Each change has one result; what failed says what was being done, the kernel's words and the likely cure.
//
// Not here: which changes, and in which order (apply/).

import { familyOf } from "../ip/address.ts";
import {
  createLink,
  decodeLink,
  deleteLink,
  deleteLinkGroup,
  getLink,
  setBridgePort,
  setLink,
  type LinkKind,
  type LinkSettings,
} from "../wire/netlink/link.ts";
import { flag, type NetlinkMessage, type NetlinkRequest } from "../wire/netlink/message.ts";
import { deleteForwarding, deleteNeighbour, setForwarding, setNeighbour } from "../wire/netlink/neighbour.ts";
import {
  deleteAddress,
  deleteRoute,
  routeScope,
  routeTable,
  routeType,
  setAddress,
  setRoute,
} from "../wire/netlink/route.ts";
import { KernelError, type Change, type ChangeResult } from "./kernel.ts";
import { failureError, type NetlinkFailure, type NetlinkSocket } from "./netlink-socket.ts";

/**
 * Makes the changes in order; a result each. `kernelName` is for messages, `indexes` are links' indexes as far as they are known: who
 * keeps them for the next call sees to it that they are not out of date.
 */
export function makeChanges(
  socket: NetlinkSocket,
  kernelName: string,
  changes: readonly Change[],
  indexes: Map<string, number> = new Map(),
): readonly ChangeResult[] {
  const results: ChangeResult[] = changes.map(() => ({ ok: true }));
  const unknown = changes.flatMap(linksByIndex).filter((link) => !indexes.has(link));
  for (const [link, index] of findLinkIndexes(socket, kernelName, new Set(unknown))) indexes.set(link, index);
  let pending: Pending[] = [];

  const flush = (): void => {
    const sent = pending;
    pending = [];
    const failures = socket.pipeline(
      sent.map((item) => item.request),
      `change links and routes of ${kernelName}`,
    );
    sent.forEach(({ index, next }, position) => {
      const change = changes[index]!;
      const failure = failures[position];
      if (failure === undefined || isGone(change, failure.code)) {
        if (next !== undefined) pending.push({ index, request: next });
      } else if (results[index]?.ok === true) {
        results[index] = { ok: false, error: changeError(kernelName, change, failure, index) };
      }
    });
  };

  const indexOf = (link: string): number => {
    const known = indexes.get(link);
    if (known !== undefined) return known;
    // An earlier change of this batch may be what makes the link.
    flush();
    const found = findLinkIndex(socket, kernelName, link);
    indexes.set(link, found);
    return found;
  };

  changes.forEach((change, index) => {
    try {
      const { requests, next } = requestsOf(change, indexOf);
      requests.forEach((request, at) => {
        const isLast = at === requests.length - 1;
        pending.push({ index, request, ...(isLast && next !== undefined ? { next } : {}) });
      });
      for (const name of linksRenumbered(change)) indexes.delete(name);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      if (isGone(change, error.code)) return;
      results[index] = { ok: false, error: missingLinkError(kernelName, change, error, index) };
    }
  });
  while (pending.length > 0) flush();
  return results;
}

/** A request of the change with this index. `next` is sent some time after it has succeeded, and only then. */
interface Pending {
  readonly index: number;
  readonly request: NetlinkRequest;
  readonly next?: NetlinkRequest;
}

/** What a change does, for messages: `create vxlan link fl.vx in node-1`. */
function describeChange(kernelName: string, change: Change): string {
  return `${describe(change)} in ${kernelName}`;
}

interface Requests {
  /** Sent in order, whatever becomes of each. */
  readonly requests: readonly NetlinkRequest[];
  /** What follows a creation, and must not touch a link that somebody else made. */
  readonly next?: NetlinkRequest;
}

function requestsOf(change: Change, indexOf: (link: string) => number): Requests {
  switch (change.kind) {
    case "create-bridge":
      // A bridge follows the smallest MTU of its ports (and 1500 without ports) until its own is set by a change of it.
      return {
        requests: [
          createLink(
            { name: change.name, mac: change.mac, mtu: change.mtu === 1500 ? 1280 : 1500 },
            { kind: "bridge" },
          ),
        ],
        next: setLink({ name: change.name }, { mtu: change.mtu, ...aliasOf(change) }),
      };
    case "create-vxlan": {
      const { name, mac, mtu, vni, port, local } = change;
      return createAndAlias(change, { name, mac, mtu }, { kind: "vxlan", vni, port, local, learning: false });
    }
    case "create-veth": {
      const { name, mtu, peer } = change;
      // Without XDP a packet passes a veth pair in one go and no queue is used; each costs the kernel two objects and an announcement.
      const identity = { name, mtu, ...(change.mac === undefined ? {} : { mac: change.mac }) };
      return createAndAlias(change, identity, { kind: "veth", queues: 1, peer: { mtu, ...peer } });
    }
    case "create-macvlan": {
      const { name, mac, mtu, lower, namespaceFd } = change;
      const kind: LinkKind = { kind: "macvlan", lower: indexOf(lower), mode: "bridge" };
      return {
        requests: [createLink({ name, mac, mtu }, namespaceFd === undefined ? kind : { ...kind, namespaceFd })],
      };
    }
    case "set-link": {
      const { kind: _, name, master, ...settings } = change;
      const link = settings.rename === undefined ? { name } : { index: indexOf(name) };
      const port = master === undefined ? {} : { master: master === null ? 0 : indexOf(master) };
      return linkRequests(link, { ...settings, ...port });
    }
    case "set-bridge-port":
      return { requests: [setBridgePort(indexOf(change.name), change.settings)] };
    case "delete-link":
      return { requests: [deleteLink(change.name)] };
    case "delete-link-group":
      return { requests: [deleteLinkGroup(change.group)] };
    case "set-address": {
      const { address, bits, scope } = change;
      return {
        requests: [setAddress({ index: indexOf(change.link), address, bits, scope: routeScope[scope ?? "global"] })],
      };
    }
    case "delete-address":
      return {
        requests: [deleteAddress({ index: indexOf(change.link), address: change.address, bits: change.bits })],
      };
    case "set-route":
      return { requests: [routeRequest(change, indexOf)] };
    case "delete-route":
      return {
        requests: [
          deleteRoute({
            table: routeTable.main,
            to: change.to,
            metric: change.metric,
            protocol: change.protocol,
          }),
        ],
      };
    case "set-neighbour":
      return { requests: [setNeighbour({ index: indexOf(change.link), address: change.address, mac: change.mac })] };
    case "delete-neighbour":
      return { requests: [deleteNeighbour({ index: indexOf(change.link), address: change.address })] };
    case "set-forwarding":
      return { requests: [setForwarding({ ...change, index: indexOf(change.link) })] };
    case "delete-forwarding":
      return { requests: [deleteForwarding({ ...change, index: indexOf(change.link) })] };
  }
}

function createAndAlias(
  change: { readonly name: string; readonly alias?: string },
  identity: Parameters<typeof createLink>[0],
  kind: LinkKind,
): Requests {
  const requests = [createLink(identity, kind)];
  return change.alias === undefined
    ? { requests }
    : { requests, next: setLink({ name: change.name }, { alias: change.alias }) };
}

/** In one message the kernel sets a link up before it hears how to form addresses, and a link-local one is there already. */
function linkRequests(link: Parameters<typeof setLink>[0], settings: LinkSettings): Requests {
  const { up, ...rest } = settings;
  if (up !== true || settings.addressGeneration === undefined) return { requests: [setLink(link, settings)] };
  const renamed = "name" in link || settings.rename === undefined ? link : { name: settings.rename };
  return { requests: [setLink(link, rest), setLink(renamed, { up })] };
}

function aliasOf(change: { readonly alias?: string }): { alias?: string } {
  return change.alias === undefined ? {} : { alias: change.alias };
}

function routeRequest(change: Change & { kind: "set-route" }, indexOf: (link: string) => number): NetlinkRequest {
  const { kind: _, link, action, scope, ...rest } = change;
  const direct = action === "forward" && change.via === undefined && familyOf(change.to) === 4;
  return setRoute({
    ...rest,
    table: routeTable.main,
    type: action === "forward" ? routeType.unicast : routeType.unreachable,
    // A destination that is itself on the link has scope "link"; whatever lies behind a gateway is "global", as is all of IPv6.
    scope: routeScope[scope ?? (direct ? "link" : "global")],
    ...(link === undefined ? {} : { index: indexOf(link) }),
  });
}

/** Of the links that are there now, all with one question; who is not there is not in the answer. */
function findLinkIndexes(socket: NetlinkSocket, kernelName: string, links: ReadonlySet<string>): Map<string, number> {
  const indexes = new Map<string, number>();
  if (links.size === 0) return indexes;
  const requests = [...links].map((link) => ({ ...getLink(link), flags: flag.ack }));
  // A link's description is at most as long as four acknowledgements.
  const atOnce = Math.max(1, Math.floor(socket.pipelineMax / 4));
  for (let start = 0; start < requests.length; start += atOnce) {
    const { messages } = socket.transaction(requests.slice(start, start + atOnce), `find links in ${kernelName}`);
    for (const message of messages) {
      const found = decodeLink(message);
      if (found !== undefined) indexes.set(found.name, found.index);
    }
  }
  return indexes;
}

function findLinkIndex(socket: NetlinkSocket, kernelName: string, link: string): number {
  const [failure, messages] = lookUp(socket, kernelName, link);
  if (failure !== undefined) {
    const cure =
      failure.code === "ENODEV" ? `there is no link ${link}: it was deleted, renamed or moved away` : undefined;
    throw failureError(`find link ${link}`, failure, cure);
  }
  for (const message of messages) {
    const found = decodeLink(message);
    if (found !== undefined) return found.index;
  }
  throw new KernelError(`find link ${link}: ENODATA: the kernel gave no answer`, { code: "ENODATA" });
}

function lookUp(
  socket: NetlinkSocket,
  kernelName: string,
  link: string,
): [NetlinkFailure | undefined, readonly NetlinkMessage[]] {
  const request = getLink(link);
  const answer = socket.transaction([{ ...request, flags: flag.ack }], `find link ${link} in ${kernelName}`);
  return [answer.failures.get(0), answer.messages];
}

/** Links that are named by their index in the change's messages. */
function linksByIndex(change: Change): readonly string[] {
  switch (change.kind) {
    case "set-link":
      return [
        ...(change.rename === undefined ? [] : [change.name]),
        ...(change.master === undefined || change.master === null ? [] : [change.master]),
      ];
    case "set-bridge-port":
      return [change.name];
    case "create-macvlan":
      return [change.lower];
    case "set-address":
    case "delete-address":
    case "set-neighbour":
    case "delete-neighbour":
    case "set-forwarding":
    case "delete-forwarding":
      return [change.link];
    case "set-route":
      return change.link === undefined ? [] : [change.link];
    case "create-bridge":
    case "create-vxlan":
    case "create-veth":
    case "delete-link":
    case "delete-link-group":
    case "delete-route":
      return [];
  }
}

/** Names whose index may be another one after the change. */
function linksRenumbered(change: Change): readonly string[] {
  switch (change.kind) {
    case "create-bridge":
    case "create-vxlan":
    case "create-macvlan":
    case "delete-link":
      return [change.name];
    case "create-veth":
      return [change.name, change.peer.name];
    case "set-link":
      if (change.rename !== undefined) return [change.name, change.rename];
      return change.namespaceFd === undefined ? [] : [change.name];
    case "delete-link-group":
    case "set-bridge-port":
    case "set-address":
    case "delete-address":
    case "set-route":
    case "delete-route":
    case "set-neighbour":
    case "delete-neighbour":
    case "set-forwarding":
    case "delete-forwarding":
      return [];
  }
}

/** Does this refusal of a deletion mean that there is nothing left to delete? */
function isGone(change: Change, code: string): boolean {
  switch (change.kind) {
    case "delete-link":
    case "delete-link-group":
      return code === "ENODEV";
    case "delete-address":
      return code === "ENODEV" || code === "EADDRNOTAVAIL";
    case "delete-route":
      return code === "ESRCH";
    case "delete-neighbour":
      return code === "ENODEV" || code === "ENOENT";
    case "delete-forwarding":
      // EOPNOTSUPP: the link is no port of a bridge any more.
      return code === "ENODEV" || code === "ENOENT" || (code === "EOPNOTSUPP" && change.remote === undefined);
    case "create-bridge":
    case "create-vxlan":
    case "create-veth":
    case "create-macvlan":
    case "set-link":
    case "set-bridge-port":
    case "set-address":
    case "set-route":
    case "set-neighbour":
    case "set-forwarding":
      return false;
  }
}

function changeError(kernelName: string, change: Change, failure: NetlinkFailure, index: number): KernelError {
  return failureError(describeChange(kernelName, change), failure, cureOf(change, failure.code), index);
}

/** The change needs a link's index and there is no such link. */
function missingLinkError(kernelName: string, change: Change, cause: KernelError, index: number): KernelError {
  return new KernelError(`${describeChange(kernelName, change)}: ${cause.message}`, {
    code: cause.code,
    index,
    cause,
    ...(cause.kernelText === undefined ? {} : { kernelText: cause.kernelText }),
  });
}

/** The likely reason and cure of a refusal, where we know one. */
function cureOf(change: Change, code: string): string | undefined {
  const creates = change.kind.startsWith("create-");
  switch (code) {
    case "EPERM":
      return "changing a network needs CAP_NET_ADMIN in the user namespace that owns it";
    case "EEXIST":
      if (change.kind === "create-vxlan")
        return "another program has a link of this name, or this network identifier (VNI) on this port: delete it or choose another";
      return creates ? "another program owns it: delete it or choose another name" : undefined;
    case "EOPNOTSUPP":
      return creates
        ? "this kernel has no such kind of link: load its module (modprobe bridge, veth, vxlan, macvlan)"
        : undefined;
    case "ENODEV":
      return "a link it names is missing: it was deleted or moved to another namespace meanwhile";
    case "EBUSY":
      return "the link is in use: set it down first, or choose another name";
    case "EXFULL":
      return "a bridge takes 1023 ports: use more nodes";
    case "ENETUNREACH":
      return change.kind === "set-route"
        ? "the gateway is on no link that is up: set an address first, or mark the route onlink"
        : undefined;
    case "ENETDOWN":
      return "the link is down: set it up first";
    case "ENOBUFS":
      return change.kind === "set-neighbour"
        ? "the neighbour table of the machine is full: raise net.ipv4.neigh.default.gc_thresh3"
        : undefined;
    default:
      return undefined;
  }
}

function describe(change: Change): string {
  switch (change.kind) {
    case "create-bridge":
      return `create bridge link ${change.name}`;
    case "create-vxlan":
      return `create vxlan link ${change.name}`;
    case "create-veth":
      return `create veth links ${change.name} and ${change.peer.name}`;
    case "create-macvlan":
      return `create macvlan link ${change.name} on ${change.lower}`;
    case "set-link":
      return `set link ${change.name}`;
    case "set-bridge-port":
      return `set bridge port ${change.name}`;
    case "delete-link":
      return `delete link ${change.name}`;
    case "delete-link-group":
      return `delete the links of group ${change.group}`;
    case "set-address":
      return `set address ${change.address}/${change.bits} on ${change.link}`;
    case "delete-address":
      return `delete address ${change.address}/${change.bits} from ${change.link}`;
    case "set-route": {
      const via = change.via === undefined ? "" : ` via ${change.via}`;
      const link = change.link === undefined ? "" : ` on ${change.link}`;
      return `set ${change.action === "forward" ? "" : `${change.action} `}route to ${change.to}${via}${link}`;
    }
    case "delete-route":
      return `delete route to ${change.to} (metric ${change.metric})`;
    case "set-neighbour":
      return `set neighbour ${change.address} at ${change.mac} on ${change.link}`;
    case "delete-neighbour":
      return `delete neighbour ${change.address} from ${change.link}`;
    case "set-forwarding":
      return `set forwarding of ${change.mac}${change.remote === undefined ? "" : ` to ${change.remote}`} on ${change.link}`;
    case "delete-forwarding":
      return `delete forwarding of ${change.mac}${change.remote === undefined ? "" : ` to ${change.remote}`} from ${change.link}`;
  }
}
