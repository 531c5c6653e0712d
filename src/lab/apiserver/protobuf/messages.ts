// The table of protobuf messages (messages.json, scripts/generate-protobuf.ts), read message by message as they are needed.

import rows from "./messages.json" with { type: "json" };

/** A message: its fields by number. */
export type Message = ReadonlyMap<number, MessageField>;

export interface MessageField {
  readonly name: string;
  readonly type: MessageType;
  readonly collection: "list" | "map" | undefined;
  /** Is a zero there different from none? */
  readonly isPointer: boolean;
}

export type MessageType =
  | { readonly kind: "scalar"; readonly scalar: MessageScalar }
  | { readonly kind: "message"; readonly name: string };

export type MessageScalar = (typeof scalars)[number];

const scalars = ["string", "bytes", "bool", "int32", "int64", "uint32", "uint64", "double"] as const;

let starts: ReadonlyMap<string, number> | undefined;
const messages = new Map<string, Message>();

/** A message by its short name, as the schema table names types: `core.v1.Pod`. */
export function messageNamed(name: string): Message | undefined {
  const known = messages.get(name);
  if (known !== undefined) return known;
  starts ??= new Map(rows.flatMap((row, index) => (row.startsWith("@") ? [[row.slice(1), index] as const] : [])));
  const start = starts.get(name);
  if (start === undefined) return undefined;
  const message = new Map<number, MessageField>();
  for (let at = start + 1; at < rows.length; at++) {
    const row = rows[at];
    if (row === undefined || row.startsWith("@")) break;
    const [number = "", field = "", type = ""] = row.split(" ");
    message.set(Number.parseInt(number, 10), parseField(field, type, number.endsWith("?"), name));
  }
  messages.set(name, message);
  return message;
}

function parseField(name: string, text: string, isPointer: boolean, owner: string): MessageField {
  const collection = text.startsWith("[]") ? "list" : text.startsWith("{}") ? "map" : undefined;
  const plain = collection === undefined ? text : text.slice(2);
  const scalar = scalars.find((each) => each === plain);
  const message = plain.startsWith(".") ? owner.slice(0, owner.lastIndexOf(".")) + plain : plain;
  return {
    name,
    type: scalar === undefined ? { kind: "message", name: message } : { kind: "scalar", scalar },
    collection,
    isPointer,
  };
}
