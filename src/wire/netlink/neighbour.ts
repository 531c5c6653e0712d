// Neighbours (ARP and neighbour discovery) and forwarding database entries by rtnetlink (linux/neighbour.h).
// The kernel keeps both behind the same message: AF_BRIDGE in its header means a bridge's or VXLAN link's database.

import { addressBytes, familyOf, type Address } from "../../ip/address.ts";
import { macBytes, macFromBytes, type Mac } from "../../ip/mac.ts";
import { NetlinkFormatError, buildBody, parseAttributes, putU32, readI32, readU16, readU32 } from "./attributes.ts";
import { readAddress } from "./link.ts";
import { flag, type NetlinkMessage, type NetlinkRequest } from "./message.ts";

/** linux/rtnetlink.h: RTM_NEWNEIGH and its family. */
export const neighbourMessage = { new: 28, delete: 29, get: 30 } as const;

/** linux/neighbour.h: NUD_* */
export const neighbourState = { reachable: 0x02, noarp: 0x40, permanent: 0x80 } as const;

/** An entry as RTM_NEWNEIGH describes it. */
export type NeighbourInfo =
  | {
      readonly kind: "neighbour";
      readonly index: number;
      readonly address: Address;
      readonly mac?: Mac;
      /** NUD_* */
      readonly state: number;
    }
  | {
      readonly kind: "forwarding";
      /** The port, or the bridge or VXLAN link itself. */
      readonly index: number;
      readonly mac: Mac;
      readonly remote?: Address;
      /** Index of the bridge whose database it is in. */
      readonly master?: number;
      readonly vlan?: number;
      readonly state: number;
    };

/** A forwarding entry to set or delete: with `remote` in a VXLAN link's own database, without in the bridge that `index` is a port of. */
export interface ForwardingTarget {
  readonly index: number;
  readonly mac: Mac;
  readonly remote?: Address;
}

/** `ip neigh replace … nud permanent`. */
export function setNeighbour(neighbour: { index: number; address: Address; mac: Mac }): NetlinkRequest {
  const { index, address, mac } = neighbour;
  return {
    type: neighbourMessage.new,
    flags: flag.create | flag.replace,
    body: buildBody(
      neighbourHeader({ family: familyNumber(address), index, state: neighbourState.permanent }),
      (writer) => writer.bytes(NDA_DST, addressBytes(address)).bytes(NDA_LLADDR, macBytes(mac)),
    ),
  };
}

/** `ip neigh del`: ENOENT where there is none. */
export function deleteNeighbour(neighbour: { index: number; address: Address }): NetlinkRequest {
  const { index, address } = neighbour;
  return {
    type: neighbourMessage.delete,
    flags: 0,
    body: buildBody(neighbourHeader({ family: familyNumber(address), index }), (writer) =>
      writer.bytes(NDA_DST, addressBytes(address)),
    ),
  };
}

/** All neighbours of both families: a dump. */
export function getNeighbours(): NetlinkRequest {
  return { type: neighbourMessage.get, flags: 0, body: buildBody(neighbourHeader({})) };
}

/**
 * `bridge fdb replace … static master`, or `bridge fdb replace|append … dst … self permanent` for a VXLAN link.
 * A VXLAN link has one remote for a unicast address, but a list for the all-zero address (where unknown frames go): that one is appended to.
 */
export function setForwarding(target: ForwardingTarget): NetlinkRequest {
  const listed = target.remote !== undefined && isListAddress(target.mac);
  return {
    type: neighbourMessage.new,
    flags: flag.create | (listed ? flag.append : flag.replace),
    body: forwardingBody(target, target.remote === undefined ? staticState : permanentState),
  };
}

/** `bridge fdb del`: ENOENT where there is none. */
export function deleteForwarding(target: ForwardingTarget): NetlinkRequest {
  return { type: neighbourMessage.delete, flags: 0, body: forwardingBody(target, permanentState) };
}

/** All forwarding entries of bridges and VXLAN links (and the address filters of other links): a dump. */
export function getForwarding(): NetlinkRequest {
  return { type: neighbourMessage.get, flags: 0, body: buildBody(neighbourHeader({ family: AF_BRIDGE })) };
}

/** Reads RTM_NEWNEIGH and RTM_DELNEIGH. Undefined for entries of other families. Throws NetlinkFormatError. */
export function decodeNeighbour(message: NetlinkMessage): NeighbourInfo | undefined {
  const { body } = message;
  if (body.length < neighbourHeaderBytes)
    throw new NetlinkFormatError(`a neighbour message of ${body.length} bytes; 12 are needed`);
  const family = body[0];
  const index = readI32(body.subarray(4));
  const state = readU16(body.subarray(8));
  const attributes = parseAttributes(body, neighbourHeaderBytes);
  const destination = attributes.get(NDA_DST);
  const link = attributes.get(NDA_LLADDR);
  const mac = link?.length === 6 ? macFromBytes(link) : undefined;
  if (family === AF_BRIDGE) {
    if (mac === undefined) return undefined;
    const master = attributes.get(NDA_MASTER);
    const vlan = attributes.get(NDA_VLAN);
    return {
      kind: "forwarding",
      index,
      mac,
      state,
      ...(destination === undefined ? {} : { remote: readAddress(destination) }),
      ...(master === undefined ? {} : { master: readU32(master) }),
      ...(vlan === undefined ? {} : { vlan: readU16(vlan) }),
    };
  }
  if ((family !== AF_INET && family !== AF_INET6) || destination === undefined) return undefined;
  return { kind: "neighbour", index, address: readAddress(destination), state, ...(mac === undefined ? {} : { mac }) };
}

// linux/socket.h
const AF_INET = 2;
const AF_INET6 = 10;
const AF_BRIDGE = 7;
// linux/neighbour.h: NDA_*
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_VLAN = 5;
const NDA_MASTER = 9;
// linux/neighbour.h: NTF_*
const NTF_SELF = 0x02;
const NTF_MASTER = 0x04;
// A bridge knows: NOARP and not PERMANENT is "static", PERMANENT is the bridge's own. VXLAN wants both.
const staticState = neighbourState.noarp | neighbourState.reachable;
const permanentState = neighbourState.noarp | neighbourState.permanent;

const neighbourHeaderBytes = 12;

/** struct ndmsg: family, padding, ndm_ifindex, ndm_state, ndm_flags, ndm_type */
function neighbourHeader(fields: { family?: number; index?: number; state?: number; flags?: number }): Uint8Array {
  const header = new Uint8Array(neighbourHeaderBytes);
  const state = fields.state ?? 0;
  header[0] = fields.family ?? 0;
  putU32(header, 4, fields.index ?? 0);
  header[8] = state;
  header[9] = state >> 8;
  header[10] = fields.flags ?? 0;
  return header;
}

function forwardingBody(target: ForwardingTarget, state: number): Uint8Array {
  const { index, mac, remote } = target;
  const flags = remote === undefined ? NTF_MASTER : NTF_SELF;
  return buildBody(neighbourHeader({ family: AF_BRIDGE, index, state, flags }), (writer) => {
    writer.bytes(NDA_LLADDR, macBytes(mac));
    if (remote !== undefined) writer.bytes(NDA_DST, addressBytes(remote));
  });
}

/** The all-zero address and group addresses (IEEE 802: bit 0 of the first byte). */
function isListAddress(mac: Mac): boolean {
  return mac === "00:00:00:00:00:00" || (macBytes(mac)[0]! & 1) === 1;
}

function familyNumber(address: Address): number {
  return familyOf(address) === 4 ? AF_INET : AF_INET6;
}
