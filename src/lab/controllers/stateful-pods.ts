// The pods of a StatefulSet: their names, labels and claims. Upstream: pkg/controller/statefulset/stateful_set_utils.go.

import type { Pod, PodTemplateSpec, StatefulSet, Volume } from "../../kube/kinds.ts";
import type { ObjectMeta } from "../../kube/object.ts";
import { revisionLabel } from "./controller-revisions.ts";
import { podFromTemplate } from "./pod-state.ts";
import { statefulSets, type PersistentVolumeClaim } from "./resources.ts";

/** The place of a pod in its set's row, by its name; undefined where the name is not of the set. */
export function ordinalOf(set: StatefulSet, pod: Pod): number | undefined {
  const match = /^(.*)-(0|[1-9]\d*)$/.exec(pod.metadata.name);
  return match?.[1] === set.metadata.name ? Number(match[2]) : undefined;
}

/** The pod at a place in the row, of a version of the template. Its host name and DNS name are its own for ever. */
export function statefulPod(options: {
  readonly set: StatefulSet;
  readonly template: PodTemplateSpec;
  readonly version: string;
  readonly ordinal: number;
}): Pod {
  const { set, ordinal } = options;
  const name = `${set.metadata.name}-${ordinal}`;
  const pod = podFromTemplate({
    template: options.template,
    owner: set,
    resource: statefulSets,
    name: { exact: name },
    labels: {
      "statefulset.kubernetes.io/pod-name": name,
      "apps.kubernetes.io/pod-index": String(ordinal),
      [revisionLabel]: options.version,
    },
  });
  const { serviceName = "" } = set.spec;
  return {
    ...pod,
    spec: {
      ...pod.spec,
      hostname: name,
      ...(serviceName === "" ? {} : { subdomain: serviceName }),
      ...volumesWithClaims(set, name, pod.spec.volumes),
    },
  };
}

interface ClaimTemplate {
  readonly metadata: Partial<ObjectMeta>;
  readonly spec?: unknown;
}

function claimTemplates(set: StatefulSet): readonly ClaimTemplate[] {
  return (set.spec as { volumeClaimTemplates?: readonly ClaimTemplate[] }).volumeClaimTemplates ?? [];
}

function claimName(template: ClaimTemplate, podName: string): string {
  return `${template.metadata.name}-${podName}`;
}

/** A claim stands for the template's volume of the same name. */
function volumesWithClaims(
  set: StatefulSet,
  podName: string,
  volumes: readonly Volume[] | undefined,
): { readonly volumes?: readonly Volume[] } {
  const templates = claimTemplates(set);
  if (templates.length === 0) return {};
  const claims = templates.map((template): Volume => ({
    name: template.metadata.name ?? "",
    persistentVolumeClaim: { claimName: claimName(template, podName) },
  }));
  const own = (volumes ?? []).filter(({ name }) => !claims.some((claim) => claim.name === name));
  return { volumes: [...claims, ...own] };
}

/** The claims that a pod of the set needs; they outlive it. */
export function claimsFor(set: StatefulSet, pod: Pod): readonly PersistentVolumeClaim[] {
  return claimTemplates(set).map((template) => ({
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: {
      ...template.metadata,
      name: claimName(template, pod.metadata.name),
      ...(set.metadata.namespace === undefined ? {} : { namespace: set.metadata.namespace }),
      labels: { ...template.metadata.labels, ...set.spec.selector.matchLabels },
    },
    ...(template.spec === undefined ? {} : { spec: template.spec }),
  }));
}
