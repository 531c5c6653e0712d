// The nftables tables of a Program: planned against the last Program or against what the kernel has, sent as transactions whose every
// prefix is a valid state. An element the kernel refuses is left out and reported; anything else refused leaves the table as it was.
//
// Not here: the plan (program/nftables/diff.ts), its words (nftables-text.ts).

import { KernelError, type NetworkKernel } from "../kernel/kernel.ts";
import type { Origin } from "../kube/object.ts";
import { diffTables, planRemoval, planTable, splitPlan, type NftPlan } from "../program/nftables/diff.ts";
import type { NftFamily, NftTable } from "../program/nftables/ruleset.ts";
import { names } from "../program/program.ts";
import type { NftBatchItem } from "../wire/netlink/nftables.ts";
import { describeItem, driftOf, type ItemText } from "./nftables-text.ts";
import { tablePart, type Drift, type Failure, type Made, type Part } from "./report.ts";

export interface TablesResult {
  readonly made: readonly Made[];
  readonly failures: readonly Failure[];
  readonly drift: readonly Drift[];
  /** Tables whose content is not known to be what it should be. */
  readonly suspect: readonly Part[];
}

export interface TablesOptions {
  /** The last Program's, which the kernel should hold; undefined where that is not known. */
  readonly previous: readonly NftTable[] | undefined;
  readonly readBack: (part: Part) => boolean;
  /** `part key` of what the last reconciliation could not write. */
  readonly failed: ReadonlySet<string>;
}

/** Brings the kernel's tables to the wanted ones, and removes tables of ours that are not wanted. */
export function reconcileTables(
  wanted: readonly NftTable[],
  kernel: NetworkKernel,
  options: TablesOptions,
): TablesResult {
  const work = new TablesWork(kernel, options);
  for (const table of wanted) work.bring(table);
  work.sweep(wanted);
  return work;
}

const families: readonly NftFamily[] = ["ip", "ip6", "inet", "bridge", "netdev"];
/** How often one transaction is tried again without what was refused, before the rest of it is given up. */
const attemptsMax = 64;

class TablesWork implements TablesResult {
  readonly made: Made[] = [];
  readonly failures: Failure[] = [];
  readonly drift: Drift[] = [];
  readonly suspect: Part[] = [];
  readonly #kernel: NetworkKernel;
  readonly #options: TablesOptions;

  constructor(kernel: NetworkKernel, options: TablesOptions) {
    this.#kernel = kernel;
    this.#options = options;
  }

  bring(table: NftTable): void {
    const part = tablePart(table);
    const previous = this.#options.previous?.find((one) => tablePart(one) === part);
    try {
      if (this.#options.previous === undefined || this.#options.readBack(part)) this.#bringFromKernel(table, previous);
      else this.#bringFromLast(table, previous);
    } catch (error) {
      this.#fail(part, "table", `table ${table.family} ${table.name}`, asKernelError(error, part));
    }
  }

  /** Without a look at the kernel. What that cannot do is done with one. */
  #bringFromLast(table: NftTable, previous: NftTable | undefined): void {
    const batches = splitPlan(diffTables(previous, table), this.#kernel.nftBatchBytesMax);
    try {
      for (const batch of batches) {
        this.#kernel.nftCommit(batch);
        this.#record(batch, table, previous);
      }
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#bringFromKernel(table, undefined);
    }
  }

  #bringFromKernel(table: NftTable, previous: NftTable | undefined): void {
    const state = this.#kernel.nftTable(table.family, table.name);
    const plan = planTable(table, state);
    if (previous !== undefined && !this.#failedBefore(tablePart(table))) {
      // What the last Program's table lacks now, somebody else took.
      const offPrevious = previous === table ? plan : planTable(previous, state);
      this.drift.push(...driftOf(offPrevious, previous));
    }
    this.#commit(plan, table);
  }

  #commit(plan: NftPlan, table: NftTable): void {
    for (const batch of splitPlan(plan, this.#kernel.nftBatchBytesMax)) this.#commitWithoutRefused(batch, table);
  }

  /** Elements that are refused are left out; throws where anything else is. */
  #commitWithoutRefused(batch: readonly NftBatchItem[], table: NftTable): void {
    let items = [...batch];
    for (let attempt = 0; ; attempt++) {
      try {
        this.#kernel.nftCommit(items);
        break;
      } catch (error) {
        if (!(error instanceof KernelError) || error.index === undefined || attempt === attemptsMax) throw error;
        items = this.#without(items, error.index, table, error);
      }
      if (items.length === 0) return;
    }
    this.#record(items, table, undefined);
  }

  /** The batch with its refused item halved, or left out where it is a single element. */
  #without(items: readonly NftBatchItem[], index: number, table: NftTable, error: KernelError): NftBatchItem[] {
    const item = items[index];
    if (item?.kind !== "add-elements" && item?.kind !== "delete-elements") throw error;
    const { elements } = item;
    const half = elements.length >> 1;
    if (half > 0) {
      const parts = [elements.slice(0, half), elements.slice(half)].map((part) => ({ ...item, elements: part }));
      return items.toSpliced(index, 1, ...parts);
    }
    const [text] = describeItem(item, table, undefined);
    this.#fail(tablePart(table), text?.text ?? item.set, text?.text ?? item.set, error, text);
    return items.toSpliced(index, 1);
  }

  /** Removes tables of ours that no Program mentions: those of the last Program, or at the start in every family. */
  sweep(wanted: readonly NftTable[]): void {
    const kept = new Set(wanted.map(tablePart));
    const candidates =
      this.#options.previous ??
      families
        .map((family) => ({ family, name: names.table }))
        .filter(
          (table) => !kept.has(tablePart(table)) && this.#kernel.nftTable(table.family, table.name) !== undefined,
        );
    for (const table of candidates) {
      const part = tablePart(table);
      if (kept.has(part)) continue;
      try {
        this.#kernel.nftCommit(planRemoval(table.family, table.name).flat());
        this.made.push({ part, text: `delete table ${table.family} ${table.name}` });
      } catch (error) {
        const refusal = asKernelError(error, part);
        // Somebody was faster.
        if (refusal.code !== "ENOENT") this.#fail(part, "table", `delete table ${table.family} ${table.name}`, refusal);
      }
    }
  }

  #record(batch: readonly NftBatchItem[], table: NftTable, previous: NftTable | undefined): void {
    for (const item of batch) this.made.push(new MadeItem(tablePart(table), item, table, previous));
  }

  #failedBefore(part: Part): boolean {
    return this.#options.failed.values().some((key) => key.startsWith(`${part} `));
  }

  #fail(part: Part, key: string, text: string, error: KernelError, item?: ItemText): void {
    this.failures.push({ part, key, text, error, ...(item?.origin === undefined ? {} : { origin: item.origin }) });
    this.suspect.push(part);
  }
}

/** What one item did, in words only when somebody reads them: finding an element's words costs more than sending it. */
class MadeItem implements Made {
  readonly part: Part;
  readonly #describe: () => readonly ItemText[];
  #texts: readonly ItemText[] | undefined;

  constructor(part: Part, item: NftBatchItem, table: NftTable, previous: NftTable | undefined) {
    this.part = part;
    this.#describe = () => describeItem(item, table, previous);
  }

  get text(): string {
    this.#texts ??= this.#describe();
    return this.#texts.map((one) => one.text).join("; ");
  }

  get origin(): Origin | undefined {
    this.#texts ??= this.#describe();
    return this.#texts[0]?.origin;
  }
}

/** A table that no nft syntax could say is our own defect: reported like a refusal, as the rest of the node must go on. */
function asKernelError(error: unknown, part: Part): KernelError {
  if (error instanceof KernelError) return error;
  if (!(error instanceof RangeError)) throw error;
  return new KernelError(`plan ${part}: ${error.message}`, { code: "EINVAL", cause: error });
}
