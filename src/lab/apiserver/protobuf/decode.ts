// Request bodies in protobuf as the JSON they stand for: `k8s\0`, a runtime.Unknown that names the kind, and the kind's message in it
// (apimachinery runtime/serializer/protobuf). Clients send these whatever we answer to discovery; answers are always JSON.
//
// Messages are decoded along the schema table: it says which fields there are in JSON (others are embedded structs, whose fields
// belong to the object around them) and which are times, quantities or JSON themselves. Zero values of fields that are not pointers
// are what Go writes for nothing, and are left out.

import { schemaOf, typeNamed, type TypeSchema, type ValueType } from "../../../kube/schema.ts";
import { badRequest } from "../../api/errors.ts";
import type { Expected, Fields } from "../body.ts";
import { checkedNesting, tooDeep } from "../nesting.ts";
import { messageNamed, type Message, type MessageField, type MessageType } from "./messages.ts";
import { readFields, WireError, type WireField } from "./wire.ts";

const magic = Buffer.from("k8s\0");

/** Decodes a body. `expected` is its kind where it does not say itself. Throws StatusError 400. */
export function decodeProtobuf(bytes: Uint8Array, expected: Expected): Fields {
  try {
    return checkedNesting(decodeEnvelope(bytes, expected));
  } catch (error) {
    if (error instanceof WireError) throw badRequest(`the protobuf body cannot be read: ${error.message}`);
    // Messages in messages until the stack is used up; nothing but this function's own values has been touched.
    if (error instanceof RangeError) throw tooDeep();
    throw error;
  }
}

function decodeEnvelope(bytes: Uint8Array, expected: Expected): Fields {
  if (!magic.equals(bytes.subarray(0, 4))) throw new WireError("it does not begin with k8s\\0");
  let [apiVersion, kind]: readonly [string, string] = ["", ""];
  let raw: Uint8Array = new Uint8Array();
  // runtime.Unknown: 1 typeMeta {1 apiVersion, 2 kind}, 2 raw, 3 contentEncoding, 4 contentType
  for (const field of readFields(bytes.subarray(4))) {
    if (field.number === 1)
      for (const each of readFields(bytesOf(field))) {
        if (each.number === 1) apiVersion = textOf(each);
        if (each.number === 2) kind = textOf(each);
      }
    if (field.number === 2) raw = bytesOf(field);
  }
  apiVersion ||= expected.apiVersion;
  kind ||= expected.kind;
  const isOptions = kind === "DeleteOptions";
  const type = isOptions ? typeNamed("meta.v1.DeleteOptions") : schemaOf(apiVersion, kind);
  if (type === undefined) throw new WireError(`there is no message for kind ${kind} in version ${apiVersion}`);
  const message = messageNamed(type.name);
  if (message === undefined) throw new WireError(`there is no message for ${type.name}`);
  return { apiVersion, kind, ...decodeMessage(raw, message, type) };
}

type Mutable = { [field: string]: unknown };

function decodeMessage(bytes: Uint8Array, message: Message, type: TypeSchema | undefined): Mutable {
  const object: Mutable = {};
  for (const wire of readFields(bytes)) {
    const field = message.get(wire.number);
    // A field of a newer version: unknown, as in any other encoding.
    if (field === undefined) continue;
    const name = jsonName(field.name, type);
    const schema = type?.fields.get(name);
    if (schema === undefined && type !== undefined && field.type.kind === "message") {
      const embedded = messageNamed(field.type.name);
      if (embedded !== undefined) Object.assign(object, decodeMessage(bytesOf(wire), embedded, type));
      continue;
    }
    addField(object, name, wire, field, schema?.type, schema?.required === true);
  }
  return object;
}

// The names of JSONSchemaProps' fields in Go's protobuf differ from those in JSON.
function jsonName(name: string, type: TypeSchema | undefined): string {
  if (type?.fields.has(name) !== false) return name;
  if (type.fields.has(`$${name}`)) return `$${name}`;
  const dashed = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return type.fields.has(dashed) ? dashed : name;
}

function addField(
  object: Mutable,
  name: string,
  wire: WireField,
  field: MessageField,
  type: ValueType | undefined,
  isRequired: boolean,
): void {
  switch (field.collection) {
    case "list": {
      const of = type?.kind === "list" ? type.of : undefined;
      const list = (object[name] ??= []) as unknown[];
      // Packed scalars come many in one field.
      if (wire.bytes !== undefined && isNumber(field.type))
        for (const each of readPacked(wire.bytes)) list.push(scalar(each, field.type));
      else list.push(decodeValue(wire, field.type, of));
      return;
    }
    case "map": {
      const of = type?.kind === "map" ? type.of : undefined;
      const map = (object[name] ??= {}) as Mutable;
      const [key, value] = decodeEntry(bytesOf(wire), field.type, of);
      Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
      return;
    }
    case undefined: {
      const value = decodeValue(wire, field.type, type);
      if (field.isPointer || (isRequired && value !== undefined) || !isZero(value)) object[name] = value;
      return;
    }
  }
}

function isNumber(type: MessageType): boolean {
  return type.kind === "scalar" && type.scalar !== "string" && type.scalar !== "bytes";
}

function* readPacked(bytes: Uint8Array): Iterable<WireField> {
  // As fields of their own: each gets a tag for number 1, wire type 0.
  let at = 0;
  while (at < bytes.length) {
    let end = at;
    while (end < bytes.length && ((bytes[end] ?? 0) & 0x80) !== 0) end++;
    yield* readFields(Buffer.concat([Buffer.from([8]), bytes.subarray(at, end + 1)]));
    at = end + 1;
  }
}

function decodeEntry(bytes: Uint8Array, of: MessageType, type: ValueType | undefined): readonly [string, unknown] {
  let key = "";
  let value: unknown;
  for (const wire of readFields(bytes)) {
    if (wire.number === 1) key = textOf(wire);
    if (wire.number === 2) value = decodeValue(wire, of, type);
  }
  return [key, value ?? (of.kind === "scalar" ? "" : {})];
}

function isZero(value: unknown): boolean {
  if (value === undefined || value === "" || value === 0 || value === false) return true;
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length === 0;
}

function decodeValue(wire: WireField, of: MessageType, type: ValueType | undefined): unknown {
  if (of.kind === "scalar") return scalar(wire, of);
  const bytes = bytesOf(wire);
  const special = specials[of.name];
  if (special !== undefined) return special(bytes);
  const message = messageNamed(of.name);
  if (message === undefined) throw new WireError(`there is no message ${of.name}`);
  return decodeMessage(bytes, message, type?.kind === "object" ? typeNamed(type.type) : schemaOfMessage(of.name));
}

function schemaOfMessage(name: string): TypeSchema | undefined {
  return name === "apiextensions.v1.JSONSchemaProps" ? typeNamed(name) : undefined;
}

function scalar(wire: WireField, of: MessageType): unknown {
  if (of.kind !== "scalar") return undefined;
  switch (of.scalar) {
    case "string":
      return textOf(wire);
    case "bytes":
      return Buffer.from(bytesOf(wire)).toString("base64");
    case "bool":
      return numberOf(wire) !== 0n;
    case "double":
      return wire.double ?? 0;
    case "int32":
      return Number(BigInt.asIntN(32, numberOf(wire)));
    case "int64":
      return Number(BigInt.asIntN(64, numberOf(wire)));
    case "uint32":
    case "uint64":
      return Number(numberOf(wire));
  }
}

function bytesOf({ bytes }: WireField): Uint8Array {
  if (bytes === undefined) throw new WireError("a message has a number in its place");
  return bytes;
}

function textOf(wire: WireField): string {
  return Buffer.from(bytesOf(wire)).toString("utf8");
}

function numberOf({ number: field, integer }: WireField): bigint {
  if (integer === undefined) throw new WireError(`field ${field} is no number`);
  return integer;
}

/** Messages that are something else in JSON (their MarshalJSON in Go). Absent things are undefined. */
const specials: { readonly [message: string]: (bytes: Uint8Array) => unknown } = {
  "meta.v1.Time": (bytes) => timeText(bytes, 0),
  "meta.v1.MicroTime": (bytes) => timeText(bytes, 6),
  "meta.v1.Duration": (bytes) => `${Number(integerOf(bytes, 1)) / 1e9}s`,
  "meta.v1.FieldsV1": (bytes) => parsedJson(firstBytes(bytes)),
  "resource.Quantity": (bytes) => Buffer.from(firstBytes(bytes) ?? []).toString(),
  "runtime.RawExtension": (bytes) => parsedJson(firstBytes(bytes)),
  "apiextensions.v1.JSON": (bytes) => parsedJson(firstBytes(bytes)),
  "intstr.IntOrString": intOrString,
  "apiextensions.v1.JSONSchemaPropsOrBool": (bytes) => schemaOr(bytes, 2) ?? integerOf(bytes, 1) !== 0n,
  "apiextensions.v1.JSONSchemaPropsOrArray": (bytes) => schemaOr(bytes, 1) ?? schemasOf(bytes),
  "apiextensions.v1.JSONSchemaPropsOrStringArray": (bytes) => schemaOr(bytes, 1) ?? textsOf(bytes, 2),
  "authentication.v1.ExtraValue": (bytes) => textsOf(bytes, 1),
  "authorization.v1.ExtraValue": (bytes) => textsOf(bytes, 1),
  "certificates.v1.ExtraValue": (bytes) => textsOf(bytes, 1),
};

function integerOf(bytes: Uint8Array, number: number): bigint {
  for (const field of readFields(bytes)) if (field.number === number) return BigInt.asIntN(64, numberOf(field));
  return 0n;
}

function firstBytes(bytes: Uint8Array): Uint8Array | undefined {
  for (const field of readFields(bytes)) if (field.number === 1) return bytesOf(field);
  return undefined;
}

function textsOf(bytes: Uint8Array, number: number): readonly string[] {
  return [...readFields(bytes)].filter((field) => field.number === number).map(textOf);
}

function timeText(bytes: Uint8Array, digits: 0 | 6): string | undefined {
  const seconds = Number(integerOf(bytes, 1));
  const nanos = Number(integerOf(bytes, 2));
  if (seconds === 0 && nanos === 0) return undefined;
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) throw new WireError(`${seconds} is no time in seconds since 1970`);
  const text = date.toISOString().slice(0, 19);
  return digits === 0 ? `${text}Z` : `${text}.${String(Math.trunc(nanos / 1000)).padStart(6, "0")}Z`;
}

function intOrString(bytes: Uint8Array): unknown {
  const isText = integerOf(bytes, 1) === 1n;
  if (!isText) return Number(BigInt.asIntN(32, integerOf(bytes, 2)));
  return textsOf(bytes, 3)[0] ?? "";
}

function parsedJson(bytes: Uint8Array | undefined): unknown {
  if (bytes === undefined || bytes.length === 0) return undefined;
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    throw new WireError("the JSON inside of it is none");
  }
}

const jsonSchemaProps = "apiextensions.v1.JSONSchemaProps";

function schemaFrom(bytes: Uint8Array): Mutable {
  const message = messageNamed(jsonSchemaProps);
  if (message === undefined) throw new WireError(`there is no message ${jsonSchemaProps}`);
  return decodeMessage(bytes, message, typeNamed(jsonSchemaProps));
}

function schemaOr(bytes: Uint8Array, number: number): Mutable | undefined {
  for (const field of readFields(bytes)) if (field.number === number) return schemaFrom(bytesOf(field));
  return undefined;
}

function schemasOf(bytes: Uint8Array): readonly Mutable[] {
  return [...readFields(bytes)].filter((field) => field.number === 2).map((field) => schemaFrom(bytesOf(field)));
}
