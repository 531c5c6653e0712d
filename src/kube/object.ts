// What every Kubernetes object has, and how we point at one.
// Objects are immutable once they are in the store: readers share them, caches are keyed by their identity.
//
// Not here: the kinds' own fields (kinds.ts), the table of resources (resources.ts), validation (validate.ts).

/** A Kubernetes object of any kind, as JSON carries it. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
  readonly [field: string]: unknown;
}

/** The metadata of an object (apimachinery meta/v1 ObjectMeta). Times are RFC 3339 text. */
export interface ObjectMeta {
  readonly name: string;
  readonly generateName?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly deletionGracePeriodSeconds?: number;
  readonly labels?: Labels;
  readonly annotations?: Labels;
  readonly ownerReferences?: readonly OwnerReference[];
  readonly finalizers?: readonly string[];
  readonly managedFields?: readonly unknown[];
}

/** Labels or annotations. */
export type Labels = Readonly<Record<string, string>>;

/** The owner of an object, for garbage collection. */
export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** Where a fact comes from: the object and the field that caused it, and the file it was read from when there was one. */
export interface Origin {
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
  /** Field path in Kubernetes' notation: `spec.ports[0].targetPort`. */
  readonly field?: string;
  /** `shop.yaml:31`. Set by annotation `fairlead.dev/source` on objects read from files, refined to the field's own line when known. */
  readonly source?: string;
}

/** Names of the annotations and labels that Fairlead itself sets. */
export const annotations = {
  /** Where the object was read from: JSON `{ "file": "shop.yaml", "line": 12, "lines": { "spec.ports[0]": 31, … } }`. */
  source: "fairlead.dev/source",
  /** `accepts` on a policy or a namespace: connections that the policy, or the namespace's policies, let through are logged. */
  policyLog: "fairlead.dev/policy-log",
} as const;

/** `namespace/name`, or `name` for cluster-scoped objects. */
export function keyOf(object: { metadata: { name: string; namespace?: string } }): string {
  const { namespace, name } = object.metadata;
  // Joined, not as a template: that would keep its parts beside it, and every informer and table keeps these.
  return namespace === undefined ? name : [namespace, name].join("/");
}

/** Has a value fields of its own: is it neither a list nor null? */
export function isFields(value: unknown): value is { [field: string]: unknown } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
