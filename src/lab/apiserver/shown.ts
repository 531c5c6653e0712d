// Stored objects as they are shown: in the version that was asked for, custom resources with the defaults of their schema as it is today,
// which may be younger than the object (apiextensions-apiserver defaults what it reads from etcd as well), and Services that are names
// without what upstream stores of them and does not tell.

import type { Service } from "../../kube/kinds.ts";
import type { KubeObject } from "../../kube/object.ts";
import { defaulted, type JsonSchema } from "../api/custom-schema.ts";
import type { Kind } from "../api/kinds.ts";
import { fromStored } from "./conversions.ts";

/** The same object where nothing differs; the same result for the same object and schema. */
export function shownObject(object: KubeObject, kind: Kind): KubeObject {
  const converted = fromStored(object, kind);
  const schema = kind.custom?.schema?.openAPIV3Schema;
  if (schema === undefined) return kind.kind === "Service" && kind.group === "" ? shownService(converted) : converted;
  const { hasDefaults, objects } = notesOf(schema);
  if (!hasDefaults) return converted;
  let found = objects.get(converted);
  if (found === undefined) objects.set(converted, (found = defaulted(converted, schema) as KubeObject));
  return found;
}

/**
 * registry/core/service defaultOnReadInternalTrafficPolicy: a Service that becomes an ExternalName keeps its policy, has it again when a
 * patch makes it another type, and shows none meanwhile.
 */
function shownService(object: KubeObject): KubeObject {
  const { spec } = object as Service;
  if (spec.type !== "ExternalName" || spec.internalTrafficPolicy === undefined) return object;
  let found = names.get(object);
  if (found === undefined) {
    const { internalTrafficPolicy: _, ...rest } = spec;
    names.set(object, (found = { ...object, spec: rest } as KubeObject));
  }
  return found;
}

const names = new WeakMap<KubeObject, KubeObject>();

interface Notes {
  readonly hasDefaults: boolean;
  readonly objects: WeakMap<KubeObject, KubeObject>;
}

const notes = new WeakMap<JsonSchema, Notes>();

function notesOf(schema: JsonSchema): Notes {
  let found = notes.get(schema);
  if (found === undefined)
    notes.set(schema, (found = { hasDefaults: JSON.stringify(schema).includes('"default":'), objects: new WeakMap() }));
  return found;
}
