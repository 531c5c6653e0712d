// The one algorithm behind all rtnetlink parts: entries of a Program against the previous Program, or against what the kernel has.
// What an entry is, and what the kernel's state of it looks like, is said by an EntryKind (kinds.ts, links.ts).

import type { Change } from "../kernel/kernel.ts";
import type { Origin } from "../kube/object.ts";
import type { Drift, Part } from "./report.ts";

/** How one kind of entry is compared, written and removed. `E` is the Program's entry, `S` the kernel's state. */
export interface EntryKind<E extends { readonly origin: Origin }, S> {
  readonly part: Part;
  key(entry: E): string;
  stateKey(state: S): string;
  /** Do two entries ask the same of the kernel? */
  same(a: E, b: E): boolean;
  /** Does the kernel hold exactly this? */
  holds(entry: E, state: S): boolean;
  /** May we remove it: is it recognisably ours? */
  ours(state: S): boolean;
  /** What makes the kernel hold the entry; `state` is what is there under the key, where that is known. */
  set(entry: E, state: S | undefined): readonly Change[];
  remove(entry: E): readonly Change[];
  removeState(state: S): readonly Change[];
  /** For reports about drift. */
  describe(entry: E): string;
  describeState(state: S): string;
}

/** Changes that belong together, because of one entry. */
export interface Step {
  readonly part: Part;
  readonly key: string;
  readonly changes: readonly Change[];
  readonly origin?: Origin;
}

export interface Plan {
  readonly sets: readonly Step[];
  readonly removals: readonly Step[];
  readonly drift: readonly Drift[];
}

/** From one Program to the next without looking at the kernel: costs what changed. */
export function diffEntries<E extends { readonly origin: Origin }, S>(
  kind: EntryKind<E, S>,
  previous: readonly E[],
  next: readonly E[],
): Plan {
  if (previous === next) return emptyPlan;
  // Most are the very same values in the same places: no need to look into them.
  const { start, end } = sameEnds(previous, next);
  const had = new Set(previous.slice(start, previous.length - end));
  const fresh = next.slice(start, next.length - end).filter((entry) => !had.delete(entry));
  const before = new Map([...had].map((entry) => [kind.key(entry), entry]));
  const sets: Step[] = [];
  for (const entry of fresh) {
    const key = kind.key(entry);
    const old = before.get(key);
    before.delete(key);
    if (old !== undefined && kind.same(old, entry)) continue;
    sets.push(step(kind, key, kind.set(entry, undefined), entry.origin));
  }
  const removals = [...before].map(([key, entry]) => step(kind, key, kind.remove(entry), entry.origin));
  return { sets, removals, drift: [] };
}

/** How many values at the start and at the end of two lists are the same. */
function sameEnds(a: readonly unknown[], b: readonly unknown[]): { readonly start: number; readonly end: number } {
  const shorter = Math.min(a.length, b.length);
  let start = 0;
  while (start < shorter && a[start] === b[start]) start++;
  let end = 0;
  while (end < shorter - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  return { start, end };
}

/**
 * From what the kernel has to the Program. `previous` is what it should have had: what differs from that is drift.
 * `failed` are the keys known not to have been written, which is no drift.
 */
export function planEntries<E extends { readonly origin: Origin }, S>(
  kind: EntryKind<E, S>,
  wanted: readonly E[],
  states: readonly S[],
  previous: readonly E[] | undefined,
  failed: ReadonlySet<string>,
): Plan {
  const have = statesByKey(kind, states);
  const before = new Map((previous ?? []).map((entry) => [kind.key(entry), entry]));
  const sets: Step[] = [];
  const drift: Drift[] = [];
  for (const entry of wanted) {
    const key = kind.key(entry);
    const state = have.get(key);
    have.delete(key);
    if (state !== undefined && kind.holds(entry, state)) continue;
    sets.push(step(kind, key, kind.set(entry, state), entry.origin));
    const old = before.get(key);
    if (old === undefined || !kind.same(old, entry) || failed.has(`${kind.part} ${key}`)) continue;
    const { part } = kind;
    drift.push({
      part,
      kind: state === undefined ? "missing" : "changed",
      text: kind.describe(entry),
      origin: entry.origin,
    });
  }
  const removals: Step[] = [];
  for (const [key, state] of have) {
    if (!kind.ours(state)) continue;
    removals.push(step(kind, key, kind.removeState(state), before.get(key)?.origin));
    if (previous !== undefined && !before.has(key))
      drift.push({ part: kind.part, kind: "extra", text: kind.describeState(state) });
  }
  return { sets, removals, drift };
}

/** Where several states share a key (another's route beside ours), ours is the one to look at. */
function statesByKey<E extends { readonly origin: Origin }, S>(
  kind: EntryKind<E, S>,
  states: readonly S[],
): Map<string, S> {
  const have = new Map<string, S>();
  for (const state of states) {
    const key = kind.stateKey(state);
    const other = have.get(key);
    if (other === undefined || !kind.ours(other)) have.set(key, state);
  }
  return have;
}

const emptyPlan: Plan = { sets: [], removals: [], drift: [] };

function step<E extends { readonly origin: Origin }, S>(
  kind: EntryKind<E, S>,
  key: string,
  changes: readonly Change[],
  origin: Origin | undefined,
): Step {
  return { part: kind.part, key, changes, ...(origin === undefined ? {} : { origin }) };
}

/** Those that pass, and the rest; both in order. */
export function partition<T>(values: readonly T[], test: (value: T) => boolean): [T[], T[]] {
  const yes: T[] = [];
  const no: T[] = [];
  for (const value of values) (test(value) ? yes : no).push(value);
  return [yes, no];
}
