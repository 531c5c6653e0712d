// ClusterRoles that collect the rules of others by label. Upstream: pkg/controller/clusterroleaggregation.

import { sameJson } from "../../kube/equal.ts";
import { selects } from "../../kube/selector.ts";
import type { ObjectApi } from "../api/api.ts";
import type { PolicyRule, Role } from "./rbac-rules.ts";

const clusterRoles = { group: "rbac.authorization.k8s.io", resource: "clusterroles" };

/** Keeps the rules of aggregated ClusterRoles what their sources say, until stopped. */
export function startRoleAggregation(
  api: Pick<ObjectApi, "watch" | "list" | "update" | "revision">,
  failed: (error: unknown) => void = () => {},
): { stop(): void } {
  let isQueued = false;
  let isStopped = false;
  const look = (): void => {
    isQueued = false;
    if (isStopped) return;
    const roles = api.list(clusterRoles).items as readonly Role[];
    for (const role of roles) {
      if (role.aggregationRule === undefined) continue;
      const rules = collectedRules(role, roles);
      try {
        if (!sameJson(rules, role.rules ?? [])) api.update({ ...role, rules });
      } catch (error) {
        // Somebody was quicker: the event of their change makes us look again.
        failed(error);
      }
    }
  };
  const watch = api.watch(clusterRoles, api.revision, () => {
    if (isQueued) return;
    isQueued = true;
    setImmediate(look);
  });
  look();
  return {
    stop() {
      isStopped = true;
      watch.close();
    },
  };
}

/** The rules a role collects from the others, each once, by the others' names. */
export function collectedRules(role: Role, roles: readonly Role[]): readonly PolicyRule[] {
  const selectors = role.aggregationRule?.clusterRoleSelectors ?? [];
  const rules: PolicyRule[] = [];
  for (const selector of selectors)
    for (const other of [...roles].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1)))
      if (other.metadata.name !== role.metadata.name && selects(selector, other.metadata.labels))
        for (const rule of other.rules ?? []) if (!rules.some((known) => sameJson(known, rule))) rules.push(rule);
  return rules;
}
