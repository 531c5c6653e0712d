// Which elements of a set go, change and come: by key, between two lists of typed elements or between a dump and a list.

import { compareBytes } from "../../wire/netlink/nftables-messages.ts";
import type { NftElementState } from "../../wire/netlink/nftables.ts";
import { changeBetween, haveSameElements } from "./element-list.ts";
import { encodeElements } from "./encode.ts";
import type { NftElement, NftSet, NftVerdict } from "./ruleset.ts";

/** In the kernel's vocabulary. A replaced element has the same key before and after. */
export interface ElementChanges {
  readonly removed: readonly NftElementState[];
  readonly replaced: readonly { readonly old: NftElementState; readonly new: NftElementState }[];
  readonly added: readonly NftElementState[];
}

/** From what a dump gave to what is wanted. */
export function diffElementStates(
  have: readonly NftElementState[],
  wanted: readonly NftElementState[],
): ElementChanges {
  const present = new Map<string, NftElementState>();
  for (const element of have) present.set(keyText(element), element);
  const replaced: { old: NftElementState; new: NftElementState }[] = [];
  const added: NftElementState[] = [];
  for (const element of wanted) {
    const key = keyText(element);
    const old = present.get(key);
    present.delete(key);
    if (old === undefined) added.push(element);
    else if (!sameState(old, element)) replaced.push({ old, new: element });
  }
  return { removed: [...present.values()], replaced, added };
}

/** From the elements a set had to those it has now. What stayed the same object costs next to nothing. */
export function diffElements(previous: NftSet | undefined, set: NftSet): ElementChanges {
  if (previous !== undefined && haveSameElements(previous, set)) return { removed: [], replaced: [], added: [] };
  const change = changeBetween(previous, set);
  const gone = new Map(change.gone.map((element) => [element.key.join(" . "), element]));
  const fresh: NftElement[] = [];
  const old: NftElement[] = [];
  const changed: NftElement[] = [];
  for (const element of change.come) {
    const key = element.key.join(" . ");
    const earlier = gone.get(key);
    gone.delete(key);
    if (earlier === undefined) fresh.push(element);
    else if (!sameElement(earlier, element)) {
      old.push(earlier);
      changed.push(element);
    }
  }
  const states = encodeElements(set, changed);
  return {
    removed: encodeElements(set, [...gone.values()]),
    replaced: encodeElements(set, old).map((state, index) => ({ old: state, new: states[index]! })),
    added: encodeElements(set, fresh),
  };
}

function sameElement(a: NftElement, b: NftElement): boolean {
  return a.comment === b.comment && a.timeoutSeconds === b.timeoutSeconds && sameData(a.data, b.data);
}

function sameData(a: NftElement["data"], b: NftElement["data"]): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  if (isVerdict(a) || isVerdict(b)) return isVerdict(a) && isVerdict(b) && sameVerdict(a, b);
  return a.length === b.length && a.every((value, index) => value === b[index]);
}

function isVerdict(data: NonNullable<NftElement["data"]>): data is NftVerdict {
  return "kind" in data;
}

function sameVerdict(a: NftVerdict, b: NftVerdict): boolean {
  return a.kind === b.kind && ("chain" in a ? a.chain : undefined) === ("chain" in b ? b.chain : undefined);
}

function sameState(a: NftElementState, b: NftElementState): boolean {
  return (
    sameBytes(a.data, b.data) &&
    sameBytes(a.userdata, b.userdata) &&
    a.timeoutMs === b.timeoutMs &&
    a.verdict?.code === b.verdict?.code &&
    a.verdict?.chain === b.verdict?.chain
  );
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : compareBytes(a, b) === 0;
}

/** A text that is equal for equal keys: a character a byte. */
function keyText(element: NftElementState): string {
  const end = element.keyEnd ?? element.lastKey;
  const key = String.fromCharCode.apply(null, element.key as unknown as number[]);
  return end === undefined ? key : `${key}|${String.fromCharCode.apply(null, end as unknown as number[])}`;
}
