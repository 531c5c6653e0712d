// ClusterRoles that collect the rules of others by label. Upstream: pkg/controller/clusterroleaggregation.

import { sameJson } from "../../kube/equal.ts";
import type { LabelSelector } from "../../kube/pod.ts";
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
  const rules = new Map<string, PolicyRule>();
  for (const selector of selectors)
    for (const other of selectedRoles(selector, role, roles))
      for (const rule of other.rules ?? []) {
        const text = textOf(rule);
        if (!rules.has(text)) rules.set(text, rule);
      }
  return [...rules.values()];
}

/** By their names. */
function selectedRoles(selector: LabelSelector, { metadata }: Role, roles: readonly Role[]): readonly Role[] {
  return roles
    .filter((other) => other.metadata.name !== metadata.name && selects(selector, other.metadata.labels))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}

const ruleTexts = new WeakMap<PolicyRule, string>();

/** The same for equal rules, whatever the order of their fields. */
function textOf(rule: PolicyRule): string {
  let text = ruleTexts.get(rule);
  if (text === undefined) {
    text = JSON.stringify(Object.entries(rule).sort(([a], [b]) => (a < b ? -1 : 1)));
    ruleTexts.set(rule, text);
  }
  return text;
}
