// What a reconciliation did, could not do, and found changed by others: plain values for status, logs and the next reconciliation.

import type { KernelError } from "../kernel/kernel.ts";
import type { Origin } from "../kube/object.ts";
import type { Program } from "../program/program.ts";

/** The parts of a Program that are looked at and written separately; nftables is one part per table. */
export type Part =
  | "sysctls"
  | "links"
  | "addresses"
  | "neighbours"
  | "forwarding"
  | "routes"
  | `table ${string} ${string}`;

/** One entry that was written or removed. */
export interface Made {
  readonly part: Part;
  /** In the words of `ip`, `sysctl` or `nft`. */
  readonly text: string;
  /** The object that caused it; the first of several. */
  readonly origin?: Origin | undefined;
}

/** One entry that could not be written; the rest was. It is tried again at the next reconciliation. */
export interface Failure extends Made {
  /** Identifies the entry within its part. */
  readonly key: string;
  readonly error: KernelError;
}

/** Something that differed from the Program although the Program had not changed: somebody else's hand. It has been put back. */
export interface Drift extends Made {
  readonly kind: "missing" | "changed" | "extra";
}

/** What one reconciliation did. Give it to the next one as `last`. */
export interface ReconcileReport {
  /** What the kernel is now meant to hold. */
  readonly program: Program;
  readonly made: readonly Made[];
  readonly failures: readonly Failure[];
  readonly drift: readonly Drift[];
  /** Parts whose content is not known to equal the Program: the next reconciliation reads them back. */
  readonly suspect: ReadonlySet<Part>;
  /** Host ends of pods' links that are gone. Only what made the pod's sandbox can make them again. */
  readonly lostLinks: readonly string[];
}

/** The key of a failure that left a whole table as it was. */
export const wholeTable = "table";

/** Is a table's content as a whole not what it should be? */
export function isWholeTable(failure: Failure): boolean {
  return failure.part.startsWith("table ") && failure.key === wholeTable;
}

/** The name of a table's part. */
export function tablePart(table: { readonly family: string; readonly name: string }): Part {
  return `table ${table.family} ${table.name}`;
}

/** More things done at once than this are counted by part: hundreds of pods that start are no reading, and their words cost more than they. */
const madeInWordsMax = 8;

/** One line per thing done, failed or found, for logs; many things done are counted. */
export function formatReport(report: ReconcileReport): string {
  return [
    ...report.drift.map((one) => `put back (${one.kind})  ${one.text}${formatOrigin(one.origin)}`),
    ...(report.made.length > madeInWordsMax
      ? [`done  ${madeCounts(report.made)}`]
      : report.made.map((one) => `done  ${one.text}${formatOrigin(one.origin)}`)),
    ...report.failures.map((one) => `FAILED  ${one.text}: ${one.error.message}${formatOrigin(one.origin)}`),
  ].join("\n");
}

/** `12 links, 24 routes, 31 changes of table ip fairlead`. */
function madeCounts(made: readonly Made[]): string {
  const counts = new Map<Part, number>();
  for (const { part } of made) counts.set(part, (counts.get(part) ?? 0) + 1);
  return [...counts].map(([part, n]) => `${n} ${part.startsWith("table ") ? `changes of ${part}` : part}`).join(", ");
}

function formatOrigin(origin: Origin | undefined): string {
  if (origin === undefined) return "";
  const name = origin.namespace === undefined ? origin.name : `${origin.namespace}/${origin.name}`;
  const field = origin.field === undefined ? "" : ` ${origin.field}`;
  return `  # ${origin.kind} ${name}${field}${origin.source === undefined ? "" : ` (${origin.source})`}`;
}
