// Everything that is wrong with an object and can be said without a cluster: is there such a kind, does it have the kind's structure, is
// it valid. What is allowed and yet probably not meant is in warnings.ts and suspicions.ts.

import { withDefaults } from "./defaults.ts";
import type { KubeObject } from "./object.ts";
import type { FieldProblem } from "./problem.ts";
import { resourceOf, resources } from "./resources.ts";
import { structureProblems } from "./structure.ts";
import { validate } from "./validate.ts";

/** What is wrong with an object as it was written; empty where it can be stored. */
export function objectProblems(object: KubeObject): FieldProblem[] {
  if (resourceOf(object.apiVersion, object.kind) === undefined)
    return [{ field: "kind", reason: "FieldValueNotFound", message: unknownKind(object) }];
  const structure = structureProblems(object);
  return structure.length > 0 ? structure : validate(withDefaults(object));
}

/** `no matches for kind …`, and what is near. */
function unknownKind({ apiVersion, kind }: { readonly apiVersion: string; readonly kind: string }): string {
  const message = `no matches for kind ${JSON.stringify(kind)} in version ${JSON.stringify(apiVersion)}`;
  if (["AdminNetworkPolicy", "BaselineAdminNetworkPolicy"].includes(kind)) {
    const tier = kind === "AdminNetworkPolicy" ? "Admin" : "Baseline";
    return `${message}; write a ClusterNetworkPolicy with tier ${tier}, which has replaced it (policy.networking.k8s.io/v1alpha2)`;
  }
  const sameKind = resources.find((row) => row.kind.toLowerCase() === kind.toLowerCase());
  if (sameKind === undefined) return message;
  return `${message}; it is kind ${sameKind.kind} in version ${sameKind.apiVersion}`;
}
