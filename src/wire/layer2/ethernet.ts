// Ethernet's header: bytes <-> values (IEEE 802.3, RFC 894). Frames without a VLAN tag only: the kernel has taken it off before a socket of
// a link sees them.
//
// Not here: what is inside (arp.ts, neighbour-discovery.ts).

import { macBytes, macFromBytes, type Mac } from "../../ip/mac.ts";

/** Who is to get a frame, and who sent it. */
export interface FrameEnds {
  readonly destination: Mac;
  readonly source: Mac;
}

/** linux/if_ether.h: ETH_P_*. */
export const etherType = { arp: 0x0806, ipv6: 0x86dd } as const;

/** Bytes before the content. */
export const frameHeaderBytes = 14;

/** All of a link. */
export const broadcastMac: Mac = "ff:ff:ff:ff:ff:ff";
/** Nobody: what ARP asks for. */
export const noMac: Mac = "00:00:00:00:00:00";

/** A frame of so many bytes with its header written. */
export function startFrame({ destination, source }: FrameEnds, type: number, contentBytes: number): Uint8Array {
  const frame = new Uint8Array(frameHeaderBytes + contentBytes);
  frame.set(macBytes(destination), 0);
  frame.set(macBytes(source), 6);
  new DataView(frame.buffer).setUint16(12, type);
  return frame;
}

/** The ends of a frame of that type with at least so many bytes of content; undefined where it is none. */
export function frameEnds(frame: Uint8Array, type: number, contentBytes: number): FrameEnds | undefined {
  if (frame.length < frameHeaderBytes + contentBytes) return undefined;
  if ((((frame[12] ?? 0) << 8) | (frame[13] ?? 0)) !== type) return undefined;
  return { destination: macFromBytes(frame.subarray(0, 6)), source: macFromBytes(frame.subarray(6, 12)) };
}

/** Is it one station's address: neither a group's nor nobody's? */
export function isStation(mac: Mac): boolean {
  return mac !== noMac && (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0;
}
