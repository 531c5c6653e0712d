// Rules for what every object has: names, labels, annotations, owners, finalizers.

import { dnsLabel, dnsSubdomain, labelValue, pathSegment, qualifiedName, type Format } from "../formats.ts";
import type { KubeObject, Labels, ObjectMeta } from "../object.ts";
import { at, child, forbidden, invalid, required, tooLong, type FieldProblem } from "../problem.ts";
import { resourceOf } from "../resources.ts";
import { formProblems } from "./rule.ts";

const annotationBytesMax = 256 * 1024;

/** What is wrong with an object's metadata. `namespaced` undefined: not known (kinds without a row). */
export function* metadataProblems(object: KubeObject): Iterable<FieldProblem> {
  const metadata = (object as Partial<KubeObject>).metadata ?? { name: "" };
  const format =
    nameFormats[`${object.apiVersion}/${object.kind}`] ?? (isCoreName(object) ? dnsSubdomain : pathSegment);
  if ((metadata.name ?? "") === "" && (metadata.generateName ?? "") === "")
    yield required("metadata.name", "name or generateName is required");
  yield* formProblems(metadata.name, format, "metadata.name");
  // A prefix may end with what a name may not end with.
  yield* formProblems(metadata.generateName?.replace(/-$/, "a"), format, "metadata.generateName");
  yield* formProblems(metadata.namespace, dnsLabel, "metadata.namespace");
  yield* labelProblems(metadata.labels, "metadata.labels");
  yield* annotationProblems(metadata.annotations, "metadata.annotations");
  yield* ownerProblems(metadata, "metadata.ownerReferences");
  for (const [index, finalizer] of (metadata.finalizers ?? []).entries())
    yield* finalizerProblems(finalizer, index, isBuiltIn(object));
}

// Everything built in is named as a subdomain unless it says otherwise; RBAC's and CRDs' objects are named as path segments.
function isCoreName({ apiVersion }: KubeObject): boolean {
  return !apiVersion.startsWith("rbac.authorization.k8s.io/");
}

const nameFormats: { readonly [kind: string]: Format } = {
  "v1/Namespace": dnsLabel,
  // KEP-5311: a Service may be named like anything else that is a label.
  "v1/Service": dnsLabel,
  "apps/v1/StatefulSet": dnsSubdomain,
  "networking.k8s.io/v1/IPAddress": pathSegment,
};

export function* labelProblems(labels: Labels | undefined, path: string): Iterable<FieldProblem> {
  for (const [key, value] of Object.entries(labels ?? {})) {
    for (const problem of qualifiedName(key)) yield invalid(path, key, problem);
    for (const problem of labelValue(value)) yield invalid(path, value, problem);
  }
}

export function* annotationProblems(annotations: Labels | undefined, path: string): Iterable<FieldProblem> {
  let bytes = 0;
  for (const [key, value] of Object.entries(annotations ?? {})) {
    for (const problem of qualifiedName(key.toLowerCase())) yield invalid(path, key, problem);
    bytes += key.length + value.length;
  }
  if (bytes > annotationBytesMax) yield tooLong(path, annotationBytesMax);
}

function* ownerProblems({ ownerReferences = [] }: ObjectMeta, path: string): Iterable<FieldProblem> {
  // Upstream does not say which of them.
  for (const owner of ownerReferences) {
    if ((owner.apiVersion ?? "") === "") yield invalid(child(path, "apiVersion"), "", "version must not be empty");
    for (const field of ["kind", "name", "uid"] as const)
      if ((owner[field] ?? "") === "") yield invalid(child(path, field), "", "must not be empty");
    if (owner.apiVersion === "v1" && owner.kind === "Event")
      yield invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner");
  }
  const controllers = ownerReferences.filter((owner) => owner.controller === true);
  if (controllers.length > 1)
    yield invalid(
      path,
      ownerReferences,
      `Only one reference can have Controller set to true. Found "true" in references for ${controllers.map((owner) => `${owner.kind}/${owner.name}`).join(" and ")}`,
    );
}

const standardFinalizers = new Set(["kubernetes", "orphan", "foregroundDeletion"]);

/** Everybody checks a finalizer's form; built-in kinds do so once more, and want one without a domain to be one of the API's own. */
function* finalizerProblems(finalizer: string, index: number, isBuiltIn: boolean): Iterable<FieldProblem> {
  const malformed = qualifiedName(finalizer);
  const place = at("metadata.finalizers", index);
  for (const problem of malformed) yield invalid("metadata.finalizers", finalizer, problem);
  if (!isBuiltIn) return;
  for (const problem of malformed) yield invalid(place, finalizer, problem);
  if (!finalizer.includes("/") && !standardFinalizers.has(finalizer))
    yield invalid(place, finalizer, "name is neither a standard finalizer name nor is it fully qualified");
}

/** Is its kind compiled into an API server, rather than defined? */
function isBuiltIn({ apiVersion, kind }: KubeObject): boolean {
  return resourceOf(apiVersion, kind) !== undefined && !definedGroups.test(apiVersion);
}

const definedGroups =
  /^(apiextensions|apiregistration|gateway\.networking|policy\.networking)\.k8s\.io\/|\.x-k8s\.io\/|fairlead/;

/** While an object is being deleted nothing new may hold it. */
export function* metadataUpdateProblems(object: KubeObject, previous: KubeObject): Iterable<FieldProblem> {
  if (previous.metadata.deletionTimestamp === undefined) return;
  const before = new Set(previous.metadata.finalizers);
  const added = (object.metadata.finalizers ?? []).filter((name) => !before.has(name));
  if (added.length > 0)
    yield forbidden(
      "metadata.finalizers",
      `no new finalizers can be added if the object is being deleted, found new finalizers []string{${added.map((name) => JSON.stringify(name)).join(", ")}}`,
    );
}
