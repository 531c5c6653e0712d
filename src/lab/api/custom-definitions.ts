// CustomResourceDefinitions and the rows of the resource table that they add.
// Upstream: apiextensions-apiserver. Versions share one storage; only the apiVersion differs (conversion strategy None).
//
// Not here: what a write makes of a definition and what may be wrong with it (custom-definition-writes.ts), the schemas of custom resources
// (custom-schema.ts).

import type { KubeObject } from "../../kube/object.ts";
import type { Kind } from "./kinds.ts";
import type { JsonSchema } from "./custom-schema.ts";

/** Where definitions are stored. */
export const definitionsResource = { group: "apiextensions.k8s.io", resource: "customresourcedefinitions" } as const;

/** Holds a definition until its objects are gone (apiextensions-apiserver pkg/controller/finalizer). */
export const cleanupFinalizer = "customresourcecleanup.apiextensions.k8s.io";

/** apiextensions/v1 CustomResourceDefinition, as far as it is read. */
export interface CustomResourceDefinition extends KubeObject {
  readonly spec: {
    readonly group: string;
    readonly scope: "Namespaced" | "Cluster";
    readonly names: CustomNames;
    readonly versions: readonly CustomVersion[];
    readonly conversion?: { readonly strategy: string };
    readonly preserveUnknownFields?: boolean;
  };
  readonly status?: {
    readonly acceptedNames?: CustomNames;
    readonly storedVersions?: readonly string[];
    readonly conditions?: readonly Condition[];
  };
}

export interface CustomNames {
  readonly plural: string;
  readonly singular?: string;
  readonly kind: string;
  readonly listKind?: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
}

export interface CustomVersion {
  readonly name: string;
  readonly served: boolean;
  readonly storage: boolean;
  readonly deprecated?: boolean;
  readonly deprecationWarning?: string;
  readonly schema?: { readonly openAPIV3Schema?: JsonSchema };
  readonly subresources?: {
    readonly status?: object;
    readonly scale?: {
      readonly specReplicasPath: string;
      readonly statusReplicasPath: string;
      readonly labelSelectorPath?: string;
    };
  };
  readonly additionalPrinterColumns?: readonly PrinterColumn[];
  readonly selectableFields?: readonly { readonly jsonPath: string }[];
}

export interface PrinterColumn {
  readonly name: string;
  readonly type: string;
  readonly format?: string;
  readonly description?: string;
  readonly priority?: number;
  readonly jsonPath: string;
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime?: string;
}

const everyVerb = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/** The rows that a definition adds: one for each version that is served, the newest first; none before its names are accepted. */
export function definedKinds(object: KubeObject): readonly Kind[] {
  const { spec, status } = object as CustomResourceDefinition;
  const storage = spec.versions.find((version) => version.storage);
  if (storage === undefined || !isEstablished(status?.conditions)) return [];
  const { group, names, scope } = spec;
  const stored = { group, resource: names.plural, apiVersion: `${group}/${storage.name}`, kind: names.kind };
  return [...spec.versions]
    .filter((version) => version.served)
    .sort((a, b) => compareVersions(b.name, a.name))
    .map((custom) => ({
      group,
      version: custom.name,
      apiVersion: `${group}/${custom.name}`,
      kind: names.kind,
      resource: names.plural,
      singular: names.singular ?? names.kind.toLowerCase(),
      shortNames: names.shortNames ?? [],
      categories: names.categories ?? [],
      namespaced: scope === "Namespaced",
      verbs: everyVerb,
      subresources: subresourcesOf(group, names.kind, custom),
      stored,
      custom: custom.deprecated === true ? { deprecationWarning: deprecationOf(custom, spec), ...custom } : custom,
    }));
}

/** What is said of a version whose definition has no words for it (customresource_handler.go defaultDeprecationWarning). */
function deprecationOf({ name }: CustomVersion, { group, names, versions }: CustomResourceDefinition["spec"]): string {
  const [better] = versions
    .filter((each) => each.served && each.deprecated !== true && compareVersions(each.name, name) > 0)
    .sort((a, b) => compareVersions(b.name, a.name));
  const text = `${group}/${name} ${names.kind} is deprecated`;
  return better === undefined ? text : `${text}; use ${group}/${better.name} ${names.kind}`;
}

function subresourcesOf(group: string, kind: string, { name, subresources }: CustomVersion): Kind["subresources"] {
  const verbs = ["get", "patch", "update"];
  return [
    ...(subresources?.status === undefined ? [] : [{ name: "status", group, version: name, kind, verbs }]),
    ...(subresources?.scale === undefined
      ? []
      : [{ name: "scale", group: "autoscaling", version: "v1", kind: "Scale", verbs }]),
  ];
}

/** Is the condition Established true? */
export function isEstablished(conditions: readonly Condition[] | undefined): boolean {
  return conditions?.some(({ type, status }) => type === "Established" && status === "True") ?? false;
}

/** apimachinery util/version CompareKubeAwareVersionStrings: v2 > v1 > v2beta1 > v1beta2 > v1alpha1 > other. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [versionParts(a), versionParts(b)];
  for (const [index, part] of left.entries()) if (part !== right[index]) return part - (right[index] ?? 0);
  return left.length === 0 && right.length === 0 ? (a < b ? 1 : a > b ? -1 : 0) : left.length - right.length;
}

function versionParts(text: string): readonly number[] {
  const match = /^v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?$/.exec(text);
  if (match === null) return [];
  const stability = match[2] === undefined ? 2 : match[2] === "beta" ? 1 : 0;
  return [stability, Number(match[1]), Number(match[3] ?? 0)];
}
