// A datagram's sender as text, from the bytes of its `struct sockaddr` as the kernel wrote them: for logs that have a line for each.
//
// Not here: senders as values (udp.ts).

import { addressFromBytes } from "../ip/address.ts";

/** Writes the address, IPv6 in brackets, at `to` of `out`, where there are 48 bytes of room; gives where it ends. */
export function putSourceAddress(out: Uint8Array, to: number, bytes: Uint8Array, at: number): number {
  // struct sockaddr_in { u16 family, port; u32 address }, sockaddr_in6 { u16 family, port; u32 flowinfo; u8 address[16] }
  if (bytes[at] === AF_INET) return putIpv4(out, to, bytes, at + 4);
  let isMapped = bytes[at + 18] === 0xff && bytes[at + 19] === 0xff;
  for (let i = 8; i < 18 && isMapped; i++) isMapped = bytes[at + i] === 0;
  return isMapped ? putIpv4(out, to, bytes, at + 20) : putIpv6(out, to, bytes, at + 8);
}

/** The sender's port. */
export function sourcePort(bytes: Uint8Array, at: number): number {
  return ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
}

function putIpv4(out: Uint8Array, start: number, bytes: Uint8Array, at: number): number {
  let to = start;
  for (let i = 0; i < 4; i++) {
    const value = bytes[at + i] as number;
    if (i > 0) out[to++] = 0x2e;
    if (value > 99) out[to++] = 0x30 + Math.floor(value / 100);
    if (value > 9) out[to++] = 0x30 + (Math.floor(value / 10) % 10);
    out[to++] = 0x30 + (value % 10);
  }
  return to;
}

/** Few clients ask much, and making RFC 5952's form is dear: the last ones are remembered, each in the one place that it can have. */
function putIpv6(out: Uint8Array, to: number, bytes: Uint8Array, at: number): number {
  let hash = 0;
  for (let i = 0; i < 16; i++) hash = (Math.imul(hash, 31) + (bytes[at + i] as number)) | 0;
  const place = (hash >>> 3) & (rememberedMax - 1);
  const known = remembered[place];
  let same = known === undefined ? 0 : 16;
  for (let i = 0; i < same; i++) if (known?.address[i] !== bytes[at + i]) same = 0;
  let text = known?.text;
  if (same === 0 || text === undefined) {
    const address = bytes.slice(at, at + 16);
    text = new TextEncoder().encode(`[${addressFromBytes(address)}]`);
    remembered[place] = { address, text };
  }
  out.set(text, to);
  return to + text.length;
}

const rememberedMax = 256;
const remembered: ({ readonly address: Uint8Array; readonly text: Uint8Array } | undefined)[] = Array.from({
  length: rememberedMax,
});

const AF_INET = 2;
