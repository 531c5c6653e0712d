// Which kinds an API serves: the rows of the resource table, and those that CustomResourceDefinitions in the store add to them.
// The added rows are read from the store's list of definitions, which is the same array until one of them changes.
//
// Not here: how custom resources are validated (custom-schema.ts), and how definitions get their conditions (custom-definitions.ts).

import type { KubeObject } from "../../kube/object.ts";
import { resourceNamed, resources, type Resource } from "../../kube/resources.ts";
import { definedKinds, definitionsResource, type CustomVersion } from "./custom-definitions.ts";
import type { ResourceName, Store } from "./store.ts";

/** A resource as it is served in one version. */
export interface Kind extends Resource {
  /** Which resource of the store holds its objects, and which apiVersion and kind they carry there. */
  readonly stored: ResourceName & { readonly apiVersion: string; readonly kind: string };
  /** Of custom resources: what their definition says of this version. */
  readonly custom?: CustomVersion;
}

export interface Kinds {
  /** All, in discovery's order. The same array until a definition changes. */
  all(): readonly Kind[];
  /** By what a path says; undefined where there is none. */
  at(group: string, version: string, resource: string): Kind | undefined;
  /** By what an object says. */
  of(apiVersion: string, kind: string): Kind | undefined;
  /** The kind of what the store holds, in the version it is stored in. */
  storedAs(resource: ResourceName): Kind | undefined;
}

/**
 * The kinds of an API over this store.
 * @public Loaded when it is needed (write.ts).
 */
export function createKinds(store: Pick<Store, "list">): Kinds {
  let definitions: readonly KubeObject[] | undefined;
  let index = indexOf(builtin);
  const current = (): Index => {
    const { items } = store.list(definitionsResource);
    if (items === definitions) return index;
    definitions = items;
    const added = items.flatMap(definedKinds).filter((row) => !isKubernetes(row));
    index = added.length === 0 ? builtinIndex : indexOf(merged(added));
    return index;
  };
  return {
    all: () => current().all,
    at: (group, version, resource) => current().byPath.get(`${group}/${version}/${resource}`),
    of: (apiVersion, kind) => current().byKind.get(`${apiVersion} ${kind}`),
    storedAs: ({ group, resource }) => current().byStored.get(`${group}/${resource}`),
  };
}

interface Index {
  readonly all: readonly Kind[];
  readonly byPath: ReadonlyMap<string, Kind>;
  readonly byKind: ReadonlyMap<string, Kind>;
  readonly byStored: ReadonlyMap<string, Kind>;
}

// Events of the group events.k8s.io are the same objects as those of the core group, written differently (api/events/v1).
const sharedStorage: { readonly [resource: string]: ResourceName } = {
  "events.events.k8s.io": { group: "", resource: "events" },
};

const builtin: readonly Kind[] = resources.map((row) => {
  const shared = sharedStorage[`${row.resource}.${row.group}`] ?? row;
  const { group, resource, apiVersion, kind } = resourceNamed(shared) ?? row;
  return { ...row, stored: { group, resource, apiVersion, kind } };
});

const builtinGroups = new Set(builtin.map(({ group }) => group));
const builtinIndex = indexOf(builtin);

/** Groups of others that are known out of the box, as if somebody had brought their definitions. */
const othersGroups = new Set(["gateway.networking.k8s.io", "policy.networking.k8s.io", "multicluster.x-k8s.io"]);

/** Definitions of Kubernetes' own kinds change nothing. */
function isKubernetes({ group, resource }: Kind): boolean {
  return (
    builtinGroups.has(group) &&
    !othersGroups.has(group) &&
    builtin.some((row) => row.group === group && row.resource === resource)
  );
}

/** A definition that somebody brings takes the place of the same kind from out of the box; its objects stay where they are stored. */
function merged(added: readonly Kind[]): readonly Kind[] {
  const nameOf = ({ group, resource }: ResourceName): string => `${resource}.${group}`;
  const replaced = new Set(added.map(nameOf));
  const storedBefore = new Map(builtin.map((row) => [nameOf(row), row.stored]));
  return [
    ...builtin.filter((row) => !replaced.has(nameOf(row))),
    ...added.map((row) => {
      const stored = storedBefore.get(nameOf(row));
      const isServed = added.some((each) => nameOf(each) === nameOf(row) && each.apiVersion === stored?.apiVersion);
      return stored === undefined || !isServed ? row : { ...row, stored };
    }),
  ];
}

function indexOf(all: readonly Kind[]): Index {
  const isStorage = (row: Kind): boolean => row.stored.apiVersion === row.apiVersion && row.stored.group === row.group;
  return {
    all,
    byPath: new Map(all.map((row) => [`${row.group}/${row.version}/${row.resource}`, row])),
    byKind: new Map(all.map((row) => [`${row.apiVersion} ${row.kind}`, row])),
    byStored: new Map(all.filter(isStorage).map((row) => [`${row.group}/${row.resource}`, row])),
  };
}
