// Which writes a policy or a webhook is about: its rules, its selectors, and the version it knows the object in
// (admissionregistration/v1 MatchResources; apiserver admission/plugin/webhook/predicates).

import type { LabelSelector } from "../../../kube/pod.ts";
import type { KubeObject } from "../../../kube/object.ts";
import { selects } from "../../../kube/selector.ts";
import type { AdmissionRequest } from "../api.ts";
import type { Kind } from "../kinds.ts";

/** admissionregistration/v1 NamedRuleWithOperations. */
export interface Rule {
  readonly operations?: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly apiVersions?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly scope?: string;
}

/** admissionregistration/v1 MatchResources. */
export interface MatchResources {
  readonly resourceRules?: readonly Rule[];
  readonly excludeResourceRules?: readonly Rule[];
  readonly namespaceSelector?: LabelSelector;
  readonly objectSelector?: LabelSelector;
  readonly matchPolicy?: string;
}

/** The kind, and so the version, in which a write matches; undefined where it does not. Without rules everything matches. */
export function matchedKind(request: AdmissionRequest, match: MatchResources): Kind | undefined {
  const { resourceRules, excludeResourceRules = [], matchPolicy } = match;
  const versions = versionsOf(request, matchPolicy !== "Exact");
  if (versions.some((kind) => excludeResourceRules.some((rule) => ruleMatches(rule, request, kind)))) return undefined;
  const found =
    resourceRules === undefined || resourceRules.length === 0
      ? request.kind
      : versions.find((kind) => resourceRules.some((rule) => ruleMatches(rule, request, kind)));
  if (found === undefined || !namespaceMatches(request, match.namespaceSelector)) return undefined;
  return objectMatches(request, match.objectSelector) ? found : undefined;
}

/** The kind that was asked for first, then its other versions. */
function versionsOf({ kind, kinds }: AdmissionRequest, equivalent: boolean): readonly Kind[] {
  if (!equivalent) return [kind];
  const { group, resource } = kind.stored;
  const others = kinds.all().filter(({ stored }) => stored.group === group && stored.resource === resource);
  return [kind, ...others.filter((each) => each !== kind)];
}

const operations = { create: "CREATE", update: "UPDATE", delete: "DELETE", connect: "CONNECT" } as const;

/** The operation as reviews name it. */
export function operationOf({
  operation,
  actor,
  kind,
}: AdmissionRequest): (typeof operations)[keyof typeof operations] {
  // A binding or an eviction is a thing of its own that is created.
  if (actor.subresource !== undefined && createdSubresources.has(actor.subresource) && kind.resource === "pods")
    return "CREATE";
  return operations[operation];
}

const createdSubresources = new Set(["binding", "eviction"]);

function ruleMatches(rule: Rule, request: AdmissionRequest, kind: Kind): boolean {
  const has = (list: readonly string[] | undefined, value: string): boolean =>
    list?.some((each) => each === "*" || each === value) === true;
  if (
    !has(rule.operations, operationOf(request)) ||
    !has(rule.apiGroups, kind.group) ||
    !has(rule.apiVersions, kind.version)
  )
    return false;
  const scope = rule.scope ?? "*";
  if (scope !== "*" && scope !== (kind.namespaced ? "Namespaced" : "Cluster")) return false;
  const { resourceNames = [] } = rule;
  if (resourceNames.length > 0 && !resourceNames.includes(request.object.metadata.name)) return false;
  const { subresource = "" } = request.actor;
  return (rule.resources ?? []).some((text) => {
    const [resource = "", sub = ""] = text.split("/");
    return (
      (resource === "*" || resource === kind.resource) && (sub === subresource || (sub === "*" && text.includes("/")))
    );
  });
}

function namespaceMatches(request: AdmissionRequest, selector: LabelSelector | undefined): boolean {
  if (isEverything(selector)) return true;
  const namespace = namespaceOf(request);
  return namespace === undefined || selects(selector, namespace.metadata.labels);
}

/** The namespace of what is written, or the one that is written itself; undefined for other things of the cluster. */
export function namespaceOf({ object, kind, store }: AdmissionRequest): KubeObject | undefined {
  if (kind.group === "" && kind.resource === "namespaces") return object;
  const { namespace } = object.metadata;
  return namespace === undefined ? undefined : store.get({ group: "", resource: "namespaces", name: namespace });
}

function objectMatches(
  { object, previous, operation }: AdmissionRequest,
  selector: LabelSelector | undefined,
): boolean {
  if (isEverything(selector)) return true;
  // webhook/predicates/object/matcher.go: what has no labels is not selected.
  if (operation === "connect") return false;
  const fits = (each: KubeObject): boolean => selects(selector, each.metadata.labels);
  return (operation !== "delete" && fits(object)) || (previous !== undefined && fits(previous));
}

function isEverything(selector: LabelSelector | undefined): boolean {
  return (
    selector === undefined ||
    (Object.keys(selector.matchLabels ?? {}).length === 0 && (selector.matchExpressions ?? []).length === 0)
  );
}

/** Policies and webhooks say nothing about themselves, or nobody could ever take a bad one away. */
export function isExempt({ kind }: AdmissionRequest): boolean {
  return kind.group === "admissionregistration.k8s.io";
}
