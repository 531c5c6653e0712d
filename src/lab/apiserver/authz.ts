// May this user do this? Administrators always, nodes what their pods need, everybody what RBAC gives them.
// Upstream: the authorizer union of kube-apiserver with --authorization-mode=Node,RBAC.

import type { ObjectApi } from "../api/api.ts";
import { createNodeAuthorize } from "./authz-node.ts";
import type { Authorize } from "./hooks.ts";
import type { Rbac } from "./rbac.ts";
import type { Target } from "./target.ts";

/** Everything is allowed to this group, whatever the roles say: so nobody can lock themselves out. */
export const masters = "system:masters";

/** The lab's authorizer. */
export function createAuthorize(api: Pick<ObjectApi, "list">, rbac: Rbac): Authorize {
  const byNode = createNodeAuthorize(
    api,
    () => rbac.roleRules({ kind: "ClusterRole", name: "system:node" }, undefined) ?? [],
  );
  return (user, given) => {
    if (user.groups.includes(masters)) return { allowed: true };
    const target = withSelectedName(given);
    const asNode = byNode(user, target);
    if (asNode.allowed) return asNode;
    const byRoles = rbac.authorize(user, target);
    if (byRoles.allowed) return byRoles;
    const reasons = [asNode.reason, byRoles.reason].filter((reason) => reason !== undefined);
    return { allowed: false, ...(reasons.length > 0 && { reason: reasons.join(", ") }) };
  };
}

// apiserver endpoints/request RequestInfo: a list or watch of one name is a request for that name.
function withSelectedName(target: Target): Target {
  if (target.name !== undefined || !target.isResource) return target;
  const selector = target.query.get("fieldSelector");
  const name = selector === null ? undefined : /(?:^|,)metadata\.name==?([^,=!]+)(?:,|$)/.exec(selector)?.[1];
  return name === undefined ? target : { ...target, name };
}
