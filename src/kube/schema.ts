// The schema table: which fields the types of the API have, how they are checked, and how lists of them are merged.
// The facts are generated (schema/types.json, scripts/generate-schemas.ts); types are read on first use, so that loading costs nothing.
//
// Not here: checking (structure.ts, validate.ts), defaults (defaults.ts), merging (merge.ts). CEL rules of CRDs are not in the table.

import typeRows from "./schema/types.json" with { type: "json" };

/** A named type: an object with fields. */
export interface TypeSchema {
  /** `core.v1.ServicePort`. */
  readonly name: string;
  readonly fields: ReadonlyMap<string, FieldSchema>;
  /** Server-side apply owns and replaces it as a whole. */
  readonly atomic: boolean;
}

export interface FieldSchema {
  readonly name: string;
  readonly required: boolean;
  /** Held by value in Go's types: there in every object, as the zero value where nobody said anything. */
  readonly written: boolean;
  readonly type: ValueType;
  /** What absence means; undefined where it means the zero value or nothing. */
  readonly default: unknown;
  /** The values allowed; those of the elements where the type is a list. */
  readonly values: readonly string[] | undefined;
  /** How server-side apply takes a list apart. */
  readonly list: "atomic" | "set" | "map";
  /** The fields that tell elements of a `map` list apart. */
  readonly listKeys: readonly string[];
  /** Strategic merge patch: `merge`, `retainKeys`, `replace`, or none. */
  readonly patchStrategies: readonly string[];
  /** Strategic merge patch: the field that tells elements apart. */
  readonly patchMergeKey: string | undefined;
  readonly atomic: boolean;
  /** Of CRDs' schemas only: for the value itself, and for the elements of a list or map. */
  readonly constraints: Constraints;
  readonly elementConstraints: Constraints;
}

export interface Constraints {
  readonly min?: number;
  readonly max?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minFields?: number;
  readonly maxFields?: number;
  readonly pattern?: string;
}

/** The type of a value. `byte` is base64 text, `quantity` and `int-or-string` are numbers or text, `any` is any JSON. */
export type ValueType =
  | { readonly kind: "scalar"; readonly scalar: Scalar }
  | { readonly kind: "list"; readonly of: ValueType }
  | { readonly kind: "map"; readonly of: ValueType }
  | { readonly kind: "object"; readonly type: string };

export type Scalar = (typeof scalars)[number];

const scalars = [
  "string",
  "bool",
  "int32",
  "int64",
  "number",
  "byte",
  "date-time",
  "int-or-string",
  "quantity",
  "any",
] as const;

/** Names of types, and kinds as `apps/v1/Deployment`, with the line where the type begins. */
let index: { readonly starts: ReadonlyMap<string, number>; readonly kinds: ReadonlyMap<string, string> } | undefined;
const types = new Map<string, TypeSchema>();
/** Types of kinds by apiVersion and kind, as far as they were asked for: every step of a write asks. */
const ofKinds = new Map<string, Map<string, TypeSchema>>();

/** The schema of an object's apiVersion and kind; undefined where the table has none (custom resources made at run time). */
export function schemaOf(apiVersion: string, kind: string): TypeSchema | undefined {
  let kinds = ofKinds.get(apiVersion);
  if (kinds?.has(kind) === true) return kinds.get(kind);
  const name = readIndex().kinds.get(`${apiVersion}/${kind}`);
  if (name === undefined) return undefined;
  if (kinds === undefined) ofKinds.set(apiVersion, (kinds = new Map()));
  const type = typeNamed(name);
  kinds.set(kind, type);
  return type;
}

/** The type of a name that another type refers to. Throws where there is none: the table refers to its own types only. */
export function typeNamed(name: string): TypeSchema {
  const known = types.get(name);
  if (known !== undefined) return known;
  const start = readIndex().starts.get(name);
  if (start === undefined) throw new Error(`the schema table has no type ${name}`);
  const type = parseType(name, start);
  types.set(name, type);
  return type;
}

/** The names of all types. */
export function typeNames(): readonly string[] {
  return [...readIndex().starts.keys()];
}

function readIndex(): NonNullable<typeof index> {
  if (index !== undefined) return index;
  const starts = new Map<string, number>();
  const kinds = new Map<string, string>();
  for (const [line, row] of typeRows.entries()) {
    if (!row.startsWith("@")) continue;
    const [name = "", ...words] = row.slice(1).split(" ");
    starts.set(name, line);
    for (const word of words) if (word !== "atomic") kinds.set(word, name);
  }
  return (index = { starts, kinds });
}

function parseType(name: string, start: number): TypeSchema {
  const packageName = name.slice(0, name.lastIndexOf("."));
  const fields = new Map<string, FieldSchema>();
  for (let line = start + 1; line < typeRows.length; line++) {
    const row = typeRows[line];
    if (row === undefined || row.startsWith("@")) break;
    const field = parseField(row, packageName);
    fields.set(field.name, field);
  }
  return { name, fields, atomic: typeRows[start]?.endsWith(" atomic") ?? false };
}

function parseField(line: string, packageName: string): FieldSchema {
  const [nameWord = "", typeWord = "", ...words] = line.split(" ");
  const [, name = "", required = "", written = ""] = /^([^!~]*)(!?)(~?)$/.exec(nameWord) ?? [];
  const constraints: { [name: string]: unknown } = {};
  const elementConstraints: { [name: string]: unknown } = {};
  let field: FieldSchema = {
    name,
    required: required !== "",
    written: written !== "",
    type: parseValueType(typeWord, packageName),
    default: undefined,
    values: undefined,
    list: "atomic",
    listKeys: [],
    patchStrategies: [],
    patchMergeKey: undefined,
    atomic: false,
    constraints,
    elementConstraints,
  };
  for (const word of words) {
    const equals = word.indexOf("=");
    const [key, value] = equals < 0 ? [word, ""] : [word.slice(0, equals), word.slice(equals + 1)];
    if (key === "") field = { ...field, default: JSON.parse(value) as unknown };
    else if (key === "enum") field = { ...field, values: JSON.parse(value) as string[] };
    else if (key === "atomic") field = { ...field, atomic: true };
    else if (key === "list") field = { ...field, ...parseList(value) };
    else if (key === "patch") field = { ...field, ...parsePatch(value) };
    else if (key.startsWith("each.")) elementConstraints[key.slice("each.".length)] = JSON.parse(value);
    else constraints[key] = JSON.parse(value);
  }
  return field;
}

/** `set`, `map:port,protocol`. */
function parseList(text: string): Pick<FieldSchema, "list" | "listKeys"> {
  return text === "set"
    ? { list: "set", listKeys: [] }
    : { list: "map", listKeys: text.slice("map:".length).split(",") };
}

/** `merge:port`, `merge`, `merge,retainKeys:name`. */
function parsePatch(text: string): Pick<FieldSchema, "patchStrategies" | "patchMergeKey"> {
  const [strategies = "", patchMergeKey] = text.split(":");
  return { patchStrategies: strategies.split(","), patchMergeKey };
}

function parseValueType(text: string, packageName: string): ValueType {
  if (text.startsWith("[]")) return { kind: "list", of: parseValueType(text.slice(2), packageName) };
  if (text.startsWith("{}")) return { kind: "map", of: parseValueType(text.slice(2), packageName) };
  if (text.startsWith(".")) return { kind: "object", type: packageName + text };
  if (isScalar(text)) return { kind: "scalar", scalar: text };
  return { kind: "object", type: text };
}

function isScalar(text: string): text is Scalar {
  return (scalars as readonly string[]).includes(text);
}
