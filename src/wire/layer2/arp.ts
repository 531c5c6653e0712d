// ARP for IPv4 over Ethernet: whole frames <-> values (RFC 826; announcements and probes: RFC 5227).
//
// Not here: who is asked and who answers (agent/layer2.ts).

import { addressBytes, addressFromBytes, type Address } from "../../ip/address.ts";
import { macBytes, macFromBytes, type Mac } from "../../ip/mac.ts";
import {
  broadcastMac,
  etherType,
  frameEnds,
  frameHeaderBytes,
  isStation,
  noMac,
  startFrame,
  type FrameEnds,
} from "./ethernet.ts";

export interface ArpPacket extends FrameEnds {
  readonly operation: "request" | "reply";
  readonly senderMac: Mac;
  /** `0.0.0.0` in a probe (RFC 5227 1.1): the sender claims nothing. */
  readonly senderAddress: Address;
  /** Nobody's in a request. */
  readonly targetMac: Mac;
  readonly targetAddress: Address;
}

/** The sender of a probe. */
export const nobody: Address = "0.0.0.0";

/** The frame of a packet, 42 bytes; the kernel or the card pads it to Ethernet's least. */
export function encodeArp(packet: ArpPacket): Uint8Array {
  const frame = startFrame(packet, etherType.arp, packetBytes);
  const body = frame.subarray(frameHeaderBytes);
  body.set(fixed);
  body[7] = packet.operation === "request" ? REQUEST : REPLY;
  body.set(macBytes(packet.senderMac), 8);
  body.set(addressBytes(packet.senderAddress), 14);
  body.set(macBytes(packet.targetMac), 18);
  body.set(addressBytes(packet.targetAddress), 24);
  return frame;
}

/** What a frame says; undefined where it is no ARP for IPv4 over Ethernet, or its sender is no station. */
export function decodeArp(frame: Uint8Array): ArpPacket | undefined {
  const ends = frameEnds(frame, etherType.arp, packetBytes);
  if (ends === undefined) return undefined;
  const body = frame.subarray(frameHeaderBytes);
  if (fixed.some((byte, index) => body[index] !== byte)) return undefined;
  const operation = body[7] === REQUEST ? "request" : body[7] === REPLY ? "reply" : undefined;
  const senderMac = macFromBytes(body.subarray(8, 14));
  if (operation === undefined || !isStation(senderMac)) return undefined;
  return {
    ...ends,
    operation,
    senderMac,
    senderAddress: addressFromBytes(body.subarray(14, 18)),
    targetMac: macFromBytes(body.subarray(18, 24)),
    targetAddress: addressFromBytes(body.subarray(24, 28)),
  };
}

/** Who has `target`? To all, or to one station that had it. */
export function arpRequest(from: Station, target: Address, to: Mac = broadcastMac): ArpPacket {
  return {
    operation: "request",
    destination: to,
    source: from.mac,
    senderMac: from.mac,
    senderAddress: from.address,
    targetMac: noMac,
    targetAddress: target,
  };
}

/** RFC 5227 3: "I have this address now", to all; caches that hold another station are put right. */
export function arpAnnouncement(mac: Mac, address: Address): ArpPacket {
  return arpRequest({ mac, address }, address);
}

/** The answer to a request: `mac` has the address asked for. */
export function arpAnswer(request: ArpPacket, mac: Mac): ArpPacket {
  return {
    operation: "reply",
    destination: request.senderMac,
    source: mac,
    senderMac: mac,
    senderAddress: request.targetAddress,
    targetMac: request.senderMac,
    targetAddress: request.senderAddress,
  };
}

export interface Station {
  readonly mac: Mac;
  readonly address: Address;
}

const packetBytes = 28;
// RFC 826: hardware type Ethernet, protocol type IPv4, lengths 6 and 4, the operation's upper byte.
const fixed = Uint8Array.of(0, 1, 8, 0, 6, 4, 0);
const REQUEST = 1;
const REPLY = 2;
