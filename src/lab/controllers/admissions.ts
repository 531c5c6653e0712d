// The steps of writes that the controllers rely on, in their order; for createObjectApi, with the Service allocator behind them.

import type { Pod, Toleration } from "../../kube/kinds.ts";
import { rememberedChange } from "../../kube/repeated.ts";
import type { Admission } from "../api/api.ts";
import { defaultIngressClass } from "./ingress-classes.ts";
import { nodeTaints, tolerates } from "./taints.ts";

/** KEP-2161. */
export const nameLabel = "kubernetes.io/metadata.name";
export const defaultServiceAccount = "default";
/** How long pods stay on a node that is not ready or unreachable, unless they say otherwise. */
const defaultTolerationSeconds = 300;

/** Sets the label `kubernetes.io/metadata.name` on every namespace that is written. */
const namespaceLabels: Admission = ({ operation, object }) => {
  if (operation === "delete" || object.kind !== "Namespace" || object.apiVersion !== "v1") return object;
  const { labels = {}, name } = object.metadata;
  if (labels[nameLabel] === name) return object;
  return { ...object, metadata: { ...object.metadata, labels: { ...labels, [nameLabel]: name } } };
};

/** Gives every new pod that names none the ServiceAccount `default` of its namespace (plugin/pkg/admission/serviceaccount). */
const defaultServiceAccounts: Admission = ({ operation, object }) => {
  if (operation !== "create" || object.kind !== "Pod" || object.apiVersion !== "v1") return object;
  const pod = object as Pod;
  if ((pod.spec.serviceAccountName ?? "") !== "") return object;
  const spec = rememberedChange(pod.spec, "default account", () => ({
    ...pod.spec,
    serviceAccountName: defaultServiceAccount,
    serviceAccount: defaultServiceAccount,
  }));
  return { ...pod, spec };
};

/** Gives every pod that is written the tolerations that keep it on a silent node for five minutes (plugin/pkg/admission/defaulttolerationseconds). */
const defaultTolerations: Admission = ({ operation, object }) => {
  if (operation === "delete" || object.kind !== "Pod" || object.apiVersion !== "v1") return object;
  const pod = object as Pod;
  const spec = rememberedChange(pod.spec, "default tolerations", () => withTolerations(pod.spec));
  return spec === pod.spec ? pod : { ...pod, spec };
};

function withTolerations(spec: Pod["spec"]): Pod["spec"] {
  const own = spec.tolerations ?? [];
  const missing = [nodeTaints.notReady, nodeTaints.unreachable].filter(
    (key) => !own.some((toleration) => tolerates(toleration, { key, effect: "NoExecute" })),
  );
  if (missing.length === 0) return spec;
  const added = missing.map((key): Toleration => ({
    key,
    operator: "Exists",
    effect: "NoExecute",
    tolerationSeconds: defaultTolerationSeconds,
  }));
  return { ...spec, tolerations: [...own, ...added] };
}

export const admissions: readonly Admission[] = [
  namespaceLabels,
  defaultServiceAccounts,
  defaultTolerations,
  defaultIngressClass,
];
