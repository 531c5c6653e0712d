// What a case of the comparison with the real API server is: an object of a kind that is created, and what is done to it afterwards.
// The cases themselves are tables, a file for each part of the API (*.testing.ts beside this one).
//
// Not here: sending them and comparing the answers (compare.testing.ts).

/** What is sent after the creation: a merge patch of the object or of a subresource, or its deletion. */
export interface Change {
  readonly subresource: string;
  /** Undefined: the object is deleted. */
  readonly patch: object | undefined;
}

export interface Case {
  /** `networkpolicies: an exception outside of its range`. */
  readonly name: string;
  /** `networking.k8s.io/v1/networkpolicies`. */
  readonly resource: string;
  readonly object: { readonly metadata?: { readonly name?: string } };
  readonly changes: readonly Change[];
}

/** A step: what it is about, and the object that is created, followed by merge patches and other changes. */
export type Row = readonly [about: string, object: object, ...changes: (object | Change)[]];

/** Cases of one resource, such as `networking.k8s.io/v1/networkpolicies`. */
export function casesOf(resource: string, rows: readonly Row[]): readonly Case[] {
  return rows.map(([about, object, ...changes]) => ({
    name: `${resource.slice(resource.lastIndexOf("/") + 1)}: ${about}`,
    resource,
    object,
    changes: changes.map((change) => (isChange(change) ? change : { subresource: "", patch: change })),
  }));
}

/** A merge patch of the status. */
export function status(patch: object): Change {
  return { subresource: "status", patch: { status: patch } };
}

/** A merge patch of a subresource. */
export function of(subresource: string, patch: object): Change {
  return { subresource, patch };
}

function isChange(change: object): change is Change {
  return "subresource" in change;
}
