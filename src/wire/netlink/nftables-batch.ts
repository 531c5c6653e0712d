// nf_tables transactions: from items to requests (linux/netfilter/nf_tables.h).
// Attributes are written in libnftnl's order, so that our messages are byte for byte those of nft.
//
// Not here: expressions (nftables-expressions.ts), sockets (kernel/nftables.ts).

import { align, type AttributeWriter } from "./attributes.ts";
import { flag, type NetlinkRequest } from "./message.ts";
import { encodeExpression, encodeVerdict } from "./nftables-expressions.ts";
import { header, message, request, successor } from "./nftables-messages.ts";
import { setFlag, type NftBatchItem, type NftChainState, type NftElementState, type NftSetState } from "./nftables.ts";

/** A transaction as requests, begin and end included; `items[n]` is the index of the batch item that request n belongs to (-1: frame). */
export interface EncodedBatch {
  readonly requests: readonly NetlinkRequest[];
  readonly items: readonly number[];
}

/** The requests of one transaction. Long lists of elements become several requests (an attribute has at most 64 KiB). */
export function encodeBatch(batch: readonly NftBatchItem[]): EncodedBatch {
  const encoder = new BatchEncoder();
  batch.forEach((item, index) => encoder.item(item, index));
  return encoder.finish();
}

/** An upper bound of the bytes one batch item takes in a transaction, without encoding it: for splitting. */
export function batchItemBytes(item: NftBatchItem): number {
  if (item.kind === "add-elements" || item.kind === "delete-elements") {
    let bytes = 128 + item.table.length + item.set.length;
    for (const element of item.elements) bytes += elementBytes(element);
    return bytes + Math.ceil(bytes / elementListBytesMax) * 160;
  }
  if (item.kind !== "add-rule") return 1024;
  return encodeBatch([item]).requests.reduce((sum, request) => sum + align(16 + request.body.length), 0);
}

/** An upper bound of the bytes of one element in a message. */
function elementBytes(element: NftElementState): number {
  let bytes = 4 + 8 + align(element.key.length);
  if (element.keyEnd !== undefined) bytes += 8 + align(element.keyEnd.length);
  if (element.lastKey !== undefined) bytes += 4 + 8 + 8 + align(element.lastKey.length);
  if (element.timeoutMs !== undefined) bytes += 12;
  if (element.data !== undefined) bytes += 8 + align(element.data.length);
  if (element.verdict !== undefined) bytes += 8 + 8 + 4 + 4 + align((element.verdict.chain?.length ?? 0) * 3 + 1);
  if (element.userdata !== undefined) bytes += 4 + align(element.userdata.length);
  return bytes;
}

// struct nlattr: a list of elements is one attribute of at most 65535 bytes.
const elementListBytesMax = 60_000;

class BatchEncoder {
  readonly #requests: NetlinkRequest[] = [{ type: message.batchBegin, flags: 0, body: header(0, 10) }];
  readonly #items: number[] = [-1];
  readonly #setIds = new Map<string, number>();
  #nextSetId = 1;

  finish(): EncodedBatch {
    this.#requests.push({ type: message.batchEnd, flags: 0, body: header(0, 10) });
    this.#items.push(-1);
    return { requests: this.#requests, items: this.#items };
  }

  item(item: NftBatchItem, index: number): void {
    const add = (type: number, flags: number, write: (writer: AttributeWriter) => void): void => {
      this.#requests.push(request(type, item.family, flags, write));
      this.#items.push(index);
    };
    switch (item.kind) {
      case "add-table":
        // NFTA_TABLE_NAME 1, _FLAGS 2.
        add(message.newTable, 0, (writer) => writer.string(1, item.table).be32(2, 0));
        return;
      case "delete-table":
        add(message.deleteTable, 0, (writer) => writer.string(1, item.table));
        return;
      case "flush-table":
        // A deletion of rules that names no chain.
        add(message.deleteRule, 0, (writer) => writer.string(1, item.table));
        return;
      case "add-chain":
        add(message.newChain, flag.create, (writer) => encodeChain(writer, item.table, item.chain));
        return;
      case "delete-chain":
        // NFTA_CHAIN_TABLE 1, _NAME 3.
        add(message.deleteChain, 0, (writer) => writer.string(1, item.table).string(3, item.chain));
        return;
      case "flush-chain":
        // A deletion without a handle is one of all rules. NFTA_RULE_TABLE 1, _CHAIN 2.
        add(message.deleteRule, 0, (writer) => writer.string(1, item.table).string(2, item.chain));
        return;
      case "delete-rule":
        // NFTA_RULE_HANDLE 3.
        add(message.deleteRule, 0, (writer) => writer.string(1, item.table).string(2, item.chain).be64(3, item.handle));
        return;
      case "add-rule":
        this.#addRule(item, add);
        return;
      case "add-set":
        this.#addSet(item, item.set, add);
        return;
      case "delete-set":
        // NFTA_SET_TABLE 1, _NAME 2.
        add(message.deleteSet, 0, (writer) => writer.string(1, item.table).string(2, item.set));
        this.#setIds.delete(setKey(item, item.set));
        return;
      case "add-elements":
        encodeElements(item.table, item.set, this.#setIds.get(setKey(item, item.set)), item.elements, (write) =>
          add(message.newElement, flag.create, write),
        );
        return;
      case "delete-elements":
        encodeElements(item.table, item.set, undefined, item.elements, (write) => add(message.deleteElement, 0, write));
        return;
    }
  }

  #addSet(item: { family: string; table: string }, set: NftSetState, add: AddRequest): number {
    const id = this.#nextSetId++;
    if (set.name !== "") this.#setIds.set(setKey(item, set.name), id);
    add(message.newSet, flag.create, (writer) => encodeSet(writer, item.table, set, id));
    return id;
  }

  #addRule(item: NftBatchItem & { kind: "add-rule" }, add: AddRequest): void {
    const ids = (item.rule.anonymousSets ?? []).map(({ set, elements }) => {
      const id = this.#addSet(item, set, add);
      encodeElements(item.table, anonymousName(set), id, withZeroMark(set, elements), (write) =>
        add(message.newElement, flag.create, write),
      );
      return id;
    });
    const setOf = (set: string | number): { name: string; id: number | undefined } => {
      if (typeof set === "string") return { name: set, id: this.#setIds.get(setKey(item, set)) };
      const anonymous = item.rule.anonymousSets?.[set];
      if (anonymous === undefined) throw new RangeError(`a rule without anonymous set ${set}`);
      return { name: anonymousName(anonymous.set), id: ids[set] };
    };
    // NFTA_RULE_TABLE 1, _CHAIN 2, _EXPRESSIONS 4, _USERDATA 7.
    add(message.newRule, flag.create | flag.append, (writer) => {
      writer.string(1, item.table).string(2, item.chain);
      writer.nested(4, (list) => {
        for (const expression of item.rule.expressions)
          list.nested(1, (inner) => encodeExpression(inner, expression, setOf));
      });
      if (item.rule.userdata !== undefined) writer.bytes(7, item.rule.userdata);
    });
  }
}

type AddRequest = (type: number, flags: number, write: (writer: AttributeWriter) => void) => void;

function setKey(item: { family: string; table: string }, set: string): string {
  return `${item.family} ${item.table} ${set}`;
}

// The kernel replaces %d by a number that is free.
function anonymousName(set: NftSetState): string {
  return (set.flags & setFlag.map) === 0 ? "__set%d" : "__map%d";
}

/** In an anonymous set of intervals, nft also marks the end of the gap that comes before the first one. */
function withZeroMark(set: NftSetState, elements: readonly NftElementState[]): readonly Encodable[] {
  if ((set.flags & setFlag.interval) === 0 || elements.some(({ key }) => key.every((byte) => byte === 0)))
    return elements;
  return [{ endMark: new Uint8Array(set.keyLength) }, ...elements];
}

function encodeChain(writer: AttributeWriter, table: string, chain: NftChainState): void {
  writer.string(1, table).string(3, chain.name);
  const { base } = chain;
  if (base !== undefined) {
    writer.string(7, base.type).be32(5, base.policy);
    // NFTA_HOOK_HOOKNUM 1, _PRIORITY 2, _DEV 3, _DEVS 4 (NFTA_DEVICE_NAME 1).
    writer.nested(4, (hook) => {
      hook.be32(1, base.hook).be32(2, base.priority);
      const [only, ...more] = base.devices ?? [];
      if (only !== undefined && more.length === 0) hook.string(3, only);
      else if (only !== undefined)
        hook.nested(4, (list) => {
          for (const device of [only, ...more]) list.string(1, device);
        });
    });
  }
  if (chain.userdata !== undefined) writer.bytes(12, chain.userdata);
}

function encodeSet(writer: AttributeWriter, table: string, set: NftSetState, id: number): void {
  // NFTA_SET_TABLE 1, _NAME 2, _FLAGS 3, _KEY_TYPE 4, _KEY_LEN 5, _DATA_TYPE 6, _DATA_LEN 7, _DESC 9, _ID 10, _TIMEOUT 11,
  // _USERDATA 13, _EXPR 17.
  writer
    .string(1, table)
    .string(2, set.name === "" ? anonymousName(set) : set.name)
    .be32(3, set.flags)
    .be32(4, set.keyType)
    .be32(5, set.keyLength);
  if (set.dataType !== undefined) writer.be32(6, set.dataType);
  if (set.dataType !== undefined) writer.be32(7, set.dataLength ?? 0);
  writer.be32(10, id);
  const { size, fieldLengths, timeoutMs } = set;
  if (size !== undefined || fieldLengths !== undefined)
    writer.nested(9, (description) => {
      // NFTA_SET_DESC_SIZE 1, _CONCAT 2 (list of NFTA_SET_FIELD_LEN 1).
      if (size !== undefined) description.be32(1, size);
      if (fieldLengths !== undefined)
        description.nested(2, (list) => {
          for (const length of fieldLengths) list.nested(1, (field) => field.be32(1, length));
        });
    });
  if (timeoutMs !== undefined) writer.be64(11, timeoutMs);
  if (set.userdata !== undefined) writer.bytes(13, set.userdata);
  // NFTA_EXPR_NAME 1, NFTA_EXPR_DATA 2: a counter that starts at zero.
  if (set.counter === true) writer.nested(17, (counter) => counter.string(1, "counter").nested(2, () => {}));
}

function encodeElements(
  table: string,
  set: string,
  setId: number | undefined,
  elements: readonly Encodable[],
  add: (write: (writer: AttributeWriter) => void) => void,
): void {
  let start = 0;
  while (start < elements.length) {
    let end = start;
    let bytes = 0;
    while (end < elements.length) {
      const element = elements[end]!;
      bytes += "endMark" in element ? 28 + element.endMark.length : elementBytes(element);
      if (bytes > elementListBytesMax && end > start) break;
      end++;
    }
    const chunk = elements.slice(start, end);
    // NFTA_SET_ELEM_LIST_TABLE 1, _SET 2, _ELEMENTS 3 (list of NFTA_LIST_ELEM 1), _SET_ID 4.
    add((writer) => {
      writer.string(1, table).string(2, set);
      if (setId !== undefined) writer.be32(4, setId);
      writer.nested(3, (list) => {
        // The kernel looks at none of these types; nft counts.
        let index = 1;
        for (const element of chunk) index += encodeElement(list, element, index);
      });
    });
    start = end;
  }
}

/** An element, or only the mark that no interval reaches this key. */
type Encodable = NftElementState | { readonly endMark: Uint8Array };

/** Gives how many list entries it took: an interval's end mark is one of its own. */
function encodeElement(list: AttributeWriter, element: Encodable, index: number): number {
  if ("endMark" in element) {
    encodeEndMark(list, element.endMark, index);
    return 1;
  }
  list.nested(index, (inner) => encodeStart(inner, element));
  const end = element.lastKey === undefined ? undefined : successor(element.lastKey);
  if (end === undefined) return 1;
  encodeEndMark(list, end, index + 1);
  return 2;
}

function encodeEndMark(list: AttributeWriter, key: Uint8Array, index: number): void {
  // NFTA_SET_ELEM_FLAGS 3: NFT_SET_ELEM_INTERVAL_END 1.
  list.nested(index, (inner) => inner.be32(3, 1).nested(1, (value) => value.bytes(1, key)));
}

function encodeStart(writer: AttributeWriter, element: NftElementState): void {
  // NFTA_SET_ELEM_KEY 1, _DATA 2, _FLAGS 3, _TIMEOUT 4, _USERDATA 6, _KEY_END 10.
  if (element.timeoutMs !== undefined) writer.be64(4, element.timeoutMs);
  writer.nested(1, (key) => key.bytes(1, element.key));
  const { keyEnd, data, verdict } = element;
  if (keyEnd !== undefined) writer.nested(10, (key) => key.bytes(1, keyEnd));
  if (verdict !== undefined) writer.nested(2, (inner) => encodeVerdict(inner, verdict));
  else if (data !== undefined) writer.nested(2, (inner) => inner.bytes(1, data));
  if (element.userdata !== undefined) writer.bytes(6, element.userdata);
}
