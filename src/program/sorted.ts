// Sorted lists that take a few values more or less at the price of a copy: a node's five hundred pods are not sorted anew for one that comes.
// Not here: lists of elements whose order says nothing (assemble.ts).

/** Where the first value is that does not come before this one. */
export function lowerBound<T, V>(sorted: readonly T[], value: V, compare: (a: T, b: V) => number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compare(sorted[middle] as T, value) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The sorted list without some of its values and with others. Those that are taken out must be in it. */
export function changedSorted<T>(
  sorted: readonly T[],
  { removed, added }: { readonly removed: readonly T[]; readonly added: readonly T[] },
  compare: (a: T, b: T) => number,
): readonly T[] {
  const next = [...sorted];
  if (removed.length + added.length > fewMax) {
    const gone = new Set(removed);
    return [...next.filter((value) => !gone.has(value)), ...added].sort(compare);
  }
  for (const value of removed) {
    const at = next.indexOf(value, lowerBound(next, value, compare));
    if (at !== -1) next.splice(at, 1);
  }
  for (const value of added) next.splice(lowerBound(next, value, compare), 0, value);
  return next;
}

/** Two sorted lists as one; where both have the same key, the first list's value only. Costs little where one of them is short. */
export function merged<T>(first: readonly T[], second: readonly T[], compare: (a: T, b: T) => number): readonly T[] {
  const [few, many] = first.length <= second.length ? [first, second] : [second, first];
  const all: T[] = [];
  let at = 0;
  for (const value of few) {
    const to = Math.max(at, lowerBound(many, value, compare));
    for (; at < to; at++) all.push(many[at] as T);
    const isTwice = at < many.length && compare(many[at] as T, value) === 0;
    if (few === second) {
      if (!isTwice) all.push(value);
    } else {
      all.push(value);
      while (at < many.length && compare(many[at] as T, value) === 0) at++;
    }
  }
  for (; at < many.length; at++) all.push(many[at] as T);
  return all;
}

const fewMax = 50;
