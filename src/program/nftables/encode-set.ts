// Sets, maps and their elements: from typed values to what the kernel keeps, the way nft 1.0.6 would say it.
//
// Keys of several parts lie one after another, each padded to 4 bytes. The kernel keeps types and userdata only for nft's sake:
// with them `nft list ruleset` prints elements as text.

import { sortElements } from "../../wire/netlink/nftables-messages.ts";
import type { NftElementState, NftSetState } from "../../wire/netlink/nftables.ts";
import { setFlag, verdictDataType } from "../../wire/netlink/nftables.ts";
import type { ElementValue, KeyType, NftElement, NftSet, NftVerdict } from "./ruleset.ts";
import { typeofKey, typeofNames } from "./typeof.ts";
import { commentUserdata, record, records, u32 } from "./userdata.ts";
import { putValue, splitRange, types, type TypeInfo, type ValueType } from "./values.ts";

/** The set as the kernel keeps it, without its elements. Throws RangeError where no nft syntax could say it. */
export function encodeSet(set: NftSet): NftSetState {
  checkSet(set);
  const { data } = set;
  const interval = set.flags.includes("interval");
  const timeout = set.flags.includes("timeout");
  const flags =
    (interval ? setFlag.interval : 0) |
    (interval && set.key.length > 1 ? setFlag.concatenation : 0) |
    (data === undefined ? 0 : setFlag.map) |
    (timeout ? setFlag.timeout : 0) |
    (set.flags.includes("dynamic") ? setFlag.evaluate : 0);
  return {
    name: set.name,
    flags,
    keyType: typeId(set.key),
    keyLength: keyLength(set.key),
    ...(data === undefined ? {} : encodeDataType(data)),
    ...(set.timeoutSeconds === undefined ? {} : { timeoutMs: BigInt(set.timeoutSeconds) * 1000n }),
    ...(set.size === undefined ? {} : { size: set.size }),
    ...(interval && set.key.length > 1 ? { fieldLengths: set.key.map((type) => types[type].bytes) } : {}),
    ...(set.counter === true ? { counter: true } : {}),
    userdata: setUserdata(set),
  };
}

/** What turns one set's elements into the kernel's; made once per set, called per element. Throws RangeError naming the element. */
export function elementEncoder(set: NftSet): (element: NftElement) => NftElementState {
  const key = keyEncoder(set.key, set.flags.includes("interval"));
  const { data } = set;
  const dataLength = data === undefined || data === "verdict" ? 0 : keyLength(data);
  return (element) => {
    try {
      const keyState = key(element.key);
      const userdata = elementUserdata(element, keyState.lastKey);
      return {
        ...keyState,
        ...(data === undefined ? {} : encodeData(data, dataLength, element.data)),
        ...(element.timeoutSeconds === undefined || element.timeoutSeconds === set.timeoutSeconds
          ? {}
          : { timeoutMs: BigInt(element.timeoutSeconds) * 1000n }),
        ...(userdata === undefined ? {} : { userdata }),
      };
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const name = `${set.name} { ${element.key.join(" . ")} }`;
      throw new RangeError(`element of nftables set ${name}: ${error.message}`, { cause: error });
    }
  };
}

/** The kernel's verdict. Codes: linux/netfilter.h NF_DROP 0, NF_ACCEPT 1; nf_tables.h NFT_JUMP -3, NFT_GOTO -4, NFT_RETURN -5. */
export function encodeVerdict(verdict: NftVerdict): { readonly code: number; readonly chain?: string } {
  switch (verdict.kind) {
    case "drop":
      return { code: 0 };
    case "accept":
      return { code: 1 };
    case "return":
      return { code: -5 };
    case "jump":
      return { code: -3, chain: verdict.chain };
    case "goto":
      return { code: -4, chain: verdict.chain };
  }
}

/** nft's number for a type of one or several parts: six bits a part (TYPE_BITS in its datatype.h). */
export function typeId(key: readonly ValueType[]): number {
  return key.reduce((id, type) => (id * 64 + types[type].id) >>> 0, 0);
}

/** Bytes of a key: parts of a concatenation are padded to 4, a single one is not. */
export function keyLength(key: readonly ValueType[]): number {
  if (key.length === 1) return types[key[0]!].bytes;
  return key.reduce((sum, type) => sum + padded(types[type].bytes), 0);
}

/** An anonymous set of single values: `{ 80, 100-120 }`. Elements are in the order of their bytes. */
export function anonymousElements(
  type: ValueType,
  values: readonly ElementValue[],
  interval: boolean,
): NftElementState[] {
  const encode = keyEncoder([type], interval);
  const elements = values.map((value): NftElementState => {
    const key = encode([value]);
    const userdata = elementUserdata({}, key.lastKey);
    return userdata === undefined ? key : { ...key, userdata };
  });
  return sortElements(elements);
}

/** Bytes of a part of a concatenation. */
export function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}

function checkSet(set: NftSet): void {
  const fail = (why: string): never => {
    throw new RangeError(`nftables set ${set.name}: ${why}`);
  };
  const parts = [...set.key, ...(set.data === undefined || set.data === "verdict" ? [] : set.data)];
  if (set.key.length === 0) fail("a key has at least one part");
  // Six bits a part in 32: nft cannot say more.
  if (set.key.length > 5) fail(`a key has at most 5 parts, not ${set.key.length}`);
  // NFT_REG32_COUNT: the registers have 64 bytes.
  if (keyLength(set.key) > 64) fail(`a key has at most 64 bytes, not ${keyLength(set.key)}`);
  if (set.flags.includes("interval") && set.key.length === 1 && types[set.key[0]!].order === "text")
    fail("names have no intervals");
  if (set.timeoutSeconds !== undefined && !set.flags.includes("timeout")) fail("a timeout needs flag timeout");
  if (set.data === "verdict" && parts.some((type) => types[type].nameless))
    fail("nft 1.0.6 reads no such map of verdicts");
}

function encodeDataType(data: "verdict" | readonly KeyType[]): { dataType: number; dataLength?: number } {
  if (data === "verdict") return { dataType: verdictDataType };
  return { dataType: typeId(data), dataLength: keyLength(data) };
}

type KeyState = Pick<NftElementState, "key" | "keyEnd" | "lastKey">;

function keyEncoder(key: readonly ValueType[], interval: boolean): (values: readonly ElementValue[]) => KeyState {
  const length = keyLength(key);
  const parts: { type: ValueType; info: TypeInfo; at: number }[] = [];
  let at = 0;
  for (const type of key) {
    const info = types[type];
    parts.push({ type, info, at });
    at += padded(info.bytes);
  }
  const count = (values: readonly ElementValue[]): void => {
    if (values.length !== parts.length)
      throw new RangeError(`${values.length} values for a key of ${parts.length} parts`);
  };
  if (!interval)
    return (values) => {
      count(values);
      const bytes = new Uint8Array(length);
      for (let i = 0; i < parts.length; i++) {
        const part = parts[i]!;
        putValue(part.type, values[i]!, bytes, part.at, part.info.order === "host");
      }
      return { key: bytes };
    };
  return (values) => {
    count(values);
    const first = new Uint8Array(length);
    const last = new Uint8Array(length);
    for (const [i, part] of parts.entries()) {
      const ends = splitRange(part.type, values[i]!);
      // nft 1.0.6 lists 0x10-0x1f as 0x10/28, and reads that as something else.
      if (key.length > 1 && part.info.order === "host" && ends.first !== ends.last)
        throw new RangeError(`a range of ${part.type} among several parts`);
      // Intervals are compared as bytes, so every number is big-endian here.
      putValue(part.type, ends.first, first, part.at, false);
      putValue(part.type, ends.last, last, part.at, false);
    }
    checkOrder(first, last, values, parts);
    return key.length > 1 ? { key: first, keyEnd: last } : { key: first, lastKey: last };
  };
}

function checkOrder(
  first: Uint8Array,
  last: Uint8Array,
  values: readonly ElementValue[],
  parts: readonly { readonly info: TypeInfo; readonly at: number }[],
): void {
  for (const [i, { info, at }] of parts.entries())
    for (let byte = at; byte < at + info.bytes; byte++) {
      if (first[byte]! < last[byte]!) break;
      if (first[byte]! > last[byte]!) throw new RangeError(`range ${values[i]} ends before it starts`);
    }
}

function encodeData(
  data: "verdict" | readonly KeyType[],
  length: number,
  value: NftElement["data"],
): Pick<NftElementState, "data" | "verdict"> {
  if (data === "verdict") {
    if (value === undefined || !("kind" in value)) throw new RangeError("a verdict is missing");
    return { verdict: encodeVerdict(value) };
  }
  if (value === undefined || "kind" in value || value.length !== data.length)
    throw new RangeError(`data of ${data.length} parts is missing`);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (let i = 0; i < data.length; i++) {
    const type = data[i]!;
    putValue(type, value[i]!, bytes, at, types[type].order === "host");
    at += padded(types[type].bytes);
  }
  return { data: bytes };
}

// libnftnl/udata.h: NFTNL_UDATA_SET_ELEM_COMMENT 0, _FLAGS 1 (SET_ELEM_F_INTERVAL_OPEN 1: the interval reaches the last value there is).
function elementUserdata(
  element: Pick<NftElement, "comment">,
  lastKey: Uint8Array | undefined,
): Uint8Array | undefined {
  const open = lastKey?.every((byte) => byte === 0xff) ?? false;
  if (element.comment === undefined) return open ? record(1, u32(1)) : undefined;
  const comment = commentUserdata(0, element.comment);
  return open ? records([comment, record(1, u32(1))]) : comment;
}

// libnftnl/udata.h: NFTNL_UDATA_SET_KEYBYTEORDER 0, _DATABYTEORDER 1, _KEY_TYPEOF 3, _DATA_TYPEOF 4, _DATA_INTERVAL 6.
function setUserdata(set: NftSet): Uint8Array {
  const { data } = set;
  const nameless = isNameless(set);
  const list = [record(0, u32(byteOrder(set.key)))];
  if (data !== undefined) list.push(record(1, u32(data === "verdict" ? 0 : byteOrder(data))));
  if (nameless) list.push(record(3, typeofKey(set.key)));
  else if (set.key.length > 1) list.push(record(3, typeofNames()));
  if (data !== undefined && data !== "verdict") {
    if (nameless) list.push(record(4, typeofKey(data)));
    else if (data.length > 1) list.push(record(4, typeofNames()));
  }
  if (data !== undefined) list.push(record(6, u32(0)));
  return records(list);
}

/** Must nft declare this set by `typeof`, because a type has no name? */
export function isNameless(set: Pick<NftSet, "key" | "data">): boolean {
  const parts = [...set.key, ...(set.data === undefined || set.data === "verdict" ? [] : set.data)];
  return parts.some((type) => types[type].nameless);
}

// nft's enum byteorder: invalid 0 (concatenations), host-endian 1, big-endian 2.
function byteOrder(key: readonly ValueType[]): number {
  if (key.length !== 1) return 0;
  return types[key[0]!].order === "network" ? 2 : 1;
}
