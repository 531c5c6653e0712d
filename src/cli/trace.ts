// `fairlead trace FROM TO`: asks the lab, or works from manifests alone (-f).

import process from "node:process";
import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";
import { exitStatus, renderFull, renderMinimal, renderSummary } from "../trace/render.ts";
import type { Protocol } from "../model/network.ts";
import type { Trace } from "../trace/trace.ts";
import { loadManifests } from "./manifests.ts";

interface TraceOptions {
  readonly namespace: string;
  readonly protocol: Protocol;
  readonly full?: boolean;
  readonly minimal?: boolean;
  readonly live?: boolean;
  readonly filename?: readonly string[];
  readonly output?: "text" | "json";
  readonly name: string;
}

/** What really happened when the packet was sent. */
export interface LiveResult {
  readonly outcome: string;
  readonly detail: string;
  readonly agrees: boolean;
  readonly strangers?: readonly string[];
}

export default async function trace(from: string, to: string, options: TraceOptions): Promise<number> {
  const query = { from, to, namespace: options.namespace, protocol: options.protocol };
  const { trace: value, live } =
    options.filename === undefined ? await askLab(query, options) : await fromManifests(query, options.filename);
  if (options.output === "json") process.stdout.write(`${JSON.stringify({ trace: value, live }, undefined, 2)}\n`);
  else
    process.stdout.write(
      options.full === true
        ? renderFull(value)
        : options.minimal === true
          ? renderMinimal(value)
          : renderSummary(value),
    );
  if (live !== undefined && options.output !== "json")
    process.stdout.write(
      [
        `\n  live     ${live.outcome}: ${live.detail}${live.agrees ? "" : "   THE TRACE AND THE KERNEL DISAGREE"}\n`,
        ...(live.strangers ?? []).map((line) => `           ${line}\n`),
      ].join(""),
    );
  if (live !== undefined && !live.agrees) return 2;
  return exitStatus(value.disposition);
}

async function askLab(query: object, options: TraceOptions): Promise<{ trace: Trace; live?: LiveResult }> {
  return labClient(labPaths(options.name)).call("/trace", { ...query, live: options.live === true });
}

async function fromManifests(
  query: { from: string; to: string; namespace: string; protocol: Protocol },
  files: readonly string[],
): Promise<{ trace: Trace; live?: LiveResult }> {
  const objects = loadManifests(files, query.namespace, () => undefined);
  const { imagineLab } = await import("../lab/imagine.ts");
  const { trace: traceIn } = await import("../trace/query.ts");
  return { trace: traceIn(await imagineLab(objects), query) };
}
