// What nft 1.0.6 sends for the samples' texts, as captured (encode.golden.txt), to compare with what we send.
//
// A line a message: type, flags and body in hexadecimal, without the header's length, sequence and port.

import { readFileSync } from "node:fs";

import { forEachAttribute } from "../../wire/netlink/attributes.ts";
import { decodeMessages, flag } from "../../wire/netlink/message.ts";
import { encodeBatch } from "../../wire/netlink/nftables-batch.ts";
import { planTable } from "./diff.ts";
import type { NftTable } from "./ruleset.ts";

export const goldenFile: URL = new URL("encode.golden.txt", import.meta.url);

/** The captured messages by family of the sample. */
export function readGolden(): ReadonlyMap<string, readonly string[]> {
  const tables = new Map<string, string[]>();
  for (const line of readFileSync(goldenFile, "utf8").split("\n")) {
    if (line.startsWith("table ")) tables.set(line.slice("table ".length), []);
    else if (line !== "" && !line.startsWith("#")) [...tables.values()].at(-1)?.push(line);
  }
  return tables;
}

/** What we send to make a table, a line a message. */
export function ourMessages(table: NftTable): string[] {
  return encodeBatch(planTable(table, undefined).flat()).requests.map(({ type, flags, body }) =>
    line(type, flags | flag.request, body),
  );
}

/** Captured bytes, a line a message. */
export function messageLines(bytes: Uint8Array): string[] {
  return decodeMessages(bytes).map(({ type, flags, body }) => line(type, flags, body));
}

function line(type: number, flags: number, body: Uint8Array): string {
  const isRule = type === 0x0a06;
  return `${type.toString(16)} ${flags.toString(16)} ${toHex(isRule ? withoutDefaults(body) : body)}`;
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/**
 * nft says some defaults for some ways to write the same rule: NFTA_BITWISE_OP (6) 0 where a mask was written, and NFTA_NAT_FLAGS (7)
 * and NFTA_REDIR_FLAGS (3) NF_NAT_RANGE_PROTO_SPECIFIED where a port was written. The kernel's result is the same, so we never say them.
 */
function withoutDefaults(body: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [body.subarray(0, 4)];
  forEachAttribute(body, 4, (type, value) => {
    parts.push(type === 4 ? attribute(type | nested, concat(expressions(value))) : attribute(type, value));
  });
  return concat(parts);
}

const nested = 0x8000;
const defaults: Readonly<Record<string, { readonly type: number; readonly value: number }>> = {
  bitwise: { type: 6, value: 0 },
  nat: { type: 7, value: 2 },
  redir: { type: 3, value: 2 },
};

function expressions(list: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  forEachAttribute(list, 0, (_, expression) => {
    let name = "";
    const inside: Uint8Array[] = [];
    forEachAttribute(expression, 0, (type, value) => {
      if (type === 1) name = Buffer.from(value.subarray(0, -1)).toString();
      inside.push(type === 2 ? attribute(2 | nested, concat(data(name, value))) : attribute(type, value));
    });
    parts.push(attribute(1 | nested, concat(inside)));
  });
  return parts;
}

function data(expression: string, bytes: Uint8Array): Uint8Array[] {
  const kept: Uint8Array[] = [];
  const byDefault = defaults[expression];
  const marked = nestedTypes(bytes);
  forEachAttribute(bytes, 0, (type, value) => {
    const number = value.length === 4 ? Buffer.from(value).readUInt32BE() : undefined;
    if (type === byDefault?.type && number === byDefault.value) return;
    kept.push(attribute(marked.has(type) ? type | nested : type, value));
  });
  return kept;
}

/** The types that carry NLA_F_NESTED, which forEachAttribute strips. */
function nestedTypes(bytes: Uint8Array): ReadonlySet<number> {
  const types = new Set<number>();
  for (let at = 0; at + 4 <= bytes.length; at += (Buffer.from(bytes).readUInt16LE(at) + 3) & ~3) {
    const type = Buffer.from(bytes).readUInt16LE(at + 2);
    if ((type & nested) !== 0) types.add(type & 0x3fff);
  }
  return types;
}

function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc((4 + value.length + 3) & ~3);
  bytes.writeUInt16LE(4 + value.length);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}
