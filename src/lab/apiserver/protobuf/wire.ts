// The protobuf wire format (https://protobuf.dev/programming-guides/encoding): fields out of bytes. Nothing here knows a message.

/** Bytes that are no message. */
export class WireError extends Error {
  override readonly name = "WireError";
}

/** A field as it is on the wire: a number, or bytes. */
export interface WireField {
  readonly number: number;
  /** Wire types 0, 1 and 5, as they are: unsigned. */
  readonly integer?: bigint;
  /** Wire types 1 and 5 as a floating-point number. */
  readonly double?: number;
  /** Wire type 2. */
  readonly bytes?: Uint8Array;
}

/** The fields of a message in order. Throws WireError. */
export function* readFields(bytes: Uint8Array): Iterable<WireField> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new WireError("it ends in the middle of a number");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new WireError("a number is longer than ten bytes");
  };
  const skip = (length: number): number => {
    const start = at;
    at += length;
    if (at > bytes.length) throw new WireError("a field is longer than the message");
    return start;
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const number = Math.floor(tag / 8);
    if (number === 0) throw new WireError("a field has number 0");
    switch (tag % 8) {
      case 0:
        yield { number, integer: varint() };
        break;
      case 1: {
        const start = skip(8);
        yield { number, integer: view.getBigUint64(start, true), double: view.getFloat64(start, true) };
        break;
      }
      case 2: {
        const length = Number(varint());
        if (length > bytes.length) throw new WireError("a field is longer than the message");
        const start = skip(length);
        yield { number, bytes: bytes.subarray(start, start + length) };
        break;
      }
      case 5: {
        const start = skip(4);
        yield { number, integer: BigInt(view.getUint32(start, true)), double: view.getFloat32(start, true) };
        break;
      }
      default:
        throw new WireError(`a field has wire type ${tag % 8}`);
    }
  }
}
