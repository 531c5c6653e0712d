// The API errors that the store and the write path answer with, in Kubernetes' words (apimachinery api/errors).

import type { KubeObject } from "../../kube/object.ts";
import { problemText, type FieldProblem } from "../../kube/problem.ts";
import type { Resource } from "../../kube/resources.ts";
import { StatusError, type ResourceName } from "./store.ts";

/** `deployments.apps`, or `pods` for the core group: how messages name a resource. */
export function resourceText({ group, resource }: ResourceName): string {
  return group === "" ? resource : `${resource}.${group}`;
}

type Named = ResourceName & { readonly name: string };

/** 404. */
export function notFound(key: Named): StatusError {
  return new StatusError(404, "NotFound", `${resourceText(key)} "${key.name}" not found`, detailsOf(key));
}

/** 409: the name is taken. */
export function alreadyExists(key: Named): StatusError {
  return new StatusError(409, "AlreadyExists", `${resourceText(key)} "${key.name}" already exists`, detailsOf(key));
}

/** 409: the object is not the one that was meant. Without a reason: it has been modified since it was read. */
export function conflict(
  key: Named,
  reason = "the object has been modified; please apply your changes to the latest version and try again",
): StatusError {
  const message = `Operation cannot be fulfilled on ${resourceText(key)} "${key.name}": ${reason}`;
  return new StatusError(409, "Conflict", message, detailsOf(key));
}

/** 403. */
export function forbidden(key: Named, reason: string): StatusError {
  return new StatusError(
    403,
    "Forbidden",
    `${resourceText(key)} "${key.name}" is forbidden: ${reason}`,
    detailsOf(key),
  );
}

/** 400. */
export function badRequest(message: string): StatusError {
  return new StatusError(400, "BadRequest", message);
}

/** 400: the object has not the structure of its kind, as a strict decoder says it. */
export function undecodable({ apiVersion, kind }: KubeObject, problems: readonly FieldProblem[]): StatusError {
  const version = apiVersion.slice(apiVersion.indexOf("/") + 1);
  const text = problems.map(problemText).join(", ");
  const message = `${kind} in version "${version}" cannot be handled as a ${kind}: strict decoding error: ${text}`;
  return new StatusError(400, "BadRequest", message, { causes: problems });
}

/** 422: `Service "x" is invalid: spec.ports[0].port: Invalid value: …`; several problems in brackets. */
export function invalidObject(
  resource: Pick<Resource, "group" | "kind">,
  name: string,
  problems: readonly FieldProblem[],
): StatusError {
  const { group, kind } = resource;
  const texts = problems.map(problemText);
  const list = texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`;
  const qualified = group === "" ? kind : `${kind}.${group}`;
  return new StatusError(422, "Invalid", `${qualified} ${JSON.stringify(name)} is invalid: ${list}`, {
    ...(name === "" ? {} : { name }),
    kind,
    ...(group === "" ? {} : { group }),
    causes: problems,
  });
}

function detailsOf({ group, resource, name }: Named): { [field: string]: unknown } {
  return { name, kind: resource, ...(group === "" ? {} : { group }) };
}
