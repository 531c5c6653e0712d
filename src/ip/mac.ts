// Ethernet addresses as canonical text: six lower-case pairs, `0a:58:0a:f4:01:05`.

/** An Ethernet address in canonical text. */
export type Mac = string;

/** The six bytes of a canonical Ethernet address. */
export function macBytes(mac: Mac): Uint8Array {
  return Uint8Array.from(mac.split(":"), (pair) => Number.parseInt(pair, 16));
}

/** The canonical text of six bytes. */
export function macFromBytes(bytes: Uint8Array): Mac {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/**
 * A locally administered unicast address that is a function of a name alone, so that every node computes the same one for
 * every other node without exchanging it (IEEE 802: bit 1 of the first byte set, bit 0 clear). 46 bits of FNV-1a 64.
 */
export function macOfName(name: string): Mac {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(name)) {
    hash ^= BigInt(byte);
    hash = (hash * 0x100000001b3n) & 0xffffffffffffffffn;
  }
  const bytes = new Uint8Array(6);
  for (let i = 5; i >= 0; i--) {
    bytes[i] = Number(hash & 0xffn);
    hash >>= 8n;
  }
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return macFromBytes(bytes);
}
