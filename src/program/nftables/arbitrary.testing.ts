// Random tables: the samples with elements, rules, chains and sets left out and changed, and such that every reference still holds.

import * as fc from "fast-check";

import type { NftChain, NftElement, NftRule, NftSet, NftTable, NftVerdict, Statement } from "./ruleset.ts";
import { samples } from "./samples.testing.ts";

/** A table like one of the samples, or like the one that is given. */
export function arbitraryTable(from?: NftTable): fc.Arbitrary<NftTable> {
  const sample = from === undefined ? fc.constantFrom(...samples) : fc.constant(from);
  const numbers = fc.array(fc.integer({ min: 0, max: 999 }), { minLength: 499, maxLength: 499 });
  return fc.tuple(sample, numbers).map(([table, numbers]) => vary(table, dice(numbers)));
}

/** True with the given probability; the same numbers give the same answers. */
type Dice = (probability: number) => boolean;

function dice(numbers: readonly number[]): Dice {
  let next = 0;
  return (probability) => numbers[next++ % numbers.length]! < probability * 1000;
}

function vary(table: NftTable, chance: Dice): NftTable {
  const rules = new Map(table.chains.map(({ name, rules }) => [name, varyRules(rules, chance)]));
  const elements = new Map(table.sets.map((set) => [set.name, varyElements(set, chance)]));
  const usedSets = new Set([...rules.values()].flat().flatMap(({ statements }) => statements.flatMap(setsOf)));
  const sets = table.sets
    .filter(({ name }) => usedSets.has(name) || chance(0.6))
    .map((set) => varyShape({ ...set, elements: elements.get(set.name) ?? [] }, chance));
  const targets = new Set([
    ...[...rules.values()].flat().flatMap(({ statements }) => statements.flatMap(chainsOf)),
    ...sets.flatMap((set) =>
      set.elements.flatMap(({ data }) => (data !== undefined && "kind" in data ? target(data) : [])),
    ),
  ]);
  const chains = table.chains
    .filter(({ name }) => targets.has(name) || chance(0.8))
    .map((chain) => varyChain({ ...chain, rules: rules.get(chain.name) ?? [] }, chance));
  // Rules of chains that fell away may have been the only ones to use a set or a chain: then those are just unused.
  return { ...table, sets, chains };
}

function varyRules(rules: readonly NftRule[], chance: Dice): NftRule[] {
  if (chance(0.4)) return [...rules];
  const kept = rules.filter(() => chance(0.7));
  return chance(0.2) ? kept.toReversed() : kept;
}

function varyElements(set: NftSet, chance: Dice): readonly NftElement[] {
  if (chance(0.3)) return set.elements;
  return set.elements
    .filter(() => chance(0.7))
    .map((element) => (chance(0.2) ? { ...element, comment: "changed" } : element))
    .map((element) => varyData(element, chance));
}

function varyData(element: NftElement, chance: Dice): NftElement {
  const { data } = element;
  if (data === undefined || !("kind" in data) || chance(0.7)) return element;
  return { ...element, data: chance(0.5) ? { kind: "drop" } : { kind: "accept" } };
}

/** Another shape under the same name: the kernel cannot change that in place. */
function varyShape(set: NftSet, chance: Dice): NftSet {
  if (set.flags.includes("dynamic")) return chance(0.2) ? { ...set, size: 1000 } : set;
  if (!chance(0.1)) return set;
  const { counter, ...without } = set;
  return counter === true ? without : { ...set, counter: true };
}

function varyChain(chain: NftChain, chance: Dice): NftChain {
  const { base } = chain;
  if (base === undefined) return chain;
  if (base.type === "filter" && chance(0.2))
    return { ...chain, base: { ...base, policy: chance(0.5) ? "drop" : "accept" } };
  return chance(0.1) ? { ...chain, base: { ...base, priority: base.priority + 1 } } : chain;
}

function setsOf(statement: Statement): string[] {
  if ("map" in statement) return [statement.map];
  return "set" in statement ? [statement.set] : [];
}

function chainsOf(statement: Statement): string[] {
  return statement.kind === "verdict" ? target(statement.verdict) : [];
}

function target(verdict: NftVerdict): string[] {
  return "chain" in verdict ? [verdict.chain] : [];
}
