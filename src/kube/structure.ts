// Does JSON have the structure of its kind? Unknown fields and wrong types are found by walking the schema table, as a strict decoder
// would. This comes first: defaults and rules may then trust the types.
//
// Not here: required fields, values and everything that defaults may still change (validate.ts).

import { remembered } from "./repeated.ts";
import { decodeBase64 } from "./base64.ts";
import { at, child, invalid, typeInvalid, unknownField, type FieldProblem } from "./problem.ts";
import { parseQuantity } from "./quantity.ts";
import { schemaOf, typeNamed, type Scalar, type TypeSchema, type ValueType } from "./schema.ts";

/**
 * What does not fit the kind's schema; empty where all does. Null counts as absent. Kinds that the table does not know have only
 * their metadata checked.
 */
export function structureProblems(object: { readonly apiVersion: string; readonly kind: string }): FieldProblem[] {
  const problems: FieldProblem[] = [];
  const schema = schemaOf(object.apiVersion, object.kind);
  if (schema !== undefined) checkObject(object, schema, "", problems);
  else if ("metadata" in object)
    checkValue(object.metadata, { kind: "object", type: objectMeta }, "metadata", problems);
  return problems;
}

/** As structureProblems, for a part of an object that is of a named type. */
export function partProblems(value: unknown, type: string, path: string): readonly FieldProblem[] {
  const problems: FieldProblem[] = [];
  checkValue(value, { kind: "object", type }, path, problems);
  return problems;
}

const objectMeta = "meta.v1.ObjectMeta";

function checkObject(value: object, type: TypeSchema, path: string, problems: FieldProblem[]): void {
  for (const [name, field] of Object.entries(value)) {
    const schema = type.fields.get(name);
    if (schema === undefined) problems.push(unknownField(child(path, name)));
    else if (path === "" && name === "spec") problems.push(...specProblems(field, schema.type, type.name));
    else if (field !== null && field !== undefined) checkValue(field, schema.type, child(path, name), problems);
  }
}

function specProblems(spec: unknown, type: ValueType, kind: string): readonly FieldProblem[] {
  return remembered(spec, `structure ${kind}`, () => {
    const problems: FieldProblem[] = [];
    if (spec !== null && spec !== undefined) checkValue(spec, type, "spec", problems);
    return problems;
  });
}

function checkValue(value: unknown, type: ValueType, path: string, problems: FieldProblem[]): void {
  switch (type.kind) {
    case "scalar":
      checkScalar(value, type.scalar, path, problems);
      return;
    case "object":
      if (isFields(value)) checkObject(value, typeNamed(type.type), path, problems);
      else problems.push(typeInvalid(path, value, "object"));
      return;
    case "list":
      if (Array.isArray(value))
        for (const [index, element] of value.entries()) checkValue(element, type.of, at(path, index), problems);
      else problems.push(typeInvalid(path, value, "array"));
      return;
    case "map":
      if (isFields(value)) {
        for (const [key, element] of Object.entries(value))
          if (element !== null) checkValue(element, type.of, at(path, key), problems);
      } else problems.push(typeInvalid(path, value, "object"));
      return;
  }
}

function checkScalar(value: unknown, scalar: Scalar, path: string, problems: FieldProblem[]): void {
  const wrong = (type: string): void => void problems.push(typeInvalid(path, value, type));
  switch (scalar) {
    case "any":
      return;
    case "string":
      if (typeof value !== "string") wrong("string");
      return;
    case "bool":
      if (typeof value !== "boolean") wrong("boolean");
      return;
    case "number":
      if (typeof value !== "number") wrong("number");
      return;
    case "int32":
    case "int64":
      if (typeof value !== "number" || !Number.isInteger(value)) wrong("integer");
      else if (scalar === "int32" && (value < -(2 ** 31) || value >= 2 ** 31))
        problems.push(invalid(path, value, "must be a 32-bit integer"));
      return;
    case "byte":
      if (typeof value !== "string") wrong("string");
      else if (decodeBase64(value) === undefined) problems.push(invalid(path, value, "must be base64 text"));
      return;
    case "date-time":
      if (typeof value !== "string") wrong("string");
      else if (!isTime(value))
        problems.push(invalid(path, value, "must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z"));
      return;
    case "int-or-string":
      if (typeof value !== "string" && !Number.isInteger(value)) wrong("integer or string");
      return;
    case "quantity":
      if (typeof value !== "string" && typeof value !== "number") wrong("number or string");
      else if (parseQuantity(value) === undefined) problems.push(invalid(path, value, quantityFormat));
      return;
  }
}

// apimachinery api/resource ErrFormatWrong
const quantityFormat = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

// RFC 3339 5.6; the date must exist.
function isTime(text: string): boolean {
  return (
    /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(Date.parse(text))
  );
}

function isFields(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
