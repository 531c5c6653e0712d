// The nftables tables of a Program: planned against the last Program or against what the kernel has, sent as transactions whose every
// prefix is a valid state. An element the kernel refuses is left out and reported; anything else refused leaves the table as it was.
//
// Not here: the plan (program/nftables/diff.ts), its words (nftables-text.ts).

import { KernelError, type NetworkKernel } from "../kernel/kernel.ts";
import type { Origin } from "../kube/object.ts";
import { batchesOf, diffTables, planRemoval, planTable, type NftPlan } from "../program/nftables/diff.ts";
import type { NftFamily, NftTable } from "../program/nftables/ruleset.ts";
import { names } from "../program/program.ts";
import type { NftBatchItem } from "../wire/netlink/nftables.ts";
import { partition } from "./entries.ts";
import { describeItem, driftOf, isManyElements, type ItemText } from "./nftables-text.ts";
import { tablePart, wholeTable, type Drift, type Failure, type Made, type Part } from "./report.ts";

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
  const [unknown, known] = partition(wanted, (table) => work.mustRead(table));
  work.bringFromLast(known);
  for (const table of unknown) work.bringFromKernel(table);
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

  mustRead(table: NftTable): boolean {
    return this.#options.previous === undefined || this.#options.readBack(tablePart(table));
  }

  /**
   * Without a look at the kernel, all tables in one transaction where they fit: after each that deletes, the next one waits for the
   * kernel to have let go (net/netfilter/nf_tables_api.c, nf_tables_valid_genid). What cannot be done so is done with a look.
   */
  bringFromLast(tables: readonly NftTable[]): void {
    const changed = tables.flatMap((table) => {
      const plan = this.#orFail(table, () => diffTables(this.#previousOf(table), table)) ?? [];
      return plan.length === 0 ? [] : [{ table, plan }];
    });
    const byPart = new Map(changed.map(({ table }) => [tablePart(table), table]));
    try {
      for (const batch of batchesOf(
        changed.flatMap(({ plan }) => plan),
        this.#kernel.nftBatchBytesMax,
      )) {
        this.#kernel.nftCommit(batch);
        for (const item of batch) {
          const table = byPart.get(tablePart({ family: item.family, name: item.table }));
          if (table !== undefined) this.made.push(new MadeItem(tablePart(table), item, table, this.#previousOf(table)));
        }
      }
    } catch (error) {
      // A RangeError: what no nft syntax could say, found when it was encoded.
      if (!(error instanceof KernelError || error instanceof RangeError)) throw error;
      for (const { table } of changed) this.#orFail(table, () => this.#bring(table, undefined));
    }
  }

  /** With a look at the kernel. */
  bringFromKernel(table: NftTable): void {
    this.#orFail(table, () => this.#bring(table, this.#previousOf(table)));
  }

  #previousOf(table: NftTable): NftTable | undefined {
    return this.#options.previous?.find((one) => tablePart(one) === tablePart(table));
  }

  /** One table's failure is none of the others'. */
  #orFail<T>(table: NftTable, work: () => T): T | undefined {
    const part = tablePart(table);
    try {
      return work();
    } catch (error) {
      this.#fail(part, wholeTable, `table ${table.family} ${table.name}`, asKernelError(error, part));
      return undefined;
    }
  }

  #bring(table: NftTable, previous: NftTable | undefined): void {
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
    for (const batch of batchesOf(plan, this.#kernel.nftBatchBytesMax)) this.#commitWithoutRefused(batch, table);
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
    for (const item of items) this.made.push(new MadeItem(tablePart(table), item, table, undefined));
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
        for (const batch of planRemoval(table.family, table.name)) this.#kernel.nftCommit(batch);
        this.made.push({ part, text: `delete table ${table.family} ${table.name}` });
      } catch (error) {
        const refusal = asKernelError(error, part);
        // Somebody was faster.
        if (refusal.code !== "ENOENT")
          this.#fail(part, wholeTable, `delete table ${table.family} ${table.name}`, refusal);
      }
    }
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
    // Of many elements only the number is told, and their bytes weigh more than the Program: not kept for it.
    if (isManyElements(item)) this.#texts = describeItem(item, table, previous);
    const kept = this.#texts === undefined ? item : undefined;
    this.#describe = () => (kept === undefined ? [] : describeItem(kept, table, previous));
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
