// The messages that mutations make: `Object{spec: Object.spec{…}}` for apply configurations, `JSONPatch{op: …}` for patches
// (apiserver pkg/cel/mutation).

import { EvaluationError, declare } from "../../../kube/cel/environment.ts";
import { dyn, string, type Field, type Type } from "../../../kube/cel/types.ts";
import { CelObject, type Value } from "../../../kube/cel/values.ts";
import type { Scope } from "./expressions.ts";

const patchFields = new Map<string, Field>([
  ["op", { type: string, property: "op" }],
  ["path", { type: string, property: "path" }],
  ["from", { type: string, property: "from" }],
  ["value", { type: dyn, property: "value" }],
]);

const patch: Type = { kind: "object", name: "JSONPatch", fields: patchFields };

/** The scope of a mutation's expression. */
export function mutationScope(scope: Scope): Scope {
  return {
    ...scope,
    construct: constructMessage,
    message: (name) => {
      if (name === "JSONPatch") return patch;
      return name === "Object" || name.startsWith("Object.") ? { kind: "object", name, fields: anyFields } : undefined;
    },
  };
}

/** Whatever is asked for is there: the object's kind is not known when a policy is made. */
const anyFields: ReadonlyMap<string, Field> = new (class extends Map<string, Field> {
  override get(property: string): Field {
    return { type: dyn, property };
  }
})();

/** The value of a message. Throws EvaluationError where one of `Object` has fields of another place. */
function constructMessage(type: string, fields: ReadonlyMap<string, Value>): Value {
  for (const [name, value] of fields)
    if (value instanceof CelObject && value.type.startsWith("Object") && value.type !== `${type}.${name}`)
      throw new EvaluationError(
        `unexpected type name ${JSON.stringify(value.type)}, expected ${JSON.stringify(`${type}.${name}`)}, which matches field name path from root Object type`,
      );
  return new CelObject(type, new Map([...fields].map(([name, value]) => [name, () => value])));
}

/** library/jsonpatch.go: a key as a JSON pointer has it. */
export const patchOverloads: ReturnType<typeof declare> = declare(
  { "jsonpatch.escapeKey(string): string": ([key]) => key.replaceAll("~", "~0").replaceAll("/", "~1") },
  ["jsonpatch"],
);
