// The values of enumerations: constants of Go types marked `+enum` in k8s.io/api, per struct field. The OpenAPI files leave them out.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** `core.v1.ServicePort` `protocol` → its values, sorted. */
export type FieldEnums = ReadonlyMap<string, readonly string[]>;

/** Reads all packages `<group>/<version>` of the module k8s.io/api. Keys are `core.v1.ServicePort protocol`. */
export function readEnums(directory: string): FieldEnums {
  const sources = packagesIn(directory).map(({ name, path }) => ({ name, text: sourceOf(path) }));
  const constants = new Map(sources.flatMap(({ name, text }) => literalConstants(name, text)));
  const valuesOf = new Map(sources.flatMap(({ name, text }) => enumTypes(name, text, constants)));
  return new Map(
    sources.flatMap(({ name, text }) =>
      structFields(name, text).flatMap(({ field, type }) => {
        const values = valuesOf.get(type);
        return values === undefined ? [] : [[field, values] as const];
      }),
    ),
  );
}

function packagesIn(directory: string): { name: string; path: string }[] {
  const folders = (path: string): string[] =>
    readdirSync(path, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  return folders(directory).flatMap((group) =>
    folders(join(directory, group))
      .filter((version) => /^v\d/.test(version))
      .map((version) => ({ name: `${group}.${version}`, path: join(directory, group, version) })),
  );
}

function sourceOf(path: string): string {
  return readdirSync(path)
    .filter((file) => file.endsWith("types.go") || file === "types.go")
    .map((file) => readFileSync(join(path, file), "utf8"))
    .join("\n");
}

/** `core.v1.IPv4Protocol` → `IPv4`. */
function literalConstants(packageName: string, text: string): [string, string][] {
  return [...text.matchAll(/^\s*(\w+)\s+\w*\s*=\s*"([^"]*)"/gm)].map(([, name, value = ""]) => [
    `${packageName}.${name}`,
    value,
  ]);
}

/** `core.v1.Protocol` → values, for the types whose comment has a line `+enum`. The empty value means absent and is left out. */
function enumTypes(
  packageName: string,
  text: string,
  constants: ReadonlyMap<string, string>,
): [string, readonly string[]][] {
  const imported = importsOf(text);
  const types = text.matchAll(/((?:^\/\/.*\n)+)type (\w+) string$/gm);
  return [...types]
    .filter(([, comment]) => /^\/\/ ?\+enum\s*$/m.test(comment ?? ""))
    .map(([, , type = ""]) => {
      // `Name Type = "value"`, `Name = Type("value")`, `Name = Type(package.Constant)`
      const pattern = String.raw`^\s*\w+\s+(?:${type}\s*=\s*|=\s*${type}\()(?:"([^"]*)"|(\w+)\.(\w+))`;
      const values = [...text.matchAll(new RegExp(pattern, "gm"))].flatMap(([, literal, alias = "", name]) => {
        const value = literal ?? constants.get(`${imported.get(alias)}.${name}`) ?? "";
        return value === "" ? [] : [value];
      });
      return [`${packageName}.${type}`, values.sort(compareText)];
    });
}

/** The names that other packages of the module have in a file: `v1` → `core.v1`. */
function importsOf(text: string): Map<string, string> {
  return new Map(
    [...text.matchAll(/^\s*(?:import )?(\w+)? ?"k8s\.io\/api\/(\w+)\/(\w+)"$/gm)].map(
      ([, alias, group = "", version = ""]) => [alias ?? version, `${group}.${version}`] as const,
    ),
  );
}

/** The fields of structs with their Go types, lists and pointers looked through. */
function structFields(packageName: string, text: string): { field: string; type: string }[] {
  const imports = importsOf(text);
  return [...text.matchAll(/^type (\w+) struct \{\n([\s\S]*?)^\}/gm)].flatMap(([, struct, body = ""]) =>
    [...body.matchAll(/^\t\w+\s+(?:\*|\[\]|map\[\w+\])*(?:(\w+)\.)?(\w+)\s+`[^`]*json:"([^",]+)/gm)].map(
      ([, alias, type, field]) => {
        const from = alias === undefined ? packageName : (imports.get(alias) ?? alias);
        return { field: `${packageName}.${struct} ${field}`, type: `${from}.${type}` };
      },
    ),
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
