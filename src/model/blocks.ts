// A long list that shares with the one before it all that stayed: of ten thousands of Services of which one changes, a copy of an array of
// pointers is a third of a megabyte, at every change, and each copy lives long enough to be kept until everything is collected.
//
// Not here: how two lists note where they differ (stretch.ts), and the same for elements of sets (program/nftables/element-list.ts).

import { sameAs, type Sequence } from "./stretch.ts";

/** Never changed once it is made. */
export interface BlockList<T> extends Sequence<T> {
  /** The values in blocks of at least one each. */
  readonly blocks: Blocks<T>;
  /** All of them. The same array at every call. */
  all(): readonly T[];
}

export type Blocks<T> = readonly (readonly T[])[];

/** A list of these values. */
export function blockList<T>(values: readonly T[]): BlockList<T> {
  return listOf(inBlocks(values));
}

/** The list with other values in place of a stretch. */
export function withStretch<T>(
  list: BlockList<T>,
  { start, end }: { readonly start: number; readonly end: number },
  come: readonly T[],
): BlockList<T> {
  return listOf(replaceStretch(list.blocks, { start, end }, come).blocks);
}

/** The blocks with a stretch of their values replaced, and what was there. */
export function replaceStretch<T>(
  blocks: Blocks<T>,
  { start, end }: { readonly start: number; readonly end: number },
  come: readonly T[],
): { readonly blocks: Blocks<T>; readonly gone: readonly T[] } {
  const { first, next, offset } = blocksOf(blocks, start, end);
  const touched = blocks.slice(first, next).flat();
  const gone = touched.slice(start - offset, end - offset);
  const values = touched.slice(0, start - offset).concat(come, touched.slice(end - offset));
  return { blocks: blocks.slice(0, first).concat(inBlocks(values), blocks.slice(next)), gone };
}

/** The blocks from `first` to before `next` hold the stretch; at the end of a block it may be empty there. `offset`: of the first one's first value. */
function blocksOf(
  blocks: Blocks<unknown>,
  start: number,
  end: number,
): { readonly first: number; readonly next: number; readonly offset: number } {
  let first = 0;
  let offset = 0;
  while (first < blocks.length - 1 && offset + lengthOf(blocks[first]) < start) offset += lengthOf(blocks[first++]);
  let next = first;
  let reach = offset;
  while (next < blocks.length && (next === first || reach < end)) reach += lengthOf(blocks[next++]);
  return { first, next, offset };
}

function listOf<T>(blocks: Blocks<T>): BlockList<T> {
  let values: readonly T[] | undefined;
  let length = 0;
  for (const block of blocks) length += block.length;
  const list: BlockList<T> = {
    blocks,
    length,
    slice(start, end) {
      const { first, next, offset } = blocksOf(blocks, start, end);
      return blocks
        .slice(first, next)
        .flat()
        .slice(start - offset, end - offset);
    },
    all() {
      // A list of one block is an array already.
      if (values === undefined) sameAs(list, (values = blocks.length === 1 ? (blocks[0] ?? []) : blocks.flat()));
      return values;
    },
    forEach(call) {
      for (const block of blocks) for (const value of block) call(value);
    },
  };
  return list;
}

function lengthOf(block: readonly unknown[] | undefined): number {
  return block?.length ?? 0;
}

const blockLength = 256;

/** One block grows to twice the usual length before it becomes several. */
function inBlocks<T>(values: readonly T[]): Blocks<T> {
  if (values.length === 0) return [];
  if (values.length <= 2 * blockLength) return [values];
  const blocks: (readonly T[])[] = [];
  for (let at = 0; at < values.length; at += blockLength) blocks.push(values.slice(at, at + blockLength));
  return blocks;
}
