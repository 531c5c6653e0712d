// Where two long lists differ: the stretch of each outside of which they hold the same values. Who makes a list from another notes it,
// so that nobody who compares the two has to go through a hundred thousand elements to find three.
//
// Not here: what is different within the stretch (diff-elements.ts).

import { shortestStretch, type Stretch } from "../../model/table.ts";

/** Notes how `after` was made from `before`; it is believed. Neither is kept alive by that. */
export function noteStretch(before: readonly object[], after: readonly object[], stretch: Stretch): void {
  noted.set(after, { before: new WeakRef(before), stretch });
}

/** As it was noted, or else the shortest, by identity of the values. */
export function stretchBetween<T extends object>(before: readonly T[], after: readonly T[]): Stretch {
  const note = noted.get(after);
  if (note !== undefined && note.before.deref() === before) return note.stretch;
  return shortestStretch(before, after);
}

const noted = new WeakMap<
  readonly object[],
  { readonly before: WeakRef<readonly object[]>; readonly stretch: Stretch }
>();
