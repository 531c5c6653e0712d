// nf_tables messages: a transaction to requests, a dump's messages to values (linux/netfilter/nf_tables.h, nfnetlink.h).
// Attributes are written in libnftnl's order, so that our messages are byte for byte those of nft.
//
// Not here: expressions (nftables-expressions.ts), sockets (kernel/nftables.ts).

import {
  AttributeWriter,
  NetlinkFormatError,
  align,
  forEachAttribute,
  parseAttributeList,
  parseAttributes,
  readBe32,
  readBe64,
  readString,
  type Attributes,
} from "./attributes.ts";
import { flag, type NetlinkRequest } from "./message.ts";
import { decodeExpression, decodeVerdict, encodeExpression, encodeVerdict } from "./nftables-expressions.ts";
import {
  setFlag,
  type NftAnonymousSet,
  type NftBatchItem,
  type NftChainState,
  type NftElementState,
  type NftKernelFamily,
  type NftRuleState,
  type NftSetState,
  type NftTableState,
} from "./nftables.ts";

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
export function elementBytes(element: NftElementState): number {
  let bytes = 4 + 8 + align(element.key.length);
  if (element.keyEnd !== undefined) bytes += 8 + align(element.keyEnd.length);
  if (element.lastKey !== undefined) bytes += 4 + 8 + 8 + align(element.lastKey.length);
  if (element.timeoutMs !== undefined) bytes += 12;
  if (element.data !== undefined) bytes += 8 + align(element.data.length);
  if (element.verdict !== undefined) bytes += 8 + 8 + 4 + 4 + align((element.verdict.chain?.length ?? 0) * 3 + 1);
  if (element.userdata !== undefined) bytes += 4 + align(element.userdata.length);
  return bytes;
}

/** Requests that dump what one table holds: send each with NLM_F_DUMP (flags are set), feed the answers to `TableDump`. */
export const dumpRequests = {
  chains: (family: NftKernelFamily): NetlinkRequest => dumpRequest(message.getChain, family),
  /** NFTA_RULE_TABLE 1 */
  rules: (family: NftKernelFamily, table: string): NetlinkRequest =>
    dumpRequest(message.getRule, family, (writer) => writer.string(1, table)),
  /** NFTA_SET_TABLE 1 */
  sets: (family: NftKernelFamily, table: string): NetlinkRequest =>
    dumpRequest(message.getSet, family, (writer) => writer.string(1, table)),
  /** NFTA_SET_ELEM_LIST_TABLE 1, _SET 2 */
  elements: (family: NftKernelFamily, table: string, set: string): NetlinkRequest =>
    dumpRequest(message.getElement, family, (writer) => writer.string(1, table).string(2, set)),
  /** One table by name: answers with NEWTABLE or ENOENT. NFTA_TABLE_NAME 1 */
  table: (family: NftKernelFamily, table: string): NetlinkRequest => ({
    ...request(message.getTable, family, 0, (writer) => writer.string(1, table)),
    flags: 0,
  }),
  /** The ruleset's generation: changes with every transaction. */
  generation: (): NetlinkRequest => ({ type: message.getGeneration, flags: 0, body: header(0, 0) }),
} as const;

/** NFTA_GEN_ID of a NEWGEN message's body. Throws NetlinkFormatError. */
export function decodeGeneration(body: Uint8Array): number {
  return readBe32(need(parseAttributes(body, headerBytes), 1, "a generation without an id"));
}

/** Collects a table from the bodies of dump answers: chains and sets in any order, then rules, then elements of each set. */
export class TableDump {
  readonly #family: NftKernelFamily;
  readonly #table: string;
  readonly #chains = new Map<string, NftChainState>();
  readonly #sets = new Map<string, NftSetState>();
  readonly #elements = new Map<string, DumpedElement[]>();
  readonly #rules: { chain: string; handle: bigint; expressions: Uint8Array[]; userdata: Uint8Array | undefined }[] =
    [];

  constructor(family: NftKernelFamily, table: string) {
    this.#family = family;
    this.#table = table;
  }

  /** NEWCHAIN. Other tables' chains are passed over. */
  chain(body: Uint8Array): void {
    if (!this.#mine(body)) return;
    const attributes = parseAttributes(body, headerBytes);
    // NFTA_CHAIN_TABLE 1, _HANDLE 2, _NAME 3, _HOOK 4, _POLICY 5, _USE 6, _TYPE 7, _COUNTERS 8, _FLAGS 10, _USERDATA 12.
    if (readString(need(attributes, 1, "a chain without a table")) !== this.#table) return;
    const name = readString(need(attributes, 3, "a chain without a name"));
    const base = decodeBase(attributes);
    const userdata = attributes.get(12)?.slice();
    this.#chains.set(name, {
      name,
      ...(base === undefined ? {} : { base }),
      ...(userdata === undefined ? {} : { userdata }),
    });
  }

  /** NEWSET. Gives the set's kernel name, whose elements are to be dumped; undefined where it is another table's. */
  set(body: Uint8Array): string | undefined {
    if (!this.#mine(body)) return undefined;
    const attributes = parseAttributes(body, headerBytes);
    if (readString(need(attributes, 1, "a set without a table")) !== this.#table) return undefined;
    const set = decodeSet(attributes);
    this.#sets.set(set.name, set);
    this.#elements.set(set.name, []);
    return set.name;
  }

  /** NEWRULE. */
  rule(body: Uint8Array): void {
    if (!this.#mine(body)) return;
    const attributes = parseAttributes(body, headerBytes);
    // NFTA_RULE_TABLE 1, _CHAIN 2, _HANDLE 3, _EXPRESSIONS 4, _USERDATA 7.
    if (readString(need(attributes, 1, "a rule without a table")) !== this.#table) return;
    const list = attributes.get(4);
    this.#rules.push({
      chain: readString(need(attributes, 2, "a rule without a chain")),
      handle: readBe64(need(attributes, 3, "a rule without a handle")),
      expressions: list === undefined ? [] : parseAttributeList(list).map(({ value }) => value),
      userdata: attributes.get(7)?.slice(),
    });
  }

  /** NEWSETELEM. */
  elements(body: Uint8Array): void {
    let set = "";
    // NFTA_SET_ELEM_LIST_TABLE 1, _SET 2, _ELEMENTS 3.
    forEachAttribute(body, headerBytes, (type, value) => {
      if (type === 2) set = readString(value);
      if (type !== 3) return;
      const list = this.#elements.get(set);
      if (list === undefined) throw new NetlinkFormatError(`elements of a set that was not dumped: ${set}`);
      forEachAttribute(value, 0, (_, element) => {
        const decoded = decodeElement(element);
        if (decoded !== undefined) list.push(decoded);
      });
    });
  }

  /** The whole of it. */
  finish(): NftTableState {
    const rules = new Map<string, NftRuleState[]>([...this.#chains.keys()].map((chain) => [chain, []]));
    for (const rule of this.#rules) {
      const list = rules.get(rule.chain);
      if (list === undefined) throw new NetlinkFormatError(`a rule of chain ${rule.chain}, which was not dumped`);
      list.push(this.#finishRule(rule));
    }
    const sets = [...this.#sets.values()].filter((set) => (set.flags & setFlag.anonymous) === 0);
    const elements = new Map(sets.map((set) => [set.name, this.#finishElements(set)]));
    return { family: this.#family, name: this.#table, chains: [...this.#chains.values()], rules, sets, elements };
  }

  #finishRule(rule: { handle: bigint; expressions: Uint8Array[]; userdata: Uint8Array | undefined }): NftRuleState {
    const anonymousSets: NftAnonymousSet[] = [];
    const setOf = (name: string): string | number => {
      const set = this.#sets.get(name);
      if (set === undefined || (set.flags & setFlag.anonymous) === 0) return name;
      anonymousSets.push({ set: { ...set, name: "" }, elements: sortElements(this.#finishElements(set)) });
      return anonymousSets.length - 1;
    };
    const expressions = rule.expressions.map((bytes) => decodeExpression(bytes, setOf));
    return {
      handle: rule.handle,
      expressions,
      ...(anonymousSets.length === 0 ? {} : { anonymousSets }),
      ...(rule.userdata === undefined ? {} : { userdata: rule.userdata }),
    };
  }

  #finishElements(set: NftSetState): readonly NftElementState[] {
    const elements = this.#elements.get(set.name) ?? [];
    const plainIntervals = (set.flags & setFlag.interval) !== 0 && (set.flags & setFlag.concatenation) === 0;
    for (const element of elements) if (element.timeoutMs === set.timeoutMs) delete element.timeoutMs;
    if (plainIntervals) return joinIntervals(elements);
    for (const element of elements) delete element.end;
    return elements;
  }

  #mine(body: Uint8Array): boolean {
    if (body.length < headerBytes) throw new NetlinkFormatError(`an nf_tables message of ${body.length} bytes`);
    return body[0] === familyNumbers[this.#family];
  }
}

/** Elements in the order of their keys: the kernel gives them in an order of its own. */
export function sortElements(elements: readonly NftElementState[]): NftElementState[] {
  return elements.toSorted((a, b) => compareBytes(a.key, b.key));
}

/** Orders byte strings, shorter first where one is the beginning of the other. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

// linux/netfilter.h: NFPROTO_*.
export const familyNumbers: Readonly<Record<NftKernelFamily, number>> = {
  inet: 1,
  ip: 2,
  netdev: 5,
  bridge: 7,
  ip6: 10,
};

// linux/netfilter/nfnetlink.h: NFNL_MSG_BATCH_BEGIN, _END, NFNL_SUBSYS_NFTABLES 10; nf_tables.h: enum nf_tables_msg_types.
const message = {
  batchBegin: 0x10,
  batchEnd: 0x11,
  newTable: 0x0a00,
  getTable: 0x0a01,
  deleteTable: 0x0a02,
  newChain: 0x0a03,
  getChain: 0x0a04,
  deleteChain: 0x0a05,
  newRule: 0x0a06,
  getRule: 0x0a07,
  deleteRule: 0x0a08,
  newSet: 0x0a09,
  getSet: 0x0a0a,
  deleteSet: 0x0a0b,
  newElement: 0x0a0c,
  getElement: 0x0a0d,
  deleteElement: 0x0a0e,
  getGeneration: 0x0a10,
} as const;

// struct nfgenmsg: family, version, resource id (big-endian).
const headerBytes = 4;
function header(family: number, resource: number): Uint8Array {
  return Uint8Array.of(family, 0, resource >> 8, resource & 0xff);
}

// struct nlattr: a list of elements is one attribute of at most 65535 bytes.
const elementListBytesMax = 60_000;

const writer = new AttributeWriter();
function request(
  type: number,
  family: NftKernelFamily,
  flags: number,
  write: (writer: AttributeWriter) => void,
): NetlinkRequest {
  writer.take();
  writer.raw(header(familyNumbers[family], 0));
  write(writer);
  return { type, flags, body: writer.take() };
}

function dumpRequest(
  type: number,
  family: NftKernelFamily,
  write: (writer: AttributeWriter) => void = () => {},
): NetlinkRequest {
  return { ...request(type, family, 0, write), flags: flag.dump };
}

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

/** nft marks the gap before the first interval; an interval "before zero" is how a list of ours says so. */
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

function decodeBase(attributes: Attributes): NftChainState["base"] {
  const hookAttribute = attributes.get(4);
  if (hookAttribute === undefined) return undefined;
  const hook = parseAttributes(hookAttribute);
  const devices: string[] = [];
  const device = hook.get(3);
  const list = hook.get(4);
  if (list !== undefined) for (const { value } of parseAttributeList(list)) devices.push(readString(value));
  else if (device !== undefined) devices.push(readString(device));
  return {
    type: readString(need(attributes, 7, "a base chain without a type")),
    hook: readBe32(need(hook, 1, "a hook without a number")),
    priority: readBe32(need(hook, 2, "a hook without a priority")) | 0,
    policy: readBe32(need(attributes, 5, "a base chain without a policy")),
    ...(devices.length === 0 ? {} : { devices: devices.sort() }),
  };
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

function decodeSet(attributes: Attributes): NftSetState {
  const number = (type: number): number | undefined => {
    const value = attributes.get(type);
    return value === undefined ? undefined : readBe32(value);
  };
  const description = attributes.get(9);
  const { size, fieldLengths } = description === undefined ? {} : decodeDescription(description);
  const timeout = attributes.get(11);
  const userdata = attributes.get(13)?.slice();
  const dataType = number(6);
  const dataLength = number(7);
  return {
    name: readString(need(attributes, 2, "a set without a name")),
    flags: (number(3) ?? 0) & knownSetFlags,
    keyType: number(4) ?? 0,
    keyLength: readBe32(need(attributes, 5, "a set without a key length")),
    ...(dataType === undefined ? {} : { dataType }),
    // The kernel says 16 bytes for verdicts (struct nft_verdict), where nothing was asked for.
    ...(dataLength === undefined || dataType === 0xffffff00 ? {} : { dataLength }),
    ...(timeout === undefined ? {} : { timeoutMs: readBe64(timeout) }),
    ...(size === undefined ? {} : { size }),
    ...(fieldLengths === undefined ? {} : { fieldLengths }),
    ...(attributes.has(17) || attributes.has(18) ? { counter: true } : {}),
    ...(userdata === undefined ? {} : { userdata }),
  };
}

// Without NFT_SET_EXPR, which the kernel adds to sets with counters.
const knownSetFlags = 0xff;

function decodeDescription(bytes: Uint8Array): { size?: number; fieldLengths?: readonly number[] } {
  const attributes = parseAttributes(bytes);
  const size = attributes.get(1);
  const concatenation = attributes.get(2);
  const fieldLengths =
    concatenation === undefined
      ? undefined
      : parseAttributeList(concatenation).map(({ value }) =>
          readBe32(need(parseAttributes(value), 1, "a field without a length")),
        );
  return {
    ...(size === undefined ? {} : { size: readBe32(size) }),
    ...(fieldLengths === undefined ? {} : { fieldLengths }),
  };
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

/** An element as the kernel holds it: `end` says that it only marks the first key after an interval. */
type DumpedElement = { -readonly [P in keyof NftElementState]: NftElementState[P] } & { end?: true };

/** Undefined for the catch-all element, which we never make and which has no key. */
function decodeElement(bytes: Uint8Array): DumpedElement | undefined {
  let key: Uint8Array | undefined;
  const rest: Omit<DumpedElement, "key"> = {};
  forEachAttribute(bytes, 0, (type, value) => {
    if (type === 1) key = dataValue(value);
    else if (type === 10) rest.keyEnd = dataValue(value);
    else if (type === 4) rest.timeoutMs = readBe64(value);
    else if (type === 6) rest.userdata = value.slice();
    else if (type === 3 && (readBe32(value) & 1) !== 0) rest.end = true;
    else if (type === 2)
      forEachAttribute(value, 0, (inner, data) => {
        if (inner === 1) rest.data = data.slice();
        if (inner === 2) rest.verdict = decodeVerdict(data);
      });
  });
  return key === undefined ? undefined : { key, ...rest };
}

/** Starts and end marks to intervals. A start without an end mark ends before the next start, or with the last key there is. */
function joinIntervals(elements: readonly DumpedElement[]): NftElementState[] {
  const sorted = elements.toSorted(
    (a, b) => compareBytes(a.key, b.key) || Number(b.end ?? false) - Number(a.end ?? false),
  );
  const intervals: NftElementState[] = [];
  let open: DumpedElement | undefined;
  for (const element of sorted) {
    if (open !== undefined) intervals.push({ ...open, lastKey: predecessor(element.key) });
    open = element.end === true ? undefined : element;
  }
  if (open !== undefined) intervals.push({ ...open, lastKey: new Uint8Array(open.key.length).fill(0xff) });
  return intervals;
}

/** The next byte string of the same length; undefined after the last. */
function successor(key: Uint8Array): Uint8Array | undefined {
  const next = key.slice();
  for (let i = next.length - 1; i >= 0; i--) {
    next[i] = next[i]! + 1;
    if (next[i] !== 0) return next;
  }
  return undefined;
}

function predecessor(key: Uint8Array): Uint8Array {
  const previous = key.slice();
  for (let i = previous.length - 1; i >= 0; i--) {
    previous[i] = previous[i]! - 1;
    if (previous[i] !== 0xff) break;
  }
  return previous;
}

/** NFTA_DATA_VALUE 1. */
function dataValue(bytes: Uint8Array): Uint8Array {
  let found: Uint8Array | undefined;
  forEachAttribute(bytes, 0, (type, value) => {
    if (type === 1) found = value.slice();
  });
  if (found === undefined) throw new NetlinkFormatError("a set element's key without a value");
  return found;
}

function need(attributes: Attributes, type: number, otherwise: string): Uint8Array {
  const value = attributes.get(type);
  if (value === undefined) throw new NetlinkFormatError(otherwise);
  return value;
}
