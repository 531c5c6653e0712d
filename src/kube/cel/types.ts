// Types of the expression language: what can be said of a value before there is one.
//
// Not here: values (values.ts), which functions there are (library.ts and those it collects).

export type Type =
  | { readonly kind: Simple }
  | {
      readonly kind: "list";
      readonly of: Type;
      /** x-kubernetes-list-type: how two are compared and joined. */ readonly merge?: ListMerge;
    }
  | { readonly kind: "map"; readonly key: Type; readonly value: Type }
  | { readonly kind: "optional"; readonly of: Type }
  | { readonly kind: "type"; readonly of: Type }
  /** A type of a library: `kubernetes.Quantity`. */
  | { readonly kind: "opaque"; readonly name: string }
  /** An object whose fields are known, by the names that expressions have for them (escape.ts). */
  | { readonly kind: "object"; readonly name: string; readonly fields: ReadonlyMap<string, Field> }
  /** Stands for any type, the same one in all of a signature. */
  | { readonly kind: "parameter"; readonly name: string }
  | TypeVariable;

type Simple = "dyn" | "bool" | "int" | "uint" | "double" | "string" | "bytes" | "null" | "timestamp" | "duration";

export interface Field {
  readonly type: Type;
  /** As the object itself names it. */
  readonly property: string;
}

export type ListMerge = { readonly kind: "set" } | { readonly kind: "map"; readonly keys: readonly string[] };

/** A parameter while it is being found out. */
export interface TypeVariable {
  readonly kind: "variable";
  bound: Type | undefined;
}

export const dyn: Type = { kind: "dyn" };
export const bool: Type = { kind: "bool" };
export const int: Type = { kind: "int" };
export const uint: Type = { kind: "uint" };
export const double: Type = { kind: "double" };
export const string: Type = { kind: "string" };
export const bytes: Type = { kind: "bytes" };
export const nullType: Type = { kind: "null" };
export const timestamp: Type = { kind: "timestamp" };
export const duration: Type = { kind: "duration" };

export function listOf(of: Type): Type {
  return { kind: "list", of };
}

export function mapOf(key: Type, value: Type): Type {
  return { kind: "map", key, value };
}

/** What a variable has turned out to be, as far as that is known. */
export function resolved(type: Type): Type {
  let now = type;
  while (now.kind === "variable" && now.bound !== undefined) now = now.bound;
  return now;
}

/** As cel-go writes it: `map(string, int)`, `optional_type(string)`; what was never found out is dyn. */
export function typeText(given: Type): string {
  const type = resolved(given);
  switch (type.kind) {
    case "list":
      return `list(${typeText(type.of)})`;
    case "map":
      return `map(${typeText(type.key)}, ${typeText(type.value)})`;
    case "optional":
      return `optional_type(${typeText(type.of)})`;
    case "type":
      return `type(${typeText(type.of)})`;
    case "opaque":
    case "object":
    case "parameter":
      return type.name;
    case "variable":
      return "dyn";
    case "dyn":
    case "timestamp":
    case "duration":
    case "bool":
    case "int":
    case "uint":
    case "double":
    case "string":
    case "bytes":
    case "null":
      return type.kind;
  }
}

/** Can a value of the one type stand where the other is wanted? Variables are bound on the way (cel-go checker/types.go isAssignable). */
export function isAssignable(wanted: Type, given: Type): boolean {
  const a = resolved(wanted);
  const b = resolved(given);
  if (a === b || a.kind === "dyn" || b.kind === "dyn") return true;
  if (a.kind === "variable") return bind(a, b);
  if (b.kind === "variable") return bind(b, a);
  if (b.kind === "null") return isNullable(a);
  if (a.kind === "null") return isNullable(b);
  switch (a.kind) {
    case "list":
      return b.kind === "list" && isAssignable(a.of, b.of);
    case "map":
      return b.kind === "map" && isAssignable(a.key, b.key) && isAssignable(a.value, b.value);
    case "optional":
      return b.kind === "optional" && isAssignable(a.of, b.of);
    case "type":
      return b.kind === "type";
    case "opaque":
    case "object":
    case "parameter":
      return b.kind === a.kind && b.name === a.name;
    case "bool":
    case "int":
    case "uint":
    case "double":
    case "string":
    case "bytes":
    case "timestamp":
    case "duration":
      return b.kind === a.kind;
  }
}

function bind(variable: TypeVariable, to: Type): boolean {
  if (mentions(to, variable)) return false;
  variable.bound = to;
  return true;
}

function mentions(given: Type, variable: TypeVariable): boolean {
  const type = resolved(given);
  if (type === variable) return true;
  if (type.kind === "list" || type.kind === "optional" || type.kind === "type") return mentions(type.of, variable);
  return type.kind === "map" && (mentions(type.key, variable) || mentions(type.value, variable));
}

function isNullable({ kind }: Type): boolean {
  return ["null", "object", "opaque", "optional", "timestamp", "duration"].includes(kind);
}

/** The type with variables in the place of parameters. */
export function instantiated(type: Type, variables: Map<string, TypeVariable>): Type {
  switch (type.kind) {
    case "parameter": {
      const known = variables.get(type.name) ?? { kind: "variable", bound: undefined };
      variables.set(type.name, known);
      return known;
    }
    case "list":
      return { kind: "list", of: instantiated(type.of, variables) };
    case "optional":
      return { kind: "optional", of: instantiated(type.of, variables) };
    case "type":
      return { kind: "type", of: instantiated(type.of, variables) };
    case "map":
      return { kind: "map", key: instantiated(type.key, variables), value: instantiated(type.value, variables) };
    case "dyn":
    case "bool":
    case "int":
    case "uint":
    case "double":
    case "string":
    case "bytes":
    case "null":
    case "timestamp":
    case "duration":
    case "opaque":
    case "object":
    case "variable":
      return type;
  }
}

/** A type as signatures write it: `list<A>`, `map<string, dyn>`, `kubernetes.Quantity`; one capital letter is a parameter. */
export function parseType(text: string): Type {
  const generic = /^(list|map|optional|type)<(.*)>$/.exec(text);
  if (generic !== null) {
    const [key = "", value = ""] = splitTop(generic[2] ?? "");
    switch (generic[1] ?? "") {
      case "list":
        return listOf(parseType(key));
      case "map":
        return mapOf(parseType(key), parseType(value));
      case "optional":
        return { kind: "optional", of: parseType(key) };
      default:
        return { kind: "type", of: parseType(key) };
    }
  }
  if (/^[A-Z]$/.test(text)) return { kind: "parameter", name: text };
  return simple[text] ?? { kind: "opaque", name: text };
}

const simple: { readonly [name: string]: Type | undefined } = {
  dyn,
  bool,
  int,
  uint,
  double,
  string,
  bytes,
  null: nullType,
  timestamp,
  duration,
};

/** Parts between commas that are in no brackets. */
export function splitTop(text: string): readonly string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    const letter = text[i];
    if (letter === "<") depth++;
    if (letter === ">") depth--;
    if (i < text.length && (letter !== "," || depth > 0)) continue;
    const part = text.slice(start, i).trim();
    if (part !== "") parts.push(part);
    start = i + 1;
  }
  return parts;
}
