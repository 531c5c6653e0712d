// What an expression may cost at most, before it has ever been evaluated: from what its parts are and how large the schema lets them be
// (cel-go checker/cost.go, apiserver pkg/cel/library/cost.go). Macros are counted as what cel-go makes of them.
//
// Not here: counting while evaluating (evaluate.ts).

import type { Checked } from "./check.ts";
import type { Expression } from "./syntax.ts";
import { resolved, typeText, type Type } from "./types.ts";

/** How large something may be at most, and what is in it. */
export interface Bounds {
  /** Of texts their length, of lists and maps their number of elements, of all else zero. */
  readonly most: number;
  readonly fields?: (name: string) => Bounds | undefined;
  /** Elements of a list, values of a map. */
  readonly elements?: () => Bounds;
  /** Keys of a map. */
  readonly keys?: Bounds;
}

/** The most that an expression may cost whose variables are all as `root` says; about 2^64 where nothing is known. */
export function estimatedCost(checked: Checked, types: ReadonlyMap<Expression, Type>, root: Bounds): number {
  return createEstimator(checked, types, root)(checked.expression);
}

interface Size {
  readonly least: number;
  readonly most: number;
}

/** What is in a list or map that an expression makes. */
interface Entries {
  readonly kind: "list" | "map";
  readonly key: Size;
  readonly value: Size;
}

interface Local {
  readonly name: string;
  readonly path: Path;
  readonly size: Size | undefined;
  readonly entries: Entries | undefined;
}

/** From a variable to a part of it; empty where an expression makes something new. The first step says nothing. */
type Path = readonly string[];

const limit = 2 ** 64;
const unknownSize: Size = { least: 0, most: limit };
const one = fixed(1);
const nothing = fixed(0);
const traversal = 0.1;
const patternLength = 0.25;
const listBase = 10;
const mapBase = 30;
const messageBase = 40;

function fixed(size: number): Size {
  return { least: size, most: size };
}

function plus(...parts: readonly number[]): number {
  return Math.min(
    limit,
    parts.reduce((sum, each) => sum + each, 0),
  );
}

function times(a: number, b: number): number {
  return Math.min(limit, a * b);
}

function scaled(size: number, factor: number): number {
  return Math.min(limit, Math.ceil(size * factor));
}

function sizeSum(a: Size, b: Size): Size {
  return { least: plus(a.least, b.least), most: plus(a.most, b.most) };
}

function sizeProduct(a: Size, b: Size): Size {
  return { least: times(a.least, b.least), most: times(a.most, b.most) };
}

function union(a: Size, b: Size): Size {
  return { least: Math.min(a.least, b.least), most: Math.max(a.most, b.most) };
}

function entriesUnion(a: Entries | undefined, b: Entries | undefined): Entries | undefined {
  return a && b && { kind: a.kind, key: union(a.key, b.key), value: union(a.value, b.value) };
}

const scalars = new Set<Type["kind"]>(["bool", "int", "uint", "double", "duration", "timestamp"]);

function isScalar(given: Type): boolean {
  const type = resolved(given);
  return type.kind === "optional" ? isScalar(type.of) : scalars.has(type.kind);
}

type Call = Extract<Expression, { kind: "call" }>;
type FoldExpression = Extract<Expression, { kind: "fold" }>;

/** What a call costs without its parts, and how large what it gives is; undefined where that is not known better than from its type. */
interface CallCost {
  readonly cost: number;
  readonly size?: Size;
  readonly entries?: Entries | undefined;
}

function createEstimator(
  { names, qualified }: Checked,
  types: ReadonlyMap<Expression, Type>,
  root: Bounds,
): (expression: Expression) => number {
  const sizes = new Map<Expression, Size>();
  const entriesOf = new Map<Expression, Entries>();
  const paths = new Map<Expression, Path>();
  const locals: Local[] = [];

  const typeOf = (expression: Expression): Type => resolved(types.get(expression) ?? { kind: "dyn" });

  function localOf(expression: Expression): Local | undefined {
    return expression.kind === "name" ? locals.findLast(({ name }) => name === expression.name) : undefined;
  }

  function pathOf(expression: Expression): Path {
    return localOf(expression)?.path ?? paths.get(expression) ?? [];
  }

  function boundsAt(path: Path): Size | undefined {
    if (path.length === 0) return undefined;
    const end = path.slice(1).reduce<Bounds | undefined>((now, step) => {
      if (step === "@items" || step === "@values") return now?.elements?.();
      return step === "@keys" ? now?.keys : now?.fields?.(step);
    }, root);
    return end && { least: 0, most: end.most };
  }

  function sizeOf(expression: Expression): Size | undefined {
    const known = sizes.get(expression) ?? ownSize(expression) ?? boundsAt(pathOf(expression));
    if (known !== undefined) return known;
    return isScalar(typeOf(expression)) ? one : localOf(expression)?.size;
  }

  function sizeOrUnknown(expression: Expression): Size {
    return sizeOf(expression) ?? unknownSize;
  }

  function entries(expression: Expression): Entries | undefined {
    return entriesOf.get(expression) ?? localOf(expression)?.entries;
  }

  function keepEntries(expression: Expression, found: Entries | undefined): void {
    if (found !== undefined) entriesOf.set(expression, found);
  }

  function keepSize(expression: Expression, found: Size | undefined): void {
    if (found !== undefined) sizes.set(expression, found);
  }

  function cost(expression: Expression): number {
    switch (expression.kind) {
      case "literal":
        return 0;
      case "name":
        paths.set(expression, localOf(expression)?.path ?? [expression.name]);
        return 1;
      case "select":
        return costOfSelect(expression);
      case "has":
        return cost(expression.of);
      case "call":
        return costOfCall(expression);
      case "list": {
        const sum = plus(listBase, ...expression.elements.map(({ value }) => cost(value)));
        const value = expression.elements
          .map((each) => sizeOrUnknown(each.value))
          .reduce<Size | undefined>(joinSizes, undefined);
        keepEntries(expression, { kind: "list", key: one, value: value ?? nothing });
        return sum;
      }
      case "map": {
        const sum = plus(mapBase, ...expression.entries.map((each) => plus(cost(each.key), cost(each.value))));
        const key = expression.entries
          .map((each) => sizeOrUnknown(each.key))
          .reduce<Size | undefined>(joinSizes, undefined);
        const value = expression.entries
          .map((each) => sizeOrUnknown(each.value))
          .reduce<Size | undefined>(joinSizes, undefined);
        keepEntries(expression, { kind: "map", key: key ?? nothing, value: value ?? nothing });
        return sum;
      }
      case "message":
        return plus(messageBase, ...expression.fields.map(({ value }) => cost(value)));
      case "fold":
        return costOfFold(expression);
      case "optMap": {
        // of.hasValue() ? optional.of(bind(variable, of.value(), result)) : optional.none()
        const of = cost(expression.of);
        const result = within(
          [{ name: expression.variable, path: [], size: sizeOfValue(expression.of), entries: undefined }],
          () => cost(expression.result),
        );
        return plus(of, 1, listBase, of, 1, result, expression.flat ? 0 : 1);
      }
    }
  }

  /** Of what is in an optional. */
  function sizeOfValue(expression: Expression): Size | undefined {
    return isScalar(typeOf(expression)) ? one : undefined;
  }

  function within<Result>(added: readonly Local[], run: () => Result): Result {
    locals.push(...added);
    const result = run();
    locals.length -= added.length;
    return result;
  }

  function costOfSelect(expression: Extract<Expression, { kind: "select" }>): number {
    if (qualified.has(expression)) {
      paths.set(expression, [qualified.get(expression) ?? ""]);
      return 1;
    }
    if (names.has(expression)) return 1;
    const of = cost(expression.of);
    if (expression.optional) return plus(of, 1);
    const { kind } = typeOf(expression.of);
    paths.set(expression, [...pathOf(expression.of), expression.field]);
    return plus(of, kind === "map" || kind === "object" || kind === "variable" ? 1 : 0);
  }

  function costOfCall(expression: Call): number {
    const { args, receiver } = expression;
    const given = args.map(cost);
    if (expression.function === "dyn" && receiver === undefined && args[0] !== undefined) {
      keepSize(expression, sizeOf(args[0]));
      keepEntries(expression, entries(args[0]));
      return plus(1, ...given);
    }
    const space = receiver === undefined ? undefined : names.get(receiver);
    const target = space === undefined ? receiver : undefined;
    const name = space === undefined ? expression.function : `${space}.${expression.function}`;
    const before = target === undefined ? 0 : cost(target);
    const [first = 0, second = 0, third = 0] = given;
    const found = costOfFunction(name, target, args);
    keepEntries(expression, found.entries);
    keepSize(expression, found.size ?? sizeOfElement(expression, name) ?? sizeOf(expression));
    if (name === "_?_:_") return plus(first, Math.max(second, third));
    return plus(before, found.cost, ...given);
  }

  function sizeOfElement(expression: Call, name: string): Size | undefined {
    const [of] = expression.args;
    if (name !== "_[_]" || of === undefined) return undefined;
    const { kind } = typeOf(of);
    if (kind !== "list" && kind !== "map" && kind !== "dyn") return undefined;
    paths.set(expression, [...pathOf(of), kind === "list" ? "@items" : "@values"]);
    return entries(of)?.value;
  }

  function costOfFunction(name: string, target: Expression | undefined, args: readonly Expression[]): CallCost {
    const size = (index: number): Size => (args[index] === undefined ? unknownSize : sizeOrUnknown(args[index]));
    const own = target === undefined ? unknownSize : sizeOrUnknown(target);
    const linear = (of: Size, factor = 1): number => scaled(of.most, factor * traversal);
    const [first, second, third] = args;
    if (ofOne.has(name)) return { cost: 1 };
    switch (name) {
      case "_&&_":
      case "_||_":
      case "_?_:_":
        if (name !== "_?_:_" || second === undefined || third === undefined) return { cost: 0 };
        return { cost: 0, size: union(size(1), size(2)), entries: entriesUnion(entries(second), entries(third)) };
      case "_==_":
      case "_!=_": {
        if (name === "_==_" && first !== undefined && second !== undefined) {
          const known = costOfEqual(typeOf(first), typeOf(second));
          if (known !== undefined) return { cost: known };
        }
        return { cost: scaled(Math.min(size(0).most, size(1).most), traversal) };
      }
      case "_<_":
      case "_<=_":
      case "_>_":
      case "_>=_":
        if (!mayBe(args, ["string", "bytes"])) return { cost: 1 };
        return { cost: scaled(Math.min(size(0).most, size(1).most), traversal) };
      case "_+_": {
        if (first === undefined || second === undefined || !mayBe(args, ["string", "bytes", "list"]))
          return { cost: 1 };
        const sum = sizeSum(size(0), size(1));
        const isList = typeOf(first).kind === "list" || typeOf(second).kind === "list";
        return {
          cost: isList ? 1 : Math.max(1, scaled(sum.most, traversal)),
          size: sum,
          entries: entriesUnion(entries(first), entries(second)),
        };
      }
      case "@in":
        return { cost: second !== undefined && typeOf(second).kind === "map" ? 1 : Math.max(1, size(1).most) };
      case "check":
        return { cost: 350_000 };
      case "fieldSelector":
      case "labelSelector":
        return { cost: size(0).most };
      case "isSorted":
      case "sum":
      case "max":
      case "min":
      case "indexOf":
      case "lastIndexOf": {
        if (target === undefined) return { cost: 1 };
        const type = typeOf(target);
        if (type.kind !== "list") return { cost: linear(own) };
        const isText = ["string", "bytes"].includes(resolved(type.of).kind);
        return { cost: times(own.most, isText ? plus(1, linear(elementSize(target))) : 1) };
      }
      case "url":
      case "jsonpatch.escapeKey":
        return { cost: linear(size(0)), size: size(0) };
      case "lowerAscii":
      case "upperAscii":
      case "substring":
      case "trim":
        return { cost: linear(own), size: own };
      case "replace":
        return { cost: linear(own, 2), size: replacedSize(own, size(0), size(1)) };
      case "split":
        return { cost: linear(own, 2), size: { least: 0, most: integerOf(second) ?? own.most } };
      case "join": {
        if (target === undefined) return { cost: 1 };
        const texts = sizeProduct(own, elementSize(target));
        const gaps = { least: Math.max(0, own.least - 1), most: Math.max(0, own.most - 1) };
        const all = first === undefined ? texts : sizeSum(texts, sizeProduct(size(0), gaps));
        return { cost: linear(all), size: all };
      }
      case "find":
      case "findAll":
        return { cost: matchCost(own, size(0)), size: { least: 0, most: own.most } };
      case "matches":
        return { cost: target === undefined ? matchCost(size(0), size(1)) : matchCost(own, size(0)) };
      case "contains":
        return { cost: times(linear(own), linear(size(0))) };
      case "startsWith":
      case "endsWith":
        return { cost: linear(size(0)) };
      case "format":
        return { cost: linear(own) };
      case "ip":
        return { cost: target === undefined ? linear(size(0)) : 1 };
      case "cidr":
      case "isIP":
      case "isCIDR":
      case "quantity":
      case "isQuantity":
      case "semver":
      case "isSemver":
        return { cost: linear(size(0)) };
      case "ip.isCanonical":
        return { cost: linear(size(0), 2) };
      case "containsIP":
        return { cost: plus(scaled(32, traversal), isText(first) ? linear(size(0)) : 0) };
      case "containsCIDR":
        return { cost: plus(scaled(32, traversal), scaled(16, traversal), 1, isText(first) ? linear(size(0)) : 0) };
      case "validate":
        return { cost: scaled(linear(size(0)), formatPattern * patternLength) };
      case "bytes":
        return isText(first)
          ? { cost: linear(size(0)), size: { least: size(0).least, most: size(0).most * 4 } }
          : { cost: 1 };
      case "string":
        return first !== undefined && typeOf(first).kind === "bytes"
          ? { cost: linear(size(0)), size: size(0) }
          : { cost: 1 };
      case "sets.contains":
      case "sets.intersects":
      case "sets.equivalent": {
        const factor = name === "sets.equivalent" ? 2 : 1;
        return { cost: plus(1, scaled(sizeProduct(size(0), size(1)).most, factor)) };
      }
      case "slice": {
        const length = Math.max(0, (integerOf(second) ?? own.most) - (integerOf(first) ?? 0));
        return allocating(fixed(length), 1);
      }
      case "lists.range":
        return allocating(fixed(integerOf(first) ?? limit), 1);
      case "reverse":
        return target !== undefined && typeOf(target).kind === "list" ? allocating(own, 1) : { cost: 1 };
      case "flatten":
        return allocating(own, first === undefined ? 1 : (integerOf(first) ?? limit));
      case "distinct":
        return allocating(sizeProduct(own, own), 2);
      case "sort": {
        const type = target === undefined ? undefined : typeOf(target);
        const texts = type?.kind === "list" && ["string", "bytes"].includes(resolved(type.of).kind);
        return allocating(sizeProduct(own, own), texts ? 2 + traversal : 2);
      }
    }
    return { cost: 1 };
  }

  function elementSize(list: Expression): Size {
    const path = pathOf(list);
    return (path.length === 0 ? undefined : boundsAt([...path, "@items"])) ?? unknownSize;
  }

  function isText(expression: Expression | undefined): boolean {
    return expression !== undefined && typeOf(expression).kind === "string";
  }

  function mayBe(args: readonly Expression[], kinds: readonly Type["kind"][]): boolean {
    return args.every((each) => [...kinds, "dyn", "variable"].includes(typeOf(each).kind));
  }

  function costOfFold(expression: FoldExpression): number {
    const { macro, range, variables, filter, result } = expression;
    const before = cost(range);
    const count = sizeOrUnknown(range);
    const inner = within(iterated(range, variables), () => {
      const tested = filter === undefined ? 0 : cost(filter);
      const made = result === undefined ? 1 : cost(result);
      return { tested, made, size: result === undefined ? elementOf(range, variables) : sizeOrUnknown(result) };
    });
    const { tested, made } = inner;
    const listOfMade = (): void => {
      sizes.set(expression, count);
      keepEntries(expression, { kind: "list", key: one, value: union(nothing, inner.size) });
    };
    const perhaps = (step: number): number => (filter === undefined ? step : plus(tested, Math.max(step, 1)));
    switch (macro) {
      case "all":
        sizes.set(expression, one);
        return plus(before, times(count.most, plus(2, 1, tested)), 1);
      case "exists":
        sizes.set(expression, one);
        return plus(before, times(count.most, plus(3, 1, tested)), 1);
      case "existsOne":
        sizes.set(expression, one);
        return plus(before, times(count.most, plus(tested, 2)), 2);
      case "map":
      case "filter":
        listOfMade();
        return plus(before, listBase, times(count.most, perhaps(plus(1, 1, listBase, made))), 1);
      case "transformMap":
      case "transformMapEntry":
        sizes.set(expression, count);
        return plus(before, mapBase, times(count.most, perhaps(plus(1, 1, 1, made))), 1);
      case "sortBy": {
        sizes.set(expression, sizeProduct(count, count));
        // bind(input, range, input.@sortByAssociatedKeys(input.map(x, key)))
        const keys = plus(1, listBase, times(count.most, plus(1, 1, listBase, made)), 1);
        const isText = result !== undefined && ["string", "bytes"].includes(typeOf(result).kind);
        const sorted = allocating(sizeProduct(count, count), isText ? 2 + traversal : 2);
        return plus(before, listBase, 1, keys, sorted.cost);
      }
    }
  }

  function elementOf(range: Expression, variables: readonly string[]): Size {
    const type = typeOf(range);
    const known = boundsAt([...pathOf(range), type.kind === "list" ? "@items" : "@keys"]);
    const isOne = (type.kind === "list" && isScalar(type.of)) || (type.kind === "map" && isScalar(type.key));
    return known ?? (isOne ? one : locals.findLast(({ name }) => name === variables.at(-1))?.size) ?? unknownSize;
  }

  function iterated(range: Expression, variables: readonly string[]): readonly Local[] {
    const made = entries(range);
    const isList = (made?.kind ?? typeOf(range).kind) === "list";
    const path = pathOf(range);
    const value = { path: [...path, isList ? "@items" : "@values"], size: made?.value, entries: undefined };
    const key = { path: [...path, isList ? "@indices" : "@keys"], size: made?.key, entries: undefined };
    const [first = "", second] = variables;
    if (second === undefined) return [{ name: first, ...(isList ? value : key) }];
    return [
      { name: first, ...key },
      { name: second, ...value },
    ];
  }

  return cost;
}

function joinSizes(before: Size | undefined, next: Size): Size {
  return before === undefined ? next : union(before, next);
}

/** What stands there as a text, a number, a list. */
function ownSize(expression: Expression): Size | undefined {
  if (expression.kind === "list") return fixed(expression.elements.length);
  if (expression.kind === "map") return fixed(expression.entries.length);
  if (expression.kind !== "literal") return undefined;
  const { value } = expression;
  if (value.type === "string") return fixed(Array.from(value.value).length);
  return fixed(value.type === "bytes" ? value.value.length : 1);
}

function integerOf(expression: Expression | undefined): number | undefined {
  return expression?.kind === "literal" && expression.value.type === "int" ? Number(expression.value.value) : undefined;
}

function matchCost(text: Size, pattern: Size): number {
  return times(scaled(plus(text.most, 1), traversal), scaled(pattern.most, patternLength));
}

function allocating(size: Size, factor: number): CallCost {
  return { cost: plus(scaled(size.most, factor), 1, listBase), size };
}

function replacedSize(of: Size, from: Size, to: Size): Size {
  const count = (length: number, part: number, isGrowing: boolean): readonly [count: number, kept: number] => {
    if (part === 0) return [plus(length, 1), length];
    return isGrowing ? [Math.ceil(length / part), 0] : [0, length];
  };
  const [most, mostKept] = count(of.most, from.least, to.most > from.least);
  const [least, leastKept] = count(of.least, from.most, from.most > to.least);
  return { least: plus(times(least, to.least), leastKept), most: plus(times(most, to.most), mostKept) };
}

/** Opaque values are compared at once; formats by their names, addresses of the web as texts of an unknown length are. */
function costOfEqual(left: Type, right: Type): number | undefined {
  if (left.kind !== "opaque" || typeText(left) !== typeText(right)) return undefined;
  return left.name.endsWith("Format") ? scaled(64, traversal) : 1;
}

// apiserver pkg/cel/format.go MaxNameFormatRegexSize
const formatPattern = 128;

const ofOne = new Set(
  (
    "serviceAccount path group resource subresource namespace name allowed reason error errored masked prefixLength family isUnspecified " +
    "isLoopback isLinkLocalMulticast isLinkLocalUnicast isGlobalUnicast format.named sign asInteger isInteger asApproximateFloat " +
    "isGreaterThan isLessThan compareTo add sub major minor patch getScheme getHostname getHost getPort getEscapedPath getQuery"
  ).split(" "),
);
