// What is wrong with a field, in Kubernetes' words (apimachinery util/validation/field): a field error has a path, a reason, and a
// sentence that begins with the reason: `spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive`.

/** Something wrong with one field of an object. */
export interface FieldProblem {
  /** `spec.ports[0].port`; the empty string for the object itself. */
  readonly field: string;
  /** As in `status.details.causes[].reason` of an answer. */
  readonly reason:
    | "FieldValueInvalid"
    | "FieldValueRequired"
    | "FieldValueDuplicate"
    | "FieldValueNotSupported"
    | "FieldValueForbidden"
    | "FieldValueTooLong"
    | "FieldValueTooMany"
    | "FieldValueTypeInvalid"
    | "FieldValueNotFound"
    | "UnknownField";
  /** `Invalid value: 70000: must be between 1 and 65535, inclusive`. */
  readonly message: string;
}

/** `spec.ports[0].port: Invalid value: …`; an unknown field speaks for itself. */
export function problemText({ field, reason, message }: FieldProblem): string {
  return reason === "UnknownField" || field === "" ? message : `${field}: ${message}`;
}

export function invalid(field: string, value: unknown, detail: string): FieldProblem {
  return { field, reason: "FieldValueInvalid", message: `Invalid value: ${valueText(value)}: ${detail}` };
}

export function required(field: string, detail = ""): FieldProblem {
  return {
    field,
    reason: "FieldValueRequired",
    message: detail === "" ? "Required value" : `Required value: ${detail}`,
  };
}

export function duplicate(field: string, value: unknown): FieldProblem {
  return { field, reason: "FieldValueDuplicate", message: `Duplicate value: ${valueText(value)}` };
}

export function notSupported(field: string, value: unknown, values: readonly string[]): FieldProblem {
  const quoted = [...values].sort(compareText).map((each) => JSON.stringify(each));
  const message = `Unsupported value: ${valueText(value)}: supported values: ${quoted.join(", ")}`;
  return { field, reason: "FieldValueNotSupported", message };
}

export function forbidden(field: string, detail: string): FieldProblem {
  return { field, reason: "FieldValueForbidden", message: `Forbidden: ${detail}` };
}

export function tooLong(field: string, bytesMax: number): FieldProblem {
  return { field, reason: "FieldValueTooLong", message: `Too long: may not be more than ${bytesMax} bytes` };
}

export function tooMany(field: string, count: number, countMax: number): FieldProblem {
  const items = countMax === 1 ? "item" : "items";
  return { field, reason: "FieldValueTooMany", message: `Too many: ${count}: must have at most ${countMax} ${items}` };
}

export function typeInvalid(field: string, value: unknown, type: string): FieldProblem {
  const given = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
  return {
    field,
    reason: "FieldValueTypeInvalid",
    message: `Invalid value: "${given}": ${field} in body must be of type ${type}: "${given}"`,
  };
}

export function unknownField(field: string): FieldProblem {
  return { field, reason: "UnknownField", message: `unknown field "${field}"` };
}

/** `spec` and `ports` make `spec.ports`. */
export function child(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

/** `spec.ports` and 0 make `spec.ports[0]`; a map's key is written the same way. */
export function at(path: string, key: number | string): string {
  return `${path}[${key}]`;
}

/** Text is quoted, everything else is JSON. */
function valueText(value: unknown): string {
  return value === undefined ? "null" : JSON.stringify(value);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
