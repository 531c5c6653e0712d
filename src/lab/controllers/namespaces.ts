// Namespaces: every one carries its name as a label, and one that is deleted is emptied first.
// Upstream: pkg/controller/namespace; the label is KEP-2161, set by the API server on every write.

import type { Condition, Namespace } from "../../kube/kinds.ts";
import { sameJson } from "../../kube/equal.ts";
import type { KubeObject } from "../../kube/object.ts";
import { StatusError, type ResourceName } from "../api/store.ts";
import { nameLabel } from "./admissions.ts";
import { withCondition } from "./conditions.ts";
import type { Change, Objects } from "./objects.ts";
import { namespaces, pods } from "./resources.ts";
import { on, type Cluster, type Controller, type Enqueue } from "./runtime.ts";

export function namespaceController(cluster: Cluster): Controller {
  const { objects, clock } = cluster;
  const terminating = new Set<string>();
  // What is left in a namespace on its way out goes one by one.
  const anyChanged = ({ object, previous }: Change, enqueue: Enqueue): void => {
    const namespace = (object ?? previous)?.metadata.namespace;
    if (namespace !== undefined && terminating.has(namespace)) enqueue(namespace);
  };

  const empty = (namespace: Namespace): void => {
    const left = deleteContents(objects, namespace.metadata.name);
    const conditions = contentConditions(namespace, left, clock.now());
    if (!sameJson(conditions, namespace.status?.conditions)) {
      objects.updateStatus(namespaces, { ...namespace, status: { phase: "Terminating", conditions } });
    }
    if (left.length > 0) return;
    const latest = objects.get(namespaces, undefined, namespace.metadata.name);
    if (latest === undefined) return;
    const finalizers = (latest.spec.finalizers ?? []).filter((name) => name !== "kubernetes");
    if (finalizers.length !== (latest.spec.finalizers ?? []).length) {
      objects.update(namespaces, { ...latest, spec: { ...latest.spec, finalizers } });
    }
  };

  return {
    name: "namespace-controller",
    watches: [
      on(namespaces, ({ object, previous }, enqueue) => {
        if (object === undefined) terminating.delete(previous?.metadata.name ?? "");
        else enqueue(object.metadata.name);
      }),
      { resource: undefined, changed: anyChanged },
    ],
    reconcile(name) {
      const namespace = objects.get(namespaces, undefined, name);
      if (namespace === undefined) return;
      if (namespace.metadata.deletionTimestamp !== undefined) {
        terminating.add(name);
        return empty(namespace);
      }
      // Those that were stored before the admission existed.
      if (namespace.metadata.labels?.[nameLabel] === name) return;
      const labels = { ...namespace.metadata.labels, [nameLabel]: name };
      objects.update(namespaces, { ...namespace, metadata: { ...namespace.metadata, labels } });
    },
  };
}

/**
 * Deletes what can be deleted; gives what is still there. Pods go first and everything else when they are gone, so that nothing runs on
 * without the policies that guarded it (KEP-5080).
 */
function deleteContents(objects: Objects, namespace: string): Contents {
  const podsIn = (): Contents => objects.inNamespace(pods, namespace).map((pod) => [pods, pod] as const);
  deleteAll(objects, podsIn());
  const left = podsIn();
  if (left.length > 0) return left;
  deleteAll(objects, objects.everythingIn(namespace));
  return objects.everythingIn(namespace);
}

function deleteAll(objects: Objects, contents: Contents): void {
  for (const [resource, object] of contents) {
    if (object.metadata.deletionTimestamp !== undefined) continue;
    try {
      objects.delete(resource, object, { propagation: "Background" });
    } catch (error) {
      if (!(error instanceof StatusError) || (error.code !== 404 && error.code !== 409)) throw error;
    }
  }
}

/** The conditions of a terminating namespace (pkg/controller/namespace/deletion/status_condition_utils.go). */
function contentConditions(namespace: Namespace, left: Contents, nowMs: number): readonly Condition[] {
  const resources = counted(
    left.map(([{ group, resource }]) => `${resource}.${group}`),
    "has",
  );
  const finalizers = counted(
    left.flatMap(([, { metadata }]) => metadata.finalizers ?? []),
    "in",
  );
  const remaining: ConditionText =
    resources === ""
      ? { status: "False", reason: "ContentRemoved", message: "All content successfully removed" }
      : { status: "True", reason: "SomeResourcesRemain", message: `Some resources are remaining: ${resources}` };
  const held: ConditionText =
    finalizers === ""
      ? { status: "False", reason: "ContentHasNoFinalizers", message: "All content-preserving finalizers finished" }
      : {
          status: "True",
          reason: "SomeFinalizersRemain",
          message: `Some content in the namespace has finalizers remaining: ${finalizers}`,
        };
  const all = [
    ...neverFailing,
    { type: "NamespaceContentRemaining", ...remaining },
    { type: "NamespaceFinalizersRemaining", ...held },
  ];
  return all.reduce<readonly Condition[]>(
    (conditions, condition) => withCondition(conditions, condition, nowMs),
    namespace.status?.conditions ?? [],
  );
}

/** Upstream asks the API for kinds and objects, and says how that went. Here both are at hand. */
const neverFailing = [
  {
    type: "NamespaceDeletionDiscoveryFailure",
    status: "False",
    reason: "ResourcesDiscovered",
    message: "All resources successfully discovered",
  },
  {
    type: "NamespaceDeletionGroupVersionParsingFailure",
    status: "False",
    reason: "ParsedGroupVersions",
    message: "All legacy kube types successfully parsed",
  },
  {
    type: "NamespaceDeletionContentFailure",
    status: "False",
    reason: "ContentDeleted",
    message: "All content successfully deleted, may be waiting on finalization",
  },
] as const;

type Contents = readonly (readonly [ResourceName, KubeObject])[];
type ConditionText = Pick<Condition, "status" | "reason" | "message">;

/** `pods. has 2 resource instances, services. has 1 resource instances` */
function counted(names: readonly string[], verb: "has" | "in"): string {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, count]) => `${name} ${verb} ${count} resource instances`)
    .join(", ");
}
