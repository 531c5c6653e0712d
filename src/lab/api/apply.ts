// `apply`: an object as a manifest and what is already there make it together.
// The memory of the manifest applied last is kubectl's own annotation, so that `kubectl apply` and `fairlead apply` can take turns.
//
// Not here: server-side apply with field managers; it will share the merge (kube/merge.ts).

import { mergeManifest } from "../../kube/merge.ts";
import { annotations, type KubeObject } from "../../kube/object.ts";
import { withAnnotations } from "../../kube/source.ts";

/** kubectl's memory of the manifest. */
export const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";

/** The object to create (`live` undefined) or to update with. Where it was read from is noted, and is no part of what was applied. */
export function applied(given: KubeObject, live: KubeObject | undefined): KubeObject {
  const source = given.metadata.annotations?.[annotations.source];
  const manifest = withAnnotations(given, { [annotations.source]: undefined, [lastApplied]: undefined });
  const merged =
    live === undefined
      ? manifest
      : (mergeManifest({ applied: memoryOf(live), manifest, live: withoutResourceVersion(live) }) as KubeObject);
  return withAnnotations(merged, {
    // kubectl writes the manifest with a newline at its end.
    [lastApplied]: `${JSON.stringify(manifest)}\n`,
    [annotations.source]: source,
  });
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
