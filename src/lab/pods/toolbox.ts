// The folder of our own tools that every container sees as /opt/fairlead/bin, last in its PATH:
// the machine's curl, dig or nc come first where there are some; where there are none, ours are found under the same names.

import { chmodSync, existsSync, mkdirSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import process from "node:process";
import { toolNames } from "./tools/names.ts";

export interface Toolbox {
  /** A folder with one program for each tool. */
  readonly bin: string;
  /** The Node executable we run on. */
  readonly node: string;
  /** Our own sources: the tools are run from them. */
  readonly sources: string;
  /** What the sources import from node_modules, by the name of the folder there. */
  readonly libraries: readonly { readonly name: string; readonly path: string }[];
}

/** Writes the folder below `stateDir` where it is missing. */
export function createToolbox(stateDir: string): Toolbox {
  const bin = join(stateDir, "toolbox");
  mkdirSync(bin, { recursive: true });
  const script = join(bin, ".tool");
  writeFileSync(script, toolScript);
  chmodSync(script, 0o755);
  for (const name of toolNames) {
    const link = join(bin, name);
    if (!existsSync(link) || readlinkSync(link) !== ".tool") symlinkSync(".tool", link);
  }
  return {
    bin,
    node: process.execPath,
    sources: fileURLToPath(new URL("../../", import.meta.url)),
    libraries: libraries(),
  };
}

/** koffi (for ping) and, beside it, its binaries. */
function libraries(): Toolbox["libraries"] {
  const koffi = dirname(fileURLToPath(import.meta.resolve("koffi")));
  const binaries = join(dirname(koffi), "@koromix");
  return [{ name: "koffi", path: koffi }, ...(existsSync(binaries) ? [{ name: "@koromix", path: binaries }] : [])];
}

/** The search path of containers whose image has none of its own. */
export const containerPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/fairlead/bin";

const toolScript = `#!/bin/sh
exec /opt/fairlead/node --no-warnings /opt/fairlead/src/lab/pods/tools/main.ts "\${0##*/}" "$@"
`;
