// Netlink attributes: the type-length-value records every netlink family builds its messages from (linux/netlink.h, struct nlattr).
// A writer appends them to a growing buffer; readers give the value of one, checked for its length.
//
// Byte order is the host's. Every platform this program runs on is little-endian; attributes the kernel defines as big-endian
// have their own methods (`be16` …).

/** Bytes from a kernel (or a test) that are no valid message. Never a crash, never a silent guess. */
export class NetlinkFormatError extends Error {
  override readonly name = "NetlinkFormatError";
}

// linux/netlink.h: NLA_F_NESTED, NLA_F_NET_BYTEORDER, NLA_TYPE_MASK.
const nestedFlag = 0x8000;
const typeMask = 0x3fff;
const headerBytes = 4;

/** One attribute as it came: its type without flags, and its value as a view of the message's bytes. */
export interface Attribute {
  readonly type: number;
  readonly value: Uint8Array;
}

/** Attributes by type. Of a type that comes twice the last one counts, as in the kernel's nla_parse. */
export type Attributes = ReadonlyMap<number, Uint8Array>;

/** Bytes of a message body: a family's fixed header, padded to 4, followed by what `write` appends. */
export function buildBody(header: Uint8Array, write?: (writer: AttributeWriter) => void): Uint8Array {
  // One buffer for all: thousands of messages are made at once, and each is a copy in the end.
  const writer = spareWriter ?? new AttributeWriter();
  spareWriter = undefined;
  try {
    writer.raw(header);
    write?.(writer);
    return writer.take();
  } finally {
    writer.forget();
    spareWriter = writer;
  }
}

/** Undefined while it is in use. */
let spareWriter: AttributeWriter | undefined;

/** Appends attributes to a buffer. Names say the width; the first argument is always the attribute's type. */
export class AttributeWriter {
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(256);
  #view: DataView = new DataView(this.#bytes.buffer);
  #length = 0;

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** A copy of what was written; the writer is empty afterwards and can be used again. */
  take(): Uint8Array {
    const copy = this.#bytes.slice(0, this.#length);
    this.#length = 0;
    return copy;
  }

  /** Begins anew. */
  forget(): void {
    this.#length = 0;
  }

  u8(type: number, value: number): this {
    const at = this.#open(type, 1);
    this.#view.setUint8(at, value);
    return this;
  }
  u16(type: number, value: number): this {
    const at = this.#open(type, 2);
    this.#view.setUint16(at, value, true);
    return this;
  }
  u32(type: number, value: number): this {
    const at = this.#open(type, 4);
    this.#view.setUint32(at, value, true);
    return this;
  }
  i32(type: number, value: number): this {
    const at = this.#open(type, 4);
    this.#view.setInt32(at, value, true);
    return this;
  }
  u64(type: number, value: bigint): this {
    const at = this.#open(type, 8);
    this.#view.setBigUint64(at, value, true);
    return this;
  }
  be16(type: number, value: number): this {
    const at = this.#open(type, 2);
    this.#view.setUint16(at, value);
    return this;
  }
  be32(type: number, value: number): this {
    const at = this.#open(type, 4);
    this.#view.setUint32(at, value);
    return this;
  }
  be64(type: number, value: bigint): this {
    const at = this.#open(type, 8);
    this.#view.setBigUint64(at, value);
    return this;
  }
  bytes(type: number, value: Uint8Array): this {
    const at = this.#open(type, value.length);
    this.#bytes.set(value, at);
    return this;
  }
  /** Text with the NUL byte the kernel's NLA_NUL_STRING wants. */
  string(type: number, value: string): this {
    const text = encoder.encode(value);
    const at = this.#open(type, text.length + 1);
    this.#bytes.set(text, at);
    return this;
  }
  /** Text without a NUL byte (NLA_STRING as iproute2 sends it for IFLA_INFO_KIND). */
  text(type: number, value: string): this {
    return this.bytes(type, encoder.encode(value));
  }
  /** An attribute without a value: being there is the meaning. */
  flag(type: number): this {
    this.#open(type, 0);
    return this;
  }
  /** Attributes inside an attribute, marked NLA_F_NESTED. */
  nested(type: number, write: (writer: this) => void): this {
    return this.group(type | nestedFlag, write);
  }
  /** Attributes inside an attribute without the mark: how rtnetlink's older attributes are sent. */
  group(type: number, write: (writer: this) => void): this {
    const start = this.#length;
    this.#open(type, 0);
    write(this);
    const length = this.#length - start;
    // struct nlattr: nla_len has 16 bits.
    if (length > 0xffff) throw new RangeError(`attribute ${type & typeMask} has ${length} bytes; netlink allows 65535`);
    this.#view.setUint16(start, length, true);
    return this;
  }
  /** Bytes that are no attribute, padded to 4: a family's header inside a message or an attribute. */
  raw(bytes: Uint8Array): this {
    const at = this.#grow(align(bytes.length));
    this.#bytes.set(bytes, at);
    return this;
  }

  /** Writes an attribute's header and zeros for its padded value; returns where the value starts. */
  #open(type: number, length: number): number {
    if (length + headerBytes > 0xffff)
      throw new RangeError(`attribute ${type & typeMask} has ${length} bytes; netlink allows 65531`);
    const at = this.#grow(headerBytes + align(length));
    this.#view.setUint16(at, headerBytes + length, true);
    this.#view.setUint16(at + 2, type, true);
    return at + headerBytes;
  }

  #grow(length: number): number {
    const at = this.#length;
    const end = at + length;
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(end, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#bytes.fill(0, at, end);
    this.#length = end;
    return at;
  }
}

/** Writes a number of 4 bytes in host order into a header. A view would cost small arrays more than they do. */
export function putU32(header: Uint8Array, at: number, value: number): void {
  header[at] = value;
  header[at + 1] = value >>> 8;
  header[at + 2] = value >>> 16;
  header[at + 3] = value >>> 24;
}

/** Visits the attributes in `bytes` from `start` on, in order. Throws NetlinkFormatError where a length does not fit. */
export function forEachAttribute(
  bytes: Uint8Array,
  start: number,
  visit: (type: number, value: Uint8Array) => void,
): void {
  let at = start;
  while (at + headerBytes <= bytes.length) {
    const length = bytes[at]! | (bytes[at + 1]! << 8);
    const type = (bytes[at + 2]! | (bytes[at + 3]! << 8)) & typeMask;
    if (length < headerBytes || at + length > bytes.length)
      throw new NetlinkFormatError(`attribute ${type} at byte ${at} says ${length} bytes of ${bytes.length - at} left`);
    visit(type, bytes.subarray(at + headerBytes, at + length));
    at += align(length);
  }
  // Up to 3 bytes of padding may follow the last attribute; anything longer was read above.
}

/** The attributes in `bytes` from `start` on, in order: for lists, where types repeat. */
export function parseAttributeList(bytes: Uint8Array, start: number = 0): Attribute[] {
  const list: Attribute[] = [];
  forEachAttribute(bytes, start, (type, value) => list.push({ type, value }));
  return list;
}

/** The attributes in `bytes` from `start` on, by type. */
export function parseAttributes(bytes: Uint8Array, start: number = 0): Attributes {
  const attributes = new Map<number, Uint8Array>();
  forEachAttribute(bytes, start, (type, value) => attributes.set(type, value));
  return attributes;
}

/** A value of 1 byte. */
export function readU8(value: Uint8Array): number {
  return need(value, 1)[0]!;
}
/** A value of 2 bytes in host order. */
export function readU16(value: Uint8Array): number {
  need(value, 2);
  return value[0]! | (value[1]! << 8);
}
/** A value of 4 bytes in host order, unsigned. */
export function readU32(value: Uint8Array): number {
  need(value, 4);
  return (value[0]! | (value[1]! << 8) | (value[2]! << 16) | (value[3]! << 24)) >>> 0;
}
/** A value of 4 bytes in host order, signed. */
export function readI32(value: Uint8Array): number {
  return readU32(value) | 0;
}
/** A value of 8 bytes in host order. */
export function readU64(value: Uint8Array): bigint {
  need(value, 8);
  return BigInt(readU32(value)) | (BigInt(readU32(value.subarray(4))) << 32n);
}
/** A value of 2 bytes in network order. */
export function readBe16(value: Uint8Array): number {
  need(value, 2);
  return (value[0]! << 8) | value[1]!;
}
/** A value of 4 bytes in network order, unsigned. */
export function readBe32(value: Uint8Array): number {
  need(value, 4);
  return ((value[0]! << 24) | (value[1]! << 16) | (value[2]! << 8) | value[3]!) >>> 0;
}
/** A value of 8 bytes in network order. */
export function readBe64(value: Uint8Array): bigint {
  need(value, 8);
  return (BigInt(readBe32(value)) << 32n) | BigInt(readBe32(value.subarray(4)));
}
/** Text up to the first NUL byte. Bytes that are no UTF-8 become U+FFFD: names come from other programs too. */
export function readString(value: Uint8Array): string {
  const end = value.indexOf(0);
  return decoder.decode(end < 0 ? value : value.subarray(0, end));
}

/** Rounds up to a multiple of 4 (NLMSG_ALIGNTO and NLA_ALIGNTO). */
export function align(length: number): number {
  return (length + 3) & ~3;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function need(value: Uint8Array, length: number): Uint8Array {
  if (value.length < length)
    throw new NetlinkFormatError(`an attribute of ${value.length} bytes where ${length} are needed`);
  return value;
}
