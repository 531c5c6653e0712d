// The fields of a new object as the text of a FieldsV1, as if it had been compared with nothing (structured-merge-diff typed: Compare).
// Every create needs them, so they are written down at once, without sets in between.
//
// Not here: sets of fields and what is done with them (field-set.ts, values.ts).

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
      return Array.isArray(value) ? stepsText(value.map((each) => [`v:${JSON.stringify(each)}`, "{}"])) : "{}";
    case "list": {
      if (!Array.isArray(value) || !value.every(isFields)) return "{}";
      const steps = value.map((each): Step => [keyStep(each, shape), added(each, shape.element)]);
      // Elements that cannot be told apart are one value.
      return new Set(steps.map(([step]) => step)).size === steps.length ? stepsText(steps) : "{}";
    }
  }
}

function fieldsText(
  fields: Fields,
  shape: Extract<Shape, { kind: "deduced" | "fields" }>,
  isInherent: ((name: string) => boolean) | undefined,
): string {
  let text = isInherent === undefined ? self : "";
  let isEmpty = true;
  for (const name of Object.keys(fields).sort()) {
    const field = fields[name];
    if (field === undefined) continue;
    isEmpty = false;
    const isStruct = isInherent?.(name) === true;
    // An empty struct of those is nothing.
    if (name === "metadata" && isStruct && isFields(field) && Object.keys(field).length === 0) continue;
    const inner = added(field, shape.kind === "deduced" ? shape : shape.field(name), isStruct ? isInherent : undefined);
    text += `${text === "" ? "" : ","}${fieldStep(name)}:${inner}`;
  }
  return isEmpty ? "{}" : `{${text}}`;
}

const fieldSteps = new Map<string, string>();
const fieldStepsMax = 5000;

/** `"f:name"`, made once for the names that kinds have. */
function fieldStep(name: string): string {
  let text = fieldSteps.get(name);
  if (text !== undefined) return text;
  text = JSON.stringify(`f:${name}`);
  if (fieldSteps.size < fieldStepsMax) fieldSteps.set(name, text);
  return text;
}

type Step = readonly [step: string, text: string];

/** What is there itself, beside what is in it. */
const self = '".":{}';

/** Elements of a list or set, each by its step; steps that are there twice count once. */
function stepsText(steps: readonly Step[]): string {
  if (steps.length === 0) return "{}";
  const byStep = new Map(steps);
  const texts = [...byStep.keys()].sort().map((step) => `${JSON.stringify(step)}:${byStep.get(step) ?? "{}"}`);
  return `{${self},${texts.join(",")}}`;
}
