// Frames by hand, for tests of what must not get through.

import { addressBytes, type Address } from "../ip/address.ts";
import { macBytes, type Mac } from "../ip/mac.ts";
import { linkLocalOf } from "./places.ts";

/** EtherTypes. */
export const etherType = { ip: 0x0800, arp: 0x0806, vlan: 0x8100, ip6: 0x86dd } as const;

/** An Ethernet frame (IEEE 802.3): header and payload. */
export function frame(to: Mac, from: Mac, type: number, payload: Uint8Array): Uint8Array {
  return Uint8Array.from([...macBytes(to), ...macBytes(from), type >> 8, type & 255, ...payload]);
}

/** An IPv4 packet with a UDP datagram (RFC 791, RFC 768), without a UDP checksum. */
export function udp4(from: Address, to: Address, port: number, data: Uint8Array | string): Uint8Array {
  const payload = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const packet = new Uint8Array(28 + payload.length);
  const view = new DataView(packet.buffer);
  packet[0] = 0x45;
  view.setUint16(2, packet.length);
  packet[8] = 64;
  packet[9] = 17;
  packet.set(addressBytes(from), 12);
  packet.set(addressBytes(to), 16);
  view.setUint16(10, checksum(packet.subarray(0, 20)));
  view.setUint16(20, 4000);
  view.setUint16(22, port);
  view.setUint16(24, 8 + payload.length);
  packet.set(payload, 28);
  return packet;
}

/** An IPv6 packet with a UDP datagram (RFC 8200, RFC 768). */
export function udp6(from: Address, to: Address, port: number, data: Uint8Array | string): Uint8Array {
  const payload = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const length = 8 + payload.length;
  const datagram = Uint8Array.from([4000 >> 8, 4000 & 255, port >> 8, port & 255, 0, length, 0, 0, ...payload]);
  const pseudo = Uint8Array.from([
    ...addressBytes(from),
    ...addressBytes(to),
    0,
    0,
    0,
    length,
    0,
    0,
    0,
    17,
    ...datagram,
  ]);
  new DataView(datagram.buffer).setUint16(6, checksum(pseudo));
  return Uint8Array.from([0x60, 0, 0, 0, 0, length, 17, 64, ...addressBytes(from), ...addressBytes(to), ...datagram]);
}

/** The Internet checksum (RFC 1071). */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2) sum += ((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** An ARP request (RFC 826) that says `address` is at `mac`. */
export function arp(mac: Mac, address: Address): Uint8Array {
  const [from, to] = [addressBytes(address), addressBytes("10.244.1.1")];
  return Uint8Array.from([0, 1, 8, 0, 6, 4, 0, 1, ...macBytes(mac), ...from, 0, 0, 0, 0, 0, 0, ...to]);
}

/** A neighbour advertisement (RFC 4861 4.4), sent honestly from `mac`'s link-local address, that says `target` is at `mac`. */
export function neighbourAdvertisement(mac: Mac, target: Address): Uint8Array {
  return icmp6(mac, [136, 0, 0, 0, 0x20, 0, 0, 0, ...addressBytes(target), 2, 1, ...macBytes(mac)]);
}

/** A router advertisement (RFC 4861 4.2) from `mac`. */
export function routerAdvertisement(mac: Mac): Uint8Array {
  return icmp6(mac, [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0]);
}

function icmp6(mac: Mac, message: readonly number[]): Uint8Array {
  const header = [0x60, 0, 0, 0, 0, message.length, 58, 255];
  return Uint8Array.from([...header, ...addressBytes(linkLocalOf(mac)), ...addressBytes("ff02::1"), ...message]);
}

/** A frame in VXLAN (RFC 7348 5): flags with the I bit, VNI 1. */
export function vxlan(inner: Uint8Array): Uint8Array {
  return Uint8Array.from([8, 0, 0, 0, 0, 0, 1, 0, ...inner]);
}
