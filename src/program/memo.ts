// Functions that remember their results by the identity of their arguments: how `compile` is whole in meaning and small in practice.
// Values are immutable, so the same argument (===) always means the same result; entries live as long as their arguments.

/** The same function, computing once per combination of arguments. */
export function memoized<A extends readonly object[], R>(make: (...args: A) => R): (...args: A) => R {
  const root = new Entry<R>();
  return (...args) => {
    let entry = root;
    for (const arg of args) {
      entry.next ??= new WeakMap();
      let next = entry.next.get(arg);
      if (next === undefined) entry.next.set(arg, (next = new Entry()));
      entry = next;
    }
    if (!entry.isMade) {
      entry.value = make(...args);
      entry.isMade = true;
    }
    return entry.value as R;
  };
}

/** No larger than its fields: there is one for each Service. */
class Entry<R> {
  next: WeakMap<object, Entry<R>> | undefined = undefined;
  isMade = false;
  value: R | undefined = undefined;
}
