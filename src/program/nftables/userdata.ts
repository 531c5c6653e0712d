// Userdata: what nft leaves in the kernel for its own listing, as records of type, length and value (libnftnl/udata.h).
// The kernel keeps the bytes and never looks at them.

/** One record: a type byte, a length byte, the value. Throws RangeError past 255 bytes. */
export function record(type: number, value: Uint8Array): Uint8Array {
  if (value.length > 255) throw new RangeError(`userdata of ${value.length} bytes where nft has room for 255`);
  const bytes = new Uint8Array(2 + value.length);
  bytes[0] = type;
  bytes[1] = value.length;
  bytes.set(value, 2);
  return bytes;
}

/** Records one after another. */
export function records(list: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(list.reduce((sum, item) => sum + item.length, 0));
  let at = 0;
  for (const item of list) {
    bytes.set(item, at);
    at += item.length;
  }
  return bytes;
}

/** Four bytes in host order. */
export function u32(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, (value >>> 24) & 0xff);
}

// nft's NFTNL_UDATA_COMMENT_MAXLEN.
const commentBytesMax = 128;
const encoder = new TextEncoder();

/** A comment as text with its NUL byte. Throws RangeError where nft could not print and read it again. */
export function commentUserdata(type: number, comment: string): Uint8Array {
  const text = encoder.encode(comment);
  // nft prints it between double quotes, without any escaping.
  if (text.length > commentBytesMax - 1 || /["\n\\\0]/.test(comment))
    throw new RangeError(
      `nftables comment ${JSON.stringify(comment)}: at most 127 bytes, no quotes, backslashes or line ends`,
    );
  const value = new Uint8Array(text.length + 1);
  value.set(text);
  return record(type, value);
}
