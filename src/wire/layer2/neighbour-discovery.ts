// Neighbour Solicitations and Advertisements of IPv6 over Ethernet: whole frames <-> values (RFC 4861 4.3, 4.4, 7.1; RFC 2464 for addresses).
//
// Only as they are sent between neighbours: ICMPv6 right behind the IPv6 header (RFC 6980: never in fragments), hop limit 255, a checksum
// that is right. Not here: who is asked and who answers (agent/layer2.ts).

import { addressBytes, addressFromBytes, type Address } from "../../ip/address.ts";
import { macBytes, macFromBytes, type Mac } from "../../ip/mac.ts";
import { etherType, frameEnds, frameHeaderBytes, isStation, startFrame, type FrameEnds } from "./ethernet.ts";

export type NeighbourMessage = NeighbourSolicitation | NeighbourAdvertisement;

interface Common extends FrameEnds {
  /** The IPv6 header's. `::` in a solicitation: the sender is about to take the target itself (RFC 4862 5.4). */
  readonly sourceAddress: Address;
  readonly destinationAddress: Address;
  /** Whom it is about. */
  readonly target: Address;
}

export interface NeighbourSolicitation extends Common {
  readonly kind: "solicitation";
  /** Source link-layer address option: where the answer goes. */
  readonly senderMac?: Mac;
}

export interface NeighbourAdvertisement extends Common {
  readonly kind: "advertisement";
  /** Target link-layer address option: who has the target. */
  readonly targetMac?: Mac;
  readonly router: boolean;
  /** The answer to a solicitation. */
  readonly solicited: boolean;
  /** What others remember of the target is to be replaced. */
  readonly override: boolean;
}

/** The sender of a solicitation that claims nothing. */
export const unspecified: Address = "::";
/** RFC 4291 2.7.1: every node of the link. */
export const allNodes: Address = "ff02::1";

/** RFC 4291 2.7.1: where the holder of an address listens for solicitations. */
export function solicitedNode(address: Address): Address {
  const group = addressBytes("ff02::1:ff00:0");
  group.set(addressBytes(address).subarray(13), 13);
  return addressFromBytes(group);
}

/** RFC 2464 7: the Ethernet address of an IPv6 group. */
export function groupMac(group: Address): Mac {
  return macFromBytes(Uint8Array.of(0x33, 0x33, ...addressBytes(group).subarray(12)));
}

/** The frame of a message, 86 bytes with its option. */
export function encodeNeighbourMessage(message: NeighbourMessage): Uint8Array {
  const mac = message.kind === "solicitation" ? message.senderMac : message.targetMac;
  const icmpBytes = leastBytes + (mac === undefined ? 0 : optionUnit);
  const frame = startFrame(message, etherType.ipv6, headerBytes + icmpBytes);
  const packet = frame.subarray(frameHeaderBytes);
  const view = new DataView(packet.buffer, packet.byteOffset);
  // RFC 8200 3.
  view.setUint32(0, 6 << 28);
  view.setUint16(4, icmpBytes);
  packet[6] = ICMPV6;
  packet[7] = hopLimit;
  packet.set(addressBytes(message.sourceAddress), 8);
  packet.set(addressBytes(message.destinationAddress), 24);
  const icmp = packet.subarray(headerBytes);
  icmp[0] = message.kind === "solicitation" ? SOLICITATION : ADVERTISEMENT;
  if (message.kind === "advertisement")
    icmp[4] = (message.router ? ROUTER : 0) | (message.solicited ? SOLICITED : 0) | (message.override ? OVERRIDE : 0);
  icmp.set(addressBytes(message.target), 8);
  if (mac !== undefined) {
    icmp.set([message.kind === "solicitation" ? SOURCE_MAC : TARGET_MAC, 1], leastBytes);
    icmp.set(macBytes(mac), leastBytes + 2);
  }
  view.setUint16(headerBytes + 2, checksum(packet, icmp));
  return frame;
}

/** What a frame says; undefined where RFC 4861 7.1 has it discarded, or it is something else. */
export function decodeNeighbourMessage(frame: Uint8Array): NeighbourMessage | undefined {
  const ends = frameEnds(frame, etherType.ipv6, headerBytes + leastBytes);
  if (ends === undefined) return undefined;
  const packet = frame.subarray(frameHeaderBytes);
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const icmpBytes = view.getUint16(4);
  if ((packet[0] ?? 0) >> 4 !== 6 || packet[6] !== ICMPV6 || packet[7] !== hopLimit) return undefined;
  if (icmpBytes < leastBytes || headerBytes + icmpBytes > packet.length) return undefined;
  const icmp = packet.subarray(headerBytes, headerBytes + icmpBytes);
  const [type, code] = icmp;
  if ((type !== SOLICITATION && type !== ADVERTISEMENT) || code !== 0) return undefined;
  // Over a right checksum the sum is nothing.
  if (checksum(packet, icmp) !== 0) return undefined;
  const mac = option(icmp, type === SOLICITATION ? SOURCE_MAC : TARGET_MAC);
  if (mac === "broken") return undefined;
  const common = {
    ...ends,
    sourceAddress: addressFromBytes(packet.subarray(8, 24)),
    destinationAddress: addressFromBytes(packet.subarray(24, 40)),
    target: addressFromBytes(icmp.subarray(8, 24)),
  };
  if (isGroup(common.target) || isGroup(common.sourceAddress)) return undefined;
  if (type === SOLICITATION) {
    const isProbe = common.sourceAddress === unspecified;
    if (isProbe && (mac !== undefined || common.destinationAddress !== solicitedNode(common.target))) return undefined;
    return { kind: "solicitation", ...common, ...(mac === undefined ? {} : { senderMac: mac }) };
  }
  const flags = icmp[4] ?? 0;
  const solicited = (flags & SOLICITED) !== 0;
  if (solicited && isGroup(common.destinationAddress)) return undefined;
  return {
    kind: "advertisement",
    ...common,
    ...(mac === undefined ? {} : { targetMac: mac }),
    router: (flags & ROUTER) !== 0,
    solicited,
    override: (flags & OVERRIDE) !== 0,
  };
}

/** Who has `target`? To whoever listens for it, or to one station and the address it has there. */
export function neighbourSolicitation(
  from: { readonly mac: Mac; readonly address: Address },
  target: Address,
  to?: { readonly mac: Mac; readonly address: Address },
): NeighbourSolicitation {
  const destinationAddress = to?.address ?? solicitedNode(target);
  return {
    kind: "solicitation",
    destination: to?.mac ?? groupMac(destinationAddress),
    source: from.mac,
    sourceAddress: from.address,
    destinationAddress,
    target,
    senderMac: from.mac,
  };
}

/** RFC 4861 7.2.6: "I have this address now", to all; caches that hold another station are put right. `from`: an address of the sender's link. */
export function neighbourAnnouncement(
  from: { readonly mac: Mac; readonly address: Address },
  target: Address,
): NeighbourAdvertisement {
  return {
    kind: "advertisement",
    destination: groupMac(allNodes),
    source: from.mac,
    sourceAddress: from.address,
    destinationAddress: allNodes,
    target,
    targetMac: from.mac,
    router: false,
    solicited: false,
    override: true,
  };
}

/** The answer to a solicitation: to the asker, or to all where it has no address yet (RFC 4861 7.2.4). */
export function neighbourAnswer(
  asked: NeighbourSolicitation,
  from: { readonly mac: Mac; readonly address: Address },
): NeighbourAdvertisement {
  const announcement = neighbourAnnouncement(from, asked.target);
  if (asked.sourceAddress === unspecified) return announcement;
  return {
    ...announcement,
    destination: asked.senderMac ?? asked.source,
    destinationAddress: asked.sourceAddress,
    solicited: true,
  };
}

const headerBytes = 40;
/** Of the ICMPv6 message, without options. */
const leastBytes = 24;
/** Options are counted in these. */
const optionUnit = 8;
const ICMPV6 = 58;
// RFC 4861 7.1: from a neighbour and from nobody else.
const hopLimit = 255;
const SOLICITATION = 135;
const ADVERTISEMENT = 136;
const SOURCE_MAC = 1;
const TARGET_MAC = 2;
const ROUTER = 0x80;
const SOLICITED = 0x40;
const OVERRIDE = 0x20;

function isGroup(address: Address): boolean {
  return address.startsWith("ff") && addressBytes(address)[0] === 0xff;
}

/** A link-layer address option; the first of its type. */
function option(icmp: Uint8Array, type: number): Mac | "broken" | undefined {
  let found: Mac | undefined;
  let at = leastBytes;
  while (at < icmp.length) {
    // RFC 4861 4.6: a length of 0 is none, and an option does not end behind the message.
    const length = (icmp[at + 1] ?? 0) * optionUnit;
    if (length === 0 || at + length > icmp.length) return "broken";
    if (icmp[at] === type && length === optionUnit) found ??= macFromBytes(icmp.subarray(at + 2, at + 8));
    at += length;
  }
  return found !== undefined && !isStation(found) ? "broken" : found;
}

/** RFC 4443 2.3, over the pseudo-header of RFC 8200 8.1. */
function checksum(packet: Uint8Array, icmp: Uint8Array): number {
  let sum = icmp.length + ICMPV6;
  const add = (bytes: Uint8Array): void => {
    for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  };
  add(packet.subarray(8, 40));
  add(icmp);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
