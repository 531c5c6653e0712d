// The class of Ingresses that name none: the one that is marked as default. Upstream: plugin/pkg/admission/network/defaultingressclass.

import type { KubeObject } from "../../kube/object.ts";
import type { Admission } from "../api/api.ts";

const isDefault = "ingressclass.kubernetes.io/is-default-class";
const legacyClass = "kubernetes.io/ingress.class";

/** Sets spec.ingressClassName of a new Ingress. Of several defaults the youngest, then the first by name. */
export const defaultIngressClass: Admission = ({ operation, object, store }) => {
  if (operation !== "create" || object.kind !== "Ingress" || object.apiVersion !== "networking.k8s.io/v1")
    return object;
  const spec = object["spec"] as { readonly ingressClassName?: string } | undefined;
  if (spec?.ingressClassName !== undefined || object.metadata.annotations?.[legacyClass] !== undefined) return object;
  const { items } = store.list({ group: "networking.k8s.io", resource: "ingressclasses" });
  const [first] = items.filter(({ metadata }) => metadata.annotations?.[isDefault] === "true").sort(byAge);
  return first === undefined ? object : { ...object, spec: { ...spec, ingressClassName: first.metadata.name } };
};

function byAge({ metadata: a }: KubeObject, { metadata: b }: KubeObject): number {
  const [older, younger] = [a.creationTimestamp ?? "", b.creationTimestamp ?? ""];
  if (older !== younger) return older < younger ? 1 : -1;
  return a.name < b.name ? -1 : 1;
}
