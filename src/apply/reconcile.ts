// Brings a kernel to a Program: what differs is written in dependency order, what is ours and unwanted is removed the other way round.
//
// Invariants: nothing that is not recognisably ours is removed; equal state costs no write; an entry that fails does not stop the rest;
// while the last Program is known and nobody else's hand was seen, the kernel is not read and only the difference is sent.
// Not here: when to reconcile and how soon again after a failure (agent/agent.ts).

import {
  KernelError,
  type Change,
  type ConnectionMatch,
  type LinkState,
  type NetworkKernel,
} from "../kernel/kernel.ts";
import { familyOf } from "../ip/address.ts";
import type { Program } from "../program/program.ts";
import { describeChange } from "./change-text.ts";
import { staleConnections } from "./connections.ts";
import { diffEntries, partition, planEntries, type EntryKind, type Plan, type Step } from "./entries.ts";
import { addressKind, forwardingKind, mainTable, neighbourKind, routeKind } from "./kinds.ts";
import { deleteLinks, linkKind, ourLinks, ownLinkName, type OurLink } from "./links.ts";
import { reconcileTables } from "./nftables.ts";
import { isWholeTable, type Drift, type Failure, type Made, type Part, type ReconcileReport } from "./report.ts";
import { reconcileSysctls } from "./sysctls.ts";
import type { Origin } from "../kube/object.ts";

export interface ReconcileOptions {
  /** The report of the last reconciliation of this kernel; without it everything is read back, and nothing counts as drift. */
  readonly last?: ReconcileReport;
  /** Parts that somebody else may have changed since, or `all`: they are read back. */
  readonly suspect?: ReadonlySet<Part> | "all";
  /** Connections to forget that somebody else sees to: their endpoint is no longer chosen here, and answers all the same. */
  readonly spares?: (match: ConnectionMatch) => boolean;
}

/** Makes the kernel hold the Program and says what it took. Synchronous; throws nothing the kernel answers. */
export function reconcile(program: Program, kernel: NetworkKernel, options: ReconcileOptions = {}): ReconcileReport {
  const { last, suspect } = options;
  if (last !== undefined && suspect !== "all" && (suspect?.size ?? 0) + last.suspect.size === 0)
    if (isSameProgram(program, last.program)) return { ...last, program, made: [], failures: [], drift: [] };
  const work = new Work(program, kernel, options);
  const links = work.planLinks();
  const [ports, makers] = partition(links.sets, (step) => work.isPod(step.key));
  work.send(makers);
  work.sysctls((path) => !isOfTracking(path) && !opensLoopback(path));
  // Before pods are let onto the bridge: who is attached is already guarded.
  work.tables();
  // Where connection tracking is a module, the first rule that asks for it loads it, and its settings are there only then. Loopback is opened
  // when its guard stands.
  work.sysctls((path) => isOfTracking(path) || (opensLoopback(path) && work.isGuarded()));
  work.send(ports);
  if (links.readBack && links.sets.length + links.removals.length > 0) work.readBackWhatHangsOnLinks();

  const addresses = work.plan(
    "addresses",
    addressKind(ownLinkName),
    (p) => p.addresses,
    () => kernel.addresses(),
  );
  const [last4, removals] = partition(addresses.removals, (step) => work.isLastAddress(step));
  if (last4.length > 0) {
    work.send(last4);
    work.relearn("neighbours", "routes");
  }
  const plans = [
    { ...addresses, removals },
    work.plan(
      "neighbours",
      neighbourKind(ownLinkName),
      (p) => p.neighbours,
      () => kernel.neighbours(),
    ),
    work.plan(
      "forwarding",
      forwardingKind(ownLinkName),
      (p) => p.forwarding,
      () => kernel.forwarding(),
    ),
    work.plan(
      "routes",
      routeKind,
      (p) => p.routes,
      () => mainTable(kernel.routes()),
    ),
  ];
  work.send(plans.flatMap((plan) => plan.sets));
  work.send(plans.toReversed().flatMap((plan) => plan.removals));
  work.deleteLinks(links.removals);
  work.forgetConnections();
  return work.report();
}

/** The very same pieces: nothing to look into. */
function isSameProgram(a: Program, b: Program): boolean {
  return (
    a.sysctls === b.sysctls &&
    a.links === b.links &&
    a.addresses === b.addresses &&
    a.routes === b.routes &&
    a.neighbours === b.neighbours &&
    a.forwarding === b.forwarding &&
    a.tables.length === b.tables.length &&
    a.tables.every((table, index) => table === b.tables[index])
  );
}

/** Removes everything of ours from the kernel, also what no Program mentions: links, routes, tables and what hangs on them. */
export function removeEverything(kernel: NetworkKernel): ReconcileReport {
  const empty: Program = {
    node: kernel.name,
    sysctls: [],
    links: [],
    addresses: [],
    routes: [],
    neighbours: [],
    forwarding: [],
    tables: [],
  };
  return reconcile(empty, kernel);
}

/** One reconciliation under way: what it has done so far, and what it still trusts. */
class Work {
  readonly #program: Program;
  readonly #kernel: NetworkKernel;
  readonly #last: ReconcileReport | undefined;
  readonly #readBack: Set<Part> | "all";
  /** Keys the last reconciliation could not write: their absence is no drift. */
  readonly #failed: ReadonlySet<string>;
  readonly #pods: ReadonlySet<string>;
  readonly #made: Made[] = [];
  readonly #failures: Failure[] = [];
  readonly #drift: Drift[] = [];
  readonly #suspect = new Set<Part>();
  readonly #relearnt = new Set<Part>();
  /** Pods' links that are not there: what belongs on them waits until their sandbox's maker has made them again. */
  #lost: ReadonlySet<string> = new Set();
  readonly #spares: (match: ConnectionMatch) => boolean;

  constructor(program: Program, kernel: NetworkKernel, { last, suspect, spares = () => false }: ReconcileOptions) {
    this.#spares = spares;
    this.#program = program;
    this.#kernel = kernel;
    this.#last = last;
    this.#readBack = last === undefined || suspect === "all" ? "all" : new Set([...last.suspect, ...(suspect ?? [])]);
    this.#failed = new Set(last?.failures.map((failure) => `${failure.part} ${failure.key}`));
    this.#pods = new Set(program.links.filter((link) => link.kind === "pod").map((link) => link.name));
  }

  isPod(link: string): boolean {
    return this.#pods.has(link);
  }

  /** `readBack`: the plan comes from what the kernel has, not from the last Program. */
  planLinks(): Plan & { readonly readBack: boolean } {
    const wanted = ourLinks(this.#program.links);
    const previous = this.#last && ourLinks(this.#last.program.links);
    if (previous !== undefined && !this.#mustRead("links") && sameMakers(previous, wanted))
      return { ...diffEntries(linkKind([]), previous, wanted), readBack: false };
    const states = this.#kernel.links();
    const plan = planEntries(linkKind(states), wanted, states, previous, this.#failed);
    this.#drift.push(...plan.drift);
    this.#lost = new Set(this.#podsWithoutLink(states));
    if (this.#lost.size > 0) this.#suspect.add("links");
    return { ...plan, sets: plan.sets.filter((step) => !this.#lost.has(step.key)), readBack: true };
  }

  #podsWithoutLink(states: readonly LinkState[]): string[] {
    const present = new Set(states.map((state) => state.name));
    return [...this.#pods].filter((name) => !present.has(name));
  }

  /** Links came, went, or went down and up: the kernel may have dropped what hung on them. */
  readBackWhatHangsOnLinks(): void {
    if (this.#readBack === "all") return;
    for (const part of ["addresses", "neighbours", "forwarding", "routes", "sysctls"] as const)
      this.#readBack.add(part);
  }

  /**
   * Does this removal leave a link of ours without any IPv4 address? The kernel then drops all IPv4 neighbours and routes of the link
   * (net/ipv4/fib_frontend.c, fib_disable_ip), permanent ones as well, and other nodes' entries on the tunnel are among them.
   */
  isLastAddress({ changes }: Step): boolean {
    return changes.some(
      (change) =>
        change.kind === "delete-address" &&
        familyOf(change.address) === 4 &&
        !this.#program.addresses.some(({ link, address }) => link === change.link && familyOf(address) === 4),
    );
  }

  /** The kernel is known to have dropped entries of these parts because of us: read back, and none of it is drift. */
  relearn(...parts: readonly Part[]): void {
    for (const part of parts) this.#relearnt.add(part);
  }

  plan<E extends { readonly origin: Origin; readonly link?: string }, S>(
    part: Part,
    kind: EntryKind<E, S>,
    entries: (program: Program) => readonly E[],
    dump: () => readonly S[],
  ): Plan {
    const wanted = this.#withoutLost(part, entries(this.#program));
    if (this.#relearnt.has(part)) return planEntries(kind, wanted, dump(), undefined, this.#failed);
    const previous = this.#last && entries(this.#last.program);
    if (previous !== undefined && !this.#mustRead(part)) return diffEntries(kind, previous, wanted);
    const plan = planEntries(kind, wanted, dump(), previous, this.#failed);
    this.#drift.push(...plan.drift);
    return plan;
  }

  #withoutLost<E extends { readonly link?: string }>(part: Part, entries: readonly E[]): readonly E[] {
    if (this.#lost.size === 0) return entries;
    const kept = entries.filter((entry) => entry.link === undefined || !this.#lost.has(entry.link));
    if (kept.length < entries.length) this.#suspect.add(part);
    return kept;
  }

  /** Sends steps in order; each step's changes stand or fall together in the report. */
  send(steps: readonly Step[]): void {
    if (steps.length === 0) return;
    const results = this.#kernel.change(steps.flatMap((step) => step.changes));
    let at = 0;
    for (const step of steps) {
      const mine = results.slice(at, (at += step.changes.length));
      const failed = mine.findIndex((result) => !result.ok);
      const result = mine[failed];
      if (result === undefined || result.ok) {
        this.#made.push(new MadeStep(step));
      } else {
        const change: Change | undefined = step.changes[failed];
        this.#fail(step, change ? describeChange(change) : step.key, result.error);
      }
    }
  }

  /** All together: the kernel waits as long for many as for one. */
  deleteLinks(steps: readonly Step[]): void {
    const results = this.#kernel.change(deleteLinks(steps.map((step) => step.key)));
    for (const [index, step] of steps.entries()) {
      const text = step.changes.map(describeChange).join("; ");
      const refusal = [results[index], results.at(-1)].find((result) => result?.ok === false && !isGone(result.error));
      if (refusal?.ok === false) this.#fail(step, text, refusal.error);
      else this.#made.push({ part: step.part, text, ...originOf(step) });
    }
  }

  /** Do all tables stand? Else what waits for them is looked at the next time. */
  isGuarded(): boolean {
    if (!this.#failures.some(isWholeTable)) return true;
    this.#suspect.add("sysctls");
    return false;
  }

  sysctls(isNow: (path: string) => boolean): void {
    const wanted = this.#program.sysctls.filter(({ path }) => isNow(path));
    const { part, made, failures, drift } = reconcileSysctls(wanted, this.#kernel, {
      previous: this.#last?.program.sysctls,
      readBack: this.#mustRead("sysctls"),
      failed: this.#failed,
    });
    this.#made.push(...made);
    this.#drift.push(...drift);
    this.#failures.push(...failures);
    if (failures.length > 0) this.#suspect.add(part);
  }

  tables(): void {
    const result = reconcileTables(this.#program.tables, this.#kernel, {
      previous: this.#last?.program.tables,
      readBack: (part) => this.#mustRead(part),
      failed: this.#failed,
    });
    this.#made.push(...result.made);
    this.#drift.push(...result.drift);
    this.#failures.push(...result.failures);
    for (const part of result.suspect) this.#suspect.add(part);
  }

  /** Connections that an earlier Program sent to an endpoint that is gone would go on for ever: UDP has no end of its own. */
  forgetConnections(): void {
    if (this.#last === undefined) return;
    for (const match of staleConnections(this.#last.program.tables, this.#program.tables)) {
      if (this.#spares(match)) continue;
      try {
        const count = this.#kernel.flushConnections(match);
        if (count > 0)
          this.#made.push({ part: "routes", text: `conntrack -D ${JSON.stringify(match)}: ${count} connections` });
      } catch (error) {
        if (!(error instanceof KernelError)) throw error;
        this.#fail({ part: "routes", key: JSON.stringify(match), changes: [] }, "conntrack -D", error);
      }
    }
  }

  report(): ReconcileReport {
    return {
      program: this.#program,
      made: this.#made,
      failures: this.#failures,
      drift: this.#drift,
      suspect: this.#suspect,
      lostLinks: [...this.#lost],
    };
  }

  #mustRead(part: Part): boolean {
    return this.#readBack === "all" || this.#readBack.has(part);
  }

  #fail(step: Step, text: string, error: KernelError): void {
    this.#failures.push({ part: step.part, key: step.key, text, error, ...originOf(step) });
    this.#suspect.add(step.part);
  }
}

/** A step in words, only when somebody reads them. */
class MadeStep implements Made {
  readonly part: Part;
  readonly origin: Origin | undefined;
  readonly #changes: readonly Change[];

  constructor({ part, origin, changes }: Step) {
    this.part = part;
    this.origin = origin;
    this.#changes = changes;
  }

  get text(): string {
    return this.#changes.map(describeChange).join("; ");
  }
}

/** Bridge and VXLAN links unchanged: then a difference of pods' links needs no look at the kernel. */
function sameMakers(previous: readonly OurLink[], next: readonly OurLink[]): boolean {
  const makers = (links: readonly OurLink[]): readonly OurLink[] => links.filter((link) => link.kind !== "pod");
  const plan = diffEntries(linkKind([]), makers(previous), makers(next));
  return plan.sets.length === 0 && plan.removals.length === 0;
}

function isOfTracking(path: string): boolean {
  return path.startsWith("net/netfilter/");
}

/** The kernel then lets packets of loopback in and out by that link. */
function opensLoopback(path: string): boolean {
  return path.endsWith("/route_localnet");
}

/** A link that cannot be marked because it is not there needs no deletion. */
function isGone(error: KernelError): boolean {
  return error.code === "ENODEV";
}

function originOf(step: Step): { origin: Origin } | Record<never, never> {
  return step.origin === undefined ? {} : { origin: step.origin };
}
