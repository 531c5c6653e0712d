// What became of the objects of a kind between two looks, so that who builds from them need not compare lists of ten thousands.

import type { KubeObject } from "../kube/object.ts";
import type { Change } from "../watch/cluster/informer.ts";

/** What became of the objects of a kind since somebody asked. */
export interface ChangeLog {
  note(changes: readonly Change<KubeObject>[]): void;
  /** Nothing is noted before the first call: who asks then knows nothing, and reads everything. */
  take(): { readonly removed: readonly KubeObject[]; readonly added: readonly KubeObject[] };
}

/** Empty, until it is asked for the first time. */
export function createChangeLog(): ChangeLog {
  let isAsked = false;
  /** Of each object that changed: what it was when it was asked last, and what it is. */
  let noted = new Map<string, { readonly before: KubeObject | undefined; readonly after: KubeObject | undefined }>();
  return {
    note(changes) {
      if (!isAsked) return;
      for (const change of changes) {
        const known = noted.get(change.key);
        const before = known === undefined ? ("before" in change ? change.before : undefined) : known.before;
        noted.set(change.key, { before, after: "object" in change ? change.object : undefined });
      }
    },
    take() {
      const all = [...noted.values()].filter(({ before, after }) => before !== after);
      isAsked = true;
      noted = new Map();
      return { removed: all.flatMap(({ before }) => before ?? []), added: all.flatMap(({ after }) => after ?? []) };
    },
  };
}
