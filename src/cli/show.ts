// `fairlead show routes|services|policies|dns|nft|pods|ipam|program|drift [NODE]`: what is programmed, each entry with its origin.

import process from "node:process";
import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";

export default async function show(
  what: string,
  node: string | undefined,
  options: { readonly name: string; readonly output?: string },
): Promise<number> {
  const answer = await labClient(labPaths(options.name)).call<{ text: string; value: unknown }>("/show", {
    what,
    node,
  });
  process.stdout.write(options.output === "json" ? `${JSON.stringify(answer.value, undefined, 2)}\n` : answer.text);
  return 0;
}
