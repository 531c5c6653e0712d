// A sorted table of values by key whose array is made anew only when something changed, and the difference of two lists of objects:
// what the incremental builder (build.ts) is made of. Equal content in any order of events gives equal arrays.

import { blockList, withStretch, type BlockList } from "./blocks.ts";
import { noteStretch, stretchBetween } from "./stretch.ts";

/** Values by key, in order of key. */
export interface Table<V> {
  get(key: string): V | undefined;
  /** Sets, or removes where the value is undefined. A value that equals the old one (===) changes nothing. */
  set(key: string, value: V | undefined): void;
  /** In order of key. The same array until something changes. */
  values(): readonly V[];
  /** The same as a list that costs what changed. The same list until something changes. */
  list(): BlockList<V>;
}

/** An empty table. Single changes cost a block of the list; many at once a sort. */
export function createTable<V>(): Table<V> {
  const byKey = new Map<string, V>();
  let keys: string[] = [];
  let list = blockList<V>([]);
  const dirty = new Set<string>();
  // Up to so many changes, putting each into its place beats sorting everything again.
  const singlesMax = 32;

  const settle = (): void => {
    if (dirty.size === 0) return;
    if (dirty.size > singlesMax) {
      keys = [...byKey.keys()].sort(compareText);
      list = blockList(keys.map((key) => byKey.get(key) as V));
    } else {
      const before = list;
      // Of what is touched: the first, and how many follow the last.
      let first = Infinity;
      let rest = Infinity;
      for (const key of dirty) {
        const at = lowerBound(keys, key);
        const places = keys[at] === key ? 1 : 0;
        const come = byKey.has(key) ? [byKey.get(key) as V] : [];
        if (places + come.length === 0) continue;
        first = Math.min(first, at);
        rest = Math.min(rest, keys.length - at - places);
        if (places !== come.length) keys.splice(at, places, ...(come.length === 0 ? [] : [key]));
        list = withStretch(list, { start: at, end: at + places }, come);
      }
      if (list !== before)
        noteStretch(before, list, { start: first, endBefore: before.length - rest, endAfter: list.length - rest });
    }
    dirty.clear();
  };
  return {
    get: (key) => byKey.get(key),
    set(key, value) {
      if (byKey.get(key) === value) return;
      if (value === undefined) byKey.delete(key);
      else byKey.set(key, value);
      dirty.add(key);
    },
    values() {
      settle();
      return list.all();
    },
    list() {
      settle();
      return list;
    },
  };
}

/** Many values by one key. A key without values is gone. */
export interface Groups<V> {
  get(key: string): ReadonlySet<V>;
  add(key: string, value: V): void;
  delete(key: string, value: V): void;
}

/** Empty groups. Nearly all groups have one value (a Service's slice, an address' claimant): only the others are kept as sets. */
export function createGroups<V>(): Groups<V> {
  const singles = new Map<string, V>();
  const groups = new Map<string, Set<V>>();
  const none: ReadonlySet<V> = new Set();
  return {
    get(key) {
      const group = groups.get(key);
      if (group !== undefined) return group;
      return singles.has(key) ? new Set([singles.get(key) as V]) : none;
    },
    add(key, value) {
      const group = groups.get(key);
      if (group !== undefined) group.add(value);
      else if (!singles.has(key)) singles.set(key, value);
      else if (singles.get(key) !== value) {
        groups.set(key, new Set([singles.get(key) as V, value]));
        singles.delete(key);
      }
    },
    delete(key, value) {
      const group = groups.get(key);
      if (group === undefined) {
        if (singles.has(key) && singles.get(key) === value) singles.delete(key);
      } else if (group.delete(value) && group.size < 2) {
        groups.delete(key);
        for (const last of group) singles.set(key, last);
      }
    },
  };
}

/** What is in one list of objects and not in the other, by identity. Costs what changed where the lists are in the same order. */
export function difference<T>(
  before: readonly T[],
  after: readonly T[],
): { readonly removed: readonly T[]; readonly added: readonly T[] } {
  if (before === after) return { removed: [], added: [] };
  const { start, endBefore, endAfter } = stretchBetween(before, after);
  const old = new Set(before.slice(start, endBefore));
  const added = after.slice(start, endAfter).filter((value) => !old.delete(value));
  return { removed: [...old], added };
}

/** Orders text by code units: the same on every machine, whatever its locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Are two values of plain data equal? Arrays in order, objects by their own fields. */
export function isSameValue(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b))
    return (
      Array.isArray(a) &&
      Array.isArray(b) &&
      a.length === b.length &&
      a.every((value: unknown, index) => isSameValue(value, b[index]))
    );
  const left = Object.entries(a);
  return (
    left.length === Object.keys(b).length &&
    left.every(([key, value]) => Object.hasOwn(b, key) && isSameValue(value, (b as Record<string, unknown>)[key]))
  );
}

function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
