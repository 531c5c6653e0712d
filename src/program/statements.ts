// Short ways to write the rules of our tables (nftables/ruleset.ts) in compile steps. Nothing but constructors of plain values.

import type { Origin } from "../kube/object.ts";
import type { ElementValue, Field, KeyPart, NftRule, NftSet, NftVerdict, Statement } from "./nftables/ruleset.ts";

/** A rule that answers to no single object: part of how the network works (docs/pipeline.md). */
export function rule(comment: string, statements: readonly Statement[]): NftRule {
  return { statements, comment, origin: builtIn };
}

/** The origin of constant rules: Fairlead itself. */
export const builtIn: Origin = { kind: "Fairlead", name: "pipeline" };

export function is(field: Field, ...values: readonly ElementValue[]): Statement {
  return { kind: "match", field, op: "==", values };
}

export function isNot(field: Field, ...values: readonly ElementValue[]): Statement {
  return { kind: "match", field, op: "!=", values };
}

export function isIn(set: NftSet | string, ...fields: readonly Field[]): Statement {
  return { kind: "lookup", key: key(fields), op: "==", set: nameOf(set) };
}

export function isNotIn(set: NftSet | string, ...fields: readonly Field[]): Statement {
  return { kind: "lookup", key: key(fields), op: "!=", set: nameOf(set) };
}

export function key(fields: readonly Field[]): readonly KeyPart[] {
  return fields.map((field) => ({ kind: "field", field }));
}

export function verdict(verdict: NftVerdict): Statement {
  return { kind: "verdict", verdict };
}

export const counter: Statement = { kind: "counter" };
export const accept: Statement = verdict({ kind: "accept" });
export const drop: Statement = verdict({ kind: "drop" });

export function goTo(chain: string): Statement {
  return verdict({ kind: "goto", chain });
}

function nameOf(set: NftSet | string): string {
  return typeof set === "string" ? set : set.name;
}
