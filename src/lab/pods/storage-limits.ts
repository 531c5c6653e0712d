// Limits of local storage, by which the kubelet evicts pods: emptyDir sizeLimit and limits of ephemeral-storage
// (pkg/kubelet/eviction, localStorageEviction). Other resources are not enforced in a lab.
//
// Not here: ending the pod (worker.ts). What a container's log takes is not counted.

import fs from "node:fs";
import { join } from "node:path";
import type { Container, Pod, Quantity } from "../../kube/kinds.ts";
import { quantityValue } from "./downward.ts";
import type { ReadyVolume } from "./volumes.ts";

/** How often usage is looked at. */
export const storageLookMs = 10_000;

/** Does the pod have any such limit? */
export function hasStorageLimits(pod: Pod): boolean {
  return (
    pod.spec.containers.some((container) => limitOf(container) !== undefined) ||
    (pod.spec.volumes ?? []).some(({ emptyDir }) => sizeLimitOf(emptyDir) !== undefined)
  );
}

/** Why the pod must go, in the kubelet's words; undefined while it keeps within its limits. */
export function storageExcess(
  pod: Pod,
  volumes: ReadonlyMap<string, ReadyVolume>,
  pidOf: (container: string) => number | undefined,
): string | undefined {
  let inVolumes = 0;
  for (const { name, emptyDir } of pod.spec.volumes ?? []) {
    const path = emptyDir === undefined ? undefined : volumes.get(name)?.path;
    if (path === undefined) continue;
    const bytes = bytesBelow(path);
    inVolumes += bytes;
    const limit = sizeLimitOf(emptyDir);
    if (limit !== undefined && exceeds(bytes, limit))
      return `Usage of EmptyDir volume "${name}" exceeds the limit "${limit}". `;
  }
  let sum = inVolumes;
  let sumLimit = 0;
  for (const container of pod.spec.containers) {
    const pid = pidOf(container.name);
    const bytes = pid === undefined ? 0 : bytesWritten(pid);
    sum += bytes;
    const limit = limitOf(container);
    sumLimit += limit === undefined ? Number.POSITIVE_INFINITY : quantityValue(limit);
    if (limit !== undefined && exceeds(bytes, limit))
      return `Container ${container.name} exceeded its local ephemeral storage limit "${limit}". `;
  }
  return sum > sumLimit
    ? `Pod ephemeral local storage usage exceeds the total limit of containers ${sumLimit}. `
    : undefined;
}

function limitOf({ resources }: Container): Quantity | undefined {
  return resources?.limits?.["ephemeral-storage"];
}

function sizeLimitOf(emptyDir: unknown): Quantity | undefined {
  const limit = (emptyDir as { sizeLimit?: Quantity } | undefined)?.sizeLimit;
  return limit === undefined || !(quantityValue(limit) > 0) ? undefined : limit;
}

function exceeds(bytes: number, limit: Quantity): boolean {
  return bytes > quantityValue(limit);
}

/** What a container has written to its root, which lies in a file system of its own. */
function bytesWritten(pid: number): number {
  try {
    const { blocks, bfree, bsize } = fs.statfsSync(`/proc/${pid}/root`);
    return (blocks - bfree) * bsize;
  } catch {
    // It has ended meanwhile.
    return 0;
  }
}

function bytesBelow(folder: string): number {
  let bytes = 0;
  try {
    for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true }))
      bytes += fs.lstatSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.blocks ?? 0;
  } catch {
    // A file that goes while it is counted.
  }
  return bytes * 512;
}
