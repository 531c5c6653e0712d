// Connection tracking by nfnetlink (linux/netfilter/nfnetlink_conntrack.h): list connections, delete one.

import { addressBytes, familyOf, type Address } from "../../ip/address.ts";
import {
  NetlinkFormatError,
  buildBody,
  parseAttributes,
  readBe16,
  readBe32,
  readU8,
  type AttributeWriter,
  type Attributes,
} from "./attributes.ts";
import { readAddress } from "./link.ts";
import type { NetlinkMessage, NetlinkRequest } from "./message.ts";

// linux/netfilter/nfnetlink.h: NFNL_SUBSYS_CTNETLINK in the upper byte; IPCTNL_MSG_CT_NEW, _GET, _DELETE in the lower.
export const connectionMessage = { new: 0x100, get: 0x101, delete: 0x102 } as const;

/** One direction of a connection. ICMP has no ports; its identifier is not told. */
export interface ConnectionTuple {
  readonly protocol: number;
  readonly source: Address;
  readonly destination: Address;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

/** A tracked connection as a dump gives it. */
export interface ConnectionInfo {
  readonly original: ConnectionTuple;
  readonly reply: ConnectionTuple;
  readonly mark: number;
  /** IPS_* */
  readonly status: number;
  readonly timeoutSeconds: number;
  /** The kernel's number for it; guards a deletion against a successor with the same addresses. */
  readonly id?: number;
  readonly zone?: number;
  /** CTA_TUPLE_ORIG as it came: what a deletion names. */
  readonly originalBytes: Uint8Array;
}

/** linux/netfilter/nf_conntrack_common.h: IPS_ASSURED_BIT is 2. */
export const connectionStatus = { assured: 0x4 } as const;

/** What the kernel itself may leave out of a dump. Needs one address, for the family. */
export interface ConnectionFilter {
  readonly protocol: number;
  readonly destination?: Address;
  readonly destinationPort?: number;
  readonly replySource?: Address;
  readonly replySourcePort?: number;
}

/** All connections, or those the filter lets pass: a dump. Kernels before 5.8 ignore the filter, so check what comes. */
export function getConnections(filter?: ConnectionFilter): NetlinkRequest {
  const address = filter?.destination ?? filter?.replySource;
  if (filter === undefined || address === undefined) return request(connectionMessage.get, 0);
  const { protocol, destinationPort, replySourcePort } = filter;
  // net/netfilter/nf_conntrack_netlink.c ctnetlink_filter_match_tuple compares IPv6 addresses the wrong way round (seen in 6.18):
  // what is equal is left out. So they are not asked for, and the caller's own check does it.
  const four = familyOf(address) === 4;
  const destination = four ? filter.destination : undefined;
  const replySource = four ? filter.replySource : undefined;
  return request(connectionMessage.get, familyNumber(address), (writer) => {
    const original = writeFilterTuple(writer, CTA_TUPLE_ORIG, {
      protocol,
      ...(destination === undefined ? {} : { destination }),
      ...(destinationPort === undefined ? {} : { destinationPort }),
    });
    const reply = writeFilterTuple(writer, CTA_TUPLE_REPLY, {
      protocol,
      ...(replySource === undefined ? {} : { source: replySource }),
      ...(replySourcePort === undefined ? {} : { sourcePort: replySourcePort }),
    });
    writer.nested(CTA_FILTER, (flags) => {
      flags.u32(CTA_FILTER_ORIG_FLAGS, original).u32(CTA_FILTER_REPLY_FLAGS, reply);
    });
  });
}

/** Deletes exactly this connection: ENOENT where it is gone. */
export function deleteConnection(connection: ConnectionInfo): NetlinkRequest {
  return request(connectionMessage.delete, familyNumber(connection.original.source), (writer) => {
    writer.bytes(CTA_TUPLE_ORIG | NLA_F_NESTED, connection.originalBytes);
    if (connection.id !== undefined) writer.be32(CTA_ID, connection.id);
    if (connection.zone !== undefined) writer.be16(CTA_ZONE, connection.zone);
  });
}

/** Reads IPCTNL_MSG_CT_NEW. Undefined where addresses are missing. Throws NetlinkFormatError. */
export function decodeConnection(message: NetlinkMessage): ConnectionInfo | undefined {
  const { body } = message;
  if (body.length < headerBytes)
    throw new NetlinkFormatError(`a conntrack message of ${body.length} bytes; 4 are needed`);
  const attributes = parseAttributes(body, headerBytes);
  const originalBytes = attributes.get(CTA_TUPLE_ORIG);
  const replyBytes = attributes.get(CTA_TUPLE_REPLY);
  if (originalBytes === undefined || replyBytes === undefined) return undefined;
  const original = readTuple(originalBytes);
  const reply = readTuple(replyBytes);
  if (original === undefined || reply === undefined) return undefined;
  const id = number(attributes, CTA_ID);
  const zone = attributes.get(CTA_ZONE);
  return {
    original,
    reply,
    mark: number(attributes, CTA_MARK) ?? 0,
    status: number(attributes, CTA_STATUS) ?? 0,
    timeoutSeconds: number(attributes, CTA_TIMEOUT) ?? 0,
    ...(id === undefined ? {} : { id }),
    ...(zone === undefined ? {} : { zone: readBe16(zone) }),
    originalBytes,
  };
}

// linux/socket.h
const AF_INET = 2;
const AF_INET6 = 10;
const NLA_F_NESTED = 0x8000;
// linux/netfilter/nfnetlink_conntrack.h: CTA_*
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_TIMEOUT = 7;
const CTA_MARK = 8;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_FILTER = 25;
const CTA_FILTER_ORIG_FLAGS = 1;
const CTA_FILTER_REPLY_FLAGS = 2;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
// net/netfilter/nf_internals.h: CTA_FILTER_F_*, which parts of a filter's tuple count
const filterPart = {
  source: 1 << 0,
  destination: 1 << 1,
  protocol: 1 << 3,
  sourcePort: 1 << 4,
  destinationPort: 1 << 5,
};

const headerBytes = 4;

/** struct nfgenmsg: family, version 0, resource id 0 */
function request(type: number, family: number, write?: (writer: AttributeWriter) => void): NetlinkRequest {
  return { type, flags: 0, body: buildBody(Uint8Array.of(family, 0, 0, 0), write) };
}

/** Writes the given parts of a tuple; the flags that say which. */
function writeFilterTuple(
  writer: AttributeWriter,
  type: number,
  tuple: Partial<ConnectionTuple> & { readonly protocol: number },
): number {
  const { protocol, source, destination, sourcePort, destinationPort } = tuple;
  writer.nested(type, (parts) => {
    parts.nested(CTA_TUPLE_IP, (ip) => {
      if (source !== undefined) ip.bytes(familyOf(source) === 4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, addressBytes(source));
      if (destination !== undefined)
        ip.bytes(familyOf(destination) === 4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, addressBytes(destination));
    });
    parts.nested(CTA_TUPLE_PROTO, (proto) => {
      proto.u8(CTA_PROTO_NUM, protocol);
      if (sourcePort !== undefined) proto.be16(CTA_PROTO_SRC_PORT, sourcePort);
      if (destinationPort !== undefined) proto.be16(CTA_PROTO_DST_PORT, destinationPort);
    });
  });
  let flags = filterPart.protocol;
  if (source !== undefined) flags |= filterPart.source;
  if (destination !== undefined) flags |= filterPart.destination;
  if (sourcePort !== undefined) flags |= filterPart.sourcePort;
  if (destinationPort !== undefined) flags |= filterPart.destinationPort;
  return flags;
}

function readTuple(bytes: Uint8Array): ConnectionTuple | undefined {
  const tuple = parseAttributes(bytes);
  const ip = parseAttributes(tuple.get(CTA_TUPLE_IP) ?? new Uint8Array());
  const proto = parseAttributes(tuple.get(CTA_TUPLE_PROTO) ?? new Uint8Array());
  const source = ip.get(CTA_IP_V4_SRC) ?? ip.get(CTA_IP_V6_SRC);
  const destination = ip.get(CTA_IP_V4_DST) ?? ip.get(CTA_IP_V6_DST);
  const protocol = proto.get(CTA_PROTO_NUM);
  if (source === undefined || destination === undefined || protocol === undefined) return undefined;
  const sourcePort = proto.get(CTA_PROTO_SRC_PORT);
  const destinationPort = proto.get(CTA_PROTO_DST_PORT);
  return {
    protocol: readU8(protocol),
    source: readAddress(source),
    destination: readAddress(destination),
    ...(sourcePort === undefined ? {} : { sourcePort: readBe16(sourcePort) }),
    ...(destinationPort === undefined ? {} : { destinationPort: readBe16(destinationPort) }),
  };
}

function number(attributes: Attributes, type: number): number | undefined {
  const value = attributes.get(type);
  return value === undefined ? undefined : readBe32(value);
}

function familyNumber(address: Address): number {
  return familyOf(address) === 4 ? AF_INET : AF_INET6;
}
