// `fairlead uninstall`: takes everything of Fairlead away from the node this machine is. Pods lose their network.

import process from "node:process";

import { uninstallNode } from "../agent/process.ts";
import { nodePlaces, type AgentOptions } from "./agent.ts";

export default async function uninstall(options: AgentOptions): Promise<number> {
  for (const line of await uninstallNode(nodePlaces(options))) process.stdout.write(`${line}\n`);
  return 0;
}
