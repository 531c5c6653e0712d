// The objects of one resource, in memory: found by name, listed in order. Lists are cached arrays, the same one until something changes.

import type { KubeObject } from "../../kube/object.ts";

/** A resource's objects. Cluster-scoped objects are on the shelf of the empty namespace. */
export interface ObjectTable {
  readonly shelves: Map<string, Shelf>;
  list: readonly KubeObject[] | undefined;
}

interface Shelf {
  readonly objects: Map<string, KubeObject>;
  list: readonly KubeObject[] | undefined;
  /** Names in order; undefined after a name came or went. */
  names: readonly string[] | undefined;
}

export function emptyTable(): ObjectTable {
  return { shelves: new Map(), list: [] };
}

export function getObject(table: ObjectTable, namespace: string | undefined, name: string): KubeObject | undefined {
  return table.shelves.get(namespace ?? "")?.objects.get(name);
}

/** Puts an object in its place; was there none? */
export function putObject(table: ObjectTable, object: KubeObject): boolean {
  const { namespace = "", name } = object.metadata;
  let shelf = table.shelves.get(namespace);
  if (shelf === undefined)
    table.shelves.set(namespace, (shelf = { objects: new Map(), list: undefined, names: undefined }));
  const isNew = !shelf.objects.has(name);
  if (isNew) shelf.names = undefined;
  shelf.objects.set(name, object);
  shelf.list = undefined;
  table.list = undefined;
  return isNew;
}

/** Takes an object away; was it there? */
export function removeObject(table: ObjectTable, object: KubeObject): boolean {
  const { namespace = "", name } = object.metadata;
  const shelf = table.shelves.get(namespace);
  if (shelf?.objects.delete(name) !== true) return false;
  shelf.names = undefined;
  shelf.list = undefined;
  table.list = undefined;
  if (shelf.objects.size === 0) table.shelves.delete(namespace);
  return true;
}

/** All objects, or those of one namespace, in the order of `namespace/name` by bytes, as an API server over etcd lists them. */
export function listObjects(table: ObjectTable, namespace: string | undefined): readonly KubeObject[] {
  if (namespace !== undefined) {
    const shelf = table.shelves.get(namespace);
    return shelf === undefined ? [] : listShelf(shelf);
  }
  // "a-b/x" comes before "a/x": the separator takes part in the order.
  table.list ??= Object.freeze(
    [...table.shelves].sort(([a], [b]) => compareText(`${a}/`, `${b}/`)).flatMap(([, shelf]) => listShelf(shelf)),
  );
  return table.list;
}

function listShelf(shelf: Shelf): readonly KubeObject[] {
  if (shelf.list !== undefined) return shelf.list;
  shelf.names ??= [...shelf.objects.keys()].sort(compareText);
  const items: KubeObject[] = [];
  for (const name of shelf.names) {
    const object = shelf.objects.get(name);
    if (object !== undefined) items.push(object);
  }
  return (shelf.list = Object.freeze(items));
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
