import type { NetworkKernel } from "../kernel/kernel.ts";
import type { NftTable } from "../program/nftables/ruleset.ts";
import type { Drift, Failure, Made, Part } from "./report.ts";

export interface TablesResult {
  readonly made: readonly Made[];
  readonly failures: readonly Failure[];
  readonly drift: readonly Drift[];
  readonly suspect: readonly Part[];
}

export function reconcileTables(
  _wanted: readonly NftTable[],
  _kernel: NetworkKernel,
  _options: {
    readonly previous: readonly NftTable[] | undefined;
    readonly readBack: (part: Part) => boolean;
    readonly failed: ReadonlySet<string>;
  },
): TablesResult {
  return { made: [], failures: [], drift: [], suspect: [] };
}
