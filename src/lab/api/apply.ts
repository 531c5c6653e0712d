// `apply`: an object as a manifest and what is already there make it together.
// The memory of the manifest applied last is kubectl's own annotation, so that `kubectl apply` and `fairlead apply` can take turns.
//
// Not here: server-side apply with field managers; it will share the merge (kube/merge.ts).

import { sameJson } from "../../kube/equal.ts";
import { mergeManifest } from "../../kube/merge.ts";
import { annotations, type KubeObject, type Labels } from "../../kube/object.ts";

/** kubectl's memory of the manifest. */
export const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";

/** The object to create (`live` undefined) or to update with. Where it was read from is noted, and is no part of what was applied. */
export function applied(given: KubeObject, live: KubeObject | undefined): KubeObject {
  const source = given.metadata.annotations?.[annotations.source];
  const manifest = withAnnotations(given, { [annotations.source]: undefined, [lastApplied]: undefined });
  const merged =
    live === undefined
      ? manifest
      : (mergeManifest(memoryOf(live), manifest, withoutResourceVersion(live)) as KubeObject);
  return withAnnotations(merged, {
    // kubectl writes the manifest with a newline at its end.
    [lastApplied]: `${JSON.stringify(manifest)}\n`,
    [annotations.source]: source,
  });
}

/** Are two states of an object the same but for where they were read from and what the store counts? */
export function sameButSource(a: KubeObject, b: KubeObject): boolean {
  return a === b || sameJson(comparable(a), comparable(b));
}

function comparable(object: KubeObject): unknown {
  const { metadata, ...rest } = withAnnotations(object, { [annotations.source]: undefined });
  return { ...rest, metadata: { ...metadata, resourceVersion: undefined, generation: undefined } };
}

function memoryOf(live: KubeObject): unknown {
  const text = live.metadata.annotations?.[lastApplied];
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    // Somebody wrote nonsense into the annotation: as good as no memory, nothing is removed.
    return undefined;
  }
}

function withoutResourceVersion(object: KubeObject): KubeObject {
  const { resourceVersion: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}

/** The object with annotations set, or taken away where the value is undefined; no annotations at all rather than none. */
function withAnnotations(object: KubeObject, changes: { readonly [name: string]: string | undefined }): KubeObject {
  const { annotations: before, ...metadata } = object.metadata;
  const after: { [name: string]: string } = { ...before };
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) delete after[name];
    else after[name] = value;
  }
  const changed: Labels | undefined = Object.keys(after).length === 0 ? undefined : after;
  return { ...object, metadata: changed === undefined ? metadata : { ...metadata, annotations: changed } };
}
