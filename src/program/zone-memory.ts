// What is remembered of a value for as long as it lives, as a property of it that nobody sees: a copy has it not, comparing does not see it.
//
// Why not a WeakMap: V8's collection of the young takes what a WeakMap's values hold for alive, also where their keys are gone. A zone is
// made at every change and holds the list of all Services: each such list would be moved to the old, and make for a collection of everything.

/** A memory of its own, by value. */
export interface Memory<K extends object, V> {
  get(key: K): V | undefined;
  set(key: K, value: V): void;
}

export function createMemory<K extends object, V>(name: string): Memory<K, V> {
  const place = Symbol(name);
  return {
    get: (key) => (key as { readonly [place]?: V })[place],
    set(key, value) {
      Object.defineProperty(key, place, { value, configurable: true });
    },
  };
}
