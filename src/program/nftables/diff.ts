// The way from what the kernel holds of a table to what it should hold, as transactions.
//
// Invariant: the units of a plan are in such an order that after each of them the packets' way is a valid one: what others
// point at comes first (tables, chains, sets, elements of sets and maps), then the rules, then the elements of verdict maps and of
// sets that are to be filled last; removals go the other way round. Sets are filled in the table's order and emptied in the reverse of it.
// So a plan that is too large for one transaction is committed as a series (`splitPlan`).
//
// Invariant: a plan from equal to equal is empty, whether the kernel's state came from us or was reloaded by nft.
//
// Not here: sending (kernel/nftables.ts), words for people (diff-text.ts).

import { batchItemBytes } from "../../wire/netlink/nftables-batch.ts";
import { compareBytes } from "../../wire/netlink/nftables-messages.ts";
import type {
  NftBatchItem,
  NftChainState,
  NftElementState,
  NftRuleState,
  NftSetState,
  NftTableState,
} from "../../wire/netlink/nftables.ts";
import { setFlag, verdictDataType } from "../../wire/netlink/nftables.ts";
import { encodeChain, encodeElements, encodeRules, encodeSetOnce } from "./encode.ts";
import { diffElementStates, diffElements, type ElementChanges } from "./diff-elements.ts";
import type { NftChain, NftElement, NftFamily, NftSet, NftTable } from "./ruleset.ts";

/** Units in the order they are to be in force; each is all or nothing, and any number of them fit one transaction. */
export type NftPlan = readonly (readonly NftBatchItem[])[];

/**
 * What to do so that the kernel holds `wanted`, given a dump of what it holds. Empty where it does already.
 * Elements of dynamic sets and comments of chains are left as they are. Throws RangeError where no nft syntax could say the table.
 */
export function planTable(wanted: NftTable, have: NftTableState | undefined): NftPlan {
  if (have === undefined) return planWhole(wanted, []);
  return plan(wanted, {
    hasRules: () => false,
    chains: new Map(have.chains.map((chain) => [chain.name, chain])),
    rules: (chain) => have.rules.get(chain) ?? [],
    sets: new Map(have.sets.map((set) => [set.name, set])),
    elementChanges: (set) => diffElementStates(have.elements.get(set.name) ?? [], encodeElements(set, set.elements)),
  });
}

/**
 * The same where the kernel is known to hold `previous`. Costs what changed: arrays of elements and elements that stayed the
 * same objects are passed over by identity. Throws RangeError where no nft syntax could say the table.
 */
export function diffTables(previous: NftTable | undefined, next: NftTable): NftPlan {
  if (previous === undefined) return planWhole(next, []);
  if (previous === next) return [];
  const before = { chains: byName(previous.chains), sets: byName(previous.sets) };
  return plan(next, {
    hasRules: (chain) => before.chains.get(chain.name)?.rules === chain.rules,
    chains: new Map(previous.chains.map((chain) => [chain.name, encodeChain(previous.family, chain)])),
    rules: (name) => {
      const chain = before.chains.get(name);
      return chain === undefined ? [] : encodeRules(previous, chain);
    },
    sets: new Map(previous.sets.map((set) => [set.name, encodeSetOnce(set)])),
    elementChanges: (set) => diffElements(before.sets.get(set.name), set),
  });
}

/**
 * Takes a table away with all it holds: two transactions, the rules first. A packet that is amid the rules while they go sees sets as they
 * are afterwards, and a deleted table's maps are empty at once, but its sets full until they are freed (nf_tables_api.c, nft_delset): a
 * Service's address would be known and its port not, and a connection refused.
 */
export function planRemoval(family: NftFamily, table: string): readonly [NftBatchItem[], NftBatchItem[]] {
  return [[{ kind: "flush-table", family, table }], [{ kind: "delete-table", family, table }]];
}

/**
 * The plan as transactions of at most `bytesMax` bytes each (NetworkKernel.nftBatchBytesMax), as few as their order allows.
 * A unit larger than that becomes a transaction of its own, which the kernel will refuse with EMSGSIZE.
 */
export function splitPlan(plan: NftPlan, bytesMax: number): NftBatchItem[][] {
  return [...batchesOf(plan, bytesMax)];
}

/**
 * The same one by one, for whoever sends each and forgets it: where long sets are filled, elements are encoded only now, and a transaction
 * is large enough to be cheap but not larger, as the encoded elements of 44,000 Services weigh more than the Services.
 */
export function* batchesOf(plan: NftPlan, bytesMax: number): Generator<NftBatchItem[]> {
  let batch: NftBatchItem[] = [];
  let bytes = batchFrameBytes;
  for (const unit of plan) {
    const size = unit.reduce((sum, item) => sum + (fillings.get(item)?.bytes ?? batchItemBytes(item)), 0);
    const isFilling = unit.some((item) => fillings.has(item));
    if (batch.length > 0 && bytes + size > (isFilling ? Math.min(bytesMax, fillingBytesMax) : bytesMax)) {
      yield joinElements(batch);
      batch = [];
      bytes = batchFrameBytes;
    }
    batch.push(...unit);
    bytes += size;
  }
  if (batch.length > 0) yield joinElements(batch);
}

const batchFrameBytes = 64;
/** Where long sets are filled. */
const fillingBytesMax = 1024 * 1024;
/** Elements of one unit: small enough for the smallest socket, large enough to be cheap. */
const unitElementsMax = 500;

/** What the kernel holds, asked only for what is needed. */
interface Present {
  readonly chains: ReadonlyMap<string, NftChainState>;
  /** Is it known, without a look into them, that it holds the chain's rules, given sets of the same shapes? */
  readonly hasRules: (chain: NftChain) => boolean;
  readonly rules: (chain: string) => readonly NftRuleState[];
  readonly sets: ReadonlyMap<string, NftSetState>;
  readonly elementChanges: (set: NftSet) => ElementChanges;
}

function planWhole(wanted: NftTable, before: readonly NftBatchItem[]): NftPlan {
  const nothing: Present = {
    chains: new Map(),
    hasRules: () => false,
    rules: () => [],
    sets: new Map(),
    elementChanges: () => ({ removed: [], replaced: [], added: [] }),
  };
  return plan(wanted, nothing, [...before, { kind: "add-table", family: wanted.family, table: wanted.name }]);
}

function plan(wanted: NftTable, have: Present, start: readonly NftBatchItem[] = []): NftPlan {
  const at = { family: wanted.family, table: wanted.name } as const;
  const chains = wanted.chains.map((chain) => ({
    name: chain.name,
    chain,
    state: encodeChain(wanted.family, chain),
    present: have.chains.get(chain.name),
  }));
  // A chain that others point at cannot become a base chain: everything is made anew, in one transaction where it fits.
  if (chains.some(({ state, present }) => present !== undefined && !present.base && state.base))
    return planWhole(wanted, [{ kind: "delete-table", ...at }]);

  const sets = wanted.sets.map((set) => {
    const state = encodeSetOnce(set);
    const present = have.sets.get(set.name);
    return { set, state, fresh: present === undefined, reshaped: present !== undefined && !sameShape(state, present) };
  });
  const reshaped = new Set(sets.filter((it) => it.reshaped).map(({ set }) => set.name));

  const first: NftBatchItem[] = [...start];
  for (const { state, present } of chains)
    if (present === undefined || samePlace(state, present) === "policy")
      first.push({ kind: "add-chain", ...at, chain: state });
  for (const { state, fresh } of sets) if (fresh) first.push({ kind: "add-set", ...at, set: state });

  // Rules that use a set of another shape go before it and come back after it; so do those of a chain that moves to another hook.
  const flushed: string[] = [];
  const moved = chains.filter(({ state, present }) => present !== undefined && samePlace(state, present) === "no");
  for (const { name } of moved) flushed.push(name);
  for (const name of have.chains.keys())
    if (reshaped.size > 0 && !flushed.includes(name) && have.rules(name).some((rule) => usesAny(rule, reshaped)))
      flushed.push(name);
  for (const chain of flushed) first.push({ kind: "flush-chain", ...at, chain });
  for (const { name, state } of moved)
    first.push({ kind: "delete-chain", ...at, chain: name }, { kind: "add-chain", ...at, chain: state });
  for (const { set, state, reshaped } of sets)
    if (reshaped) first.push({ kind: "delete-set", ...at, set: set.name }, { kind: "add-set", ...at, set: state });

  const rules: NftBatchItem[] = [];
  for (const { name, chain, present } of chains) {
    if (present !== undefined && reshaped.size === 0 && !flushed.includes(name) && have.hasRules(chain)) continue;
    const states = encodeRules(wanted, chain);
    const before = present === undefined || flushed.includes(name) ? [] : have.rules(name);
    if (sameRules(before, states)) continue;
    if (before.length > 0) rules.push({ kind: "flush-chain", ...at, chain: name });
    for (const rule of states) rules.push({ kind: "add-rule", ...at, chain: name, rule });
  }
  if (flushed.length > 0) first.push(...rules.splice(0));

  const growth = new Growth(at);
  for (const { set, state, fresh, reshaped } of sets) {
    if (set.flags.includes("dynamic")) continue;
    const isEmpty = fresh || reshaped;
    if (isEmpty && isLongAndPlain(set)) growth.fill(set);
    else if (isEmpty) growth.set(set, state, { removed: [], replaced: [], added: encodeElements(set, set.elements) });
    else growth.set(set, state, have.elementChanges(set));
  }

  const last: NftBatchItem[] = [];
  const goneChains = [...have.chains.keys()].filter((name) => !chains.some((chain) => chain.name === name));
  const goneSets = [...have.sets.keys()].filter((name) => !sets.some(({ set }) => set.name === name));
  for (const chain of goneChains)
    if (!flushed.includes(chain) && have.rules(chain).length > 0) last.push({ kind: "flush-chain", ...at, chain });
  for (const set of goneSets) last.push({ kind: "delete-set", ...at, set });
  for (const chain of goneChains) last.push({ kind: "delete-chain", ...at, chain });

  return [first, ...growth.data, rules, ...growth.late, ...growth.removals.toReversed(), last].filter(
    (unit) => unit.length > 0,
  );
}

/** The units that change elements, by when they are due. */
class Growth {
  readonly data: NftBatchItem[][] = [];
  /** Of verdict maps, and of sets that are filled last. */
  readonly late: NftBatchItem[][] = [];
  /** In the order of the sets; to be done in reverse, late ones before all others. */
  readonly removals: NftBatchItem[][] = [];
  readonly #at: { readonly family: NftFamily; readonly table: string };
  #dataRemovals = 0;

  constructor(at: { readonly family: NftFamily; readonly table: string }) {
    this.#at = at;
  }

  set({ name, filled }: Pick<NftSet, "name" | "filled">, state: NftSetState, changes: ElementChanges): void {
    const isLate = state.dataType === verdictDataType || filled === "last";
    const units = isLate ? this.late : this.data;
    const { removed, replaced, added } = changes;
    if ((state.flags & setFlag.interval) !== 0 && removed.length + replaced.length > 0) {
      // An interval that is added may overlap one that goes: the kernel refuses that, unless the latter goes first.
      const old = [...removed, ...replaced.map((pair) => pair.old)];
      const fresh = [...added, ...replaced.map((pair) => pair.new)];
      const groups = intervalGroups(old, fresh);
      const both = groups.filter((group) => group.old.length > 0 && group.new.length > 0);
      for (const unit of joinGroups(both)) units.push(this.#unit(name, unit.old, unit.new));
      const alone = groups.filter((group) => group.old.length === 0 || group.new.length === 0);
      for (const part of chunks(alone.flatMap((group) => group.new))) units.push(this.#unit(name, [], part));
      for (const part of chunks(alone.flatMap((group) => group.old))) this.#remove(isLate, this.#unit(name, part, []));
      return;
    }
    for (const part of chunks(replaced))
      units.push(
        this.#unit(
          name,
          part.map((pair) => pair.old),
          part.map((pair) => pair.new),
        ),
      );
    for (const part of chunks(added)) units.push(this.#unit(name, [], part));
    for (const part of chunks(removed)) this.#remove(isLate, this.#unit(name, part, []));
  }

  /** All elements of a set that is empty, encoded when they are sent. */
  fill(set: NftSet): void {
    const units = set.filled === "last" ? this.late : this.data;
    for (const part of chunks(set.elements)) units.push([fillingItem(this.#at, set, part)]);
  }

  #remove(isLate: boolean, unit: NftBatchItem[]): void {
    if (isLate) this.removals.push(unit);
    else this.removals.splice(this.#dataRemovals++, 0, unit);
  }

  #unit(set: string, old: readonly NftElementState[], fresh: readonly NftElementState[]): NftBatchItem[] {
    const unit: NftBatchItem[] = [];
    if (old.length > 0) unit.push({ kind: "delete-elements", ...this.#at, set, elements: old });
    if (fresh.length > 0) unit.push({ kind: "add-elements", ...this.#at, set, elements: fresh });
    return unit;
  }
}

/** Elements of these are all of one size. */
function isLongAndPlain({ data, flags, elements }: NftSet): boolean {
  return (
    elements.length > longMin &&
    data !== "verdict" &&
    flags.length === 0 &&
    elements.every(({ comment }) => comment === undefined)
  );
}

const longMin = 4096;

function fillingItem(
  at: { readonly family: NftFamily; readonly table: string },
  set: NftSet,
  elements: readonly NftElement[],
): NftBatchItem {
  const item: NftBatchItem = {
    kind: "add-elements",
    ...at,
    set: set.name,
    get elements() {
      return encodeElements(set, elements);
    },
  };
  const [first] = encodeElements(set, elements.slice(0, 1));
  const bytesOf = (some: readonly NftElementState[]): number =>
    batchItemBytes({ kind: "add-elements", ...at, set: set.name, elements: some });
  const one = first === undefined ? 0 : bytesOf([first]);
  const each = first === undefined ? 0 : bytesOf([first, first]) - one;
  fillings.set(item, { bytes: one + each * elements.length + 160, count: elements.length });
  return item;
}

/** Items whose elements are encoded when they are asked for: an upper bound of their bytes, and how many elements. */
const fillings = new WeakMap<NftBatchItem, { readonly bytes: number; readonly count: number }>();

/** How many elements an item adds or deletes, without encoding them. */
export function elementCount(item: NftBatchItem): number {
  return fillings.get(item)?.count ?? ("elements" in item ? item.elements.length : 0);
}

function chunks<T>(list: readonly T[]): (readonly T[])[] {
  const parts: (readonly T[])[] = [];
  for (let start = 0; start < list.length; start += unitElementsMax)
    parts.push(list.slice(start, start + unitElementsMax));
  return parts;
}

interface IntervalGroup {
  readonly old: NftElementState[];
  readonly new: NftElementState[];
}

/** The smallest groups such that what is added overlaps nothing that goes in another group. */
function intervalGroups(old: readonly NftElementState[], fresh: readonly NftElementState[]): readonly IntervalGroup[] {
  const all = [
    ...old.map((element) => ({ element, goes: true })),
    ...fresh.map((element) => ({ element, goes: false })),
  ];
  all.sort((a, b) => compareBytes(a.element.key, b.element.key));
  const groups: IntervalGroup[] = [];
  let end = new Uint8Array(0);
  for (const { element, goes } of all) {
    // Boxes that start after the last byte string so far share none of their first differing field with any before.
    if (groups.length === 0 || compareBytes(element.key, end) > 0) groups.push({ old: [], new: [] });
    const group = groups.at(-1)!;
    (goes ? group.old : group.new).push(element);
    const last = element.keyEnd ?? element.lastKey ?? element.key;
    if (compareBytes(last, end) > 0) end = new Uint8Array(last);
  }
  return groups;
}

/** As few groups as may be, each small enough where the groups it is made of are. */
function joinGroups(groups: readonly IntervalGroup[]): readonly IntervalGroup[] {
  const joined: IntervalGroup[] = [];
  let count = Infinity;
  for (const group of groups) {
    if (count >= unitElementsMax) {
      joined.push({ old: [], new: [] });
      count = 0;
    }
    const unit = joined.at(-1)!;
    for (const element of group.old) unit.old.push(element);
    for (const element of group.new) unit.new.push(element);
    count += group.old.length + group.new.length;
  }
  return joined;
}

/** Neighbouring items that add to, or delete from, one set become one: fewer messages. */
function joinElements(batch: readonly NftBatchItem[]): NftBatchItem[] {
  const joined: NftBatchItem[] = [];
  let start = 0;
  while (start < batch.length) {
    const item = batch[start]!;
    let end = start + 1;
    // What is encoded when it is asked for stays in small pieces: each is garbage before the next one is made.
    if ((item.kind !== "add-elements" && item.kind !== "delete-elements") || fillings.has(item)) joined.push(item);
    else {
      const parts = [item.elements];
      for (; end < batch.length; end++) {
        const next = batch[end]!;
        if (next.kind !== item.kind || next.set !== item.set || next.table !== item.table) break;
        // The tables of both families have sets of the same names, and one transaction may hold both.
        if (next.family !== item.family || fillings.has(next)) break;
        parts.push(next.elements);
      }
      const { kind, family, table, set } = item;
      joined.push({ kind, family, table, set, elements: parts.length === 1 ? parts[0]! : parts.flat() });
    }
    start = end;
  }
  return joined;
}

function byName<T extends { readonly name: string }>(list: readonly T[]): Map<string, T> {
  return new Map(list.map((item) => [item.name, item]));
}

/** Whether a chain is where it should be: `policy` where the kernel can change what differs. */
function samePlace(a: NftChainState, b: NftChainState): "yes" | "policy" | "no" {
  if (a.base === undefined || b.base === undefined) return a.base === b.base ? "yes" : "no";
  const { policy, ...place } = a.base;
  const { policy: otherPolicy, ...otherPlace } = b.base;
  if (!equal(place, otherPlace)) return "no";
  return policy === otherPolicy ? "yes" : "policy";
}

/** Userdata is for nft alone and follows from the types. */
function sameShape(a: NftSetState, b: NftSetState): boolean {
  const { userdata: _, ...shape } = a;
  const { userdata: __, ...otherShape } = b;
  return equal(shape, otherShape);
}

function sameRules(a: readonly NftRuleState[], b: readonly NftRuleState[]): boolean {
  return a.length === b.length && a.every((rule, index) => rule === b[index] || sameRule(rule, b[index]!));
}

/** Do two rules do and say the same? */
function sameRule(a: NftRuleState, b: NftRuleState): boolean {
  const { handle: _, ...rule } = a;
  const { handle: __, ...other } = b;
  return equal(rule, other);
}

function usesAny(rule: NftRuleState, sets: ReadonlySet<string>): boolean {
  if (sets.size === 0) return false;
  return rule.expressions.some(
    (it) => (it.kind === "lookup" || it.kind === "dynset") && typeof it.set === "string" && sets.has(it.set),
  );
}

/** Deep equality of plain values: records, arrays, bytes, numbers and text. */
function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (a instanceof Uint8Array || b instanceof Uint8Array)
    return a instanceof Uint8Array && b instanceof Uint8Array && compareBytes(a, b) === 0;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const left = Object.entries(a);
  const right = b as Record<string, unknown>;
  return left.length === Object.keys(b).length && left.every(([name, value]) => equal(value, right[name]));
}
