// Where two long lists differ: the stretch of each outside of which they hold the same values. Who makes a list from another notes it,
// so that nobody who compares the two has to go through a hundred thousand elements to find three.
//
// Not here: what is different within the stretch (difference in table.ts, diff-elements.ts in program/nftables).

/** `before[start … endBefore)` has become `after[start … endAfter)`. */
export interface Stretch {
  readonly start: number;
  readonly endBefore: number;
  readonly endAfter: number;
}

/** An array, or a list that is none (blocks.ts). */
export interface Sequence<T> {
  readonly length: number;
  slice(start: number, end: number): readonly T[];
  forEach(call: (value: T) => void): void;
}

/** Notes how `after` was made from `before`; it is believed. Neither is kept alive by that. */
export function noteStretch(before: Sequence<unknown>, after: Sequence<unknown>, stretch: Stretch): void {
  noted.set(after, { before: numberOf(before), stretch });
}

/** Notes that an array holds the values of a list: what is noted of the one holds of the other. */
export function sameAs(list: Sequence<unknown>, values: readonly unknown[]): void {
  numbers.set(values, numberOf(list));
  const note = noted.get(list);
  if (note !== undefined) noted.set(values, note);
}

/** As it was noted, or else the shortest, by identity of the values. */
export function stretchBetween(before: Sequence<unknown>, after: Sequence<unknown>): Stretch {
  const note = noted.get(after);
  if (note !== undefined && note.before === numbers.get(before)) return note.stretch;
  return shortestStretch(arrayOf(before), arrayOf(after));
}

/**
 * By number, not by WeakRef: a collection of the young looks through WeakRefs, and so each list would keep the one before it, back to the
 * first, until everything is collected.
 */
const noted = new WeakMap<Sequence<unknown>, { readonly before: number; readonly stretch: Stretch }>();
const numbers = new WeakMap<Sequence<unknown>, number>();
let lastNumber = 0;

function numberOf(list: Sequence<unknown>): number {
  let number = numbers.get(list);
  if (number === undefined) numbers.set(list, (number = ++lastNumber));
  return number;
}

function arrayOf(list: Sequence<unknown>): readonly unknown[] {
  return Array.isArray(list) ? list : list.slice(0, list.length);
}

/** The shortest stretch outside of which two lists hold the same values, by identity. */
function shortestStretch(before: readonly unknown[], after: readonly unknown[]): Stretch {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let endBefore = before.length;
  let endAfter = after.length;
  while (endBefore > start && endAfter > start && before[endBefore - 1] === after[endAfter - 1]) {
    endBefore--;
    endAfter--;
  }
  return { start, endBefore, endAfter };
}
