// Links by rtnetlink (linux/rtnetlink.h, linux/if_link.h): create, set and delete messages, and what a dump says.
// Here are bridges, veth pairs, VXLAN and macvlan links and bridge ports; of other kinds a dump gives what all links have in common.
//
// Not here: addresses and routes (route.ts), neighbours and forwarding entries (neighbour.ts), names to indexes (kernel/linux.ts).

import { addressBytes, addressFromBytes, familyOf, type Address } from "../../ip/address.ts";
import { macBytes, macFromBytes, type Mac } from "../../ip/mac.ts";
import {
  NetlinkFormatError,
  buildBody,
  parseAttributes,
  putU32,
  readBe16,
  readI32,
  readString,
  readU16,
  readU32,
  readU8,
  type AttributeWriter,
  type Attributes,
} from "./attributes.ts";
import { flag, type NetlinkMessage, type NetlinkRequest } from "./message.ts";

/** linux/rtnetlink.h: RTM_NEWLINK and its family. */
export const linkMessage = { new: 16, delete: 17, get: 18, set: 19 } as const;

/** What kind of link to create, with what only this kind has. */
export type LinkKind =
  | { readonly kind: "bridge" }
  | {
      readonly kind: "vxlan";
      readonly vni: number;
      readonly port: number;
      readonly local: Address;
      readonly learning: boolean;
    }
  | {
      readonly kind: "veth";
      /** Of each end; a pair a processor unless said. */
      readonly queues?: number;
      readonly peer: LinkIdentity & { readonly namespaceFd?: number };
    }
  | {
      readonly kind: "macvlan";
      /** Index of the link whose wire it shares. */
      readonly lower: number;
      readonly mode: MacvlanMode;
      /** Descriptor of the network namespace it is made in. */
      readonly namespaceFd?: number;
    };

/** To whom of the same wire a macvlan link speaks at once: to all others of mode bridge, or to none. */
export type MacvlanMode = "bridge" | "private";

/** What may be said of any link at its creation. */
export interface LinkIdentity {
  readonly name: string;
  readonly mac?: Mac;
  readonly mtu?: number;
}

/** What of a link is to change; absent: stays as it is. */
export interface LinkSettings {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly mac?: Mac;
  /** Index of the bridge it becomes a port of; 0: of none. */
  readonly master?: number;
  readonly alias?: string;
  readonly rename?: string;
  /** Descriptor of the network namespace it moves to. */
  readonly namespaceFd?: number;
  /** How IPv6 forms its link-local address. */
  readonly addressGeneration?: "none" | "eui64";
  /** A number shared by links that are treated together; 0 at first. */
  readonly group?: number;
  /** Of a macvlan link. */
  readonly macvlanMode?: MacvlanMode;
  /** The link has no carrier, whatever its wire says. */
  readonly protoDown?: boolean;
}

/** Switches of a bridge port. */
export interface BridgePort {
  readonly isolated: boolean;
  readonly hairpin: boolean;
  readonly learning: boolean;
  readonly unicastFlood: boolean;
  readonly multicastFlood: boolean;
  readonly broadcastFlood: boolean;
  readonly neighbourSuppression: boolean;
}

/** A link as RTM_NEWLINK describes it, in dumps and notifications. */
export interface LinkInfo {
  readonly index: number;
  readonly name: string;
  /** IFLA_INFO_KIND; `loopback` for ARPHRD_LOOPBACK, `` where the kernel gives none. */
  readonly kind: string;
  /** Only of Ethernet links (ARPHRD_ETHER). */
  readonly mac?: Mac;
  readonly mtu: number;
  /** IFF_* */
  readonly flags: number;
  readonly alias?: string;
  readonly master?: number;
  /** IFLA_LINK: a veth's other end, a tunnel's lower link. */
  readonly peer?: number;
  readonly linkNetnsId?: number;
  readonly bridgePort?: BridgePort;
  readonly vxlan?: {
    readonly vni: number;
    readonly port: number;
    readonly local?: Address;
    readonly learning: boolean;
  };
}

/** linux/if.h: IFF_* */
export const linkFlag = { up: 0x1, loopback: 0x8, running: 0x40, lowerUp: 0x10000 } as const;

/** `ip link add`: fails with EEXIST where the name is taken. The kernel ignores an alias here: set it afterwards. */
export function createLink(identity: LinkIdentity, kind: LinkKind): NetlinkRequest {
  return {
    type: linkMessage.new,
    flags: flag.create | flag.exclusive,
    body: buildBody(linkHeader({}), (writer) => {
      writeIdentity(writer, identity, () => {
        if (kind.kind !== "macvlan") return;
        if (kind.namespaceFd !== undefined) writer.u32(IFLA_NET_NS_FD, kind.namespaceFd);
        writer.u32(IFLA_LINK, kind.lower);
      });
      if (kind.kind === "veth") writeQueues(writer, kind.queues);
      writer.group(IFLA_LINKINFO, (info) => {
        info.text(IFLA_INFO_KIND, kind.kind);
        writeKind(info, kind);
      });
    }),
  };
}

/** `ip link set`: changes a link known by its index, or by its name where it is not renamed. */
export function setLink(
  link: { readonly index: number } | { readonly name: string },
  settings: LinkSettings,
): NetlinkRequest {
  const { up } = settings;
  const header = linkHeader({
    ...("index" in link ? { index: link.index } : {}),
    ...(up === undefined ? {} : { flags: up ? linkFlag.up : 0, change: linkFlag.up }),
  });
  return {
    type: linkMessage.new,
    flags: 0,
    body: buildBody(header, (writer) => {
      if ("name" in link) writer.string(IFLA_IFNAME, link.name);
      writeSettings(writer, settings);
    }),
  };
}

/** `bridge link set`: switches of a bridge port, known by its index. */
export function setBridgePort(index: number, settings: Partial<BridgePort>): NetlinkRequest {
  return {
    type: linkMessage.set,
    flags: 0,
    body: buildBody(linkHeader({ family: AF_BRIDGE, index }), (writer) => {
      writer.nested(IFLA_PROTINFO, (port) => {
        for (const [name, type] of bridgePortAttributes) {
          const value = settings[name];
          if (value !== undefined) port.u8(type, value ? 1 : 0);
        }
      });
    }),
  };
}

/** `ip link delete` by name: ENODEV where there is none. */
export function deleteLink(name: string): NetlinkRequest {
  return {
    type: linkMessage.delete,
    flags: 0,
    body: buildBody(linkHeader({}), (writer) => writer.string(IFLA_IFNAME, name)),
  };
}

/** `ip link delete group`: all links of a group at the price of one. ENODEV where there are none. */
export function deleteLinkGroup(group: number): NetlinkRequest {
  return {
    type: linkMessage.delete,
    flags: 0,
    body: buildBody(linkHeader({}), (writer) => writer.u32(IFLA_GROUP, group)),
  };
}

/** One link by name, without its statistics; no dump. */
export function getLink(name: string): NetlinkRequest {
  return {
    type: linkMessage.get,
    flags: 0,
    body: buildBody(linkHeader({}), (writer) => {
      writer.string(IFLA_IFNAME, name).u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    }),
  };
}

/** All links, without their statistics: a dump. */
export function getLinks(): NetlinkRequest {
  return {
    type: linkMessage.get,
    flags: 0,
    body: buildBody(linkHeader({}), (writer) => writer.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)),
  };
}

/** Reads RTM_NEWLINK and RTM_DELLINK. Undefined for bridges' own messages about ports (AF_BRIDGE). Throws NetlinkFormatError. */
export function decodeLink(message: NetlinkMessage): LinkInfo | undefined {
  const { body } = message;
  if (body.length < linkHeaderBytes)
    throw new NetlinkFormatError(`a link message of ${body.length} bytes; 16 are needed`);
  // struct ifinfomsg: family, padding, ifi_type, ifi_index, ifi_flags, ifi_change
  if (body[0] === AF_BRIDGE) return undefined;
  const hardware = readU16(body.subarray(2));
  const attributes = parseAttributes(body, linkHeaderBytes);
  const info = nested(attributes, IFLA_LINKINFO);
  const kind = text(info, IFLA_INFO_KIND);
  const mac = attributes.get(IFLA_ADDRESS);
  const alias = text(attributes, IFLA_IFALIAS);
  const master = number(attributes, IFLA_MASTER);
  const peer = number(attributes, IFLA_LINK);
  const linkNetnsId = attributes.get(IFLA_LINK_NETNSID);
  return {
    index: readI32(body.subarray(4)),
    name: text(attributes, IFLA_IFNAME) ?? "",
    kind: kind ?? (hardware === ARPHRD_LOOPBACK ? "loopback" : ""),
    ...(hardware === ARPHRD_ETHER && mac?.length === 6 ? { mac: macFromBytes(mac) } : {}),
    mtu: number(attributes, IFLA_MTU) ?? 0,
    flags: readU32(body.subarray(8)),
    ...(alias === undefined ? {} : { alias }),
    ...(master === undefined ? {} : { master }),
    ...(peer === undefined ? {} : { peer }),
    ...(linkNetnsId === undefined ? {} : { linkNetnsId: readI32(linkNetnsId) }),
    ...(text(info, IFLA_INFO_SLAVE_KIND) === "bridge"
      ? { bridgePort: readPort(nested(info, IFLA_INFO_SLAVE_DATA)) }
      : {}),
    ...(kind === "vxlan" ? { vxlan: readVxlan(nested(info, IFLA_INFO_DATA)) } : {}),
  };
}

/** Reads a bridge's own message about one of its ports (AF_BRIDGE). Undefined for other link messages. Throws NetlinkFormatError. */
export function decodeBridgePort(message: NetlinkMessage): { index: number; bridgePort: BridgePort } | undefined {
  const { body } = message;
  if (body.length < linkHeaderBytes || body[0] !== AF_BRIDGE) return undefined;
  const port = parseAttributes(body, linkHeaderBytes).get(IFLA_PROTINFO);
  if (port === undefined) return undefined;
  return { index: readI32(body.subarray(4)), bridgePort: readPort(parseAttributes(port)) };
}

// linux/socket.h
const AF_INET6 = 10;
const AF_BRIDGE = 7;
// linux/if_arp.h
const ARPHRD_ETHER = 1;
const ARPHRD_LOOPBACK = 772;
// linux/if_link.h: IFLA_*
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_PROTINFO = 12;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_AF_SPEC = 26;
const IFLA_GROUP = 27;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const IFLA_NUM_TX_QUEUES = 31;
const IFLA_NUM_RX_QUEUES = 32;
const IFLA_LINK_NETNSID = 37;
const IFLA_PROTO_DOWN = 39;
// linux/if_link.h: IFLA_INFO_*
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
// linux/veth.h
const VETH_INFO_PEER = 1;
// linux/if_link.h: IFLA_MACVLAN_MODE; MACVLAN_MODE_PRIVATE 1, MACVLAN_MODE_BRIDGE 4
const IFLA_MACVLAN_MODE = 1;
const macvlanModes: Readonly<Record<MacvlanMode, number>> = { private: 1, bridge: 4 };
// linux/if_link.h: IFLA_VXLAN_*
const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_LOCAL6 = 17;
// linux/if_link.h: IFLA_INET6_ADDR_GEN_MODE; IN6_ADDR_GEN_MODE_EUI64 0, _NONE 1
const IFLA_INET6_ADDR_GEN_MODE = 8;
// linux/rtnetlink.h
const RTEXT_FILTER_SKIP_STATS = 1 << 3;

// linux/if_link.h: IFLA_BRPORT_*
const bridgePortAttributes: readonly (readonly [keyof BridgePort, number])[] = [
  ["hairpin", 4], // IFLA_BRPORT_MODE
  ["unicastFlood", 9], // IFLA_BRPORT_UNICAST_FLOOD
  ["multicastFlood", 27], // IFLA_BRPORT_MCAST_FLOOD
  ["broadcastFlood", 30], // IFLA_BRPORT_BCAST_FLOOD
  ["learning", 8], // IFLA_BRPORT_LEARNING
  ["neighbourSuppression", 32], // IFLA_BRPORT_NEIGH_SUPPRESS
  ["isolated", 33], // IFLA_BRPORT_ISOLATED
];

const linkHeaderBytes = 16;

/** struct ifinfomsg */
function linkHeader(fields: { family?: number; index?: number; flags?: number; change?: number }): Uint8Array {
  const header = new Uint8Array(linkHeaderBytes);
  header[0] = fields.family ?? 0;
  putU32(header, 4, fields.index ?? 0);
  putU32(header, 8, fields.flags ?? 0);
  putU32(header, 12, fields.change ?? 0);
  return header;
}

/** `place` writes where it is, between the two as `ip` does. */
function writeIdentity(writer: AttributeWriter, identity: LinkIdentity, place = (): void => {}): void {
  if (identity.mac !== undefined) writer.bytes(IFLA_ADDRESS, macBytes(identity.mac));
  if (identity.mtu !== undefined) writer.u32(IFLA_MTU, identity.mtu);
  place();
  writer.string(IFLA_IFNAME, identity.name);
}

function writeSettings(writer: AttributeWriter, settings: LinkSettings): void {
  if (settings.rename !== undefined) writer.string(IFLA_IFNAME, settings.rename);
  if (settings.mac !== undefined) writer.bytes(IFLA_ADDRESS, macBytes(settings.mac));
  if (settings.mtu !== undefined) writer.u32(IFLA_MTU, settings.mtu);
  if (settings.master !== undefined) writer.u32(IFLA_MASTER, settings.master);
  if (settings.alias !== undefined) writer.text(IFLA_IFALIAS, settings.alias);
  if (settings.namespaceFd !== undefined) writer.u32(IFLA_NET_NS_FD, settings.namespaceFd);
  if (settings.group !== undefined) writer.u32(IFLA_GROUP, settings.group);
  if (settings.protoDown !== undefined) writer.u8(IFLA_PROTO_DOWN, settings.protoDown ? 1 : 0);
  const { addressGeneration, macvlanMode } = settings;
  if (macvlanMode !== undefined) {
    writer.group(IFLA_LINKINFO, (info) => {
      info.text(IFLA_INFO_KIND, "macvlan");
      writeMacvlan(info, macvlanMode);
    });
  }
  if (addressGeneration === undefined) return;
  writer.group(IFLA_AF_SPEC, (families) => {
    families.group(AF_INET6, (inet6) => inet6.u8(IFLA_INET6_ADDR_GEN_MODE, addressGeneration === "none" ? 1 : 0));
  });
}

function writeQueues(writer: AttributeWriter, queues: number | undefined): void {
  if (queues !== undefined) writer.u32(IFLA_NUM_TX_QUEUES, queues).u32(IFLA_NUM_RX_QUEUES, queues);
}

function writeMacvlan(info: AttributeWriter, mode: MacvlanMode): void {
  info.group(IFLA_INFO_DATA, (data) => data.u32(IFLA_MACVLAN_MODE, macvlanModes[mode]));
}

function writeKind(info: AttributeWriter, kind: LinkKind): void {
  switch (kind.kind) {
    case "bridge":
      return;
    case "vxlan":
      info.group(IFLA_INFO_DATA, (data) => {
        data.u32(IFLA_VXLAN_ID, kind.vni);
        data.bytes(familyOf(kind.local) === 4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, addressBytes(kind.local));
        data.u8(IFLA_VXLAN_LEARNING, kind.learning ? 1 : 0);
        data.be16(IFLA_VXLAN_PORT, kind.port);
      });
      return;
    case "macvlan":
      return writeMacvlan(info, kind.mode);
    case "veth":
      info.group(IFLA_INFO_DATA, (data) => {
        data.group(VETH_INFO_PEER, (peer) => {
          peer.raw(linkHeader({}));
          writeIdentity(peer, kind.peer);
          writeQueues(peer, kind.queues);
          if (kind.peer.namespaceFd !== undefined) peer.u32(IFLA_NET_NS_FD, kind.peer.namespaceFd);
        });
      });
      return;
  }
}

function readPort(data: Attributes): BridgePort {
  const port: Partial<Record<keyof BridgePort, boolean>> = {};
  for (const [name, type] of bridgePortAttributes) {
    const value = data.get(type);
    // A kernel that does not know a switch behaves as without it.
    port[name] = value !== undefined && readU8(value) !== 0;
  }
  return port as BridgePort;
}

function readVxlan(data: Attributes): NonNullable<LinkInfo["vxlan"]> {
  const port = data.get(IFLA_VXLAN_PORT);
  const learning = data.get(IFLA_VXLAN_LEARNING);
  const local = data.get(IFLA_VXLAN_LOCAL) ?? data.get(IFLA_VXLAN_LOCAL6);
  const address = local === undefined ? undefined : readAddress(local);
  return {
    vni: number(data, IFLA_VXLAN_ID) ?? 0,
    port: port === undefined ? 0 : readBe16(port),
    // The kernel gives 0.0.0.0 or :: where none was set.
    ...(address === undefined || address === "0.0.0.0" || address === "::" ? {} : { local: address }),
    learning: learning !== undefined && readU8(learning) !== 0,
  };
}

/** An address of 4 or 16 bytes; NetlinkFormatError for any other length. */
export function readAddress(value: Uint8Array): Address {
  if (value.length !== 4 && value.length !== 16)
    throw new NetlinkFormatError(`an address of ${value.length} bytes; it has 4 or 16`);
  return addressFromBytes(value);
}

function nested(attributes: Attributes, type: number): Attributes {
  const value = attributes.get(type);
  return value === undefined ? new Map() : parseAttributes(value);
}

function text(attributes: Attributes, type: number): string | undefined {
  const value = attributes.get(type);
  return value === undefined ? undefined : readString(value);
}

function number(attributes: Attributes, type: number): number | undefined {
  const value = attributes.get(type);
  return value === undefined ? undefined : readU32(value);
}
