// The write path: what happens to an object between a client's request and the store.
//   names and uid → defaults → the kind's strategy → admissions → generation → validation → store
// Which kinds there are, their defaults, rules and strategies are tables (kube/, strategy.ts); nothing here knows a kind by name.
//
// Not here: reading, and who writes (write.ts), HTTP, patches, authorisation (the API server in front), allocation of addresses (an Admission).

import assert from "node:assert/strict";

import { sameJson } from "../../kube/equal.ts";
import type { KubeObject } from "../../kube/object.ts";
import type { Resource } from "../../kube/resources.ts";
import { sameButSource } from "../../kube/source.ts";
import type { FieldProblem } from "../../kube/problem.ts";
import { structureProblems } from "../../kube/structure.ts";
import { validate, validateStatus, validateUpdate } from "../../kube/validate.ts";
import { withZeroValues } from "../../kube/zero.ts";
import { managedAfterCreate, managedInside } from "../apiserver/managed/managers.ts";
import type { Actor, Admission, AdmissionRequest, Applied, ReportedMetadata, ServedApi } from "./api.ts";
import { applied } from "./apply.ts";
import { newObject, replacement } from "./bookkeeping.ts";
import { refused } from "./check.ts";
import { definitionProblems, preparedDefinition } from "./custom-definition-writes.ts";
import { definitionsResource } from "./custom-definitions.ts";
import { customObjectProblems, withKindDefaults, withoutKind } from "./custom.ts";
import { badRequest, conflict, forbidden, invalidObject, notFound, resourceText, undecodable } from "./errors.ts";
import { isCounted, withGeneration } from "./generations.ts";
import type { Kind, Kinds } from "./kinds.ts";
import { completeAs, isSound } from "./marks.ts";
import { StatusError, type ObjectKey, type Store } from "./store.ts";
import { strategyOf } from "./strategy.ts";
import type { ObjectApiOptions } from "./write.ts";

export type WritePath = Pick<
  ServedApi,
  "create" | "update" | "updateStatus" | "apply" | "applyAll" | "delete" | "rehearse"
>;

export interface WritePathOptions extends ObjectApiOptions {
  readonly kinds: Kinds;
  /** Who writes now. */
  readonly actor: () => Actor;
  readonly within: ServedApi["within"];
}

/**
 * The writes of an API over a store.
 * @public Loaded when it is needed (write.ts).
 */
export function createWritePath(options: WritePathOptions): WritePath {
  const { store, kinds, actor: now, within, clock = Date.now, random = Math.random, validations = [] } = options;
  const admissions = [definitionAdmission(clock), ...options.admissions];
  const mustResource = (given: { readonly apiVersion: string; readonly kind: string }): Kind => mustKind(kinds, given);

  type Step = Pick<AdmissionRequest, "operation" | "object" | "previous" | "kind">;
  const admit = (step: Step): KubeObject => {
    const actor = now();
    return admissions.reduce((object, admission) => admission({ ...step, object, actor, store, kinds }), step.object);
  };
  const checkLast = (step: Step): void => {
    for (const validation of validations) validation({ ...step, actor: now(), store, kinds });
  };

  /** With the fields that the actor owns, where the caller has not settled that. */
  const owned = (
    kind: Kind,
    object: KubeObject,
    previous: KubeObject | undefined,
    subresource = now().subresource ?? "",
  ): KubeObject => {
    const { manager: name } = now();
    if (name === undefined) return object;
    const manager = { name, kind, subresource, nowMs: clock() };
    const managedFields =
      previous === undefined ? managedAfterCreate(object, manager) : managedInside(object, previous, manager);
    return managedFields === object.metadata.managedFields
      ? object
      : { ...object, metadata: { ...object.metadata, managedFields } };
  };

  const create = (given: KubeObject): KubeObject => {
    const resource = mustResource(given);
    if (completeAs(given) !== undefined) return store.create(resource, owned(resource, given, undefined));
    const isReady = isSound(given);
    if (!isReady) checkStructure(generic(resource, given));
    const scoped = inScope(resource, withMetadata(given));
    checkNamespace(store, resource, scoped);
    const taken = (name: string): boolean => store.get(keyOf(resource, scoped, name)) !== undefined;
    const { uid: _, creationTimestamp: __, ...metadata } = scoped.metadata;
    const first = isCounted(resource) ? { ...metadata, generation: 1 } : metadata;
    const named = newObject({ ...scoped, metadata: first }, { clock, random, taken });
    const strategy = strategyOf(resourceText(resource));
    const asked = hasStatus(resource) && strategy.keepsStatus !== true ? withoutStatus(named) : named;
    const filled = isReady ? asked : withKindDefaults(resource, asked);
    const prepared = whole(resource, strategy.prepareCreate?.(filled, clock(), now()) ?? filled);
    const changed = admit({ operation: "create", object: prepared, kind: resource });
    // What a strategy makes of a specification holds for what admission has made of it.
    const admitted =
      changed === prepared ? changed : whole(resource, strategy.prepareCreate?.(changed, clock(), now()) ?? changed);
    const problems = [...validate(generic(resource, admitted)), ...customProblems(resource, admitted, undefined)];
    if (problems.length > 0) throw invalidObject(resource, admitted.metadata.name, problems);
    checkLast({ operation: "create", object: admitted, kind: resource });
    return store.create(resource, owned(resource, admitted, undefined));
  };

  const current = (key: ObjectKey): KubeObject => {
    const previous = store.get(key);
    if (previous === undefined) throw notFound(key);
    return previous;
  };

  /** Everything of an update but the storing; the previous object where nothing changes, which is `asked` as any update is, or `free`. */
  const updated = (resource: Kind, given: KubeObject, nothing: "asked" | "free"): KubeObject => {
    const key = keyOf(resource, given);
    const previous = current(key);
    const { resourceVersion } = given.metadata;
    if (resourceVersion !== undefined && resourceVersion !== previous.metadata.resourceVersion) throw conflict(key);
    const { uid } = given.metadata;
    if (uid !== undefined && uid !== previous.metadata.uid)
      throw conflict(
        key,
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${previous.metadata.uid}`,
      );
    const { generation: _, ...metadata } = given.metadata;
    const replaced = replacement({ ...given, metadata }, previous);
    const asked = hasStatus(resource) ? withStatus(replaced, previous["status"]) : replaced;
    const filled = withKindDefaults(resource, asked);
    const prepared = strategyOf(resourceText(resource)).prepareUpdate?.(filled, previous, clock()) ?? filled;
    const admitted = admit({ operation: "update", object: prepared, previous, kind: resource });
    const complete = whole(resource, admitted);
    const next = isCounted(resource) ? withGeneration(complete, previous) : complete;
    if (sameJson(next, previous)) {
      if (nothing === "asked") checkLast({ operation: "update", object: previous, previous, kind: resource });
      return previous;
    }
    const problems = [
      ...validateUpdate(generic(resource, next), previous),
      ...customProblems(resource, next, previous),
    ];
    if (problems.length > 0) throw invalidObject(resource, key.name, problems);
    checkLast({ operation: "update", object: next, previous, kind: resource });
    return owned(resource, next, previous);
  };

  const update = (given: KubeObject, nothing: "asked" | "free" = "asked"): KubeObject => {
    const resource = mustResource(given);
    if (!isSound(given)) checkStructure(generic(resource, given));
    return store.update(resource, updated(resource, inScope(resource, withMetadata(given)), nothing));
  };

  const apply = (given: KubeObject): Applied => {
    const resource = mustResource(given);
    checkStructure(generic(resource, given));
    const manifest = inScope(resource, withMetadata(given));
    const previous = store.get(keyOf(resource, manifest));
    if (previous === undefined) return { object: create(applied(manifest, undefined)), result: "created" };
    // What is there already asks for nothing, as with kubectl apply.
    const object = update(applied(manifest, previous), "free");
    return { object, result: sameButSource(object, previous) ? "unchanged" : "configured" };
  };

  return {
    rehearse: (writes) => rehearse(store, writes),
    create,
    update: (given) => update(given),
    updateStatus(given, statusOptions = {}) {
      const resource = mustResource(given);
      const { apiVersion, kind, metadata, status } = given;
      checkStructure(generic(resource, { apiVersion, kind, metadata, status }));
      const scoped = inScope(resource, withMetadata(given));
      const key = keyOf(resource, scoped);
      const previous = current(key);
      const { resourceVersion, uid } = scoped.metadata;
      const subresource = statusOptions.subresource ?? now().subresource ?? "status";
      const asked = withStatus(previous, scoped["status"]);
      const { prepareStatus } = strategyOf(resourceText(resource));
      const reported = whole(resource, prepareStatus?.(asked, previous, clock(), subresource) ?? asked);
      if (resource.custom !== undefined) checkCustomStatus(resource, reported, previous);
      else checkStatus(resource, reported, previous, subresource);
      if (validations.length > 0)
        within({ ...now(), subresource }, () =>
          checkLast({ operation: "update", object: reported, previous, kind: resource }),
        );
      const written = owned(resource, reported, previous, subresource === "approval" ? subresource : "status");
      return store.update(resource, {
        ...written,
        metadata: {
          ...(statusOptions.metadata === undefined
            ? written.metadata
            : reportedMetadata(scoped.metadata, previous.metadata, statusOptions.metadata)),
          ...(resourceVersion === undefined ? {} : { resourceVersion }),
          ...(uid === undefined ? {} : { uid }),
        },
      });
    },
    apply,
    applyAll: (manifests) =>
      store.atomically(() =>
        manifests.map((manifest) => {
          try {
            return apply(manifest);
          } catch (error) {
            throw error instanceof StatusError ? refused(manifest, error) : error;
          }
        }),
      ),
    delete(key, deleteOptions = {}) {
      const previous = current(key);
      if (deleteOptions.uid !== undefined && deleteOptions.uid !== previous.metadata.uid)
        throw conflict(
          key,
          `Precondition failed: UID in precondition: ${deleteOptions.uid}, UID in object meta: ${previous.metadata.uid}`,
        );
      const kind = kinds.storedAs(key);
      if (kind !== undefined) {
        const step = { operation: "delete", object: previous, previous, kind } as const;
        admit(step);
        checkLast(step);
      }
      const strategy = strategyOf(resourceText(key));
      const isFirst = previous.metadata.deletionTimestamp === undefined;
      const prepared = withPropagation(
        isFirst ? (strategy.prepareDelete?.(previous) ?? previous) : previous,
        deleteOptions.propagation,
      );
      if (prepared !== previous) {
        const updated = store.update(key, prepared);
        // The last finalizer may have gone with it.
        if (store.get(key) === undefined) return updated;
      }
      const gracePeriodSeconds = strategy.gracePeriodSeconds?.(previous, deleteOptions.gracePeriodSeconds);
      return store.delete(key, gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds });
    },
  };
}

/** The resource of an object's apiVersion and kind. Throws StatusError 404 where there is none. */
function mustKind(kinds: Kinds, { apiVersion, kind }: { readonly apiVersion: string; readonly kind: string }): Kind {
  const found = kinds.of(apiVersion, kind);
  if (found !== undefined) return found;
  throw new StatusError(404, "NotFound", `no matches for kind "${kind}" in version "${apiVersion}"`);
}

/** With what is in every object of its kind. */
function whole({ custom }: Kind, object: KubeObject): KubeObject {
  return custom === undefined ? withZeroValues(object) : object;
}

/** What rules about all kinds see of an object: where a definition says what its kind is, nothing else does. */
function generic({ custom }: Kind, object: KubeObject): KubeObject {
  return custom === undefined ? object : withoutKind(object);
}

function customProblems(
  { custom, group, resource }: Kind,
  object: KubeObject,
  previous: KubeObject | undefined,
): readonly FieldProblem[] {
  if (group === definitionsResource.group && resource === definitionsResource.resource)
    return definitionProblems(object, previous);
  const schema = custom?.schema?.openAPIV3Schema;
  return schema === undefined ? [] : customObjectProblems(object, schema, previous);
}

/** A status is checked with all of its object, as rules may compare both. Throws StatusError 422. */
function checkCustomStatus(resource: Kind, object: KubeObject, previous: KubeObject): void {
  const problems = customProblems(resource, object, previous);
  if (problems.length > 0) throw invalidObject(resource, object.metadata.name, problems);
}

/** Of other kinds a status is looked at alone. Throws StatusError 422. */
function checkStatus(resource: Resource, object: KubeObject, previous: KubeObject, subresource: string): void {
  const problems = validateStatus(object, previous, subresource);
  if (problems.length > 0) throw invalidObject(resource, object.metadata.name, problems);
}

function definitionAdmission(clock: () => number): Admission {
  return ({ operation, object, previous, store }) =>
    operation === "delete" || object.kind !== "CustomResourceDefinition"
      ? object
      : preparedDefinition(object, previous, { others: store.list(definitionsResource).items, nowMs: clock() });
}

/** Thrown to undo what a rehearsal has written. */
class Undo extends Error {}

function rehearse<T>(store: Store, writes: () => T): T {
  let result: { readonly value: T } | undefined;
  try {
    store.atomically(() => {
      result = { value: writes() };
      throw new Undo();
    });
  } catch (error) {
    if (!(error instanceof Undo)) throw error;
  }
  assert(result !== undefined);
  return result.value;
}

function checkStructure(object: KubeObject): void {
  const problems = structureProblems(object);
  if (problems.length > 0) throw undecodable(object, problems);
}

/** What comes from outside may lack metadata, although the type says it does not. */
function withMetadata(object: KubeObject): KubeObject {
  const { metadata } = object as Partial<KubeObject>;
  return metadata === undefined || metadata === null ? { ...object, metadata: { name: "" } } : object;
}

/** Cluster-scoped objects lose a namespace, namespaced ones must have one. Throws StatusError 400. */
function inScope(resource: Resource, object: KubeObject): KubeObject {
  const { namespace, ...metadata } = object.metadata;
  if (!resource.namespaced) return namespace === undefined ? object : { ...object, metadata };
  // Null counts as absent, as everywhere.
  if ((namespace ?? "") === "") throw badRequest("an empty namespace may not be set during creation");
  return object;
}

// apiserver plugin/namespace/lifecycle: nothing is created in a namespace that is not there or is going away.
function checkNamespace(store: Store, resource: Resource, { metadata }: KubeObject): void {
  if (metadata.namespace === undefined) return;
  const namespaces = { group: "", resource: "namespaces", name: metadata.namespace };
  const namespace = store.get(namespaces);
  if (namespace === undefined) throw notFound(namespaces);
  if (namespace.metadata.deletionTimestamp === undefined) return;
  const key = { ...resource, name: metadata.name };
  const { code, reason, message, details } = forbidden(
    key,
    `unable to create new content in namespace ${metadata.namespace} because it is being terminated`,
  );
  const cause = {
    reason: "NamespaceTerminating",
    message: `namespace ${metadata.namespace} is being terminated`,
    field: "metadata.namespace",
  };
  throw new StatusError(code, reason, message, { ...details, causes: [cause] });
}

function keyOf(resource: Resource, object: KubeObject, name: string = object.metadata.name): ObjectKey {
  const { namespace } = object.metadata;
  const { group, resource: plural } = resource;
  return { group, resource: plural, name, ...(namespace === undefined ? {} : { namespace }) };
}

function hasStatus(resource: Resource): boolean {
  return resource.subresources.some(({ name }) => name === "status");
}

function withoutStatus(object: KubeObject): KubeObject {
  const { status: _, ...rest } = object;
  return rest;
}

function withStatus(object: KubeObject, status: unknown): KubeObject {
  return status === undefined ? withoutStatus(object) : { ...object, status };
}

/** What a client may change of metadata besides a status: not who owns the object, nor what holds it. */
function reportedMetadata(
  given: KubeObject["metadata"],
  previous: KubeObject["metadata"],
  what: ReportedMetadata,
): KubeObject["metadata"] {
  const { managedFields } = given;
  const { labels, annotations } = what === "reported" ? given : previous;
  const { labels: _, annotations: __, managedFields: ___, ...kept } = previous;
  return {
    ...kept,
    ...(labels === undefined ? {} : { labels }),
    ...(annotations === undefined ? {} : { annotations }),
    ...(managedFields === undefined ? {} : { managedFields }),
  };
}

const propagationFinalizers = { Foreground: "foregroundDeletion", Orphan: "orphan" } as const;

/** Foreground and Orphan are finalizers that the garbage collector answers to; Background needs none. */
function withPropagation(
  object: KubeObject,
  propagation: "Background" | "Foreground" | "Orphan" | undefined,
): KubeObject {
  if (propagation === undefined) return object;
  const before = object.metadata.finalizers ?? [];
  const others = before.filter((name) => !Object.values<string>(propagationFinalizers).includes(name));
  const finalizers = propagation === "Background" ? others : [...others, propagationFinalizers[propagation]];
  return sameJson(before, finalizers) ? object : { ...object, metadata: { ...object.metadata, finalizers } };
}
