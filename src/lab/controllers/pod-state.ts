// What a pod's status says about it, and the pods that controllers make from templates.

import type { Pod, PodTemplateSpec } from "../../kube/kinds.ts";
import type { KubeObject, Labels, OwnerReference } from "../../kube/object.ts";
import { timeMs } from "../../watch/clock.ts";
import { conditionOf } from "./conditions.ts";
import { generateName } from "./names.ts";
import type { TypedResource } from "./resources.ts";

/** Has it ended, for good? */
export function isFinished(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

export function isTerminating(pod: Pod): boolean {
  return pod.metadata.deletionTimestamp !== undefined;
}

/** Neither ended nor on its way out (upstream IsPodActive). */
export function isActive(pod: Pod): boolean {
  return !isFinished(pod) && !isTerminating(pod);
}

export function isReady(pod: Pod): boolean {
  return conditionOf(pod.status?.conditions, "Ready")?.status === "True";
}

/** When a pod will have been ready for long enough, in milliseconds from now: 0 is now, undefined while it is not ready. */
export function availableInMs(pod: Pod, minReadySeconds: number, nowMs: number): number | undefined {
  if (!isReady(pod)) return undefined;
  if (minReadySeconds === 0) return 0;
  const since = timeMs(conditionOf(pod.status?.conditions, "Ready")?.lastTransitionTime);
  return since === undefined ? undefined : Math.max(0, since + minReadySeconds * 1000 - nowMs);
}

/** The reference that makes `owner` an object's controller. */
export function controllerReference(resource: TypedResource, owner: KubeObject): OwnerReference {
  return {
    apiVersion: resource.apiVersion,
    kind: resource.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid ?? "",
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** The owner that controls an object, if any. */
export function controllerOf(object: KubeObject): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find((owner) => owner.controller === true);
}

/** A pod of a template (upstream GetPodFromTemplate). Its name is `baseName` and five random characters unless `name` is given. */
export function podFromTemplate(options: {
  readonly template: PodTemplateSpec;
  readonly owner: KubeObject;
  readonly resource: TypedResource;
  readonly name: { readonly random: () => number } | { readonly exact: string };
  readonly labels?: Labels;
  readonly annotations?: Labels;
  readonly finalizers?: readonly string[];
}): Pod {
  const { template, owner } = options;
  // podsPrefix in upstream's controller_utils.go: "<owner>-".
  const generate = `${owner.metadata.name}-`;
  const named =
    "exact" in options.name
      ? { name: options.name.exact }
      : { name: generateName(generate, options.name.random), generateName: generate };
  const annotations = { ...template.metadata?.annotations, ...options.annotations };
  const finalizers = [...(template.metadata?.finalizers ?? []), ...(options.finalizers ?? [])];
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      ...named,
      ...(owner.metadata.namespace === undefined ? {} : { namespace: owner.metadata.namespace }),
      labels: { ...template.metadata?.labels, ...options.labels },
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
      ...(finalizers.length === 0 ? {} : { finalizers }),
      ownerReferences: [controllerReference(options.resource, owner)],
    },
    spec: template.spec,
  };
}
