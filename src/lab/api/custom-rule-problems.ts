// What is wrong with the rules of a CustomResourceDefinition: said when it is created, so that no rule fails for the first time on an
// object (apiextensions pkg/apis/apiextensions/validation ValidateCustomResourceDefinitionOpenAPISchema).

import { at, child, forbidden, invalid, notSupported, required, type FieldProblem } from "../../kube/problem.ts";
import { expressionCost, hasRules, rulesOf, type CompiledRule } from "./custom-rules.ts";
import type { JsonSchema, ValidationRule } from "./custom-schema.ts";
import { mostElements, mostOften } from "./custom-sizes.ts";

const reasons = ["FieldValueRequired", "FieldValueForbidden", "FieldValueInvalid", "FieldValueDuplicate"];

/** The problems of all rules of a schema, by their paths below the given one. */
export function rulesProblems(schema: JsonSchema, path: string): readonly FieldProblem[] {
  const looks: FieldProblem[] = [];
  const meanings: FieldProblem[] = [];
  const costs: RuleCost[] = [];
  walk(schema, schema, path, true, { uncorrelatable: undefined, often: 1 }, (place) => {
    looks.push(...looksOf(place));
    if (looks.length === 0) meanings.push(...meaningsOf(place, costs));
  });
  return looks.length > 0 ? looks : [...meanings, ...totalProblems(costs, path)];
}

interface RuleCost {
  readonly path: string;
  readonly cost: number;
}

/** What one rule may cost, and all rules of a definition (validation.go StaticEstimatedCostLimit, StaticEstimatedCRDCostLimit). */
const mostOfRule = 10_000_000;
const mostOfAll = 100_000_000;

function totalProblems(costs: readonly RuleCost[], path: string): readonly FieldProblem[] {
  const total = costs.reduce((sum, { cost }) => sum + cost, 0);
  if (total <= mostOfAll) return [];
  const worst = costs.filter(({ cost }) => cost >= mostOfAll / 100).sort((a, b) => b.cost - a.cost);
  return [
    ...worst
      .slice(0, 4)
      .map((each) =>
        forbidden(
          each.path,
          "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
        ),
      ),
    tooCostly(path, "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema", total, mostOfAll),
  ];
}

function tooCostly(path: string, what: string, cost: number, most: number): FieldProblem {
  const factor = cost / most;
  const text = factor > 100 ? "more than 100" : factor < 1.5 ? factor.toFixed(6) : inTenths(factor);
  const advice =
    "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared";
  return forbidden(path, `${what} exceeds budget by factor of ${text}x (${advice})`);
}

/** As Go's %.1f, which rounds what is just between two tenths to the even one. */
function inTenths(value: number): string {
  return (value % 1 === 0.25 ? value - 0.05 : value).toFixed(1);
}

interface Place {
  readonly schema: JsonSchema;
  readonly spine: JsonSchema;
  readonly path: string;
  readonly isRoot: boolean;
  readonly within: Within;
}

/** What the lists and maps around a schema mean for its rules. */
interface Within {
  /** Of what is in lists without keys: an element has no past. */
  readonly uncorrelatable: string | undefined;
  /** How many values of the schema there may be; undefined where there is no limit. */
  readonly often: number | undefined;
}

function walk(
  schema: JsonSchema,
  spine: JsonSchema,
  path: string,
  isRoot: boolean,
  within: Within,
  visit: (place: Place) => void,
): void {
  if (!hasRules(schema)) return;
  const elements = mostElements(spine);
  const often = within.often === undefined || elements === undefined ? undefined : within.often * elements;
  const inner = { ...within, often };
  const { items, properties = {}, additionalProperties: others, allOf = [] } = schema;
  if (typeof others === "object")
    walk(
      others,
      typeof spine.additionalProperties === "object" ? spine.additionalProperties : others,
      child(path, "additionalProperties"),
      false,
      inner,
      visit,
    );
  for (const [name, field] of Object.entries(properties))
    walk(field, spine.properties?.[name] ?? field, at(child(path, "properties"), name), false, inner, visit);
  for (const [index, part] of allOf.entries())
    walk(part, spine, at(child(path, "allOf"), index), isRoot, within, visit);
  if (items !== undefined)
    walk(
      items,
      spine.items ?? items,
      child(path, "items"),
      false,
      spine["x-kubernetes-list-type"] === "map" ? inner : { ...inner, uncorrelatable: within.uncorrelatable ?? path },
      visit,
    );
  visit({ schema, spine, path, isRoot, within });
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

function meaningsOf({ schema, spine, path, isRoot, within }: Place, costs: RuleCost[]): readonly FieldProblem[] {
  const { uncorrelatable } = within;
  const isObject = isRoot || spine["x-kubernetes-embedded-resource"] === true;
  const often = within.often ?? mostOften(spine, isObject);
  return rulesOf(schema, isRoot, spine).flatMap((compiled, index) => {
    const field = (name: keyof ValidationRule): string => rulePath(path, index, name);
    const { rule, problem, messageProblem, usesOldSelf } = compiled;
    const problems: FieldProblem[] = [];
    if (compiled.program !== undefined) {
      const cost = often * expressionCost(rule.rule ?? "", rule, spine, isObject);
      costs.push({ path: field("rule"), cost });
      if (cost > mostOfRule) problems.push(tooCostly(field("rule"), "estimated rule cost", cost, mostOfRule));
      if (compiled.message !== undefined) {
        const message = expressionCost(rule.messageExpression ?? "", rule, spine, isObject);
        costs.push({ path: field("messageExpression"), cost: message });
        if (message > mostOfRule)
          problems.push(tooCostly(field("messageExpression"), "estimated messageExpression cost", message, mostOfRule));
      }
    }
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
