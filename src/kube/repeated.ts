// Parts of objects that come again and again as the same value, such as the specification of a Deployment's pods: what has been found out
// about one of them is remembered as long as it is.
//
// A repeated value must never be changed, like anything that is stored. Not here: which values are repeated (who reads them says so).

/** By value, and then by function; the inner maps are made when there is something to remember. */
const facts = new WeakMap<object, Map<string, unknown> | undefined>();

/** Notes that a value, and all that is in it, will be seen again. */
export function markRepeated(value: object): void {
  if (facts.has(value)) return;
  facts.set(value, undefined);
  for (const inner of Object.values(value))
    if (typeof inner === "object" && inner !== null) markRepeated(inner as object);
}

/** Has a value been marked? */
export function isRepeated(value: object): boolean {
  return facts.has(value);
}

/** What a function makes of a value, which must depend on nothing else; `name` tells functions apart. Made once for repeated values. */
export function remembered<T>(value: unknown, name: string, make: () => T): T {
  if (typeof value !== "object" || value === null) return make();
  const known = facts.get(value);
  if (known === undefined) {
    if (!facts.has(value)) return make();
  } else if (known.has(name)) return known.get(name) as T;
  const made = make();
  // Making it may have remembered something of the same value.
  const now = facts.get(value);
  if (now === undefined) facts.set(value, new Map([[name, made]]));
  else now.set(name, made);
  return made;
}

/** As `remembered`, for functions that give the value changed: what they give comes again, too. */
export function rememberedChange<T>(value: unknown, name: string, make: () => T): T {
  return remembered(value, name, () => {
    const made = make();
    if (typeof made === "object" && made !== null && typeof value === "object" && value !== null && isRepeated(value))
      markRepeated(made);
    return made;
  });
}
