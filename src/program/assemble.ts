// Many small lists as a few long ones, made again at the cost of what changed: where one Service of ten thousand is another value, its
// stretch of each long list is replaced and the rest copied as it is. A list whose content stays equal stays the same array, so that
// nobody behind has to look at it.

import type { NftElement } from "./nftables/ruleset.ts";
import { noteStretch, stretchBetween, type Sequence } from "../model/stretch.ts";

/** Lists of elements by the name of the set or map they belong to. */
export type Pieces<Part extends string> = Readonly<Record<Part, readonly NftElement[]>>;

/** A long list per part, and the chains that any of the elements lead to. */
export interface Assembly<Part extends string> {
  readonly elements: Pieces<Part>;
  /** Names, each once, in order. The same array until they change. */
  readonly chains: readonly string[];
}

/** What one source adds. */
export interface Piece<Part extends string> {
  readonly elements: Pieces<Part>;
  readonly chains: readonly string[];
}

/**
 * A function that joins the pieces of its sources in the sources' order. Pure in meaning; it remembers the last call, and a source that is
 * the same value (===) must have the same piece.
 */
export function createAssembler<Source extends object, Part extends string>(
  parts: readonly Part[],
  pieceOf: (source: Source) => Piece<Part>,
): (sources: Sequence<Source>) => Assembly<Part> {
  let before: Sequence<Source> = [];
  /** One a source; nobody else has this array. */
  let pieces: Piece<Part>[] = [];
  const lists = new Map(parts.map((part) => [part, createList(part)]));
  const uses = new Map<string, number>();
  let last: Assembly<Part> | undefined;

  const use = (chains: readonly string[], by: 1 | -1): void => {
    for (const chain of chains) {
      const next = (uses.get(chain) ?? 0) + by;
      if (next === 0) uses.delete(chain);
      else uses.set(chain, next);
    }
  };

  return (sources) => {
    if (last !== undefined && sources === before) return last;
    const { start, endBefore, endAfter } = stretchBetween(before, sources);
    const come = sources.slice(start, endAfter).map((source) => pieceOf(source));
    const gone = pieces.slice(start, endBefore);
    pieces = replaced(pieces, { start, end: endBefore }, come);
    before = sources;
    for (const piece of gone) use(piece.chains, -1);
    for (const piece of come) use(piece.chains, 1);
    const elements = Object.fromEntries(
      [...lists].map(([part, list]) => [part, list.replace(start, endBefore, come)]),
    ) as Pieces<Part>;
    const chains = [...uses.keys()].sort();
    if (
      last !== undefined &&
      parts.every((part) => last?.elements[part] === elements[part]) &&
      isSameList(chains, last.chains)
    )
      return last;
    last = { elements, chains };
    return last;
  };
}

/** The list with a stretch replaced, in place where that costs little. */
function replaced<T>(
  list: T[],
  { start, end }: { readonly start: number; readonly end: number },
  come: readonly T[],
): T[] {
  if (come.length > inPlaceMax) return list.slice(0, start).concat(come, list.slice(end));
  list.splice(start, end - start, ...come);
  return list;
}

const inPlaceMax = 1000;

interface List<Part extends string> {
  /** Replaces the stretch of pieces from `start` to before `end` and gives the whole list. */
  replace(start: number, end: number, pieces: readonly Piece<Part>[]): readonly NftElement[];
}

function createList<Part extends string>(part: Part): List<Part> {
  let elements: readonly NftElement[] = [];
  /** Where each piece's elements begin; one more for the end. */
  let offsets = new Int32Array(1);

  return {
    replace(start, end, pieces) {
      const from = offsets[start] as number;
      const to = offsets[end] as number;
      const stretch: NftElement[] = [];
      const rest = start + pieces.length - end;
      const next = rest === 0 ? offsets : new Int32Array(offsets.length + rest);
      if (rest !== 0) {
        next.set(offsets.subarray(end), end + rest);
        next.set(offsets.subarray(0, start + 1));
      }
      for (const [index, piece] of pieces.entries()) {
        for (const element of piece.elements[part]) stretch.push(element);
        next[start + index + 1] = from + stretch.length;
      }
      const shift = stretch.length - (to - from);
      if (shift !== 0)
        for (let index = end + rest + 1; index < next.length; index++) next[index] = (next[index] as number) + shift;
      offsets = next;
      const isSame = shift === 0 && stretch.every((element, index) => isSameElement(element, elements[from + index]));
      if (isSame) return elements;
      const before = elements;
      elements = before.slice(0, from).concat(stretch, before.slice(to));
      noteStretch(before, elements, { start: from, endBefore: to, endAfter: from + stretch.length });
      return elements;
    },
  };
}

/** Equal in all they say. */
export function isSameElement(a: NftElement, b: NftElement | undefined): boolean {
  if (a === b) return true;
  return b !== undefined && isSameList(a.key, b.key) && isSameData(a.data, b.data) && isSameOrigin(a, b);
}

function isSameData(a: NftElement["data"], b: NftElement["data"]): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  if (isList(a) || isList(b)) return isList(a) && isList(b) && isSameList(a, b);
  return a.kind === b.kind && ("chain" in a ? a.chain : "") === ("chain" in b ? b.chain : "");
}

function isList(data: NonNullable<NftElement["data"]>): data is readonly string[] {
  return Array.isArray(data);
}

/** Equal texts in the same order. */
export function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value, index) => value === b[index]);
}

function isSameOrigin({ origin: a }: NftElement, { origin: b }: NftElement): boolean {
  return (
    a === b ||
    (a.kind === b.kind &&
      a.namespace === b.namespace &&
      a.name === b.name &&
      a.field === b.field &&
      a.source === b.source)
  );
}
