// Manifests for commands that take -f: read, placed in a namespace, and refused with file and line where they are no good.

import { readManifests, type UnknownKinds } from "../watch/manifests.ts";
import type { KubeObject } from "../kube/object.ts";
import { resourceOf } from "../kube/resources.ts";

/** The objects of files and folders. Throws an error that carries every problem at once. Warnings are told, not thrown. */
export function loadManifests(
  paths: readonly string[],
  namespace: string,
  warn: (text: string) => void,
  /** `keep`: a running lab says whether there is such a kind. */
  unknownKinds?: UnknownKinds,
): readonly KubeObject[] {
  if (paths.length === 0) return [];
  const { objects, problems } = readManifests(paths, { unknownKinds });
  for (const problem of problems) if (problem.severity === "warning") warn(problem.message);
  const errors = problems.filter((problem) => problem.severity === "error").map((problem) => problem.message);
  if (errors.length > 0) throw new ManifestError(errors);
  return objects.map((object) => inNamespace(object, namespace));
}

/** Every problem of the manifests, a line each. */
class ManifestError extends Error {
  override readonly name = "ManifestError";
  readonly details: { readonly problems: readonly string[] };

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.details = { problems };
  }
}

function inNamespace(object: KubeObject, namespace: string): KubeObject {
  if (resourceOf(object.apiVersion, object.kind)?.namespaced !== true || object.metadata.namespace !== undefined)
    return object;
  return { ...object, metadata: { ...object.metadata, namespace } };
}
