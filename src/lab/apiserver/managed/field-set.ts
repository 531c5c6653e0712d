// Sets of fields, as managed fields name them (meta/v1 FieldsV1; structured-merge-diff fieldpath): a tree whose steps are
// `f:NAME` (a field), `k:{"port":80}` (an element by its keys) and `v:"x"` (a value of a set); `.` says that a step itself belongs to it.
//
// Not here: who owns which set (managers.ts).

/** A set of paths: the steps from here, and whether here is in it. */
export interface FieldSet {
  readonly member: boolean;
  readonly children: ReadonlyMap<string, FieldSet>;
}

export const noFields: FieldSet = { member: false, children: new Map() };
export const thisField: FieldSet = { member: true, children: new Map() };

export function fieldSet(member: boolean, children: Iterable<readonly [string, FieldSet]>): FieldSet {
  return { member, children: new Map([...children].filter(([, child]) => !isEmpty(child))) };
}

export function isEmpty({ member, children }: FieldSet): boolean {
  return !member && children.size === 0;
}

export function union(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmpty(a)) return b;
  if (isEmpty(b)) return a;
  const children = new Map(a.children);
  for (const [step, child] of b.children) {
    const before = children.get(step);
    children.set(step, before === undefined ? child : union(before, child));
  }
  return { member: a.member || b.member, children };
}

/** What is in `a` and not in `b`. */
export function difference(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmpty(b)) return a;
  return fieldSet(
    a.member && !b.member,
    [...a.children].map(([step, child]) => [step, difference(child, b.children.get(step) ?? noFields)]),
  );
}

export function intersection(a: FieldSet, b: FieldSet): FieldSet {
  return fieldSet(
    a.member && b.member,
    [...a.children].map(([step, child]) => [step, intersection(child, b.children.get(step) ?? noFields)]),
  );
}

export function sameFields(a: FieldSet, b: FieldSet): boolean {
  if (a.member !== b.member || a.children.size !== b.children.size) return false;
  for (const [step, child] of a.children) {
    const other = b.children.get(step);
    if (other === undefined || !sameFields(child, other)) return false;
  }
  return true;
}

/** Without these paths and all beneath them. */
export function without(set: FieldSet, paths: FieldSet): FieldSet {
  if (paths.member) return noFields;
  if (paths.children.size === 0) return set;
  return fieldSet(
    set.member,
    [...set.children].map(([step, child]) => {
      const path = paths.children.get(step);
      return [step, path === undefined ? child : without(child, path)];
    }),
  );
}

/** All paths as conflicts show them: `.spec.ports[port=80,protocol="TCP"].nodePort`. */
export function pathsOf(set: FieldSet, path = ""): readonly string[] {
  return [
    ...(set.member && path !== "" ? [path] : []),
    ...[...set.children].flatMap(([step, child]) => pathsOf(child, path + stepText(step))),
  ];
}

function stepText(step: string): string {
  const rest = step.slice(2);
  if (step.startsWith("f:")) return `.${rest}`;
  if (step.startsWith("k:")) {
    const keys = JSON.parse(rest) as { readonly [key: string]: unknown };
    return `[${Object.entries(keys)
      .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
      .join(",")}]`;
  }
  return step.startsWith("v:") ? `[=${rest}]` : `[${rest}]`;
}

/** A FieldsV1. */
export function formatFields({ member, children }: FieldSet): object {
  const entries = [...children]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([step, child]) => [step, formatFields(child)]);
  return Object.fromEntries(member && children.size > 0 ? [[".", {}], ...entries] : entries) as object;
}

/** Reads a FieldsV1; undefined where it is none. */
export function parseFields(value: unknown, isRoot = true): FieldSet | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const entries = Object.entries(value);
  if (entries.length === 0) return isRoot ? noFields : thisField;
  let member = false;
  const children = new Map<string, FieldSet>();
  for (const [step, child] of entries) {
    if (step === ".") {
      member = true;
      continue;
    }
    const set = parseFields(child, false);
    if (!/^[fkvi]:/.test(step) || set === undefined || !hasJson(step)) return undefined;
    children.set(step, set);
  }
  return { member, children };
}

function hasJson(step: string): boolean {
  if (!step.startsWith("k:") && !step.startsWith("v:")) return true;
  try {
    const value: unknown = JSON.parse(step.slice(2));
    return step.startsWith("v:") || (typeof value === "object" && value !== null);
  } catch {
    return false;
  }
}
