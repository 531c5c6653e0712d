// `fairlead show routes|services|policies|dns|nft|pods|ipam|program|drift [NODE]`: what is programmed, each entry with its origin.

import { dirname, join } from "node:path";
import process from "node:process";
import { askAgent } from "../agent/show-server.ts";
import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";

export default async function show(
  what: string,
  node: string | undefined,
  options: { readonly name: string; readonly output?: string; readonly here?: boolean; readonly cniDir?: string },
): Promise<number> {
  const answer =
    options.here === true
      ? await ofThisMachine(what, options.cniDir)
      : await labClient(labPaths(options.name)).call<{ text: string; value: unknown }>("/show", {
          what,
          node,
        });
  process.stdout.write(options.output === "json" ? `${JSON.stringify(answer.value, undefined, 2)}\n` : answer.text);
  return 0;
}

function ofThisMachine(what: string, cniDir: string = "/run/fairlead/cni"): ReturnType<typeof askAgent> {
  return askAgent(join(dirname(cniDir), "show.sock"), what);
}
