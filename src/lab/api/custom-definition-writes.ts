// What a write makes of a CustomResourceDefinition: names that were left out, the status that says whether it is served, and what is wrong
// with it. Upstream: apiextensions-apiserver. Conversion webhooks are refused.
//
// Not here: the kinds that a definition adds (custom-definitions.ts), the schemas of custom resources (custom-schema.ts).

import { dnsLabel1035 } from "../../kube/formats.ts";
import type { KubeObject } from "../../kube/object.ts";
import { at, invalid, notSupported, required, type FieldProblem } from "../../kube/problem.ts";
import { sameJson } from "../../kube/equal.ts";
import { timeText } from "./bookkeeping.ts";
import { rulesProblems } from "./custom.ts";
import {
  cleanupFinalizer,
  isEstablished,
  type Condition,
  type CustomNames,
  type CustomResourceDefinition,
  type CustomVersion,
  type PrinterColumn,
} from "./custom-definitions.ts";
import type { JsonSchema } from "./custom-schema.ts";
import { shapeProblems, withoutNulls } from "./custom-shape.ts";
import { structuralProblems } from "./custom-structure.ts";

/** A definition as it is stored: its names taken where nobody else has them, which makes it served at once. */
export function preparedDefinition(
  object: KubeObject,
  previous: KubeObject | undefined,
  options: { readonly others: readonly KubeObject[]; readonly nowMs: number },
): KubeObject {
  const definition = withPlainSchemas(withNames(object as CustomResourceDefinition));
  const { spec } = definition;
  const before = (previous as CustomResourceDefinition | undefined)?.status;
  const conflict = nameConflict(definition, options.others as readonly CustomResourceDefinition[]);
  const time = timeText(options.nowMs);
  const conditions = [
    conflict === undefined
      ? condition("NamesAccepted", "True", "NoConflicts", "no conflicts found")
      : condition("NamesAccepted", "False", conflict.reason, conflict.message),
    conflict === undefined || isEstablished(before?.conditions)
      ? condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted")
      : condition("Established", "False", "NotAccepted", "not all names are accepted"),
  ];
  const storage = spec.versions?.find((version) => version.storage)?.name;
  const storedVersions = before?.storedVersions ?? [];
  return {
    ...definition,
    metadata: {
      ...definition.metadata,
      finalizers:
        previous === undefined
          ? [...new Set([...(definition.metadata.finalizers ?? []), cleanupFinalizer])]
          : (definition.metadata.finalizers ?? []),
    },
    status: {
      ...before,
      conditions: [
        ...conditions.map((next) => keptTime(next, before?.conditions, time)),
        ...(before?.conditions ?? []).filter(({ type }) => conditions.every((each) => each.type !== type)),
      ],
      acceptedNames: conflict === undefined ? spec.names : (before?.acceptedNames ?? { plural: "", kind: "" }),
      storedVersions:
        storage === undefined || storedVersions.includes(storage) ? storedVersions : [...storedVersions, storage],
    },
  };
}

/**
 * What is wrong with a definition besides its structure (apiextensions pkg/apis/apiextensions/validation). `previous`: the one that it takes
 * the place of.
 */
export function definitionProblems(object: KubeObject, previous?: KubeObject): readonly FieldProblem[] {
  const change =
    previous === undefined
      ? []
      : changeProblems(object as CustomResourceDefinition, previous as CustomResourceDefinition);
  return [...ownProblems(object), ...change];
}

/** What never changes: how objects are found, and, once it is served, what is stored of them. */
function changeProblems(next: CustomResourceDefinition, previous: CustomResourceDefinition): readonly FieldProblem[] {
  const problems: FieldProblem[] = [];
  const keep = (field: string, value: unknown, valueBefore: unknown): void => {
    if (!sameJson(value, valueBefore)) problems.push(invalid(field, value, "field is immutable"));
  };
  if (isEstablished(previous.status?.conditions)) {
    keep("spec.scope", next.spec.scope, previous.spec.scope);
    keep("spec.names.kind", next.spec.names.kind, previous.spec.names.kind);
  }
  keep("spec.group", next.spec.group, previous.spec.group);
  keep("spec.names.plural", next.spec.names.plural, previous.spec.names.plural);
  return problems;
}

function ownProblems(object: KubeObject): readonly FieldProblem[] {
  const { metadata } = object;
  // Required fields have been checked besides, and may yet be missing here.
  const spec = object["spec"] as Partial<CustomResourceDefinition["spec"]>;
  const { names, group = "", versions = [], scope = "" } = spec;
  const problems: FieldProblem[] = [];
  const wanted = `${(names as Partial<CustomNames> | undefined)?.plural ?? ""}.${group}`;
  if (metadata.name !== wanted)
    problems.push(invalid("metadata.name", metadata.name, `must be spec.names.plural+"."+spec.group`));
  if (group === "") problems.push(required("spec.group"));
  if (scope === "") problems.push(required("spec.scope"));
  if (group !== "" && !group.includes("."))
    problems.push(invalid("spec.group", group, "should be a domain with at least one dot"));
  if (scope !== "" && !["Cluster", "Namespaced"].includes(scope))
    problems.push(notSupported("spec.scope", scope, ["Cluster", "Namespaced"]));
  if (spec.preserveUnknownFields === true)
    problems.push(
      invalid(
        "spec.preserveUnknownFields",
        true,
        "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
      ),
    );
  if (versions.some(({ name }, index) => versions.findIndex((other) => other.name === name) < index))
    problems.push(
      invalid(
        "spec.versions",
        versions.map(({ name }) => name),
        "must contain unique version names",
      ),
    );
  if (versions.filter((version) => version.storage).length !== 1)
    problems.push(
      invalid("status.storedVersions", [], "must have at least one stored version"),
      invalid(
        "spec.versions",
        versions.map(({ name }) => name),
        "must have exactly one version marked as storage version",
      ),
    );
  for (const [index, version] of versions.entries())
    problems.push(...versionProblems(version, { versions, index, path: at("spec.versions", index) }));
  problems.push(...nameProblems(names ?? {}));
  if (spec.conversion !== undefined && spec.conversion.strategy !== "None")
    problems.push(notSupported("spec.conversion.strategy", spec.conversion.strategy, ["None"]));
  return problems;
}

interface VersionPlace {
  readonly versions: readonly CustomVersion[];
  readonly index: number;
  readonly path: string;
}

/** Upstream keeps in one place what all versions share, and names that place; undefined for versions after the first then. */
function sharedPath(
  { versions, index, path }: VersionPlace,
  field: "schema" | "additionalPrinterColumns" | "subresources" | "selectableFields",
): string | undefined {
  const isShared = versions.every((each) => sameJson(each[field], versions[0]?.[field]));
  if (!isShared) return `${path}.${field}`;
  if (index > 0) return undefined;
  return field === "schema" ? "spec.validation" : `spec.${field}`;
}

function versionProblems(version: CustomVersion, place: VersionPlace): readonly FieldProblem[] {
  const { index, path } = place;
  // Fields that must be there may be missing: that has been said besides.
  const {
    name = "",
    schema,
    additionalPrinterColumns = [],
    subresources,
    selectableFields = [],
  } = version as Partial<CustomVersion>;
  const problems: FieldProblem[] = [];
  for (const problem of name === "" ? [] : dnsLabel1035(name)) {
    problems.push(invalid(`${path}.name`, name, problem));
    // Upstream keeps the first one's name in a field of its own, and looks at it there as well.
    if (index === 0) problems.push(invalid("spec.version", name, problem));
  }
  const root = schema?.openAPIV3Schema;
  const schemaPath = sharedPath(place, "schema");
  if (root === undefined) problems.push(required(`${path}.schema.openAPIV3Schema`));
  else if (schemaPath !== undefined) {
    const shape = shapeProblems(root, `${schemaPath}.openAPIV3Schema`);
    const looks = shape.length > 0 ? shape : structuralProblems(root, `${schemaPath}.openAPIV3Schema`);
    problems.push(...looks, ...(looks.length > 0 ? [] : rulesProblems(root, `${schemaPath}.openAPIV3Schema`)));
  }
  const columnsPath = sharedPath(place, "additionalPrinterColumns");
  if (columnsPath !== undefined)
    for (const [at_, column] of additionalPrinterColumns.entries())
      problems.push(...columnProblems(column, at(columnsPath, at_)));
  const scalePath = sharedPath(place, "subresources");
  const { scale } = subresources ?? {};
  if (scale !== undefined && scalePath !== undefined)
    for (const [field, under] of [
      ["specReplicasPath", ".spec."],
      ["statusReplicasPath", ".status."],
    ] as const)
      problems.push(...scaleProblems(scale[field], under, `${scalePath}.scale.${field}`));
  const fieldsPath = sharedPath(place, "selectableFields");
  if (fieldsPath !== undefined && root !== undefined)
    for (const [at_, { jsonPath = "" }] of (selectableFields as readonly Partial<PrinterColumn>[]).entries())
      if (jsonPath !== "") problems.push(...selectableProblems(root, jsonPath, `${at(fieldsPath, at_)}.jsonPath`));
  return problems;
}

function columnProblems(
  { name, type = "", jsonPath = "" }: Partial<PrinterColumn>,
  path: string,
): readonly FieldProblem[] {
  const types = ["boolean", "date", "integer", "number", "string"];
  return [
    ...(name === "" ? [required(`${path}.name`)] : []),
    ...(type === "" || types.includes(type)
      ? []
      : [invalid(`${path}.type`, type, `must be one of ${types.join(",")}`)]),
    ...(jsonPath === "" || jsonPath.startsWith(".")
      ? []
      : [invalid(`${path}.JSONPath`, jsonPath, "must be a simple json path starting with .")]),
  ];
}

function scaleProblems(given: string | undefined, under: string, path: string): readonly FieldProblem[] {
  if (given === undefined) return [];
  if (given === "") return [required(path)];
  if (!given.startsWith(".")) return [invalid(path, given, "must be a simple json path starting with .")];
  return given.startsWith(under) ? [] : [invalid(path, given, `should be a json path under ${under.slice(0, -1)}`)];
}

const selectableTypes: ReadonlySet<string | undefined> = new Set(["string", "integer", "boolean"]);

function selectableProblems(root: JsonSchema, jsonPath: string, path: string): readonly FieldProblem[] {
  const found = schemaAt(root, jsonPath);
  if (found === undefined) return [invalid(path, jsonPath, "is an invalid path: does not refer to a valid field")];
  if (selectableTypes.has(found.type)) return [];
  return [invalid(path, jsonPath, "must point to a field of type string, boolean or integer")];
}

/** What a path of fields leads to. */
function schemaAt(schema: JsonSchema, path: string): JsonSchema | undefined {
  if (!path.startsWith(".")) return undefined;
  return path
    .split(".")
    .slice(1)
    .reduce<JsonSchema | undefined>(
      (now, name) => (Object.hasOwn(now?.properties ?? {}, name) ? now?.properties?.[name] : undefined),
      schema,
    );
}

function nameProblems(names: Partial<CustomNames>): readonly FieldProblem[] {
  const { plural = "", singular = "", kind = "", listKind = "", shortNames = [], categories = [] } = names;
  const check = (field: string, text: string, shown = text, prefix = ""): readonly FieldProblem[] =>
    text === "" ? [] : dnsLabel1035(text).map((problem) => invalid(`spec.names.${field}`, shown, prefix + problem));
  const mixed = "may have mixed case, but should otherwise match: ";
  return [
    ...Object.entries({ plural, singular, kind, listKind }).flatMap(([field, text]) =>
      text === "" ? [required(`spec.names.${field}`)] : [],
    ),
    ...check("plural", plural),
    ...check("singular", singular),
    ...check("kind", kind.toLowerCase(), kind, mixed),
    ...check("listKind", listKind.toLowerCase(), listKind, mixed),
    ...shortNames.flatMap((each, index) => check(at("shortNames", index), each)),
    ...(kind !== "" && kind === listKind
      ? [invalid("spec.names.listKind", listKind, "kind and listKind may not be the same")]
      : []),
    ...categories.flatMap((each, index) => check(at("categories", index), each)),
  ];
}

function withNames(definition: CustomResourceDefinition): CustomResourceDefinition {
  const { spec } = definition;
  if (typeof spec?.names?.kind !== "string" || spec.names.kind === "") return definition;
  const names = { ...spec.names };
  return {
    ...definition,
    spec: {
      ...spec,
      names: {
        ...names,
        singular: names.singular ?? names.kind.toLowerCase(),
        listKind: names.listKind ?? `${names.kind}List`,
      },
      conversion: spec.conversion ?? { strategy: "None" },
    },
  };
}

function withPlainSchemas(definition: CustomResourceDefinition): CustomResourceDefinition {
  const { spec } = definition;
  if (!Array.isArray(spec?.versions)) return definition;
  const versions = spec.versions.map((version: CustomVersion): CustomVersion => {
    const before = version.schema?.openAPIV3Schema;
    const after = withoutNulls(before);
    return after === before ? version : { ...version, schema: { openAPIV3Schema: (after ?? undefined) as JsonSchema } };
  });
  return { ...definition, spec: { ...spec, versions } };
}

function condition(type: string, status: string, reason: string, message: string): Condition {
  return { type, status, reason, message };
}

function keptTime(next: Condition, before: readonly Condition[] | undefined, time: string): Condition {
  const same = before?.find(({ type, status }) => type === next.type && status === next.status);
  return { lastTransitionTime: same?.lastTransitionTime ?? time, ...next };
}

function nameConflict(
  { metadata, spec }: CustomResourceDefinition,
  others: readonly CustomResourceDefinition[],
): { readonly reason: string; readonly message: string } | undefined {
  const taken = new Set(
    others
      .filter((other) => other.spec.group === spec.group && other.metadata.name !== metadata.name)
      .flatMap(({ status }) => wordsOf(status?.acceptedNames)),
  );
  const word = wordsOf(spec.names).find((each) => taken.has(each));
  if (word === undefined) return undefined;
  const field = word === spec.names.plural ? "Plural" : word === spec.names.singular ? "Singular" : "ShortNames";
  return { reason: `${field}Conflict`, message: `${JSON.stringify(word)} is already in use` };
}

function wordsOf(names: CustomNames | undefined): readonly string[] {
  if (names === undefined) return [];
  return [names.plural, names.singular ?? "", ...(names.shortNames ?? [])].filter((word) => word !== "");
}
