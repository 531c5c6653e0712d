// `fairlead logs POD`: a container's log.

import process from "node:process";
import { labClient } from "../lab/client.ts";
import { labPaths } from "../lab/paths.ts";

interface LogsOptions {
  readonly name: string;
  readonly namespace: string;
  readonly container?: string;
  readonly follow?: boolean;
  readonly previous?: boolean;
  readonly tail?: string;
  readonly timestamps?: boolean;
}

export default async function logs(pod: string, options: LogsOptions): Promise<number> {
  const { name, tail, ...rest } = options;
  if (tail !== undefined && !/^\d+$/.test(tail)) throw new Error(`--tail ${tail}: must be a number of lines`);
  const body = { pod, ...rest, ...(tail !== undefined && { tail: Number(tail) }) };
  await labClient(labPaths(name)).lines<{ line: string }>("/logs", body, ({ line }) =>
    process.stdout.write(`${line}\n`),
  );
  return 0;
}
