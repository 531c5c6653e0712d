// JSON paths as CustomResourceDefinitions use them, for printer columns, selectable fields and scale:
// `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`, `.spec.ports[0].name`, `.metadata.labels['a.b/c']`, `[*]`.
// Anything else finds nothing.

type Step =
  | { readonly kind: "field"; readonly name: string }
  | { readonly kind: "index"; readonly index: number }
  | { readonly kind: "every" }
  | { readonly kind: "where"; readonly path: string; readonly operator: string; readonly value: string };

/** All values a path leads to. */
export function valuesAt(value: unknown, path: string): readonly unknown[] {
  let values: readonly unknown[] = [value];
  for (const step of stepsOf(path)) {
    values = values.flatMap((each) => follow(each, step));
    if (values.length === 0) break;
  }
  return values;
}

/** The names of a path of plain fields (`.spec.replicas`); undefined where it is more than that. */
export function fieldsOf(path: string): readonly string[] | undefined {
  const names: string[] = [];
  for (const step of stepsOf(path)) {
    if (step.kind !== "field") return undefined;
    names.push(step.name);
  }
  return names.length === 0 ? undefined : names;
}

const parsed = new Map<string, readonly Step[]>();

function stepsOf(path: string): readonly Step[] {
  let steps = parsed.get(path);
  if (steps === undefined) parsed.set(path, (steps = parse(path)));
  return steps;
}

const token =
  /\.?\[\?\(@\.([^=!<>\s]+)\s*(==|!=)\s*["']([^"']*)["']\)\]|\.?\[['"]((?:[^'"\\]|\\.)*)['"]\]|\[(\d+)\]|\.?\[\*\]|\.\*|\.((?:[^.[\\]|\\.)+)/y;

function parse(path: string): readonly Step[] {
  const text = path.startsWith(".") || path.startsWith("[") ? path : `.${path}`;
  const steps: Step[] = [];
  token.lastIndex = 0;
  while (token.lastIndex < text.length) {
    const match = token.exec(text);
    if (match === null) return [{ kind: "field", name: "\0" }];
    const [, wherePath, operator = "", value = "", quoted, index, name] = match;
    if (wherePath !== undefined) steps.push({ kind: "where", path: `.${wherePath}`, operator, value });
    else if (quoted !== undefined) steps.push({ kind: "field", name: unescaped(quoted) });
    else if (index !== undefined) steps.push({ kind: "index", index: Number(index) });
    else if (name !== undefined) steps.push({ kind: "field", name: unescaped(name) });
    else steps.push({ kind: "every" });
  }
  return steps;
}

function unescaped(text: string): string {
  return text.replace(/\\(.)/g, "$1");
}

function follow(value: unknown, step: Step): readonly unknown[] {
  if (typeof value !== "object" || value === null) return [];
  switch (step.kind) {
    case "field": {
      const fields = value as { readonly [name: string]: unknown };
      return Object.hasOwn(fields, step.name) ? [fields[step.name]] : [];
    }
    case "index":
      return Array.isArray(value) && step.index < value.length ? [value[step.index]] : [];
    case "every":
      return Object.values(value);
    case "where":
      return (Array.isArray(value) ? value : []).filter(
        (each) => valuesAt(each, step.path).some((found) => String(found) === step.value) === (step.operator === "=="),
      );
  }
}
