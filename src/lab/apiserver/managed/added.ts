// The fields of a new object as the text of a FieldsV1, as if it had been compared with nothing (structured-merge-diff typed: Compare).
// Every create needs them, so they are written down at once, without sets in between.
//
// Not here: sets of fields and what is done with them (field-set.ts, values.ts).

import { sameJson } from "../../../kube/equal.ts";
import { remembered } from "../../../kube/repeated.ts";
import type { Shape } from "./shape.ts";
import { isFields, keyStep, type Fields } from "./values.ts";

/** Of an object, compared with one of its kind that says nothing: structs that both have are not added, only what is in them. */
export function addedFields(value: Fields, shape: Shape): string {
  const text = inherentText(value, shape);
  return text === "" ? "{}" : text;
}

/** What a value has more than the one that every object has; empty where that is nothing. */
function inherentText(value: unknown, shape: Shape): string {
  if (shape.kind !== "fields" || !isFields(value)) return added(value, shape);
  let text = "";
  for (const name of sortedNames(value)) {
    const field = value[name];
    if (field === undefined) continue;
    const at = shape.field(name);
    const zero = shape.zero(name);
    const inner =
      zero === undefined
        ? added(field, at)
        : name === "spec"
          ? remembered(field, "added", () => beyond(zero, field, at))
          : beyond(zero, field, at);
    if (inner !== "") text += `${text === "" ? "" : ","}${fieldStep(name)}:${inner}`;
  }
  return text === "" ? "" : `{${text}}`;
}

/** What a field has more than its zero value; empty where that is nothing. */
function beyond(zero: unknown, value: unknown, shape: Shape): string {
  if (value === zero) return "";
  if (zero === null) return withoutSelf(added(value, shape));
  // An atomic struct is one value.
  if (shape.kind === "leaf") return sameJson(zero, value) ? "" : "{}";
  return inherentText(value, shape);
}

function withoutSelf(text: string): string {
  return text.startsWith(`{${self},`) ? `{${text.slice(self.length + 2)}` : text;
}

function added(value: unknown, shape: Shape): string {
  switch (shape.kind) {
    case "leaf":
      return "{}";
    case "deduced":
    case "fields":
      return isFields(value) ? fieldsText(value, shape) : "{}";
    case "set":
      return Array.isArray(value) ? setText(value) : "{}";
    case "list":
      return Array.isArray(value) && value.every(isFields) ? listText(value, shape) : "{}";
  }
}

function setText(values: readonly unknown[]): string {
  if (values.length === 0) return "{}";
  const steps = [...new Set(values.map((each) => `v:${JSON.stringify(each)}`))].sort();
  return `{${self},${steps.map((step) => `${quoted(step)}:{}`).join(",")}}`;
}

function listText(elements: readonly Fields[], shape: Extract<Shape, { kind: "list" }>): string {
  if (elements.length === 0) return "{}";
  const steps = elements.map((each) => ({ step: keyStep(each, shape), each }));
  steps.sort((a, b) => (a.step < b.step ? -1 : a.step > b.step ? 1 : 0));
  let text = `{${self}`;
  let before = "";
  for (const { step, each } of steps) {
    // Elements that cannot be told apart are one value.
    if (step === before) return "{}";
    before = step;
    text += `,${quoted(step)}:${added(each, shape.element)}`;
  }
  return `${text}}`;
}

function fieldsText(fields: Fields, shape: Extract<Shape, { kind: "deduced" | "fields" }>): string {
  let text = self;
  let isEmpty = true;
  for (const name of sortedNames(fields)) {
    const field = fields[name];
    if (field === undefined) continue;
    isEmpty = false;
    text += `,${fieldStep(name)}:${added(field, shape.kind === "deduced" ? shape : shape.field(name))}`;
  }
  return isEmpty ? "{}" : `{${text}}`;
}

/** The names of fields in order. Those of what is made alike are in order already, more often than not. */
function sortedNames(fields: Fields): readonly string[] {
  const names = Object.keys(fields);
  for (let index = 1; index < names.length; index++)
    if ((names[index - 1] ?? "") > (names[index] ?? "")) return names.sort();
  return names;
}

const quotedTexts = new Map<string, string>();
const quotedTextsMax = 5000;

/** A step in quotes, made once for those that many objects have. */
function quoted(step: string): string {
  let text = quotedTexts.get(step);
  if (text !== undefined) return text;
  text = JSON.stringify(step);
  if (quotedTexts.size < quotedTextsMax) quotedTexts.set(step, text);
  return text;
}

const fieldSteps = new Map<string, string>();

/** `"f:name"`, made once for the names that kinds have. */
function fieldStep(name: string): string {
  let text = fieldSteps.get(name);
  if (text !== undefined) return text;
  text = JSON.stringify(`f:${name}`);
  if (fieldSteps.size < quotedTextsMax) fieldSteps.set(name, text);
  return text;
}

/** What is there itself, beside what is in it. */
const self = '".":{}';
