// metadata.generation: which kinds count what was asked of their objects, and when the number grows.

import { sameJson } from "../../kube/equal.ts";
import type { KubeObject } from "../../kube/object.ts";
import { resourceText } from "./errors.ts";
import type { Kind } from "./kinds.ts";

/** Does a kind count its generations? What is looked up and not acted upon does not, nor do the oldest kinds. */
export function isCounted({ custom, stored }: Kind): boolean {
  return custom !== undefined || !uncounted.has(resourceText(stored));
}

// Those of pkg/registry/*/strategy.go that set no generation.
const uncounted = new Set([
  "apiservices.apiregistration.k8s.io",
  "certificatesigningrequests.certificates.k8s.io",
  "clusterrolebindings.rbac.authorization.k8s.io",
  "clusterroles.rbac.authorization.k8s.io",
  "clustertrustbundles.certificates.k8s.io",
  "componentstatuses",
  "configmaps",
  "controllerrevisions.apps",
  "csidrivers.storage.k8s.io",
  "csinodes.storage.k8s.io",
  "csistoragecapacities.storage.k8s.io",
  "endpoints",
  "events",
  "horizontalpodautoscalers.autoscaling",
  "ipaddresses.networking.k8s.io",
  "leasecandidates.coordination.k8s.io",
  "leases.coordination.k8s.io",
  "limitranges",
  "namespaces",
  "nodes",
  "persistentvolumeclaims",
  "persistentvolumes",
  "podcertificaterequests.certificates.k8s.io",
  "resourceclaims.resource.k8s.io",
  "resourceclaimtemplates.resource.k8s.io",
  "resourcequotas",
  "rolebindings.rbac.authorization.k8s.io",
  "roles.rbac.authorization.k8s.io",
  "runtimeclasses.node.k8s.io",
  "secrets",
  "serviceaccounts",
  "servicecidrs.networking.k8s.io",
  "services",
  "storageclasses.storage.k8s.io",
  "volumeattachments.storage.k8s.io",
  "volumeattributesclasses.storage.k8s.io",
]);

/** The generation counts changes of what is asked for: everything but metadata and status. */
export function withGeneration(object: KubeObject, previous: KubeObject): KubeObject {
  const { metadata: _, status: __, ...asked } = object;
  const { metadata: ___, status: ____, ...askedBefore } = previous;
  const before = previous.metadata.generation ?? 1;
  const generation = sameJson(asked, askedBefore) || isBinding(asked, askedBefore) ? before : before + 1;
  return { ...object, metadata: { ...object.metadata, generation } };
}

/** Where a pod goes is the scheduler's answer, not something that was asked for anew (upstream's BindingREST leaves the generation). */
function isBinding(
  asked: { readonly [field: string]: unknown },
  before: { readonly [field: string]: unknown },
): boolean {
  if (asked["kind"] !== "Pod") return false;
  const [spec, specBefore] = [asked["spec"], before["spec"]] as { readonly nodeName?: string }[];
  if ((specBefore?.nodeName ?? "") !== "" || (spec?.nodeName ?? "") === "") return false;
  const { nodeName: _, ...rest } = spec ?? {};
  const { nodeName: __, ...restBefore } = specBefore ?? {};
  return sameJson(rest, restBefore);
}
