// The protobuf wire format (https://protobuf.dev/programming-guides/encoding): JSON values into bytes, by a table of messages.
// wire.ts reads it.

/** What a field holds. A message's fields come from its JSON; `map` is a list of messages of a name (1) and a value (2). */
export type FieldType =
  | { readonly kind: "string" | "bool" | "double" | "integer" }
  | { readonly kind: "message"; readonly of: () => Message }
  | { readonly kind: "map"; readonly of: () => Message }
  /** A message that is made of the value in a way of its own. */
  | { readonly kind: "own"; readonly bytes: (value: unknown) => Uint8Array };

export interface Field {
  readonly number: number;
  readonly type: FieldType;
  /** A list is one value of it, not several. */
  readonly isWhole?: boolean;
}

/** The fields of a message by their names in JSON; a list in JSON is a repeated field. */
export interface Message {
  readonly fields: { readonly [name: string]: Field };
  /** What becomes of names that are not in the table; they are left out where it is undefined. */
  readonly others?: (name: string) => Field | undefined;
}

type Json = { readonly [name: string]: unknown };

/** A JSON object as a message. Fields that are absent, null or unknown are left out. */
export function encodeMessage(value: Json, message: Message): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [name, given] of Object.entries(value)) {
    const field = Object.hasOwn(message.fields, name) ? message.fields[name] : message.others?.(name);
    if (field === undefined || given === undefined || given === null) continue;
    if (field.type.kind === "map") {
      for (const [key, each] of Object.entries(given as Json))
        parts.push(bytesField(field.number, named(key, encodeMessage(each as Json, field.type.of()))));
    } else {
      const values = Array.isArray(given) && field.isWhole !== true ? (given as readonly unknown[]) : [given];
      for (const each of values) parts.push(one(each, field));
    }
  }
  return Buffer.concat(parts);
}

/** A message of a name (1) and a value (2). */
export function named(name: string, value: Uint8Array): Uint8Array {
  return Buffer.concat([bytesField(1, Buffer.from(name)), bytesField(2, value)]);
}

/** A field of bytes, text or a message (wire type 2). */
export function bytesField(number: number, bytes: Uint8Array): Uint8Array {
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

function one(value: unknown, { number, type }: Field): Uint8Array {
  switch (type.kind) {
    case "string":
      return bytesField(number, Buffer.from(String(value)));
    case "bool":
      return Buffer.concat([varint(number * 8), varint(value === true ? 1 : 0)]);
    case "integer":
      return Buffer.concat([varint(number * 8), varint(Number(value))]);
    case "double": {
      const bytes = Buffer.alloc(8);
      bytes.writeDoubleLE(Number(value));
      return Buffer.concat([varint(number * 8 + 1), bytes]);
    }
    case "message":
      return bytesField(number, encodeMessage(value as Json, type.of()));
    case "own":
      return bytesField(number, type.bytes(value));
    case "map":
      throw new TypeError("a map is no single value");
  }
}

/** A whole number of at most 64 bits; negative ones have ten bytes. */
function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(Math.trunc(value)));
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
