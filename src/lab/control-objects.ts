// Objects through the control socket: apply, delete, get, watch, and waiting until all is ready.

import type { KubeObject } from "../kube/object.ts";
import { findResource, resourceOf, type Resource } from "../kube/resources.ts";
import { matches, parseSelector } from "../kube/selector.ts";
import type { Send } from "./send.ts";
import { StatusError, type ResourceName } from "./api/store.ts";
import { checkAll } from "./api/check.ts";
import type { Lab } from "./lab.ts";
import { readiness } from "./wait.ts";

interface ApplyBody {
  readonly objects: readonly KubeObject[];
  readonly dryRun?: boolean;
}

/** Checks every object before the first is stored: nothing is half-applied. */
export function applyObjects(
  lab: Lab,
  { objects, dryRun }: ApplyBody,
): { results: readonly { object: string; result: string; warnings: readonly string[] }[] } {
  const { errors, warnings } = checkAll(lab.api, objects);
  if (errors.length > 0) throw new StatusError(422, "Invalid", errors.join("\n"), { problems: errors });
  const ordered = [...objects].sort((a, b) => rank(a) - rank(b));
  const write = (): readonly string[] => lab.api.applyAll(ordered).map(({ result }) => result);
  const results = dryRun === true ? lab.api.rehearse(write) : write();
  return {
    results: ordered.map((object, index) => ({
      object: nameOf(object),
      result: results[index] ?? "",
      warnings: warnings.get(object) ?? [],
    })),
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

export function deleteObjects(
  lab: Lab,
  body: { targets: readonly Target[]; now?: boolean },
): { results: readonly { object: string; result: string }[] } {
  return {
    results: body.targets.map((target) => {
      const resource = resourceFor(target);
      const object = `${resource.singular}/${target.name}`;
      const key = {
        group: resource.group,
        resource: resource.resource,
        name: target.name,
        ...(resource.namespaced && { namespace: target.namespace ?? "default" }),
      };
      if (lab.api.get(key) === undefined) return { object, result: "not found" };
      lab.api.delete(key, { propagation: "Background", ...(body.now === true && { gracePeriodSeconds: 0 }) });
      return { object, result: "deleted" };
    }),
  };
}

function resourceFor(target: Target): Resource {
  const found =
    target.resource === undefined
      ? resourceOf(target.apiVersion ?? "", target.kind ?? "")
      : findResource(target.resource);
  if (found === undefined) throw unknownResource(target.resource ?? `${target.apiVersion} ${target.kind}`);
  return found;
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
): { listings: readonly { resource: Resource; items: readonly KubeObject[] }[] } {
  return {
    listings: body.resources.map((word) => {
      const resource = findResource(word);
      if (resource === undefined) throw unknownResource(word);
      return { resource, items: select(lab, resource, body) };
    }),
  };
}

function select(lab: Lab, resource: Resource, body: GetBody): readonly KubeObject[] {
  const namespace = resource.namespaced ? body.namespace : undefined;
  if (body.names.length > 0) {
    return body.names.map((name) => {
      const object = lab.api.get({
        group: resource.group,
        resource: resource.resource,
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
    .list(resource, namespace === undefined ? {} : { namespace })
    .items.filter((object) => matches(requirements, object.metadata.labels));
}

/** Every change of the resources, from now on, until the reader goes. */
export function watchObjects(lab: Lab, body: GetBody, send: Send, signal: AbortSignal): Promise<void> {
  const watches = body.resources.map((word) => {
    const resource = findResource(word);
    if (resource === undefined) throw unknownResource(word);
    const name: ResourceName = { group: resource.group, resource: resource.resource };
    const requirements = body.selector === undefined ? [] : parseSelector(body.selector);
    return lab.api.watch(name, lab.api.revision, (event) => {
      if (event.type === "BOOKMARK") return;
      const { object } = event;
      if (resource.namespaced && body.namespace !== undefined && object.metadata.namespace !== body.namespace) return;
      if (body.names.length > 0 && !body.names.includes(object.metadata.name)) return;
      if (matches(requirements, object.metadata.labels)) send({ resource, object, type: event.type });
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
      const text = `${now.podsReady} ${now.pods} ${now.missing.length}`;
      if (text !== last) send(now);
      last = text;
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

function nameOf(object: KubeObject): string {
  const resource = resourceOf(object.apiVersion, object.kind);
  const group = resource === undefined || resource.group === "" ? "" : `.${resource.group}`;
  return `${resource?.singular ?? object.kind.toLowerCase()}${group}/${object.metadata.name}`;
}
