// The nf_tables half of the fake kernel: tables, chains, rules, sets and elements with the kernel's own rules about references and
// atomicity. A transaction that fails at any item leaves nothing behind.
//
// Not here: what expressions do to packets (trace/), and how rules become expressions (program/nftables).

import type { NftBatchItem, NftElementState, NftKernelFamily, NftTableState } from "../wire/netlink/nftables.ts";
import { KernelError } from "./kernel.ts";

/** All tables of one namespace. Plain mutable state: only `commitBatch` writes it. */
export interface FakeTables {
  readonly tables: Map<string, FakeTable>;
  nextHandle: bigint;
}

type ChainState = NftTableState["chains"][number];
type RuleState = Extract<NftBatchItem, { kind: "add-rule" }>["rule"];
type SetState = NftTableState["sets"][number];

interface FakeTable {
  readonly family: NftKernelFamily;
  readonly name: string;
  readonly chains: Map<string, FakeChain>;
  readonly sets: Map<string, FakeSet>;
}
interface FakeChain {
  state: ChainState;
  rules: RuleState[];
  /** How many rules and elements go here: such a chain cannot be deleted. */
  uses: number;
}
interface FakeSet {
  readonly state: SetState;
  readonly elements: Map<string, NftElementState>;
  /** How many rules look it up: such a set cannot be deleted. */
  uses: number;
}

type ItemOf<K extends NftBatchItem["kind"]> = Extract<NftBatchItem, { kind: K }>;
/** What takes one step back, in case a later item fails. */
type Undo = () => void;

/** No tables. */
export function createTables(): FakeTables {
  return { tables: new Map(), nextHandle: 1n };
}

/** All of the batch or nothing: throws KernelError with the failing item's index, everything as it was before. */
export function commitBatch(state: FakeTables, batch: readonly NftBatchItem[]): void {
  const undo: Undo[] = [];
  for (const [index, item] of batch.entries()) {
    try {
      applyItem(state, item, undo);
    } catch (error) {
      for (const step of undo.reverse()) step();
      if (!(error instanceof Refusal)) throw error;
      throw new KernelError(`nftables transaction, item ${index}, ${subject(item)}: ${error.code}: ${error.message}`, {
        code: error.code,
        index,
      });
    }
  }
}

/** One table as a dump gives it; undefined where there is none. */
export function tableState(state: FakeTables, family: NftKernelFamily, name: string): NftTableState | undefined {
  const table = state.tables.get(tableKey(family, name));
  if (table === undefined) return undefined;
  return {
    family,
    name,
    chains: [...table.chains.values()].map((chain) => chain.state),
    rules: new Map([...table.chains].map(([chain, { rules }]) => [chain, [...rules]])),
    sets: [...table.sets.values()].map((set) => set.state),
    elements: new Map([...table.sets].map(([set, { elements }]) => [set, [...elements.values()]])),
  };
}

class Refusal extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

function applyItem(state: FakeTables, item: NftBatchItem, undo: Undo[]): void {
  switch (item.kind) {
    case "add-table":
      return addTable(state, item, undo);
    case "delete-table":
      return deleteTable(state, item, undo);
    case "flush-table":
      return flushTable(mustTable(state, item), item, undo);
    case "add-chain":
      return addChain(mustTable(state, item), item, undo);
    case "delete-chain":
      return deleteChain(mustTable(state, item), item, undo);
    case "flush-chain":
      return flushChain(mustTable(state, item), item, undo);
    case "add-rule":
      return addRule(state, mustTable(state, item), item, undo);
    case "delete-rule":
      return deleteRule(mustTable(state, item), item, undo);
    case "add-set":
      return addSet(mustTable(state, item), item, undo);
    case "delete-set":
      return deleteSet(mustTable(state, item), item, undo);
    case "add-elements":
      return addElements(mustTable(state, item), item, undo);
    case "delete-elements":
      return deleteElements(mustTable(state, item), item, undo);
  }
}

// ---------------------------------------------------------------- tables and chains

function addTable(state: FakeTables, item: ItemOf<"add-table">, undo: Undo[]): void {
  const key = tableKey(item.family, item.table);
  if (state.tables.has(key)) return;
  state.tables.set(key, { family: item.family, name: item.table, chains: new Map(), sets: new Map() });
  undo.push(() => state.tables.delete(key));
}

function deleteTable(state: FakeTables, item: ItemOf<"delete-table">, undo: Undo[]): void {
  const table = mustTable(state, item);
  const key = tableKey(item.family, item.table);
  state.tables.delete(key);
  undo.push(() => state.tables.set(key, table));
}

function addChain(table: FakeTable, item: ItemOf<"add-chain">, undo: Undo[]): void {
  const { chain } = item;
  const existing = table.chains.get(chain.name);
  if (existing) {
    const before = existing.state;
    // nf_tables_updchain: hook and priority of a base chain cannot change, its policy can.
    if (before.base?.hook !== chain.base?.hook || before.base?.priority !== chain.base?.priority)
      throw new Refusal("EEXIST", `chain ${chain.name} exists with another hook or priority`);
    existing.state = chain;
    undo.push(() => (existing.state = before));
    return;
  }
  table.chains.set(chain.name, { state: chain, rules: [], uses: 0 });
  undo.push(() => table.chains.delete(chain.name));
}

function deleteChain(table: FakeTable, item: ItemOf<"delete-chain">, undo: Undo[]): void {
  const chain = mustChain(table, item.chain);
  if (chain.uses > 0) throw new Refusal("EBUSY", `${chain.uses} rules or elements still go to chain ${item.chain}`);
  removeRules(table, chain, () => true, undo);
  table.chains.delete(item.chain);
  undo.push(() => table.chains.set(item.chain, chain));
}

function flushChain(table: FakeTable, item: ItemOf<"flush-chain">, undo: Undo[]): void {
  removeRules(table, mustChain(table, item.chain), () => true, undo);
}

function flushTable(table: FakeTable, item: ItemOf<"flush-table">, undo: Undo[]): void {
  for (const chain of table.chains.keys()) flushChain(table, { ...item, kind: "flush-chain", chain }, undo);
}

// ---------------------------------------------------------------- rules

function addRule(state: FakeTables, table: FakeTable, item: ItemOf<"add-rule">, undo: Undo[]): void {
  const chain = mustChain(table, item.chain);
  hold(table, item.rule, 1, undo);
  const rule = { ...item.rule, handle: state.nextHandle++ };
  chain.rules.push(rule);
  undo.push(() => chain.rules.splice(chain.rules.indexOf(rule), 1));
}

function deleteRule(table: FakeTable, item: ItemOf<"delete-rule">, undo: Undo[]): void {
  const chain = mustChain(table, item.chain);
  if (!chain.rules.some((rule) => rule.handle === item.handle))
    throw new Refusal("ENOENT", `chain ${item.chain} has no rule with handle ${item.handle}`);
  removeRules(table, chain, (rule) => rule.handle === item.handle, undo);
}

function removeRules(table: FakeTable, chain: FakeChain, which: (rule: RuleState) => boolean, undo: Undo[]): void {
  const before = chain.rules;
  for (const rule of before.filter((rule) => which(rule))) hold(table, rule, -1, undo);
  chain.rules = before.filter((rule) => !which(rule));
  undo.push(() => (chain.rules = before));
}

/** A rule holds the sets it looks up and the chains it goes to. */
function hold(table: FakeTable, rule: RuleState, by: 1 | -1, undo: Undo[]): void {
  const { sets, chains } = references(rule);
  for (const name of sets) count(mustSet(table, name), by, undo);
  for (const name of chains) {
    const chain = mustChain(table, name);
    // nft_chain_validate: a base chain is no target.
    if (chain.state.base) throw new Refusal("EOPNOTSUPP", `chain ${name} is a base chain, no target`);
    count(chain, by, undo);
  }
}

function count(counted: { uses: number }, by: 1 | -1, undo: Undo[]): void {
  counted.uses += by;
  undo.push(() => (counted.uses -= by));
}

/** The names of the sets and chains a rule uses, also by its anonymous sets' elements. */
function references(rule: RuleState): { sets: string[]; chains: string[] } {
  const sets: string[] = [];
  const chains: string[] = [];
  for (const expression of rule.expressions) {
    if (expression.kind === "verdict" && expression.verdict.chain !== undefined) chains.push(expression.verdict.chain);
    if (expression.kind === "lookup" && typeof expression.set === "string") sets.push(expression.set);
    if (expression.kind === "dynset") sets.push(expression.set);
  }
  for (const element of rule.anonymousSets?.flatMap((set) => set.elements) ?? [])
    if (element.verdict?.chain !== undefined) chains.push(element.verdict.chain);
  return { sets, chains };
}

// ---------------------------------------------------------------- sets and elements

function addSet(table: FakeTable, item: ItemOf<"add-set">, undo: Undo[]): void {
  const existing = table.sets.get(item.set.name);
  if (existing) {
    if (!sameSet(existing.state, item.set)) throw new Refusal("EEXIST", `set ${item.set.name} exists with other types`);
    return;
  }
  table.sets.set(item.set.name, { state: item.set, elements: new Map(), uses: 0 });
  undo.push(() => table.sets.delete(item.set.name));
}

function sameSet(a: SetState, b: SetState): boolean {
  return (
    a.flags === b.flags && a.keyLength === b.keyLength && a.dataLength === b.dataLength && a.dataType === b.dataType
  );
}

function deleteSet(table: FakeTable, item: ItemOf<"delete-set">, undo: Undo[]): void {
  const set = mustSet(table, item.set);
  if (set.uses > 0) throw new Refusal("EBUSY", `${set.uses} rules still look up set ${item.set}`);
  for (const element of set.elements.values()) holdTarget(table, element, -1, undo);
  table.sets.delete(item.set);
  undo.push(() => table.sets.set(item.set, set));
}

function addElements(table: FakeTable, item: ItemOf<"add-elements">, undo: Undo[]): void {
  const set = mustSet(table, item.set);
  for (const element of item.elements) {
    const key = elementKey(element);
    const existing = set.elements.get(key);
    if (existing) {
      // nft_add_set_elem: the same again is no error, other data for the same key is.
      if (sameData(existing, element)) continue;
      throw new Refusal("EEXIST", `set ${item.set} has this key with other data`);
    }
    holdTarget(table, element, 1, undo);
    set.elements.set(key, element);
    undo.push(() => set.elements.delete(key));
  }
}

function deleteElements(table: FakeTable, item: ItemOf<"delete-elements">, undo: Undo[]): void {
  const set = mustSet(table, item.set);
  for (const element of item.elements) {
    const key = elementKey(element);
    const existing = set.elements.get(key);
    if (existing === undefined) throw new Refusal("ENOENT", `set ${item.set} has no such element`);
    holdTarget(table, existing, -1, undo);
    set.elements.delete(key);
    undo.push(() => set.elements.set(key, existing));
  }
}

function holdTarget(table: FakeTable, element: NftElementState, by: 1 | -1, undo: Undo[]): void {
  const chain = element.verdict?.chain;
  if (chain !== undefined) count(mustChain(table, chain), by, undo);
}

/** What identifies an element: its key, the end of its range, and whether it is the end of an interval. */
function elementKey(element: NftElementState): string {
  const text = (bytes: Uint8Array | undefined): string =>
    bytes === undefined ? "" : Buffer.from(bytes).toString("latin1");
  return `${text(element.key)}|${text(element.keyEnd)}`;
}

function sameData(a: NftElementState, b: NftElementState): boolean {
  const bytes = Buffer.compare(a.data ?? new Uint8Array(), b.data ?? new Uint8Array()) === 0;
  return bytes && a.verdict?.code === b.verdict?.code && a.verdict?.chain === b.verdict?.chain;
}

// ---------------------------------------------------------------- look-ups

function tableKey(family: NftKernelFamily, name: string): string {
  return `${family} ${name}`;
}

function mustTable(state: FakeTables, item: NftBatchItem): FakeTable {
  const table = state.tables.get(tableKey(item.family, item.table));
  if (table === undefined) throw new Refusal("ENOENT", `there is no table ${item.family} ${item.table}`);
  return table;
}

function mustChain(table: FakeTable, name: string): FakeChain {
  const chain = table.chains.get(name);
  if (chain === undefined) throw new Refusal("ENOENT", `table ${table.name} has no chain ${name}`);
  return chain;
}

function mustSet(table: FakeTable, name: string): FakeSet {
  const set = table.sets.get(name);
  if (set === undefined) throw new Refusal("ENOENT", `table ${table.name} has no set ${name}`);
  return set;
}

function subject(item: NftBatchItem): string {
  const what = item.kind.replaceAll("-", " ");
  if ("chain" in item) return `${what} ${typeof item.chain === "string" ? item.chain : item.chain.name}`;
  if ("set" in item) return `${what} ${typeof item.set === "string" ? item.set : item.set.name}`;
  return `${what} ${item.family} ${item.table}`;
}
