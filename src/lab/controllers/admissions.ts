// The steps of writes that the controllers rely on, in their order; for createObjectApi, with the Service allocator behind them.

import type { Pod, Toleration } from "../../kube/kinds.ts";
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
  return {
    ...pod,
    spec: { ...pod.spec, serviceAccountName: defaultServiceAccount, serviceAccount: defaultServiceAccount },
  };
};

/** Gives every new pod the tolerations that keep it on a silent node for five minutes (plugin/pkg/admission/defaulttolerationseconds). */
const defaultTolerations: Admission = ({ operation, object }) => {
  if (operation !== "create" || object.kind !== "Pod" || object.apiVersion !== "v1") return object;
  const pod = object as Pod;
  const own = pod.spec.tolerations ?? [];
  const missing = [nodeTaints.notReady, nodeTaints.unreachable].filter(
    (key) => !own.some((toleration) => tolerates(toleration, { key, effect: "NoExecute" })),
  );
  if (missing.length === 0) return object;
  const added = missing.map((key): Toleration => ({
    key,
    operator: "Exists",
    effect: "NoExecute",
    tolerationSeconds: defaultTolerationSeconds,
  }));
  return { ...pod, spec: { ...pod.spec, tolerations: [...own, ...added] } };
};

export const admissions: readonly Admission[] = [
  namespaceLabels,
  defaultServiceAccounts,
  defaultTolerations,
  defaultIngressClass,
];
