// `fairlead status`: how the lab is, at a glance.

import process from "node:process";
import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";
import { count, table } from "./report.ts";

/** What the lab says of itself. */
export interface LabStatus {
  readonly name: string;
  readonly upSeconds: number;
  readonly memoryMiB: number;
  readonly packets: "on" | "off";
  readonly packetsOffReason?: string;
  readonly nodes: readonly {
    readonly name: string;
    readonly ready: boolean;
    readonly addresses: readonly string[];
    readonly podCidrs: readonly string[];
    readonly pods: number;
    readonly routes: number;
    readonly elements: number;
    readonly drift: number;
    readonly failures: readonly string[];
  }[];
  readonly pods: number;
  readonly podsReady: number;
  readonly services: number;
  readonly missing: readonly string[];
  readonly problems: readonly { readonly severity: string; readonly where: string; readonly message: string }[];
  /** Objects that are stored and that nothing acts upon. */
  readonly kept: readonly { readonly object: string; readonly message: string }[];
}

export default async function status(options: { readonly name: string; readonly output?: string }): Promise<number> {
  const value = await labClient(labPaths(options.name)).call<LabStatus>("/status");
  if (options.output === "json") {
    process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
    return 0;
  }
  process.stdout.write(
    `lab "${value.name}"  up ${duration(value.upSeconds)}  ${value.memoryMiB} MiB  packets ${value.packets}\n`,
  );
  if (value.packetsOffReason !== undefined) process.stdout.write(`packets are off: ${value.packetsOffReason}\n`);
  process.stdout.write(
    `${count(value.services, "Service")}, ${value.podsReady} of ${count(value.pods, "pod")} ready\n\n`,
  );
  process.stdout.write(
    table([
      ["NODE", "STATUS", "ADDRESSES", "PODS FROM", "PODS", "ROUTES", "ELEMENTS", "PUT BACK"],
      ...value.nodes.map((node) => [
        node.name,
        node.ready ? "Ready" : "NotReady",
        node.addresses.join(","),
        node.podCidrs.join(","),
        String(node.pods),
        String(node.routes),
        String(node.elements),
        String(node.drift),
      ]),
    ]),
  );
  for (const node of value.nodes)
    for (const failure of node.failures) process.stdout.write(`✘ ${node.name}: ${failure}\n`);
  for (const line of value.missing) process.stdout.write(`… ${line}\n`);
  for (const problem of value.problems)
    process.stdout.write(`${problem.severity}: ${problem.where}: ${problem.message}\n`);
  for (const { object, message } of value.kept) process.stdout.write(`not acted upon: ${object}: ${message}\n`);
  return 0;
}

function duration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}
