// Addresses, routes and policy rules by rtnetlink (linux/if_addr.h, linux/rtnetlink.h, linux/fib_rules.h).
// Links are known by their index here; links themselves are in link.ts, neighbours in neighbour.ts.

import { addressBytes, familyOf, type Address, type Family } from "../../ip/address.ts";
import { prefixAddress, prefixBits, prefixOf, type Prefix } from "../../ip/prefix.ts";
import {
  NetlinkFormatError,
  buildBody,
  parseAttributes,
  putU32,
  readI32,
  readU16,
  readU32,
  type AttributeWriter,
  type Attributes,
} from "./attributes.ts";
import { readAddress } from "./link.ts";
import { flag, type NetlinkMessage, type NetlinkRequest } from "./message.ts";

/** linux/rtnetlink.h: RTM_NEWADDR … RTM_GETRULE. */
export const addressMessage = { new: 20, delete: 21, get: 22 } as const;
export const routeMessage = { new: 24, delete: 25, get: 26 } as const;
export const ruleMessage = { new: 32, delete: 33, get: 34 } as const;

/** linux/rtnetlink.h: RT_SCOPE_* */
export const routeScope = { global: 0, site: 200, link: 253, host: 254, nowhere: 255 } as const;
/** linux/rtnetlink.h: RTN_* */
export const routeType = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
} as const;
/** linux/rtnetlink.h: RT_TABLE_* */
export const routeTable = { main: 254, local: 255 } as const;

/** An address on a link. */
export interface AddressSpec {
  readonly index: number;
  readonly address: Address;
  readonly bits: number;
  /** RT_SCOPE_* */
  readonly scope: number;
}

export interface AddressInfo extends AddressSpec {
  /** IFA_F_* */
  readonly flags: number;
}

/** linux/if_addr.h: IFA_F_* */
export const addressFlag = { noDuplicateDetection: 0x02, tentative: 0x40, permanent: 0x80 } as const;

/** A route to set. */
export interface RouteSpec {
  readonly table: number;
  readonly to: Prefix;
  /** RTN_UNICAST or RTN_UNREACHABLE … */
  readonly type: number;
  readonly index?: number;
  /** May be of the other family than `to` (RTA_VIA). */
  readonly via?: Address;
  readonly onlink?: boolean;
  readonly source?: Address;
  readonly mtu?: number;
  readonly metric: number;
  readonly protocol: number;
  readonly scope: number;
}

/** A route as a dump gives it; of several next hops (RTA_MULTIPATH) the first. */
export interface RouteInfo extends RouteSpec {
  readonly family: Family;
  readonly onlink: boolean;
}

/** A policy routing rule as a dump gives it. */
export interface RuleInfo {
  readonly family: Family;
  readonly priority: number;
  readonly table: number;
  readonly from?: Prefix;
  readonly to?: Prefix;
  readonly mark?: number;
  readonly markMask?: number;
}

/** `ip address replace`; IPv6 without duplicate address detection, so that the address can be used at once. */
export function setAddress(spec: AddressSpec): NetlinkRequest {
  const flags = familyOf(spec.address) === 6 ? addressFlag.noDuplicateDetection : 0;
  return { type: addressMessage.new, flags: flag.create | flag.replace, body: addressBody(spec, flags) };
}

/** `ip address delete`: EADDRNOTAVAIL where there is none. */
export function deleteAddress(spec: Omit<AddressSpec, "scope">): NetlinkRequest {
  return { type: addressMessage.delete, flags: 0, body: addressBody({ ...spec, scope: routeScope.global }, 0) };
}

/** All addresses of both families: a dump. */
export function getAddresses(): NetlinkRequest {
  return { type: addressMessage.get, flags: 0, body: new Uint8Array(addressHeaderBytes) };
}

/** `ip route replace`: by destination and metric. */
export function setRoute(spec: RouteSpec): NetlinkRequest {
  return {
    type: routeMessage.new,
    flags: flag.create | flag.replace,
    body: buildBody(routeHeader(spec), (writer) => writeRoute(writer, spec)),
  };
}

/** `ip route delete` by destination, metric and protocol: ESRCH where there is none. */
export function deleteRoute(spec: Pick<RouteSpec, "table" | "to" | "metric" | "protocol">): NetlinkRequest {
  // fib_table_delete: type 0 and scope "nowhere" mean any. IPv6 has no scopes.
  const scope = familyOf(spec.to) === 4 ? routeScope.nowhere : routeScope.global;
  return {
    type: routeMessage.delete,
    flags: 0,
    body: buildBody(routeHeader({ ...spec, type: 0, scope }), (writer) => {
      writeDestination(writer, spec.to);
      writeMetricAndTable(writer, spec);
    }),
  };
}

/** All routes of one family and one table: a dump. Kernels before 4.20 give all tables. */
export function getRoutes(family: Family, table: number): NetlinkRequest {
  const header = new Uint8Array(routeHeaderBytes);
  header[0] = familyNumber(family);
  header[4] = table;
  return { type: routeMessage.get, flags: 0, body: header };
}

/** All policy rules of one family: a dump. */
export function getRules(family: Family): NetlinkRequest {
  const header = new Uint8Array(routeHeaderBytes);
  header[0] = familyNumber(family);
  return { type: ruleMessage.get, flags: 0, body: header };
}

/** Reads RTM_NEWADDR and RTM_DELADDR. Undefined for other families. Throws NetlinkFormatError. */
export function decodeAddress(message: NetlinkMessage): AddressInfo | undefined {
  const { body } = message;
  if (body.length < addressHeaderBytes)
    throw new NetlinkFormatError(`an address message of ${body.length} bytes; 8 are needed`);
  if (familyOfNumber(body[0]!) === undefined) return undefined;
  const attributes = parseAttributes(body, addressHeaderBytes);
  // IFA_LOCAL is ours, IFA_ADDRESS a point-to-point link's other end; IPv6 gives only the latter where there is no other end.
  const value = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  if (value === undefined) return undefined;
  const flags = attributes.get(IFA_FLAGS);
  return {
    index: readI32(body.subarray(4)),
    address: readAddress(value),
    bits: body[1]!,
    scope: body[3]!,
    flags: flags === undefined ? body[2]! : readU32(flags),
  };
}

/** Reads RTM_NEWROUTE and RTM_DELROUTE. Undefined for other families and for cached clones. Throws NetlinkFormatError. */
export function decodeRoute(message: NetlinkMessage): RouteInfo | undefined {
  const { body } = message;
  const header = ruleOrRouteHeader(body, "route");
  if (header === undefined || (header.flags & RTM_F_CLONED) !== 0) return undefined;
  const attributes = parseAttributes(body, routeHeaderBytes);
  const hop = nextHop(attributes, header.flags);
  const source = attributes.get(RTA_PREFSRC);
  const mtu = routeMtu(attributes);
  return {
    family: header.family,
    table: number(attributes, RTA_TABLE) ?? header.table,
    to: prefix(header.family, attributes.get(RTA_DST), header.destinationBits),
    type: body[7]!,
    ...hop,
    ...(source === undefined ? {} : { source: readAddress(source) }),
    ...(mtu === undefined ? {} : { mtu }),
    metric: number(attributes, RTA_PRIORITY) ?? 0,
    protocol: body[5]!,
    scope: body[6]!,
  };
}

/** Reads RTM_NEWRULE and RTM_DELRULE. Undefined for other families. Throws NetlinkFormatError. */
export function decodeRule(message: NetlinkMessage): RuleInfo | undefined {
  const { body } = message;
  const header = ruleOrRouteHeader(body, "rule");
  if (header === undefined) return undefined;
  const attributes = parseAttributes(body, routeHeaderBytes);
  const from = attributes.get(FRA_SRC);
  const to = attributes.get(FRA_DST);
  const mark = number(attributes, FRA_FWMARK);
  const markMask = number(attributes, FRA_FWMASK);
  return {
    family: header.family,
    priority: number(attributes, FRA_PRIORITY) ?? 0,
    table: number(attributes, FRA_TABLE) ?? header.table,
    ...(from === undefined ? {} : { from: prefix(header.family, from, header.sourceBits) }),
    ...(to === undefined ? {} : { to: prefix(header.family, to, header.destinationBits) }),
    ...(mark === undefined ? {} : { mark }),
    ...(markMask === undefined ? {} : { markMask }),
  };
}

// linux/socket.h
const AF_INET = 2;
const AF_INET6 = 10;
// linux/if_addr.h: IFA_*
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
// linux/rtnetlink.h: RTA_*
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const RTA_VIA = 18;
// linux/rtnetlink.h: RTAX_MTU, RTNH_F_ONLINK, RTM_F_CLONED
const RTAX_MTU = 2;
const RTNH_F_ONLINK = 4;
const RTM_F_CLONED = 0x200;
// linux/fib_rules.h: FRA_*
const FRA_DST = 1;
const FRA_SRC = 2;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_TABLE = 15;
const FRA_FWMASK = 16;

const addressHeaderBytes = 8;
const routeHeaderBytes = 12;
const nextHopBytes = 8;

/** struct ifaddrmsg: family, prefix length, flags, scope, index; then the address as both local and peer, as `ip` sends it. */
function addressBody(spec: AddressSpec, flags: number): Uint8Array {
  const header = new Uint8Array(addressHeaderBytes);
  header[0] = familyNumber(familyOf(spec.address));
  header[1] = spec.bits;
  header[2] = flags;
  header[3] = spec.scope;
  putU32(header, 4, spec.index);
  const bytes = addressBytes(spec.address);
  return buildBody(header, (writer) => writer.bytes(IFA_LOCAL, bytes).bytes(IFA_ADDRESS, bytes));
}

/** struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags */
function routeHeader(spec: Pick<RouteSpec, "table" | "to" | "protocol" | "type" | "scope" | "onlink">): Uint8Array {
  const header = new Uint8Array(routeHeaderBytes);
  header[0] = familyNumber(familyOf(spec.to));
  header[1] = prefixBits(spec.to);
  // RT_TABLE_UNSPEC: a number above 255 is in RTA_TABLE only.
  header[4] = spec.table > 255 ? 0 : spec.table;
  header[5] = spec.protocol;
  header[6] = spec.scope;
  header[7] = spec.type;
  putU32(header, 8, spec.onlink === true ? RTNH_F_ONLINK : 0);
  return header;
}

function writeDestination(writer: AttributeWriter, to: Prefix): void {
  if (prefixBits(to) > 0) writer.bytes(RTA_DST, addressBytes(prefixAddress(to)));
}

function writeMetricAndTable(writer: AttributeWriter, spec: Pick<RouteSpec, "table" | "metric">): void {
  if (spec.metric > 0) writer.u32(RTA_PRIORITY, spec.metric);
  if (spec.table > 255) writer.u32(RTA_TABLE, spec.table);
}

function writeRoute(writer: AttributeWriter, spec: RouteSpec): void {
  const { to, via, source, mtu, index } = spec;
  writeDestination(writer, to);
  if (via !== undefined) writeGateway(writer, via, familyOf(to));
  if (source !== undefined) writer.bytes(RTA_PREFSRC, addressBytes(source));
  writeMetricAndTable(writer, spec);
  if (index !== undefined) writer.u32(RTA_OIF, index);
  if (mtu !== undefined) writer.group(RTA_METRICS, (metrics) => metrics.u32(RTAX_MTU, mtu));
}

function writeGateway(writer: AttributeWriter, via: Address, family: Family): void {
  const bytes = addressBytes(via);
  if (familyOf(via) === family) {
    writer.bytes(RTA_GATEWAY, bytes);
    return;
  }
  // struct rtvia: family (16 bits), address
  const value = new Uint8Array(2 + bytes.length);
  value[0] = familyNumber(familyOf(via));
  value.set(bytes, 2);
  writer.bytes(RTA_VIA, value);
}

/** What struct rtmsg and struct fib_rule_hdr have in common. */
function ruleOrRouteHeader(
  body: Uint8Array,
  what: string,
): { family: Family; destinationBits: number; sourceBits: number; table: number; flags: number } | undefined {
  if (body.length < routeHeaderBytes)
    throw new NetlinkFormatError(`a ${what} message of ${body.length} bytes; 12 are needed`);
  const family = familyOfNumber(body[0]!);
  if (family === undefined) return undefined;
  const [destinationBits, sourceBits] = [body[1]!, body[2]!];
  return { family, destinationBits, sourceBits, table: body[4]!, flags: readU32(body.subarray(8)) };
}

function nextHop(attributes: Attributes, flags: number): { index?: number; via?: Address; onlink: boolean } {
  const multipath = attributes.get(RTA_MULTIPATH);
  if (multipath === undefined || multipath.length < nextHopBytes)
    return {
      ...hopAddress(attributes),
      ...hopIndex(number(attributes, RTA_OIF)),
      onlink: (flags & RTNH_F_ONLINK) !== 0,
    };
  // struct rtnexthop: length, flags, hops, index; then the attributes of this hop.
  const length = readU16(multipath);
  if (length < nextHopBytes || length > multipath.length)
    throw new NetlinkFormatError(`a next hop says ${length} bytes of ${multipath.length}`);
  const hop = parseAttributes(multipath.subarray(0, length), nextHopBytes);
  return {
    ...hopAddress(hop),
    ...hopIndex(readI32(multipath.subarray(4))),
    onlink: (multipath[2]! & RTNH_F_ONLINK) !== 0,
  };
}

function hopIndex(index: number | undefined): { index?: number } {
  return index === undefined ? {} : { index };
}

function hopAddress(attributes: Attributes): { via?: Address } {
  const gateway = attributes.get(RTA_GATEWAY) ?? attributes.get(RTA_VIA)?.subarray(2);
  return gateway === undefined ? {} : { via: readAddress(gateway) };
}

function routeMtu(attributes: Attributes): number | undefined {
  const metrics = attributes.get(RTA_METRICS);
  return metrics === undefined ? undefined : number(parseAttributes(metrics), RTAX_MTU);
}

/** The prefix of an address attribute, absent for the default route. */
function prefix(family: Family, value: Uint8Array | undefined, bits: number): Prefix {
  const address = value === undefined ? (family === 4 ? "0.0.0.0" : "::") : readAddress(value);
  if (familyOf(address) !== family || bits > (family === 4 ? 32 : 128))
    throw new NetlinkFormatError(`${address}/${bits} is no IPv${family} prefix`);
  return prefixOf(address, bits);
}

function number(attributes: Attributes, type: number): number | undefined {
  const value = attributes.get(type);
  return value === undefined ? undefined : readU32(value);
}

function familyNumber(family: Family): number {
  return family === 4 ? AF_INET : AF_INET6;
}

function familyOfNumber(family: number): Family | undefined {
  return family === AF_INET ? 4 : family === AF_INET6 ? 6 : undefined;
}
