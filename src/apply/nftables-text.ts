// Items of nf_tables transactions in words, each with the object that caused it: for reports of what was done and what others did.
//
// Not here: nft syntax of whole tables (program/nftables/format.ts).

import type { Origin } from "../kube/object.ts";
import { elementCount, type NftPlan } from "../program/nftables/diff.ts";
import { encodeElements } from "../program/nftables/encode.ts";
import { formatElementState } from "../program/nftables/format-state.ts";
import type { NftElement, NftSet, NftTable, NftVerdict } from "../program/nftables/ruleset.ts";
import type { NftBatchItem, NftElementState } from "../wire/netlink/nftables.ts";
import { changeBetween } from "../program/nftables/element-list.ts";
import { tablePart, type Drift } from "./report.ts";

export interface ItemText {
  readonly text: string;
  readonly origin?: Origin;
}

/** Beyond this, elements are counted and not listed. */
const elementsListedMax = 20;

/** Is it told in one line, with a number? */
export function isManyElements(item: NftBatchItem): boolean {
  return elementCount(item) > elementsListedMax;
}

/** What an item did, an entry per element where they are few. `previous` knows the elements that went. */
export function describeItem(item: NftBatchItem, table: NftTable, previous: NftTable | undefined): readonly ItemText[] {
  const where = `${item.family} ${item.table}`;
  switch (item.kind) {
    case "add-table":
    case "delete-table":
    case "flush-table":
      return [{ text: `${verbOf(item)} table ${where}` }];
    case "add-chain":
      return [{ text: `add chain ${where} ${item.chain.name}` }];
    case "delete-chain":
    case "flush-chain":
      return [{ text: `${verbOf(item)} chain ${where} ${item.chain}` }];
    case "add-rule":
    case "delete-rule":
      return [{ text: `${verbOf(item)} rule ${where} ${item.chain}` }];
    case "add-set":
      return [{ text: `add set ${where} ${item.set.name}` }];
    case "delete-set":
      return [{ text: `delete set ${where} ${item.set}` }];
    case "add-elements":
    case "delete-elements": {
      const { set } = item;
      if (isManyElements(item)) return [{ text: `${verbOf(item)} ${elementCount(item)} elements ${where} ${set}` }];
      const { elements } = item;
      const find = elementFinder(table, previous, item);
      const known = [table, previous].map((one) => one?.sets.find(({ name }) => name === set)).find(Boolean);
      return elements.map((element) =>
        describeElement(`${verbOf(item)} element ${where} ${set}`, element, { find, set: known }),
      );
    }
  }
}

/**
 * What a plan back to `table` says about others: what is to be added was taken, what is to be deleted was put there,
 * and what is both was changed.
 */
export function driftOf(plan: NftPlan, table: NftTable): readonly Drift[] {
  const part = tablePart(table);
  const drift = new Map<string, Drift>();
  for (const item of plan.flat()) {
    const isGone = item.kind.startsWith("add-");
    for (const { text, origin } of describeItem(item, table, table)) {
      const what = text.replace(/^(add|delete|flush) /, "");
      const kind = drift.has(what) ? "changed" : isGone ? "missing" : "extra";
      // A flushed chain is about to get its rules again: the rules say what was wrong.
      if (item.kind === "flush-chain") continue;
      drift.set(what, { part, kind, text: what, ...(origin === undefined ? {} : { origin }) });
    }
  }
  return [...drift.values()];
}

function verbOf(item: NftBatchItem): string {
  return item.kind.slice(0, item.kind.indexOf("-"));
}

function describeElement(
  prefix: string,
  state: NftElementState,
  from: { readonly find: (state: NftElementState) => NftElement | undefined; readonly set: NftSet | undefined },
): ItemText {
  const element = from.find(state);
  // Nobody's of us: by its bytes alone.
  if (element === undefined)
    return { text: `${prefix} ${formatElementState(from.set ?? { key: [], flags: [] }, state)}` };
  return { text: `${prefix} ${element.key.join(" . ")}${dataText(element.data)}`, origin: element.origin };
}

function dataText(data: NftElement["data"]): string {
  if (data === undefined) return "";
  return ` : ${Array.isArray(data) ? data.join(" . ") : verdictText(data as NftVerdict)}`;
}

function verdictText(verdict: NftVerdict): string {
  return verdict.kind === "jump" || verdict.kind === "goto" ? `${verdict.kind} ${verdict.chain}` : verdict.kind;
}

/**
 * From the kernel's form of an element back to the Program's, by its key. Of what went from one Program to the next only the elements
 * that are not in both are looked at: a set may have a hundred thousand.
 */
function elementFinder(
  table: NftTable,
  previous: NftTable | undefined,
  item: Extract<NftBatchItem, { kind: "add-elements" | "delete-elements" }>,
): (state: NftElementState) => NftElement | undefined {
  const setOf = (one: NftTable | undefined): NftSet | undefined => one?.sets.find((set) => set.name === item.set);
  const before = setOf(previous);
  const after = setOf(table);
  const set = item.kind === "add-elements" ? after : (before ?? after);
  if (set === undefined) return () => undefined;
  const { gone, come } = changeBetween(before, after);
  const isDifference = before !== undefined && before !== after;
  const elements = !isDifference ? set.elements : item.kind === "add-elements" ? come : gone;
  const states = encodeElements(set, elements);
  return (wanted) => elements[states.findIndex((state) => Buffer.compare(state.key, wanted.key) === 0)];
}
