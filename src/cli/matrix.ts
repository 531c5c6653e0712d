// `fairlead matrix`: who may reach whom, in a lab or from manifests alone.

import process from "node:process";
import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";
import { reachability, renderMatrix, type Matrix } from "../trace/matrix.ts";
import { loadManifests } from "./manifests.ts";

interface MatrixOptions {
  readonly namespace?: readonly string[];
  readonly filename?: readonly string[];
  readonly output?: "text" | "json";
  readonly name: string;
}

export default async function matrix(options: MatrixOptions): Promise<number> {
  const scope = options.namespace === undefined ? {} : { namespaces: options.namespace };
  const value =
    options.filename === undefined
      ? await labClient(labPaths(options.name)).call<Matrix>("/matrix", scope)
      : await fromManifests(scope, options.filename);
  process.stdout.write(options.output === "json" ? `${JSON.stringify(value, undefined, 2)}\n` : renderMatrix(value));
  return 0;
}

async function fromManifests(
  scope: { readonly namespaces?: readonly string[] },
  files: readonly string[],
): Promise<Matrix> {
  const objects = loadManifests(files, "default", () => undefined);
  const { imagineLab } = await import("../lab/imagine.ts");
  return reachability(await imagineLab(objects), scope);
}
