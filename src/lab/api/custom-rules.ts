// The rules of custom resources (x-kubernetes-validations): compiled once for each schema, evaluated on every write, within what they
// may cost (apiextensions-apiserver pkg/apiserver/schema/cel, in its words).
//
// Not here: the language (kube/cel), what a definition's rules must look like (custom-rule-problems.ts).

import { compileExpression, costLimits, costOf, kubernetesFunctions, type Compiled } from "../../kube/cel/cel.ts";
import { EvaluationError, type Environment } from "../../kube/cel/environment.ts";
import { CostError, createMeter } from "../../kube/cel/evaluate.ts";
import { valueOf } from "../../kube/cel/json.ts";
import { ExpressionError } from "../../kube/cel/syntax.ts";
import type { Type } from "../../kube/cel/types.ts";
import { Optional, type Value } from "../../kube/cel/values.ts";
import { sameJson } from "../../kube/equal.ts";
import { at, child, duplicate, forbidden, invalid, required, type FieldProblem } from "../../kube/problem.ts";
import { matchedElements, type JsonSchema, type ValidationRule } from "./custom-schema.ts";
import { boundsOf } from "./custom-sizes.ts";
import { typeOfSchema } from "./custom-types.ts";

/** A rule as far as it could be compiled. */
export interface CompiledRule {
  readonly rule: ValidationRule;
  readonly program: Compiled | undefined;
  readonly message: Compiled | undefined;
  readonly problem?: string;
  readonly messageProblem?: string;
  readonly usesOldSelf: boolean;
}

const functions = kubernetesFunctions();
const compiled = new WeakMap<JsonSchema, readonly CompiledRule[]>();

/** The rules of a schema itself, not of what is in it. `spine`: where its types come from, if it is a part of an allOf. */
export function rulesOf(schema: JsonSchema, isRoot: boolean, spine: JsonSchema = schema): readonly CompiledRule[] {
  const known = compiled.get(schema);
  if (known !== undefined) return known;
  const type = typeOfSchema(spine, isRoot || spine["x-kubernetes-embedded-resource"] === true);
  const rules =
    type === undefined ? [] : (schema["x-kubernetes-validations"] ?? []).map((rule) => compileRule(rule, type));
  compiled.set(schema, rules);
  return rules;
}

/** What an expression of a rule may cost at most for one value of a schema. It must be one that compiles. */
export function expressionCost(source: string, rule: ValidationRule, schema: JsonSchema, isRoot: boolean): number {
  const type = typeOfSchema(schema, isRoot);
  return type === undefined ? 0 : costOf(source, environmentOf(rule, type), boundsOf(schema, isRoot));
}

function environmentOf(rule: ValidationRule, self: Type): Environment {
  const oldSelf: Type = rule.optionalOldSelf === true ? { kind: "optional", of: self } : self;
  const variables = new Map([
    ["self", self],
    ["oldSelf", oldSelf],
  ]);
  return { variables, functions };
}

function compileRule(rule: ValidationRule, self: Type): CompiledRule {
  const nothing = { rule, program: undefined, message: undefined, usesOldSelf: false };
  if ((rule.rule ?? "").trim() === "") return nothing;
  const environment = environmentOf(rule, self);
  const compile = (source: string): Compiled | ExpressionError => {
    try {
      return compileExpression(source, environment);
    } catch (error) {
      if (error instanceof ExpressionError) return error;
      throw error;
    }
  };
  const program = compile(rule.rule ?? "");
  if (program instanceof ExpressionError) return { ...nothing, problem: `compilation failed: ${program.message}` };
  if (program.type.kind !== "bool") return { ...nothing, problem: "cel expression must evaluate to a bool" };
  const found = { rule, program, message: undefined, usesOldSelf: program.variables.has("oldSelf") };
  if ((rule.messageExpression ?? "") === "") return found;
  const message = compile(rule.messageExpression ?? "");
  if (message instanceof ExpressionError)
    return { ...found, messageProblem: `messageExpression compilation failed: ${message.message}` };
  if (message.type.kind !== "string")
    return { ...found, messageProblem: "messageExpression must evaluate to a string" };
  return { ...found, message };
}

const withRules = new WeakMap<JsonSchema, boolean>();

/** Are there rules in a schema, at whatever depth? */
export function hasRules(schema: JsonSchema): boolean {
  const known = withRules.get(schema);
  if (known !== undefined) return known;
  const { items, additionalProperties: others, properties = {}, allOf = [] } = schema;
  const has =
    (schema["x-kubernetes-validations"]?.length ?? 0) > 0 ||
    (items !== undefined && hasRules(items)) ||
    (typeof others === "object" && hasRules(others)) ||
    Object.values(properties).some(hasRules) ||
    allOf.some(hasRules);
  withRules.set(schema, has);
  return has;
}

/** What a value breaks of its schema's rules. `previous`: what it takes the place of, which transition rules compare with. */
export function ruleProblems(
  object: unknown,
  schema: JsonSchema,
  options: { readonly previous?: unknown; readonly warn?: (text: string) => void } = {},
): FieldProblem[] {
  const { previous } = options;
  const check: Check = { problems: [], left: costLimits.object, warn: options.warn ?? (() => undefined) };
  walk(check, { value: object, schema, spine: schema, path: "", isRoot: true, previous, isKept: false });
  return check.problems;
}

interface Check {
  readonly problems: FieldProblem[];
  /** What evaluations may still cost; below zero nothing is evaluated any more. */
  left: number;
  readonly warn: (text: string) => void;
}

interface Place {
  readonly value: unknown;
  readonly previous: unknown;
  readonly schema: JsonSchema;
  readonly spine: JsonSchema;
  readonly path: string;
  readonly isRoot: boolean;
  /** Is it as it was before, or in something that is? */
  readonly isKept: boolean;
}

type Fields = { readonly [name: string]: unknown };

function walk(check: Check, place: Place): void {
  const { value, previous, schema, spine, path } = place;
  if (value === undefined || value === null || check.left < 0 || !hasRules(schema)) return;
  const isKept = place.isKept || (previous !== undefined && sameJson(value, previous));
  evaluateRules(check, { ...place, isKept });
  for (const part of schema.allOf ?? []) walk(check, { ...place, schema: part, isKept });
  const { items, properties, additionalProperties: others } = schema;
  if (Array.isArray(value)) {
    if (items === undefined || !hasRules(items)) return;
    const before = matchedElements(spine, previous);
    for (const [index, element] of value.entries())
      walk(check, {
        value: element,
        previous: before(element),
        schema: items,
        spine: spine.items ?? items,
        path: at(path, index),
        isRoot: false,
        isKept,
      });
    return;
  }
  if (!isFields(value)) return;
  const before = isFields(previous) ? previous : {};
  for (const [name, field] of Object.entries(value)) {
    const own = properties !== undefined && Object.hasOwn(properties, name) ? properties[name] : undefined;
    const known = own ?? (typeof others === "object" ? others : undefined);
    if (known === undefined) continue;
    const spineOf = own === undefined ? spine.additionalProperties : spine.properties?.[name];
    walk(check, {
      value: field,
      previous: Object.hasOwn(before, name) ? before[name] : undefined,
      schema: known,
      spine: typeof spineOf === "object" ? spineOf : known,
      path: own === undefined ? at(path, name) : child(path, name),
      isRoot: false,
      isKept,
    });
  }
}

function evaluateRules(check: Check, place: Place): void {
  const { value, previous, schema, spine, path, isRoot, isKept } = place;
  const rules = rulesOf(schema, isRoot, spine);
  if (rules.length === 0) return;
  const type = typeOfSchema(spine, isRoot || spine["x-kubernetes-embedded-resource"] === true);
  const self = valueOf(value, type);
  const oldSelf = previous === undefined || previous === null ? undefined : valueOf(previous, type);
  const wrong = (detail: string): void => {
    check.problems.push(invalid(path, spine.type ?? "", detail));
  };
  for (const { rule, program, message, problem, usesOldSelf } of rules) {
    if (problem !== undefined) wrong(`rule compile error: ${problem}`);
    if (program === undefined) continue;
    const isOptional = rule.optionalOldSelf === true;
    // A transition rule has nothing to say of what had no past.
    if (usesOldSelf && oldSelf === undefined && !isOptional) continue;
    const activation = (name: string): Value | undefined =>
      name === "self" ? self : name === "oldSelf" ? (isOptional ? new Optional(oldSelf) : oldSelf) : undefined;
    const result = evaluate(check, program, activation);
    if (result.kind === "exhausted") {
      wrong("validation failed due to running out of cost budget, no further validation rules will be run");
      return;
    }
    if (result.kind === "costly") {
      wrong(
        `'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: ${ruleText(rule)}`,
      );
      check.left = -1;
      return;
    }
    if (result.kind === "failed") {
      wrong(
        result.message.startsWith("no such overload")
          ? `'${result.message}': call arguments did not match a supported operator, function or macro signature for rule: ${ruleText(rule)}`
          : `${result.message} evaluating rule: ${ruleText(rule)}`,
      );
      continue;
    }
    if (result.value === true) continue;
    const detail = messageOf(check, message, activation) ?? ruleMessage(rule);
    const found = problemOf(place, rule, detail);
    // What was wrong before and has not been touched is let be (KEP-4008).
    if (!usesOldSelf && isKept) check.warn(`${found.field === "" ? "" : `${found.field}: `}${found.message}`);
    else check.problems.push(found);
  }
}

type Result =
  | { readonly kind: "value"; readonly value: Value }
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "costly" }
  | { readonly kind: "exhausted" };

function evaluate(check: Check, { program }: Compiled, activation: (name: string) => Value | undefined): Result {
  const meter = createMeter(Math.min(costLimits.call, check.left));
  try {
    return { kind: "value", value: program(activation, meter) };
  } catch (error) {
    if (error instanceof CostError) return { kind: check.left < costLimits.call ? "exhausted" : "costly" };
    if (error instanceof EvaluationError) return { kind: "failed", message: error.message };
    throw error;
  } finally {
    check.left -= meter.spent;
  }
}

const messageBytesMax = 5 * 1024;

/** What the rule's own expression says; undefined where it says nothing that could be shown. */
function messageOf(
  check: Check,
  message: Compiled | undefined,
  activation: (name: string) => Value | undefined,
): string | undefined {
  if (message === undefined) return undefined;
  const result = evaluate(check, message, activation);
  if (result.kind !== "value" || typeof result.value !== "string") return undefined;
  const text = result.value.trim();
  return text === "" || text.includes("\n") || Buffer.byteLength(text) > messageBytesMax ? undefined : text;
}

function ruleMessage(rule: ValidationRule): string {
  return (rule.message ?? "") === "" ? `failed rule: ${ruleText(rule)}` : ruleText(rule);
}

function ruleText({ message = "", rule = "" }: ValidationRule): string {
  return (message === "" ? rule : message).trim();
}

function problemOf({ path, value, spine }: Place, rule: ValidationRule, detail: string): FieldProblem {
  const own = (rule.fieldPath ?? "") === "" ? path : `${path}${fieldPathText(rule.fieldPath ?? "", path === "")}`;
  const field = own === "" ? "<nil>" : own;
  const isPlain = spine.type !== "object" && spine.type !== "array";
  switch (rule.reason ?? "") {
    case "FieldValueForbidden":
      return forbidden(field, detail);
    case "FieldValueRequired":
      return required(field, detail);
    case "FieldValueDuplicate":
      return isPlain ? duplicate(field, value) : { field, reason: "FieldValueDuplicate", message: "Duplicate value" };
    default:
      return isPlain
        ? invalid(field, value, detail)
        : { field, reason: "FieldValueInvalid", message: `Invalid value: ${detail}` };
  }
}

/** `.a['b']` as field paths are written: `.a[b]`. */
function fieldPathText(path: string, isFirst: boolean): string {
  const text = path.trim().replace(/\['((?:[^'\\]|\\.)*)'\]/g, (_, key: string) => `[${key.replace(/\\(.)/g, "$1")}]`);
  return isFirst ? text.replace(/^\./, "") : text;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
