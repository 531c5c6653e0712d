// What every part of the Program wants to know of the node's own pods.

import type { Origin } from "../kube/object.ts";
import type { Attachment } from "../model/network.ts";
import { memoized } from "./memo.ts";

/** The origin of what exists because a pod does. */
export function podOrigin({ namespace, name }: Attachment, field = "status.podIPs"): Origin {
  return { kind: "Pod", namespace, name, field };
}

/** What every pod adds to a list. A pod's part stays the same values as long as the pod does, so that a list costs what changed. */
export function ofEach<T, Of extends readonly object[] = readonly []>(
  make: (attachment: Attachment, ...of: Of) => readonly T[],
): (attachments: readonly Attachment[], ...of: Of) => T[] {
  const slot = slots++;
  return (attachments, ...of) => {
    const list: T[] = [];
    const parts = partsOf(attachments);
    for (const [index, attachment] of attachments.entries()) {
      const known = parts[index] as Part[];
      let part = known[slot] as (Part & { readonly values: readonly T[] }) | undefined;
      // A pod is on one node: what it was last asked for is what it is asked for.
      if (part === undefined || !part.of.every((each, at) => each === of[at]))
        known[slot] = part = { of, values: make(attachment, ...of) };
      for (const value of part.values) list.push(value);
    }
    return list;
  };
}

/** What one function made of a pod, beside what else it depends on. */
interface Part {
  readonly of: readonly object[];
  readonly values: readonly unknown[];
}

let slots = 0;
const parts = new WeakMap<Attachment, Part[]>();
/** Looked up once for all functions. */
const partsOf = memoized((attachments: readonly Attachment[]): readonly Part[][] =>
  attachments.map((attachment) => {
    let known = parts.get(attachment);
    if (known === undefined) parts.set(attachment, (known = []));
    return known;
  }),
);

/**
 * The attachments a Program is made of: sorted by link, each link, address and hardware address once. Two attachments that claim one
 * address are a defect of the node's own bookkeeping; the first keeps it, as a duplicate key would keep the whole Program from the kernel.
 */
export function soundAttachments(attachments: readonly Attachment[]): readonly Attachment[] {
  const taken = new Set<string>();
  const sorted = [...attachments].sort((a, b) => (a.link < b.link ? -1 : a.link > b.link ? 1 : a.id < b.id ? -1 : 1));
  return sorted.filter((attachment) => {
    const claims = [attachment.link, attachment.mac, ...attachment.addresses];
    if (claims.some((claim) => taken.has(claim))) return false;
    for (const claim of claims) taken.add(claim);
    return true;
  });
}
