// What the kernel holds of an element, as text: for showing what nobody asked for.

import type { NftElementState } from "../../wire/netlink/nftables.ts";
import { padded } from "./encode-set.ts";
import type { KeyType, NftSet } from "./ruleset.ts";
import { types, valueText } from "./values.ts";

/**
 * An element by its bytes, in the set's types: `10.9.9.9 . tcp . 80 : goto pick-2`. Ranges are written by their ends.
 * Hexadecimal where the bytes are too few for the types: then somebody has another set of that name.
 */
export function formatElementState(set: Pick<NftSet, "key" | "data" | "flags">, state: NftElementState): string {
  const bigEndian = set.flags.includes("interval");
  const first = partTexts(set.key, state.key, bigEndian);
  const end = state.keyEnd ?? state.lastKey;
  const last = end === undefined ? first : partTexts(set.key, end, bigEndian);
  const key = first.map((text, index) => (text === last[index] ? text : `${text}-${last[index]}`)).join(" . ");
  const data = dataText(set.data, state);
  return data === undefined ? key : `${key} : ${data}`;
}

function dataText(data: NftSet["data"], { verdict, data: bytes }: NftElementState): string | undefined {
  if (verdict !== undefined) return verdictText(verdict);
  if (bytes === undefined) return undefined;
  return partTexts(data === undefined || data === "verdict" ? [] : data, bytes, false).join(" . ");
}

function partTexts(key: readonly KeyType[], bytes: Uint8Array, bigEndian: boolean): string[] {
  const parts: string[] = [];
  let at = 0;
  for (const type of key) {
    const { bytes: length, order } = types[type];
    if (at + length > bytes.length) return [hex(bytes)];
    parts.push(valueText(type, bytes.subarray(at, at + length), order === "host" && !bigEndian));
    at += padded(length);
  }
  return parts.length === 0 ? [hex(bytes)] : parts;
}

// linux/netfilter.h NF_DROP 0, NF_ACCEPT 1; nf_tables.h NFT_JUMP -3, NFT_GOTO -4, NFT_RETURN -5.
function verdictText(verdict: { readonly code: number; readonly chain?: string }): string {
  const names: ReadonlyMap<number, string> = new Map([
    [0, "drop"],
    [1, "accept"],
    [-3, "jump"],
    [-4, "goto"],
    [-5, "return"],
  ]);
  const name = names.get(verdict.code) ?? `verdict ${verdict.code}`;
  return verdict.chain === undefined ? name : `${name} ${verdict.chain}`;
}

function hex(bytes: Uint8Array): string {
  return `0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
