// Writing: create, replace, delete one and delete many. What is written goes through the lab's own write path; here is what only a
// request has: names in paths and bodies, preconditions, field managers, dry runs, options of deletion.
//
// Not here: patches (patch.ts), subresources (subresources.ts), defaults and validation (api/write-path.ts).

import { sameJson } from "../../kube/equal.ts";
import type { KubeObject } from "../../kube/object.ts";
import { forbidden, invalid, notSupported, required } from "../../kube/problem.ts";
import { newEventProblems } from "../../kube/rules/events.ts";
import { warningsOf } from "../../kube/warnings.ts";
import { createSession, whenSettled } from "../api/admission/pending.ts";
import type { Actor, ServedApi } from "../api/api.ts";
import { nameOf } from "../api/bookkeeping.ts";
import { badRequest, conflict, invalidObject, notFound, resourceText } from "../api/errors.ts";
import { withKindDefaults } from "../api/custom.ts";
import type { Kind } from "../api/kinds.ts";
import type { ObjectKey } from "../api/store.ts";
import { markSound } from "../api/marks.ts";
import { objectOfKind, type Fields, type FieldValidation } from "./body.ts";
import { keptByConversion, toStored } from "./conversions.ts";
import type { Filter } from "./filter.ts";
import { managedAfterCreate, managedAfterUpdate } from "./managed/managers.ts";
import { invalidOptions, isDryRun } from "./options.ts";
import { matching } from "./read.ts";
import { methodNotAllowed } from "./status.ts";
import type { Target } from "./target.ts";

/** What every write of a request has in common. */
export interface Writing {
  readonly api: ServedApi;
  readonly kind: Kind;
  readonly target: Target;
  readonly actor: Actor;
  /** Who is remembered for the fields that change. */
  readonly manager: string;
  readonly validation: FieldValidation;
  readonly warnings: Set<string>;
  readonly nowMs: number;
}

/** Runs writes, or only rehearses them where the request says `dryRun=All`. Throws StatusError 400 for other values. */
export async function written<T>({ api, actor }: Writing, isDryRun: boolean, writes: () => T): Promise<T> {
  const session = createSession(true);
  const who = { ...actor, dryRun: isDryRun, session };
  return whenSettled(session, () => api.within(who, () => (isDryRun ? api.rehearse(writes) : writes())));
}

/** Creates what a body says. `managedFields`: who owns what, where the caller has settled it. Throws StatusError. */
export function createObject(writing: Writing, body: Fields, managedFields?: readonly unknown[]): KubeObject {
  const { api, kind, target } = writing;
  if (kind.namespaced !== (target.namespace !== undefined)) throw methodNotAllowed();
  const given = placed(objectOfKind(body, kind, writing), writing);
  const { selfLink: _, ...metadata } = given.metadata as KubeObject["metadata"] & { readonly selfLink?: string };
  if ((metadata.name ?? "") === "" && (metadata.generateName ?? "") === "")
    throw invalidObject(kind, "", [required("metadata.name", "name or generateName is required")]);
  // Some defaults are made of the name.
  const taken = (each: string): boolean => api.get(keyOf(writing, each)) !== undefined;
  const name = nameOf(metadata, { random: Math.random, taken });
  const asked = toStored({ ...given, metadata: { ...metadata, name } }, kind);
  checkNewEvent(kind, asked, undefined);
  const complete = withKindDefaults(kind, asked);
  const owned = withManaged(complete, managedFields ?? managedAfterCreate(complete, managerOf(writing)));
  // Custom resources are looked at where they are stored.
  const create = (): KubeObject => api.create(kind.custom === undefined ? markSound(owned) : owned);
  if ((metadata.resourceVersion ?? "") !== "" && metadata.resourceVersion !== "0") {
    // kube-apiserver sees it when it stores the object: whoever else refuses it has been asked then.
    api.rehearse(create);
    throw badRequest("resourceVersion should not be set on objects to be created");
  }
  const created = create();
  warn(writing, complete);
  return created;
}

function withManaged(object: KubeObject, managedFields: readonly unknown[]): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata: { ...metadata, ...(managedFields.length === 0 ? {} : { managedFields }) } };
}

/** Whatever is warned of once an object is stored; what is refused is not warned of. */
function warn({ warnings, validation }: Writing, object: KubeObject, previous?: KubeObject): void {
  if (validation === "Ignore") return;
  for (const { text, isAdvice } of warningsOf(object, previous)) if (isAdvice !== true) warnings.add(text);
}

/** Who writes, as managed fields remember it. */
export function managerOf({ manager, kind, target, nowMs }: Writing): {
  readonly name: string;
  readonly kind: Kind;
  readonly subresource: string;
  readonly nowMs: number;
} {
  return { name: manager, kind, subresource: target.subresource ?? "", nowMs };
}

/** With the namespace and name that the path says. Throws StatusError 400 where the body says something else. */
export function placed(object: KubeObject, { kind, target }: Pick<Writing, "kind" | "target">): KubeObject {
  const { namespace, name, ...metadata } = object.metadata;
  const given = namespace ?? "";
  if (kind.namespaced && given !== "" && given !== target.namespace)
    throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
  if (target.name !== undefined && (name ?? "") !== "" && name !== target.name)
    throw badRequest(`the name of the object (${name}) does not match the name on the URL (${target.name})`);
  const scope = kind.namespaced && target.namespace !== undefined ? { namespace: target.namespace } : {};
  return { ...object, metadata: { ...metadata, name: target.name ?? name, ...scope } };
}

/** Where the store keeps what a path names. */
export function keyOf({ kind, target }: Pick<Writing, "kind" | "target">, name: string = target.name ?? ""): ObjectKey {
  const { group, resource } = kind.stored;
  return {
    group,
    resource,
    name,
    ...(kind.namespaced && target.namespace !== undefined ? { namespace: target.namespace } : {}),
  };
}

// Kinds that a PUT creates where they are not there (pkg/registry/…/strategy.go AllowCreateOnUpdate).
const createdByUpdate = new Set([
  "endpoints",
  "events",
  "limitranges",
  "services",
  "leases.coordination.k8s.io",
  "clusterroles.rbac.authorization.k8s.io",
  "clusterrolebindings.rbac.authorization.k8s.io",
  "roles.rbac.authorization.k8s.io",
  "rolebindings.rbac.authorization.k8s.io",
  "runtimeclasses.node.k8s.io",
]);

// Kinds whose updates must say what they have seen, as those of custom resources (AllowUnconditionalUpdate).
const conditional = new Set([
  "customresourcedefinitions.apiextensions.k8s.io",
  "csidrivers.storage.k8s.io",
  "csinodes.storage.k8s.io",
  "csistoragecapacities.storage.k8s.io",
  "clustertrustbundles.certificates.k8s.io",
  "leasecandidates.coordination.k8s.io",
  "leases.coordination.k8s.io",
  "mutatingadmissionpolicies.admissionregistration.k8s.io",
  "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
  "mutatingwebhookconfigurations.admissionregistration.k8s.io",
  "podcertificaterequests.certificates.k8s.io",
  "poddisruptionbudgets.policy",
  "runtimeclasses.node.k8s.io",
  "validatingadmissionpolicies.admissionregistration.k8s.io",
  "validatingadmissionpolicybindings.admissionregistration.k8s.io",
  "validatingwebhookconfigurations.admissionregistration.k8s.io",
  "volumeattachments.storage.k8s.io",
]);

export type Replaced = { readonly object: KubeObject; readonly isNew: boolean };

/** Replaces what a path names with what a body says. Throws StatusError. */
export function replaceObject(writing: Writing, body: Fields, scope?: Scope): Replaced {
  const { api, kind } = writing;
  const object = objectOfKind(body, kind, writing);
  if ((object.metadata.name ?? "") === "")
    throw badRequest(
      `the name of the object (${writing.target.name} based on URL) was undeterminable: name must be provided`,
    );
  const given = placed(object, writing);
  const previous = api.get(keyOf(writing));
  const { group, resource } = kind;
  const text = resourceText({ group, resource });
  if (previous === undefined) {
    if (
      !createdByUpdate.has(text) ||
      (given.metadata.resourceVersion ?? "") !== "" ||
      (given.metadata.uid ?? "") !== ""
    )
      throw notFound({ group, resource, name: given.metadata.name });
    return { object: createObject(writing, given), isNew: true };
  }
  const isConditional = kind.custom !== undefined || conditional.has(text);
  if (isConditional && (given.metadata.resourceVersion ?? "") === "")
    // registry/generic/registry/store.go names the resource where others name the kind.
    throw invalidObject({ group, kind: resource }, given.metadata.name, [
      {
        field: "metadata.resourceVersion",
        reason: "FieldValueInvalid",
        message: "Invalid value: 0: must be specified for an update",
      },
    ]);
  return { object: storeReplacement(writing, given, previous, scope === undefined ? {} : { scope }), isNew: false };
}

/** How a subresource takes part of an object over from what was given. */
export type Scope = (given: KubeObject, previous: KubeObject) => KubeObject;

/** Stores an object in the version of the request in the place of what is there. `managed`: managed fields were settled by the caller. */
export function storeReplacement(
  writing: Writing,
  given: KubeObject,
  previous: KubeObject,
  options: { readonly scope?: Scope; readonly managed?: boolean } = {},
): KubeObject {
  const { api, kind, target } = writing;
  const wanted = keptByConversion(toStored(withoutEmptyNumbers(given), kind), previous, kind);
  const asked = withKindDefaults(kind, wanted);
  const isMain = options.scope === undefined && target.subresource === undefined;
  const scoped = options.scope?.(asked, previous) ?? (isMain ? throughMainDoor(asked, previous) : asked);
  checkImmutable(writing, scoped, previous);
  checkNewEvent(kind, scoped, previous);
  if (options.scope === undefined && target.subresource === undefined) checkMainDoor(kind, scoped, previous);
  const isReport = target.subresource === "status" || target.subresource === "approval";
  const told = isReport ? reported(scoped, previous, kind) : scoped;
  const managedFields =
    options.managed === true
      ? (told.metadata.managedFields ?? [])
      : managedAfterUpdate(told, previous, managerOf(writing));
  const next = withManaged(told, managedFields);
  if (isReport) return api.updateStatus(next, { metadata: kind.custom === undefined ? "reported" : "managed" });
  const updated = api.update(next);
  warn(writing, next, previous);
  return updated;
}

type MetadataField = "labels" | "annotations";

const both: readonly MetadataField[] = ["labels", "annotations"];

/** What of the metadata a status never changes, of kinds that see to it (PrepareForUpdate of their status strategies). */
const fixedWithStatus: { readonly [resource: string]: readonly MetadataField[] } = {
  "deployments.apps": ["labels"],
  "devicetaintrules.resource.k8s.io": both,
  "flowschemas.flowcontrol.apiserver.k8s.io": both,
  "podcertificaterequests.certificates.k8s.io": both,
  "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": both,
  "resourceclaims.resource.k8s.io": both,
  "servicecidrs.networking.k8s.io": both,
  "validatingadmissionpolicies.admissionregistration.k8s.io": both,
  "volumeattachments.storage.k8s.io": both,
};

function reported(object: KubeObject, { metadata: before }: KubeObject, { group, resource }: Kind): KubeObject {
  const fixed = fixedWithStatus[resourceText({ group, resource })];
  if (fixed === undefined) return object;
  const metadata = { ...object.metadata };
  for (const field of fixed) {
    delete metadata[field];
    if (before[field] !== undefined) metadata[field] = before[field];
  }
  return { ...object, metadata };
}

/** The new API of Events looks at them more closely than the old one, in whose form they are kept. Throws StatusError 422. */
function checkNewEvent(kind: Kind, object: KubeObject, previous: KubeObject | undefined): void {
  if (kind.group !== "events.k8s.io") return;
  const problems = [...newEventProblems(object, previous)];
  if (problems.length > 0) throw invalidObject(kind, object.metadata.name, problems);
}

/** A namespace's finalizers have a door of their own (pkg/registry/core/namespace/strategy.go). */
function throughMainDoor(object: KubeObject, previous: KubeObject): KubeObject {
  return object.kind === "Namespace" && object.apiVersion === "v1" ? { ...object, spec: previous["spec"] } : object;
}

/** Empty texts mean that nothing is said: no resourceVersion is no precondition. */
function withoutEmptyNumbers(object: KubeObject): KubeObject {
  const { resourceVersion, uid, ...metadata } = object.metadata;
  return {
    ...object,
    metadata: {
      ...metadata,
      ...((resourceVersion ?? "") === "" || resourceVersion === "0" ? {} : { resourceVersion: resourceVersion ?? "" }),
      ...((uid ?? "") === "" ? {} : { uid: uid ?? "" }),
    },
  };
}

function checkImmutable({ kind, target }: Writing, next: KubeObject, previous: KubeObject): void {
  const { name, namespace, uid } = next.metadata;
  if (name !== previous.metadata.name || namespace !== previous.metadata.namespace)
    throw badRequest("the name and namespace of an object cannot be changed");
  if (uid === undefined || uid === previous.metadata.uid) return;
  // Only a whole object that comes back says by its uid which one it is (registry/rest DefaultUpdatedObjectInfo).
  if (target.verb === "patch") throw invalidObject(kind, name, [invalid("metadata.uid", uid, "field is immutable")]);
  throw conflict(
    { group: kind.group, resource: kind.resource, name },
    `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${previous.metadata.uid}`,
  );
}

/** What of a pod's specification has a door of its own: binding, ephemeralcontainers. */
const behindOtherDoors = ["nodeName", "ephemeralContainers"];

// pkg/apis/core/validation ValidatePodUpdate
function checkMainDoor(kind: Kind, next: KubeObject, previous: KubeObject): void {
  if (kind.resource !== "pods" || kind.group !== "") return;
  const [spec, before] = [next["spec"] as Fields, previous["spec"] as Fields];
  // Containers that come or go are told of with all that is wrong besides (kube/rules/pod-update.ts).
  if ((spec["containers"] as unknown[]).length !== (before["containers"] as unknown[]).length) return;
  if (behindOtherDoors.every((field) => sameJson(spec[field], before[field]))) return;
  throw invalidObject(kind, next.metadata.name, [
    forbidden(
      "spec",
      "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
    ),
  ]);
}

/** meta/v1 DeleteOptions, as far as they are read. */
export interface DeleteOptions {
  readonly gracePeriodSeconds?: number;
  readonly propagation?: "Background" | "Foreground" | "Orphan";
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly isDryRun: boolean;
}

/** The options of a deletion, from its query and its body. Throws StatusError 400 or 422. */
export function deleteOptionsOf(query: URLSearchParams, body: Fields | undefined): DeleteOptions {
  const given = body?.["kind"] ?? "";
  if (given !== "" && given !== "DeleteOptions")
    throw badRequest(`the body of a deletion is of kind DeleteOptions, not ${JSON.stringify(given)}`);
  const said = (name: string): unknown => body?.[name] ?? query.get(name) ?? undefined;
  const grace = said("gracePeriodSeconds");
  const gracePeriodSeconds = grace === undefined ? undefined : Number(grace);
  if (gracePeriodSeconds !== undefined && !Number.isSafeInteger(gracePeriodSeconds))
    throw badRequest(`gracePeriodSeconds: Invalid value: ${JSON.stringify(grace)}: must be a whole number of seconds`);
  const preconditions = (body?.["preconditions"] ?? {}) as {
    readonly uid?: unknown;
    readonly resourceVersion?: unknown;
  };
  const dryRun = body?.["dryRun"] ?? query.getAll("dryRun");
  return {
    isDryRun: isDryRun(Array.isArray(dryRun) ? dryRun : [dryRun], "DeleteOptions"),
    ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    ...propagationOf(said("propagationPolicy"), said("orphanDependents")),
    ...(typeof preconditions.uid === "string" ? { uid: preconditions.uid } : {}),
    ...(typeof preconditions.resourceVersion === "string" ? { resourceVersion: preconditions.resourceVersion } : {}),
  };
}

const propagations = ["Background", "Foreground", "Orphan", "nil"];

function propagationOf(policy: unknown, orphan: unknown): Pick<DeleteOptions, "propagation"> {
  if (policy !== undefined && policy !== "" && orphan !== undefined)
    throw invalidOptions(
      "DeleteOptions",
      invalid("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set"),
    );
  if (policy === "Background" || policy === "Foreground" || policy === "Orphan") return { propagation: policy };
  if (policy !== undefined && policy !== "")
    throw invalidOptions("DeleteOptions", notSupported("propagationPolicy", policy, propagations));
  if (orphan === undefined) return {};
  return { propagation: orphan === true || orphan === "true" ? "Orphan" : "Background" };
}

/** Kinds whose dependents stay where a deletion does not say otherwise (DefaultGarbageCollectionPolicy). */
const orphaning = new Set(["batch/v1 Job", "v1 ReplicationController"]);

export interface Deleted {
  readonly object: KubeObject;
  /** Is it gone, or on its way? */
  readonly isGone: boolean;
}

/** Deletes what a path names. Throws StatusError. */
export function deleteObject(writing: Writing, options: DeleteOptions, name?: string): Deleted {
  const { api, kind } = writing;
  const key = keyOf(writing, name);
  const previous = api.get(key);
  const shown = { group: kind.group, resource: kind.resource, name: key.name };
  if (previous === undefined) throw notFound(shown);
  const { uid, resourceVersion, gracePeriodSeconds } = options;
  const { metadata } = previous;
  // registry/rest/delete.go names the kind where others name the resource.
  const meant = { ...shown, resource: kind.kind };
  if (uid !== undefined && uid !== metadata.uid)
    throw conflict(
      meant,
      `the UID in the precondition (${uid}) does not match the UID in record (${metadata.uid}). The object might have been deleted and then recreated`,
    );
  if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion)
    throw conflict(
      meant,
      `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion in record (${metadata.resourceVersion}). The object might have been modified`,
    );
  const propagation = options.propagation ?? (orphaning.has(`${kind.apiVersion} ${kind.kind}`) ? "Orphan" : undefined);
  const object = api.delete(key, {
    ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    ...(propagation === undefined ? {} : { propagation }),
  });
  return { object, isGone: api.get(key) === undefined };
}

/** Deletes all that a filter matches; gives what they were before. */
export function deleteMatching(writing: Writing, filter: Filter, options: DeleteOptions): readonly KubeObject[] {
  const { api, kind, target } = writing;
  const found = matching(api, kind, filter);
  for (const { metadata } of found) {
    const { name, namespace } = metadata;
    deleteObject({ ...writing, target: { ...target, name, namespace } }, options);
  }
  return found;
}
