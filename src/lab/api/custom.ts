// What is wrong with custom resources: by their schema, and by its rules. This is also the door to those: the expression language is
// loaded when the first rule is met, as most labs never meet one.

import { createRequire } from "node:module";
import { withDefaults } from "../../kube/defaults.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { FieldProblem } from "../../kube/problem.ts";
import { completed, schemaProblems, type JsonSchema } from "./custom-schema.ts";
import type { Kind } from "./kinds.ts";

const load = createRequire(import.meta.url);

const known = new WeakMap<JsonSchema, boolean>();

/** Are there rules in a schema, at whatever depth? */
function mentionsRules(schema: JsonSchema): boolean {
  const before = known.get(schema);
  if (before !== undefined) return before;
  const mentions = JSON.stringify(schema).includes('"x-kubernetes-validations"');
  known.set(schema, mentions);
  return mentions;
}

/** An object with the defaults of its kind. */
export function withKindDefaults({ custom }: Kind, object: KubeObject): KubeObject {
  const schema = custom?.schema?.openAPIV3Schema;
  return schema === undefined ? withDefaults(object) : completed(object, schema);
}

/** What is wrong with a schema's rules (custom-rule-problems.ts). */
export function rulesProblems(schema: JsonSchema, path: string): readonly FieldProblem[] {
  if (!mentionsRules(schema)) return [];
  const module = load("./custom-rule-problems.ts") as typeof import("./custom-rule-problems.ts");
  return module.rulesProblems(schema, path);
}

/** Reasons that say that an object is not of its schema's shape: rules would stumble over it (pkg/registry/customresource hasBlockingErr). */
const blocking: ReadonlySet<FieldProblem["reason"]> = new Set([
  "FieldValueNotSupported",
  "FieldValueRequired",
  "FieldValueTooLong",
  "FieldValueTooMany",
  "FieldValueTypeInvalid",
]);

/** What is wrong with an object by its schema and the schema's rules. `previous`: what it takes the place of. */
export function customObjectProblems(object: unknown, schema: JsonSchema, previous: unknown): readonly FieldProblem[] {
  const all = schemaProblems(object, schema);
  const problems =
    all.length === 0 || previous === undefined ? all : schemaProblems(object, schema, "", true, previous);
  if (!mentionsRules(schema)) return problems;
  if (problems.some(({ reason }) => blocking.has(reason))) return [...problems, unchecked];
  const module = load("./custom-rules.ts") as typeof import("./custom-rules.ts");
  return [...problems, ...module.ruleProblems(object, schema, { previous })];
}

/** An object as one of no kind: only its metadata is looked at where a definition says the rest, even if the kind is known out of the box. */
export function withoutKind<T extends { readonly apiVersion: string }>(object: T): T {
  return { ...object, apiVersion: "custom/v1" };
}

const unchecked: FieldProblem = {
  field: "<nil>",
  reason: "FieldValueInvalid",
  message:
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
};
