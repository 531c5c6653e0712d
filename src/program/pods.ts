// What every part of the Program wants to know of the node's own pods.

import type { Origin } from "../kube/object.ts";
import type { Attachment } from "../model/network.ts";
import { noteStretch, stretchBetween } from "../model/stretch.ts";
import { compareText, difference } from "../model/table.ts";
import { changedSorted } from "./sorted.ts";

/** The origin of what exists because a pod does. */
export function podOrigin({ namespace, name }: Attachment, field = "status.podIPs"): Origin {
  return { kind: "Pod", namespace, name, field };
}

/**
 * What every pod adds to a list, in the pods' order. The list before is kept with the pods it was made of, so that the next one costs what
 * changed, and a pod's part stays the same values as long as the pod does.
 */
export function ofEach<T, Of extends readonly object[] = readonly []>(
  make: (attachment: Attachment, ...of: Of) => readonly T[],
): (attachments: readonly Attachment[], ...of: Of) => readonly T[] {
  const list = listOf(make);
  return (attachments, ...of) => list(attachments, of).values;
}

/** The same, in another order than the pods'. */
export function sortedOfEach<T, Of extends readonly object[] = readonly []>(
  compare: (a: T, b: T) => number,
  make: (attachment: Attachment, ...of: Of) => readonly T[],
): (attachments: readonly Attachment[], ...of: Of) => readonly T[] {
  const list = listOf(make);
  const sorted = new WeakMap<readonly T[], readonly T[]>();
  return (attachments, ...of) => {
    const { values, before } = list(attachments, of);
    let result = sorted.get(values);
    if (result !== undefined) return result;
    const known = before && sorted.get(before);
    result =
      before === undefined || known === undefined
        ? values.toSorted(compare)
        : changedSorted(known, difference(before, values), compare);
    sorted.set(values, result);
    return result;
  };
}

interface List<T> {
  readonly attachments: readonly Attachment[];
  /** What else it depends on. */
  readonly of: readonly object[];
  readonly values: readonly T[];
  /** Where each pod's values end. */
  readonly ends: readonly number[];
  /** What it was made from. */
  readonly before?: readonly T[];
}

function listOf<T, Of extends readonly object[]>(
  make: (attachment: Attachment, ...of: Of) => readonly T[],
): (attachments: readonly Attachment[], of: Of) => Pick<List<T>, "values" | "before"> {
  const slot = slots++;
  return (attachments, of) => {
    const { lists } = familyOfPods(attachments);
    let list = lists[slot] as List<T> | undefined;
    if (list === undefined || !list.of.every((each, at) => each === of[at]))
      list = { attachments: [], of, values: [], ends: [] };
    else if (list.attachments === attachments) return list;
    const { start, endBefore, endAfter } = stretchBetween(list.attachments, attachments);
    const from = list.ends[start - 1] ?? 0;
    const to = list.ends[endBefore - 1] ?? 0;
    const values: T[] = [];
    const ends: number[] = list.ends.slice(0, start);
    for (const attachment of attachments.slice(start, endAfter)) {
      for (const value of make(attachment, ...of)) values.push(value);
      ends.push(from + values.length);
    }
    const shift = values.length - (to - from);
    for (let index = endBefore; index < list.ends.length; index++) ends.push((list.ends[index] as number) + shift);
    const next = list.values.slice(0, from).concat(values, list.values.slice(to));
    noteStretch(list.values, next, { start: from, endBefore: to, endAfter: from + values.length });
    lists[slot] = { attachments, of, values: next, ends } satisfies List<T>;
    return { values: next, before: list.values };
  };
}

let slots = 0;

/** What is known of one node's pods: a pod is on one node, so any of them says whose list it is. */
interface Family {
  /** As they were given, and each link, address and hardware address once; undefined where one is claimed twice. */
  sound?: {
    readonly given: readonly Attachment[];
    readonly sorted: readonly Attachment[];
    readonly claims: Set<string>;
  };
  /** What each function made of them last, by its slot. */
  readonly lists: unknown[];
}

const families = new WeakMap<Attachment, Family>();

function familyOfPods(attachments: readonly Attachment[]): Family {
  const [first, last] = [attachments[0], attachments.at(-1)];
  if (first === undefined || last === undefined) return { lists: [] };
  let family = families.get(first) ?? families.get(last);
  if (family === undefined) family = { lists: [] };
  families.set(first, family);
  families.set(last, family);
  return family;
}

/**
 * The attachments a Program is made of: sorted by link, each link, address and hardware address once. Two attachments that claim one
 * address are a defect of the node's own bookkeeping; the first keeps it, as a duplicate key would keep the whole Program from the kernel.
 */
export function soundAttachments(given: readonly Attachment[]): readonly Attachment[] {
  const family = familyOfPods(given);
  const { sound } = family;
  delete family.sound;
  const { removed, added } = difference(sound?.given ?? [], given);
  const claims = sound?.claims ?? new Set();
  for (const attachment of removed) for (const claim of claimsOf(attachment)) claims.delete(claim);
  if (!added.every((attachment) => claimed(attachment, claims))) return firstOfEach(given);
  const sorted = changedSorted(sound?.sorted ?? [], { removed, added }, byLink);
  family.sound = { given, sorted, claims };
  for (const attachment of added) families.set(attachment, family);
  return sorted;
}

function firstOfEach(given: readonly Attachment[]): readonly Attachment[] {
  const taken = new Set<string>();
  return [...given].sort(byLink).filter((attachment) => claimed(attachment, taken));
}

/** Takes what an attachment claims, all of it or nothing. */
function claimed(attachment: Attachment, taken: Set<string>): boolean {
  const claims = claimsOf(attachment);
  if (claims.some((claim) => taken.has(claim))) return false;
  for (const claim of claims) taken.add(claim);
  return true;
}

function claimsOf({ link, mac, addresses }: Attachment): readonly string[] {
  return [link, mac, ...addresses];
}

function byLink(a: Attachment, b: Attachment): number {
  return compareText(a.link, b.link) || compareText(a.id, b.id);
}
