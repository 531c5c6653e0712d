// The indexes of an Indexed Job as text: `0-2,5`. Upstream: pkg/controller/job/indexed_job_utils.go.

import type { Pod } from "../../kube/kinds.ts";

/** On pods of Indexed Jobs, as label and as annotation. */
export const indexLabel = "batch.kubernetes.io/job-completion-index";

/** The index of a pod; undefined where it has none. */
export function indexOf(pod: Pod): number | undefined {
  const text = pod.metadata.annotations?.[indexLabel];
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

export function parseIndexes(text: string | undefined): ReadonlySet<number> {
  const indexes = new Set<number>();
  for (const part of (text ?? "").split(",")) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (match?.[1] === undefined) continue;
    const last = Number(match[2] ?? match[1]);
    for (let index = Number(match[1]); index <= last; index++) indexes.add(index);
  }
  return indexes;
}

/** Runs of three and more as `first-last`, all in order. */
export function formatIndexes(indexes: Iterable<number>): string {
  const sorted = [...new Set(indexes)].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let at = 0; at < sorted.length;) {
    let end = at;
    while (sorted[end + 1] === (sorted[end] ?? 0) + 1) end++;
    const [first, last] = [sorted[at], sorted[end]];
    if (end === at) parts.push(String(first));
    else parts.push(end === at + 1 ? `${first},${last}` : `${first}-${last}`);
    at = end + 1;
  }
  return parts.join(",");
}
