// The difference of two Programs by key: what a change of objects changes in a node, for people, tests and `--dry-run`.
//
// Not here: the changes that make it so (apply/), which work on entries and not on their text.

import type { Origin } from "../kube/object.ts";
import { partLines, programParts, type Line } from "./lines.ts";
import { formatElement, formatRule } from "./nftables/format.ts";
import type { NftChain, NftSet, NftTable } from "./nftables/ruleset.ts";
import type { Program } from "./program.ts";

/** One entry that is only in the first Program (`removed`), only in the second (`added`), or different in both (`changed`). */
export interface ProgramDifference {
  readonly kind: "added" | "removed" | "changed";
  readonly part: Line["part"];
  readonly key: string;
  /** The entry's text in the first Program. */
  readonly before?: string;
  /** The entry's text in the second. */
  readonly after?: string;
  readonly origin: Origin;
}

/** In the order of the second Program, removed entries last. Empty where both ask the same of a kernel; origins are not compared. */
export function diffProgram(before: Program, after: Program): readonly ProgramDifference[] {
  const old = new Map(changedLines(before, after).map((line) => [keyOf(line), line]));
  const differences: ProgramDifference[] = [];
  for (const line of changedLines(after, before)) {
    const { part, key, text, origin } = line;
    const previous = old.get(keyOf(line));
    old.delete(keyOf(line));
    if (previous === undefined) differences.push({ kind: "added", part, key, after: text, origin });
    else if (previous.text !== text)
      differences.push({ kind: "changed", part, key, before: previous.text, after: text, origin });
  }
  const removed = [...old.values()].map(({ part, key, text, origin }): ProgramDifference => ({
    kind: "removed",
    part,
    key,
    before: text,
    origin,
  }));
  return [...differences, ...removed];
}

/** `+ …`, `- …`, a line each; a changed entry is a removed and an added line. */
export function formatDifferences(differences: readonly ProgramDifference[]): string {
  return differences
    .flatMap(({ before, after }) => [
      ...(before === undefined ? [] : [`- ${before}`]),
      ...(after === undefined ? [] : [`+ ${after}`]),
    ])
    .map((line) => `${line}\n`)
    .join("");
}

/** All lines of a Program but those of pieces that the other Program has as well (===): a big Program costs what differs. */
function changedLines(program: Program, other: Program): readonly Line[] {
  const parts = programParts.filter((part) => program[part] !== other[part]);
  const tables = program.tables.filter((table) => !other.tables.includes(table));
  return [
    ...parts.flatMap((part) => partLines(program, part)),
    ...tables.flatMap((table) => tableLines(table, counterpart(other, table))),
  ];
}

function counterpart(program: Program, { family, name }: NftTable): NftTable | undefined {
  return program.tables.find((table) => table.family === family && table.name === name);
}

function tableLines(table: NftTable, other: NftTable | undefined): readonly Line[] {
  const sets = table.sets.filter((set) => other?.sets.every((known) => known.elements !== set.elements) ?? true);
  return [...table.chains.flatMap((chain) => chainLines(table, chain)), ...sets.flatMap((set) => setLines(table, set))];
}

function chainLines(table: NftTable, chain: NftChain): readonly Line[] {
  const path = `${table.family} ${table.name} ${chain.name}`;
  const { base } = chain;
  const hook =
    base === undefined ? "" : ` type ${base.type} hook ${base.hook} priority ${base.priority} policy ${base.policy}`;
  const origin: Origin = { kind: "Fairlead", name: "pipeline" };
  return [
    { part: "tables", key: `chain ${path}`, text: `chain ${path}${hook}`, origin },
    ...chain.rules.map((rule, index): Line => ({
      part: "tables",
      key: `rule ${path} ${index}`,
      text: `rule ${path} ${formatRule(table, rule)}`,
      origin: rule.origin,
    })),
  ];
}

function setLines(table: NftTable, set: NftSet): readonly Line[] {
  const path = `${table.family} ${table.name} ${set.name}`;
  return set.elements.map((element) => ({
    part: "tables",
    key: `element ${path} ${element.key.join(" . ")}`,
    text: `element ${path} { ${formatElement(set, element)} }`,
    origin: element.origin,
  }));
}

function keyOf({ part, key }: Line): string {
  return `${part} ${key}`;
}
