// The fields of a new object as the text of a FieldsV1, as if it had been compared with nothing (structured-merge-diff typed: Compare).
// Every create needs them, so they are written down at once, without sets in between.
//
// Not here: sets of fields and what is done with them (field-set.ts, values.ts).

import { remembered } from "../../../kube/repeated.ts";
import type { Shape } from "./shape.ts";
import { isFields, keyStep, type Fields } from "./values.ts";

/** `isInherent` says which structs every object has: they are not added themselves, only what is in them. */
export function addedFields(value: Fields, shape: Shape, isInherent: (name: string) => boolean): string {
  return added(value, shape, isInherent);
}

/** `isInherent` is undefined below what is added itself. */
function added(value: unknown, shape: Shape, isInherent?: (name: string) => boolean): string {
  switch (shape.kind) {
    case "leaf":
      return "{}";
    case "deduced":
    case "fields":
      return isFields(value) ? fieldsText(value, shape, isInherent) : "{}";
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

function fieldsText(
  fields: Fields,
  shape: Extract<Shape, { kind: "deduced" | "fields" }>,
  isInherent: ((name: string) => boolean) | undefined,
): string {
  let text = isInherent === undefined ? self : "";
  let isEmpty = true;
  for (const name of sortedNames(fields)) {
    const field = fields[name];
    if (field === undefined) continue;
    isEmpty = false;
    const isStruct = isInherent?.(name) === true;
    // An empty struct of those is nothing.
    if (name === "metadata" && isStruct && isFields(field) && Object.keys(field).length === 0) continue;
    const at = shape.kind === "deduced" ? shape : shape.field(name);
    const inner =
      isStruct && name === "spec"
        ? remembered(field, "added", () => added(field, at, isInherent))
        : added(field, at, isStruct ? isInherent : undefined);
    text += `${text === "" ? "" : ","}${fieldStep(name)}:${inner}`;
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
