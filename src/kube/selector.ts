// Selectors: which objects somebody means, by labels or by fields.
// Label selectors come as objects (`matchLabels`, `matchExpressions`) and as text (`a=b,c in (x,y),!d`); both become one list of
// requirements, and all of them must hold.
//
// Not here: node selectors and affinity of pods, whose operators and meaning differ (lab/controllers).

import { labelValue, qualifiedName } from "./formats.ts";
import type { LabelSelector } from "./pod.ts";
import type { KubeObject, Labels } from "./object.ts";

/** One condition on labels. `values` are what the operator compares with; empty for `Exists` and `DoesNotExist`. */
export interface Requirement {
  readonly key: string;
  readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt";
  readonly values: readonly string[];
}

/** Selector text that cannot be read. */
export class SelectorError extends Error {
  override readonly name = "SelectorError";
}

/** The requirements of a LabelSelector object. An empty selector has none and so matches everything. */
export function requirementsOf(selector: LabelSelector): readonly Requirement[] {
  return [
    ...Object.entries(selector.matchLabels ?? {}).map(([key, value]) => requirement(key, "In", [value])),
    ...(selector.matchExpressions ?? []).map(({ key, operator, values }) => requirement(key, operator, values ?? [])),
  ];
}

/**
 * Does a LabelSelector match these labels? An absent selector matches nothing, an empty one everything
 * (apimachinery meta/v1 LabelSelectorAsSelector).
 */
export function selects(selector: LabelSelector | undefined, labels: Labels | undefined): boolean {
  return selector !== undefined && matches(requirementsOf(selector), labels);
}

/** Does a plain map (Service.spec.selector, ReplicationController) match these labels? Absent or empty matches nothing. */
export function selectsMap(selector: Labels | undefined, labels: Labels | undefined): boolean {
  const entries = Object.entries(selector ?? {});
  return entries.length > 0 && entries.every(([key, value]) => labels?.[key] === value);
}

/** Do all requirements hold? A label that is not there fails In, Exists, Gt and Lt, and passes NotIn and DoesNotExist. */
export function matches(requirements: readonly Requirement[], labels: Labels | undefined): boolean {
  return requirements.every((each) =>
    holds(each, labels !== undefined && Object.hasOwn(labels, each.key) ? labels[each.key] : undefined),
  );
}

function holds({ operator, values }: Requirement, value: string | undefined): boolean {
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    case "Gt":
      return isInteger(value) && isInteger(values[0]) && BigInt(value) > BigInt(values[0]);
    case "Lt":
      return isInteger(value) && isInteger(values[0]) && BigInt(value) < BigInt(values[0]);
  }
}

function isInteger(text: string | undefined): text is string {
  return text !== undefined && /^-?\d+$/.test(text);
}

function requirement(key: string, operator: Requirement["operator"], values: readonly string[]): Requirement {
  return { key, operator, values };
}

/**
 * Reads a label selector's text (apimachinery labels.Parse): requirements joined by commas, each `key`, `!key`, `key=v`, `key==v`,
 * `key!=v`, `key in (v,w)`, `key notin (v,w)`, `key>1`, `key<1`. Empty text has no requirements. Throws SelectorError.
 */
export function parseSelector(text: string): readonly Requirement[] {
  const tokens = tokenize(text);
  const requirements: Requirement[] = [];
  let at = 0;
  const peek = (): string | undefined => tokens[at];
  const fail = (expected: string): never => {
    const found = peek() === undefined ? "the end" : `"${peek()}"`;
    throw new SelectorError(`unable to parse selector ${JSON.stringify(text)}: found ${found}, expected ${expected}`);
  };
  const word = (what: string): string => {
    const token = peek();
    if (token === undefined || /^[(),!=<>]/.test(token)) return fail(what);
    at++;
    return token;
  };
  const value = (): string => {
    const token = peek();
    return token === undefined || token === "," || token === ")" ? "" : word("a value");
  };
  const set = (): string[] => {
    if (peek() !== "(") fail('"("');
    at++;
    const values = [value()];
    while (peek() === ",") {
      at++;
      values.push(value());
    }
    if (peek() !== ")") fail('"," or ")"');
    at++;
    return values;
  };
  const one = (): Requirement => {
    if (peek() === "!") {
      at++;
      return requirement(word("a key"), "DoesNotExist", []);
    }
    const key = word("a key");
    const operator = peek();
    if (operator === undefined || operator === ",") return requirement(key, "Exists", []);
    at++;
    switch (operator) {
      case "=":
      case "==":
        return requirement(key, "In", [value()]);
      case "!=":
        return requirement(key, "NotIn", [value()]);
      case "in":
        return requirement(key, "In", set());
      case "notin":
        return requirement(key, "NotIn", set());
      case ">":
        return requirement(key, "Gt", [integer(value())]);
      case "<":
        return requirement(key, "Lt", [integer(value())]);
    }
    at--;
    return fail("one of: in, notin, =, ==, !=, >, <");
  };
  const checked = (each: Requirement): Requirement => {
    const problem =
      qualifiedName(each.key).map((words) => `key: Invalid value: ${JSON.stringify(each.key)}: ${words}`)[0] ??
      each.values.flatMap((one, index) =>
        labelValue(one).map(
          (words) => `values[${index}][${each.key}]: Invalid value: ${JSON.stringify(one)}: ${words}`,
        ),
      )[0];
    if (problem !== undefined) throw new SelectorError(`unable to parse requirement: ${problem}`);
    return each;
  };
  const integer = (number: string): string => (isInteger(number) ? number : fail("an integer"));
  if (tokens.length === 0) return requirements;
  for (;;) {
    requirements.push(checked(one()));
    if (peek() === undefined) return requirements;
    if (peek() !== ",") fail('","');
    at++;
  }
}

function tokenize(text: string): string[] {
  return text.match(/[(),]|==|!=|[=<>!]|[^\s(),=!<>]+/g) ?? [];
}

/** Labels as text: `app=web,tier=front`; empty where there are none. */
export function formatLabels(labels: unknown): string {
  return Object.entries((labels ?? {}) as Labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}

/** The text of requirements; `parseSelector` reads it back to equal ones. */
export function formatSelector(requirements: readonly Requirement[]): string {
  return requirements.map(formatRequirement).join(",");
}

function formatRequirement({ key, operator, values }: Requirement): string {
  switch (operator) {
    case "In":
      return values.length === 1 ? `${key}=${values[0]}` : `${key} in (${values.join(",")})`;
    case "NotIn":
      return values.length === 1 ? `${key}!=${values[0]}` : `${key} notin (${values.join(",")})`;
    case "Exists":
      return key;
    case "DoesNotExist":
      return `!${key}`;
    case "Gt":
      return `${key}>${values[0]}`;
    case "Lt":
      return `${key}<${values[0]}`;
  }
}

/** One condition of a field selector: `status.phase!=Running`. */
export interface FieldRequirement {
  readonly field: string;
  readonly operator: "=" | "!=";
  readonly value: string;
}

/** Reads a field selector's text (apimachinery fields.ParseSelector): `a.b=c`, `a.b==c`, `a.b!=c`, joined by commas. Throws SelectorError. */
export function parseFieldSelector(text: string): readonly FieldRequirement[] {
  // A backslash keeps the next character from being an operator or a comma.
  const terms = text.match(/(?:\\.|[^\\,])+/gs) ?? [];
  return terms.map((term) => {
    const match = /^((?:\\.|[^\\=!])+)(==|!=|=)((?:\\.|[^\\])*)$/s.exec(term);
    if (!match?.[1])
      throw new SelectorError(`invalid field selector ${JSON.stringify(text)}: can't understand "${term}"`);
    const unescape = (part: string): string => part.replace(/\\(.)/gs, "$1");
    return { field: unescape(match[1]), operator: match[2] === "!=" ? "!=" : "=", value: unescape(match[3] ?? "") };
  });
}

/** Does an object have these field values? An absent field is the empty string, a boolean or number its text. */
export function matchesFields(requirements: readonly FieldRequirement[], object: KubeObject): boolean {
  return requirements.every(
    ({ field, operator, value }) => (fieldText(object, field) === value) === (operator === "="),
  );
}

function fieldText(object: KubeObject, field: string): string {
  let value: unknown = object;
  for (const name of field.split(".")) {
    if (typeof value !== "object" || value === null) return "";
    value = (value as Record<string, unknown>)[name];
  }
  return typeof value === "string"
    ? value
    : typeof value === "number" || typeof value === "boolean"
      ? String(value)
      : "";
}
