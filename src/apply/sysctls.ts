// Sysctls of a Program: written where they differ. They are never put back to what they were before us: nobody remembers that.

import { KernelError, type NetworkKernel } from "../kernel/kernel.ts";
import type { Sysctl } from "../program/program.ts";
import type { Drift, Failure, Made, Part } from "./report.ts";

export interface SysctlResult {
  readonly part: Part;
  readonly made: readonly Made[];
  readonly failures: readonly Failure[];
  readonly drift: readonly Drift[];
}

/** Writes what is not so. With `readBack` false, only what differs from `previous`. */
export function reconcileSysctls(
  wanted: readonly Sysctl[],
  kernel: NetworkKernel,
  options: {
    readonly previous: readonly Sysctl[] | undefined;
    readonly readBack: boolean;
    readonly failed: ReadonlySet<string>;
  },
): SysctlResult {
  const before = new Map(options.previous?.map((sysctl) => [sysctl.path, sysctl.value]));
  const made: Made[] = [];
  const failures: Failure[] = [];
  const drift: Drift[] = [];
  for (const { path, value, origin } of wanted) {
    const unchanged = before.get(path) === value;
    if (unchanged && !options.readBack) continue;
    const text = `sysctl ${path}=${value}`;
    try {
      if (holds(kernel.readSysctl(path), value)) continue;
      kernel.writeSysctl(path, value);
      made.push({ part: "sysctls", text, origin });
      if (unchanged && !options.failed.has(`sysctls ${path}`))
        drift.push({ part: "sysctls", kind: "changed", text, origin });
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      failures.push({ part: "sysctls", key: path, text, origin, error });
    }
  }
  return { part: "sysctls", made, failures, drift };
}

/** A file that does not exist belongs to a feature that is not there: as good as switched off. Tabs separate several values. */
function holds(have: string | undefined, wanted: string): boolean {
  if (have === undefined) return wanted === "0";
  return have.split(/\s+/).join(" ") === wanted.split(/\s+/).join(" ");
}
