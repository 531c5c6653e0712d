// `fairlead show routes|services|policies|dns|nft|pods|ipam|program|drift [NODE]`: what is programmed, each entry with its origin.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { askAgent } from "../agent/show-server.ts";
import type { Shown } from "../agent/show.ts";
import { labClient, LabError } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";

interface ShowOptions {
  readonly name: string;
  readonly output?: string;
  readonly here?: boolean;
  readonly cniDir?: string;
}

export default async function show(what: string, node: string | undefined, options: ShowOptions): Promise<number> {
  const agent = join(dirname(options.cniDir ?? "/run/fairlead/cni"), "show.sock");
  const answer = options.here === true ? await askAgent(agent, what) : await ofLab(what, node, options, agent);
  process.stdout.write(options.output === "json" ? `${JSON.stringify(answer.value, undefined, 2)}\n` : answer.text);
  return 0;
}

/** An agent that was killed leaves its socket. */
function isNobodyThere(failure: unknown): boolean {
  const { cause } = failure as { readonly cause?: NodeJS.ErrnoException };
  return cause?.code === "ECONNREFUSED";
}

/** On a node of a real cluster no lab runs: then its agent is meant. */
async function ofLab(what: string, node: string | undefined, { name }: ShowOptions, agent: string): Promise<Shown> {
  try {
    return await labClient(labPaths(name)).call<Shown>("/show", { what, node });
  } catch (error) {
    const isNoLab = error instanceof LabError && error.reason === "NotRunning";
    if (!isNoLab || name !== "default" || node !== undefined || !existsSync(agent)) throw error;
    return askAgent(agent, what).catch((failure: unknown) => {
      throw isNobodyThere(failure) ? error : failure;
    });
  }
}
