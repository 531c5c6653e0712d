// `fairlead node stop|start|add|delete`: what happens to clusters' machines.

import process from "node:process";
import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";

export default async function node(
  action: string,
  nodeName: string | undefined,
  options: { readonly name: string; readonly output?: string },
): Promise<number> {
  const actions = ["stop", "start", "add", "delete"];
  if (!actions.includes(action)) throw new Error(`node ${action}: must be one of ${actions.join(", ")}`);
  if (nodeName === undefined && action !== "add")
    throw new Error(`node ${action}: which node? (fairlead get nodes lists them)`);
  const outcome = await labClient(labPaths(options.name)).call<{ action: string; node: string; message: string }>(
    "/node",
    {
      action,
      node: nodeName,
    },
  );
  process.stdout.write(
    options.output === "json" ? `${JSON.stringify(outcome, undefined, 2)}\n` : `${outcome.message}\n`,
  );
  return 0;
}
