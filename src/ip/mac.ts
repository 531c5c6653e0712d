// Ethernet addresses as canonical text: six lower-case pairs, `0a:58:0a:f4:01:05`.

/** An Ethernet address in canonical text. */
export type Mac = string;

/** The six bytes of a canonical Ethernet address. */
export function macBytes(mac: Mac): Uint8Array {
  const bytes = new Uint8Array(6);
  for (let at = 0; at < 6; at++) bytes[at] = (digit(mac, 3 * at) << 4) | digit(mac, 3 * at + 1);
  return bytes;
}

function digit(mac: Mac, at: number): number {
  const code = mac.charCodeAt(at);
  return code <= 0x39 ? code - 0x30 : code - 0x57;
}

/** The canonical text of six bytes. */
export function macFromBytes(bytes: Uint8Array): Mac {
  let text = pairs[bytes[0]!]!;
  for (let at = 1; at < bytes.length; at++) text += `:${pairs[bytes[at]!]}`;
  return text;
}

const pairs = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/**
 * A locally administered unicast address that is a function of a name alone, so that every node computes the same one for
 * every other node without exchanging it (IEEE 802: bit 1 of the first byte set, bit 0 clear). 46 bits of FNV-1a 64.
 */
export function macOfName(name: string): Mac {
  // The hash in four parts of 16 bits, the lowest first: a product of two of them is exact. Its prime is 2^40 + 0x1b3.
  let [a, b, c, d] = [0x2325, 0x8422, 0x9ce4, 0xcbf2];
  for (const byte of encoder.encode(name)) {
    a ^= byte;
    const low = a * 0x1b3;
    const second = b * 0x1b3 + (low >>> 16);
    const third = c * 0x1b3 + ((a << 8) & 0xffff) + (second >>> 16);
    const fourth = d * 0x1b3 + (((b << 8) | (a >>> 8)) & 0xffff) + (third >>> 16);
    [a, b, c, d] = [low & 0xffff, second & 0xffff, third & 0xffff, fourth & 0xffff];
  }
  return macFromBytes(Uint8Array.of(((c >>> 8) & 0xfc) | 0x02, c & 0xff, b >>> 8, b & 0xff, a >>> 8, a & 0xff));
}

const encoder = new TextEncoder();
