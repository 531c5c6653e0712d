// The chart as plain manifests, for whoever has no Helm: deploy/fairlead.yaml is deploy/chart with its default values and API_SERVER for
// the API server's address. `node scripts/chart.ts` writes it; a test holds the two together.
// Only what the chart uses of Helm's language is understood; anything else is an error, so the chart stays this plain.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";

import { parse } from "yaml";

const deploy = path.join(path.dirname(import.meta.dirname), "deploy");
const chart = path.join(deploy, "chart");

/** Where the plain manifests are. */
export const plainManifests: string = path.join(deploy, "fairlead.yaml");

const head = `# Fairlead as the network of a cluster: deploy/chart with its default values. Made by \`node scripts/chart.ts\`.
# Put the API server's address (one that needs no Service) in place of API_SERVER:
#   sed s/API_SERVER/192.0.2.10/ deploy/fairlead.yaml | kubectl apply -f -
`;

/** The manifests of the chart with these values in place of its own; top-level values are merged one level deep. */
export function renderChart(values: Readonly<Record<string, unknown>> = {}): string {
  const defaults = parse(readFileSync(path.join(chart, "values.yaml"), "utf8")) as Readonly<Record<string, unknown>>;
  const all = Object.fromEntries(
    Object.entries({ ...defaults, ...values }).map(([name, value]) => [
      name,
      isMapping(value) && isMapping(defaults[name]) ? { ...defaults[name], ...value } : value,
    ]),
  );
  const folder = path.join(chart, "templates");
  return readdirSync(folder)
    .toSorted()
    .map((name) => renderTemplate(readFileSync(path.join(folder, name), "utf8"), all, name).trim())
    .filter((text) => text !== "")
    .join("\n---\n")
    .concat("\n");
}

/** The definitions of our own kinds, which Helm installs before the rest. */
export function chartDefinitions(): string {
  const folder = path.join(chart, "crds");
  return readdirSync(folder)
    .map((name) => readFileSync(path.join(folder, name), "utf8").trim())
    .join("\n---\n");
}

/** What `deploy/fairlead.yaml` must say. */
export function renderPlain(): string {
  return [head.trimEnd(), chartDefinitions(), "---", renderChart({ apiServer: { host: "API_SERVER" } })].join("\n");
}

function renderTemplate(text: string, values: unknown, file: string): string {
  const lines = text.split("\n");
  let at = 0;
  const block = (dot: unknown, isShown: boolean): string[] => {
    const out: string[] = [];
    while (at < lines.length) {
      const line = lines[at++] ?? "";
      const control = /^\s*\{\{-\s*(if not|if|range|end)\s*(\S*)\s*\}\}$/.exec(line);
      if (control === null) {
        if (isShown) out.push(line.replaceAll(/\{\{([^}]*)\}\}/g, (_, inner: string) => expression(inner, dot)));
        continue;
      }
      const [, word = "", operand = ""] = control;
      if (word === "end") return out;
      const value = isShown ? lookUp(operand, dot) : undefined;
      const start = at;
      const items =
        word === "range"
          ? Array.isArray(value)
            ? (value as unknown[])
            : []
          : isTrue(value) === (word === "if")
            ? [dot]
            : [];
      for (const item of items) {
        at = start;
        out.push(...block(item, true));
      }
      if (items.length === 0) block(dot, false);
    }
    return out;
  };
  const lookUp = (operand: string, dot: unknown): unknown => {
    if (operand === ".") return dot;
    if (!operand.startsWith(".Values.")) throw new Error(`${file}: ${JSON.stringify(operand)} is not understood here`);
    let value = values;
    for (const name of operand.slice(".Values.".length).split(".")) value = isMapping(value) ? value[name] : undefined;
    if (value === undefined) throw new Error(`${file}: ${operand} is not in values.yaml`);
    return value;
  };
  const expression = (inner: string, dot: unknown): string => {
    const [operand = "", filter, ...more] = inner.trim().split(/\s*\|\s*/);
    if (more.length > 0 || (filter !== undefined && filter !== "quote"))
      throw new Error(`${file}: {{${inner}}} is not understood here`);
    const value = String(lookUp(operand, dot));
    return filter === "quote" ? JSON.stringify(value) : value;
  };
  return block(values, true).join("\n");
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** As Go's templates see it: empty is false. */
function isTrue(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : value !== "" && value !== 0 && Boolean(value);
}

if (process.argv[1] === import.meta.filename) writeFileSync(plainManifests, renderPlain());
