// Finds the type of an expression and of all its parts, and which functions its calls may mean (cel-go checker, in its words).
// What is dyn is left to the evaluation.

import type { Environment, Overload } from "./environment.ts";
import { typeName } from "./parse.ts";
import { isRegex } from "./regex.ts";
import { parseDuration, parseTimestamp } from "./times.ts";
import { ExpressionError, type Expression, type Issue } from "./syntax.ts";
import {
  bool,
  bytes,
  double,
  dyn,
  instantiated,
  int,
  isAssignable,
  listOf,
  mapOf,
  nullType,
  parseType,
  resolved,
  string,
  typeText,
  uint,
  type Type,
  type TypeVariable,
} from "./types.ts";

/** An expression whose parts fit. */
export interface Checked {
  readonly expression: Expression;
  readonly type: Type;
  /** What a call may mean, as far as types tell. Calls of operators that need no table are missing. */
  readonly overloads: ReadonlyMap<Expression, readonly Overload[]>;
  /** Parts that are names of types or of functions rather than values: `int`, `optional.none()`. */
  readonly names: ReadonlyMap<Expression, string>;
  /** Selections that are variables whose names have dots. */
  readonly qualified: ReadonlyMap<Expression, string>;
  /** The variables that are used. */
  readonly variables: ReadonlySet<string>;
}

/** Throws ExpressionError with everything that does not fit. `types`: gets the types of all parts. */
export function checkExpression(
  source: string,
  expression: Expression,
  environment: Environment,
  types?: Map<Expression, Type>,
): Checked {
  const issues: Issue[] = [];
  const overloads = new Map<Expression, readonly Overload[]>();
  const names = new Map<Expression, string>();
  const qualified = new Map<Expression, string>();
  const variables = new Set<string>();
  const checker = createChecker({ environment, issues, overloads, names, qualified, variables, types });
  const type = checker(expression, []);
  if (issues.length > 0) throw new ExpressionError(source, issues);
  return { expression, type: resolved(type), overloads, names, qualified, variables };
}

type Scope = readonly (readonly [name: string, type: Type])[];

/** Operators' overloads: only their types, what they do is in evaluate.ts. */
const operators: ReadonlyMap<string, readonly Pick<Overload, "parameters" | "result">[]> = new Map(
  Object.entries({
    "_&&_": ["bool, bool: bool"],
    "_||_": ["bool, bool: bool"],
    "!_": ["bool: bool"],
    "-_": ["int: int", "double: double", "duration: duration"],
    "_?_:_": ["bool, A, A: A"],
    "_==_": ["A, A: bool"],
    "_!=_": ["A, A: bool"],
    ...Object.fromEntries(
      ["_<_", "_<=_", "_>_", "_>=_"].map((name) => [
        name,
        [
          ...["bool", "string", "bytes", "timestamp", "duration"].map((type) => `${type}, ${type}: bool`),
          ...["int", "uint", "double"].flatMap((a) => ["int", "uint", "double"].map((b) => `${a}, ${b}: bool`)),
        ],
      ]),
    ),
    "_+_": [
      ...["int", "uint", "double", "string", "bytes", "duration"].map((type) => `${type}, ${type}: ${type}`),
      "list<A>, list<A>: list<A>",
      "timestamp, duration: timestamp",
      "duration, timestamp: timestamp",
    ],
    "_-_": [
      ...["int", "uint", "double", "duration"].map((type) => `${type}, ${type}: ${type}`),
      "timestamp, timestamp: duration",
      "timestamp, duration: timestamp",
    ],
    "_*_": ["int", "uint", "double"].map((type) => `${type}, ${type}: ${type}`),
    "_/_": ["int", "uint", "double"].map((type) => `${type}, ${type}: ${type}`),
    "_%_": ["int", "uint"].map((type) => `${type}, ${type}: ${type}`),
    "@in": ["A, list<A>: bool", "A, map<A, B>: bool"],
    "_[_]": [
      "list<A>, int: A",
      "map<A, B>, A: B",
      "optional<list<A>>, int: optional<A>",
      "optional<map<A, B>>, A: optional<B>",
    ],
    "_[?_]": [
      "list<A>, int: optional<A>",
      "map<A, B>, A: optional<B>",
      "optional<list<A>>, int: optional<A>",
      "optional<map<A, B>>, A: optional<B>",
    ],
  }).map(([name, signatures]) => [
    name,
    signatures.map((signature) => {
      const [parameters = "", result = ""] = signature.split(": ");
      const parts = splitTypes(parameters);
      return { parameters: parts.map(parseType), result: parseType(result) };
    }),
  ]),
);

function splitTypes(text: string): readonly string[] {
  return text.split(/, (?![^<]*>)/);
}

function createChecker(found: {
  readonly environment: Environment;
  readonly issues: Issue[];
  readonly overloads: Map<Expression, readonly Overload[]>;
  readonly names: Map<Expression, string>;
  readonly qualified: Map<Expression, string>;
  readonly variables: Set<string>;
  readonly types: Map<Expression, Type> | undefined;
}): (expression: Expression, scope: Scope) => Type {
  const { environment, issues } = found;
  /** Lists whose elements may be of any types: what is given to `format`. */
  const mixed = new Set<Expression>();
  const wrong = (at: number, message: string): Type => {
    issues.push({ at, message });
    return dyn;
  };

  const check = (expression: Expression, scope: Scope): Type => {
    const type = typeOf(expression, scope);
    found.types?.set(expression, type);
    return type;
  };

  function typeOf(expression: Expression, scope: Scope): Type {
    const { at } = expression;
    switch (expression.kind) {
      case "literal":
        return literalTypes[expression.value.type];
      case "name":
        return named(expression, expression.name, scope) ?? undeclared(at, expression.name);
      case "select": {
        const full = typeName(expression);
        // A variable whose name has dots: `authorizer.requestResource`.
        const qualified = full === undefined ? undefined : environment.variables.get(full);
        if (full !== undefined && qualified !== undefined && !scope.some(([each]) => each === rootOf(expression))) {
          found.variables.add(full);
          found.qualified.set(expression, full);
          return qualified;
        }
        if (full !== undefined && !isVariable(rootOf(expression), scope)) {
          const type = typeNamed(full);
          if (type !== undefined) {
            found.names.set(expression, full);
            return type;
          }
        }
        const selected = select(check(expression.of, scope), expression.field, at);
        return expression.optional && selected.kind !== "optional" ? { kind: "optional", of: selected } : selected;
      }
      case "has":
        select(check(expression.of, scope), expression.field, at);
        return bool;
      case "call":
        return call(expression, scope);
      case "list": {
        let type: Type = { kind: "variable", bound: undefined };
        for (const { value, optional } of expression.elements) {
          const each = elementType(value, optional, scope);
          type = mixed.has(expression) ? dyn : joined(type, each, value.at);
        }
        return listOf(type);
      }
      case "map": {
        let key: Type = { kind: "variable", bound: undefined };
        let value: Type = { kind: "variable", bound: undefined };
        for (const entry of expression.entries) {
          key = joined(key, check(entry.key, scope), entry.key.at);
          value = joined(value, elementType(entry.value, entry.optional, scope), entry.value.at);
        }
        return mapOf(key, value);
      }
      case "message":
        return message(expression, scope);
      case "fold":
        return fold(expression, scope);
      case "optMap": {
        const of = resolved(check(expression.of, scope));
        const inner = of.kind === "optional" ? of.of : dyn;
        if (of.kind !== "optional" && of.kind !== "dyn" && of.kind !== "variable")
          return wrong(at, `found no matching overload for 'hasValue' applied to '${typeText(of)}.()'`);
        const result = check(expression.result, [[expression.variable, inner], ...scope]);
        if (!expression.flat) return { kind: "optional", of: result };
        const flat = resolved(result);
        if (flat.kind === "optional" || flat.kind === "dyn" || flat.kind === "variable") return flat;
        return wrong(
          expression.result.at,
          `found no matching overload for '_?_:_' applied to '(bool, ${typeText(flat)}, optional_type(dyn))'`,
        );
      }
    }
  }

  function isVariable(name: string, scope: Scope): boolean {
    return scope.some(([each]) => each === name) || environment.variables.has(name);
  }

  function named(expression: Expression, name: string, scope: Scope): Type | undefined {
    const local = scope.find(([each]) => each === name);
    if (local !== undefined) return local[1];
    const type = environment.variables.get(name);
    if (type !== undefined) {
      found.variables.add(name);
      return type;
    }
    const typeValue = typeNamed(name);
    if (typeValue !== undefined) found.names.set(expression, name);
    return typeValue;
  }

  function undeclared(at: number, name: string): Type {
    return wrong(at, `undeclared reference to '${name}' (in container '')`);
  }

  function elementType(value: Expression, optional: boolean, scope: Scope): Type {
    const type = resolved(check(value, scope));
    if (!optional) return type;
    if (type.kind === "optional") return type.of;
    if (type.kind === "dyn" || type.kind === "variable") return dyn;
    return wrong(value.at, `expected type 'optional_type(${typeText(type)})' but found '${typeText(type)}'`);
  }

  // All elements are of one type, unless one of them is dyn (HomogeneousAggregateLiterals).
  function joined(before: Type, next: Type, at: number): Type {
    const [a, b] = [resolved(before), resolved(next)];
    if (a.kind === "variable") {
      a.bound = b;
      return b;
    }
    if (a.kind === "null" && b.kind !== "null" && isAssignable(b, a)) return b;
    if (isAssignable(a, b)) return b.kind === "dyn" ? b : a;
    return wrong(at, `expected type '${typeText(a)}' but found '${typeText(b)}'`);
  }

  function select(of: Type, field: string, at: number): Type {
    const type = resolved(of);
    if (type.kind === "dyn" || type.kind === "variable") return dyn;
    if (type.kind === "optional") return { kind: "optional", of: select(type.of, field, at) };
    if (type.kind === "map" && isAssignable(type.key, string)) return type.value;
    if (type.kind === "object") return type.fields.get(field)?.type ?? wrong(at, `undefined field '${field}'`);
    return wrong(at, `type '${typeText(type)}' does not support field selection`);
  }

  type Call = Extract<Expression, { kind: "call" }>;

  function call(expression: Call, scope: Scope): Type {
    const { at, function: name, receiver, args } = expression;
    const operator = operators.get(name);
    if (operator !== undefined && receiver === undefined) {
      const given = args.map((each) => check(each, scope));
      if (name === "_[_]") return index(given, at);
      const matching = matchingOf(operator, given);
      return matching.length > 0 ? resultOf(matching) : noOverload(at, name, given, false);
    }
    // A namespaced function: `optional.of(1)`.
    const namespace = receiver === undefined ? undefined : typeName(receiver);
    if (namespace !== undefined && receiver !== undefined && !isVariable(rootOf(receiver), scope)) {
      const overloads = environment.functions.get(`${namespace}.${name}`);
      if (overloads !== undefined) {
        found.names.set(receiver, namespace);
        return resolve(
          expression,
          overloads,
          args.map((each) => check(each, scope)),
          `${namespace}.${name}`,
          false,
        );
      }
    }
    if (name === "format" && args[0]?.kind === "list") mixed.add(args[0]);
    const declared = environment.functions.get(name) ?? [];
    const given = [
      ...(receiver === undefined ? [] : [check(receiver, scope)]),
      ...args.map((each) => check(each, scope)),
    ];
    if (declared.length === 0) return undeclared(at, name);
    return resolve(expression, declared, given, name, receiver !== undefined);
  }

  function resolve(
    expression: Call,
    overloads: readonly Overload[],
    given: readonly Type[],
    name: string,
    hasReceiver: boolean,
  ): Type {
    const matching = matchingOf(
      overloads.filter((each) => each.hasReceiver === hasReceiver),
      given,
    );
    if (matching.length === 0) return noOverload(expression.at, name, given, hasReceiver);
    checkLiteral(expression, name);
    found.overloads.set(
      expression,
      matching.map(({ overload }) => overload),
    );
    return resultOf(matching);
  }

  // cel-go cel/validator.go: what stands there for everybody to see is read before it is used.
  function checkLiteral({ args, receiver }: Call, name: string): void {
    const argument = name === "matches" && receiver === undefined ? args[1] : args[0];
    const read = literalReaders[name];
    if (read === undefined || argument?.kind !== "literal" || argument.value.type !== "string") return;
    if (!read(argument.value.value)) wrong(argument.at, `invalid ${name} argument`);
  }

  function index(given: readonly Type[], at: number): Type {
    const [of = dyn, key = dyn] = given.map(resolved);
    if (of.kind === "object" && key.kind !== "dyn") return noOverload(at, "_[_]", given, false);
    const matching = matchingOf(operators.get("_[_]") ?? [], given);
    return matching.length > 0 ? resultOf(matching) : noOverload(at, "_[_]", given, false);
  }

  function noOverload(at: number, name: string, given: readonly Type[], hasReceiver: boolean): Type {
    const [first, ...rest] = given.map(typeText);
    const args = hasReceiver ? `${first}.(${rest.join(", ")})` : `(${given.map(typeText).join(", ")})`;
    return wrong(at, `found no matching overload for '${name}' applied to '${args}'`);
  }

  function message(expression: Extract<Expression, { kind: "message" }>, scope: Scope): Type {
    const type = environment.message?.(expression.type);
    if (type === undefined) return undeclared(expression.at, expression.type);
    for (const { name, value, optional } of expression.fields) {
      const given = elementType(value, optional, scope);
      const wanted = type.kind === "object" ? type.fields.get(name)?.type : dyn;
      if (wanted === undefined) wrong(value.at, `undefined field '${name}'`);
      else if (!isAssignable(wanted, given))
        wrong(
          value.at,
          `expected type of field '${name}' is '${typeText(wanted)}' but provided type is '${typeText(given)}'`,
        );
    }
    return type;
  }

  function fold(expression: Extract<Expression, { kind: "fold" }>, scope: Scope): Type {
    const { macro, variables, filter, result } = expression;
    const range = resolved(check(expression.range, scope));
    const [first, second] = elementsOf(range, expression.range.at);
    const [one = "", two] = variables;
    const inner: Scope =
      two === undefined
        ? [[one, range.kind === "list" ? second : first], ...scope]
        : [[one, first], [two, second], ...scope];
    const element = range.kind === "list" ? second : first;
    const tested = filter === undefined ? bool : resolved(check(filter, inner));
    if (!isAssignable(bool, tested)) {
      const test = typeText(tested);
      const list = typeText(listOf(element));
      wrong(
        expression.at,
        macro === "all" || macro === "exists"
          ? `found no matching overload for '${macro === "all" ? "_&&_" : "_||_"}' applied to '(bool, ${test})'`
          : `found no matching overload for '_?_:_' applied to '(${test}, ${macro === "existsOne" ? "int, int" : `${list}, ${list}`})'`,
      );
    }
    const made = result === undefined ? element : check(result, inner);
    switch (macro) {
      case "all":
      case "exists":
      case "existsOne":
        return bool;
      case "map":
        return listOf(made);
      case "filter":
        return listOf(element);
      case "transformMap":
        return mapOf(first, made);
      case "transformMapEntry":
        return resolved(made).kind === "map" ? made : mapOf(dyn, dyn);
      case "sortBy":
        return range.kind === "list" ? range : listOf(element);
    }
  }

  function elementsOf(range: Type, at: number): readonly [Type, Type] {
    if (range.kind === "list") return [int, range.of];
    if (range.kind === "map") return [range.key, range.value];
    if (range.kind !== "dyn" && range.kind !== "variable")
      wrong(
        at,
        `expression of type '${typeText(range)}' cannot be range of a comprehension (must be list, map, or dynamic)`,
      );
    return [dyn, dyn];
  }

  return check;
}

function rootOf(expression: Expression): string {
  return expression.kind === "select" ? rootOf(expression.of) : expression.kind === "name" ? expression.name : "";
}

const literalReaders: { readonly [name: string]: ((text: string) => boolean) | undefined } = {
  matches: isRegex,
  timestamp: (text) => parseTimestamp(text) !== undefined,
  duration: (text) => parseDuration(text) !== undefined,
};

const literalTypes = { int, uint, double, string, bytes, bool, null: nullType } as const;

const typeNames: { readonly [name: string]: Type | undefined } = Object.assign(
  Object.create(null),
  Object.fromEntries(["bool", "int", "uint", "double", "string", "bytes"].map((name) => [name, parseType(name)])),
  {
    list: listOf(dyn),
    map: mapOf(dyn, dyn),
    null_type: nullType,
    type: { kind: "type", of: dyn },
    "google.protobuf.Timestamp": parseType("timestamp"),
    "google.protobuf.Duration": parseType("duration"),
    optional_type: { kind: "optional", of: dyn },
  },
);

function typeNamed(name: string): Type | undefined {
  const of = typeNames[name];
  return of === undefined ? undefined : { kind: "type", of };
}

interface Matching<Each> {
  readonly overload: Each;
  readonly result: Type;
}

function matchingOf<Each extends Pick<Overload, "parameters" | "result">>(
  overloads: readonly Each[],
  given: readonly Type[],
): readonly Matching<Each>[] {
  return overloads.flatMap((overload) => {
    if (overload.parameters.length !== given.length) return [];
    const variables = new Map<string, TypeVariable>();
    const before = freeVariables(given);
    const fits = overload.parameters.every((parameter, index) =>
      isAssignable(instantiated(parameter, variables), given[index] ?? dyn),
    );
    if (!fits) for (const variable of before) variable.bound = undefined;
    return fits ? [{ overload, result: resolved(instantiated(overload.result, variables)) }] : [];
  });
}

/** Variables that a failed attempt may have bound. */
function freeVariables(types: readonly Type[]): readonly TypeVariable[] {
  return types.flatMap((given): readonly TypeVariable[] => {
    const type = resolved(given);
    if (type.kind === "variable") return [type];
    if (type.kind === "list" || type.kind === "optional" || type.kind === "type") return freeVariables([type.of]);
    return type.kind === "map" ? freeVariables([type.key, type.value]) : [];
  });
}

function resultOf(matching: readonly Matching<unknown>[]): Type {
  const [first, ...others] = matching.map(({ result }) => result);
  if (first === undefined) return dyn;
  return others.every((each) => typeText(each) === typeText(first)) ? first : dyn;
}
