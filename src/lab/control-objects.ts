// Objects through the control socket: apply, delete, get, watch, and waiting until all is ready.

import type { KubeObject } from "../kube/object.ts";
import { findResource, resourceOf, type Resource } from "../kube/resources.ts";
import { matches, parseSelector } from "../kube/selector.ts";
import type { Send } from "./send.ts";
import { createSession, whenSettled } from "./api/admission/pending.ts";
import { checkAll } from "./api/check.ts";
import type { CustomResourceDefinition, PrinterColumn } from "./api/custom-definitions.ts";
import type { Kind, Kinds } from "./api/kinds.ts";
import { StatusError, type ResourceName } from "./api/store.ts";
import { shownObject } from "./apiserver/shown.ts";
import type { Lab } from "./lab.ts";
import { readiness } from "./wait.ts";

interface ApplyBody {
  readonly objects: readonly KubeObject[];
  /** Of objects that name none. */
  readonly namespace?: string;
  readonly dryRun?: boolean;
}

/** What became of one object. */
interface Outcome {
  /** `deployment.apps/web` */
  readonly object: string;
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
  readonly result: string;
}

/** Who speaks through the control socket: the lab's user. */
const user = {
  username: "kubernetes-admin",
  groups: ["system:masters", "system:authenticated"],
  manager: "fairlead",
};

/** `applyObjects`, when admission webhooks have been asked. */
export function applySettled(lab: Lab, body: ApplyBody): Promise<ReturnType<typeof applyObjects>> {
  const session = createSession(true);
  return whenSettled(session, () =>
    lab.api.within({ ...user, session, dryRun: body.dryRun === true }, () => applyObjects(lab, body)),
  );
}

/** Checks every object before the first is stored: nothing is half-applied. */
export function applyObjects(
  lab: Lab,
  body: ApplyBody,
): { results: readonly (Outcome & { readonly warnings: readonly string[] })[] } {
  const { dryRun } = body;
  const objects = body.objects.map((object) => inNamespace(lab.api.kinds, body, object));
  const { errors, warnings } = checkAll(lab.api, objects);
  if (errors.length > 0) throw new StatusError(422, "Invalid", errors.join("\n"), { problems: errors });
  const ordered = [...objects].sort((a, b) => rank(a) - rank(b));
  const write = (): readonly string[] => lab.api.applyAll(ordered).map(({ result }) => result);
  const results = dryRun === true ? lab.api.rehearse(write) : write();
  return {
    results: ordered.map((object, index) => ({
      ...outcomeOf(lab.api.kinds, object),
      result: results[index] ?? "",
      warnings: warnings.get(object) ?? [],
    })),
  };
}

/** Custom objects of a namespace that name none are put into the command's, as others are by the command itself. */
function inNamespace(kinds: Kinds, { objects, namespace }: ApplyBody, object: KubeObject): KubeObject {
  const { apiVersion, kind, metadata } = object;
  if (namespace === undefined || metadata.namespace !== undefined || resourceOf(apiVersion, kind) !== undefined)
    return object;
  const isNamespaced =
    kinds.of(apiVersion, kind)?.namespaced ?? objects.some((each) => definesNamespaced(each, apiVersion, kind));
  return isNamespaced ? { ...object, metadata: { ...metadata, namespace } } : object;
}

/** Is it the definition, in the same request, of a kind whose objects live in namespaces? */
function definesNamespaced(object: KubeObject, apiVersion: string, kind: string): boolean {
  if (object.kind !== "CustomResourceDefinition") return false;
  const { group, scope, names } = (object["spec"] ?? {}) as Partial<CustomResourceDefinition["spec"]>;
  return scope === "Namespaced" && names?.kind === kind && apiVersion.startsWith(`${group}/`);
}

function outcomeOf(kinds: Kinds, { apiVersion, kind, metadata }: KubeObject): Omit<Outcome, "result"> {
  const row = kinds.of(apiVersion, kind);
  const group = row === undefined || row.group === "" ? "" : `.${row.group}`;
  const { namespace, name } = metadata;
  return {
    object: `${row?.singular ?? kind.toLowerCase()}${group}/${name}`,
    apiVersion,
    kind,
    ...(namespace === undefined ? {} : { namespace }),
    name,
  };
}

// Namespaces first, then what others refer to, workloads last: so that pods start with everything they name in place.
const order = [
  "Namespace",
  "CustomResourceDefinition",
  "ServiceAccount",
  "ConfigMap",
  "Secret",
  "NetworkPolicy",
  "Service",
];
function rank(object: KubeObject): number {
  const at = order.indexOf(object.kind);
  return at < 0 ? order.length : at;
}

interface Target {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly resource?: string;
  readonly namespace?: string;
  readonly name: string;
}

interface DeleteBody {
  readonly targets: readonly Target[];
  /** Of targets that name none. */
  readonly namespace?: string;
  readonly now?: boolean;
}

function deleteObjects(lab: Lab, body: DeleteBody): { results: readonly Outcome[] } {
  return {
    results: body.targets.map((target) => {
      const row = kindFor(lab.api.kinds, target);
      // Its definition has gone before it, and taken it along.
      if (row === undefined) return unknownOutcome(target);
      const namespace = row.namespaced ? (target.namespace ?? body.namespace ?? "default") : undefined;
      const named = {
        object: `${row.singular}/${target.name}`,
        apiVersion: row.apiVersion,
        kind: row.kind,
        ...(namespace === undefined ? {} : { namespace }),
        name: target.name,
      };
      const { group, resource } = row.stored;
      const key = { group, resource, name: target.name, ...(namespace === undefined ? {} : { namespace }) };
      // A manifest's objects go one after the other: the definition takes its objects along.
      if (lab.api.get(key) === undefined) return { ...named, result: "not found" };
      lab.api.delete(key, { propagation: "Background", ...(body.now === true && { gracePeriodSeconds: 0 }) });
      return { ...named, result: "deleted" };
    }),
  };
}

/** `deleteObjects`, when admission webhooks have been asked. */
export function deleteSettled(lab: Lab, body: DeleteBody): Promise<{ results: readonly Outcome[] }> {
  const session = createSession(false);
  const results: Outcome[] = [];
  return whenSettled(session, () => {
    // What is deleted is deleted: after a wait the next one's turn comes.
    for (const target of body.targets.slice(results.length))
      lab.api.within({ ...user, session }, () =>
        results.push(...deleteObjects(lab, { ...body, targets: [target] }).results),
      );
    return { results };
  });
}

/** The kind of a target; undefined where a manifest's is not known (any more). Throws StatusError for words that mean nothing. */
function kindFor(kinds: Kinds, target: Target): Kind | undefined {
  if (target.resource === undefined) return kinds.of(target.apiVersion ?? "", target.kind ?? "");
  const found = findKind(kinds, target.resource);
  if (found === undefined) throw unknownResource(target.resource);
  return found;
}

function unknownOutcome({ apiVersion = "", kind = "", namespace, name }: Target): Outcome {
  const place = namespace === undefined ? {} : { namespace };
  return { object: `${kind.toLowerCase()}/${name}`, apiVersion, kind, ...place, name, result: "not found" };
}

/** The kind a person means: one that is known out of the box, or one that a definition makes. */
function findKind(kinds: Kinds, word: string): Kind | undefined {
  const row = findResource(word);
  if (row !== undefined) return kinds.at(row.group, row.version, row.resource) ?? kinds.storedAs(row);
  const lower = word.toLowerCase();
  const dot = lower.indexOf(".");
  const [name, group] = dot < 0 ? [lower, ""] : [lower.slice(0, dot), lower.slice(dot + 1)];
  return kinds
    .all()
    .find(
      (kind) =>
        kind.custom !== undefined &&
        kind.group.startsWith(group) &&
        [kind.resource, kind.singular, kind.kind.toLowerCase(), ...kind.shortNames].includes(name),
    );
}

interface GetBody {
  readonly resources: readonly string[];
  readonly names: readonly string[];
  readonly namespace?: string;
  readonly selector?: string;
}

export function getObjects(
  lab: Lab,
  body: GetBody,
): {
  listings: readonly { resource: Resource; columns?: readonly PrinterColumn[] | null; items: readonly KubeObject[] }[];
} {
  return {
    listings: body.resources.map((word) => {
      const kind = findKind(lab.api.kinds, word);
      if (kind === undefined) throw unknownResource(word);
      const { custom, ...resource } = kind;
      return {
        resource,
        ...(custom === undefined ? {} : { columns: custom.additionalPrinterColumns ?? null }),
        items: select(lab, kind, body).map((object) => withoutManaged(shownObject(object, kind))),
      };
    }),
  };
}

/** Who owns which field is of interest to programs, and half of what would be printed. */
function withoutManaged(object: KubeObject): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}

function select(lab: Lab, resource: Kind, body: GetBody): readonly KubeObject[] {
  const namespace = resource.namespaced ? body.namespace : undefined;
  if (body.names.length > 0) {
    return body.names.map((name) => {
      const object = lab.api.get({
        group: resource.stored.group,
        resource: resource.stored.resource,
        name,
        ...(namespace !== undefined && { namespace }),
      });
      if (object === undefined)
        throw new StatusError(
          404,
          "NotFound",
          `${resource.resource}${resource.group === "" ? "" : `.${resource.group}`} "${name}" not found`,
        );
      return object;
    });
  }
  const requirements = body.selector === undefined ? [] : parseSelector(body.selector);
  return lab.api
    .list(resource.stored, namespace === undefined ? {} : { namespace })
    .items.filter((object) => matches(requirements, object.metadata.labels));
}

/** Every change of the resources, from now on, until the reader goes. */
export function watchObjects(lab: Lab, body: GetBody, send: Send, signal: AbortSignal): Promise<void> {
  const watches = body.resources.map((word) => {
    const kind = findKind(lab.api.kinds, word);
    if (kind === undefined) throw unknownResource(word);
    const { custom, ...resource } = kind;
    const columns = custom === undefined ? {} : { columns: custom.additionalPrinterColumns ?? null };
    const name: ResourceName = kind.stored;
    const requirements = body.selector === undefined ? [] : parseSelector(body.selector);
    return lab.api.watch(name, lab.api.revision, (event) => {
      if (event.type === "BOOKMARK") return;
      const { object } = event;
      if (resource.namespaced && body.namespace !== undefined && object.metadata.namespace !== body.namespace) return;
      if (body.names.length > 0 && !body.names.includes(object.metadata.name)) return;
      if (matches(requirements, object.metadata.labels))
        send({ resource, ...columns, object: withoutManaged(shownObject(object, kind)), type: event.type });
    });
  });
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => {
      for (const watch of watches) watch.close();
      resolve();
    });
  });
}

/** Tells how far the cluster is whenever that changes; ends when nothing is missing and every node's kernel holds it, or when time is up. */
export function waitUntilReady(lab: Lab, body: { seconds: number }, send: Send, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    let last = "";
    let queued = false;
    let pauseMs = 0;
    let next: NodeJS.Timeout | undefined;
    const done = (): void => {
      clearTimeout(next);
      clearTimeout(timer);
      watch.close();
      resolve();
    };
    const look = async (): Promise<void> => {
      queued = false;
      const started = performance.now();
      const now = readiness(lab.api);
      // Looking goes through all pods: what is being waited for has nearly all of the time.
      pauseMs = (performance.now() - started) * 30;
      const text = `${now.podsReady} ${now.pods} ${now.missing.length} ${now.isHopeless}`;
      if (text !== last) send(now);
      last = text;
      if (now.isHopeless) done();
      if (now.missing.length > 0) return;
      await lab.programmed();
      if (readiness(lab.api).missing.length === 0) done();
    };
    const timer = setTimeout(done, body.seconds * 1000);
    const watch = lab.api.watch("all", lab.api.revision, () => {
      if (queued) return;
      queued = true;
      if (pauseMs < 1) setImmediate(() => void look());
      else next = setTimeout(() => void look(), pauseMs);
    });
    signal.addEventListener("abort", done);
    void look();
  });
}

function unknownResource(word: string): StatusError {
  return new StatusError(404, "NotFound", `the server doesn't have a resource type "${word}"`);
}
