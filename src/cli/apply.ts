// `fairlead apply -f`: brings manifests to the running lab. The lab checks all of them before it stores the first.

import process from "node:process";
import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";
import { loadManifests } from "./manifests.ts";

interface ApplyOptions {
  readonly filename: readonly string[];
  readonly namespace: string;
  readonly dryRun?: boolean;
  readonly output?: string;
  readonly name: string;
}

export default async function apply(options: ApplyOptions): Promise<number> {
  const objects = loadManifests(
    options.filename,
    options.namespace,
    (warning) => process.stderr.write(`${warning}\n`),
    "keep",
  );
  if (objects.length === 0) throw new Error(`${options.filename.join(", ")}: no objects in there`);
  const { results } = await labClient(labPaths(options.name)).call<{
    results: readonly { object: string; result: string; warnings: readonly string[] }[];
  }>("/apply", { objects, namespace: options.namespace, dryRun: options.dryRun === true });
  if (options.output === "json") {
    process.stdout.write(`${JSON.stringify(results, undefined, 2)}\n`);
    return 0;
  }
  for (const { object, result, warnings } of results) {
    process.stdout.write(`${object} ${result}${options.dryRun === true ? " (dry run)" : ""}\n`);
    for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
  }
  return 0;
}
