// Targets that no URL named (a review asks, an impersonation is checked), and how a refusal is worded.

import { StatusError } from "../api/store.ts";
import type { User } from "./hooks.ts";
import type { Target } from "./target.ts";

/** A target as if a request had named it. */
export function resourceTarget(parts: {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly version?: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
}): Target {
  const { verb, group, resource, version = "", subresource, namespace, name } = parts;
  return {
    ...noTarget,
    verb,
    isResource: true,
    group,
    version,
    resource,
    namespace: namespace === "" ? undefined : namespace,
    name: name === "" ? undefined : name,
    subresource: subresource === "" ? undefined : subresource,
  };
}

/** The target of a path outside of the API groups. */
export function pathTarget(verb: string, path: string): Target {
  return { ...noTarget, verb, path };
}

const noTarget: Target = {
  verb: "",
  method: "",
  path: "",
  query: new URLSearchParams(),
  isResource: false,
  group: "",
  version: "",
  resource: "",
  namespace: undefined,
  name: undefined,
  subresource: undefined,
  rest: [],
};

/** 403 as kube-apiserver words it (apiserver endpoints/handlers/responsewriters forbiddenMessage). */
export function forbidden(user: User, target: Target, reason = ""): StatusError {
  const { verb, isResource, group, resource, subresource, namespace, name, path } = target;
  const why = reason === "" ? "" : `: ${reason}`;
  const who = `User ${JSON.stringify(user.username)} cannot ${verb}`;
  if (!isResource) return new StatusError(403, "Forbidden", `forbidden: ${who} path ${JSON.stringify(path)}${why}`);
  const what = JSON.stringify(subresource === undefined ? resource : `${resource}/${subresource}`);
  const where = namespace === undefined ? "at the cluster scope" : `in the namespace ${JSON.stringify(namespace)}`;
  const plural = group === "" ? resource : `${resource}.${group}`;
  const subject = name === undefined ? plural : `${plural} ${JSON.stringify(name)}`;
  return new StatusError(
    403,
    "Forbidden",
    `${subject} is forbidden: ${who} resource ${what} in API group ${JSON.stringify(group)} ${where}${why}`,
    { ...(name !== undefined && { name }), ...(group !== "" && { group }), kind: resource },
  );
}
