// The objects a pod's specification names: what its node must be able to read. Upstream: pkg/api/v1/pod VisitPodSecretNames and its like.

import type { Container, Pod } from "../../kube/kinds.ts";

export type PodReference = "secrets" | "configmaps" | "persistentvolumeclaims" | "serviceaccounts";

/** Does the pod use the object of this kind and name (in its own namespace)? */
export function refersTo(pod: Pod, kind: PodReference, name: string): boolean {
  return namesIn(pod, kind).has(name);
}

function namesIn(pod: Pod, kind: PodReference): ReadonlySet<string> {
  const { spec } = pod;
  const names = new Set<string>();
  const add = (name: string | undefined): void => {
    if (name !== undefined && name !== "") names.add(name);
  };
  if (kind === "serviceaccounts") add(spec.serviceAccountName);
  if (kind === "secrets")
    for (const reference of (spec["imagePullSecrets" as keyof typeof spec] ?? []) as readonly {
      readonly name?: string;
    }[])
      add(reference.name);
  for (const container of [
    ...spec.containers,
    ...(spec.initContainers ?? []),
    ...((spec.ephemeralContainers ?? []) as readonly Container[]),
  ]) {
    for (const from of container.envFrom ?? []) {
      if (kind === "secrets") add(from.secretRef?.name);
      if (kind === "configmaps") add(from.configMapRef?.name);
    }
    for (const { valueFrom } of container.env ?? []) {
      if (kind === "secrets") add(valueFrom?.secretKeyRef?.name);
      if (kind === "configmaps") add(valueFrom?.configMapKeyRef?.name);
    }
  }
  for (const volume of spec.volumes ?? []) {
    if (kind === "secrets") add(volume.secret?.secretName);
    if (kind === "configmaps") add(volume.configMap?.name);
    if (kind === "persistentvolumeclaims")
      add((volume["persistentVolumeClaim"] as { claimName?: string } | undefined)?.claimName);
    for (const source of volume.projected?.sources ?? []) {
      if (kind === "secrets") add(source.secret?.name);
      if (kind === "configmaps") add(source.configMap?.name);
    }
  }
  return names;
}
