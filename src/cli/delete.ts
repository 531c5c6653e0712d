// `fairlead delete -f FILE` or `fairlead delete pod NAME`.

import process from "node:process";
import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";
import { loadManifests } from "./manifests.ts";

interface DeleteOptions {
  readonly filename?: readonly string[];
  readonly namespace: string;
  readonly now?: boolean;
  readonly output?: string;
  readonly name: string;
}

export default async function remove(
  resource: string | undefined,
  names: readonly string[],
  options: DeleteOptions,
): Promise<number> {
  const targets =
    options.filename === undefined
      ? byName(resource, names, options.namespace)
      : loadManifests(options.filename, options.namespace, () => undefined, "keep").map(
          ({ apiVersion, kind, metadata }) => ({
            apiVersion,
            kind,
            namespace: metadata.namespace,
            name: metadata.name,
          }),
        );
  const { results } = await labClient(labPaths(options.name)).call<{
    results: readonly { object: string; result: string }[];
  }>("/delete", {
    targets,
    namespace: options.namespace,
    now: options.now === true,
  });
  const missing = results.filter(({ result }) => result === "not found").length;
  if (options.output === "json") process.stdout.write(`${JSON.stringify(results, undefined, 2)}\n`);
  else for (const { object, result } of results) process.stdout.write(`${object} ${result}\n`);
  return missing > 0 && options.filename === undefined ? 1 : 0;
}

function byName(
  resource: string | undefined,
  names: readonly string[],
  namespace: string,
): readonly { resource: string; namespace: string; name: string }[] {
  if (resource === undefined)
    throw new Error("delete: what? Give -f FILE, or a resource and names: fairlead delete pod NAME");
  const [word = "", name] = resource.split("/");
  const all = name === undefined ? names : [name, ...names];
  if (all.length === 0) throw new Error(`delete ${word}: which? Give names: fairlead delete ${word} NAME`);
  return all.map((each) => ({ resource: word, namespace, name: each }));
}
