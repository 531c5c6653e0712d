// A namespace's Services by name, as a value that shares most of itself with the value before: a change costs what changed, not a copy of
// ten thousand entries. Below is a map that many values share; above it are the few names that are otherwise.
//
// Not here: what the names are (zone-service.ts).

import { compareText } from "../model/table.ts";
import { createMemory } from "./zone-memory.ts";

/** A map, with some keys set (or, where undefined, without them). In order of key wherever `base` is. */
export function changedMap<V extends object>(
  base: ReadonlyMap<string, V>,
  changes: ReadonlyMap<string, V | undefined>,
): ReadonlyMap<string, V> {
  const before = layersOf(base);
  const above = new Map(before.above);
  let { size } = base;
  for (const [key, value] of changes) {
    size += Number(value !== undefined) - Number(base.has(key));
    above.set(key, value);
  }
  if (above.size <= aboveMax) return layered({ below: before.below, above, size });
  return new Map(inOrder({ below: before.below, above, size }));
}

/** So many names are copied at a change; beyond, the map is made anew: a thousandth of a second once in so many changes. */
const aboveMax = 128;

interface Layers<V> {
  readonly below: ReadonlyMap<string, V>;
  /** Undefined: taken away. */
  readonly above: ReadonlyMap<string, V | undefined>;
  readonly size: number;
}

const layers = createMemory<ReadonlyMap<string, object>, Layers<object>>("layers");

function layersOf<V extends object>(map: ReadonlyMap<string, V>): Layers<V> {
  return (layers.get(map) as Layers<V> | undefined) ?? { below: map, above: new Map(), size: map.size };
}

function layered<V extends object>(of: Layers<V>): ReadonlyMap<string, V> {
  const { below, above, size } = of;
  const map: ReadonlyMap<string, V> = {
    size,
    get: (key) => (above.has(key) ? above.get(key) : below.get(key)),
    has: (key) => (above.has(key) ? above.get(key) !== undefined : below.has(key)),
    entries: () => new Map(inOrder(of)).entries(),
    keys: () => new Map(inOrder(of)).keys(),
    values: () => new Map(inOrder(of)).values(),
    [Symbol.iterator]: () => new Map(inOrder(of)).entries(),
    forEach(callback) {
      for (const [key, value] of inOrder(of)) callback(value, key, map);
    },
  };
  layers.set(map, of);
  return map;
}

function* inOrder<V>({ below, above }: Layers<V>): Generator<[string, V]> {
  const added = [...above].filter(([key, value]) => value !== undefined && !below.has(key)) as [string, V][];
  added.sort(([a], [b]) => compareText(a, b));
  let next = 0;
  for (const [key, old] of below) {
    for (let entry = added[next]; entry !== undefined && entry[0] < key; entry = added[++next]) yield entry;
    const value = above.has(key) ? above.get(key) : old;
    if (value !== undefined) yield [key, value];
  }
  yield* added.slice(next);
}
