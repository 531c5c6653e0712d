// nf_tables dumps: the requests, and from their answers to the value of a whole table (linux/netfilter/nf_tables.h).
//
// Not here: expressions (nftables-expressions.ts), sockets (kernel/nftables.ts).

import {
  NetlinkFormatError,
  forEachAttribute,
  parseAttributeList,
  parseAttributes,
  readBe32,
  readBe64,
  readString,
  type AttributeWriter,
  type Attributes,
} from "./attributes.ts";
import { flag, type NetlinkRequest } from "./message.ts";
import { decodeExpression, decodeVerdict } from "./nftables-expressions.ts";
import {
  compareBytes,
  familyNumbers,
  header,
  headerBytes,
  message,
  need,
  predecessor,
  request,
  sortElements,
} from "./nftables-messages.ts";
import {
  setFlag,
  type NftAnonymousSet,
  type NftChainState,
  type NftElementState,
  type NftKernelFamily,
  type NftRuleState,
  type NftSetState,
  type NftTableState,
} from "./nftables.ts";

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

function dumpRequest(
  type: number,
  family: NftKernelFamily,
  write: (writer: AttributeWriter) => void = () => {},
): NetlinkRequest {
  return { ...request(type, family, 0, write), flags: flag.dump };
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
    // NFTA_SET_ELEM_EXPR, of which only counters are ours.
    else if (type === 7) {
      const packets = counterPackets(value);
      if (packets > 0n) rest.packets = packets;
    } else if (type === 3 && (readBe32(value) & 1) !== 0) rest.end = true;
    else if (type === 2)
      forEachAttribute(value, 0, (inner, data) => {
        if (inner === 1) rest.data = data.slice();
        if (inner === 2) rest.verdict = decodeVerdict(data);
      });
  });
  return key === undefined ? undefined : { key, ...rest };
}

/** NFTA_EXPR_DATA 2, in it NFTA_COUNTER_PACKETS 2. */
function counterPackets(expression: Uint8Array): bigint {
  let packets = 0n;
  forEachAttribute(expression, 0, (type, data) => {
    if (type !== 2) return;
    forEachAttribute(data, 0, (inner, value) => {
      if (inner === 2) packets = readBe64(value);
    });
  });
  return packets;
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

/** NFTA_DATA_VALUE 1. */
function dataValue(bytes: Uint8Array): Uint8Array {
  let found: Uint8Array | undefined;
  forEachAttribute(bytes, 0, (type, value) => {
    if (type === 1) found = value.slice();
  });
  if (found === undefined) throw new NetlinkFormatError("a set element's key without a value");
  return found;
}
