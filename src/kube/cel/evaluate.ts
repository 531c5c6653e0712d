// Evaluates checked expressions: each part becomes a function once, and costs what cel-go's cost tracker counts for it, so that no
// expression takes longer than it may (apiserver apis/cel/config.go).
//
// Not here: functions (library.ts), types (check.ts).

import type { Checked } from "./check.ts";
import { EvaluationError, type Meter, type Overload } from "./environment.ts";
import type { Expression } from "./syntax.ts";
import { resolved, type Type } from "./types.ts";
import {
  CelMap,
  CelObject,
  compare,
  Duration,
  equals,
  isList,
  mergeKey,
  mergeOf,
  mergingList,
  Opaque,
  Optional,
  sizeOfText,
  stringOf,
  Timestamp,
  typeName,
  TypeValue,
  Uint,
  type Value,
} from "./values.ts";

/** Gives a variable's value; undefined where it has none. */
export type Activation = (name: string) => Value | undefined;

/** An expression ready to be evaluated. Throws EvaluationError, CostError. */
export type Program = (activation: Activation, meter: Meter) => Value;

/** Thrown where an evaluation costs more than it may. */
export class CostError extends Error {
  override readonly name = "CostError";
  constructor() {
    super("operation cancelled: actual cost limit exceeded");
  }
}

/** A meter that throws behind a limit. */
export function createMeter(limit: number): Meter & { readonly spent: number } {
  let spent = 0;
  return {
    get spent() {
      return spent;
    },
    charge(units) {
      spent += units;
      if (spent > limit) throw new CostError();
    },
  };
}

/** Makes a program of a checked expression. `construct` makes the values of message literals. */
export function programOf(
  checked: Checked,
  construct?: (type: string, fields: ReadonlyMap<string, Value>) => Value,
): Program {
  const step = compile(checked.expression, { checked, construct });
  return (activation, meter) => step({ activation, meter, locals: undefined });
}

interface Frame {
  readonly activation: Activation;
  readonly meter: Meter;
  readonly locals: Locals | undefined;
}

interface Locals {
  readonly name: string;
  value: Value;
  readonly outer: Locals | undefined;
}

type Step = (frame: Frame) => Value;

interface Compiling {
  readonly checked: Checked;
  readonly construct: ((type: string, fields: ReadonlyMap<string, Value>) => Value) | undefined;
}

function noOverload(): EvaluationError {
  return new EvaluationError("no such overload");
}

function compile(expression: Expression, context: Compiling): Step {
  const typed = context.checked.names.get(expression);
  if (typed !== undefined) {
    const value = new TypeValue(typed);
    return () => value;
  }
  const qualified = context.checked.qualified.get(expression);
  if (qualified !== undefined)
    return ({ activation }) => {
      const value = activation(qualified);
      if (value === undefined) throw new EvaluationError(`no such attribute(s): ${qualified}`);
      return value;
    };
  switch (expression.kind) {
    case "literal": {
      const { value } = expression;
      const constant: Value =
        value.type === "null" ? null : value.type === "uint" ? new Uint(value.value) : value.value;
      return () => constant;
    }
    case "name": {
      const { name } = expression;
      return ({ activation, meter, locals }) => {
        meter.charge(1);
        for (let local = locals; local !== undefined; local = local.outer) if (local.name === name) return local.value;
        const value = activation(name);
        if (value === undefined) throw new EvaluationError(`no such attribute(s): ${name}`);
        return value;
      };
    }
    case "select": {
      const of = compile(expression.of, context);
      const { field, optional } = expression;
      return (frame) => {
        const from = of(frame);
        frame.meter.charge(1);
        if (optional || from instanceof Optional) return optionalField(from, field);
        const value = fieldOf(from, field);
        if (value === undefined) throw new EvaluationError(`no such key: ${field}`);
        return value;
      };
    }
    case "has": {
      const of = compile(expression.of, context);
      const { field } = expression;
      return (frame) => {
        const from = of(frame);
        const inner = from instanceof Optional ? from.value : from;
        return inner !== undefined && fieldOf(inner, field) !== undefined;
      };
    }
    case "call":
      return compileCall(expression, context);
    case "list": {
      const elements = expression.elements.map(({ value, optional }) => ({ step: compile(value, context), optional }));
      return (frame) => {
        frame.meter.charge(10);
        return elements.flatMap(({ step, optional }) => given(step(frame), optional));
      };
    }
    case "map": {
      const entries = expression.entries.map(({ key, value, optional }) => ({
        key: compile(key, context),
        value: compile(value, context),
        optional,
      }));
      return (frame) => {
        frame.meter.charge(30);
        const seen = new CelMap([]);
        const made = entries.flatMap(({ key, value, optional }) => {
          const name = key(frame);
          return given(value(frame), optional).map((each) => [name, each] as const);
        });
        const map = new CelMap([...seen.entries(), ...made]);
        if (map.size < made.length) throw new EvaluationError("duplicate key in map");
        return map;
      };
    }
    case "message": {
      const fields = expression.fields.map(({ name, value, optional }) => ({
        name,
        step: compile(value, context),
        optional,
      }));
      const { type } = expression;
      return (frame) => {
        frame.meter.charge(40);
        const values = new Map(
          fields.flatMap(({ name, step, optional }) =>
            given(step(frame), optional).map((each) => [name, each] as const),
          ),
        );
        if (context.construct === undefined) throw noOverload();
        return context.construct(type, values);
      };
    }
    case "fold":
      return compileFold(expression, context);
    case "optMap": {
      const of = compile(expression.of, context);
      const result = compile(expression.result, context);
      const { variable, flat } = expression;
      return (frame) => {
        const optional = of(frame);
        if (!(optional instanceof Optional)) throw noOverload();
        if (optional.value === undefined) return optional;
        const value = result({ ...frame, locals: { name: variable, value: optional.value, outer: frame.locals } });
        return flat ? value : new Optional(value);
      };
    }
  }
}

/** An element as it stands, or what an optional one holds. */
function given(value: Value, optional: boolean): readonly Value[] {
  if (!optional) return [value];
  if (!(value instanceof Optional)) throw noOverload();
  return value.value === undefined ? [] : [value.value];
}

function fieldOf(from: Value, field: string): Value | undefined {
  if (from instanceof CelObject) {
    if (!from.knows(field)) throw new EvaluationError(`no such key: ${field}`);
    return from.get(field);
  }
  if (from instanceof CelMap) return from.get(field);
  throw noOverload();
}

function optionalField(from: Value, field: string): Value {
  const inner = from instanceof Optional ? from.value : from;
  return new Optional(inner === undefined ? undefined : fieldOf(inner, field));
}

type Call = Extract<Expression, { kind: "call" }>;

function compileCall(expression: Call, context: Compiling): Step {
  const { function: name, receiver } = expression;
  const steps = [
    ...(receiver === undefined || context.checked.names.has(receiver) ? [] : [receiver]),
    ...expression.args,
  ].map((each) => compile(each, context));
  const [a, b, c] = steps;
  if (receiver === undefined && a !== undefined) {
    if (name === "_&&_" && b !== undefined) return (frame) => logical(a, b, frame, false);
    if (name === "_||_" && b !== undefined) return (frame) => logical(a, b, frame, true);
    if (name === "_?_:_" && b !== undefined && c !== undefined)
      return (frame) => {
        const condition = a(frame);
        if (typeof condition !== "boolean") throw noOverload();
        return condition ? b(frame) : c(frame);
      };
    const unary = b === undefined ? unaries[name] : undefined;
    if (unary !== undefined)
      return (frame) => {
        const value = a(frame);
        frame.meter.charge(1);
        return unary(value);
      };
    const binary = b === undefined ? undefined : binaries[name];
    if (binary !== undefined && b !== undefined)
      return (frame) => {
        const left = a(frame);
        const right = b(frame);
        frame.meter.charge(costOf(name, left, right));
        return binary(left, right);
      };
  }
  const overloads = context.checked.overloads.get(expression) ?? [];
  return (frame) => {
    const args = steps.map((each) => each(frame));
    frame.meter.charge(1);
    const overload =
      overloads.length === 1 && overloads[0] !== undefined && isSure(overloads[0], args)
        ? overloads[0]
        : overloads.find((each) => isSure(each, args));
    if (overload === undefined) throw noOverload();
    return overload.run(args, frame.meter);
  };
}

/** Does an overload take these values? */
function isSure({ parameters }: Overload, args: readonly Value[]): boolean {
  return parameters.every((parameter, index) => takes(parameter, args[index] ?? null));
}

function takes(given: Type, value: Value): boolean {
  const type = resolved(given);
  switch (type.kind) {
    case "dyn":
    case "parameter":
    case "variable":
      return true;
    case "bool":
      return typeof value === "boolean";
    case "int":
      return typeof value === "bigint";
    case "uint":
      return value instanceof Uint;
    case "double":
      return typeof value === "number";
    case "string":
      return typeof value === "string";
    case "bytes":
      return value instanceof Uint8Array;
    case "null":
      return value === null;
    case "timestamp":
      return value instanceof Timestamp;
    case "duration":
      return value instanceof Duration;
    case "list":
      // Lists hold what they hold: the first element tells of all of them.
      return isList(value) && (value[0] === undefined || takes(type.of, value[0]));
    case "map":
      return value instanceof CelMap;
    case "optional":
      return value instanceof Optional;
    case "type":
      return value instanceof TypeValue;
    case "opaque":
      return value instanceof Opaque && value.type === type.name;
    case "object":
      return value instanceof CelObject;
  }
}

/** An error on one side is forgiven where the other side decides (cel-spec "Logical Operators"). */
function logical(a: Step, b: Step, frame: Frame, decisive: boolean): Value {
  let failure: unknown;
  let left: Value | undefined;
  try {
    left = a(frame);
    if (left === decisive) return decisive;
  } catch (error) {
    if (!(error instanceof EvaluationError)) throw error;
    failure = error;
  }
  frame.meter.charge(1);
  let right: Value | undefined;
  try {
    right = b(frame);
    if (right === decisive) return decisive;
  } catch (error) {
    if (!(error instanceof EvaluationError)) throw error;
    failure ??= error;
  }
  if (failure !== undefined) throw failure;
  if (typeof left !== "boolean" || typeof right !== "boolean") throw noOverload();
  return !decisive;
}

/** cel-go interpreter/runtimecost.go: a tenth of what has to be looked at. */
function costOf(name: string, a: Value, b: Value): number {
  switch (name) {
    case "@in":
      return isList(b) ? Math.max(1, b.length) : 1;
    case "_+_":
      return Math.max(1, Math.ceil((traversal(a) + traversal(b)) * 0.1));
    case "_==_":
    case "_!=_":
    case "_<_":
    case "_<=_":
    case "_>_":
    case "_>=_":
      return Math.max(1, Math.ceil(Math.min(traversal(a), traversal(b)) * 0.1));
    default:
      return 1;
  }
}

function traversal(value: Value): number {
  if (typeof value === "string" || value instanceof Uint8Array || isList(value)) return value.length;
  return value instanceof CelMap ? value.size : 1;
}

const intMin = -(2n ** 63n);
const intMax = 2n ** 63n - 1n;

/** Throws EvaluationError where a number does not fit 64 bits. */
export function checkedInt(value: bigint): bigint {
  if (value < intMin || value > intMax) throw new EvaluationError("integer overflow");
  return value;
}

/** Throws EvaluationError where a number does not fit 64 bits without a sign. */
export function checkedUint(value: bigint): Uint {
  if (value < 0n || value >= 2n ** 64n) throw new EvaluationError("unsigned integer overflow");
  return new Uint(value);
}

/** Throws EvaluationError where it is no duration that Go has. */
export function checkedDuration(nanos: bigint): Duration {
  if (nanos < intMin || nanos > intMax) throw new EvaluationError("integer overflow");
  return new Duration(nanos);
}

/** Throws EvaluationError outside of the years 1 to 9999. */
export function checkedTimestamp(nanos: bigint): Timestamp {
  if (nanos < -62135596800_000_000_000n || nanos > 253402300799_999_999_999n)
    throw new EvaluationError("timestamp overflow");
  return new Timestamp(nanos);
}

const unaries: { readonly [name: string]: ((value: Value) => Value) | undefined } = {
  "!_": (value) => {
    if (typeof value !== "boolean") throw noOverload();
    return !value;
  },
  "-_": (value) => {
    if (typeof value === "bigint") return checkedInt(-value);
    if (typeof value === "number") return -value;
    if (value instanceof Duration) return checkedDuration(-value.nanos);
    throw noOverload();
  },
};

const binaries: { readonly [name: string]: ((a: Value, b: Value) => Value) | undefined } = {
  "_==_": (a, b) => equals(a, b),
  "_!=_": (a, b) => !equals(a, b),
  "_<_": ordered((order) => order < 0),
  "_<=_": ordered((order) => order <= 0),
  "_>_": ordered((order) => order > 0),
  "_>=_": ordered((order) => order >= 0),
  "_+_": plus,
  "_-_": minus,
  "_*_": arithmetic(
    (a, b) => a * b,
    (a, b) => a * b,
  ),
  "_/_": arithmetic(
    (a, b) => {
      if (b === 0n) throw new EvaluationError("division by zero");
      return a / b;
    },
    (a, b) => a / b,
  ),
  "_%_": arithmetic((a, b) => {
    if (b === 0n) throw new EvaluationError("modulus by zero");
    return a % b;
  }),
  "@in": (a, b) => {
    if (isList(b)) return b.some((each) => equals(a, each));
    if (b instanceof CelMap) return b.has(a);
    if (b instanceof CelObject && typeof a === "string") return b.knows(a) && b.get(a) !== undefined;
    throw noOverload();
  },
  "_[_]": (from, key) => {
    if (from instanceof Optional) return from.value === undefined ? from : elementOptional(from.value, key);
    return elementOf(from, key);
  },
  "_[?_]": (from, key) => {
    const inner = from instanceof Optional ? from.value : from;
    return inner === undefined ? new Optional(undefined) : elementOptional(inner, key);
  },
};

function ordered(holds: (order: number) => boolean): (a: Value, b: Value) => Value {
  return (a, b) => {
    const order = compare(a, b);
    if (order !== undefined) return holds(order);
    if (Number.isNaN(a) || Number.isNaN(b)) return false;
    throw noOverload();
  };
}

function arithmetic(
  whole: (a: bigint, b: bigint) => bigint,
  real?: (a: number, b: number) => number,
): (a: Value, b: Value) => Value {
  return (a, b) => {
    if (typeof a === "bigint" && typeof b === "bigint") return checkedInt(whole(a, b));
    if (a instanceof Uint && b instanceof Uint) return checkedUint(whole(a.value, b.value));
    if (real !== undefined && typeof a === "number" && typeof b === "number") return real(a, b);
    throw noOverload();
  };
}

const sum = arithmetic(
  (a, b) => a + b,
  (a, b) => a + b,
);
const difference = arithmetic(
  (a, b) => a - b,
  (a, b) => a - b,
);

function plus(a: Value, b: Value): Value {
  if (typeof a === "string" && typeof b === "string") return a + b;
  if (isList(a) && isList(b)) return joinedLists(a, b);
  if (a instanceof Duration && b instanceof Duration) return checkedDuration(a.nanos + b.nanos);
  if (a instanceof Timestamp && b instanceof Duration) return checkedTimestamp(a.nanos + b.nanos);
  if (a instanceof Duration && b instanceof Timestamp) return checkedTimestamp(a.nanos + b.nanos);
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Uint8Array.from([...a, ...b]);
  return sum(a, b);
}

/** Lists of sets and maps are merged: what is there already stays where it is (apiserver cel/common/values.go). */
function joinedLists(a: readonly Value[], b: readonly Value[]): readonly Value[] {
  const merge = mergeOf(a) ?? mergeOf(b);
  if (merge === undefined) return [...a, ...b];
  if (merge.kind === "set")
    return mergingList([...a, ...b.filter((each) => !a.some((other) => equals(each, other)))], merge);
  const byKey = new Map(b.map((each) => [mergeKey(each, merge.keys), each]));
  const kept = a.map((each) => {
    const key = mergeKey(each, merge.keys);
    const other = byKey.get(key);
    byKey.delete(key);
    return other ?? each;
  });
  return mergingList([...kept, ...byKey.values()], merge);
}

function minus(a: Value, b: Value): Value {
  if (a instanceof Duration && b instanceof Duration) return checkedDuration(a.nanos - b.nanos);
  if (a instanceof Timestamp && b instanceof Timestamp) return checkedDuration(a.nanos - b.nanos);
  if (a instanceof Timestamp && b instanceof Duration) return checkedTimestamp(a.nanos - b.nanos);
  return difference(a, b);
}

function elementOf(from: Value, key: Value): Value {
  if (isList(from)) {
    const index = indexOf(key);
    const element = from[index];
    if (element === undefined) throw new EvaluationError(`index out of bounds: ${index}`);
    return element;
  }
  if (from instanceof CelMap) {
    const value = from.get(key);
    if (value === undefined) throw new EvaluationError(`no such key: ${stringOf(key) ?? ""}`);
    return value;
  }
  if (from instanceof CelObject && typeof key === "string") {
    const value = fieldOf(from, key);
    if (value === undefined) throw new EvaluationError(`no such key: ${key}`);
    return value;
  }
  throw noOverload();
}

function elementOptional(from: Value, key: Value): Value {
  if (isList(from)) return new Optional(from[indexOf(key)]);
  if (from instanceof CelMap) return new Optional(from.get(key));
  if (from instanceof CelObject && typeof key === "string")
    return new Optional(from.knows(key) ? from.get(key) : undefined);
  throw noOverload();
}

function indexOf(key: Value): number {
  if (typeof key === "bigint") return Number(key);
  if (key instanceof Uint) return Number(key.value);
  if (typeof key === "number" && Number.isInteger(key)) return key;
  throw new EvaluationError(`unsupported index type '${typeName(key)}' in list`);
}

function compileFold(expression: Extract<Expression, { kind: "fold" }>, context: Compiling): Step {
  const { macro, variables } = expression;
  const range = compile(expression.range, context);
  const filter = expression.filter && compile(expression.filter, context);
  const result = expression.result && compile(expression.result, context);
  const [one = "", two] = variables;

  /** Calls for each element with its frame, its index or key, and itself, until told to stop. */
  const walk = (frame: Frame, each: (inner: Frame, key: Value, element: Value) => boolean | void): void => {
    const collection = range(frame);
    const entries = entriesOf(collection, two !== undefined);
    for (const [key, element] of entries) {
      frame.meter.charge(1);
      const outer: Locals = { name: one, value: two === undefined ? element : key, outer: frame.locals };
      const locals = two === undefined ? outer : { name: two, value: element, outer };
      if (each({ ...frame, locals }, key, element) === false) return;
    }
  };
  const passes = (inner: Frame): boolean => {
    if (filter === undefined) return true;
    const value = filter(inner);
    if (typeof value !== "boolean") throw noOverload();
    return value;
  };

  switch (macro) {
    case "all":
    case "exists": {
      const decisive = macro === "exists";
      return (frame) => {
        let failure: EvaluationError | undefined;
        let isDecided = false;
        walk(frame, (inner) => {
          try {
            isDecided = passes(inner) === decisive;
          } catch (error) {
            if (!(error instanceof EvaluationError)) throw error;
            failure ??= error;
          }
          return !isDecided;
        });
        if (!isDecided && failure !== undefined) throw failure;
        return isDecided ? decisive : !decisive;
      };
    }
    case "existsOne":
      return (frame) => {
        let count = 0;
        walk(frame, (inner) => void (count += passes(inner) ? 1 : 0));
        return count === 1;
      };
    case "map":
    case "filter":
      return (frame) => {
        const list: Value[] = [];
        walk(frame, (inner, _, element) => {
          if (passes(inner)) list.push(result === undefined ? element : result(inner));
        });
        return list;
      };
    case "transformMap":
      return (frame) => {
        const entries: (readonly [Value, Value])[] = [];
        walk(frame, (inner, key) => {
          if (passes(inner) && result !== undefined) entries.push([key, result(inner)]);
        });
        return new CelMap(entries);
      };
    case "transformMapEntry":
      return (frame) => {
        const entries: (readonly [Value, Value])[] = [];
        walk(frame, (inner) => {
          if (!passes(inner) || result === undefined) return;
          const entry = result(inner);
          if (!(entry instanceof CelMap)) throw noOverload();
          entries.push(...entry.entries());
        });
        const map = new CelMap(entries);
        if (map.size < entries.length) throw new EvaluationError("insert failed: key already exists");
        return map;
      };
    case "sortBy":
      return (frame) => {
        const keyed: { key: Value; element: Value }[] = [];
        walk(frame, (inner, _, element) => {
          if (result !== undefined) keyed.push({ key: result(inner), element });
        });
        return sortedBy(keyed).map(({ element }) => element);
      };
  }
}

/** Sorted by their keys, which must have an order. */
export function sortedBy<Each extends { readonly key: Value }>(keyed: readonly Each[]): readonly Each[] {
  return [...keyed].sort((a, b) => {
    const order = compare(a.key, b.key);
    if (order === undefined) throw noOverload();
    return order;
  });
}

function entriesOf(collection: Value, both: boolean): Iterable<readonly [Value, Value]> {
  if (isList(collection)) return collection.map((element, index) => [BigInt(index), element] as const);
  if (collection instanceof CelMap)
    return both ? collection.entries() : [...collection.entries()].map(([key]) => [key, key] as const);
  throw noOverload();
}

/** What a text costs to be gone through. */
export function chargeText(meter: Meter, ...texts: readonly string[]): void {
  for (const text of texts) meter.charge(Math.ceil(sizeOfText(text) * 0.1));
}
