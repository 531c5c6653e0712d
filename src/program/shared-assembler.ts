// Many small lists as a few long ones, as assemble.ts does it, for lists so long that not even pointers are copied at every change: the
// pieces are kept in blocks, and one call shares with the last all blocks but those that changed. The long lists become arrays when
// somebody asks for them (nftables/element-list.ts).

import { replaceStretch, type Blocks } from "../model/blocks.ts";
import { stretchBetween, type Sequence } from "../model/stretch.ts";
import { isSameElement, isSameList, type Piece } from "./assemble.ts";
import { noteChange, type ElementList } from "./nftables/element-list.ts";
import type { NftElement } from "./nftables/ruleset.ts";

/** A long list per part, and the chains that any of the elements lead to. */
export interface SharedAssembly<Part extends string> {
  /** The same list while its content stays equal. */
  readonly lists: Readonly<Record<Part, ElementList>>;
  /** Names, each once, in order. The same array until they change. */
  readonly chains: readonly string[];
}

/**
 * A function that joins the pieces of its sources in the sources' order. Pure in meaning; it remembers the last call, and a source that is
 * the same value (===) must have the same piece.
 */
export function createSharedAssembler<Source extends object, Part extends string>(
  parts: readonly Part[],
  pieceOf: (source: Source) => Piece<Part>,
): (sources: Sequence<Source>) => SharedAssembly<Part> {
  let before: Sequence<Source> = [];
  let blocks: Blocks<Piece<Part>> = [];
  let last: SharedAssembly<Part> | undefined;
  const uses = new Map<string, number>();

  const use = (pieces: readonly Piece<Part>[], by: 1 | -1): void => {
    for (const { chains } of pieces)
      for (const chain of chains) {
        const next = (uses.get(chain) ?? 0) + by;
        if (next === 0) uses.delete(chain);
        else uses.set(chain, next);
      }
  };
  const listOf = (part: Part, gone: readonly Piece<Part>[], come: readonly Piece<Part>[]): ElementList => {
    const change = { gone: elementsOf(gone, part), come: elementsOf(come, part) };
    const known = last?.lists[part];
    if (known === undefined) return createList(blocks, part, change.come.length);
    const isSame =
      change.gone.length === change.come.length &&
      change.come.every((element, index) => isSameElement(element, change.gone[index]));
    if (isSame) return known;
    const list = createList(blocks, part, known.length + change.come.length - change.gone.length);
    noteChange(known, list, change);
    return list;
  };

  return (sources) => {
    if (last !== undefined && sources === before) return last;
    const { start, endBefore, endAfter } = stretchBetween(before, sources);
    const come = sources.slice(start, endAfter).map((source) => pieceOf(source));
    const replaced = replaceStretch(blocks, { start, end: endBefore }, come);
    const { gone } = replaced;
    blocks = replaced.blocks;
    before = sources;
    use(gone, -1);
    use(come, 1);
    const lists = Object.fromEntries(parts.map((part) => [part, listOf(part, gone, come)])) as Readonly<
      Record<Part, ElementList>
    >;
    const names = [...uses.keys()].sort();
    const chains = last !== undefined && isSameList(names, last.chains) ? last.chains : names;
    if (last !== undefined && chains === last.chains && parts.every((part) => last?.lists[part] === lists[part]))
      return last;
    return (last = { lists, chains });
  };
}

function createList<Part extends string>(blocks: Blocks<Piece<Part>>, part: Part, length: number): ElementList {
  let elements: readonly NftElement[] | undefined;
  return {
    length,
    all: () => (elements ??= blocks.flatMap((block) => elementsOf(block, part))),
  };
}

function elementsOf<Part extends string>(pieces: readonly Piece<Part>[], part: Part): readonly NftElement[] {
  const elements: NftElement[] = [];
  for (const piece of pieces) for (const element of piece.elements[part]) elements.push(element);
  return elements;
}
