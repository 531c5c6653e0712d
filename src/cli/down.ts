// `fairlead down`: ends a lab and removes every namespace, link, process and file of it.

import process from "node:process";
import { forgetLab } from "./kubeconfig.ts";
import { labClient } from "../lab/client.ts";
import { killDaemon, removeLab } from "../lab/launch.ts";
import { labNames, labPaths } from "../lab/paths.ts";

export default async function down(options: {
  readonly name: string;
  readonly all?: boolean;
  readonly keep?: boolean;
}): Promise<number> {
  const labs = options.all === true ? labNames() : [options.name];
  for (const name of labs) {
    const paths = labPaths(name);
    const known = labNames().includes(name);
    const lab = labClient(paths);
    // Asked first, so that what it holds is written; killed then, which takes whatever is left with it.
    if (await lab.alive()) await lab.call("/stop").catch(() => undefined);
    await killDaemon(paths);
    if (options.keep !== true) {
      await forget(name);
      removeLab(paths);
    }
    process.stdout.write(
      known
        ? `lab "${name}" is down${options.keep === true ? ", its objects are kept" : ""}\n`
        : `lab "${name}": there was none\n`,
    );
  }
  return 0;
}

/** A kubeconfig that can't be mended now must not keep a lab from going. */
async function forget(name: string): Promise<void> {
  try {
    if (await forgetLab(name, labPaths(name).kubeconfig))
      process.stdout.write(`its context is out of ~/.kube/config\n`);
  } catch (error) {
    process.stderr.write(`fairlead down: ${(error as Error).message}\n`);
  }
}
