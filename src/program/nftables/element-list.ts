// Elements of a set as a list that shares with the one before it all that stayed: of a hundred thousand elements of which three change, a
// copy of an array of pointers is a megabyte, at every change. The array is made when somebody asks for it; who only wants what
// changed does not.
//
// Not here: who makes such lists (program/shared-assembler.ts), and how long arrays note where they differ (model/stretch.ts).

import { stretchBetween } from "../../model/stretch.ts";
import type { NftElement, NftSet } from "./ruleset.ts";

export interface ElementList {
  readonly length: number;
  /** All of them. The same array at every call. */
  all(): readonly NftElement[];
}

/** What two lists do not have in common, by identity. */
export interface ElementChange {
  readonly gone: readonly NftElement[];
  readonly come: readonly NftElement[];
}

/** A set with these elements; `elements` is made of the list at its first use. */
export function setOf(shape: Omit<NftSet, "elements">, list: ElementList): NftSet {
  const set: NftSet = {
    ...shape,
    get elements() {
      return list.all();
    },
  };
  lists.set(set, list);
  return set;
}

/** A list that is an array already. The same value for the same array. */
export function arrayList(elements: readonly NftElement[]): ElementList {
  let list = arrays.get(elements);
  if (list === undefined) arrays.set(elements, (list = { length: elements.length, all: () => elements }));
  return list;
}

/** Is it known without a look into them that two sets have the same elements? */
export function haveSameElements(a: NftSet, b: NftSet): boolean {
  const [first, second] = [lists.get(a), lists.get(b)];
  return first === undefined || second === undefined ? a.elements === b.elements : first === second;
}

/** Do the set's elements come from a list, so that asking for `elements` may cost something? */
export function isListed(set: NftSet): boolean {
  return lists.has(set);
}

/** What changes from one set's elements to another's: at the cost of the change where it was noted. */
export function changeBetween(before: NftSet | undefined, after: NftSet | undefined): ElementChange {
  if (before !== undefined && after !== undefined) {
    const [first, second] = [lists.get(before), lists.get(after)];
    if (first !== undefined && first === second) return nothing;
    const note = second === undefined ? undefined : noted.get(second);
    if (note !== undefined && first !== undefined && note.before === numbers.get(first)) return note.change;
  }
  const [left, right] = [before?.elements ?? [], after?.elements ?? []];
  const { start, endBefore, endAfter } = stretchBetween(left, right);
  return unshared(left.slice(start, endBefore), right.slice(start, endAfter));
}

/** Notes what changed from `before` to `after`; it is believed. Neither is kept alive by that. */
export function noteChange(before: ElementList, after: ElementList, { gone, come }: ElementChange): void {
  noted.set(after, { before: numberOf(before), change: unshared(gone, come) });
}

const nothing: ElementChange = { gone: [], come: [] };
const lists = new WeakMap<NftSet, ElementList>();
const arrays = new WeakMap<readonly NftElement[], ElementList>();
const noted = new WeakMap<ElementList, { readonly before: number; readonly change: ElementChange }>();
// As in model/stretch.ts: WeakRefs would keep all the lists that ever were, until everything is collected.
const numbers = new WeakMap<ElementList, number>();
let lastNumber = 0;

function numberOf(list: ElementList): number {
  let number = numbers.get(list);
  if (number === undefined) numbers.set(list, (number = ++lastNumber));
  return number;
}

function unshared(before: readonly NftElement[], after: readonly NftElement[]): ElementChange {
  if (before.length === 0 || after.length === 0) return { gone: before, come: after };
  const kept = new Set(before);
  const now = new Set(after);
  return {
    gone: before.filter((element) => !now.has(element)),
    come: after.filter((element) => !kept.has(element)),
  };
}
