// Values and sets of fields: which fields a value has, how two values differ, how one is merged into another, and a value without
// fields that somebody gave up (structured-merge-diff typed: ToFieldSet, Compare, Merge, RemoveItems).

import { sameJson } from "../../../kube/equal.ts";
import { fieldSet, isEmpty, noFields, thisField, type FieldSet } from "./field-set.ts";
import type { Shape } from "./shape.ts";

export type Fields = { readonly [name: string]: unknown };

/** A value's parts by step, where its shape takes it apart; undefined where it is a whole. */
interface Parts {
  readonly kind: "fields" | "set" | "list";
  readonly isMap: boolean;
  readonly byStep: ReadonlyMap<string, unknown>;
  readonly shapeAt: (step: string) => Shape;
}

function partsOf(value: unknown, shape: Shape): Parts | undefined {
  switch (shape.kind) {
    case "leaf":
      return undefined;
    case "deduced":
    case "fields": {
      if (!isFields(value)) return undefined;
      const entries = Object.entries(value).filter(([, field]) => field !== undefined);
      return {
        kind: "fields",
        isMap: shape.kind === "deduced" || shape.isMap,
        byStep: new Map(entries.map(([name, field]) => [`f:${name}`, field])),
        shapeAt: (step) => (shape.kind === "deduced" ? shape : shape.field(step.slice(2))),
      };
    }
    case "set": {
      if (!Array.isArray(value)) return undefined;
      const list = value as readonly unknown[];
      const byStep = new Map(list.map((element) => [`v:${JSON.stringify(element)}`, element]));
      return { kind: "set", isMap: true, byStep, shapeAt: () => ({ kind: "leaf" }) };
    }
    case "list": {
      if (!Array.isArray(value) || !value.every(isFields)) return undefined;
      const { element } = shape;
      const list = value as readonly Fields[];
      const byStep = new Map(list.map((each) => [keyStep(each, shape), each]));
      // Elements that cannot be told apart are one value.
      if (byStep.size !== list.length) return undefined;
      return { kind: "list", isMap: true, byStep, shapeAt: () => element };
    }
  }
}

/** `.spec.ports: duplicate entries for key […]` where elements of a list cannot be told apart, or undefined: nobody could own one of them. */
export function sameEntries(value: unknown, shape: Shape, path = ""): string | undefined {
  if (shape.kind === "list" && Array.isArray(value) && value.every(isFields)) {
    const seen = new Set<string>();
    for (const each of value as readonly Fields[]) {
      const step = keyStep(each, shape);
      const key = step.slice(3, -1).replace(/(^|,)"(\w+)":/g, "$1$2=");
      if (seen.has(step)) return `${path}: duplicate entries for key [${key}]`;
      seen.add(step);
      const inside = sameEntries(each, shape.element, `${path}[${key}]`);
      if (inside !== undefined) return inside;
    }
    return undefined;
  }
  const parts = partsOf(value, shape);
  if (parts === undefined || parts.kind !== "fields") return undefined;
  for (const [step, part] of parts.byStep) {
    const inside = sameEntries(part, parts.shapeAt(step), `${path}.${step.slice(2)}`);
    if (inside !== undefined) return inside;
  }
  return undefined;
}

/** The step to an element of a list: `k:{"name":"web"}`. */
export function keyStep(element: Fields, shape: Extract<Shape, { kind: "list" }>): string {
  let text = "";
  for (const key of shape.keys) {
    const value = element[key] ?? shape.keyDefault(key);
    if (value !== undefined) text += `${text === "" ? "" : ","}${JSON.stringify(key)}:${JSON.stringify(value)}`;
  }
  return `k:{${text}}`;
}

export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** All fields of a value. Structs are their fields; elements of lists and maps belong to the set themselves as well. */
export function fieldsOf(value: unknown, shape: Shape): FieldSet {
  const parts = partsOf(value, shape);
  if (parts === undefined) return thisField;
  return fieldSet(
    parts.byStep.size === 0,
    [...parts.byStep].map(([step, part]) => {
      const { children, member } = fieldsOf(part, parts.shapeAt(step));
      return [step, { children, member: member || parts.isMap }];
    }),
  );
}

export interface Comparison {
  readonly added: FieldSet;
  readonly modified: FieldSet;
  readonly removed: FieldSet;
}

/** What the second value has more than the first, differently, and less. */
export function compare(before: unknown, after: unknown, shape: Shape): Comparison {
  const added = new Map<string, FieldSet>();
  const modified = new Map<string, FieldSet>();
  const removed = new Map<string, FieldSet>();
  if (before === after) return { added: noFields, modified: noFields, removed: noFields };
  const [old, next] = [partsOf(before, shape), partsOf(after, shape)];
  if ((old === undefined && before !== undefined) || (next === undefined && after !== undefined))
    return wholeComparison(before, after);
  for (const step of new Set([...(old?.byStep.keys() ?? []), ...(next?.byStep.keys() ?? [])])) {
    const at = (next ?? old)?.shapeAt(step) ?? shape;
    const each = compare(old?.byStep.get(step), next?.byStep.get(step), at);
    if (!isEmpty(each.added)) added.set(step, each.added);
    if (!isEmpty(each.modified)) modified.set(step, each.modified);
    if (!isEmpty(each.removed)) removed.set(step, each.removed);
  }
  return {
    added: { member: before === undefined && after !== undefined, children: added },
    modified: { member: false, children: modified },
    removed: { member: after === undefined && before !== undefined, children: removed },
  };
}

function wholeComparison(before: unknown, after: unknown): Comparison {
  const none = { added: noFields, modified: noFields, removed: noFields };
  if (before === undefined) return { ...none, added: thisField };
  if (after === undefined) return { ...none, removed: thisField };
  return sameJson(before, after) ? none : { ...none, modified: thisField };
}

/** The first value, changed so that it says what the second says. */
export function merged(live: unknown, wanted: unknown, shape: Shape): unknown {
  if (live === undefined) return wanted;
  const [old, next] = [partsOf(live, shape), partsOf(wanted, shape)];
  if (old === undefined || next === undefined) return wanted;
  const mergeStep = (step: string): unknown =>
    next.byStep.has(step)
      ? merged(old.byStep.get(step), next.byStep.get(step), next.shapeAt(step))
      : old.byStep.get(step);
  const steps =
    next.kind === "fields"
      ? [...new Set([...old.byStep.keys(), ...next.byStep.keys()])]
      : mergedOrder([...old.byStep.keys()], [...next.byStep.keys()]);
  return assembled(next.kind, steps, mergeStep);
}

/**
 * The order of a list's elements (structured-merge-diff visitListItems): the applied ones in theirs; those that only the live list has stay
 * behind what they follow there, and before what is new.
 */
function mergedOrder(live: readonly string[], wanted: readonly string[]): readonly string[] {
  const inWanted = new Set(wanted);
  const inLive = new Set(live);
  const shared = wanted.filter((step) => inLive.has(step));
  const result: string[] = [];
  let at = 0;
  for (const step of wanted) {
    for (; at < live.length; at++) {
      const other = live[at] ?? "";
      if (other === step) break;
      if (!inWanted.has(other)) result.push(other);
      // The next of those that both have waits for its turn; others have had theirs, or come by the applied order.
      else if (shared[0] === other) break;
    }
    result.push(step);
    if (shared[0] === step) shared.shift();
    if (live[at] === step) at++;
  }
  return [...result, ...live.slice(at).filter((step) => !inWanted.has(step))];
}

function assembled(kind: Parts["kind"], steps: readonly string[], value: (step: string) => unknown): unknown {
  if (kind !== "fields") return steps.map(value);
  return Object.fromEntries(steps.map((step) => [step.slice(2), value(step)]));
}

/**
 * The value without fields that were `held` and are `owned` by nobody now. What is given up goes with everything in it that nobody
 * owns, such as defaults.
 */
export function released(value: unknown, held: FieldSet, owned: FieldSet, shape: Shape): unknown {
  const parts = partsOf(value, shape);
  if (parts === undefined) return value;
  let changed = false;
  const kept = new Map<string, unknown>();
  for (const [step, part] of parts.byStep) {
    const heldHere = held.children.get(step);
    const ownedHere = owned.children.get(step);
    if (heldHere === undefined) kept.set(step, part);
    else if (ownedHere === undefined) changed = true;
    else {
      const next = released(part, heldHere, ownedHere, parts.shapeAt(step));
      if (next !== part) changed = true;
      kept.set(step, next);
    }
  }
  return changed ? assembled(parts.kind, [...kept.keys()], (step) => kept.get(step)) : value;
}
