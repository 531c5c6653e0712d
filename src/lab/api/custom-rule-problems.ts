// What is wrong with the rules of a CustomResourceDefinition: said when it is created, so that no rule fails for the first time on an
// object (apiextensions pkg/apis/apiextensions/validation ValidateCustomResourceDefinitionOpenAPISchema).

import { at, child, invalid, notSupported, required, type FieldProblem } from "../../kube/problem.ts";
import { hasRules, rulesOf, type CompiledRule } from "./custom-rules.ts";
import type { JsonSchema, ValidationRule } from "./custom-schema.ts";

const reasons = ["FieldValueRequired", "FieldValueForbidden", "FieldValueInvalid", "FieldValueDuplicate"];

/** The problems of all rules of a schema, by their paths below the given one. */
export function rulesProblems(schema: JsonSchema, path: string): readonly FieldProblem[] {
  const looks: FieldProblem[] = [];
  const meanings: FieldProblem[] = [];
  walk(schema, schema, path, true, undefined, (place) => {
    looks.push(...looksOf(place));
    if (looks.length === 0) meanings.push(...meaningsOf(place));
  });
  return looks.length > 0 ? looks : meanings;
}

interface Place {
  readonly schema: JsonSchema;
  readonly spine: JsonSchema;
  readonly path: string;
  readonly isRoot: boolean;
  /** Of what is in lists without keys: an element has no past. */
  readonly uncorrelatable: string | undefined;
}

function walk(
  schema: JsonSchema,
  spine: JsonSchema,
  path: string,
  isRoot: boolean,
  uncorrelatable: string | undefined,
  visit: (place: Place) => void,
): void {
  if (!hasRules(schema)) return;
  const { items, properties = {}, additionalProperties: others, allOf = [] } = schema;
  if (typeof others === "object")
    walk(
      others,
      typeof spine.additionalProperties === "object" ? spine.additionalProperties : others,
      child(path, "additionalProperties"),
      false,
      uncorrelatable,
      visit,
    );
  for (const [name, field] of Object.entries(properties))
    walk(field, spine.properties?.[name] ?? field, at(child(path, "properties"), name), false, uncorrelatable, visit);
  for (const [index, part] of allOf.entries())
    walk(part, spine, at(child(path, "allOf"), index), isRoot, uncorrelatable, visit);
  if (items !== undefined)
    walk(
      items,
      spine.items ?? items,
      child(path, "items"),
      false,
      spine["x-kubernetes-list-type"] === "map" ? uncorrelatable : (uncorrelatable ?? path),
      visit,
    );
  visit({ schema, spine, path, isRoot, uncorrelatable });
}

function rulePath(path: string, index: number, field: keyof ValidationRule): string {
  return child(at(child(path, "x-kubernetes-validations"), index), field);
}

function looksOf({ schema, spine, path }: Place): readonly FieldProblem[] {
  return (schema["x-kubernetes-validations"] ?? []).flatMap((rule, index) => {
    const field = (name: keyof ValidationRule): string => rulePath(path, index, name);
    const { message = "", messageExpression = "", fieldPath = "", reason } = rule;
    const text = (rule.rule ?? "").trim();
    const problems: FieldProblem[] = [];
    const hasBreaks = (of: string): boolean => /[\r\n]/.test(of);
    if (text === "") problems.push(required(field("rule"), "rule is not specified"));
    else if (message !== "" && message.trim() === "")
      problems.push(invalid(field("message"), message, "must be non-empty if specified"));
    else if (hasBreaks(message.trim()))
      problems.push(invalid(field("message"), message, "must not contain line breaks"));
    else if (hasBreaks(text) && message.trim() === "")
      problems.push(required(field("message"), "message must be specified if rule contains line breaks"));
    if (messageExpression !== "" && messageExpression.trim() === "")
      problems.push(required(field("messageExpression"), "messageExpression must be non-empty if specified"));
    if (reason !== undefined && !reasons.includes(reason))
      problems.push(notSupported(field("reason"), reason, reasons));
    if (fieldPath === "") return problems;
    if (fieldPath.trim() === "")
      problems.push(invalid(field("fieldPath"), fieldPath, "must be non-empty if specified"));
    if (hasBreaks(fieldPath)) problems.push(invalid(field("fieldPath"), fieldPath, "must not contain line breaks"));
    if (!isPath(spine, fieldPath)) problems.push(invalid(field("fieldPath"), fieldPath, "must be a valid path"));
    return problems;
  });
}

/** Does a path of fields and keys (`.a['b']`) lead to something that the schema knows? */
function isPath(schema: JsonSchema, path: string): boolean {
  let rest = path;
  let now: JsonSchema | undefined = schema;
  while (rest !== "") {
    const match = /^(?:\.([^.[\]]+)|\['((?:[^'\\]|\\.)*)'\])/.exec(rest);
    if (match === null || now === undefined) return false;
    const name = match[1] ?? (match[2] ?? "").replace(/\\(.)/g, "$1");
    const { properties, additionalProperties: others }: JsonSchema = now;
    now =
      properties === undefined
        ? match[1] === undefined || typeof others === "object"
          ? asSchema(others)
          : undefined
        : properties[name];
    if (now === undefined) return false;
    rest = rest.slice(match[0].length);
  }
  return true;
}

function asSchema(others: JsonSchema | boolean | undefined): JsonSchema | undefined {
  return typeof others === "object" ? others : undefined;
}

function meaningsOf({ schema, spine, path, isRoot, uncorrelatable }: Place): readonly FieldProblem[] {
  return rulesOf(schema, isRoot, spine).flatMap((compiled, index) => {
    const field = (name: keyof ValidationRule): string => rulePath(path, index, name);
    const { rule, problem, messageProblem, usesOldSelf } = compiled;
    const problems: FieldProblem[] = [];
    if (problem !== undefined) problems.push(invalidRule(field("rule"), compiled, problem));
    if (messageProblem !== undefined) problems.push(invalidRule(field("messageExpression"), compiled, messageProblem));
    if (usesOldSelf && uncorrelatable !== undefined)
      problems.push(
        invalid(
          field("rule"),
          rule.rule ?? "",
          `oldSelf cannot be used on the uncorrelatable portion of the schema within ${uncorrelatable}`,
        ),
      );
    if (!usesOldSelf && rule.optionalOldSelf !== undefined)
      problems.push(
        invalid(field("optionalOldSelf"), rule.optionalOldSelf, "may not be set if oldSelf is not used in rule"),
      );
    return problems;
  });
}

/** The whole rule is shown, as Go's encoder writes apiextensions.ValidationRule. */
function invalidRule(field: string, { rule }: CompiledRule, detail: string): FieldProblem {
  const shown = JSON.stringify({
    Rule: rule.rule ?? "",
    Message: rule.message ?? "",
    MessageExpression: rule.messageExpression ?? "",
    Reason: rule.reason ?? null,
    FieldPath: rule.fieldPath ?? "",
    OptionalOldSelf: rule.optionalOldSelf ?? null,
  }).replace(/[<>&\u2028\u2029]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return { field, reason: "FieldValueInvalid", message: `Invalid value: ${shown}: ${detail}` };
}
