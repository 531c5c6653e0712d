// What a node may do: what the role system:node says, but Secrets, ConfigMaps and the like only where one of its own pods uses them.
// Upstream: plugin/pkg/auth/authorizer/node.

import type { Pod } from "../../kube/kinds.ts";
import { refersTo, type PodReference } from "./authz-pod-references.ts";
import type { ObjectApi } from "../api/api.ts";
import type { Authorize, User } from "./hooks.ts";
import { allows, type PolicyRule } from "./rbac-rules.ts";
import type { Target } from "./target.ts";

/** The node a user speaks for; undefined for everybody else. */
export function nodeOfUser({ username, groups }: User): string | undefined {
  const prefix = "system:node:";
  return groups.includes("system:nodes") && username.startsWith(prefix) ? username.slice(prefix.length) : undefined;
}

/** Judges nodes only: others are not allowed anything here. `nodeRules`: those of ClusterRole system:node. */
export function createNodeAuthorize(api: Pick<ObjectApi, "list">, nodeRules: () => readonly PolicyRule[]): Authorize {
  return (user, target) => {
    const node = nodeOfUser(user);
    if (node === undefined || !target.isResource) return { allowed: false };
    const refused = refusal(api, node, target);
    if (refused !== undefined) return { allowed: false, reason: refused };
    return { allowed: nodeRules().some((rule) => allows(rule, target)) };
  };
}

/** Why the node may not, whatever its role says; undefined where the role decides. */
function refusal(api: Pick<ObjectApi, "list">, node: string, target: Target): string | undefined {
  const { group, resource, subresource, namespace, name, verb } = target;
  const owned = `no relationship found between node '${node}' and this object`;
  const usedBy = (kind: PodReference): string | undefined => {
    if (name === undefined) return "No Object name found";
    const pods = api.list({ group: "", resource: "pods" }, namespace === undefined ? {} : { namespace })
      .items as readonly Pod[];
    return pods.some((pod) => pod.spec.nodeName === node && refersTo(pod, kind, name)) ? undefined : owned;
  };
  switch (`${group === "" ? "" : `${group}/`}${resource}${subresource === undefined ? "" : `/${subresource}`}`) {
    case "secrets":
    case "configmaps":
    case "persistentvolumeclaims":
      return usedBy(resource as PodReference);
    case "serviceaccounts":
    case "serviceaccounts/token":
      return usedBy("serviceaccounts");
    case "coordination.k8s.io/leases":
      if (namespace !== "kube-node-lease") return 'can only access leases in the "kube-node-lease" system namespace';
      return verb === "create" || name === node
        ? undefined
        : "can only access node lease with the same name as the requesting node";
    case "storage.k8s.io/csinodes":
      return verb === "create" || name === node
        ? undefined
        : "can only access CSINode with the same name as the requesting node";
    default:
      return undefined;
  }
}
