// Schemas of custom resources as OpenAPI documents say them. Version 2 has less words than CRDs have, and kubectl reads it literally:
// what it cannot cope with is left out. Upstream: apiextensions-apiserver pkg/controller/openapi/{builder/builder.go, v2/conversion.go}.
//
// Not here: the other kinds (openapi-schemas.ts), what a schema means for objects (api/custom-schema.ts).

type Json = { readonly [field: string]: unknown };

/** What kubectl explain says of the fields that every object has; the same words begin as upstream's do, since tests look for them. */
export const fieldTexts = {
  apiVersion: "APIVersion defines the group and version of the schema that this object is written in.",
  kind: "Kind names the type of this object, in CamelCase.",
  metadata: "Standard object's metadata: its name and namespace, labels, annotations, owners and finalizers.",
  creationTimestamp: "CreationTimestamp is a timestamp of when the server stored this object first.",
} as const;

/** What the document adds to every object: references to the types of metadata. */
export interface CustomReferences {
  readonly metadata: Json;
  readonly version: 2 | 3;
}

/** A kind's schema, without its extension that names the kind. `schema` is the definition's, undefined where it has none. */
export function customSchema(schema: Json | undefined, references: CustomReferences): Json {
  // With properties kubectl would take everything else for an error.
  if (schema === undefined) return { type: "object" };
  if (references.version === 2 && schema[preserve] === true) return { type: "object" };
  const said = references.version === 2 ? versionTwo(schema) : embedded(schema, references);
  return withObjectFields(said, references);
}

const preserve = "x-kubernetes-preserve-unknown-fields";
const isEmbedded = "x-kubernetes-embedded-resource";

function withObjectFields(schema: Json, { metadata }: CustomReferences): Json {
  return {
    ...schema,
    properties: {
      ...(schema["properties"] as Json | undefined),
      apiVersion: { type: "string", description: fieldTexts.apiVersion },
      kind: { type: "string", description: fieldTexts.kind },
      metadata,
    },
  };
}

/** Objects inside of the object have the same three fields. */
function embedded(schema: Json, references: CustomReferences): Json {
  const inner = mapped(schema, (each) => embedded(each, references));
  return inner[isEmbedded] === true ? { ...inner, ...withObjectFields(inner, references) } : inner;
}

function versionTwo(schema: Json): Json {
  const {
    allOf: _allOf,
    oneOf: _oneOf,
    anyOf: _anyOf,
    not: _not,
    nullable,
    default: _default,
    ...rest
  } = mapped(schema, versionTwo);
  const isOpen = rest[preserve] === true;
  const { items, properties, ...plain } = rest;
  const inner = nullable === true || isOpen ? {} : defined({ items, properties });
  const said: { [field: string]: unknown } = { ...plain, ...inner };
  const isUntyped =
    nullable === true ||
    (said["type"] === "array" && said["items"] === undefined) ||
    (isOpen && said["type"] === "object");
  if (isUntyped) delete said["type"];
  const required = requiredFields(schema);
  if (required === undefined) delete said["required"];
  else said["required"] = required;
  return said;
}

/** A field that may be null is never required. */
function requiredFields({ required, properties }: Json): readonly string[] | undefined {
  const fields = properties as { readonly [name: string]: Json } | undefined;
  const kept = ((required ?? []) as readonly string[]).filter((name) => fields?.[name]?.["nullable"] !== true);
  return kept.length === 0 ? undefined : kept;
}

function mapped(schema: Json, change: (schema: Json) => Json): Json {
  const isSchema = (value: unknown): value is Json =>
    typeof value === "object" && value !== null && !Array.isArray(value);
  const { items, properties, additionalProperties } = schema;
  return {
    ...schema,
    ...(isSchema(items) ? { items: change(items) } : {}),
    ...(isSchema(additionalProperties) ? { additionalProperties: change(additionalProperties) } : {}),
    ...(isSchema(properties)
      ? {
          properties: Object.fromEntries(
            Object.entries(properties).map(([name, each]) => [name, change(each as Json)]),
          ),
        }
      : {}),
  };
}

function defined(fields: Json): Json {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
