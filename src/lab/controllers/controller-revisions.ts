// ControllerRevisions: the versions of a StatefulSet's or DaemonSet's template, numbered and kept. Upstream: pkg/controller/history.

import { sameJson } from "../../kube/equal.ts";
import type { ControllerRevision, PodTemplateSpec } from "../../kube/kinds.ts";
import { isFields, type KubeObject, type Labels } from "../../kube/object.ts";
import { StatusError } from "../api/store.ts";
import { hashOf } from "./names.ts";
import { controllerReference } from "./pod-state.ts";
import { controllerRevisions, type TypedResource } from "./resources.ts";
import type { Cluster } from "./runtime.ts";

/** On pods and revisions: which version it is (apps/v1 ControllerRevisionHashLabelKey). */
export const revisionLabel = "controller-revision-hash";
/** On the revisions of StatefulSets (pkg/controller/history ControllerRevisionHashLabel). */
export const hashLabel = "controller.kubernetes.io/hash";

/** What history needs to know of an owner. */
export interface RevisionOwner {
  readonly cluster: Cluster;
  readonly owner: KubeObject;
  readonly resource: TypedResource;
  /** Labels the revisions carry, so that the owner's selector finds them. */
  readonly labels: Labels;
  /** The label that says on a revision which version it is: each kind has its own. */
  readonly hashLabel: string;
  readonly collisionCount: number;
}

/** The owner's versions, lowest number first. */
export function revisionsOf({
  cluster,
  owner,
}: Pick<RevisionOwner, "cluster" | "owner">): readonly ControllerRevision[] {
  return [...cluster.objects.controlledBy(controllerRevisions, owner.metadata.uid ?? "")].sort(
    (a, b) => a.revision - b.revision || (a.metadata.name < b.metadata.name ? -1 : 1),
  );
}

/**
 * The version of this template, with the highest number of all: found, found and renumbered (a roll-back), or made.
 * Undefined when its name is taken by something else: then the collision count has to grow.
 */
export function revisionFor(of: RevisionOwner, template: PodTemplateSpec): ControllerRevision | undefined {
  const { objects } = of.cluster;
  const all = revisionsOf(of);
  const last = all.at(-1);
  // Upstream's clients compare it byte by byte with what Go writes of the owner.
  const data = sortedByName({ spec: { template: { ...template, $patch: "replace" } } });
  const equal = all.findLast((revision) => sameJson(revision.data, data));
  const next = (last?.revision ?? 0) + 1;
  if (equal !== undefined) {
    return equal === last ? equal : objects.update(controllerRevisions, { ...equal, revision: next });
  }
  const hash = hashOf(of.collisionCount === 0 ? data : [data, of.collisionCount]);
  const { namespace, name } = of.owner.metadata;
  try {
    return objects.create(controllerRevisions, {
      apiVersion: "apps/v1",
      kind: "ControllerRevision",
      metadata: {
        name: `${name}-${hash}`,
        ...(namespace === undefined ? {} : { namespace }),
        labels: { ...template.metadata?.labels, ...of.labels, [of.hashLabel]: hash },
        ownerReferences: [controllerReference(of.resource, of.owner)],
      },
      data,
      revision: next,
    });
  } catch (error) {
    if (error instanceof StatusError && error.reason === "AlreadyExists") return undefined;
    throw error;
  }
}

function sortedByName(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortedByName);
  if (!isFields(value)) return value;
  const names = Object.keys(value).sort();
  return Object.fromEntries(names.map((name) => [name, sortedByName(value[name])]));
}

/** The pod template of a version. */
export function templateOf(revision: ControllerRevision): PodTemplateSpec {
  const { $patch: _patch, ...template } = (
    revision.data as { spec: { template: PodTemplateSpec & { $patch?: string } } }
  ).spec.template;
  return template;
}

/** The hash part of a version's name. */
export function hashOfRevision(revision: ControllerRevision): string {
  const { labels = {}, name } = revision.metadata;
  return labels[revisionLabel] ?? labels[hashLabel] ?? name;
}

/** Deletes versions that no pod has, oldest first, until `limit` unused ones are left. */
export function dropRevisions(
  of: Pick<RevisionOwner, "cluster" | "owner">,
  used: ReadonlySet<string>,
  limit: number,
): void {
  const unused = revisionsOf(of).filter(({ metadata }) => !used.has(metadata.name));
  for (const revision of unused.slice(0, Math.max(0, unused.length - limit))) {
    of.cluster.objects.delete(controllerRevisions, revision);
  }
}
